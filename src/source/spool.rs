//! A link's bytes on the disk, as far as they were asked for: a sparse file that is as long as the source. Every byte comes through the
//! gate; a server that gives no ranges, or changes its mind, has no spool.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use reqwest::header::{CONTENT_RANGE, ETAG, LAST_MODIFIED};
use reqwest::{Response, StatusCode, Url};

use super::fetch::{self, FetchError, Fetcher};
use super::playlist::Part;

/// How a link begins.
#[derive(Debug)]
pub enum Start {
    Ranges(Spool),
    /// The server gives all or nothing.
    Plain(Plain),
}

/// An answer of which only the beginning was read.
#[derive(Debug)]
pub struct Plain {
    /// Where it really came from.
    pub url: Url,
    pub status: StatusCode,
    pub content_type: String,
    pub head: Vec<u8>,
    answer: Response,
}

impl Plain {
    /// All of it, when that is not more than `most` bytes.
    ///
    /// # Errors
    /// When it is larger or breaks off.
    pub async fn whole(self, most: u64) -> Result<Vec<u8>, FetchError> {
        let part = Part {
            url: self.url,
            range: None,
        };
        fetch::rest(self.head, self.answer, &part, most).await
    }
}

/// The part of a source that is here.
#[derive(Debug)]
pub struct Spool {
    fetcher: Fetcher,
    /// Where the first answer really came from.
    url: Url,
    file: Arc<File>,
    path: PathBuf,
    length: u64,
    content_type: String,
    /// What the server calls this version of the file.
    version: Option<String>,
    /// What is here: rising, apart from each other.
    here: Vec<Range<u64>>,
}

/// Why there is no spool, or not more of it.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    #[error("the server gives no ranges of this file")]
    NoRanges,
    #[error("the file changed while it was fetched")]
    Changed,
    #[error("what is wanted lies in too many places")]
    Scattered,
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("the bytes could not be written")]
    Io(#[from] io::Error),
}

/// The first request takes so much: small files and most indexes in front are there at once.
const FIRST: u64 = 64 * 1024;
/// One wish costs at most so many requests; a file that is scattered more than that is read as a whole.
const MOST_PIECES: usize = 64;
/// What lies closer together than this is fetched in one piece: a request costs about as much.
const APART: u64 = 64 * 1024;

impl Spool {
    /// Asks for the beginning of a file and, when there are ranges of it, keeps it at `path`.
    ///
    /// # Errors
    /// When the server cannot be reached, or the file not be written.
    pub async fn open(fetcher: &Fetcher, url: &Url, path: &Path) -> Result<Start, SpoolError> {
        let mut answer = fetcher.ask(url, Some(0..FIRST)).await?;
        let content_type = fetch::content_type(&answer);
        let said = Said::of(&answer);
        let Some(said) = said
            .ok()
            .filter(|said| said.range.start == 0 && said.range.end <= FIRST)
        else {
            let mut head = Vec::new();
            while (head.len() as u64) < FIRST
                && let Some(bytes) = answer.chunk().await.map_err(FetchError::from)?
            {
                head.extend_from_slice(&bytes);
            }
            return Ok(Start::Plain(Plain {
                url: answer.url().clone(),
                status: answer.status(),
                content_type,
                head,
                answer,
            }));
        };
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)?;
        file.set_len(said.length)?;
        let mut spool = Spool {
            fetcher: fetcher.clone(),
            url: answer.url().clone(),
            file: Arc::new(file),
            path: path.to_owned(),
            length: said.length,
            content_type,
            version: said.version.clone(),
            here: Vec::new(),
        };
        spool.take(answer, said.range).await?;
        Ok(Start::Ranges(spool))
    }

    /// Where the first answer really came from.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// What the server calls it, without parameters.
    pub fn content_type(&self) -> &str {
        &self.content_type
    }

    /// The beginning of the file, as far as it was asked for first.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn head(&self) -> Result<Vec<u8>, SpoolError> {
        self.read(0..FIRST)
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What of it is here, rising.
    pub fn here(&self) -> &[Range<u64>] {
        &self.here
    }

    /// Bytes of the whole source.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Sees to it that these bytes are here; what lies behind the end is left out.
    ///
    /// # Errors
    /// When the server fails, or gives another file than before.
    pub async fn want(
        &mut self,
        wanted: impl Iterator<Item = Range<u64>>,
    ) -> Result<(), SpoolError> {
        let missing = missing(wanted.collect(), &self.here, self.length);
        if missing.len() > MOST_PIECES {
            return Err(SpoolError::Scattered);
        }
        for range in missing {
            let answer = self.fetcher.ask(&self.url, Some(range.clone())).await?;
            let said = Said::of(&answer)?;
            if said.length != self.length || said.version != self.version {
                return Err(SpoolError::Changed);
            }
            if said.range != range {
                return Err(SpoolError::NoRanges);
            }
            self.take(answer, range).await?;
        }
        Ok(())
    }

    /// Sees to it that all of it is here.
    ///
    /// # Errors
    /// As [`Spool::want`].
    pub async fn want_all(&mut self) -> Result<(), SpoolError> {
        self.want(std::iter::once(0..self.length)).await
    }

    /// Reads bytes that are here.
    ///
    /// # Errors
    /// When they are not.
    pub fn read(&self, range: Range<u64>) -> Result<Vec<u8>, SpoolError> {
        let end = range.end.min(self.length);
        let mut bytes = vec![0; end.saturating_sub(range.start) as usize];
        self.file.read_exact_at(&mut bytes, range.start)?;
        Ok(bytes)
    }

    async fn take(&mut self, mut answer: Response, range: Range<u64>) -> Result<(), SpoolError> {
        let mut place = range.start;
        while let Some(bytes) = answer.chunk().await.map_err(FetchError::from)? {
            let end = place + bytes.len() as u64;
            if end > range.end {
                return Err(SpoolError::Changed);
            }
            let file = Arc::clone(&self.file);
            let at = place;
            tokio::task::spawn_blocking(move || file.write_all_at(&bytes, at))
                .await
                .map_err(io::Error::other)??;
            place = end;
        }
        if place != range.end {
            return Err(SpoolError::Changed);
        }
        self.here.push(range);
        self.here = joined(std::mem::take(&mut self.here), 0);
        Ok(())
    }
}

