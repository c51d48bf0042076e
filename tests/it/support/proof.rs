//! The proof of a clip: source and clip decoded and compared picture by picture and sound by sound, and the method held against what
//! the source's own packets allow. What the engine says about itself is compared with what was found, never taken for it.

use std::ops::Range;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::frames::{self, Contents, Frame, Packet};
use super::service;

/// Decimal times are rounded: a frame this close to a boundary lies on it.
const TOLERANCE: f64 = 0.001;
/// A re-encoded picture is at least this much like its source, in dB.
const LIKE: f64 = 36.0;
/// Sound and picture drift apart by less than this.
pub const SYNC: f64 = 0.005;
/// A frame of AAC at 44.1 kHz, and the rounding of millisecond containers.
const SOUND_GRAIN: f64 = 0.025;
/// Times that ffprobe prints are rounded to microseconds, those of source and clip each.
const PRINTED: f64 = 0.000_002;

/// A source, decoded: times are counted as the service counts them.
pub struct Source {
    path: PathBuf,
    pub contents: Contents,
    pub keyframes: Vec<f64>,
    /// In decoding order.
    packets: Vec<Packet>,
    /// For each packet, whether splicing may begin with it; `None` when the stream cannot be spliced at all.
    entries: Option<Vec<bool>>,
    /// How far a time may be off: a tick of the container, and a little for rounding.
    pub tick: f64,
}

/// A finished clip.
pub struct Clip {
    pub path: PathBuf,
    /// What `clip --json` printed.
    pub told: Value,
    _dir: tempfile::TempDir,
}

/// How a clip has to be made: for each span, which of its frames are copied.
enum Way {
    Splice(Vec<Range<usize>>),
    Encode,
    /// So much has to be encoded that both are right.
    Either(Vec<Range<usize>>),
}

impl Source {
    #[track_caller]
    pub fn read(path: PathBuf) -> Source {
        let contents = frames::read(&path);
        let counted = |packet: Packet| Packet {
            time: packet.time - contents.zero,
            ..packet
        };
        let packets: Vec<Packet> = frames::packets(&path).into_iter().map(counted).collect();
        let mut keyframes: Vec<f64> = packets
            .iter()
            .filter(|packet| packet.key)
            .map(|packet| packet.time)
            .collect();
        keyframes.sort_by(f64::total_cmp);
        Source {
            entries: entries(&path, packets.len()),
            keyframes,
            packets,
            tick: contents.tick + PRINTED,
            contents,
            path,
        }
    }

