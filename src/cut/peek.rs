//! What is asked of a source before anything is cut: its bytes for a browser, and what previews are made from. Of a link
//! whose tables are known only those bytes travel that are needed; any other link is copied to the disk first, up to a limit, and of what
//! is no single file the beginning is put together there (`cut/opening`).

use std::io::Write;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::link::{self, Found, unfetched};
pub use super::opening::{Bearings, Extent};
use super::{CutError, Tools, explained, timely};
use crate::media::preview::browser::{self, Pictures};
use crate::media::preview::filmstrip::{self, Filmstrip};
use crate::media::preview::waveform::{self, Waveform};
use crate::media::probe::Scan;
use crate::media::window::whole::Whole;
use crate::media::window::whole::pick::Key;
use crate::media::window::{self, Looked};
use crate::media::{Bench, Input, MediaError};
use crate::recipe::Source;
use crate::seconds::Seconds;
use crate::source::fetch::Fetcher;
use crate::source::gate::Budget;
use crate::source::playlist::Wish;
use crate::source::relay::{Relay, RelayError, Wanted};
use crate::source::spool::Spool;
use crate::source::{self, Opened, Place, SourceError, upload};

/// What previews are made from.
#[derive(Clone, Debug)]
pub enum Material {
    /// The source itself: a local file, or a link whose tables are known.
    Source(Source),
    /// A copy of it on the disk.
    Copy(PathBuf, Bearings),
}

impl Material {
    /// Where it ends, when that is known to be elsewhere than where the source does.
    pub fn end(&self) -> Option<Seconds> {
        match self {
            Material::Source(_) => None,
            Material::Copy(_, bearings) => bearings.end,
        }
    }
}

/// A player may read for so long on one request; then it asks again.
const STREAM_DEADLINE: Duration = Duration::from_secs(1800);
/// Requests for one range: the first and its redirects.
const STREAM_CONNECTIONS: u32 = 8;
/// Keyframes of a link on one sheet: each costs a request.
const MOST_OF_A_LINK: usize = 48;
/// A keyframe larger than this is left out.
const MOST_KEY: u64 = 8 << 20;
/// So many pieces are asked for at once, and in all.
const BATCH: usize = 48;
const MOST_PIECES: usize = 192;

impl Tools {
    /// Where a source lies on the disk; none when it is behind a link.
    ///
    /// # Errors
    /// When it should be there and is not.
    pub fn local(&self, source: &Source) -> Result<Option<PathBuf>, CutError> {
        let path = match source {
            Source::Url(_) => return Ok(None),
            Source::Upload(id) => {
                let path = upload::file_of(&self.uploads, *id);
                if !path.exists() {
                    return Err(SourceError::UploadGone.into());
                }
                path
            }
            Source::File(path) => std::fs::canonicalize(path)
                .map_err(|error| SourceError::File(path.clone(), error))?,
        };
        Ok(Some(path))
    }

    /// A range of a link, on its way to a browser.
    ///
    /// # Errors
    /// When it is refused, cannot be reached, or has no such range.
    pub async fn relay(&self, source: &Source, wanted: Wanted) -> Result<Relay, RelayError> {
        let budget = Budget {
            deadline: STREAM_DEADLINE,
            connections: STREAM_CONNECTIONS,
            ..self.budget.clone()
        };
        let Source::Url(url) = source else {
            return Err(RelayError::Lies);
        };
        let opened = source::open_link(&self.gate, url, budget, None)?;
        Relay::open(opened, wanted).await
    }

    /// Copies a link into the work directory, all of it, when it is no larger than `most`.
    ///
    /// # Errors
    /// When it is larger, cannot be reached, or the disk is full.
    pub async fn copied(
        &self,
        bench: &Bench<'_>,
        source: &Source,
        most: u64,
    ) -> Result<PathBuf, CutError> {
        let budget = Budget {
            bytes: most.saturating_add(1 << 16),
            ..self.budget.clone()
        };
        let Source::Url(url) = source else {
            return Err(MediaError::Unsupported(None).into());
        };
        let opened = source::open_link(&self.gate, url, budget, bench.subject)?;
        let path = bench.dir.join("copy");
        let work = async {
            let mut relay = Relay::open(opened, Wanted::All).await.map_err(reading)?;
            if let crate::source::relay::Given::All(Some(length)) = relay.given
                && length > most
            {
                return Err(MediaError::TooLarge.into());
            }
            let mut file = std::fs::File::create(&path).map_err(MediaError::from)?;
            let mut taken = 0_u64;
            while let Some(piece) = relay.next().await.map_err(reading)? {
                taken += piece.len() as u64;
                if taken > most {
                    return Err(MediaError::TooLarge.into());
                }
                let written = tokio::task::spawn_blocking(move || {
                    file.write_all(&piece)?;
                    Ok::<_, std::io::Error>(file)
                });
                let written = written.await.map_err(std::io::Error::other);
                file = written.and_then(|file| file).map_err(MediaError::from)?;
            }
            Ok(path.clone())
        };
        let done = tokio::select! {
            done = tokio::time::timeout(bench.engine.fetch_deadline, work) => done,
            () = bench.stop.cancelled() => return Err(MediaError::Stopped.into()),
        };
        done.map_err(|_| MediaError::Timeout)?
    }

