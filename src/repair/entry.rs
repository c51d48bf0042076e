//! An entry of the ledger read back: the clip as far as the ledger knows it.

use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use crate::clip::{Clip, ClipId, Outcome, State};
use crate::cost::Estimate;
use crate::library::ledger_entry;
use crate::recipe::Recipe;
use crate::timestamp::Timestamp;

/// What is there is no entry of this clip.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct EntryError(String);

#[derive(Deserialize)]
struct Entry {
    id: ClipId,
    state: State,
    title: String,
    recipe: Value,
    result: Option<Outcome>,
    file_name: Option<String>,
    created_at: Timestamp,
    finished_at: Option<Timestamp>,
    expires_at: Option<Timestamp>,
    #[serde(default)]
    pinned: bool,
    #[serde(default)]
    views: u64,
    #[serde(default)]
    downloads: u64,
    #[serde(default)]
    version: Option<u32>,
}

/// Reads the entry of a clip. The ledger keeps no uploads' ids: a clip made from one gets an id that no upload has.
///
/// # Errors
/// When it is no entry, another clip's, or says what cannot be.
pub fn read(id: ClipId, bytes: &[u8]) -> Result<Clip, EntryError> {
    let mut entry: Entry =
        serde_json::from_slice(bytes).map_err(|error| EntryError(error.to_string()))?;
    if entry.id != id {
        return Err(EntryError("it is about another clip".to_owned()));
    }
    if let Some(fields) = entry.recipe.as_object_mut()
        && !["url", "upload", "file"]
            .iter()
            .any(|source| fields.contains_key(*source))
    {
        fields.insert("upload".to_owned(), Value::from(Uuid::nil().to_string()));
    }
    let recipe: Recipe =
        serde_json::from_value(entry.recipe).map_err(|error| EntryError(error.to_string()))?;
    match entry.state {
        State::Ready => {
            let whole = entry.result.is_some() && entry.expires_at.is_some();
            let name = entry.file_name.as_deref().unwrap_or_default();
            if !whole || name.is_empty() || name.starts_with('.') || name.contains(['/', '\0']) {
                return Err(EntryError(
                    "it says that the clip is ready, and not as what".to_owned(),
                ));
            }
        }
        State::Expired => {}
        State::Queued
        | State::Fetching
        | State::Cutting
        | State::Storing
        | State::Failed
        | State::Cancelled => {
            return Err(EntryError(
                "only ready and expired clips are in the ledger".to_owned(),
            ));
        }
    }
    Ok(Clip {
        id,
        state: entry.state,
        title: entry.title,
        recipe,
        outcome: entry.result,
        file_name: entry.file_name,
        failure: None,
        created_at: entry.created_at,
        finished_at: entry.finished_at,
        expires_at: entry.expires_at,
        pinned: entry.pinned,
        views: entry.views,
        downloads: entry.downloads,
        attempts: 1,
        estimate: Estimate {
            seconds: 0.0,
            bytes: 0,
        },
        before: None,
        version: entry.version.unwrap_or(1),
        sharing: None,
    })
}

/// What an entry and the index have to say alike.
const ALIKE: [&str; 10] = [
    "id",
    "state",
    "title",
    "recipe",
    "result",
    "file_name",
    "created_at",
    "finished_at",
    "expires_at",
    "pinned",
];

/// Whether an entry says what the index says.
pub fn agrees(bytes: &[u8], clip: &Clip) -> bool {
    let wanted = ledger_entry(clip);
    if wanted == bytes {
        return true;
    }
    let read = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap_or_default();
    let (entry, wanted) = (read(bytes), read(&wanted));
    ALIKE.iter().all(|field| entry[field] == wanted[field])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::{Limits, Source};
    use crate::seconds::Seconds;

    fn ready(body: &str) -> Clip {
        let limits = Limits {
            max_clip: Seconds::from_whole(180),
            max_segments: 20,
            presets: None,
        };
        let outcome = serde_json::json!({
            "method": "copy", "reason": "fast", "start": 1, "end": 2, "truncated": false, "duration": 1, "frames": 30,
            "frames_copied": 30, "frames_encoded": 0, "size": 5, "sha256": "00", "width": 16, "height": 16, "fps": 29.97,
            "video_codec": "h264", "audio_codec": null, "bytes_fetched": 9, "poster": true,
        });
        Clip {
            id: "0192f0c1-2345-7abc-8def-0123456789ab".parse().unwrap(),
            state: State::Ready,
            title: "Tïtle".to_owned(),
            recipe: Recipe::from_json(body.as_bytes(), &limits).unwrap(),
            outcome: serde_json::from_value(outcome).unwrap(),
            file_name: Some("Tïtle.mp4".to_owned()),
            failure: None,
            created_at: Timestamp(1),
            finished_at: Some(Timestamp(2)),
            expires_at: Some(Timestamp(3)),
            pinned: true,
            views: 0,
            downloads: 0,
            attempts: 1,
            estimate: Estimate {
                seconds: 0.0,
                bytes: 0,
            },
            before: None,
            version: 2,
            sharing: None,
        }
    }

    #[test]
    fn what_the_ledger_keeps_is_read_back() {
        let clip =
            ready(r#"{"url":"https://example.com/v.mp4","start_time":1,"end_time":2,"title":"x"}"#);
        let bytes = ledger_entry(&clip);
        assert_eq!(read(clip.id, &bytes).unwrap(), clip);
        assert!(agrees(&bytes, &clip));
        let spaced = String::from_utf8(bytes).unwrap().replace(',', ", ");
        assert!(agrees(spaced.as_bytes(), &clip));
        let other = Clip {
            pinned: false,
            ..clip.clone()
        };
        assert!(!agrees(spaced.as_bytes(), &other));
    }

    #[test]
    fn a_clip_of_an_upload_keeps_all_but_the_upload() {
        let body =
            r#"{"upload":"0192f0c1-2345-4abc-8def-0123456789ab","start_time":1,"end_time":2}"#;
        let clip = ready(body);
        let back = read(clip.id, &ledger_entry(&clip)).unwrap();
        assert!(matches!(back.recipe.source, Source::Upload(id) if id.0.is_nil()));
        assert_eq!(back.recipe.public(), clip.recipe.public());
    }

    #[test]
    fn what_is_no_entry_is_told() {
        let clip = ready(r#"{"url":"https://example.com/v.mp4","start_time":1,"end_time":2}"#);
        let whole = String::from_utf8(ledger_entry(&clip)).unwrap();
        let other = "0192f0c1-2345-7abc-8def-0123456789ac".parse().unwrap();
        assert!(read(other, whole.as_bytes()).is_err());
        for (from, to) in [
            ("\"state\":\"ready\"", "\"state\":\"storing\""),
            ("Tïtle.mp4", "../../secret.key"),
            ("Tïtle.mp4", ".htaccess"),
            ("\"result\":{", "\"other\":{"),
            ("}", ""),
            ("start", "stop"),
        ] {
            let broken = whole.replacen(from, to, usize::MAX);
            assert_ne!(broken, whole);
            assert!(read(clip.id, broken.as_bytes()).is_err(), "{broken}");
        }
    }
}
