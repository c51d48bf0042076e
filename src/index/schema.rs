//! The numbered schema: where an index stands, a copy of it before it is brought up, and the way back down for an older binary. The
//! numbered files themselves are in the folder of the same name.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use rusqlite_migration::Migrations;

use super::{IndexError, MIGRATIONS, create_private, teach};

/// Where an index stands, and which numbers this binary can deal with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The newest schema this binary knows.
    pub known: usize,
    /// That of the index; none where there is no index yet.
    pub found: Option<usize>,
    /// The copy that was made before the index was last brought up, and its schema.
    pub copy: Option<(PathBuf, usize)>,
}

/// The newest schema this binary knows.
pub fn known() -> usize {
    MIGRATIONS.len()
}

/// Looks without changing anything, also at an index of a newer version.
///
/// # Errors
/// When there is an index that cannot be read.
pub fn standing(path: &Path) -> Result<Standing, IndexError> {
    let copy = copies(path).into_iter().next_back();
    let copy = match copy {
        Some(copy) => number(&copy)?.map(|number| (copy, number)),
        None => None,
    };
    Ok(Standing {
        known: known(),
        found: number(path)?,
        copy,
    })
}

/// Brings an index that nobody has open to a schema this binary knows, up or down. What the older schema has a place for is kept.
///
/// # Errors
/// When the index is in use, of a newer version, or cannot be changed; then it stays as it was.
pub fn bring_to(path: &Path, wanted: usize) -> Result<(), IndexError> {
    if wanted == 0 || wanted > known() {
        return Err(IndexError::NoSuchSchema {
            wanted,
            known: known(),
        });
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    teach(&connection)?;
    connection.busy_timeout(Duration::from_secs(1))?;
    // Said before the first look, it keeps everybody else out; where somebody is in already, the look fails.
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    // A table that is rebuilt is dropped on the way: that is no reason to drop what refers to it.
    connection.pragma_update(None, "foreign_keys", false)?;
    let begun = connection.execute_batch("BEGIN EXCLUSIVE; COMMIT");
    begun.map_err(|error| match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DatabaseBusy) => IndexError::InUse,
        Some(_) | None => error.into(),
    })?;
    let found = version(&connection)?;
    if found > known() {
        return Err(IndexError::Newer {
            found,
            known: known(),
        });
    }
    Migrations::from_slice(MIGRATIONS).to_version(&mut connection, wanted)?;
    Ok(())
}

/// Keeps a copy of an index that is about to be brought up, and only this one. A disk without room is no reason to stay down: the way
/// back by the numbered files needs no copy.
pub(super) fn keep_copy(connection: &Connection, path: &Path, next: usize) {
    let target = beside(path, &format!("{BEFORE}{next}"));
    match copied(connection, path, &target) {
        Ok(()) => {
            tracing::info!(copy = %target.display(), "the index is copied before it gets a new schema");
            for older in copies(path) {
                if older != target {
                    // Room is all that is lost.
                    let _ = std::fs::remove_file(older);
                }
            }
        }
        Err(error) => {
            tracing::warn!(error = %error, "the index gets a new schema without a copy of it being kept");
        }
    }
}

const BEFORE: &str = ".before-";

#[derive(Debug, thiserror::Error)]
enum CopyError {
    #[error("it takes {needed} bytes of room and there are {available}")]
    Room { needed: u64, available: u64 },
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

fn copied(connection: &Connection, path: &Path, target: &Path) -> Result<(), CopyError> {
    let draft = beside(target, ".new");
    let made = draft_made(connection, path, &draft).and_then(|()| {
        std::fs::rename(&draft, target)?;
        let folder = target.parent().unwrap_or(Path::new("."));
        Ok(std::fs::File::open(folder)?.sync_all()?)
    });
    if made.is_err() {
        let _ = std::fs::remove_file(&draft);
    }
    made
}

fn draft_made(connection: &Connection, path: &Path, draft: &Path) -> Result<(), CopyError> {
    // One that a pulled plug left behind is not empty, and SQLite writes into nothing else.
    match std::fs::remove_file(draft) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        Ok(()) | Err(_) => {}
    }
    let pages: u64 = connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
    let page: u64 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
    // As much again for the new schema, which may write every row anew.
    let needed = pages.saturating_mul(page).saturating_mul(2);
    let disk = rustix::fs::statvfs(path).map_err(std::io::Error::from)?;
    let available = disk.f_bavail.saturating_mul(disk.f_frsize);
    if available < needed {
        return Err(CopyError::Room { needed, available });
    }
    create_private(draft)?;
    connection.execute("VACUUM INTO ?1", [draft.to_string_lossy()])?;
    Ok(std::fs::File::open(draft)?.sync_all()?)
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// All copies, the newest schema last.
fn copies(path: &Path) -> Vec<PathBuf> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|n| n.to_str()))
    else {
        return Vec::new();
    };
    let prefix = format!("{name}{BEFORE}");
    let next = |entry: &std::fs::DirEntry| -> Option<usize> {
        let name = entry.file_name();
        name.to_str()?.strip_prefix(&prefix)?.parse().ok()
    };
    let mut found: Vec<(usize, PathBuf)> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((next(&entry)?, entry.path())))
        .collect();
    found.sort();
    found.into_iter().map(|(_, path)| path).collect()
}

