//! The beginning of a source that is no single file, put together on the disk for previews. It comes by the very steps by which windows of
//! clips come, so that both count from the same moment; it is never cut from.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{CutError, Film, Hearing, Tools, explained, timely};
use crate::media::window::Window;
use crate::media::{Bench, MediaError};
use crate::recipe::{Segment, Source};
use crate::seconds::Seconds;
use crate::source;
use crate::source::gate::Budget;
use crate::source::playlist::{Ending, PlaylistError};

/// What is known of a copy beside its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Bearings {
    /// The timestamp that people call 0; unless told, as everywhere (see `media::probe::Probe::zero`).
    pub zero: Option<Seconds>,
    /// Where it ends, as people count, which may be before the source does; unless told, where the source does.
    pub end: Option<Seconds>,
}

/// What is asked for of an opening.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    pub bytes: u64,
    pub length: Seconds,
}

/// Previews need not be taller.
const HEIGHT: u32 = 360;
/// What is no longer than this is fetched without asking how much it may be.
const SHORT: Seconds = Seconds::from_whole(120);
/// The rest may be richer than a sample of it.
const RICHER: f64 = 1.4;
/// Connections that are kept for playlists, headers, keys and looks at beginnings.
const OTHER_CONNECTIONS: usize = 60;

impl Tools {
    /// Puts the beginning of a source in pieces, or on a page, together in the work directory: a small rendition with its sound, no
    /// further than to where it was made in one go.
    ///
    /// # Errors
    /// When it cannot be reached or read, is larger than it may be, or is still being broadcast.
    pub async fn gathered(
        &self,
        bench: &Bench<'_>,
        source: &Source,
        most: Extent,
    ) -> Result<(PathBuf, Bearings), CutError> {
        let Source::Url(url) = source else {
            return Err(MediaError::Unsupported(None).into());
        };
        let budget = Budget {
            bytes: most.bytes.min(self.budget.bytes),
            ..self.budget.clone()
        };
        let pieces = (budget.connections as usize).saturating_sub(OTHER_CONNECTIONS);
        let opened = source::open_link(&self.gate, url, budget, bench.subject)?;
        let work = async {
            let mut film = self.film(bench, &opened, HEIGHT).await?;
            film.opening(bench, most, pieces.max(2)).await
        };
        let window = explained(timely(bench, work).await, &opened)?;
        let bearings = bearings(&window);
        Ok((window.path, bearings))
    }
}

fn bearings(window: &Window) -> Bearings {
    let packets = window.video.packets.iter();
    let last = packets.map(|packet| packet.pts + packet.duration).max();
    let end = last.map(|ticks| window.video.time_base.seconds(ticks) - window.shift);
    Bearings {
        zero: Some(window.shift),
        end: end.map(|end| end.min(window.segment.end)),
    }
}

impl Film {
    /// Its beginning as one file: at most so much, of at most so many pieces, and before the first break.
    async fn opening(
        &mut self,
        bench: &Bench<'_>,
        most: Extent,
        pieces: usize,
    ) -> Result<Window, CutError> {
        // What is called 0 moves on with the broadcast: a preview would show other moments than a clip does.
        if self.ending == Ending::Live {
            return Err(PlaylistError::Live.into());
        }
        let own = pieces / if self.sound.is_some() { 2 } else { 1 };
        let reels = [Some(&self.pictures), self.sound.as_ref()];
        let reels = reels.into_iter().flatten();
        let end = reels
            .filter_map(|reel| reel.reach(own))
            .fold(most.length, Ord::min);
        let all = Segment {
            start: Seconds::ZERO,
            end,
        };
        let mut first = self.asunder(all).into_iter().next().unwrap_or(all);
        if let Some(length) = self.pictures.length() {
            first.end = first.end.min(length);
            if first.end > SHORT {
                let rate = self.rate(bench, first).await? * RICHER;
                first.end = first.end.min(time(most.bytes as f64 / rate));
            }
        }
        self.window(bench, first, Hearing::Wanted, (0, None)).await
    }

    /// Bytes a second of all that has to come for a stretch.
    async fn rate(&self, bench: &Bench<'_>, stretch: Segment) -> Result<f64, CutError> {
        let mut rate = 0.0;
        for reel in [Some(&self.pictures), self.sound.as_ref()]
            .into_iter()
            .flatten()
        {
            rate += reel.rate(bench, stretch).await?;
        }
        Ok(rate)
    }
}

fn time(seconds: f64) -> Seconds {
    Seconds::from_micros((seconds.min(1e9) * 1e6) as i64)
}
