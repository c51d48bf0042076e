//! The clip: a recipe with an id, a state and, once ready, a result. Pure: no clock, no randomness, no I/O.

pub mod change;
pub mod worth;

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::cost::Estimate;
use crate::recipe::{Recipe, Segment};
use crate::seconds::Seconds;
use crate::timestamp::Timestamp;

/// A clip's id: a UUIDv7, so that ids sort by the time they were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClipId(pub Uuid);

impl fmt::Display for ClipId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for ClipId {
    type Err = uuid::Error;

    /// Only the hyphenated lower-case form, so that one clip has one address.
    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        let id = Uuid::parse_str(text)?;
        if id.to_string() == text {
            Ok(ClipId(id))
        } else {
            // Any parse error says the same thing to the caller: no such clip.
            Uuid::parse_str("").map(ClipId)
        }
    }
}

/// Where a clip stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Queued,
    Fetching,
    Cutting,
    Storing,
    Ready,
    Expired,
    Failed,
    Cancelled,
}

impl State {
    /// Every state, in the order of a clip's life.
    pub const ALL: [State; 8] = [
        State::Queued,
        State::Fetching,
        State::Cutting,
        State::Storing,
        State::Ready,
        State::Expired,
        State::Failed,
        State::Cancelled,
    ];

    /// The word used in the API and the index.
    pub const fn as_str(self) -> &'static str {
        match self {
            State::Queued => "queued",
            State::Fetching => "fetching",
            State::Cutting => "cutting",
            State::Storing => "storing",
            State::Ready => "ready",
            State::Expired => "expired",
            State::Failed => "failed",
            State::Cancelled => "cancelled",
        }
    }

    /// A worker has it in hand.
    pub const fn is_running(self) -> bool {
        match self {
            State::Fetching | State::Cutting | State::Storing => true,
            State::Queued | State::Ready | State::Expired | State::Failed | State::Cancelled => {
                false
            }
        }
    }

    /// Nothing more happens to it by itself, apart from expiry.
    pub const fn is_settled(self) -> bool {
        match self {
            State::Ready | State::Expired | State::Failed | State::Cancelled => true,
            State::Queued | State::Fetching | State::Cutting | State::Storing => false,
        }
    }

    /// Whether a clip may go from this state to `next`.
    pub const fn may_become(self, next: State) -> bool {
        match (self, next) {
            (State::Queued, State::Fetching)
            | (State::Fetching, State::Cutting)
            | (State::Cutting, State::Storing)
            | (State::Storing, State::Ready)
            | (State::Ready, State::Expired) => true,
            // One that is made again, and back when that comes to nothing: see `Clip::before`.
            (State::Ready, State::Queued)
            | (State::Queued | State::Fetching | State::Cutting, State::Ready) => true,
            // Any clip that is not settled may fail or be cancelled; a running one may be queued again after an interruption.
            (from, State::Failed | State::Cancelled) => !from.is_settled(),
            (from, State::Queued) => {
                from.is_running()
                    || matches!(from, State::Failed | State::Cancelled | State::Expired)
            }
            (
                _,
                State::Fetching | State::Cutting | State::Storing | State::Ready | State::Expired,
            ) => false,
        }
    }
}

impl FromStr for State {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        State::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or(())
    }
}

/// How a clip was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Exact, most frames untouched.
    Splice,
    /// Exact, every frame encoded anew.
    Encode,
    /// Packets as they are, from a keyframe on.
    Copy,
}

impl Method {
    /// The word used in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Method::Splice => "splice",
            Method::Encode => "encode",
            Method::Copy => "copy",
        }
    }
}

/// What came out: measured on the finished file, never taken from the tool that made it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Outcome {
    pub method: Method,
    /// Why this method, in one word.
    pub reason: String,
    /// Why the splice that was tried first was discarded; the clip is exact all the same.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub fallback: Option<String>,
    /// Where the clip really starts and ends in the source, in seconds.
    #[schema(value_type = f64)]
    pub start: Seconds,
    #[schema(value_type = f64)]
    pub end: Seconds,
    /// The source ended before the wanted end.
    pub truncated: bool,
    /// Length of the file in seconds.
    #[schema(value_type = f64)]
    pub duration: Seconds,
    pub frames: u64,
    pub frames_copied: u64,
    pub frames_encoded: u64,
    /// Bytes of the file.
    pub size: u64,
    /// SHA-256 of the file, lower-case hex.
    pub sha256: String,
    /// Size as shown in pixels; null where there are no pictures, as are rate and codec.
    pub width: Option<u32>,
    pub height: Option<u32>,
    /// Average frames per second.
    pub fps: Option<f64>,
    pub video_codec: Option<String>,
    pub audio_codec: Option<String>,
    /// Bytes that travelled for it.
    pub bytes_fetched: u64,
    /// There is a poster beside the file.
    pub poster: bool,
}

