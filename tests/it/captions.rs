//! Captions and the watermark, measured in the pixels of the finished clip: where they are, what colours they have, and that they change
//! nothing else.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::frames::{self, Frame, decode};
use crate::support::media::{ffmpeg, made};
use crate::support::service::BINARY;

const WIDE: usize = 320;
const HIGH: usize = 180;
/// Rows in which something moves; above and below the pictures are grey.
const MOVING: std::ops::Range<usize> = 78..102;

/// Grey pictures with a moving band, some of them left out, so that no two steps in time need be alike.
fn card() -> PathBuf {
    made("card.mkv", |path| {
        ffmpeg(&[
            "-f",
            "lavfi",
            "-i",
            "color=0x808080:size=320x180:rate=25:duration=1.6",
            "-f",
            "lavfi",
            "-i",
            "testsrc2=size=320x24:rate=25:duration=1.6",
            "-filter_complex",
            "[0][1]overlay=0:78,select='not(eq(mod(n,5),3))'",
            "-fps_mode",
            "vfr",
            "-c:v",
            "libx264",
            "-crf",
            "8",
            "-pix_fmt",
            "yuv420p",
            "-f",
            "matroska",
            path,
        ]);
    })
}

fn clip(dir: &Path, arguments: &[&str], fonts: &str) -> Output {
    Command::new(BINARY)
        .args(["clip", card().to_str().unwrap()])
        .args(["--start", "0.2", "--end", "1.4", "-o", "clip.mp4"])
        .args(arguments)
        .current_dir(dir)
        .env("MEME_MAKER__ENGINE__FONTS", fonts)
        .output()
        .unwrap()
}

#[track_caller]
fn captioned(dir: &Path, arguments: &[&str]) -> Vec<Frame> {
    let _ = std::fs::remove_file(dir.join("clip.mp4"));
    let output = clip(dir, arguments, "");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    decode(&dir.join("clip.mp4"), None)
}

#[track_caller]
fn refused(dir: &Path, arguments: &[&str]) -> String {
    let output = clip(dir, arguments, "");
    assert_eq!(output.status.code(), Some(3));
    assert!(!dir.join("clip.mp4").exists());
    String::from_utf8(output.stderr).unwrap()
}

/// The box around the pixels of some rows and columns that are like this: left, top, right and bottom.
fn around(
    frame: &Frame,
    rows: std::ops::Range<usize>,
    columns: std::ops::Range<usize>,
    like: impl Fn(u8) -> bool,
) -> Option<[usize; 4]> {
    let mut area: Option<[usize; 4]> = None;
    for y in rows {
        for x in columns.clone() {
            if like(frame.luma[y * WIDE + x]) {
                let [left, top, right, bottom] = area.unwrap_or([x, y, x, y]);
                area = Some([left.min(x), top.min(y), right.max(x), bottom.max(y)]);
            }
        }
    }
    area
}

fn white(luma: u8) -> bool {
    luma > 235
}

fn black(luma: u8) -> bool {
    luma < 40
}

#[test]
fn captions_stand_in_their_places_and_change_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let frames = captioned(
        dir.path(),
        &[
            "--caption-top",
            r"%{n}\:'[v]{\b1};",
            "--caption-bottom",
            "so true",
            "--watermark",
            "@meme",
        ],
    );
    let source: Vec<Frame> = decode(&card(), None)
        .into_iter()
        .filter(|frame| (0.199..1.399).contains(&frame.time))
        .collect();
    assert!(source.len() > 20);
    assert_eq!(frames.len(), source.len());
    let zero = source[0].time;
    for (number, (frame, original)) in frames.iter().zip(&source).enumerate() {
        assert!(
            (frame.time - (original.time - zero)).abs() < 0.0006,
            "frame {number} is shown at another time"
        );
        // From the first frame to the last they are where they are, white with black around.
        for (rows, columns) in [(0..72, 0..WIDE), (108..HIGH, 0..270)] {
            let inside = around(frame, rows.clone(), columns.clone(), white).unwrap();
            let edge = around(frame, rows.clone(), columns, black).unwrap();
            for (side, step) in [(0, -1), (1, -1), (2, 1), (3, 1)] {
                let beyond = (edge[side] as i64 - inside[side] as i64) * step;
                assert!(
                    beyond >= 1,
                    "no edge on side {side} of {inside:?}: {edge:?}"
                );
            }
            let [left, top, right, bottom] = edge;
            assert!(left > 12 && right < WIDE - 12, "{edge:?}");
            assert!(
                left.abs_diff(WIDE - 1 - right) <= 3,
                "{edge:?} is not centred"
            );
            assert!(bottom - top < 40, "{edge:?}");
            if rows.start == 0 {
                assert!((3..9).contains(&top), "{edge:?}");
            } else {
                assert!((HIGH - 10..HIGH - 3).contains(&bottom), "{edge:?}");
            }
        }
        let mark = around(frame, 150..HIGH, 262..WIDE, |luma| luma > 165).unwrap();
        assert!(
            mark[0] > 270 && mark[1] > 160 && mark[2] < WIDE - 3,
            "{mark:?}"
        );
        // What moves shows that the right pictures are there; what is grey, that nothing was spilled.
        let rows = |frame: &Frame, rows: std::ops::Range<usize>| {
            frame.luma[rows.start * WIDE..rows.end * WIDE].to_vec()
        };
        let like = frames::psnr(&rows(frame, MOVING), &rows(original, MOVING));
        assert!(like > 32.0, "frame {number}: {like} dB");
        let calm = [rows(frame, 50..70), rows(frame, 110..140)].concat();
        assert!(calm.iter().all(|luma| luma.abs_diff(128) < 12), "{number}");
    }
}

