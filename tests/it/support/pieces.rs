//! Films in pieces: HLS playlists and DASH manifests with all their files, made by ffmpeg and served by an origin.

use std::path::{Path, PathBuf};

use super::media::{ffmpeg, film, made, sweep};
use super::origin::{Behaviour, Origin};

/// Twelve seconds at 25 fps with a keyframe every second, and a pitch that fits itself in one place only.
pub fn film_of_12() -> PathBuf {
    film(
        "in-pieces.mp4",
        &super::media::gentle("320x180", "25", 12.0),
        Some(&sweep(48_000, "stereo", 12.0)),
        super::media::H264,
    )
}

/// A folder of files that `make` fills, made once.
pub fn folder(name: &str, make: impl FnOnce(&Path)) -> PathBuf {
    made(name, |path| {
        let path = Path::new(path);
        let _ = std::fs::remove_dir_all(path);
        std::fs::create_dir_all(path).unwrap();
        make(path);
    })
}

/// Runs ffmpeg in a folder on `source`; `arguments` have spaces between them, and `~` for those within.
pub fn in_pieces(name: &str, source: &Path, arguments: &str) -> PathBuf {
    folder(name, |dir| {
        let at = dir.to_str().unwrap();
        let mut list = vec!["-i".to_owned(), source.to_str().unwrap().to_owned()];
        list.extend(
            arguments
                .split_whitespace()
                .map(|word| word.replace("DIR", at).replace('~', " ")),
        );
        let list: Vec<&str> = list.iter().map(String::as_str).collect();
        ffmpeg(&list);
    })
}

/// Files of a folder by name, in order.
pub fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

/// Serves a folder; the link of one of its files.
pub fn serve(dir: &Path, name: &str) -> (Origin, String) {
    let origin = Origin::start();
    for file in files(dir) {
        let path = format!("/{}", file.file_name().unwrap().to_str().unwrap());
        origin.add(&path, Behaviour::File(file));
    }
    let link = origin.link(&format!("/{name}"));
    (origin, link)
}

/// The names that were asked for, in order, each once.
pub fn asked(origin: &Origin) -> Vec<String> {
    let mut names = Vec::new();
    for line in origin.requests() {
        let name = line
            .split(' ')
            .nth(1)
            .unwrap_or_default()
            .trim_start_matches('/');
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    names
}
