//! Exactness, proved on sources that nobody chose: encoder settings, frame rates, containers, sound and spans are drawn, and every cut
//! gets the same proof as the chosen ones. The draw is the same each time; `make torture` draws many more, and others each time.

use std::panic::{AssertUnwindSafe, catch_unwind};

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any};
use proptest::prop_oneof;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::support::media::{ffmpeg, gentle, sweep};
use crate::support::proof::{Source, cut_and_compare};

/// How many cuts `make test` proves, in all tests together.
const CASES: usize = 24;
const SEED: u64 = 1;
/// No segment is shorter, in seconds.
const SHORTEST: f64 = 0.1;

/// A source and the clips that are cut from it.
#[derive(Clone, Debug)]
struct Drawn {
    container: Container,
    pictures: Pictures,
    params: String,
    sound: Option<Sound>,
    /// Added to all times of the file, in seconds.
    offset: f64,
    clips: Vec<Vec<Span>>,
}

/// A kind of file: how its name ends, and what its muxer is told.
type Container = (&'static str, &'static str);

#[derive(Clone, Debug)]
struct Pictures {
    size: &'static str,
    rate: &'static str,
    steady: bool,
    seconds: f64,
}

#[derive(Clone, Debug)]
struct Sound {
    codec: &'static str,
    rate: u32,
    layout: &'static str,
    /// How much longer than the pictures, in seconds.
    longer: f64,
}

/// Where a segment begins and ends, before the frames are known.
#[derive(Clone, Debug)]
struct Span {
    begin: Place,
    end: Place,
    /// How far before a frame the moments lie, as a share of the time since the frame before it.
    before: [f64; 2],
}

#[derive(Clone, Debug)]
enum Place {
    /// A share of all frames.
    Any(f64),
    /// A share of all keyframes, and so many frames from that one.
    Key(f64, isize),
    /// The first frame as a beginning, behind the last one as an end.
    Edge,
    /// The next frame as an end, the last one as a beginning.
    Single,
    /// Half a second behind everything as an end, the first frame as a beginning.
    Past,
}

fn drawn(containers: &'static [Container]) -> impl Strategy<Value = Drawn> {
    let clips = vec(prop_oneof![3 => vec(span(), 1), 1 => vec(span(), 2..=3)], 3);
    let offset = prop_oneof![3 => Just(0.0), 1 => select(vec![0.5, 1.4, 7.003])];
    let drawn = (
        select(containers),
        pictures(),
        params(),
        sound(),
        offset,
        clips,
    );
    drawn.prop_map(
        |(container, pictures, params, sound, offset, clips)| Drawn {
            sound: sound.map(|sound| playable(sound, container)),
            container,
            pictures,
            params,
            offset,
            clips,
        },
    )
}

fn pictures() -> impl Strategy<Value = Pictures> {
    let sizes = vec![
        "160x90", "176x144", "192x108", "240x136", "226x126", "320x180",
    ];
    let rates = vec![
        "12",
        "24000/1001",
        "24",
        "25",
        "30000/1001",
        "30",
        "50",
        "60000/1001",
        "120",
    ];
    let steady = prop_oneof![4 => Just(true), 1 => Just(false)];
    (select(sizes), select(rates), steady, 2.0..5.0_f64).prop_map(
        |(size, rate, steady, seconds)| Pictures {
            size,
            rate,
            steady,
            // Fast pictures make as many frames in less time.
            seconds: if matches!(rate, "50" | "60000/1001" | "120") {
                seconds / 2.0 + 0.5
            } else {
                seconds
            },
        },
    )
}

/// What x264 is told.
fn params() -> impl Strategy<Value = String> {
    let keyint = prop_oneof![
        1 => Just("1".to_owned()),
        6 => (2..=30_u32).prop_map(|frames| frames.to_string()),
        2 => (31..=90_u32).prop_map(|frames| frames.to_string()),
        1 => Just("infinite".to_owned()),
    ];
    let groups = prop_oneof![
        5 => Just(""),
        2 => Just(":open-gop=1"),
        1 => Just(":intra-refresh=1"),
    ];
    let order = (
        0..=6,
        select(vec!["none", "strict", "normal"]),
        select(vec![0, 1, 2]),
        1..=5,
        0..=2,
    )
        .prop_map(|(runs, pyramid, adapt, refs, weights)| {
            format!(
                "bframes={runs}:b-pyramid={pyramid}:b-adapt={adapt}:ref={refs}:weightp={weights}"
            )
        });
    let details = (
        any::<bool>(),
        any::<bool>(),
        select(vec![0, 40]),
        1..=4,
        1..=2,
    )
        .prop_map(|(cabac, aud, scenecut, slices, threads)| {
            let [cabac, aud] = [cabac, aud].map(u8::from);
            format!("cabac={cabac}:aud={aud}:scenecut={scenecut}:slices={slices}:threads={threads}")
        });
    let rate = prop_oneof![
        6 => (17..=32_u32).prop_map(|crf| format!("crf={crf}")),
        1 => (17..=32_u32).prop_map(|crf| format!("crf={crf}:nal-hrd=vbr:vbv-maxrate=900:vbv-bufsize=900")),
        1 => Just("bitrate=900:nal-hrd=cbr:vbv-maxrate=900:vbv-bufsize=900".to_owned()),
    ];
    let profile = select(vec!["baseline", "main", "high"]);
    (profile, keyint, groups, order, details, rate).prop_map(
        |(profile, keyint, groups, order, details, rate)| {
            format!("profile={profile}:keyint={keyint}{groups}:{order}:{details}:{rate}")
        },
    )
}