#[test]
fn a_caption_is_as_large_as_fits_and_in_capitals_by_choice() {
    let dir = tempfile::tempdir().unwrap();
    let long = "when the neighbour drills holes into the wall behind the television set ".repeat(4);
    let small = captioned(
        dir.path(),
        &[
            "--caption-top",
            long.trim(),
            "--caption-bottom",
            "aaa",
            "--height",
            "178",
        ],
    );
    let last = small.last().unwrap();
    let width = last.luma.len() / 178;
    assert_eq!(width, 316);
    // The rows of the caption have white in them, again and again: these are its lines.
    let inked = |y: usize| {
        last.luma[y * width..][..width]
            .iter()
            .filter(|luma| white(**luma))
            .count()
            > 12
    };
    let lines = (1..72).filter(|y| inked(*y) && !inked(y - 1)).count();
    assert!((4..=7).contains(&lines), "{lines} lines");
    let of_it = |frames: &[Frame], wide: usize| {
        let frame = frames.last().unwrap();
        let rows = frame.luma.chunks_exact(wide).enumerate().skip(110);
        let rows: Vec<usize> = rows
            .filter(|(_, row)| row.iter().any(|luma| white(*luma)))
            .map(|(y, _)| y)
            .collect();
        rows.last().unwrap() - rows[0]
    };
    let low = of_it(&small, 316);
    let capitals = captioned(dir.path(), &["--caption-bottom", "aaa", "--caption-upper"]);
    let high = of_it(&capitals, WIDE);
    assert!(high > low + 1, "{high} is not above {low}");
}

/// A face under a Noto name whose last letters are Egyptian hieroglyphs: the Arabic one, with the table of what is where changed.
fn hieroglyphs(folder: &Path) {
    let packed: &[u8] = include_bytes!("../../assets/fonts/NotoSansArabic-Bold.ttf.gz");
    let mut font = Vec::new();
    let mut reader = flate2::read::GzDecoder::new(packed);
    reader.read_to_end(&mut font).unwrap();
    let long =
        |font: &[u8], at: usize| u32::from_be_bytes(font[at..at + 4].try_into().unwrap()) as usize;
    let tables = usize::from(u16::from_be_bytes([font[4], font[5]]));
    let table = (0..tables)
        .map(|number| 12 + 16 * number)
        .find(|at| &font[*at..at + 4] == b"cmap")
        .unwrap();
    let map = long(&font, table + 8);
    let count = usize::from(u16::from_be_bytes([font[map + 2], font[map + 3]]));
    for record in 0..count {
        let list = map + long(&font, map + 4 + 8 * record + 4);
        if font[list..list + 2] == [0, 12] {
            let groups = long(&font, list + 12);
            let last = list + 16 + 12 * (groups - 1);
            let length = long(&font, last + 4) - long(&font, last);
            font[last..last + 4].copy_from_slice(&0x13000_u32.to_be_bytes());
            let end = 0x13000 + u32::try_from(length).unwrap();
            font[last + 4..last + 8].copy_from_slice(&end.to_be_bytes());
        }
    }
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join("NotoSansEgyptian-Regular.ttf"), font).unwrap();
}

#[test]
fn letters_that_no_face_has_are_refused_until_one_is_installed() {
    let dir = tempfile::tempdir().unwrap();
    let caption = ["--caption-top", "ab 𓀀𓀁"];
    let said = refused(dir.path(), &caption);
    assert!(
        said.contains("(caption_letters)") && said.contains("𓀀 (U+13000), 𓀁 (U+13001)"),
        "{said}"
    );
    let fonts = tempfile::tempdir().unwrap();
    hieroglyphs(&fonts.path().join("noto"));
    let output = clip(dir.path(), &caption, fonts.path().to_str().unwrap());
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let said = refused_in(&["--caption-top", &"too long ".repeat(33), "--height", "64"]);
    assert!(
        said.contains("(caption_too_long)") && said.contains("114x64"),
        "{said}"
    );
}

fn refused_in(arguments: &[&str]) -> String {
    let dir = tempfile::tempdir().unwrap();
    refused(dir.path(), arguments)
}
