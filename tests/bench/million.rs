//! A data folder of a service that has run for years: as many clips as are wanted, in the index and, if asked for, in ledger and store
//! too. Written past the service, because it would take hours through it.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use meme_maker::clip::{Clip, ClipId, Method, Outcome, State};
use meme_maker::cost::Estimate;
use meme_maker::index::Index;
use meme_maker::library::ledger_entry;
use meme_maker::recipe::{Limits, Recipe};
use meme_maker::seconds::Seconds;
use meme_maker::timestamp::Timestamp;
use rusqlite::{Connection, params};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// How much of a clip is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Its rows alone: for what only asks the index.
    Index,
    /// Rows, ledger entry, file and poster. The bytes of all files are the same ones (hard links): a million clips take about 8 GB.
    Whole,
}

/// A file system has no more names for one file than this (ext4: 65,000).
const LINKS: u32 = 60_000;
const FILM: &[u8] = &[0x5a; 2048];
const POSTER: &[u8] = &[0xa5; 512];
const NAME: &str = "clip.mp4";
/// The first clip was made at this moment, each other so many milliseconds after the one before.
const FIRST: i64 = 1_760_000_000_000;
const APART: i64 = 500;
/// Nothing expires while it is measured.
const EXPIRES: i64 = 4_000_000_000_000;
const VISITORS: u32 = 997;
const WORDS: [&str; 12] = [
    "cat",
    "goal",
    "fall",
    "laugh",
    "Überraschung",
    "dance",
    "interview",
    "boss fight",
    "penalty",
    "jump",
    "reaction",
    "sunset",
];

/// The id of the clip with this number; ids sort as the numbers do. It is a UUIDv7 (RFC 9562 section 5.7) with the number where random
/// bits would be.
pub fn id(number: u32) -> ClipId {
    let at = made_at(number).0.unsigned_abs();
    ClipId(Uuid::from_u128(
        u128::from(at) << 80 | 0x7 << 76 | 0x8000_0000_0000_0000 | u128::from(number),
    ))
}

fn made_at(number: u32) -> Timestamp {
    Timestamp(FIRST + i64::from(number) * APART)
}

/// Seven of eight are ready; the others have expired, failed or been cancelled.
fn state(number: u32) -> State {
    match number % 24 {
        5 => State::Failed,
        13 => State::Cancelled,
        21 => State::Expired,
        _ => State::Ready,
    }
}

fn clip(number: u32, recipe: &Recipe, sha256: &str) -> Clip {
    let state = state(number);
    let made = made_at(number);
    let was_ready = matches!(state, State::Ready | State::Expired);
    let word = |step: u32| WORDS[(number / step) as usize % WORDS.len()];
    Clip {
        id: id(number),
        state,
        title: format!("{} and {} {number}", word(1), word(12)),
        recipe: recipe.clone(),
        outcome: was_ready.then(|| Outcome {
            method: Method::Splice,
            reason: "h264".to_owned(),
            fallback: None,
            start: Seconds::from_whole(1),
            end: Seconds::from_whole(3),
            truncated: false,
            duration: Seconds::from_whole(2),
            frames: 60,
            frames_copied: 48,
            frames_encoded: 12,
            size: FILM.len() as u64,
            sha256: sha256.to_owned(),
            width: Some(1920),
            height: Some(1080),
            fps: Some(30.0),
            video_codec: Some("h264".to_owned()),
            audio_codec: Some("aac".to_owned()),
            bytes_fetched: 1_500_000,
            poster: true,
        }),
        file_name: was_ready.then(|| NAME.to_owned()),
        failure: None,
        created_at: made,
        finished_at: Some(made.plus_millis(2_000)),
        expires_at: was_ready.then_some(match state {
            State::Expired => made.plus_hours(24),
            _ => Timestamp(EXPIRES + i64::from(number)),
        }),
        pinned: number % 1000 == 7,
        views: u64::from(number % 17),
        downloads: u64::from(number % 5),
        attempts: 1,
        estimate: Estimate {
            seconds: 2.0,
            bytes: 3_000_000,
        },
        before: None,
        version: 1,
        sharing: None,
    }
}

