//! What a link leads to: a playlist, an MP4 whose tables can be had by ranges, a page, or something that only ffmpeg can tell.

use std::path::Path;
use std::sync::Arc;

use reqwest::StatusCode;
use url::Url;

use super::CutError;
use crate::media::splice::movie::{self, TopBox};
use crate::media::window::Looked;
use crate::media::window::whole::Whole;
use crate::media::{Bench, MediaError};
use crate::seconds::Seconds;
use crate::source::fetch::{FetchError, Fetcher};
use crate::source::playlist::{
    Chunks, Ending, Part, PlaylistError, Presentation, Run, Timeline, Wish, Zero, dash, hls,
};
use crate::source::sniff::{Nature, nature};
use crate::source::spool::{Spool, SpoolError, Start};

/// What was found behind a link.
pub enum Found {
    Presentation(Presentation),
    /// An MP4 in the work directory, as far as its index.
    Tables(Box<Spool>, Box<Looked>),
    Page,
    /// A page that is not shown to us.
    Refused(StatusCode),
    /// The server gives ranges of something else.
    Other(Box<Spool>),
    /// An MP4 from a server that gives all or nothing, with its index behind its pictures: who reads it in order comes too late.
    Backward,
    /// Nothing is known: ffmpeg reads the source, and says what is wrong if anything is.
    Nothing,
}

/// A playlist or manifest is not longer than this: twelve hours of two-second pieces with addresses of 350 bytes.
const MOST_TEXT: u64 = 8 << 20;

/// Looks at the beginning of what a link leads to; an MP4 is kept at `path` as far as it is needed.
///
/// # Errors
/// When a playlist cannot be used, or the disk is full.
pub async fn find(
    bench: &Bench<'_>,
    fetcher: &Fetcher,
    url: &Url,
    wish: Wish,
    path: &Path,
) -> Result<Found, CutError> {
    let found = begun(bench, fetcher, url, wish, path).await;
    if !matches!(found, Ok(Found::Tables(..) | Found::Other(_))) {
        // It may hold much already, or there is none.
        let _ = tokio::fs::remove_file(path).await;
    }
    found
}

async fn begun(
    bench: &Bench<'_>,
    fetcher: &Fetcher,
    url: &Url,
    wish: Wish,
    path: &Path,
) -> Result<Found, CutError> {
    let start = match Spool::open(fetcher, url, path).await {
        Ok(start) => start,
        // Who cannot be reached, or cannot prove who it is, is not asked again by somebody who looks less closely.
        Err(SpoolError::Fetch(FetchError::Request(error))) if error.is_connect() => {
            return Err(FetchError::Request(error).into());
        }
        Err(error) => return unless_full(error).map(|()| Found::Nothing),
    };
    let (from, nature) = match &start {
        Start::Ranges(spool) => match spool.head() {
            Ok(head) => (spool.url().clone(), nature(&head, spool.content_type())),
            Err(error) => return unless_full(error).map(|()| Found::Nothing),
        },
        Start::Plain(plain) => (plain.url.clone(), nature(&plain.head, &plain.content_type)),
    };
    match (nature, start) {
        // An error page is no page with a video on it; some sites refuse programs and still let yt-dlp in.
        // There is not even a first byte.
        (_, Start::Plain(plain)) if plain.status == StatusCode::RANGE_NOT_SATISFIABLE => {
            Err(MediaError::Unsupported(None).into())
        }
        (_, Start::Plain(plain)) if !plain.status.is_success() => {
            let refused = matches!(plain.status.as_u16(), 401 | 403 | 429 | 503);
            Ok(if refused && nature == Nature::Page {
                Found::Refused(plain.status)
            } else {
                Found::Nothing
            })
        }
        (Nature::Hls, start) => {
            let text = text(start).await?;
            presented(fetcher, text, from, wish)
                .await
                .map(Found::Presentation)
        }
        (Nature::Dash, start) => {
            let text = text(start).await?;
            let read = blocking(move || dash::read(&text, &from, wish)).await?;
            Ok(Found::Presentation(read?))
        }
        (Nature::Page, _) => Ok(Found::Page),
        (Nature::File, Start::Plain(plain)) if is_backward(&plain.head) => Ok(Found::Backward),
        (Nature::File, Start::Plain(_)) => Ok(Found::Nothing),
        (Nature::File, Start::Ranges(mut spool)) => match tables(bench, &mut spool, path).await {
            Ok(Indexed::Tables(looked)) => Ok(Found::Tables(Box::new(spool), looked)),
            Ok(Indexed::Fragments(presentation)) => Ok(Found::Presentation(presentation)),
            Ok(Indexed::Neither) => Ok(Found::Other(Box::new(spool))),
            Err(error) => unless_full(error).map(|()| Found::Nothing),
        },
    }
}

