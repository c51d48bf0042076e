//! Clips that are there without having been made: rows of the index, with files where they are wanted.

use std::path::Path;
use std::time::{Duration, SystemTime};

use meme_maker::clip::worth::worth;
use meme_maker::recipe::{Limits, Recipe};
use meme_maker::seconds::Seconds;
use meme_maker::timestamp::Timestamp;
use serde_json::json;

/// A ready clip.
pub struct Plant {
    pub id: String,
    pub bytes: u64,
    pub finished_at: Timestamp,
    pub viewed_at: Option<Timestamp>,
    pub expires_at: Timestamp,
    pub pinned: bool,
}

/// One finished just now, kept for a day.
pub fn clip(number: u32) -> Plant {
    let now = Timestamp::from_system(SystemTime::now());
    Plant {
        id: format!("0192f0c1-2345-7abc-8def-0000{number:08x}"),
        bytes: 1000,
        finished_at: now,
        viewed_at: None,
        expires_at: now.plus_hours(24),
        pinned: false,
    }
}

pub fn connect(data: &Path) -> rusqlite::Connection {
    let index = rusqlite::Connection::open(data.join("index.db")).unwrap();
    index.busy_timeout(Duration::from_secs(30)).unwrap();
    meme_maker::index::teach(&index).unwrap();
    index
}

/// Puts rows into the index, in one go.
pub fn rows(data: &Path, plants: &[Plant]) {
    let body = br#"{"url":"https://example.com/v.mp4","start_time":1,"end_time":2}"#;
    let limits = Limits {
        max_clip: Seconds::from_whole(180),
        max_segments: 20,
        presets: None,
    };
    let recipe = serde_json::to_string(&Recipe::from_json(body, &limits).unwrap()).unwrap();
    let index = connect(data);
    index.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut insert = index
        .prepare(
            "INSERT INTO clips (id, state, title, recipe, outcome, file_name, visitor, estimate, created_at, queued_at, started_at,
                 finished_at, expires_at, pinned, bytes, viewed_at, worth)
             VALUES (?1, 'ready', ?2, ?3, ?4, 'x.mp4', 'v', 0, ?5, ?5, ?5, ?5, ?6, ?7, ?8, ?9, ?10)",
        )
        .unwrap();
    for plant in plants {
        let outcome = json!({
            "method": "copy", "reason": "fast", "start": 1, "end": 2, "truncated": false, "duration": 1, "frames": 25,
            "frames_copied": 25, "frames_encoded": 0, "size": plant.bytes, "sha256": "00", "width": 64, "height": 64, "fps": 25.0,
            "video_codec": "h264", "audio_codec": null, "bytes_fetched": 0, "poster": false,
        });
        insert
            .execute(rusqlite::params![
                plant.id,
                format!("plant {}", &plant.id[28..]),
                recipe,
                outcome.to_string(),
                plant.finished_at.0,
                plant.expires_at.0,
                plant.pinned,
                plant.bytes as i64,
                plant.viewed_at.map(|at| at.0),
                worth(plant.finished_at, plant.viewed_at, plant.bytes),
            ])
            .unwrap();
    }
    drop(insert);
    index.execute_batch("COMMIT").unwrap();
}

/// Gives them files of a few bytes, published hours ago.
pub fn files(data: &Path, plants: &[Plant]) {
    for plant in plants {
        let folder = data.join("storage/clips").join(&plant.id);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("x.mp4"), "not much").unwrap();
        age(&folder);
    }
}

/// Makes a folder one that has not been changed for hours.
pub fn age(folder: &Path) {
    let changed = SystemTime::now() - Duration::from_secs(7200);
    let handle = std::fs::File::open(folder).unwrap();
    handle.set_modified(changed).unwrap();
}

/// Of all clips, by id.
pub fn states(data: &Path) -> Vec<(String, String)> {
    let index = connect(data);
    let mut query = index
        .prepare("SELECT id, state FROM clips ORDER BY id")
        .unwrap();
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
    rows.unwrap().map(Result::unwrap).collect()
}
