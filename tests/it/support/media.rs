//! Media made by ffmpeg's generators: pictures that move and have noise, so that no two frames are alike. Made once and shared by all
//! tests of a build.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs ffmpeg; its last words are in the panic if it fails.
#[track_caller]
pub fn ffmpeg(arguments: &[&str]) {
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-y"])
        .args(arguments)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "ffmpeg {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A file of the media folder, made by `make` the first time it is asked for.
pub fn made(name: &str, make: impl FnOnce(&str)) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("media");
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join(name);
    if !path.exists() {
        // Tests run beside each other: the file appears whole or not at all.
        let own = folder.join(format!("{}-{name}", std::process::id()));
        make(own.to_str().unwrap());
        std::fs::rename(&own, &path).unwrap();
    }
    path
}

/// Moving, noisy pictures as a lavfi source.
pub fn pictures(size: &str, rate: &str, seconds: f64) -> String {
    format!("testsrc2=size={size}:rate={rate}:duration={seconds},noise=alls=12:allf=t:all_seed=7")
}

/// Sound that changes all the time, so that a shift shows.
pub fn sound(rate: u32, seconds: f64) -> String {
    format!(
        "aevalsrc='0.3*sin(2*PI*(200*t+90*t*t))+0.05*random(0)|0.3*sin(2*PI*(300*t+50*t*t))':s={rate}:d={seconds}"
    )
}

/// The everyday source: 12 s of 640x360 at 30 fps, H.264 with B-frames and a keyframe every 2 s, AAC, index in front.
pub fn everyday() -> PathBuf {
    made("everyday.mp4", |path| {
        let (pictures, sound) = (pictures("640x360", "30", 12.0), sound(48_000, 12.0));
        ffmpeg(&[
            "-f",
            "lavfi",
            "-i",
            &pictures,
            "-f",
            "lavfi",
            "-i",
            &sound,
            "-c:v",
            "libx264",
            "-preset",
            "veryfast",
            "-crf",
            "23",
            "-g",
            "60",
            "-keyint_min",
            "60",
            "-sc_threshold",
            "0",
            "-bf",
            "3",
            "-pix_fmt",
            "yuv420p",
            "-c:a",
            "aac",
            "-b:a",
            "128k",
            "-movflags",
            "+faststart",
            path,
        ]);
    })
}

/// A source that takes a while to cut: 40 s of 1280x720.
pub fn long() -> PathBuf {
    made("long.mp4", |path| {
        let pictures = pictures("1280x720", "30", 40.0);
        ffmpeg(&[
            "-f",
            "lavfi",
            "-i",
            &pictures,
            "-c:v",
            "libx264",
            "-preset",
            "ultrafast",
            "-crf",
            "30",
            "-g",
            "120",
            "-pix_fmt",
            "yuv420p",
            "-movflags",
            "+faststart",
            path,
        ]);
    })
}