/// The schema of an index; none where there is none.
fn number(path: &Path) -> Result<Option<usize>, IndexError> {
    let there = std::fs::metadata(path).is_ok_and(|file| file.len() > 0);
    if !there {
        return Ok(None);
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    version(&connection).map(Some)
}

fn version(connection: &Connection) -> Result<usize, IndexError> {
    Ok(connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::Index;

    /// The schema of the service before there were tokens.
    const OLD: usize = 5;

    /// An index as an older version left it, with clips and what belongs to them.
    fn old(path: &Path) {
        let mut connection = Connection::open(path).unwrap();
        teach(&connection).unwrap();
        connection
            .pragma_update(None, "journal_mode", "WAL")
            .unwrap();
        Migrations::from_slice(MIGRATIONS)
            .to_version(&mut connection, OLD)
            .unwrap();
        for number in 0..50 {
            let id = format!("0197{number:04}-0000-7000-8000-000000000000");
            connection
                .execute(
                    "INSERT INTO clips (id, state, title, recipe, outcome, file_name, visitor, estimate, created_at, queued_at, expires_at)
                     VALUES (?1, 'ready', ?2, '{}', '{}', 'a.mp4', 'v', 1, ?3, ?3, ?3)",
                    (&id, format!("Käse {number}"), 1_700_000_000_000_i64 + number),
                )
                .unwrap();
            connection
                .execute("INSERT INTO segments VALUES (?1, 0, 0, 1000)", [&id])
                .unwrap();
            connection
                .execute(
                    "INSERT INTO events (at, kind, subject) VALUES (1, 'clip.ready', ?1)",
                    [&id],
                )
                .unwrap();
        }
    }

    /// What an older version reads of clips and what belongs to them.
    fn rows(path: &Path) -> Vec<(String, String, i64, i64, i64)> {
        let connection = Connection::open(path).unwrap();
        teach(&connection).unwrap();
        let mut statement = connection
            .prepare(
                "SELECT id, title, created_at, (SELECT count(*) FROM segments WHERE clip_id = clips.id),
                        (SELECT count(*) FROM events WHERE subject = clips.id AND kind = 'clip.ready') FROM clips ORDER BY id",
            )
            .unwrap();
        let rows = statement.query_map([], |row| {
            Ok((
                row.get(0)?,
                row.get(1)?,
                row.get(2)?,
                row.get(3)?,
                row.get(4)?,
            ))
        });
        rows.unwrap().map(Result::unwrap).collect()
    }

    #[test]
    fn up_and_down_again_keeps_clips_and_what_was_made_since() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index.db");
        old(&path);
        let before = rows(&path);
        assert_eq!(before.len(), 50);
        assert!(before.iter().all(|row| row.3 == 1 && row.4 == 1));

        Index::open(&path, 1).unwrap().close();
        assert_eq!(standing(&path).unwrap().found, Some(known()));
        assert_eq!(rows(&path), before);
        // Made by the new version.
        Connection::open(&path)
            .map(|connection| {
                teach(&connection).unwrap();
                connection
                    .execute(
                        "INSERT INTO clips (id, state, title, recipe, visitor, estimate, created_at, queued_at)
                         VALUES ('0198', 'queued', 'since', '{}', 'v', 1, 5, 5)",
                        [],
                    )
                    .unwrap();
                connection
                    .execute("INSERT INTO segments VALUES ('0198', 0, 0, 1000)", [])
                    .unwrap();
                // One is made again, which no older version knows of.
                connection
                    .execute(
                        "UPDATE clips SET state = 'queued', recipe = '{\"new\":1}', before = ?1 WHERE title = 'Käse 7'",
                        [r#"{"segments":[{"start":1.5,"end":2.000001}]}"#],
                    )
                    .unwrap();
            })
            .unwrap();

        // Down to each, one after the other, and up again.
        for wanted in (OLD..known()).rev() {
            bring_to(&path, wanted).unwrap();
            assert_eq!(standing(&path).unwrap().found, Some(wanted));
            let after = rows(&path);
            assert_eq!(after.len(), 51, "schema {wanted}");
            assert_eq!(after[..50], before, "schema {wanted}");
            assert_eq!(after[50].3, 1, "schema {wanted}");
        }
        let connection = Connection::open(&path).unwrap();
        let back = connection.query_row(
            "SELECT state, recipe, start_us, end_us FROM clips JOIN segments ON clip_id = id WHERE title = 'Käse 7'",
            [],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
        );
        let back: (String, String, i64, i64) = back.unwrap();
        assert_eq!(back.0, "ready");
        assert!(back.1.contains("segments"), "{}", back.1);
        assert_eq!((back.2, back.3), (1_500_000, 2_000_001));
        drop(connection);
        Index::open(&path, 1).unwrap().close();
        assert_eq!(rows(&path).len(), 51);
    }

    /// What the version before the forms reads of a recipe and of a result.
    #[derive(serde::Deserialize)]
    struct OldRecipe {
        #[serde(flatten)]
        source: crate::recipe::Source,
        segments: Vec<crate::recipe::Segment>,
        format: String,
        mute: bool,
    }

    #[derive(serde::Deserialize)]
    struct OldResult {
        width: u32,
        height: u32,
        fps: f64,
        video_codec: String,
    }

    #[test]
    fn an_older_version_can_read_all_that_is_left_on_the_way_down() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index.db");
        Index::open(&path, 1).unwrap().close();
        let limits = crate::recipe::Limits {
            max_clip: crate::seconds::Seconds::from_whole(180),
            max_segments: 3,
            presets: None,
        };
        let recipe = |more: &str| {
            let body = format!(r#"{{"url":"https://e.com/v","start_time":1,"end_time":3{more}}}"#);
            let recipe = crate::recipe::Recipe::from_json(body.as_bytes(), &limits).unwrap();
            serde_json::to_string(&recipe).unwrap()
        };
        let film = r#"{"size":5,"width":320,"height":180,"fps":29.97,"video_codec":"h264"}"#;
        let sound = r#"{"size":7,"width":null,"height":null,"fps":null,"video_codec":null}"#;
        let (plain, audio) = (recipe(""), recipe(r#","format":"mp3""#));
        let looks =
            recipe(r#","crop":"1:1","speed":2,"fade_in":0.5,"caption_top":"x","fit":"1MB""#);
        let connection = Connection::open(&path).unwrap();
        teach(&connection).unwrap();
        for (id, state, recipe, result) in [
            ("a", "ready", &plain, Some(film)),
            ("b", "ready", &audio, Some(sound)),
            ("c", "queued", &recipe(r#","format":"gif""#), None),
            ("d", "cancelled", &audio, None),
            ("e", "expired", &audio, Some(sound)),
            ("f", "ready", &looks, Some(film)),
        ] {
            connection
                .execute(
                    "INSERT INTO clips (id, state, title, recipe, outcome, file_name, visitor, estimate, created_at, queued_at, expires_at, bytes)
                     VALUES (?1, ?2, 't', ?3, ?4, 'x', 'v', 1, 1, 1, 1, 10)",
                    (id, state, recipe, result),
                )
                .unwrap();
        }
        connection
            .execute(
                "INSERT INTO trash (id, title, why, bytes, trashed_at, clip)
                 SELECT 't', 't', 'removed', 1, 1, json_object('recipe', recipe, 'outcome', outcome, 'title', title) FROM clips WHERE id = 'b'",
                [],
            )
            .unwrap();
        drop(connection);
        bring_to(&path, 9).unwrap();

        let connection = Connection::open(&path).unwrap();
        let mut query = connection
            .prepare(
                "SELECT id, state, recipe, outcome, failure IS NOT NULL FROM clips
                 UNION ALL SELECT id, 'trash', json_extract(clip, '$.recipe'), json_extract(clip, '$.outcome'), json_extract(clip, '$.title') <> 't'
                 FROM trash ORDER BY 1",
            )
            .unwrap();
        let rows = query.query_map([], |row| {
            Ok((
                row.get(0)?,
                row.get(1)?,
                row.get(2)?,
                row.get(3)?,
                row.get(4)?,
            ))
        });
        let rows: Vec<(String, String, String, Option<String>, bool)> =
            rows.unwrap().map(Result::unwrap).collect();
        let states: Vec<_> = rows
            .iter()
            .map(|(id, state, .., told)| (id.as_str(), state.as_str(), *told))
            .collect();
        assert_eq!(
            states,
            [
                ("a", "ready", false),
                ("b", "expired", true),
                ("c", "failed", true),
                ("d", "cancelled", false),
                ("e", "expired", false),
                ("f", "ready", false),
                ("t", "trash", false),
            ]
        );
        for (id, _, recipe, result, _) in rows {
            let recipe: OldRecipe = serde_json::from_str(&recipe).unwrap();
            assert_eq!(
                (recipe.format.as_str(), recipe.mute),
                ("mp4", false),
                "{id}"
            );
            assert!(
                recipe.segments.len() == 1
                    && matches!(recipe.source, crate::recipe::Source::Url(_))
            );
            let Some(result) = result else { continue };
            let result: OldResult = serde_json::from_str(&result).unwrap();
            let got = (
                result.width,
                result.height,
                result.fps,
                result.video_codec.as_str(),
            );
            let film = matches!(id.as_str(), "a" | "f");
            let expected = if film {
                (320, 180, 29.97, "h264")
            } else {
                (0, 0, 0.0, "")
            };
            assert_eq!(got, expected, "{id}");
        }
        let sum: i64 = connection
            .query_row("SELECT clips FROM tallies", [], |row| row.get(0))
            .unwrap();
        assert_eq!(sum, 20);
    }

    #[test]
    fn a_copy_is_kept_before_a_new_schema_and_only_the_newest() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index.db");
        // Of a new index there is nothing to copy.
        Index::open(&path, 1).unwrap().close();
        assert_eq!(standing(&path).unwrap().copy, None);
        std::fs::remove_file(&path).unwrap();

        old(&path);
        let before = rows(&path);
        std::fs::write(dir.path().join("index.db.before-3"), "older").unwrap();
        // As a pulled plug leaves it.
        let copy = dir.path().join(format!("index.db.before-{}", known()));
        std::fs::write(beside(&copy, ".new"), "half").unwrap();
        Index::open(&path, 1).unwrap().close();
        assert_eq!(
            standing(&path).unwrap(),
            Standing {
                known: known(),
                found: Some(known()),
                copy: Some((copy.clone(), OLD)),
            }
        );
        assert_eq!(rows(&copy), before);
        assert_eq!(copies(&path), std::slice::from_ref(&copy));
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(&copy).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let names = std::fs::read_dir(dir.path()).unwrap();
        let drafts = names
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.ends_with(".new"));
        assert_eq!(drafts.count(), 0);

        // Nothing is copied when nothing changes.
        std::fs::remove_file(&copy).unwrap();
        Index::open(&path, 1).unwrap().close();
        assert!(!copy.exists());
    }

    #[test]
    fn an_index_comes_up_where_no_copy_can_be_made() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index.db");
        old(&path);
        // Neither a file nor anything that can be removed as one.
        let draft = dir
            .path()
            .join(format!("index.db.before-{}.new/x", known()));
        std::fs::create_dir_all(draft).unwrap();
        Index::open(&path, 1).unwrap().close();
        let standing = standing(&path).unwrap();
        assert_eq!((standing.found, standing.copy), (Some(known()), None));
        assert_eq!(rows(&path).len(), 50);
    }

    #[test]
    fn an_index_in_use_or_a_number_nobody_knows_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index.db");
        let index = Index::open(&path, 1).unwrap();
        assert!(matches!(bring_to(&path, OLD), Err(IndexError::InUse)));
        index.close();
        drop(index);
        for wanted in [0, known() + 1] {
            assert!(matches!(
                bring_to(&path, wanted),
                Err(IndexError::NoSuchSchema { .. })
            ));
        }
        assert_eq!(standing(&path).unwrap().found, Some(known()));
        assert!(bring_to(&dir.path().join("none.db"), OLD).is_err());
    }
}
