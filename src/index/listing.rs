//! Lists of clips, the newest first: all of them, of one state, or with a text in their title. How long that takes hardly depends on how
//! many clips there are.

use rusqlite::{Connection, OptionalExtension, Params, params};

use super::clips::{Place, find, parse_id, place};
use super::{Index, IndexError};
use crate::clip::{Clip, ClipId, State};

/// Which clips a list shows.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub state: Option<State>,
    /// Part of the title, whatever the case.
    pub text: Option<String>,
    /// Only clips made before this one.
    pub before: Option<ClipId>,
    pub limit: u32,
}

/// Clips of a state that has no more than so many are looked through one by one; of other states some come along soon.
const FEW: u32 = 4000;

/// A text of one or two characters is looked for in so many of the newest titles first: it is in many titles, or in so few that it pays
/// to ask which triples of characters begin with it.
const NEWEST: u32 = 2000;

/// With more beginnings than this a short text is in so many titles that looking through them is quicker.
const MOST_TRIPLES: usize = 500;

/// So many triples of a long text narrow it down, and each costs a look; what is found is compared with all of it anyway.
const ENOUGH_TRIPLES: usize = 8;

impl Index {
    /// Clips, the newest first, with their places in the queue.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn clips(&self, filter: Filter) -> Result<Vec<(Clip, Option<Place>)>, IndexError> {
        self.read(move |connection| {
            let ids = match filter.text.as_deref().map(str::to_lowercase) {
                None => listed(connection, &filter)?,
                // Titles have none, and the index uses one as a mark.
                Some(text) if text.contains(char::is_control) => Vec::new(),
                Some(text) => containing(connection, &filter, &text)?,
            };
            let mut clips = Vec::new();
            for id in ids {
                let Some(clip) = find(connection, id)? else {
                    continue;
                };
                let place = match clip.state {
                    State::Queued => Some(place(connection, id)?),
                    State::Fetching
                    | State::Cutting
                    | State::Storing
                    | State::Ready
                    | State::Expired
                    | State::Failed
                    | State::Cancelled => None,
                };
                clips.push((clip, place));
            }
            Ok(clips)
        })
        .await
    }
}

fn listed(connection: &Connection, filter: &Filter) -> Result<Vec<ClipId>, IndexError> {
    let before = bound(filter);
    match filter.state {
        None => ids(
            connection,
            "SELECT id FROM clips WHERE id < ?1 ORDER BY id DESC LIMIT ?2",
            params![before, filter.limit],
        ),
        Some(state) => ids(
            connection,
            "SELECT id FROM clips WHERE state = ?1 AND id < ?2 ORDER BY id DESC LIMIT ?3",
            params![state.as_str(), before, filter.limit],
        ),
    }
}

/// What ids have to be below; a bound that is no column's value or NULL lets SQLite begin where the page does.
fn bound(filter: &Filter) -> String {
    // Ids are hexadecimal.
    filter
        .before
        .map_or_else(|| "g".to_owned(), |id| id.to_string())
}

fn containing(
    connection: &Connection,
    filter: &Filter,
    text: &str,
) -> Result<Vec<ClipId>, IndexError> {
    if let Some(state) = filter.state {
        if is_rare(connection, state)? {
            return looked_through(connection, filter, text);
        }
        // What is in many titles is soon found among those of the state, however many others have it too.
        let newest = among_the_newest_of(connection, filter, state, text)?;
        if newest.len() >= filter.limit as usize {
            return Ok(newest);
        }
    }
    let triples = triples_of(text);
    let expression = if triples.is_empty() {
        let newest = among_the_newest(connection, filter, text)?;
        if newest.len() >= filter.limit as usize {
            return Ok(newest);
        }
        let beginning = triples_beginning_with(connection, text)?;
        if beginning.len() > MOST_TRIPLES {
            return looked_through(connection, filter, text);
        }
        beginning.join(" OR ")
    } else {
        triples.join(" AND ")
    };
    if expression.is_empty() {
        return Ok(Vec::new());
    }
    ids(
        connection,
        "SELECT c.id FROM titles t CROSS JOIN clips c ON c.no = t.rowid
         WHERE t.titles MATCH ?1 AND t.rowid <= ?2 AND (?3 IS NULL OR c.state = ?3) AND instr(folded(c.title), ?4) > 0
         ORDER BY t.rowid DESC LIMIT ?5",
        params![
            expression,
            highest_number(connection, filter.before)?,
            filter.state.map(State::as_str),
            text,
            filter.limit
        ],
    )
}

