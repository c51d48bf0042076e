//! A new index beside an old one: filled from the ledger by whoever reads that, and from the old index as far as it can be read. It is
//! nobody's until it is whole, so nothing of it is synced or journalled on the way.

use std::path::Path;

use rusqlite::{Connection, params};

use super::clips::{find, json, parse_id};
use super::events::{self, Entry, Kind};
use super::keeping::recount;
use super::listing::list_titles;
use super::remake::fall_back;
use super::{IndexError, create_private, latest, teach};
use crate::clip::worth::worth;
use crate::clip::{Clip, ClipId};
use crate::recipe::Source;
use crate::timestamp::Timestamp;

/// What of a clip the ledger knows better than the old index.
const LEDGERS: [&str; 9] = [
    "id",
    "state",
    "title",
    "outcome",
    "file_name",
    "created_at",
    "finished_at",
    "expires_at",
    "pinned",
];
/// The place of a clip's title in the search index, which is made anew.
const NUMBER: &str = "no";
/// Tables that are not taken over row by row as they are.
const APART: [&str; 4] = ["clips", "segments", "idempotency", "uploads"];

/// An index in the making.
pub struct Rebuild {
    connection: Connection,
    /// What makes the indexes of clips again once all are there: that is faster than keeping them up.
    indexes: Vec<String>,
    /// What makes the triggers again, once what they would have done is done in one go.
    triggers: Vec<String>,
    /// Adds a clip that the old index knows too, with what it knows of it.
    joined: Option<String>,
    trail: Trail,
}

/// Whether the old index tells what became of clips that it does not know.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trail {
    Told,
    Untold,
}

/// What came from the old index.
#[derive(Debug, Default)]
pub struct Taken {
    /// Clips that the ledger does not know: those that never were ready, mostly.
    pub clips: u64,
    /// Those of them that are said to be ready; nobody has looked whether their files are there.
    pub unproven: Vec<ClipId>,
    pub tokens: u64,
    pub uploads: u64,
}

impl Rebuild {
    /// Begins an index in a new file, beside an old one that was found whole.
    ///
    /// # Errors
    /// When it cannot be made, or the old one is newer than this version.
    pub fn begin(path: &Path, old: Option<&Path>) -> Result<Rebuild, IndexError> {
        create_private(path)?;
        let mut connection = Connection::open(path)?;
        teach(&connection)?;
        connection.pragma_update(None, "journal_mode", "OFF")?;
        connection.pragma_update(None, "synchronous", "OFF")?;
        connection.pragma_update(None, "foreign_keys", false)?;
        connection.pragma_update(None, "cache_size", -16_000)?;
        latest(&mut connection)?;
        let indexes = taken_down(
            &connection,
            "SELECT 'INDEX', name, sql FROM sqlite_schema WHERE type = 'index' AND tbl_name = 'clips' AND sql IS NOT NULL",
        )?;
        let triggers = taken_down(
            &connection,
            "SELECT 'TRIGGER', name, sql FROM sqlite_schema WHERE type = 'trigger'",
        )?;
        let mut rebuild = Rebuild {
            connection,
            indexes,
            triggers,
            joined: None,
            trail: Trail::Untold,
        };
        if let Some(old) = old {
            rebuild
                .connection
                .execute("ATTACH ?1 AS old", [old.to_string_lossy()])?;
            rebuild.joined = rebuild.join()?;
            if !rebuild.common("events")?.is_empty() {
                rebuild.trail = Trail::Told;
            }
        }
        Ok(rebuild)
    }

    /// None when the old index has no clips at all.
    fn join(&self) -> Result<Option<String>, IndexError> {
        let clips = self.common("clips")?;
        if clips.is_empty() {
            return Ok(None);
        }
        let carried = clips
            .iter()
            .map(String::as_str)
            .filter(|column| !LEDGERS.contains(column) && *column != NUMBER);
        let (own, carried) = (quoted(LEDGERS), quoted(carried));
        Ok(Some(format!(
            "INSERT INTO main.clips ({own}, {carried}) SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, {carried}
             FROM old.clips WHERE id = ?1"
        )))
    }