fn sound() -> impl Strategy<Value = Option<Sound>> {
    let codec = prop_oneof![4 => Just("aac"), 1 => Just("libmp3lame"), 1 => Just("ac3")];
    let layout = select(vec!["mono", "stereo", "5.1"]);
    let longer = prop_oneof![3 => Just(0.0), 1 => Just(-0.8), 1 => Just(0.7)];
    let sound = (codec, select(vec![44_100, 48_000]), layout, longer);
    let sound = sound.prop_map(|(codec, rate, layout, longer)| {
        Some(Sound {
            codec,
            rate,
            layout,
            longer,
        })
    });
    prop_oneof![1 => Just(None), 5 => sound]
}

/// What a container and a codec can hold.
fn playable(sound: Sound, container: Container) -> Sound {
    let flash = container.0 == "flv";
    let codec = match sound.codec {
        "ac3" if flash => "aac",
        codec => codec,
    };
    let mp3 = codec == "libmp3lame";
    Sound {
        codec,
        rate: if mp3 && flash { 44_100 } else { sound.rate },
        layout: if mp3 && sound.layout == "5.1" {
            "stereo"
        } else {
            sound.layout
        },
        ..sound
    }
}

fn span() -> impl Strategy<Value = Span> {
    let place = || {
        prop_oneof![
            4 => (0.0..1.0).prop_map(Place::Any),
            4 => (0.0..1.0, -1..=1_isize).prop_map(|(which, away)| Place::Key(which, away)),
            1 => Just(Place::Edge),
            1 => Just(Place::Single),
            1 => Just(Place::Past),
        ]
    };
    let before = || prop_oneof![1 => Just(0.0), 1 => 0.3..0.7];
    (place(), place(), before(), before()).prop_map(|(begin, end, from, to)| Span {
        begin,
        end,
        before: [from, to],
    })
}

impl Drawn {
    /// The arguments with which ffmpeg makes the source.
    fn arguments(&self, path: &str) -> Vec<String> {
        let Pictures {
            size,
            rate,
            steady,
            seconds,
        } = &self.pictures;
        let mut list = vec!["-f".to_owned(), "lavfi".to_owned(), "-i".to_owned()];
        let uneven =
            "select='not(eq(mod(n,10),3)+eq(mod(n,10),4)+eq(mod(n,7),2)+between(mod(n,50),30,38))'";
        let pictures = gentle(size, rate, *seconds);
        list.push(if *steady {
            pictures
        } else {
            format!("{pictures},{uneven}")
        });
        if let Some(Sound {
            rate,
            layout,
            longer,
            ..
        }) = &self.sound
        {
            list.extend(["-f", "lavfi", "-i"].map(str::to_owned));
            list.push(sweep(*rate, layout, seconds + longer));
        }
        let mut more =
            "-fps_mode passthrough -c:v libx264 -preset veryfast -pix_fmt yuv420p -x264-params"
                .to_owned();
        more.push_str(&format!(" {}", self.params));
        if !steady {
            more.push_str(" -enc_time_base 1:90000");
        }
        if let Some(sound) = &self.sound {
            more.push_str(&format!(" -c:a {}", sound.codec));
        }
        more.push_str(&format!(
            " -output_ts_offset {} {}",
            self.offset, self.container.1
        ));
        list.extend(more.split_whitespace().map(str::to_owned));
        list.push(path.to_owned());
        list
    }
}

