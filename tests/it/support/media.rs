//! Media made by ffmpeg's generators: pictures that move and have noise, so that no two frames are alike. Made once and shared by all
//! tests of a build.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::frames::annex_b;

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
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("films");
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join(name);
    // Tests run beside each other, as threads or as processes: one makes the file, the others wait for it.
    let lock = std::fs::File::create(folder.join(format!("{name}.lock"))).unwrap();
    lock.lock().unwrap();
    if !path.exists() {
        // It appears whole or, when the maker dies, not at all.
        let own = folder.join(format!("unfinished-{name}"));
        make(own.to_str().unwrap());
        std::fs::rename(&own, &path).unwrap();
    }
    path
}

/// Moving, noisy pictures as a lavfi source.
pub fn pictures(size: &str, rate: &str, seconds: f64) -> String {
    format!("testsrc2=size={size}:rate={rate}:duration={seconds},noise=alls=12:allf=t:all_seed=7")
}

/// Pictures as [`pictures`] with less noise: an encoder at the engine's quality keeps every one of them at 36 dB or better.
pub fn gentle(size: &str, rate: &str, seconds: f64) -> String {
    format!("testsrc2=size={size}:rate={rate}:duration={seconds},noise=alls=4:allf=t:all_seed=7")
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

/// Sound whose pitch climbs fast: however it is shifted, it fits itself in one place only. One tone a channel; as a lavfi source.
pub fn sweep(rate: u32, layout: &str, seconds: f64) -> String {
    let channels = match layout {
        "mono" => 1,
        "stereo" => 2,
        "5.1" => 6,
        _ => panic!("{layout} is not a layout that tests use"),
    };
    let tones: Vec<String> = (0..channels)
        .map(|channel| format!("0.15*sin(2*PI*({}*t+700*t*t))", 200 + 40 * channel))
        .collect();
    format!(
        "aevalsrc='{}':s={rate}:c={layout}:d={seconds}",
        tones.join("|")
    )
}

/// A film from lavfi sources, made by `name` and its codec arguments (spaces between them).
pub fn film(name: &str, pictures: &str, sound: Option<&str>, arguments: &str) -> PathBuf {
    made(name, |path| {
        let mut list = vec!["-f", "lavfi", "-i", pictures];
        if let Some(sound) = sound {
            list.extend(["-f", "lavfi", "-i", sound]);
        }
        list.extend(arguments.split_whitespace());
        list.push(path);
        ffmpeg(&list);
    })
}

/// H.264 and AAC with a keyframe every second at 25 fps, three B-frames between others: for [`film`].
pub const H264: &str = "-c:v libx264 -preset veryfast -crf 20 -g 25 -keyint_min 25 -sc_threshold 0 -bf 3 -pix_fmt yuv420p \
     -c:a aac -b:a 128k";

/// Four seconds of 320x180 at 25 fps with stereo sound: what most sources of the tests are made from.
pub fn short() -> PathBuf {
    film(
        "short.mp4",
        &gentle("320x180", "25", 4.0),
        Some(&sweep(48_000, "stereo", 4.0)),
        &format!("{H264} -movflags +faststart"),
    )
}

/// Another container, or other details, for packets that are there already.
pub fn remuxed(name: &str, from: &Path, arguments: &str) -> PathBuf {
    made(name, |path| {
        let mut list = vec!["-i", from.to_str().unwrap(), "-map", "0", "-c", "copy"];
        list.extend(arguments.split_whitespace());
        list.push(path);
        ffmpeg(&list);
    })
}

/// A copy of an MP4 that players turn clockwise by 90, 180 or 270 degrees: the matrix of its first track header (ISO/IEC 14496-12,
/// 8.3.2) is written over.
pub fn turned(name: &str, from: &Path, degrees: u32) -> PathBuf {
    made(name, |path| {
        const ONE: i32 = 1 << 16;
        let mut bytes = std::fs::read(from).unwrap();
        let header = bytes.windows(4).position(|four| four == b"tkhd").unwrap();
        let [width, height] = [80, 84]
            .map(|place| i32::from_be_bytes(bytes[header + place..][..4].try_into().unwrap()));
        let (a, b, c, d, x, y) = match degrees {
            90 => (0, ONE, -ONE, 0, height, 0),
            180 => (-ONE, 0, 0, -ONE, width, height),
            270 => (0, -ONE, ONE, 0, 0, width),
            _ => panic!("{degrees} degrees are no quarter turns"),
        };
        let matrix = [a, b, 0, c, d, 0, x, y, 1 << 30];
        for (place, cell) in matrix.into_iter().enumerate() {
            bytes[header + 44 + 4 * place..][..4].copy_from_slice(&cell.to_be_bytes());
        }
        std::fs::write(path, bytes).unwrap();
    })
}

/// A source that is cut in no time: 3 s of 160x90 at 30 fps with sound, a keyframe every half second, index in front.
pub fn tiny() -> PathBuf {
    made("tiny.mp4", |path| {
        let (pictures, sound) = (pictures("160x90", "30", 3.0), sound(48_000, 3.0));
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
            "-g",
            "15",
            "-pix_fmt",
            "yuv420p",
            "-c:a",
            "aac",
            "-movflags",
            "+faststart",
            path,
        ]);
    })
}

