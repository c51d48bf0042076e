//! Ten minutes of 1080p like film: a keyframe where the scene changes, and after ten seconds at the latest. And what its packet table
//! says a cut has to read at least.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::media::{made, sound};
use crate::{Outcome, machine};

pub const FPS: f64 = 30.0;
/// The scenes come again after so many seconds.
const MINUTE: usize = 60;
const MINUTES: usize = 10;

/// The scenes of one minute: frames, and a picture that moves.
const SCENES: [(u32, &str); 10] = [
    (102, "testsrc2=s=1920x1080:r=30"),
    (
        165,
        "mandelbrot=s=640x360:r=30:maxiter=300:end_scale=0.02:end_pts=200",
    ),
    // Longer than the longest group: within it lies a keyframe without a change of scene.
    (
        381,
        "gradients=s=960x540:r=30:speed=0.03:n=6:seed=5,rotate=a=t/3",
    ),
    (
        162,
        "life=s=240x135:r=30:mold=12:ratio=0.12:seed=3:death_color=#203040:life_color=#e0c080:mold_color=#805030",
    ),
    (
        231,
        "testsrc2=s=2400x1350:r=30,crop=1920:1080:x='240+200*sin(t)':y='135+100*cos(1.3*t)',hue=h=90",
    ),
    (42, "cellauto=s=480x270:r=30:rule=110:seed=9:scroll=1"),
    (
        246,
        "mandelbrot=s=640x360:r=30:maxiter=300:start_x=-0.7436:start_y=0.1318:start_scale=1:end_scale=0.002:end_pts=300",
    ),
    (195, "gradients=s=960x540:r=30:speed=0.08:n=4:seed=8"),
    (132, "testsrc2=s=1920x1080:r=30,rotate=a=t/4,negate"),
    (
        144,
        "life=s=320x180:r=30:mold=20:ratio=0.1:seed=11:death_color=#101010:life_color=#40a0ff:mold_color=#204060",
    ),
];

/// About 6 Mbit/s of H.264 High with B-frames, AAC, index in front. The first time it takes a minute or two.
pub fn source() -> Outcome<PathBuf> {
    let minute = minute()?;
    let again = (MINUTES - 1).to_string();
    let sound = sound((MINUTES * MINUTE) as u32);
    let mut list = vec!["-stream_loop", &again, "-i"];
    list.push(minute.to_str().ok_or("the path is not UTF-8")?);
    list.extend(["-f", "lavfi", "-i", &sound, "-map", "0:v", "-map", "1:a"]);
    list.extend(["-c:v", "copy", "-c:a", "aac", "-b:a", "128k"]);
    list.extend(["-movflags", "+faststart"]);
    made("film-600s-1080p30-6M.mp4", list)
}

fn minute() -> Outcome<PathBuf> {
    let mut graph = String::new();
    let mut changes = Vec::new();
    let mut frames = 0;
    for (number, (length, pictures)) in SCENES.iter().enumerate() {
        graph += &format!(
            "{pictures},scale=1920:1080:flags=bilinear,trim=end_frame={length}[s{number}];"
        );
        changes.push(format!("{:.3}", f64::from(frames) / FPS));
        frames += length;
    }
    graph.extend((0..SCENES.len()).map(|number| format!("[s{number}]")));
    graph += &format!(
        "concat=n={},noise=alls=6:allf=t:all_seed=7,format=yuv420p[v]",
        SCENES.len()
    );
    let changes = changes.join(",");
    let mut list = vec!["-filter_complex", &graph, "-map", "[v]"];
    list.extend(["-c:v", "libx264", "-preset", "veryfast", "-profile:v"]);
    list.extend(["high", "-b:v", "6M", "-maxrate", "10M", "-bufsize", "20M"]);
    list.extend(["-g", "300", "-sc_threshold", "0", "-bf", "3"]);
    list.extend(["-force_key_frames", &changes]);
    made("scenes-60s-1080p30-6M.mp4", list)
}

