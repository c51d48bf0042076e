//! A link's bytes on their way to somebody else: one request through the gate, one range at most, handed on piece by piece as they
//! are taken and never kept. Nothing of the upstream's head goes further than what is checked here.

use std::ops::Range;
use std::time::Duration;

use ::bytes::Bytes;
use reqwest::header::{CONTENT_ENCODING, CONTENT_RANGE};
use reqwest::{Response, StatusCode};

use super::client::{Client, Silence};
use super::fetch::SILENCE;
use super::spool::content_range;
use super::{Opened, Place, SourceError};
use crate::source::gate::Refusal;

/// What is asked for (RFC 9110, clause 14.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    All,
    /// From a place on to another one, which belongs to it, or to the end.
    From(u64, Option<u64>),
    /// So many bytes at the end.
    Last(u64),
}

/// What an upstream gives, ready to be taken. When dropped, its connection is closed.
pub struct Relay {
    answer: Response,
    /// Holds the lease open.
    opened: Opened,
    pub given: Given,
    /// Bytes that are still to come, when that is known.
    left: Option<u64>,
}

/// What is coming.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Given {
    /// All of it; its length, when the upstream says so.
    All(Option<u64>),
    /// A part of so many bytes.
    Part { range: Range<u64>, length: u64 },
}

/// Why nothing comes.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    #[error("the range lies behind the end of the source")]
    Range { length: Option<u64> },
    #[error("the server of the source answered with an error")]
    Refused(StatusCode),
    #[error("the server of the source gives something else than what it was asked for")]
    Lies,
    #[error("the server of the source could not be reached")]
    Unreachable(#[source] reqwest::Error),
    #[error("the source did not answer in time")]
    Timeout,
    #[error(transparent)]
    Source(#[from] SourceError),
}

impl RelayError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            RelayError::Range { .. } => "range_invalid",
            RelayError::Refused(_) | RelayError::Lies | RelayError::Unreachable(_) => {
                "source_unreachable"
            }
            RelayError::Timeout => "source_timeout",
            RelayError::Source(error) => error.code(),
        }
    }

    /// The next step.
    pub fn hint(&self) -> &'static str {
        match self {
            RelayError::Range { .. } => "Ask for bytes within the source.",
            RelayError::Refused(_) | RelayError::Lies | RelayError::Unreachable(_) => {
                "Check that the link still works, then try again."
            }
            RelayError::Timeout => "Try again later; the server may be slow.",
            RelayError::Source(error) => error.hint(),
        }
    }
}

impl Wanted {
    /// Reads the header of one range; `None` when it is not one.
    pub fn parse(header: &str) -> Option<Wanted> {
        let (first, last) = header.strip_prefix("bytes=")?.split_once('-')?;
        match (first, last) {
            ("", "") => None,
            ("", last) => Some(Wanted::Last(last.parse().ok()?)),
            (first, "") => Some(Wanted::From(first.parse().ok()?, None)),
            (first, last) => {
                let (first, last) = (first.parse().ok()?, last.parse().ok()?);
                (first <= last).then_some(Wanted::From(first, Some(last)))
            }
        }
    }

    fn header(self) -> Option<String> {
        match self {
            Wanted::All => None,
            Wanted::From(first, Some(last)) => Some(format!("bytes={first}-{last}")),
            Wanted::From(first, None) => Some(format!("bytes={first}-")),
            Wanted::Last(count) => Some(format!("bytes=-{count}")),
        }
    }

    /// Whether a part may be the answer: it begins where it was to begin and holds no more than was asked for.
    fn is_met_by(self, range: &Range<u64>, length: u64) -> bool {
        match self {
            Wanted::All => false,
            Wanted::From(first, last) => {
                range.start == first && last.is_none_or(|last| range.end <= last.saturating_add(1))
            }
            Wanted::Last(count) => range.start >= length.saturating_sub(count),
        }
    }
}

impl Relay {
    /// Asks for bytes of an opened link.
    ///
    /// # Errors
    /// When the server cannot be reached, has no such bytes, or gives something else.
    pub async fn open(opened: Opened, wanted: Wanted) -> Result<Relay, RelayError> {
        let Place::Link { url, proxy } = &opened.place else {
            return Err(RelayError::Lies);
        };
        let explained = |error: reqwest::Error| explained(&opened, error);
        // The reader may be slow or take a break: only what is waited for has a limit, not the whole.
        let client = Client::through(proxy, Silence::Watched).map_err(explained)?;
        let range = wanted.header();
        let answer = tokio::time::timeout(SILENCE, client.get(url, range.as_deref()));
        let answer = answer
            .await
            .map_err(|_| RelayError::Timeout)?
            .map_err(explained)?;
        // What the gate says about a redirect comes as an answer too.
        let given = given(&answer, wanted).map_err(|error| match opened.refusal() {
            Some(refusal) => RelayError::Source(refusal.into()),
            None => error,
        })?;
        let left = match &given {
            Given::All(length) => *length,
            Given::Part { range, .. } => Some(range.end - range.start),
        };
        Ok(Relay {
            answer,
            opened,
            given,
            left,
        })
    }

