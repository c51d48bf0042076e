//! Single samples of a whole MP4: the pictures at which groups begin, and the sound by itself.

use std::ops::Range;
use std::path::Path;

use super::Whole;
use crate::media::MediaError;
use crate::media::packets::Track;
use crate::media::splice::bitstream::configuration;
use crate::media::splice::join::{self, Film, Part, Placed};
use crate::media::splice::movie::Sample;
use crate::seconds::Seconds;
use crate::sighting::flow::Flow;

/// A picture at which a group begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// When it is shown, as people count.
    pub time: Seconds,
    /// Where it lies.
    pub extent: Range<u64>,
    /// The number of its sample.
    number: usize,
}

impl Whole {
    /// All pictures at which a group begins, as they are shown.
    pub fn keys(&self) -> Vec<Key> {
        let (reach, track) = &self.video;
        let samples = self.movie.tracks.get(reach.track);
        let samples = samples.map_or(&[][..], |track| &track.samples);
        let all = track.packets.iter().zip(samples).enumerate();
        let mut keys: Vec<Key> = all
            .filter(|(_, (packet, _))| packet.key)
            .map(|(number, (packet, sample))| Key {
                time: track.time_base.seconds(packet.pts),
                extent: extent(sample),
                number,
            })
            .collect();
        keys.sort_by_key(|key| key.time);
        keys
    }

    /// Writes these pictures, in the order of their times, into a file of their own, one behind the other.
    ///
    /// # Errors
    /// When they cannot be read or written.
    pub fn write_keys(&self, keys: &[Key], target: &Path) -> Result<(), MediaError> {
        let lost = || MediaError::Splice("the pictures cannot be read again".to_owned());
        let (reach, pictures) = &self.video;
        let track = self.movie.tracks.get(reach.track).ok_or_else(lost)?;
        let own = configuration(&track.trak).ok_or_else(lost)?;
        let frame = i64::from(pictures.time_base.den.max(25)) / 25;
        let samples = (0_i64..).zip(keys).map(|(place, key)| {
            Some(Placed {
                sample: *track.samples.get(key.number)?,
                shown: place * frame,
                plain: true,
            })
        });
        let samples: Vec<Placed> = samples.collect::<Option<_>>().ok_or_else(lost)?;
        let film = Film {
            template: &track.trak,
            configuration: own.clone(),
            timescale: pictures.time_base.den,
            length: samples.len() as i64 * frame,
            parts: vec![Part {
                movie: &self.movie,
                length_size: own.length_size,
                samples,
            }],
            sound: None,
        };
        Ok(join::write(&film, target)?)
    }

    /// Where the sound lies, all of it; nothing when there is none.
    pub fn sound_extents(&self) -> Vec<Range<u64>> {
        let samples = self
            .audio
            .as_ref()
            .and_then(|(reach, _)| self.movie.tracks.get(reach.track));
        let samples = samples.map_or(&[][..], |track| &track.samples);
        samples.iter().map(extent).collect()
    }

    /// How the bytes of its pictures are spread over time.
    pub fn flow(&self) -> Option<Flow> {
        self.video.1.flow(Seconds::ZERO)
    }

    /// Bytes a second of pictures and of sound.
    pub fn rates(&self) -> (Option<f64>, Option<f64>) {
        let sound = self.audio.as_ref().and_then(|(_, track)| rate(track));
        (rate(&self.video.1), sound)
    }
}

fn extent(sample: &Sample) -> Range<u64> {
    sample.offset..sample.offset.saturating_add(u64::from(sample.size))
}

/// Bytes a second of a track.
pub fn rate(track: &Track) -> Option<f64> {
    let bytes: u64 = track.packets.iter().map(|packet| packet.size).sum();
    let ticks: i64 = track.packets.iter().map(|packet| packet.duration).sum();
    let seconds = track.time_base.seconds(ticks).as_f64();
    (seconds > 0.0).then(|| bytes as f64 / seconds)
}