    fn insert_joined(&self, clip: &Clip) -> Result<bool, IndexError> {
        let Some(sql) = &self.joined else {
            return Ok(false);
        };
        let id = clip.id.to_string();
        let inserted = self.connection.prepare_cached(sql)?.execute(params![
            id,
            clip.state.as_str(),
            clip.title,
            clip.outcome.as_ref().map(json).transpose()?,
            clip.file_name,
            clip.created_at.0,
            clip.finished_at.map(|at| at.0),
            clip.expires_at.map(|at| at.0),
            clip.pinned
        ])?;
        if inserted == 1 {
            insert_segments(&self.connection, clip, &id)?;
        }
        Ok(inserted == 1)
    }

    /// Adds clips, best in the order of their ids; those that were not, because somebody has removed them and was interrupted before the
    /// ledger had forgotten them.
    ///
    /// # Errors
    /// When the disk does not take them.
    pub fn add(&self, clips: &[Clip]) -> Result<Vec<ClipId>, IndexError> {
        self.connection.execute_batch("BEGIN")?;
        let mut removed = Vec::new();
        for clip in clips {
            if self.insert_joined(clip)? {
                continue;
            }
            if self.trail == Trail::Told && events::was_removed(&self.connection, "old", clip.id)? {
                removed.push(clip.id);
                continue;
            }
            insert(&self.connection, clip)?;
        }
        self.connection.execute_batch("COMMIT")?;
        Ok(removed)
    }

    /// Takes over from the old index what the ledger does not know: clips that are not ready, tokens, the trail, uploads that `kept` still
    /// has the bytes of. What is known of clips that the ledger has came with them.
    ///
    /// # Errors
    /// When the old index cannot be read after all; then nothing of this one is worth anything.
    pub fn take_over(&self, kept: impl Fn(&str) -> bool) -> Result<Taken, IndexError> {
        self.connection.execute_batch("BEGIN")?;
        let taken = self.take_all(kept)?;
        self.connection.execute_batch("COMMIT")?;
        self.connection.execute_batch("DETACH old")?;
        Ok(taken)
    }

    fn take_all(&self, kept: impl Fn(&str) -> bool) -> Result<Taken, IndexError> {
        let run = |sql: &str| self.connection.execute(sql, []);
        let mut taken = Taken::default();
        let clips = self.common("clips")?;
        if clips.is_empty() {
            return Ok(taken);
        }
        // A clip that was asked for again is not what the ledger says any more.
        let moved_on = "IN (SELECT id FROM old.clips WHERE state NOT IN ('ready', 'expired'))";
        run(&format!(
            "DELETE FROM main.segments WHERE clip_id {moved_on}"
        ))?;
        run(&format!("DELETE FROM main.clips WHERE id {moved_on}"))?;
        run("CREATE TEMP TABLE taken (id TEXT PRIMARY KEY) WITHOUT ROWID")?;
        taken.clips = run(
            "INSERT INTO taken SELECT id FROM old.clips WHERE id NOT IN (SELECT id FROM main.clips) ORDER BY id",
        )? as u64;
        let list = quoted(
            clips
                .iter()
                .map(String::as_str)
                .filter(|column| *column != NUMBER),
        );
        run(&format!(
            "INSERT INTO main.clips ({list}) SELECT {list} FROM old.clips WHERE id IN (SELECT id FROM taken) ORDER BY id"
        ))?;
        let list = quoted(self.common("segments")?.iter().map(String::as_str));
        run(&format!(
            "INSERT OR IGNORE INTO main.segments ({list}) SELECT {list} FROM old.segments WHERE clip_id IN (SELECT id FROM taken)"
        ))?;
        {
            let mut query = self.connection.prepare(
                "SELECT id FROM main.clips WHERE (state = 'ready' OR before IS NOT NULL) AND id IN (SELECT id FROM taken)",
            )?;
            let rows = query.query_map([], |row| row.get::<_, String>(0))?;
            for id in rows {
                taken.unproven.push(parse_id(&id?)?);
            }
        }
        run("DROP TABLE taken")?;
        let list = quoted(self.common("idempotency")?.iter().map(String::as_str));
        if !list.is_empty() {
            run(&format!(
                "INSERT OR IGNORE INTO main.idempotency ({list}) SELECT {list} FROM old.idempotency
                 WHERE clip_id IN (SELECT id FROM main.clips)"
            ))?;
        }
        taken.uploads = self.take_uploads(kept)?;
        for table in self.plain_tables()? {
            let list = quoted(self.common(&table)?.iter().map(String::as_str));
            if list.is_empty() {
                continue;
            }
            let rows = run(&format!(
                "INSERT OR REPLACE INTO main.\"{table}\" ({list}) SELECT {list} FROM old.\"{table}\""
            ))? as u64;
            if table == "tokens" {
                taken.tokens = rows;
            }
        }
        // Numbers of the trail never repeat, even when all of it was forgotten.
        run(
            "DELETE FROM main.sqlite_sequence WHERE name IN (SELECT name FROM old.sqlite_sequence)",
        )?;
        run(
            "INSERT INTO main.sqlite_sequence (name, seq) SELECT name, seq FROM old.sqlite_sequence",
        )?;
        Ok(taken)
    }