    /// The next piece; `None` when all is there.
    ///
    /// # Errors
    /// When the upstream ends too early, falls silent, or the lease is used up.
    pub async fn next(&mut self) -> Result<Option<Bytes>, RelayError> {
        if self.left == Some(0) {
            return Ok(None);
        }
        let piece = tokio::time::timeout(SILENCE, self.answer.chunk()).await;
        let piece = piece
            .map_err(|_| RelayError::Timeout)?
            .map_err(|error| explained(&self.opened, error))?;
        let Some(mut piece) = piece else {
            return match self.left {
                None => Ok(None),
                Some(_) => Err(RelayError::Lies),
            };
        };
        if let Some(left) = &mut self.left {
            // More than was promised is nobody's.
            piece.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= piece.len() as u64;
        }
        Ok(Some(piece))
    }

    /// How long one may wait for a piece.
    pub const SILENCE: Duration = SILENCE;

    /// The gate's first refusal.
    pub fn refusal(&self) -> Option<Refusal> {
        self.opened.refusal()
    }
}

fn explained(opened: &Opened, error: reqwest::Error) -> RelayError {
    match opened.refusal() {
        Some(refusal) => RelayError::Source(refusal.into()),
        // Without the address, which may hold a secret.
        None => RelayError::Unreachable(error.without_url()),
    }
}

fn given(answer: &Response, wanted: Wanted) -> Result<Given, RelayError> {
    let header = |name| answer.headers().get(name)?.to_str().ok();
    // It was asked for the bytes as they are.
    if header(CONTENT_ENCODING).is_some_and(|coding| !coding.eq_ignore_ascii_case("identity")) {
        return Err(RelayError::Lies);
    }
    match answer.status() {
        StatusCode::OK => Ok(Given::All(answer.content_length())),
        StatusCode::PARTIAL_CONTENT => {
            let said = header(CONTENT_RANGE).and_then(content_range);
            let (range, length) = said.ok_or(RelayError::Lies)?;
            let whole = answer
                .content_length()
                .is_none_or(|bytes| bytes == range.end - range.start);
            if !whole || !wanted.is_met_by(&range, length) {
                return Err(RelayError::Lies);
            }
            Ok(Given::Part { range, length })
        }
        StatusCode::RANGE_NOT_SATISFIABLE if wanted != Wanted::All => Err(RelayError::Range {
            length: header(CONTENT_RANGE)
                .and_then(|text| text.strip_prefix("bytes */")?.parse().ok()),
        }),
        status => Err(RelayError::Refused(status)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_read_and_asked_for_as_it_is() {
        for (header, wanted) in [
            ("bytes=0-9", Some(Wanted::From(0, Some(9)))),
            ("bytes=5-", Some(Wanted::From(5, None))),
            ("bytes=-7", Some(Wanted::Last(7))),
            ("bytes=9-5", None),
            ("bytes=-", None),
            ("bytes=0-1,3-4", None),
            ("lines=0-1", None),
        ] {
            assert_eq!(Wanted::parse(header), wanted, "{header}");
            if let Some(wanted) = wanted {
                assert_eq!(wanted.header().as_deref(), Some(header));
            }
        }
    }

    #[test]
    fn only_what_was_asked_for_counts_as_an_answer() {
        let check = |wanted: Wanted, range: Range<u64>, met| {
            assert_eq!(wanted.is_met_by(&range, 100), met, "{wanted:?} {range:?}");
        };
        check(Wanted::From(10, Some(19)), 10..20, true);
        check(Wanted::From(10, Some(19)), 10..15, true);
        check(Wanted::From(10, Some(19)), 9..20, false);
        check(Wanted::From(10, Some(19)), 10..21, false);
        check(Wanted::From(10, None), 10..100, true);
        check(Wanted::Last(5), 95..100, true);
        check(Wanted::Last(500), 0..100, true);
        check(Wanted::Last(5), 0..5, false);
        check(Wanted::All, 0..100, false);
    }
}