    pub fn frames(&self) -> &[Frame] {
        &self.contents.frames
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn name(&self) -> &str {
        self.path.to_str().unwrap()
    }

    /// The numbers of the frames that belong to a span.
    pub fn wanted(&self, start: f64, end: f64) -> Vec<usize> {
        let inside =
            |frame: &Frame| frame.time >= start - TOLERANCE && frame.time < end - TOLERANCE;
        (0..self.frames().len())
            .filter(|number| inside(&self.frames()[*number]))
            .collect()
    }

    pub fn time(&self, number: usize) -> f64 {
        self.frames()[number].time
    }

    /// The number of the frame shown at a time.
    #[track_caller]
    pub fn number(&self, time: f64) -> usize {
        let close = |frame: &Frame| (frame.time - time).abs() < 1e-5;
        self.frames().iter().position(close).unwrap()
    }

    /// When the frame that is shown from `number` on is over.
    pub fn over(&self, number: usize) -> f64 {
        let time = self.time(number);
        match self.frames().get(number + 1) {
            Some(next) => next.time,
            None => {
                let own = self.packets.iter().find(|packet| packet.time == time);
                time + own
                    .map(|packet| packet.duration)
                    .filter(|duration| *duration > 0.0)
                    .unwrap_or_else(|| time - self.time(number - 1))
            }
        }
    }

    /// The keyframe a fast cut that wants `start` begins with.
    pub fn keyframe_before(&self, start: f64) -> f64 {
        let first = self.time(self.wanted(start, f64::INFINITY)[0]);
        let before = self.keyframes.iter().filter(|time| **time <= first + 1e-6);
        before.copied().next_back().unwrap()
    }

    /// How spans have to be cut: spliced where it saves something, which is when less than about 70 % has to be encoded.
    fn way(&self, spans: &[(f64, f64)]) -> Way {
        let wanted: Vec<Vec<usize>> = spans
            .iter()
            .map(|(start, end)| self.wanted(*start, *end))
            .collect();
        let copied: Option<Vec<Range<usize>>> =
            wanted.iter().map(|wanted| self.untouched(wanted)).collect();
        let Some(copied) = copied else {
            return Way::Encode;
        };
        let all: usize = wanted.iter().map(Vec::len).sum();
        let share = 1.0 - copied.iter().map(Range::len).sum::<usize>() as f64 / all as f64;
        match share {
            ..0.65 => Way::Splice(copied),
            0.75.. => Way::Encode,
            _ => Way::Either(copied),
        }
    }

    /// Which of the wanted frames need not be encoded: from the first IDR picture among them to the last place in decoding order where
    /// everything before it is shown before everything behind it.
    fn untouched(&self, wanted: &[usize]) -> Option<Range<usize>> {
        let entries = self.entries.as_ref()?;
        let (first, last) = (self.time(wanted[0]), self.time(*wanted.last()?));
        let begin = (0..self.packets.len())
            .find(|place| entries[*place] && self.packets[*place].time >= first - 1e-6)?;
        let shown_last = |place: usize| {
            let shown = self.packets[begin..=place].iter().map(|packet| packet.time);
            shown.fold(f64::NEG_INFINITY, f64::max)
        };
        let clean = |place: usize| {
            let latest = shown_last(place);
            let mut behind = self.packets[place + 1..].iter();
            behind.all(|packet| packet.time > latest)
        };
        let end = (begin..(begin + wanted.len()).min(self.packets.len()))
            .rev()
            .find(|place| shown_last(*place) <= last + 1e-6 && clean(*place))?;
        let from =
            wanted.partition_point(|number| self.time(*number) < self.packets[begin].time - 1e-6);
        let to = wanted.partition_point(|number| self.time(*number) <= shown_last(end) + 1e-6);
        Some(from..to)
    }
}

/// Where a stream can be entered, if it is of the kind that can be spliced.
#[track_caller]
fn entries(path: &Path, packets: usize) -> Option<Vec<bool>> {
    let fields = "stream=codec_name,pix_fmt,field_order";
    let select = [
        "-select_streams",
        "v:0",
        "-show_entries",
        fields,
        "-of",
        "json",
    ];
    let printed: Value = serde_json::from_str(&frames::ffprobe(path, &select)).unwrap();
    let stream = &printed["streams"][0];
    let progressive = ["progressive", "unknown"].map(Value::from);
    let plain = stream["codec_name"] == "h264"
        && (stream["pix_fmt"] == "yuv420p" || stream["pix_fmt"] == "yuvj420p")
        && (stream["field_order"].is_null() || progressive.contains(&stream["field_order"]));
    if !plain {
        return None;
    }
    let units = frames::units(path);
    assert_eq!(
        units.idr.len(),
        packets,
        "pictures and packets of {} differ in number",
        path.display()
    );
    units.one_sequence.then_some(units.idr)
}

/// As [`cut_and_compare`], and the clip has to be a splice.
#[track_caller]
pub fn splice(source: &Source, spans: &[(f64, f64)]) -> Clip {
    let clip = cut_and_compare(source, source.name(), spans);
    assert_eq!(
        clip.told["method"],
        "splice",
        "{} {spans:?}: {}",
        source.name(),
        clip.told
    );
    clip
}

/// As [`cut_and_compare`], and every frame has to be encoded, for this reason.
#[track_caller]
pub fn encode(source: &Source, spans: &[(f64, f64)], reason: &str) -> Clip {
    let clip = cut_and_compare(source, source.name(), spans);
    let told = (&clip.told["method"], &clip.told["reason"]);
    let wanted = (&Value::from("encode"), &Value::from(reason));
    assert_eq!(told, wanted, "{} {spans:?}: {}", source.name(), clip.told);
    clip
}

/// Runs `clip` and wants it to succeed.
#[track_caller]
pub fn clip(source: &str, arguments: &[&str]) -> Clip {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("clip.mp4");
    let mut list = vec!["clip", source, "-o", path.to_str().unwrap(), "--json"];
    list.extend(arguments);
    let output = service::run(&list, dir.path());
    assert!(
        output.status.success(),
        "{list:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Clip {
        path,
        told: serde_json::from_slice(&output.stdout).unwrap(),
        _dir: dir,
    }
}

/// Cuts every span exactly and proves it.
#[track_caller]
pub fn check(source: &Source, spans: &[(f64, f64)]) {
    for (start, end) in spans {
        cut_and_compare(source, source.name(), &[(*start, *end)]);
    }
}

/// Makes one clip of the spans, joined in this order, and holds it against the source.
#[track_caller]
pub fn cut_and_compare(source: &Source, name: &str, spans: &[(f64, f64)]) -> Clip {
    let mut list = Vec::new();
    for (start, end) in spans {
        list.push("--segment".to_owned());
        list.push(format!("{start:.6}-{end:.6}"));
    }
    let list: Vec<&str> = list.iter().map(String::as_str).collect();
    let clip = clip(name, &list);
    let got = frames::read(&clip.path);
    let (mut offset, mut number) = (0.0, 0);
    for (joints, (start, end)) in spans.iter().enumerate() {
        // A segment that ends within a frame ends at the nearest tick, and what follows begins there.
        let slack = source.tick * (1.0 + 0.5 * joints as f64);
        let case = format!("{name} from {start:.3} to {end:.3}");
        let wanted = source.wanted(*start, *end);
        assert!(!wanted.is_empty(), "{case}: nothing is wanted");
        let first = source.time(wanted[0]);
        for original in &wanted {
            let frame = got
                .frames
                .get(number)
                .unwrap_or_else(|| panic!("{case}: there are only {number} frames"));
            let time = source.time(*original) - first + offset;
            assert!(
                (frame.time - time).abs() <= slack,
                "{case}: frame {number} is at {} instead of {time}",
                frame.time
            );
            if got.hashes[number] != source.contents.hashes[*original] {
                same_picture(source, *original, frame, got.size, &case);
            }
            number += 1;
        }
        let last = *wanted.last().unwrap();
        let length = source.over(last).min(*end) - first;
        match (&source.contents.sound, &got.sound) {
            (Some(original), Some(sound)) => {
                same_sound(original, first, sound, offset, length, &case)
            }
            (Some(original), None) => assert!(
                // Less than a hundredth of a second is no sound.
                between(original, first, length).len() < 480,
                "{case}: the sound is lost"
            ),
            (None, sound) => assert!(sound.is_none(), "{case}: there is sound"),
        }
        offset += length;
    }
    assert_eq!(
        got.frames.len(),
        number,
        "{name} {spans:?}: too many frames"
    );
    let told = |key: &str| clip.told[key].as_f64().unwrap();
    for (what, length) in [
        ("its header", frames::track_length(&clip.path)),
        ("the report", told("duration")),
    ] {
        assert!(
            (length - offset).abs() <= source.tick * (0.5 + 0.5 * spans.len() as f64) + 0.001,
            "{name} {spans:?}: {what} gives the pictures {length} s instead of {offset}"
        );
    }
    assert_eq!(told("frames"), number as f64, "{name} {spans:?}");
    right_method(source, &got, spans, &clip, name);
    if let Some(sound) = &got.sound {
        let surplus = sound.len() as f64 / 48_000.0 - offset;
        assert!(
            surplus < SOUND_GRAIN + source.tick,
            "{name} {spans:?}: the sound goes on for {surplus} s"
        );
    }
    for program in [Path::new("ffmpeg"), frames::other_ffmpeg()] {
        let complaints = frames::complaints_of(program, &clip.path);
        assert_eq!(complaints, "", "{name} {spans:?}: {}", program.display());
    }
    clip
}

/// The clip was made as its source allows, it says so, and what it says was copied was.
#[track_caller]
fn right_method(source: &Source, got: &Contents, spans: &[(f64, f64)], clip: &Clip, name: &str) {
    let case = format!("{name} {spans:?}: {}", clip.told);
    assert_eq!(clip.told["fallback"], Value::Null, "{case}");
    let told = |key: &str| clip.told[key].as_u64().unwrap() as usize;
    assert_eq!(
        told("frames_copied") + told("frames_encoded"),
        got.frames.len(),
        "{case}"
    );
    let copied = match (source.way(spans), clip.told["method"].as_str()) {
        (Way::Splice(copied) | Way::Either(copied), Some("splice")) => copied,
        (Way::Encode | Way::Either(_), Some("encode")) => Vec::new(),
        (Way::Splice(_) | Way::Either(_), _) => panic!("a splice is right for {case}"),
        (Way::Encode, _) => panic!("an encode is right for {case}"),
    };
    let untouched: usize = copied.iter().map(Range::len).sum();
    assert_eq!(told("frames_copied"), untouched, "{case}");
    let mut offset = 0;
    for (copied, (start, end)) in copied.into_iter().zip(spans) {
        let wanted = source.wanted(*start, *end);
        for place in copied {
            assert_eq!(
                got.hashes[offset + place],
                source.contents.hashes[wanted[place]],
                "frame {} of the clip is not the source's bit for bit: {case}",
                offset + place
            );
        }
        offset += wanted.len();
    }
}

/// The frame is the original's picture and no neighbour's.
#[track_caller]
fn same_picture(source: &Source, original: usize, frame: &Frame, size: (u32, u32), case: &str) {
    let whole = |number: usize| cropped(&source.frames()[number].luma, source.contents.size, size);
    let likeness = frames::psnr(&whole(original), &frame.luma);
    assert!(
        likeness >= LIKE,
        "{case}: frame {original} of the source is like its copy by {likeness:.1} dB only"
    );
    // A seventh of the pixels tells neighbours apart well enough.
    let some = |luma: &[u8]| luma.iter().copied().step_by(7).collect::<Vec<u8>>();
    let copy = some(&frame.luma);
    let own = frames::psnr(&some(&whole(original)), &copy);
    let neighbours = [original.wrapping_sub(1), original + 1];
    for neighbour in neighbours
        .into_iter()
        .filter(|number| *number < source.frames().len())
    {
        let other = frames::psnr(&some(&whole(neighbour)), &copy);
        assert!(
            own > other,
            "{case}: instead of frame {original} ({own:.1} dB) there is {neighbour} ({other:.1} dB)"
        );
    }
}

/// The upper left part of a picture.
fn cropped(luma: &[u8], from: (u32, u32), to: (u32, u32)) -> Vec<u8> {
    if from == to {
        return luma.to_vec();
    }
    let rows = luma.chunks_exact(from.0 as usize).take(to.1 as usize);
    rows.flat_map(|row| row[..to.0 as usize].to_vec()).collect()
}

/// What is there of so many seconds of samples from a time on.
fn between(samples: &[f32], time: f64, length: f64) -> &[f32] {
    let place = |time: f64| ((time * 48_000.0).round() as usize).min(samples.len());
    &samples[place(time)..place(time + length)]
}

/// The sound of the clip from `offset` on is that of the source from `first` on, in time and to the end.
#[track_caller]
pub fn same_sound(
    original: &[f32],
    first: f64,
    clip: &[f32],
    offset: f64,
    length: f64,
    case: &str,
) {
    let (original, clip) = (
        between(original, first, length),
        between(clip, offset, length),
    );
    let missing = (original.len() as f64 - clip.len() as f64) / 48_000.0;
    assert!(
        missing < SOUND_GRAIN,
        "{case}: {missing} s of sound are missing"
    );
    // Less is too short to be placed.
    if original.len() < 12_000 {
        return;
    }
    let (shift, alike) = frames::shift(original, clip);
    assert!(
        shift.abs() < SYNC && alike > 0.9,
        "{case}: the sound is {:.1} ms late and alike by {alike:.3}",
        shift * 1000.0
    );
}
