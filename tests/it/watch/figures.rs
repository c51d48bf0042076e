//! The figures as Prometheus reads them: a strict parser of the text format (version 0.0.4), over what is shown after real work.

use std::collections::{BTreeMap, BTreeSet};

use meme_maker::serve::figures::{FIGURES, FigureKind};

use crate::support::media;
use crate::support::origin::Origin;
use crate::support::service::{Service, Setup, recipe};
use crate::support::visitor::quick;

/// One line of figures.
#[derive(Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

/// The figures of one name.
#[derive(Debug, Default)]
struct Family {
    help: String,
    kind: String,
    samples: Vec<Sample>,
}

fn is_name(text: &str) -> bool {
    let mut letters = text.chars();
    letters
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
}

/// Reads a whole page or fails.
fn parse(text: &str) -> BTreeMap<String, Family> {
    assert!(
        text.is_empty() || text.ends_with('\n'),
        "the last line is not ended"
    );
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = String::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(rest) = line.strip_prefix("# ") {
            let (what, rest) = rest.split_once(' ').unwrap();
            let (name, said) = rest.split_once(' ').unwrap();
            assert!(is_name(name), "{line}");
            if name != current {
                assert!(!families.contains_key(name), "{name} is told in two places");
                current = name.to_owned();
            }
            let family = families.entry(name.to_owned()).or_default();
            assert!(family.samples.is_empty(), "{line} comes after its figures");
            let place = match what {
                "HELP" => &mut family.help,
                "TYPE" => &mut family.kind,
                other => panic!("{other}: {line}"),
            };
            assert!(place.is_empty() && !said.is_empty(), "{line}");
            *place = said.to_owned();
            continue;
        }
        let sample = sample(line);
        let family = families
            .get_mut(&current)
            .unwrap_or_else(|| panic!("{line} without a type"));
        let suffixes: &[&str] = match family.kind.as_str() {
            "counter" | "gauge" => &[""],
            "histogram" => &["_bucket", "_sum", "_count"],
            other => panic!("{current} is a {other}"),
        };
        let known = suffixes
            .iter()
            .any(|suffix| format!("{current}{suffix}") == sample.name);
        assert!(known, "{line} is not of {current}");
        family.samples.push(sample);
    }
    families
}

fn sample(line: &str) -> Sample {
    let (head, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
    let (name, labels) = match head.split_once('{') {
        None => (head, ""),
        Some((name, labels)) => (
            name,
            labels.strip_suffix('}').unwrap_or_else(|| panic!("{line}")),
        ),
    };
    assert!(is_name(name), "{line}");
    let mut found = BTreeMap::new();
    let mut rest = labels;
    while !rest.is_empty() {
        let (label, after) = rest.split_once("=\"").unwrap_or_else(|| panic!("{line}"));
        assert!(is_name(label), "{line}");
        let mut value = String::new();
        let mut letters = after.char_indices();
        let end = loop {
            match letters.next().unwrap_or_else(|| panic!("{line}")) {
                (place, '"') => break place,
                (_, '\\') => value.push(match letters.next().unwrap().1 {
                    'n' => '\n',
                    letter @ ('\\' | '"') => letter,
                    other => panic!("\\{other} in {line}"),
                }),
                (_, letter) => value.push(letter),
            }
        };
        assert!(found.insert(label.to_owned(), value).is_none(), "{line}");
        rest = &after[end + 1..];
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
    let value = match value {
        "+Inf" => f64::INFINITY,
        number => number.parse().unwrap_or_else(|_| panic!("{line}")),
    };
    Sample {
        name: name.to_owned(),
        labels: found,
        value,
    }
}

/// Buckets grow, the last is all of them, and all of them are counted.
fn hold_histogram(name: &str, family: &Family) {
    let mut series: BTreeMap<Vec<(String, String)>, Vec<&Sample>> = BTreeMap::new();
    for sample in &family.samples {
        let labels = sample
            .labels
            .clone()
            .into_iter()
            .filter(|(label, _)| label != "le");
        series.entry(labels.collect()).or_default().push(sample);
    }
    for (labels, samples) in series {
        let of = |suffix: &'static str| {
            samples
                .iter()
                .filter(move |sample| sample.name.ends_with(suffix))
        };
        let buckets: Vec<(f64, f64)> = of("_bucket")
            .map(|sample| {
                let bound = sample.labels["le"].as_str();
                (
                    if bound == "+Inf" {
                        f64::INFINITY
                    } else {
                        bound.parse().unwrap()
                    },
                    sample.value,
                )
            })
            .collect();
        assert!(
            buckets
                .windows(2)
                .all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1),
            "{name} {labels:?}"
        );
        let (bound, all) = *buckets.last().unwrap();
        let count = of("_count").next().unwrap().value;
        assert!(
            bound.is_infinite() && all == count && of("_sum").count() == 1,
            "{name} {labels:?}"
        );
    }
}

