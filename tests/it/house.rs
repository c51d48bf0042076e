//! The house rules that can be held by reading the source: which floor may import what, and what stands where only.

use std::path::{Path, PathBuf};

/// Floors from the ground up; a file may use its own floor's nouns only where it is not one of the four rooms.
const FLOORS: [&[&str]; 6] = [
    &[
        "bytes",
        "clip",
        "cost",
        "estimate",
        "recipe",
        "seconds",
        "secret",
        "sighting",
        "timestamp",
        "title",
        "token",
        "upload",
        "verdict",
    ],
    &["config"],
    &["index", "media", "source", "store"],
    &["app", "cut"],
    &[
        "access",
        "backup",
        "eviction",
        "keeper",
        "library",
        "monitor",
        "repair",
        "retention",
        "room",
        "sources",
        "trail",
        "trash",
        "uploads",
        "worker",
    ],
    &["cli", "http", "serve"],
];

fn sources() -> Vec<(PathBuf, String)> {
    fn walk(dir: &Path, found: &mut Vec<(PathBuf, String)>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push((path.clone(), std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let mut found = Vec::new();
    walk(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut found,
    );
    assert!(found.len() > 40);
    found
}

/// The room a file belongs to: `media/plan.rs` is in `media`.
fn room(path: &Path) -> String {
    let inside = path
        .strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))
        .unwrap();
    let first = inside
        .components()
        .next()
        .unwrap()
        .as_os_str()
        .to_str()
        .unwrap();
    first.trim_end_matches(".rs").to_owned()
}

fn floor(room: &str) -> usize {
    FLOORS
        .iter()
        .position(|rooms| rooms.contains(&room))
        .unwrap_or_else(|| panic!("{room} is on no floor"))
}

/// The part of a file before its tests.
fn product(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests").next().unwrap()
}

#[test]
fn imports_point_down() {
    for (path, text) in sources() {
        let from = room(&path);
        if from == "main" || from == "lib" {
            continue;
        }
        for piece in product(&text).split("crate::").skip(1) {
            let to: String = piece
                .chars()
                .take_while(|letter| letter.is_alphanumeric() || *letter == '_')
                .collect();
            if to == from || to.is_empty() {
                continue;
            }
            let (here, there) = (floor(&from), floor(&to));
            let rooms = FLOORS[2].contains(&from.as_str()) && FLOORS[2].contains(&to.as_str());
            assert!(
                there <= here && !rooms,
                "{} looks up or sideways into {to}",
                path.display()
            );
        }
    }
}

#[test]
fn things_stand_only_where_they_belong() {
    for (needle, homes) in [
        ("rusqlite", &["index"][..]),
        ("actix_web", &["http", "serve"]),
        ("Command::new", &["media", "cli"]),
        ("metrics_exporter_prometheus", &["http", "serve"]),
    ] {
        for (path, text) in sources() {
            let room = room(&path);
            assert!(
                homes.contains(&room.as_str()) || !product(&text).contains(needle),
                "{needle} in {}",
                path.display()
            );
        }
    }
    for (path, text) in sources() {
        let starts = product(&text).matches("Command::new").count();
        let home = path.ends_with("media/sidecar.rs") || path.ends_with("cli/launch.rs");
        assert!(starts == 0 || home, "{} starts a program", path.display());
        assert!(
            text.starts_with("//! "),
            "{} does not say what it owns",
            path.display()
        );
    }
}