/// What an answer says it holds (RFC 9110, clause 14.4).
struct Said {
    range: Range<u64>,
    length: u64,
    version: Option<String>,
}

impl Said {
    fn of(answer: &Response) -> Result<Said, SpoolError> {
        if answer.status() != StatusCode::PARTIAL_CONTENT {
            return Err(SpoolError::NoRanges);
        }
        let header = |name| answer.headers().get(name)?.to_str().ok();
        let (range, length) = header(CONTENT_RANGE)
            .and_then(content_range)
            .ok_or(SpoolError::NoRanges)?;
        Ok(Said {
            range,
            length,
            version: header(ETAG).or(header(LAST_MODIFIED)).map(str::to_owned),
        })
    }
}

/// Reads `bytes FIRST-LAST/LENGTH`.
pub(super) fn content_range(text: &str) -> Option<(Range<u64>, u64)> {
    let (range, length) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    let length: u64 = length.parse().ok()?;
    (first <= last && last < length).then_some((first..last + 1, length))
}

/// What of the wanted has to be fetched, in rising order.
fn missing(wanted: Vec<Range<u64>>, here: &[Range<u64>], length: u64) -> Vec<Range<u64>> {
    let mut missing = Vec::new();
    for range in joined(wanted, APART) {
        let (mut start, end) = (range.start, range.end.min(length));
        for known in here {
            if known.end <= start || known.start >= end {
                continue;
            }
            if known.start > start {
                missing.push(start..known.start);
            }
            start = known.end;
        }
        if start < end {
            missing.push(start..end);
        }
    }
    missing
}

/// The same bytes in rising order, with what lies closer together than `apart` in one piece.
fn joined(mut ranges: Vec<Range<u64>>, apart: u64) -> Vec<Range<u64>> {
    ranges.retain(|range| !range.is_empty());
    ranges.sort_unstable_by_key(|range| range.start);
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last) if range.start <= last.end.saturating_add(apart) => {
                last.end = last.end.max(range.end);
            }
            _ => joined.push(range),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_not_here_is_fetched() {
        let here = [100..200, 300..400];
        let check = |wanted: &[(u64, u64)], expected: &[(u64, u64)]| {
            let ranges = wanted.iter().map(|(start, end)| *start..*end).collect();
            let found = missing(ranges, &here, 1_000_000);
            let found: Vec<_> = found.iter().map(|range| (range.start, range.end)).collect();
            assert_eq!(found, expected, "{wanted:?}");
        };
        check(&[(100, 200)], &[]);
        check(&[(120, 180)], &[]);
        check(&[(50, 120)], &[(50, 100)]);
        check(&[(150, 350)], &[(200, 300)]);
        check(&[(0, 500)], &[(0, 100), (200, 300), (400, 500)]);
        check(&[(400, 450)], &[(400, 450)]);
        check(&[(0, 10), (20, 30)], &[(0, 30)]);
        check(
            &[(0, 10), (900_000, 2_000_000)],
            &[(0, 10), (900_000, 1_000_000)],
        );
        check(&[(5, 5)], &[]);
    }

    #[test]
    fn an_answer_says_what_it_holds() {
        assert_eq!(content_range("bytes 0-9/100"), Some((0..10, 100)));
        for text in [
            "bytes 0-9/*",
            "bytes 9-0/100",
            "bytes 0-100/100",
            "0-9/100",
            "bytes */100",
            "",
        ] {
            assert_eq!(content_range(text), None, "{text}");
        }
    }
}