/// Why a clip failed, in words for the person who asked for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Failure {
    pub code: String,
    pub detail: String,
    pub hint: String,
}

/// A clip as the index knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Clip {
    pub id: ClipId,
    pub state: State,
    pub title: String,
    pub recipe: Recipe,
    pub outcome: Option<Outcome>,
    /// The file's name in the store, set together with `outcome`.
    pub file_name: Option<String>,
    pub failure: Option<Failure>,
    pub created_at: Timestamp,
    pub finished_at: Option<Timestamp>,
    pub expires_at: Option<Timestamp>,
    pub pinned: bool,
    pub views: u64,
    pub downloads: u64,
    /// How often a worker has taken it in hand.
    pub attempts: u32,
    /// What it is expected to take, or was when it was planned.
    pub estimate: Estimate,
    /// While it is made again: the recipe of the file that is there and served until the new one is. Result, file name and end are that
    /// file's, too.
    pub before: Option<Recipe>,
    /// How often it became ready; the address of its picture tells one time from the other.
    pub version: u32,
    /// The window that it shares with clips that were asked for together with it.
    pub sharing: Option<Sharing>,
}

/// A stretch that several clips are cut from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sharing {
    /// The first of them, under whose id the window is kept.
    pub first: ClipId,
    /// What covers all of them.
    pub span: Segment,
}

impl Clip {
    /// Whether there is a file of it that is served.
    pub fn is_served(&self) -> bool {
        self.state == State::Ready || self.before.is_some()
    }

    /// The clip as it is served: of one that is made again, as it was before; none of one without a file.
    pub fn as_served(&self) -> Option<Cow<'_, Clip>> {
        match &self.before {
            Some(before) => Some(Cow::Owned(Clip {
                state: State::Ready,
                recipe: before.clone(),
                before: None,
                ..self.clone()
            })),
            None => (self.state == State::Ready).then_some(Cow::Borrowed(self)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_straight_way_through_life_is_open() {
        let way = [
            State::Queued,
            State::Fetching,
            State::Cutting,
            State::Storing,
            State::Ready,
            State::Expired,
        ];
        for pair in way.windows(2) {
            assert!(pair[0].may_become(pair[1]), "{pair:?}");
            assert!(
                !pair[1].may_become(pair[0]) || pair[0] == State::Queued,
                "{pair:?} back"
            );
        }
    }

    #[test]
    fn only_unsettled_clips_fail_or_are_cancelled() {
        for state in State::ALL {
            assert_eq!(
                state.may_become(State::Failed),
                !state.is_settled(),
                "{state:?}"
            );
            assert_eq!(
                state.may_become(State::Cancelled),
                !state.is_settled(),
                "{state:?}"
            );
        }
    }

    #[test]
    fn a_clip_is_made_again_and_goes_back_to_what_it_was() {
        assert!(State::Ready.may_become(State::Queued));
        for state in State::ALL.into_iter().filter(|state| !state.is_settled()) {
            assert!(state.may_become(State::Ready), "{state:?}");
        }
        assert!(!State::Failed.may_become(State::Ready));
    }

    #[test]
    fn states_read_back_as_written() {
        for state in State::ALL {
            assert_eq!(state.as_str().parse(), Ok(state));
        }
    }

    #[test]
    fn an_id_has_one_spelling() {
        let id = "0192f0c1-2345-7abc-8def-0123456789ab";
        assert_eq!(id.parse::<ClipId>().unwrap().to_string(), id);
        for other in [
            id.to_uppercase(),
            id.replace('-', ""),
            format!("{{{id}}}"),
            format!("{id}.tmp"),
            String::new(),
        ] {
            assert!(other.parse::<ClipId>().is_err(), "{other}");
        }
    }
}