/// Whether a file begins as an MP4 whose index does not stand in front.
fn is_backward(head: &[u8]) -> bool {
    // The length is not known; no box is longer than that.
    const LENGTH: u64 = 1 << 50;
    let mut start = 0_usize;
    loop {
        let Some(rest) = head.get(start..).filter(|rest| !rest.is_empty()) else {
            return start > 0;
        };
        if start > 0 && rest.get(4..8) == Some(b"mdat") {
            return true;
        }
        match movie::top_box(rest, start as u64, LENGTH) {
            TopBox::Index { .. } | TopBox::Unreadable => return false,
            TopBox::Other { end } => start = usize::try_from(end).unwrap_or(usize::MAX),
        }
    }
}

/// A disk that is full ends everything; whatever else keeps us from ranges, ffmpeg may do without.
fn unless_full(error: SpoolError) -> Result<(), CutError> {
    match error {
        SpoolError::Io(error) if error.kind() == std::io::ErrorKind::StorageFull => {
            Err(MediaError::NoSpace.into())
        }
        _ => Ok(()),
    }
}

/// Reads a long text off the async threads.
async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> T + Send + 'static,
) -> Result<T, CutError> {
    let read = tokio::task::spawn_blocking(read).await;
    Ok(read
        .map_err(std::io::Error::other)
        .map_err(MediaError::from)?)
}

/// What it means that bytes did not come which have to.
pub fn unfetched(error: SpoolError) -> CutError {
    match error {
        SpoolError::Fetch(error) => error.into(),
        SpoolError::Io(error) => MediaError::from(error).into(),
        // A file that changes between two requests, too.
        SpoolError::NoRanges | SpoolError::Changed | SpoolError::Scattered => {
            FetchError::BrokeOff.into()
        }
    }
}

async fn text(start: Start) -> Result<Vec<u8>, CutError> {
    match start {
        Start::Plain(plain) => Ok(plain.whole(MOST_TEXT).await?),
        Start::Ranges(spool) if spool.length() > MOST_TEXT => Err(PlaylistError::TooLong.into()),
        Start::Ranges(mut spool) => {
            let all = 0..spool.length();
            let read = async {
                spool.want(std::iter::once(all.clone())).await?;
                spool.read(all.clone())
            };
            read.await.map_err(unfetched)
        }
    }
}

/// Follows a playlist that offers others to those that fit the wish.
async fn presented(
    fetcher: &Fetcher,
    text: Vec<u8>,
    from: Url,
    wish: Wish,
) -> Result<Presentation, CutError> {
    let choice = match blocking(move || hls::read(&text, &from, wish)).await?? {
        hls::Playlist::Media(pictures, ending) => {
            return Ok(Presentation {
                pictures,
                sound: None,
                ending,
            });
        }
        hls::Playlist::Choice(choice) => choice,
    };
    let (pictures, ending) = listed(fetcher, choice.pictures, wish).await?;
    let sound = match choice.sound {
        Some(url) => Some(listed(fetcher, url, wish).await?.0),
        None => None,
    };
    Ok(Presentation {
        pictures,
        sound,
        ending,
    })
}

async fn listed(fetcher: &Fetcher, url: Url, wish: Wish) -> Result<(Timeline, Ending), CutError> {
    let part = Part { url, range: None };
    let (text, from) = fetcher.bytes(&part, MOST_TEXT).await?;
    match blocking(move || hls::read(&text, &from, wish)).await?? {
        hls::Playlist::Media(timeline, ending) => Ok((timeline, ending)),
        // One that offers others must not be offered (RFC 8216, clause 4.3.4.2).
        hls::Playlist::Choice(_) => Err(PlaylistError::Unreadable.into()),
    }
}

/// What the index of an MP4 says.
enum Indexed {
    Tables(Box<Looked>),
    /// Its samples lie in fragments, of which it has an index.
    Fragments(Presentation),
    Neither,
}