impl Span {
    /// The moments in a source that has frames and keyframes.
    fn moments(&self, source: &Source) -> (f64, f64) {
        let count = source.frames().len();
        let frame = |place: &Place| match place {
            Place::Any(share) => (share * count as f64) as usize,
            Place::Key(share, away) => {
                let keys = &source.keyframes;
                let key = keys[(share * keys.len() as f64) as usize];
                source.number(key).saturating_add_signed(*away)
            }
            Place::Edge | Place::Past => 0,
            Place::Single => count - 1,
        };
        let (mut begin, end) = (
            frame(&self.begin).min(count - 1),
            frame(&self.end).min(count),
        );
        let end = match self.end {
            Place::Edge | Place::Past => count,
            Place::Single => begin + 1,
            Place::Any(_) | Place::Key(..) if end == begin => begin + 1,
            Place::Any(_) | Place::Key(..) if end < begin => std::mem::replace(&mut begin, end),
            Place::Any(_) | Place::Key(..) => end,
        };
        let moment = |frame: usize, before: f64| {
            let time = if frame == count {
                source.over(count - 1)
            } else {
                source.time(frame)
            };
            if frame == 0 {
                time
            } else {
                time - before * (time - source.time(frame - 1))
            }
        };
        let past = if matches!(self.end, Place::Past) {
            0.5
        } else {
            0.0
        };
        let (start, end) = (
            moment(begin, self.before[0]),
            moment(end, self.before[1]) + past,
        );
        if end >= start + SHORTEST {
            return (start, end);
        }
        let mut later = source.frames().iter().map(|frame| frame.time);
        let end = later.find(|time| *time >= start + SHORTEST);
        (start, end.unwrap_or(start + 5.0 * SHORTEST))
    }
}

/// A number from the environment.
#[track_caller]
fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is no number: {text}")),
    )
}

/// Draws sources until their part of all cases is proved, and tells how many were.
#[track_caller]
fn prove(name: &str, containers: &'static [Container], part: f64) -> String {
    let seed = setting("MEME_MAKER_SEED").unwrap_or(SEED);
    let all = setting("MEME_MAKER_CASES").map_or(CASES, |cases| cases as usize);
    let wanted = (all as f64 * part).ceil() as usize;
    let (mut cases, mut sources, mut faults) = (0, 0, Vec::new());
    while cases < wanted {
        let own = seed + sources;
        let drawn = draw(containers, own);
        sources += 1;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(format!("source.{}", drawn.container.0));
        let arguments = drawn.arguments(path.to_str().unwrap());
        ffmpeg(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        let repeat = format!(
            "source {own} of {name} (repeat with MEME_MAKER_SEED={own} MEME_MAKER_CASES=1), made by: ffmpeg {}",
            quoted(&drawn.arguments(&format!("source.{}", drawn.container.0)))
        );
        let read = catch_unwind(|| Source::read(path));
        let Ok(source) = read else {
            faults.push(format!("cannot be read: {repeat}"));
            continue;
        };
        for spans in drawn.clips.iter().take(wanted - cases) {
            let spans: Vec<(f64, f64)> = spans.iter().map(|span| span.moments(&source)).collect();
            cases += 1;
            let proof = || cut_and_compare(&source, source.name(), &spans);
            if catch_unwind(AssertUnwindSafe(proof)).is_err() {
                let segments: String = spans
                    .iter()
                    .map(|(start, end)| format!(" --segment {start:.6}-{end:.6}"))
                    .collect();
                faults.push(format!("{segments} of {repeat}"));
            }
        }
    }
    let told = format!(
        "{name}: {cases} cases from {sources} sources, seeds {seed} to {}",
        seed + sources - 1
    );
    let faults_found = faults.len();
    assert!(
        faults_found == 0,
        "{told}: {faults_found} faults\n{}",
        faults.join("\n")
    );
    told
}

fn draw(containers: &'static [Container], seed: u64) -> Drawn {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    drawn(containers).new_tree(&mut runner).unwrap().current()
}

/// Arguments as a shell takes them.
fn quoted(arguments: &[String]) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./:=+,".contains(letter);
    let quoted = |argument: &String| {
        if argument.chars().all(plain) {
            argument.clone()
        } else {
            format!("'{}'", argument.replace('\'', "'\\''"))
        }
    };
    arguments.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

#[test]
fn random_mp4_files_are_cut_exactly() {
    const CONTAINERS: &[Container] = &[
        ("mp4", "-movflags +faststart"),
        ("mp4", ""),
        (
            "mp4",
            "-movflags +frag_keyframe+delay_moov+default_base_moof",
        ),
        (
            "mp4",
            "-movflags +delay_moov+default_base_moof -frag_duration 400000",
        ),
        ("mov", ""),
    ];
    println!("{}", prove("random_mp4", CONTAINERS, 0.4));
}

#[test]
fn random_matroska_and_flash_files_are_cut_exactly() {
    let containers = &[("mkv", ""), ("flv", "")];
    println!("{}", prove("random_matroska", containers, 0.3));
}

#[test]
fn random_transport_streams_are_cut_exactly() {
    let containers = &[("ts", ""), ("m2ts", "")];
    println!("{}", prove("random_transport", containers, 0.3));
}