    fn take_uploads(&self, kept: impl Fn(&str) -> bool) -> Result<u64, IndexError> {
        let list = quoted(self.common("uploads")?.iter().map(String::as_str));
        if list.is_empty() {
            return Ok(0);
        }
        let mut query = self.connection.prepare("SELECT id FROM old.uploads")?;
        let ids = query
            .query_map([], |row| row.get::<_, String>(0))?
            .collect::<Result<Vec<_>, _>>()?;
        let mut take = self.connection.prepare(&format!(
            "INSERT OR IGNORE INTO main.uploads ({list}) SELECT {list} FROM old.uploads WHERE id = ?1"
        ))?;
        let mut taken = 0;
        for id in ids.iter().filter(|id| kept(id)) {
            taken += take.execute([id])? as u64;
        }
        Ok(taken)
    }

    /// Columns that a table has in both.
    fn common(&self, table: &str) -> Result<Vec<String>, IndexError> {
        let mut query = self.connection.prepare_cached(
            "SELECT n.name FROM pragma_table_info(?1, 'main') n
             WHERE n.name IN (SELECT o.name FROM pragma_table_info(?1, 'old') o)",
        )?;
        let rows = query.query_map([table], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Tables whose rows are what they are: no part of a search index.
    fn plain_tables(&self) -> Result<Vec<String>, IndexError> {
        let mut query = self.connection.prepare(
            "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND name NOT LIKE 'sqlite_%'",
        )?;
        let rows = query.query_map([], |row| row.get::<_, String>(0))?;
        let names = rows.collect::<Result<Vec<_>, _>>()?;
        Ok(names
            .into_iter()
            .filter(|name| !APART.contains(&name.as_str()))
            .collect())
    }

    /// Lets the trail's numbers go on above any that were given before, when nobody knows which were.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn number_events_anew(&self, now: Timestamp) -> Result<(), IndexError> {
        // Of a second there never was more than one number on average.
        self.connection
            .execute("DELETE FROM sqlite_sequence WHERE name = 'events'", [])?;
        self.connection.execute(
            "INSERT INTO sqlite_sequence (name, seq) VALUES ('events', ?1)",
            [now.0 / 1000],
        )?;
        Ok(())
    }

    /// A clip as far as it is there yet.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn clip(&self, id: ClipId) -> Result<Option<Clip>, IndexError> {
        find(&self.connection, id)
    }

