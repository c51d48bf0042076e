//! Every call of ffmpeg and ffprobe carries the limits on formats, codecs, protocols and pixels for each of its inputs: between the
//! service and the programs stands a script that lets nothing else through.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::support::media;
use crate::support::origin::{Behaviour, Origin};
use crate::support::service::{BINARY, Setup, recipe};

const LIMITS: [&str; 5] = [
    "-format_whitelist",
    "-codec_whitelist",
    "-protocol_whitelist",
    "-max_pixels",
    "-max_streams",
];

/// A script that becomes `program` when before every input each limit is named, and an output's format is. It starts nothing else, so
/// that it can stand where the program stands.
fn guard(dir: &Path, program: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let found = Command::new("sh")
        .args(["-c", &format!("command -v {program}")])
        .output()
        .unwrap();
    let real = String::from_utf8(found.stdout).unwrap();
    let script = format!(
        r#"#!/bin/sh
seen= protocols= last=
for argument in "$@"; do
    case "$last" in
    -protocol_whitelist) protocols=$argument ;;
    -i)
        for limit in {limits}; do
            case "$seen" in
            *" $limit "*) ;;
            *) echo "no $limit for $argument" >&2; exit 9 ;;
            esac
        done
        case "$argument,$protocols" in
        file:*,file) ;;
        http*,*file*) echo "files behind $argument" >&2; exit 9 ;;
        http*) ;;
        *) echo "what is $argument with $protocols" >&2; exit 9 ;;
        esac
        seen= protocols= ;;
    esac
    seen="$seen $argument "
    last=$argument
done
exec {real} "$@"
"#,
        limits = LIMITS.join(" "),
        real = real.trim(),
    );
    let path = dir.join(program);
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    path
}

#[test]
fn every_call_of_a_clip_carries_its_limits() {
    let dir = tempfile::tempdir().unwrap();
    let (ffmpeg, ffprobe) = (guard(dir.path(), "ffmpeg"), guard(dir.path(), "ffprobe"));
    // The script itself lets nothing by that lacks one.
    let whole: Vec<String> = LIMITS
        .iter()
        .flat_map(|limit| [(*limit).to_owned(), "file".to_owned()])
        .collect();
    for (missing, limit) in LIMITS.iter().enumerate() {
        let mut arguments = whole.clone();
        arguments.drain(2 * missing..2 * missing + 2);
        let ended = Command::new(&ffmpeg)
            .args(arguments)
            .args(["-i", "file:/dev/null"])
            .output()
            .unwrap();
        assert_eq!(ended.status.code(), Some(9), "{limit}");
    }

    let origin = Origin::start();
    let service = Setup::default()
        .with("ENGINE__FFMPEG", ffmpeg.display())
        .with("ENGINE__FFPROBE", ffprobe.display())
        .start();
    let film = origin.add("/film.mp4", Behaviour::File(media::everyday()));
    let whole = origin.add("/whole.mp4", Behaviour::WithoutRanges(media::everyday()));
    let mkv = media::remuxed("limits.mkv", &media::everyday(), "-c copy");
    let mkv = origin.add("/film.mkv", Behaviour::File(mkv));
    let two = json!([{"start": 0.5, "end": 1.5}, {"start": 3.2, "end": 4.0}]);
    for wish in [
        recipe(&film, 1.3, 5.1),
        json!({"url": film, "start_time": 1.3, "end_time": 5.1, "mode": "fast"}),
        json!({"url": film, "start_time": 1.3, "end_time": 3.1, "height": 180}),
        json!({"url": film, "segments": two}),
        json!({"url": mkv, "segments": two, "height": 90}),
        recipe(&whole, 1.3, 3.1),
        recipe(&mkv, 1.3, 5.1),
        json!({"url": mkv, "start_time": 1.3, "end_time": 5.1, "mode": "fast", "mute": true}),
    ] {
        service.make(&wish);
    }

    let local = media::remuxed("limits.mkv", &media::everyday(), "-c copy");
    let local = local.to_str().unwrap();
    for arguments in [
        &["probe", local][..],
        &["probe", &mkv],
        &["clip", local, "--start", "1.3", "--end", "3", "-o", "a.mp4"],
        &[
            "clip", local, "--start", "1", "--end", "3", "--mode", "fast", "-o", "b.mp4",
        ],
    ] {
        let ended = Command::new(BINARY)
            .args(arguments)
            .current_dir(dir.path())
            .env("MEME_MAKER__EGRESS__ALLOW", "127.0.0.0/8")
            .env("MEME_MAKER__ENGINE__FFMPEG", &ffmpeg)
            .env("MEME_MAKER__ENGINE__FFPROBE", &ffprobe)
            .output()
            .unwrap();
        assert!(ended.status.success(), "{arguments:?}: {ended:?}");
    }
}