/// Fetches the index of an MP4, wherever in the file it is.
async fn tables(bench: &Bench<'_>, spool: &mut Spool, path: &Path) -> Result<Indexed, SpoolError> {
    const MOST_BOXES: usize = 16;
    let mut start = 0_u64;
    for _ in 0..MOST_BOXES {
        let head = start..start.saturating_add(movie::BOX_HEAD);
        spool.want(std::iter::once(head.clone())).await?;
        match movie::top_box(&spool.read(head)?, start, spool.length()) {
            TopBox::Index { end } if end - start <= movie::MOST_INDEX => {
                spool.want(std::iter::once(start..end)).await?;
                return match Whole::open(path, bench.engine.max_pixels).await {
                    Some(whole) => Ok(Indexed::Tables(Box::new(Looked::of(whole)))),
                    None => fragments(spool, end).await,
                };
            }
            TopBox::Other { end } => start = end,
            TopBox::Index { .. } | TopBox::Unreadable => return Ok(Indexed::Neither),
        }
    }
    Ok(Indexed::Neither)
}

/// The index of fragments, when one follows at once what every fragment needs in front of it.
async fn fragments(spool: &mut Spool, init: u64) -> Result<Indexed, SpoolError> {
    let head = init..init.saturating_add(movie::BOX_HEAD);
    spool.want(std::iter::once(head.clone())).await?;
    let Some(index) = movie::segment_index(&spool.read(head)?, init, spool.length()) else {
        return Ok(Indexed::Neither);
    };
    spool.want(std::iter::once(index.clone())).await?;
    let file = spool.url().clone();
    let Some(read) = super::assembly::indexed(
        &spool.read(index.clone())?,
        &file,
        &index,
        Seconds::ZERO,
        Seconds::ZERO,
    ) else {
        return Ok(Indexed::Neither);
    };
    let run = Run {
        start: Seconds::ZERO,
        end: read.last().map_or(Seconds::ZERO, |chunk| chunk.end),
        zero: Zero::At(Seconds::ZERO),
        init: Some(crate::source::playlist::Init {
            part: Part {
                url: file,
                range: Some(0..init),
            },
            cipher: None,
        }),
        chunks: Chunks::Listed(read),
    };
    Ok(Indexed::Fragments(Presentation {
        pictures: Timeline { runs: vec![run] },
        sound: None,
        ending: Ending::Complete,
    }))
}

/// Fetches what a segment needs of an MP4; false when that cannot be told.
///
/// # Errors
/// When the server fails.
pub async fn stretch_fetched(
    spool: &mut Spool,
    whole: &Arc<Whole>,
    segment: crate::recipe::Segment,
) -> Result<bool, SpoolError> {
    for back in 0..crate::media::window::whole::MOST_BACK {
        let own = Arc::clone(whole);
        let extents = tokio::task::spawn_blocking(move || own.extents(segment, back));
        let extents = extents.await.map_err(std::io::Error::other)?;
        spool.want(extents.into_iter()).await?;
        let own = Arc::clone(whole);
        let begins = tokio::task::spawn_blocking(move || own.begins_whole(segment, back));
        if begins.await.map_err(std::io::Error::other)?? {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::is_backward;

    fn boxes(list: &[(&[u8; 4], u32)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (kind, body) in list {
            bytes.extend((body + 8).to_be_bytes());
            bytes.extend(*kind);
            bytes.resize(bytes.len() + *body as usize, 0);
        }
        bytes
    }

    #[test]
    fn an_index_that_does_not_stand_in_front_is_behind() {
        for (list, backward) in [
            (&[(b"ftyp", 16), (b"moov", 100), (b"mdat", 9000)][..], false),
            (&[(b"ftyp", 16), (b"free", 8), (b"moov", 100)], false),
            (&[(b"ftyp", 16), (b"mdat", 9000), (b"moov", 100)], true),
            (&[(b"ftyp", 16), (b"free", 0), (b"mdat", 90_000)], true),
            (&[(b"ftyp", 16), (b"free", 90_000)], true),
            (&[(b"styp", 16), (b"moof", 100), (b"mdat", 9000)], false),
        ] {
            let bytes = boxes(list);
            let head = &bytes[..bytes.len().min(65_536)];
            assert_eq!(is_backward(head), backward, "{list:?}");
        }
        assert!(!is_backward(b""));
        assert!(!is_backward(b"#EXTM3U\n#EXTINF"));
    }
}