    /// The strip of a source's keyframes; at most so many bytes travel.
    ///
    /// # Errors
    /// When it cannot be reached or decoded.
    pub async fn filmstrip(
        &self,
        bench: &Bench<'_>,
        from: &Material,
        most: u64,
    ) -> Result<Filmstrip, CutError> {
        match self.reached(bench, from).await? {
            Reached::Link {
                opened,
                mut spool,
                whole,
            } => {
                let keys = filmstrip::choose(fit(whole.keys(), most), MOST_OF_A_LINK);
                let keys = fit_all(keys, most);
                let work = async {
                    fetched(
                        &mut spool,
                        keys.iter().map(|key| key.extent.clone()).collect(),
                    )
                    .await?;
                    Ok(filmstrip::of_tables(bench, &whole, keys).await?)
                };
                explained(work.await, &opened)
            }
            Reached::Tables { whole, .. } => {
                let keys = filmstrip::choose(fit(whole.keys(), most), filmstrip::MOST);
                Ok(filmstrip::of_tables(bench, &whole, keys).await?)
            }
            Reached::File { path, looked } => {
                let length = length(&looked);
                Ok(filmstrip::of_file(bench, &path, &looked.probe, length).await?)
            }
        }
    }

    /// The outline of a source's sound; none when it is silent. At most so many bytes travel.
    ///
    /// # Errors
    /// When it cannot be reached or decoded.
    pub async fn waveform(
        &self,
        bench: &Bench<'_>,
        from: &Material,
        most: u64,
    ) -> Result<Option<Waveform>, CutError> {
        let (path, probe, link) = match self.reached(bench, from).await? {
            Reached::Link {
                opened,
                mut spool,
                whole,
            } => {
                let pieces = pieces(whole.sound_extents(), most);
                let here = match pieces {
                    Some(pieces) => fetched(&mut spool, pieces).await,
                    None => Err(MediaError::TooLarge.into()),
                };
                explained(here, &opened)?;
                (whole.path.clone(), whole.probe.clone(), Some(whole))
            }
            Reached::Tables { path, whole } => (path, whole.probe.clone(), None),
            Reached::File { path, looked } => (path, looked.probe, None),
        };
        let Some(audio) = &probe.audio else {
            return Ok(None);
        };
        let length = probe
            .duration
            .map(|length| probe.start + length - probe.zero());
        let made = waveform::waveform(bench, &path, audio, probe.zero(), length).await;
        // The tables of a link are read until here.
        drop(link);
        Ok(Some(made?))
    }

    /// A copy of a source that browsers play, at most so long.
    ///
    /// # Errors
    /// When it cannot be reached, decoded or encoded.
    pub async fn preview(
        &self,
        bench: &Bench<'_>,
        from: &Material,
        most: Seconds,
    ) -> Result<PathBuf, CutError> {
        let (path, probe) = match self.reached(bench, from).await? {
            // What its tables tell everything about plays as it is.
            Reached::Link { .. } => return Err(MediaError::Unsupported(None).into()),
            Reached::Tables { path, whole } => (path, whole.probe.clone()),
            Reached::File { path, looked } => (path, looked.probe),
        };
        let video = &probe.video;
        let plays = video.codec == "h264"
            && matches!(video.pixel_format.as_str(), "yuv420p" | "yuvj420p")
            && video.scan == Scan::Progressive;
        let pictures = if plays {
            Pictures::Kept
        } else {
            Pictures::Small
        };
        Ok(browser::preview(bench, &path, &probe, most, pictures).await?)
    }

    /// Opens what previews are made from.
    async fn reached(&self, bench: &Bench<'_>, from: &Material) -> Result<Reached, CutError> {
        let local = match from {
            Material::Copy(path, bearings) => {
                let mut looked = window::look(bench, &Input::File(path.clone())).await?;
                if let Some(zero) = bearings.zero {
                    let probe = &mut looked.probe;
                    probe.zero_at = Some(zero);
                    probe.duration = bearings.end.map(|end| end + zero - probe.start);
                    looked.whole = None;
                }
                return Ok(Reached::here(path.clone(), looked));
            }
            Material::Source(source) => {
                let opened = self.open(bench, source)?;
                match &opened.place {
                    Place::File(path) => path.clone(),
                    Place::Link { .. } => {
                        let reached = spooled_tables(bench, &opened).await;
                        let (spool, whole) = explained(reached, &opened)?;
                        return Ok(Reached::Link {
                            opened,
                            spool,
                            whole,
                        });
                    }
                }
            }
        };
        let looked = window::look(bench, &Input::File(local.clone())).await?;
        Ok(Reached::here(local, looked))
    }
}