/// A packet of either track.
struct Packet {
    video: bool,
    key: bool,
    pts: f64,
    size: u64,
    /// Where it lies in the file.
    place: u64,
}

/// All packets of a film, each track in decoding order.
pub struct Packets(Vec<Packet>);

impl Packets {
    pub fn of(path: &Path) -> Outcome<Packets> {
        let text = machine::said(
            Command::new("ffprobe")
                .args(["-v", "error", "-show_entries"])
                .arg("packet=codec_type,pts_time,size,pos,flags")
                .args(["-of", "compact=p=0"])
                .arg(path),
        )?;
        // Packets with side data are followed by an empty line.
        let lines = text.lines().filter(|line| !line.is_empty());
        let packets: Option<Vec<Packet>> = lines.map(Packet::parse).collect();
        Ok(Packets(packets.ok_or("the packet table is not clear")?))
    }

    /// Bytes of all packets, of both tracks, that lie between the keyframe at or before `start` and the last packet that the pictures
    /// and the sound before `end` need: up to the first place at or after `end` where all packets before are shown before all others.
    pub fn window(&self, start: f64, end: f64) -> Outcome<u64> {
        let video: Vec<&Packet> = self.0.iter().filter(|packet| packet.video).collect();
        let first = video
            .iter()
            .rposition(|packet| packet.key && packet.pts <= start + TOLERANCE)
            .ok_or("no keyframe before the start")?;
        let shown_next = |from: usize| {
            let times = video[from..].iter().map(|packet| packet.pts);
            times.fold(f64::INFINITY, f64::min)
        };
        let mut shown_last = f64::NEG_INFINITY;
        let mut last = first;
        for (number, packet) in video.iter().enumerate().skip(first) {
            shown_last = shown_last.max(packet.pts);
            last = number;
            // Few packets are shown at or after the end: the suffix is not looked through for the others.
            if shown_last >= end - TOLERANCE - 1.0 / FPS {
                let next = shown_next(number + 1);
                if next >= end - TOLERANCE && shown_last < next {
                    break;
                }
            }
        }
        let sound = self
            .0
            .iter()
            .filter(|packet| !packet.video && packet.pts < end);
        let needed = video[first..=last].iter().copied().chain(sound);
        let until = needed
            .map(|packet| packet.place)
            .max()
            .ok_or("no packets")?;
        let range = video[first].place..=until;
        let within = self.0.iter().filter(|packet| range.contains(&packet.place));
        Ok(within.map(|packet| packet.size).sum())
    }
}

/// In seconds: less than half of any frame.
const TOLERANCE: f64 = 0.001;

impl Packet {
    fn parse(line: &str) -> Option<Packet> {
        let field = |name: &str| {
            line.split('|')
                .filter_map(|field| field.split_once('='))
                .find_map(|(known, value)| (known == name).then_some(value))
        };
        Some(Packet {
            video: field("codec_type")? == "video",
            key: field("flags")?.contains('K'),
            pts: field("pts_time")?.parse().ok()?,
            size: field("size")?.parse().ok()?,
            place: field("pos")?.parse().ok()?,
        })
    }
}

/// Bytes of the boxes that have to be read before any packet: `ftyp` and `moov`.
pub fn head(path: &Path) -> Outcome<u64> {
    let mut file = File::open(path)?;
    let (end, mut place, mut sum) = (file.metadata()?.len(), 0, 0);
    while place < end {
        file.seek(SeekFrom::Start(place))?;
        let (mut size, mut kind) = ([0; 4], [0; 4]);
        file.read_exact(&mut size)?;
        file.read_exact(&mut kind)?;
        let size = match u32::from_be_bytes(size) {
            0 => end - place,
            1 => {
                let mut large = [0; 8];
                file.read_exact(&mut large)?;
                u64::from_be_bytes(large)
            }
            size => u64::from(size),
        };
        if matches!(&kind, b"ftyp" | b"moov") {
            sum += size;
        }
        place += size.max(8);
    }
    Ok(sum)
}