#[test]
fn figures_after_real_work_are_described_well_named_and_bounded() {
    let service = Setup::default().with("monitor.interval_seconds", 1).start();
    let (_origin, link) = Origin::with(&media::tiny());
    let made = service.make(&recipe(&link, 0.5, 1.5));
    service.make(&quick(&link));
    service.fail(&quick("http://127.0.0.1:9/nothing.mp4"));
    service.get(made["urls"]["file"].as_str().unwrap());
    service.get("/no/such/path");
    service.request("BREW", "/api/clips", &[], b"");
    service.post("/api/clips", &quick("http://10.0.0.1/x.mp4"));
    let page = service.get("/metrics");
    assert_eq!(page.header("content-type"), "text/plain; version=0.0.4");
    let families = parse(&page.text());
    for (name, family) in &families {
        assert!(
            !family.help.is_empty() && !family.kind.is_empty(),
            "{name}: {family:?}"
        );
        let known = FIGURES.iter().find(|figure| figure.name == name);
        let kind = match known
            .unwrap_or_else(|| panic!("{name} is not described"))
            .kind
        {
            FigureKind::Counter => "counter",
            FigureKind::Gauge => "gauge",
            FigureKind::Seconds(_) => "histogram",
        };
        assert_eq!(family.kind, kind, "{name}");
        if kind == "histogram" {
            hold_histogram(name, family);
        }
        for sample in &family.samples {
            for (label, value) in &sample.labels {
                let of_one = [
                    made["id"].as_str().unwrap(),
                    "127.0.0.1",
                    "10.0.0.1",
                    "/no/such",
                ];
                assert!(
                    of_one.iter().all(|one| !value.contains(one)),
                    "{label} of {sample:?}"
                );
            }
        }
    }
    let sum = |name: &str, labels: &[(&str, &str)]| -> f64 {
        let family = families
            .get(name)
            .unwrap_or_else(|| panic!("{name} is missing"));
        let fits = |sample: &&Sample| {
            !sample.name.ends_with("_bucket")
                && !sample.name.ends_with("_sum")
                && labels.iter().all(|(label, value)| {
                    sample
                        .labels
                        .get(*label)
                        .is_some_and(|found| found == value)
                })
        };
        family
            .samples
            .iter()
            .filter(fits)
            .map(|sample| sample.value)
            .sum()
    };
    let size = made["result"]["size"].as_f64().unwrap();
    for (name, labels, least) in [
        ("meme_maker_clips_submitted_total", &[][..], 3.0),
        ("meme_maker_clips_settled_total", &[("state", "ready")], 2.0),
        (
            "meme_maker_clips_settled_total",
            &[("state", "failed")],
            1.0,
        ),
        ("meme_maker_clips_made_total", &[("method", "copy")], 1.0),
        ("meme_maker_stage_seconds", &[("stage", "fetch")], 2.0),
        (
            "meme_maker_stage_seconds",
            &[("stage", "publish"), ("method", "copy")],
            1.0,
        ),
        ("meme_maker_clip_seconds", &[], 2.0),
        ("meme_maker_fetched_bytes_total", &[], 1000.0),
        ("meme_maker_published_bytes_total", &[], size),
        ("meme_maker_served_bytes_total", &[], size),
        (
            "meme_maker_sidecar_runs_total",
            &[("program", "ffmpeg")],
            1.0,
        ),
        ("meme_maker_index_commit_seconds", &[], 10.0),
        (
            "meme_maker_http_requests_total",
            &[
                ("route", "/api/clips/{id}"),
                ("method", "GET"),
                ("status", "200"),
            ],
            1.0,
        ),
        (
            "meme_maker_http_requests_total",
            &[("route", "none"), ("status", "404")],
            1.0,
        ),
        (
            "meme_maker_http_requests_total",
            &[("method", "other"), ("status", "405")],
            1.0,
        ),
        (
            "meme_maker_http_request_duration_seconds",
            &[
                ("route", "/api/clips"),
                ("method", "POST"),
                ("status", "202"),
            ],
            3.0,
        ),
        ("meme_maker_disk_available_bytes", &[], 1.0),
        ("meme_maker_memory_resident_bytes", &[], 1e6),
    ] {
        let shown = sum(name, labels);
        assert!(shown >= least, "{name} {labels:?}: {shown} and not {least}");
    }
    assert_eq!(sum("meme_maker_verdict", &[("resource", "storage")]), 0.0);
    let routes: BTreeSet<&String> = families["meme_maker_http_requests_total"]
        .samples
        .iter()
        .map(|sample| &sample.labels["route"])
        .collect();
    assert!(
        routes
            .iter()
            .all(|route| *route == "none" || route.starts_with('/')),
        "{routes:?}"
    );
}

#[test]
fn the_parser_is_strict() {
    let page = "# HELP a_total x\n# TYPE a_total counter\na_total{b=\"c\\\"d,e\"} 1\n";
    assert_eq!(parse(page)["a_total"].samples[0].labels["b"], "c\"d,e");
    for wrong in [
        "a_total 1\n",
        "# TYPE a_total counter\na_total 1",
        "# TYPE a_total counter\nb_total 1\n",
        "# TYPE a_total counter\na_total{b=c} 1\n",
        "# TYPE a_total counter\na_total one\n",
        "# TYPE a_total counter\n# TYPE a_total counter\na_total 1\n",
        "# TYPE a summary\na 1\n",
    ] {
        assert!(
            std::panic::catch_unwind(|| parse(wrong)).is_err(),
            "{wrong}"
        );
    }
}

#[test]
fn figures_of_one_service_do_not_grow_with_what_visitors_invent() {
    let service = Service::start();
    let lines = || service.get("/metrics").text().lines().count();
    for word in ["a", "b"] {
        service.get(&format!("/{word}"));
        service.get(&format!("/api/clips/{word}"));
    }
    lines();
    let before = lines();
    for number in 0..50 {
        service.get(&format!("/{number}"));
        service.get(&format!("/api/clips/{number}?{number}"));
        service.request(&format!("M{number}"), "/api/clips", &[], b"");
    }
    let grown = lines() - before;
    assert!(grown <= 24, "{grown} lines more");
}
