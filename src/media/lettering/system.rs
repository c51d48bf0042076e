//! Noto faces that lie on the machine, best first. They are the operator's, so they are believed but bounded.

use std::path::{Path, PathBuf};

use harfrust::Font;

use super::faces::Face;

/// As far as folders are looked through.
const MOST_FILES: usize = 4000;
const MOST_BYTES: u64 = 64 << 20;
const DEEPEST: usize = 6;
/// Faces whose letters are squares, which are as large as ours already.
const SQUARE: [&str; 6] = ["CJK", "JP", "KR", "SC", "TC", "HK"];

/// Noto faces below these folders, those first that are taken first.
pub fn files(folders: &[PathBuf]) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for folder in folders {
        walk(folder, 0, &mut files);
    }
    files.sort_by_key(|path| rank(path));
    files
}

/// Noto faces below a folder.
fn walk(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries.filter_map(Result::ok) {
        if files.len() >= MOST_FILES {
            return;
        }
        let path = entry.path();
        let Ok(about) = std::fs::metadata(&path) else {
            continue;
        };
        if about.is_dir() && depth < DEEPEST {
            walk(&path, depth + 1, files);
        } else if about.is_file() && about.len() <= MOST_BYTES && is_noto(&path) {
            files.push(path);
        }
    }
}

fn name(path: &Path) -> &str {
    path.file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default()
}

/// By its name; emoji in colour have no outlines.
fn is_noto(path: &Path) -> bool {
    let name = name(path);
    let font = path.extension().and_then(|ending| ending.to_str());
    name.starts_with("Noto")
        && !["Color", "Italic", "Mono"]
            .iter()
            .any(|part| name.contains(part))
        && font.is_some_and(|ending| {
            ["ttf", "otf", "ttc"]
                .iter()
                .any(|known| ending.eq_ignore_ascii_case(known))
        })
}

/// Bold before variable before regular before the others, without serifs before with, and then by name.
fn rank(path: &Path) -> (u8, bool, String) {
    let name = name(path);
    let weight = if name.contains("-Bold") {
        0
    } else if name.contains("VF") || name.contains('[') {
        1
    } else if name.contains("-Regular") {
        2
    } else {
        3
    };
    (weight, name.contains("Serif"), name.to_owned())
}

/// The face in a file, bold where it can be chosen. A file that cannot be read has no letters.
pub fn opened(path: &Path) -> Option<Face> {
    let font = Font::new(std::fs::read(path).ok()?, 0)?;
    if font.outline_glyphs().is_empty() {
        return None;
    }
    let bold = [("wght", 700.0)];
    let scale = match SQUARE.iter().any(|part| name(path).contains(part)) {
        true => 1.0,
        false => 1.15,
    };
    Some(Face {
        font: font.instance_builder().variations(bold).build(),
        scale,
    })
}
