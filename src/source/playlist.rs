//! Presentations that come in many pieces: what HLS playlists and DASH manifests say of them, in one shape. Pure: texts go in, and which
//! bytes of which link hold which stretch comes out.

pub mod dash;
pub mod hls;
pub mod packed;

use std::ops::Range;

use url::Url;

use crate::recipe::Segment;
use crate::seconds::Seconds;

/// A presentation: its pictures and, when it comes apart from them, its sound.
#[derive(Clone, Debug, PartialEq)]
pub struct Presentation {
    pub pictures: Timeline,
    pub sound: Option<Timeline>,
    pub ending: Ending,
}

/// Whether everything there will be is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Complete,
    /// More is being made while we look.
    Live,
}

/// One rendition from its beginning to its end.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Timeline {
    /// Rising, one behind the other.
    pub runs: Vec<Run>,
}

/// A stretch of a rendition that was made in one go: its timestamps go on without a break.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// As people count.
    pub start: Seconds,
    pub end: Seconds,
    pub zero: Zero,
    /// What every chunk needs in front of it.
    pub init: Option<Init>,
    pub chunks: Chunks,
}

/// The timestamp, as it is in the bytes, that is shown at the start of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zero {
    /// That of the run's first picture; of its first sound, where there is nothing else.
    First,
    At(Seconds),
}

/// The header of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Init {
    pub part: Part,
    pub cipher: Option<Cipher>,
}

/// What a run is made of.
#[derive(Clone, Debug, PartialEq)]
pub enum Chunks {
    Listed(Vec<Chunk>),
    /// One file with an index of its own (`sidx`, ISO/IEC 14496-12, clause 8.16.3), which lies here or, unless said, is to be looked for.
    Indexed {
        file: Url,
        index: Option<Range<u64>>,
    },
}

/// A piece of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Chunk {
    /// As people count, as the playlist says it; the bytes have the last word.
    pub start: Seconds,
    pub end: Seconds,
    pub part: Part,
    pub cipher: Option<Cipher>,
}

/// Bytes behind a link: all of them, or a range.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Part {
    pub url: Url,
    pub range: Option<Range<u64>>,
}

/// AES-128 in CBC mode with PKCS #7 padding, over a whole piece (RFC 8216, clause 4.3.2.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cipher {
    pub key: Url,
    pub iv: [u8; 16],
}

/// What is wished of a presentation that comes in several qualities.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// Pictures need not be taller.
    pub height: u32,
}

/// Why a playlist cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaylistError {
    #[error("this playlist cannot be read")]
    Unreadable,
    #[error("this playlist has no video that can be fetched")]
    Empty,
    #[error("this video is protected against copying")]
    Protected,
    #[error("this is a live broadcast")]
    Live,
    #[error("this playlist has more pieces than this service follows")]
    TooLong,
}

impl PlaylistError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            PlaylistError::Unreadable | PlaylistError::Empty => "source_unsupported",
            PlaylistError::Protected => "source_protected",
            PlaylistError::Live => "source_live",
            PlaylistError::TooLong => "source_too_large",
        }
    }

    /// The next step.
    pub fn hint(&self) -> &'static str {
        match self {
            PlaylistError::Unreadable | PlaylistError::Empty => {
                "Check that the link plays in a browser."
            }
            PlaylistError::Protected => "Use a source without copy protection.",
            PlaylistError::Live => {
                "Wait until the broadcast is over; the operator can allow a part of it with limits.live_seconds."
            }
            PlaylistError::TooLong => "Use a shorter recording.",
        }
    }
}

/// A playlist with more pieces than this is made to take memory: at two seconds each it would last a day.
pub const MOST_CHUNKS: usize = 50_000;
/// Signed addresses are long, but not longer than this.
const MOST_ADDRESS: usize = 4096;
/// All addresses of a playlist together, in bytes.
const MOST_ADDRESSES: usize = 32 << 20;

/// What a playlist may still take: a small text can name much.
#[derive(Clone, Copy, Debug)]
struct Room {
    pieces: usize,
    bytes: usize,
}

impl Room {
    const fn new() -> Room {
        Room {
            pieces: MOST_CHUNKS,
            bytes: MOST_ADDRESSES,
        }
    }

    /// Makes a place for one thing at these addresses.
    fn take<'a>(&mut self, urls: impl IntoIterator<Item = &'a Url>) -> Result<(), PlaylistError> {
        let bytes: usize = urls.into_iter().map(|url| url.as_str().len()).sum();
        let left = (self.pieces.checked_sub(1), self.bytes.checked_sub(bytes));
        let (Some(pieces), Some(bytes)) = left else {
            return Err(PlaylistError::TooLong);
        };
        *self = Room { pieces, bytes };
        Ok(())
    }
}