/// Two encodes of one setting behind each other, four seconds at 25 fps, whose picture parameter sets say different things: with ids
/// of their own, known from the start, or with one id that changes its meaning in the middle.
pub fn several_sets(name: &str, own_ids: bool) -> PathBuf {
    made(name, |path| {
        let dir = tempfile::tempdir().unwrap();
        let encoded = |params: &str| {
            let target = dir.path().join("half.h264");
            let target = target.to_str().unwrap();
            let pictures = gentle("160x90", "25", 2.0);
            let params = format!("keyint=25:scenecut=0:bframes=0:ref=2:8x8dct=1:{params}");
            ffmpeg(&[
                "-f",
                "lavfi",
                "-i",
                &pictures,
                "-c:v",
                "libx264",
                "-pix_fmt",
                "yuv420p",
                "-x264-params",
                &params,
                target,
            ]);
            std::fs::read(target).unwrap()
        };
        let first = encoded("crf=20:cabac=1:weightp=2");
        let spare = if own_ids { "sps-id=1" } else { "sps-id=0" };
        let second = encoded(&format!("crf=24:cabac=0:weightp=0:{spare}"));
        let kind = |unit: &[u8]| unit[0] & 0x1f;
        let mut second: Vec<Vec<u8>> = annex_b(&second)
            .into_iter()
            .filter(|unit| kind(unit) != 7)
            .map(|unit| {
                if kind(unit) == 8 && own_ids {
                    of_first_sequence(unit)
                } else {
                    unit.to_vec()
                }
            })
            .collect();
        let mut units: Vec<Vec<u8>> = annex_b(&first).into_iter().map(<[u8]>::to_vec).collect();
        if own_ids {
            let own = second.iter().find(|unit| kind(unit) == 8).unwrap().clone();
            let place = units.iter().position(|unit| kind(unit) == 8).unwrap();
            units.insert(place + 1, own);
        }
        units.append(&mut second);
        let stream: Vec<u8> = units
            .iter()
            .flat_map(|unit| [&[0, 0, 0, 1], unit.as_slice()].concat())
            .collect();
        let whole = dir.path().join("whole.h264");
        std::fs::write(&whole, stream).unwrap();
        ffmpeg(&[
            "-framerate",
            "25",
            "-i",
            whole.to_str().unwrap(),
            "-c",
            "copy",
            path,
        ]);
    })
}

/// A picture parameter set with id 1 of the sequence with id 1, made one of the sequence with id 0 (ITU-T H.264, clause 7.3.2.2).
#[track_caller]
fn of_first_sequence(unit: &[u8]) -> Vec<u8> {
    let bits: String = unit[1..].iter().map(|byte| format!("{byte:08b}")).collect();
    let after = bits.strip_prefix("010010").unwrap();
    let moved = format!("0101{}", after.trim_end_matches('0'));
    let bytes = moved.as_bytes().chunks(8).map(|digits| {
        let digits = format!("{:0<8}", str::from_utf8(digits).unwrap());
        u8::from_str_radix(&digits, 2).unwrap()
    });
    [unit[0]].into_iter().chain(bytes).collect()
}
