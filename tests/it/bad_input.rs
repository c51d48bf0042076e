//! Sources that are broken, lie, or are no videos at all, as links to the real service. Each ends in a clip that is right or in a
//! failed clip whose code says that the source is to blame, and none makes the service large.

use serde_json::Value;

use crate::support::media::{self, ffmpeg, made, remuxed};
use crate::support::origin::{Behaviour, Origin};
use crate::support::service::{Service, Setup, recipe};
use crate::support::tree::Watch;

/// Service and sidecars together.
const MOST_MEMORY: u64 = 350_000_000;

/// How a clip of a bad source may end.
enum End {
    Code(&'static str),
    /// With any of the codes that blame the source, or as a clip of all frames.
    BlameOrWhole,
    /// The same, or as a clip that lacks what the damage took.
    BlameOrPart,
}
use End::{BlameOrPart, BlameOrWhole, Code};

/// What a source may be blamed for; everything else that can go wrong is ours.
const BLAME: [&str; 8] = [
    "source_unsupported",
    "source_truncated",
    "source_damaged",
    "time_range",
    "source_no_video",
    "source_too_large",
    "source_timeout",
    "clip_empty",
];

/// The span that is asked for, in seconds of a source of 30 frames a second, and its frames.
const START: f64 = 0.7;
const END: f64 = 2.3;
const FRAMES: u64 = 48;

/// Makes a clip of every source, all in one service, one after the other.
#[track_caller]
fn check(cases: Vec<(String, Behaviour, End)>) {
    let origin = Origin::start();
    let service = Setup::default()
        .with("ENGINE__WORKERS", 1)
        .with("ENGINE__PROBE_SECONDS", 4)
        .with("ENGINE__FETCH_SECONDS", 4)
        .with("ENGINE__CUT_SECONDS", 20)
        .start();
    let mut wrong = Vec::new();
    for (name, behaviour, end) in cases {
        let link = origin.add(&format!("/{name}"), behaviour);
        let watch = Watch::start(service.pid());
        let clip = settled(&service, &link);
        let peak = watch.peak();
        let ended = clip["error"]["code"].as_str().unwrap_or("ready");
        let right = match end {
            Code(code) => ended == code,
            BlameOrWhole | BlameOrPart if ended != "ready" => BLAME.contains(&ended),
            BlameOrWhole => clip["result"]["frames"] == FRAMES,
            BlameOrPart => (1..=FRAMES).contains(&clip["result"]["frames"].as_u64().unwrap()),
        };
        if !right || peak > MOST_MEMORY {
            wrong.push(format!("{name}: {ended}, {peak} bytes of memory, {clip}"));
        }
    }
    assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), service.log());
    assert!(!service.log().contains("panicked"), "{}", service.log());
    assert_eq!(service.get("/api/health/live").status, 200);
}

/// Submits a clip and waits for its end, whichever it is; a failure has to come with its words.
#[track_caller]
fn settled(service: &Service, link: &str) -> Value {
    let ticket = service.ticket(&recipe(link, START, END));
    let clip = service.wait_for(&ticket.id, &["ready", "failed"]);
    if clip["state"] == "failed" {
        for field in ["code", "detail", "hint"] {
            let said = clip["error"][field].as_str().unwrap_or_default();
            assert!(!said.is_empty(), "{field} is missing in {clip}");
        }
    }
    clip
}

/// The bytes as a file that is served with ranges.
fn file(folder: &tempfile::TempDir, name: &str, bytes: &[u8]) -> Behaviour {
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    Behaviour::File(path)
}

/// An MP4 with its index behind the media, so that the index may change its length.
fn index_behind() -> Vec<u8> {
    std::fs::read(remuxed("tiny-index-behind.mp4", &media::tiny(), "")).unwrap()
}

/// Where the first box of a kind begins with its kind.
#[track_caller]
fn place(bytes: &[u8], kind: &[u8; 4]) -> usize {
    let moov = bytes.windows(4).rposition(|four| four == b"moov").unwrap();
    let within = bytes[moov..].windows(4).position(|four| four == kind);
    moov + within.unwrap()
}

/// The same with a number written over, so many bytes behind the kind of the first box of a kind.
fn lying(bytes: &[u8], kind: &[u8; 4], behind: usize, number: u32) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let at = place(&bytes, kind) + 4 + behind;
    bytes[at..at + 4].copy_from_slice(&number.to_be_bytes());
    bytes
}