impl Timeline {
    /// Where it ends, as people count.
    pub fn end(&self) -> Seconds {
        self.runs.last().map_or(Seconds::ZERO, |run| run.end)
    }

    /// What of it is heard or seen after a time, counted from there; where a piece lies across, from that piece's beginning when `begin` is
    /// none.
    fn after(&mut self, from: Seconds, begin: Option<Seconds>) -> Seconds {
        for run in &mut self.runs {
            if let Chunks::Listed(chunks) = &mut run.chunks {
                let before = chunks.len();
                chunks.retain(|chunk| chunk.end > from);
                if chunks.len() < before
                    && let Some(first) = chunks.first()
                {
                    run.start = first.start;
                }
            }
        }
        self.runs
            .retain(|run| !matches!(&run.chunks, Chunks::Listed(chunks) if chunks.is_empty()));
        let begin = begin
            .or_else(|| self.runs.first().map(|run| run.start))
            .unwrap_or_default();
        for run in &mut self.runs {
            run.start = run.start - begin;
            run.end = run.end - begin;
            if let Chunks::Listed(chunks) = &mut run.chunks {
                for chunk in chunks {
                    chunk.start = chunk.start - begin;
                    chunk.end = chunk.end - begin;
                }
            }
        }
        begin
    }
}

impl Presentation {
    /// The newest `most` of it, counted from where its pictures begin then.
    pub fn newest(&mut self, most: Seconds) {
        let from = self.pictures.end() - most;
        let begin = self.pictures.after(from, None);
        if let Some(sound) = &mut self.sound {
            sound.after(begin, Some(begin));
        }
    }
}

impl Run {
    /// Numbers of the listed chunks that hold a stretch, as far as the playlist tells.
    pub fn holding(chunks: &[Chunk], segment: Segment) -> Range<usize> {
        let first = chunks.partition_point(|chunk| chunk.end <= segment.start);
        let first = first.min(chunks.len().saturating_sub(1));
        let last = chunks.partition_point(|chunk| chunk.start < segment.end);
        first..last.max(first + 1).min(chunks.len())
    }
}

/// How good a rendition is for a wish; the largest wins. Pictures that every player knows, as tall as wished or nearest below it, then
/// the nearest above, then the richest.
fn merit(
    codecs: Option<&str>,
    height: Option<u64>,
    bandwidth: u64,
    wish: Wish,
) -> impl Ord + use<> {
    let familiar = codecs.is_none_or(|codecs| {
        codecs
            .split(',')
            .any(|codec| codec.trim().starts_with("avc1") || codec.trim().starts_with("avc3"))
    });
    let wanted = u64::from(wish.height);
    let height = match height {
        Some(height) if height <= wanted => (2_u8, height),
        Some(height) => (1, u64::MAX - height),
        None => (0, 0),
    };
    (familiar, height, bandwidth)
}