/// What previews are made from, opened.
enum Reached {
    /// Some of it is on the disk, and the rest can be fetched.
    Link {
        opened: Opened,
        spool: Box<Spool>,
        whole: Arc<Whole>,
    },
    /// A plain MP4 on the disk.
    Tables { path: PathBuf, whole: Arc<Whole> },
    /// Anything else on the disk.
    File { path: PathBuf, looked: Looked },
}

impl Reached {
    fn here(path: PathBuf, looked: Looked) -> Reached {
        match looked.whole.clone() {
            Some(whole) => Reached::Tables { path, whole },
            None => Reached::File { path, looked },
        }
    }
}

async fn spooled_tables(
    bench: &Bench<'_>,
    opened: &Opened,
) -> Result<(Box<Spool>, Arc<Whole>), CutError> {
    let Place::Link { url, proxy } = &opened.place else {
        return Err(MediaError::Unsupported(None).into());
    };
    let path = bench.dir.join("source.mp4");
    let work = async {
        let fetcher = Fetcher::new(proxy)?;
        let wish = Wish {
            height: bench.engine.max_height,
        };
        match link::find(bench, &fetcher, url, wish, &path).await? {
            Found::Tables(spool, looked) if looked.whole.is_some() => {
                let whole = looked.whole.ok_or(MediaError::Unsupported(None))?;
                Ok((spool, whole))
            }
            // It had tables when it was looked at.
            _ => Err(MediaError::Unsupported(None).into()),
        }
    };
    timely(bench, work).await
}

/// Fetches pieces, few at a time.
async fn fetched(spool: &mut Spool, pieces: Vec<Range<u64>>) -> Result<(), CutError> {
    for batch in pieces.chunks(BATCH) {
        spool.want(batch.iter().cloned()).await.map_err(unfetched)?;
    }
    Ok(())
}

fn reading(error: RelayError) -> CutError {
    match error {
        RelayError::Source(error) => error.into(),
        RelayError::Timeout => MediaError::Timeout.into(),
        RelayError::Range { .. } | RelayError::Refused(_) | RelayError::Lies => {
            MediaError::Unsupported(None).into()
        }
        RelayError::Unreachable(_) => MediaError::Timeout.into(),
    }
}

/// Keyframes of a size that keyframes have.
fn fit(mut keys: Vec<Key>, most: u64) -> Vec<Key> {
    keys.retain(|key| key.extent.end - key.extent.start <= MOST_KEY.min(most));
    keys
}

/// As many as fit together.
fn fit_all(mut keys: Vec<Key>, most: u64) -> Vec<Key> {
    while keys.len() > 1 {
        let bytes = keys.iter().map(|key| key.extent.end - key.extent.start);
        if bytes.sum::<u64>() <= most {
            break;
        }
        let mut place = 0;
        keys.retain(|_| {
            place += 1;
            place % 2 == 1
        });
    }
    keys
}

/// The same bytes in fewer pieces, with what lies between where that saves requests; `None` when that would be more than `most`.
fn pieces(mut extents: Vec<Range<u64>>, most: u64) -> Option<Vec<Range<u64>>> {
    extents.sort_unstable_by_key(|extent| extent.start);
    let mut apart = 64 * 1024;
    loop {
        let mut joined: Vec<Range<u64>> = Vec::new();
        for extent in &extents {
            match joined.last_mut() {
                Some(last) if extent.start <= last.end.saturating_add(apart) => {
                    last.end = last.end.max(extent.end);
                }
                _ => joined.push(extent.clone()),
            }
        }
        let bytes = joined.iter().map(|piece| piece.end - piece.start);
        if bytes.fold(0, u64::saturating_add) > most {
            return None;
        }
        if joined.len() <= MOST_PIECES {
            return Some(joined);
        }
        extents = joined;
        apart *= 2;
    }
}

/// How long a source is, as people count.
pub(super) fn length(looked: &Looked) -> Option<Seconds> {
    let probe = &looked.probe;
    probe
        .duration
        .map(|duration| probe.start + duration - probe.zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sound_is_fetched_in_a_bounded_number_of_pieces() {
        let scattered = |gap: u64| (0..1000).map(move |n| n * gap..n * gap + 400).collect();
        let close: Vec<_> = pieces(scattered(20_000), u64::MAX).unwrap();
        let all = 0..999 * 20_000 + 400;
        assert_eq!(close, std::slice::from_ref(&all));
        let far = pieces(scattered(100_000), u64::MAX).unwrap();
        assert!(far.len() <= MOST_PIECES);
        assert_eq!(pieces(scattered(100_000), 1_000_000), None);
        assert_eq!(pieces(Vec::new(), 0), Some(Vec::new()));
    }
}