#[test]
fn what_is_cut_off_empty_or_a_picture_is_told_by_its_code() {
    let folder = tempfile::tempdir().unwrap();
    let behind = index_behind();
    let front = std::fs::read(media::tiny()).unwrap();
    let index = place(&front, b"moov");
    let picture = |name: &str| {
        made(name, |path| {
            let source = media::pictures("640x360", "1", 1.0);
            ffmpeg(&["-f", "lavfi", "-i", &source, "-frames:v", "1", path]);
        })
    };
    check(vec![
        (
            "empty.mp4".to_owned(),
            Behaviour::Bytes {
                bytes: Vec::new(),
                claimed: 0,
            },
            Code("source_unsupported"),
        ),
        (
            "index-cut-off.mp4".to_owned(),
            file(
                &folder,
                "cut-off.mp4",
                &behind[..place(&behind, b"moov") - 4],
            ),
            Code("source_unsupported"),
        ),
        (
            "index-cut-in-two.mp4".to_owned(),
            file(&folder, "cut-in-two.mp4", &front[..index + 600]),
            BlameOrPart,
        ),
        (
            "media-cut-off.mp4".to_owned(),
            file(&folder, "media-cut-off.mp4", &front[..front.len() / 2]),
            Code("source_truncated"),
        ),
        (
            "picture.png".to_owned(),
            Behaviour::File(picture("one.png")),
            Code("source_unsupported"),
        ),
        (
            "picture.jpg".to_owned(),
            Behaviour::File(picture("one.jpg")),
            Code("source_unsupported"),
        ),
    ]);
}

#[test]
fn a_huge_picture_and_a_thousand_streams_cost_no_memory() {
    let bomb = made("bomb.mkv", |path| {
        ffmpeg(&[
            "-f",
            "rawvideo",
            "-pix_fmt",
            "monob",
            "-s",
            "15360x15360",
            "-r",
            "1",
            "-i",
            "/dev/zero",
            "-frames:v",
            "1",
            "-c:v",
            "png",
            path,
        ]);
    });
    let crowd = |name: &str| {
        made(name, |path| {
            let tiny = media::tiny();
            let mut list = vec!["-i", tiny.to_str().unwrap(), "-map", "0:v"];
            list.extend(["-map", "0:a"].repeat(999));
            list.extend(["-c", "copy", path]);
            ffmpeg(&list);
        })
    };
    check(vec![
        (
            "bomb.mkv".to_owned(),
            Behaviour::File(bomb),
            // Either is true: the codec is not among those that are opened, and the picture is too large.
            BlameOrWhole,
        ),
        (
            "crowd.mp4".to_owned(),
            Behaviour::File(crowd("crowd.mp4")),
            BlameOrWhole,
        ),
        (
            "crowd.mkv".to_owned(),
            Behaviour::File(crowd("crowd.mkv")),
            BlameOrWhole,
        ),
    ]);
}

#[test]
fn an_index_that_lies_is_the_sources_fault() {
    const MOST: u32 = u32::MAX;
    let folder = tempfile::tempdir().unwrap();
    let bytes = index_behind();
    // Behind version and flags: the count of entries and the entries, except in stsz, where the size of all comes first.
    let lies: &[(&str, &[u8; 4], usize, u32)] = &[
        ("one size for all", b"stsz", 4, 0x00ff_ffff),
        ("a size beyond the file", b"stsz", 12, 0x7fff_ffff),
        ("more sizes than bytes", b"stsz", 8, 0x0fff_ffff),
        ("most sizes", b"stsz", 8, MOST),
        ("a chunk beyond the file", b"stco", 8, MOST),
        ("more chunks than bytes", b"stco", 4, 0x0fff_ffff),
        ("no chunks", b"stco", 4, 0),
        ("a late first chunk", b"stsc", 8, 1000),
        ("most samples in a chunk", b"stsc", 12, MOST),
        ("no samples in a chunk", b"stsc", 12, 0),
        ("more runs than bytes", b"stsc", 4, 0x0fff_ffff),
        ("most samples of a duration", b"stts", 8, MOST),
        ("no samples of a duration", b"stts", 8, 0),
        ("the longest duration", b"stts", 12, 0x7fff_ffff),
        ("a duration below nothing", b"stts", 12, 0xffff_fff0),
        ("more durations than bytes", b"stts", 4, 0x0fff_ffff),
        ("most samples of a shift", b"ctts", 8, MOST),
        ("the largest shift", b"ctts", 12, 0x7fff_ffff),
        ("more shifts than bytes", b"ctts", 4, 0x0fff_ffff),
        ("more keyframes than bytes", b"stss", 4, 0x0fff_ffff),
        ("a keyframe beyond the end", b"stss", 8, MOST),
        ("the longest track", b"mdhd", 16, MOST),
        ("no ticks in a second", b"mdhd", 12, 0),
        ("most ticks in a second", b"mdhd", 12, MOST),
        ("no ticks in a second of the film", b"mvhd", 12, 0),
        ("no kind of entry", b"stsd", 4, 0),
        ("more kinds of entries than bytes", b"stsd", 4, MOST),
        (
            "an edit that shows the far future",
            b"elst",
            12,
            0x7fff_ffff,
        ),
        ("more edits than bytes", b"elst", 4, MOST),
    ];
    let mut cases: Vec<_> = lies
        .iter()
        .map(|(name, kind, behind, number)| {
            let name = format!("{}.mp4", name.replace(' ', "-"));
            let behaviour = file(&folder, &name, &lying(&bytes, kind, *behind, *number));
            (name, behaviour, BlameOrWhole)
        })
        .collect();
    cases.push((
        "the-longest-film.mp4".to_owned(),
        file(&folder, "the-longest-film.mp4", &longest(&bytes)),
        BlameOrWhole,
    ));
    cases.push((
        "groups-of-nothing.mp4".to_owned(),
        file(&folder, "groups-of-nothing.mp4", &groups_of_nothing(&bytes)),
        BlameOrWhole,
    ));
    check(cases);
}

