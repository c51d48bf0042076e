//! Every figure that `/metrics` shows, described: names, units and labels are relied on from outside and told in README. Counting is
//! done where things happen.

use metrics::Unit;
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

/// One figure.
#[derive(Clone, Copy, Debug)]
pub struct Figure {
    pub name: &'static str,
    pub kind: FigureKind,
    pub help: &'static str,
}

/// How a figure moves.
#[derive(Clone, Copy, Debug)]
pub enum FigureKind {
    /// Only grows.
    Counter,
    Gauge,
    /// Seconds that things took, by upper bounds.
    Seconds(&'static [f64]),
}

/// Answers and commits.
const SHORT: &[f64] = &[0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0];
/// Clips and their stages.
const LONG: &[f64] = &[
    0.05, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 900.0,
];

const fn counter(name: &'static str, help: &'static str) -> Figure {
    Figure {
        name,
        kind: FigureKind::Counter,
        help,
    }
}

const fn gauge(name: &'static str, help: &'static str) -> Figure {
    Figure {
        name,
        kind: FigureKind::Gauge,
        help,
    }
}

const fn seconds(name: &'static str, bounds: &'static [f64], help: &'static str) -> Figure {
    Figure {
        name,
        kind: FigureKind::Seconds(bounds),
        help,
    }
}

/// All of them.
pub const FIGURES: &[Figure] = &[
    counter(
        "meme_maker_http_requests_total",
        "Requests answered, by route, method and status.",
    ),
    seconds(
        "meme_maker_http_request_duration_seconds",
        SHORT,
        "Time until an answer began, by route, method and status.",
    ),
    counter(
        "meme_maker_clips_submitted_total",
        "Clips taken into the queue.",
    ),
    counter(
        "meme_maker_clips_settled_total",
        "Clips that ended, by state.",
    ),
    counter("meme_maker_clips_made_total", "Clips made, by method."),
    counter(
        "meme_maker_clips_expired_total",
        "Clips removed because their time had come.",
    ),
    seconds("meme_maker_clip_seconds", LONG, "Time from claim to ready."),
    seconds(
        "meme_maker_stage_seconds",
        LONG,
        "Time in a stage of a clip that was made, by stage and method.",
    ),
    counter(
        "meme_maker_splice_fallbacks_total",
        "Splices that were discarded and encoded instead, by reason.",
    ),
    gauge("meme_maker_jobs_running", "Clips in hand."),
    gauge(
        "meme_maker_queue_waiting",
        "Clips that wait, at the last reading.",
    ),
    gauge(
        "meme_maker_queue_oldest_wait_seconds",
        "How long the first in the queue has waited, at the last reading.",
    ),
    counter(
        "meme_maker_refusals_total",
        "Requests refused for want of room, by code.",
    ),
    counter(
        "meme_maker_fetched_bytes_total",
        "Bytes that came from sources.",
    ),
    counter(
        "meme_maker_published_bytes_total",
        "Bytes of clips that were published.",
    ),
    counter(
        "meme_maker_served_bytes_total",
        "Bytes of published files in answers, those that a proxy sends for us left out.",
    ),
    counter(
        "meme_maker_egress_refusals_total",
        "Ways out that were refused or cut, by code.",
    ),
    counter(
        "meme_maker_sidecar_runs_total",
        "Children started, by program.",
    ),
    counter(
        "meme_maker_sidecar_failures_total",
        "Children that did not end well, by program and reason.",
    ),
    gauge("meme_maker_sidecars_running", "Children running."),
    gauge(
        "meme_maker_sidecars_resident_bytes",
        "Memory of the children, at the last reading.",
    ),
    counter("meme_maker_uploads_created_total", "Uploads begun."),
    counter("meme_maker_uploads_finished_total", "Uploads complete."),
    counter(
        "meme_maker_uploads_expired_total",
        "Uploads removed because their time had come.",
    ),
    counter(
        "meme_maker_upload_bytes_total",
        "Bytes of uploads written to the disk.",
    ),
    counter(
        "meme_maker_upload_refusals_total",
        "Requests to upload refused, by code.",
    ),
    counter(
        "meme_maker_rate_limited_total",
        "Requests refused because a visitor asked too often, by policy.",
    ),
    counter("meme_maker_previews_made_total", "Previews made, by part."),
    counter(
        "meme_maker_evictions_total",
        "Things removed to make room, by what.",
    ),
    counter("meme_maker_backups_total", "Backups tried, by result."),
    gauge(
        "meme_maker_disk_total_bytes",
        "Size of the disk of the store.",
    ),
    gauge("meme_maker_disk_available_bytes", "Free bytes on it."),
    gauge("meme_maker_disk_inodes_free", "Free inodes on it."),
    gauge(
        "meme_maker_memory_available_bytes",
        "Memory of the machine that programs may still take.",
    ),
    gauge(
        "meme_maker_memory_resident_bytes",
        "Memory of this process.",
    ),
    gauge("meme_maker_index_bytes", "Size of the index."),
    gauge(
        "meme_maker_index_wal_bytes",
        "What the index has written and not yet taken over.",
    ),
    seconds(
        "meme_maker_index_commit_seconds",
        SHORT,
        "Time of a commit of the index.",
    ),
    gauge(
        "meme_maker_verdict",
        "How a resource is judged: 0 ok, 1 high, 2 critical.",
    ),
    counter(
        "meme_maker_alert_posts_total",
        "Tries to post an alert, by result.",
    ),
];

/// Begins to collect the figures.
///
/// # Errors
/// When somebody collects them already.
pub fn collect() -> Result<PrometheusHandle, BuildError> {
    let mut builder = PrometheusBuilder::new();
    for figure in FIGURES {
        if let FigureKind::Seconds(bounds) = figure.kind {
            builder =
                builder.set_buckets_for_metric(Matcher::Full(figure.name.to_owned()), bounds)?;
        }
    }
    let recorder = builder.install_recorder()?;
    for Figure { name, kind, help } in FIGURES.iter().copied() {
        match kind {
            FigureKind::Counter if name.ends_with("_bytes_total") => {
                metrics::describe_counter!(name, Unit::Bytes, help);
            }
            FigureKind::Counter => metrics::describe_counter!(name, help),
            FigureKind::Gauge if name.ends_with("_bytes") => {
                metrics::describe_gauge!(name, Unit::Bytes, help);
            }
            FigureKind::Gauge => metrics::describe_gauge!(name, help),
            FigureKind::Seconds(_) => metrics::describe_histogram!(name, Unit::Seconds, help),
        }
    }
    Ok(recorder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_named_by_convention_described_and_told_in_the_readme() {
        let readme = include_str!("../../README.md");
        for Figure { name, kind, help } in FIGURES {
            let ends = |end: &str| name.ends_with(end);
            match kind {
                FigureKind::Counter => assert!(ends("_total"), "{name}"),
                FigureKind::Gauge => assert!(!ends("_total") && !ends("_seconds_total"), "{name}"),
                FigureKind::Seconds(bounds) => {
                    assert!(ends("_seconds") && bounds.is_sorted(), "{name}");
                }
            }
            assert!(
                name.starts_with("meme_maker_") && help.ends_with('.'),
                "{name}"
            );
            assert!(
                readme.contains(&format!("`{name}`")),
                "{name} is not in README.md"
            );
        }
        for word in readme
            .split('`')
            .filter(|word| word.starts_with("meme_maker_"))
        {
            assert!(
                FIGURES.iter().any(|figure| figure.name == word),
                "{word} is no figure"
            );
        }
    }

    #[test]
    fn whatever_is_counted_is_described_and_whatever_is_described_is_counted() {
        fn walk(dir: &std::path::Path, found: &mut Vec<String>) {
            for entry in std::fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    walk(&path, found);
                } else if !path.ends_with("serve/figures.rs") {
                    let text = std::fs::read_to_string(path).unwrap();
                    let names = text.split('"').filter(|name| {
                        name.starts_with("meme_maker_")
                            && !name.ends_with('_')
                            && name
                                .chars()
                                .all(|letter| letter.is_ascii_lowercase() || letter == '_')
                    });
                    found.extend(names.map(str::to_owned));
                }
            }
        }
        let mut found = Vec::new();
        walk(
            &std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
            &mut found,
        );
        assert!(found.len() > 20, "{found:?}");
        for name in &found {
            let described = FIGURES.iter().any(|figure| figure.name == name);
            assert!(described, "{name} is counted and not described");
        }
        for Figure { name, .. } in FIGURES {
            let counted = found.iter().any(|found| found == name);
            assert!(counted, "{name} is described and not counted");
        }
    }
}