fn is_rare(connection: &Connection, state: State) -> Result<bool, IndexError> {
    let mut query = connection
        .prepare_cached("SELECT count(*) FROM (SELECT 1 FROM clips WHERE state = ?1 LIMIT ?2)")?;
    let some: u32 = query.query_row(params![state.as_str(), FEW], |row| row.get(0))?;
    Ok(some < FEW)
}

fn looked_through(
    connection: &Connection,
    filter: &Filter,
    text: &str,
) -> Result<Vec<ClipId>, IndexError> {
    let before = bound(filter);
    match filter.state {
        None => ids(
            connection,
            "SELECT id FROM clips WHERE id < ?1 AND instr(folded(title), ?2) > 0 ORDER BY id DESC LIMIT ?3",
            params![before, text, filter.limit],
        ),
        Some(state) => ids(
            connection,
            "SELECT id FROM clips WHERE state = ?1 AND id < ?2 AND instr(folded(title), ?3) > 0
             ORDER BY id DESC LIMIT ?4",
            params![state.as_str(), before, text, filter.limit],
        ),
    }
}

fn among_the_newest(
    connection: &Connection,
    filter: &Filter,
    text: &str,
) -> Result<Vec<ClipId>, IndexError> {
    let before = bound(filter);
    ids(
        connection,
        "SELECT id FROM (SELECT id, state, title FROM clips WHERE id < ?1 ORDER BY id DESC LIMIT ?2)
         WHERE (?3 IS NULL OR state = ?3) AND instr(folded(title), ?4) > 0 ORDER BY id DESC LIMIT ?5",
        params![
            before,
            NEWEST,
            filter.state.map(State::as_str),
            text,
            filter.limit
        ],
    )
}

fn among_the_newest_of(
    connection: &Connection,
    filter: &Filter,
    state: State,
    text: &str,
) -> Result<Vec<ClipId>, IndexError> {
    ids(
        connection,
        "SELECT id FROM (SELECT id, title FROM clips WHERE state = ?1 AND id < ?2 ORDER BY id DESC LIMIT ?3)
         WHERE instr(folded(title), ?4) > 0 ORDER BY id DESC LIMIT ?5",
        params![state.as_str(), bound(filter), NEWEST, text, filter.limit],
    )
}

/// Threes of a text's characters, from all over it, as FTS5 wants its words quoted; none of a text that is shorter.
fn triples_of(text: &str) -> Vec<String> {
    let characters: Vec<char> = text.chars().collect();
    let mut triples: Vec<String> = characters
        .windows(3)
        .step_by(characters.len().div_ceil(ENOUGH_TRIPLES))
        .map(|three| quoted(&three.iter().collect::<String>()))
        .collect();
    triples.sort_unstable();
    triples.dedup();
    triples
}

/// The triples in titles that begin with one or two characters.
fn triples_beginning_with(connection: &Connection, text: &str) -> Result<Vec<String>, IndexError> {
    let mut query = connection
        .prepare_cached("SELECT term FROM titles_terms WHERE term >= ?1 AND term < ?2 LIMIT ?3")?;
    let end = format!("{text}{}", char::MAX);
    let terms = query.query_map(params![text, end, MOST_TRIPLES as u32 + 1], |row| {
        row.get::<_, String>(0)
    })?;
    terms.map(|term| Ok(quoted(&term?))).collect()
}