/// A box of sample groups (ISO/IEC 14496-12, 8.9.3) behind the first track's tables says that it has 20 million entries of no known
/// kind, which need no bytes at all.
fn groups_of_nothing(bytes: &[u8]) -> Vec<u8> {
    let mut groups = vec![0, 0, 0, 20];
    groups.extend(b"sgpd\0\0\0\0none");
    groups.extend(20_000_000_u32.to_be_bytes());
    let mut longer = bytes.to_vec();
    let mut end = 0;
    for kind in [b"moov", b"trak", b"mdia", b"minf", b"stbl"] {
        let at = place(bytes, kind) - 4;
        let size = u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        end = at + size as usize;
        longer[at..at + 4].copy_from_slice(&(size + groups.len() as u32).to_be_bytes());
    }
    longer.splice(end..end, groups);
    longer
}

/// The film says that it lasts 2^63 ticks: a header of version 1 (ISO/IEC 14496-12, 8.2.2) instead of that of version 0.
fn longest(bytes: &[u8]) -> Vec<u8> {
    let (moov, mvhd) = (place(bytes, b"moov"), place(bytes, b"mvhd"));
    let mut header = vec![1, 0, 0, 0];
    header.extend([0; 16]);
    header.extend(&bytes[mvhd + 16..mvhd + 20]);
    header.extend((1_u64 << 63).to_be_bytes());
    let mut longer = bytes.to_vec();
    longer.splice(mvhd + 4..mvhd + 24, header);
    for at in [moov - 4, mvhd - 4] {
        let size = u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) + 12;
        longer[at..at + 4].copy_from_slice(&size.to_be_bytes());
    }
    longer
}

#[test]
fn damage_anywhere_ends_well() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = index_behind();
    let (media, index) = (place(&bytes, b"moov") - 4, bytes.len());
    let first = bytes.windows(4).position(|four| four == b"mdat").unwrap() + 4;
    let mut cases = Vec::new();
    for seed in 0..8 {
        for (what, range, flips) in [
            ("media", first..media, 200),
            ("index", media + 8..index, 12),
        ] {
            let mut damaged = bytes.clone();
            let mut random = Random(seed + 1);
            for _ in 0..flips {
                let at = range.start + random.below(range.len());
                damaged[at] ^= 1 << random.below(8);
            }
            let name = format!("damaged-{what}-{seed}.mp4");
            let behaviour = file(&folder, &name, &damaged);
            cases.push((name, behaviour, BlameOrPart));
        }
    }
    check(cases);
}

/// The same numbers every time (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

#[test]
fn a_playlist_without_end_is_not_listened_to() {
    let line = b"#EXTINF:10,\nhttp://127.0.0.1/next.ts\n";
    check(vec![(
        "endless.m3u8".to_owned(),
        Behaviour::Endless {
            head: b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n".to_vec(),
            again: line.repeat(400),
        },
        Code("source_too_large"),
    )]);
}