/// An address in a playlist, which may be relative to the playlist's own.
fn resolve(base: &Url, text: &str) -> Result<Url, PlaylistError> {
    let url = base.join(text.trim()).ok();
    url.filter(|url| url.as_str().len() <= MOST_ADDRESS)
        .ok_or(PlaylistError::Unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(start: i64, end: i64) -> Chunk {
        Chunk {
            start: Seconds::from_whole(start),
            end: Seconds::from_whole(end),
            part: Part {
                url: Url::parse("https://example.com/1.ts").unwrap(),
                range: None,
            },
            cipher: None,
        }
    }

    fn segment(start: i64, end: i64) -> Segment {
        Segment {
            start: Seconds::from_micros(start * 1_000),
            end: Seconds::from_micros(end * 1_000),
        }
    }

    fn run(start: i64, chunks: Vec<Chunk>) -> Run {
        Run {
            start: Seconds::from_whole(start),
            end: chunks.last().unwrap().end,
            zero: Zero::First,
            init: None,
            chunks: Chunks::Listed(chunks),
        }
    }

    #[test]
    fn only_chunks_that_hold_the_stretch_are_named() {
        let chunks = [chunk(0, 4), chunk(4, 8), chunk(8, 12)];
        for (from, to, expected) in [
            (0, 1_000, 0..1),
            (3_900, 4_100, 0..2),
            (4_000, 8_000, 1..2),
            (5_000, 20_000, 1..3),
            (11_000, 12_000, 2..3),
            (20_000, 21_000, 2..3),
        ] {
            assert_eq!(
                Run::holding(&chunks, segment(from, to)),
                expected,
                "{from} to {to}"
            );
        }
    }

    #[test]
    fn the_newest_part_counts_from_its_own_beginning() {
        let timeline = Timeline {
            runs: vec![
                run(0, vec![chunk(0, 4), chunk(4, 8)]),
                run(8, vec![chunk(8, 12), chunk(12, 16)]),
            ],
        };
        let sound = Timeline {
            runs: vec![run(0, vec![chunk(0, 6), chunk(6, 9), chunk(9, 16)])],
        };
        let mut both = Presentation {
            pictures: timeline,
            sound: Some(sound),
            ending: Ending::Live,
        };
        both.newest(Seconds::from_whole(10));
        let pictures = &both.pictures;
        assert_eq!(pictures.runs.len(), 2);
        assert_eq!(pictures.runs[0].start, Seconds::ZERO);
        assert_eq!(pictures.runs[1].start, Seconds::from_whole(4));
        assert_eq!(pictures.end(), Seconds::from_whole(12));
        // The sound is on the pictures' clock: its first piece reaches back.
        let heard = &both.sound.as_ref().unwrap().runs[0];
        assert_eq!(
            (heard.start, heard.end),
            (Seconds::from_whole(-4), Seconds::from_whole(12))
        );
        both.newest(Seconds::from_whole(3));
        assert_eq!(
            (both.pictures.runs.len(), both.pictures.end()),
            (1, Seconds::from_whole(4))
        );
        let heard = &both.sound.unwrap().runs[0];
        assert_eq!(
            (heard.start, heard.end),
            (Seconds::from_whole(-3), Seconds::from_whole(4))
        );
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config { cases: 2000, failure_persistence: None, ..Default::default() })]

        #[test]
        fn no_text_breaks_a_reader(
            lines in proptest::collection::vec(proptest::sample::select(vec![
                "#EXTM3U", "#EXTINF:4,", "#EXTINF:1e300,", "#EXTINF:-1,x", "#EXTINF:nan,", "a.ts", "//x/", "http://[::1]/b", "\u{feff}",
                "#EXT-X-BYTERANGE:5", "#EXT-X-BYTERANGE:9@18446744073709551615", "#EXT-X-KEY:METHOD=AES-128,URI=\"k\",IV=0x1",
                "#EXT-X-KEY:METHOD=NONE", "#EXT-X-KEY:", "#EXT-X-MAP:URI=\"i\",BYTERANGE=\"5@1\"", "#EXT-X-MAP:URI=\"\"", "#EXT-X-DISCONTINUITY",
                "#EXT-X-GAP", "#EXT-X-MEDIA-SEQUENCE:18446744073709551615", "#EXT-X-ENDLIST", "#EXT-X-STREAM-INF:BANDWIDTH=1,AUDIO=\"a\"",
                "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"n\",URI=\"s\"", "#EXT-X-PROGRAM-DATE-TIME:2020-", "\0", "#", "",
                "<MPD type=\"static\" mediaPresentationDuration=\"PT9S\">", "<Period>", "<Period start=\"PT1S\" duration=\"PT-1S\">",
                "<AdaptationSet mimeType=\"video/mp4\">", "<Representation id=\"v\" bandwidth=\"1\">",
                "<SegmentTemplate timescale=\"0\" duration=\"1\" media=\"$Number$\"/>", "<SegmentTemplate duration=\"4\" media=\"$Time%09d$\" startNumber=\"9\"/>",
                "<SegmentBase indexRange=\"9-5\"/>", "<SegmentBase indexRange=\"5-9\"/>", "<SegmentList duration=\"3\"><SegmentURL media=\"x\" mediaRange=\"0-18446744073709551615\"/></SegmentList>",
                "<SegmentTimeline><S t=\"1\" d=\"2\" r=\"-1\"/></SegmentTimeline>", "</Representation>", "</AdaptationSet>", "</Period>", "</MPD>", "&amp;", "<!--", "-->",
            ]), 0..30),
            junk in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..40),
        ) {
            let base = Url::parse("https://example.com/a/").unwrap();
            let text = lines.join("\n");
            for text in [text.as_bytes().to_vec(), [text.as_bytes(), &junk].concat(), [b"#EXTM3U\n", &junk[..], b"\n", text.as_bytes()].concat()] {
                let wish = Wish { height: 720 };
                if let Ok(hls::Playlist::Media(pictures, ending)) = hls::read(&text, &base, wish) {
                    let mut both = Presentation { pictures, sound: None, ending };
                    both.newest(Seconds::from_whole(3));
                }
                let _ = dash::read(&text, &base, wish);
                let _ = packed::packed(&text);
            }
        }
    }
}