    /// Says of a clip that its file is gone.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn expire(&self, id: ClipId) -> Result<(), IndexError> {
        // Of one that is made again nobody knows what became of it.
        fall_back(&self.connection, id, None)?;
        self.connection
            .prepare_cached("UPDATE clips SET state = 'expired', failure = NULL WHERE id = ?1")?
            .execute([id.to_string()])?;
        Ok(())
    }

    /// Ends it: with its indexes and an entry in the trail. Nothing of it is synced.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn finish(self, now: Timestamp, data: serde_json::Value) -> Result<(), IndexError> {
        self.connection.execute_batch("BEGIN")?;
        for sql in &self.indexes {
            self.connection.execute_batch(sql)?;
        }
        list_titles(&self.connection)?;
        recount(&self.connection)?;
        for sql in &self.triggers {
            self.connection.execute_batch(sql)?;
        }
        self.connection.execute_batch("COMMIT")?;
        let entry = Entry {
            kind: Kind::IndexRebuilt,
            subject: "",
            data,
            duration_ms: None,
            error: None,
        };
        events::append(&self.connection, now, &entry).map(drop)
    }
}

/// Drops what a query names by kind, name and definition; the definitions.
fn taken_down(connection: &Connection, query: &str) -> Result<Vec<String>, IndexError> {
    let mut query = connection.prepare(query)?;
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let found: Vec<(String, String, String)> = rows.collect::<Result<_, _>>()?;
    for (kind, name, _) in &found {
        connection.execute_batch(&format!("DROP {kind} \"{name}\""))?;
    }
    Ok(found.into_iter().map(|(_, _, sql)| sql).collect())
}

fn quoted<'a>(columns: impl IntoIterator<Item = &'a str>) -> String {
    let quoted = columns.into_iter().map(|column| format!("\"{column}\""));
    quoted.collect::<Vec<_>>().join(", ")
}

/// Adds a clip with what the ledger knows of it. Who asked for it is nobody.
pub(super) fn insert(connection: &Connection, clip: &Clip) -> Result<(), IndexError> {
    let upload = match &clip.recipe.source {
        Source::Upload(id) if !id.0.is_nil() => Some(id.to_string()),
        Source::Upload(_) | Source::Url(_) | Source::File(_) => None,
    };
    let id = clip.id.to_string();
    // Without the poster, which nobody has counted.
    let bytes = clip.outcome.as_ref().map_or(0, |outcome| outcome.size);
    let mut insert = connection.prepare_cached(
        "INSERT INTO clips (id, state, title, recipe, outcome, file_name, visitor, estimate, estimate_seconds, attempts, created_at,
                            queued_at, finished_at, expires_at, pinned, views, downloads, upload, bytes, worth, version)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, '', ?7, ?8, ?9, ?10, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)",
    )?;
    insert.execute(params![
        id,
        clip.state.as_str(),
        clip.title,
        json(&clip.recipe)?,
        clip.outcome.as_ref().map(json).transpose()?,
        clip.file_name,
        i64::try_from(clip.estimate.bytes).unwrap_or(i64::MAX),
        clip.estimate.seconds,
        clip.attempts,
        clip.created_at.0,
        clip.finished_at.map(|at| at.0),
        clip.expires_at.map(|at| at.0),
        clip.pinned,
        clip.views,
        clip.downloads,
        upload,
        bytes,
        worth(clip.finished_at.unwrap_or(clip.created_at), None, bytes),
        clip.version
    ])?;
    insert_segments(connection, clip, &id)
}

fn insert_segments(connection: &Connection, clip: &Clip, id: &str) -> Result<(), IndexError> {
    let mut segment = connection.prepare_cached(
        "INSERT INTO segments (clip_id, place, start_us, end_us) VALUES (?1, ?2, ?3, ?4)",
    )?;
    for (place, wanted) in clip.recipe.segments.iter().enumerate() {
        segment.execute(params![
            id,
            place as i64,
            wanted.start.micros(),
            wanted.end.micros()
        ])?;
    }
    Ok(())
}