fn quoted(word: &str) -> String {
    format!("\"{}\"", word.replace('"', "\"\""))
}

/// The number that titles of clips made before this one do not exceed.
fn highest_number(connection: &Connection, before: Option<ClipId>) -> Result<i64, IndexError> {
    let Some(before) = before else {
        return Ok(i64::MAX);
    };
    let mut query = connection
        .prepare_cached("SELECT id, no FROM clips WHERE id <= ?1 ORDER BY id DESC LIMIT 1")?;
    let found = query.query_row([before.to_string()], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?))
    });
    Ok(match found.optional()? {
        Some((id, no)) if id == before.to_string() => no - 1,
        // It was removed since; those before it are still where they were.
        Some((_, no)) => no,
        None => 0,
    })
}

fn ids(
    connection: &Connection,
    query: &str,
    params: impl Params,
) -> Result<Vec<ClipId>, IndexError> {
    let mut query = connection.prepare_cached(query)?;
    let rows = query.query_map(params, |row| row.get::<_, String>(0))?;
    rows.map(|id| parse_id(&id?)).collect()
}

/// Numbers all clips and makes the index of their titles anew: for rows that came past the triggers.
pub(super) fn list_titles(connection: &Connection) -> Result<(), IndexError> {
    connection.execute_batch(
        "UPDATE clips SET no = ranked.no FROM (SELECT id, row_number() OVER (ORDER BY id) AS no FROM clips) AS ranked
         WHERE ranked.id = clips.id;
         INSERT INTO titles (titles) VALUES ('delete-all');
         INSERT INTO titles (rowid, title) SELECT no, folded(title) || char(1, 1) FROM clips ORDER BY no;",
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::Index;

    /// Clips with these titles and states, numbered from 1 in this order.
    async fn index(titles: &[(&str, &str)]) -> (tempfile::TempDir, Index) {
        let dir = tempfile::tempdir().unwrap();
        let index = Index::open(&dir.path().join("index.db"), 1).unwrap();
        let rows: Vec<(String, String, String)> = titles
            .iter()
            .zip(1..=u16::MAX)
            .map(|((title, state), number)| {
                (
                    id(number).to_string(),
                    (*title).to_owned(),
                    (*state).to_owned(),
                )
            })
            .collect();
        index
            .write(move |connection| {
                let recipe = r#"{"url":"https://example.com/v.mp4","segments":[{"start":0,"end":1}],"mode":"exact","format":"mp4"}"#;
                for (id, title, state) in rows {
                    connection.execute(
                        "INSERT INTO clips (id, state, title, recipe, visitor, estimate, created_at, queued_at)
                         VALUES (?1, ?2, ?3, ?4, 'v', 0, 1, 1)",
                        params![id, state, title, recipe],
                    )?;
                }
                Ok(())
            })
            .await
            .unwrap();
        (dir, index)
    }

    fn id(number: u16) -> ClipId {
        format!("0192f0c1-2345-7abc-8def-00000000{number:04x}")
            .parse()
            .unwrap()
    }

    fn number(clip: &Clip) -> u16 {
        let text = clip.id.to_string();
        u16::from_str_radix(&text[text.len() - 4..], 16).unwrap()
    }

    async fn asked(index: &Index, filter: Filter) -> Vec<u16> {
        let clips = index.clips(filter).await.unwrap();
        clips.iter().map(|(clip, _)| number(clip)).collect()
    }

    fn text(text: &str) -> Filter {
        Filter {
            text: Some(text.to_owned()),
            limit: 50,
            ..Filter::default()
        }
    }

    #[tokio::test]
    async fn a_text_is_found_wherever_it_stands_and_whatever_its_case() {
        let (_dir, index) = index(&[
            ("Big Buck Bunny", "failed"),
            ("BUNNY hop", "failed"),
            ("Ünïcödé ÄÖÜ", "failed"),
            ("猫の動画", "failed"),
            ("ab", "failed"),
            ("a \"quoted\" OR title*", "failed"),
            ("\u{10D50}\u{10D51}\u{10D52} garay", "failed"),
        ])
        .await;
        for (wanted, found) in [
            ("bunny", &[2, 1][..]),
            ("BUCK bun", &[1]),
            ("unny", &[2, 1]),
            ("Bunny Buck", &[]),
            ("ünïcödé äöü", &[3]),
            ("cöd", &[3]),
            ("猫", &[4]),
            ("画", &[4]),
            ("動画", &[4]),
            ("猫の動", &[4]),
            ("犬", &[]),
            ("ab", &[5]),
            ("b", &[5, 2, 1]),
            ("abc", &[]),
            ("\"quoted\"", &[6]),
            ("\"", &[6]),
            ("OR title*", &[6]),
            ("title:", &[]),
            ("\u{1}", &[]),
            ("\u{0}abc", &[]),
            ("\u{10D70}\u{10D71}\u{10D72}", &[7]),
        ] {
            assert_eq!(asked(&index, text(wanted)).await, found, "{wanted:?}");
        }
    }

    #[tokio::test]
    async fn what_is_renamed_or_removed_is_found_as_it_is_now() {
        let (_dir, index) = index(&[("first light", "failed"), ("second light", "failed")]).await;
        let change =
            |sql: &'static str| index.write(move |connection| Ok(connection.execute_batch(sql)?));
        change("UPDATE clips SET title = 'first dark' WHERE title = 'first light'")
            .await
            .unwrap();
        assert_eq!(asked(&index, text("light")).await, [2]);
        assert_eq!(asked(&index, text("dark")).await, [1]);
        change(
            "UPDATE clips SET state = 'cancelled'; DELETE FROM clips WHERE title = 'second light'",
        )
        .await
        .unwrap();
        assert_eq!(asked(&index, text("light")).await, [0_u16; 0]);
        assert_eq!(asked(&index, text("dark")).await, [1]);
        change("INSERT INTO titles (titles) VALUES ('integrity-check')")
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn pages_of_a_search_follow_each_other_whatever_way_is_taken() {
        // Enough of both states that the words are looked up, and a rare state that is looked through.
        let mut titles: Vec<(&str, &str)> = Vec::new();
        for number in 0..9000_u32 {
            titles.push(match number {
                _ if number % 1000 == 7 => ("zebra crossing", "ready"),
                _ if number % 1500 == 3 => ("zebra crossing", "cancelled"),
                _ if number % 2 == 0 => ("plain title", "failed"),
                _ => ("other words", "expired"),
            });
        }
        // What is ready has more columns than this test wants to fill.
        let titles: Vec<(&str, &str)> = titles
            .into_iter()
            .map(|(title, state)| (title, if state == "ready" { "failed" } else { state }))
            .collect();
        let (_dir, index) = index(&titles).await;
        for (wanted, state) in [
            ("zebra", None),
            ("zebra", Some(State::Failed)),
            ("zebra", Some(State::Cancelled)),
            ("ze", None),
            ("z", Some(State::Failed)),
            ("s", Some(State::Expired)),
            ("plain", Some(State::Failed)),
            ("plain", Some(State::Expired)),
        ] {
            let all: Vec<u16> = titles
                .iter()
                .zip(1..=u16::MAX)
                .filter(|((title, is), _)| {
                    title.contains(wanted) && state.is_none_or(|state| state.as_str() == *is)
                })
                .map(|(_, number)| number)
                .rev()
                .take(40)
                .collect();
            let (mut got, mut before) = (Vec::new(), None);
            while got.len() < 40 {
                let page = asked(
                    &index,
                    Filter {
                        state,
                        text: Some(wanted.to_owned()),
                        before,
                        limit: 7,
                    },
                )
                .await;
                before = page.last().map(|last| id(*last));
                let over = page.len() < 7;
                got.extend(page);
                if over {
                    break;
                }
            }
            got.truncate(40);
            assert_eq!(got, all, "{wanted} {state:?}");
        }
    }
}