/// Fills a data folder, which is made where it is missing, with so many clips. The service must not run on it.
pub fn fill(data: &Path, clips: u32, depth: Depth) -> crate::Outcome<()> {
    fs::create_dir_all(data)?;
    let path = data.join("index.db");
    Index::open(&path, 1)?.close();
    fs::write(data.join("secret.key"), [7; 32])?;
    let limits = Limits {
        max_clip: Seconds::from_whole(180),
        max_segments: 20,
        presets: None,
    };
    let body = br#"{"url":"https://example.com/videos/v.mp4","start_time":1,"end_time":3}"#;
    let recipe = Recipe::from_json(body, &limits)?;
    let sha256: String = Sha256::digest(FILM)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    index(&path, clips, &recipe, &sha256)?;
    if depth == Depth::Index {
        return Ok(());
    }
    let lanes = std::thread::available_parallelism().map_or(2, |lanes| lanes.get() as u32);
    let bytes = data.join("storage/.same");
    for folder in ["storage/clips", "ledger/clips", "storage/.same"] {
        fs::create_dir_all(data.join(folder))?;
    }
    std::thread::scope(|scope| {
        let lane = |lane: u32| {
            let (recipe, sha256, bytes) = (&recipe, &sha256, &bytes);
            scope.spawn(move || -> crate::Outcome<()> {
                for (done, number) in (lane..clips).step_by(lanes as usize).enumerate() {
                    let same = bytes.join(format!("{lane}-{}", done as u32 / LINKS));
                    if (done as u32).is_multiple_of(LINKS) {
                        fs::write(same.with_extension("film"), FILM)?;
                        fs::write(same.with_extension("poster"), POSTER)?;
                    }
                    files(data, &same, &clip(number, recipe, sha256))?;
                }
                Ok(())
            })
        };
        let lanes: Vec<_> = (0..lanes).map(lane).collect();
        lanes
            .into_iter()
            .try_for_each(|lane| lane.join().map_err(|_| "a writer broke")?)
    })?;
    Ok(fs::remove_dir_all(bytes)?)
}

fn files(data: &Path, same: &Path, clip: &Clip) -> crate::Outcome<()> {
    if clip.outcome.is_none() {
        return Ok(());
    }
    let entry = data.join(format!("ledger/clips/{}.json", clip.id));
    File::create(entry)?.write_all(&ledger_entry(clip))?;
    if clip.state == State::Ready {
        let folder = data.join("storage/clips").join(clip.id.to_string());
        fs::create_dir(&folder)?;
        fs::hard_link(same.with_extension("film"), folder.join(NAME))?;
        fs::hard_link(same.with_extension("poster"), folder.join("poster.jpg"))?;
    }
    Ok(())
}

fn index(path: &Path, clips: u32, recipe: &Recipe, sha256: &str) -> crate::Outcome<()> {
    let connection = Connection::open(path)?;
    meme_maker::index::teach(&connection)?;
    connection.pragma_update(None, "synchronous", "OFF")?;
    connection.pragma_update(None, "cache_size", -200_000)?;
    connection.execute_batch("BEGIN")?;
    {
        let mut row = connection.prepare(
            "INSERT INTO clips (id, state, title, recipe, outcome, file_name, failure, visitor, estimate, estimate_seconds, attempts,
                                created_at, queued_at, started_at, finished_at, expires_at, pinned, views, downloads)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, 1, ?11, ?11, ?12, ?13, ?14, ?15, ?16, ?17)",
        )?;
        let mut segment = connection.prepare(
            "INSERT INTO segments (clip_id, place, start_us, end_us) VALUES (?1, 0, 1000000, 3000000)",
        )?;
        let recipe_text = serde_json::to_string(recipe)?;
        for number in 0..clips {
            let clip = clip(number, recipe, sha256);
            let id = clip.id.to_string();
            let outcome = clip
                .outcome
                .as_ref()
                .map(serde_json::to_string)
                .transpose()?;
            let failure = (clip.state == State::Failed).then_some(
                r#"{"code":"source_timeout","detail":"The source is slow.","hint":"Try again."}"#,
            );
            row.execute(params![
                id,
                clip.state.as_str(),
                clip.title,
                recipe_text,
                outcome,
                clip.file_name,
                failure,
                format!("visitor-{}", number % VISITORS),
                clip.estimate.bytes,
                clip.estimate.seconds,
                clip.created_at.0,
                clip.created_at.0 + 100,
                clip.finished_at.map(|at| at.0),
                clip.expires_at.map(|at| at.0),
                clip.pinned,
                clip.views,
                clip.downloads
            ])?;
            segment.execute([id])?;
        }
    }
    connection.execute_batch("COMMIT")?;
    connection.pragma_update(None, "wal_checkpoint", "TRUNCATE")?;
    Ok(())
}
