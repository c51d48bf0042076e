//! HTTP Live Streaming (RFC 8216): which renditions a multivariant playlist offers, and which pieces a media playlist lists. Lines are
//! read by `quick_m3u8`; what they mean together is judged here.

use quick_m3u8::config::ParsingOptionsBuilder;
use quick_m3u8::tag::hls::{self, MediaType, Method, Tag};
use quick_m3u8::tag::{HlsPlaylistType, KnownTag};
use quick_m3u8::{HlsLine, Reader};
use url::Url;

use super::{
    Chunk, Chunks, Cipher, Ending, Init, Part, PlaylistError, Room, Run, Timeline, Wish, Zero,
    merit, resolve,
};
use crate::seconds::Seconds;

/// What a playlist turned out to be.
#[derive(Clone, Debug, PartialEq)]
pub enum Playlist {
    /// It only says where others are.
    Choice(Choice),
    Media(Timeline, Ending),
}

/// The media playlists chosen among those offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    pub pictures: Url,
    pub sound: Option<Url>,
}

/// Whether a text begins as every playlist must (clause 4.3.1.1).
pub fn begins(text: &[u8]) -> bool {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    text.strip_prefix(b"#EXTM3U")
        .is_some_and(|rest| rest.first().is_none_or(u8::is_ascii_whitespace))
}

/// Reads a playlist that came from `base`.
///
/// # Errors
/// When it is not one, offers no video, is protected, or has too many pieces.
pub fn read(text: &[u8], base: &Url, wish: Wish) -> Result<Playlist, PlaylistError> {
    if !begins(text) {
        return Err(PlaylistError::Unreadable);
    }
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let text = std::str::from_utf8(text).map_err(|_| PlaylistError::Unreadable)?;
    let mut offered = Offered::default();
    let mut listed = Listed::new();
    // Tags that nobody asks for are not looked into.
    let mut parsed = ParsingOptionsBuilder::new();
    parsed
        .with_parsing_for_inf()
        .with_parsing_for_byterange()
        .with_parsing_for_discontinuity()
        .with_parsing_for_gap()
        .with_parsing_for_endlist()
        .with_parsing_for_playlist_type()
        .with_parsing_for_media_sequence()
        .with_parsing_for_i_frames_only()
        .with_parsing_for_key()
        .with_parsing_for_map()
        .with_parsing_for_media()
        .with_parsing_for_stream_inf();
    let mut lines = Reader::from_str(text, parsed.build());
    let mut awaited = None;
    while let Some(line) = lines.read_line().map_err(|_| PlaylistError::Unreadable)? {
        match line {
            HlsLine::Uri(uri) => match awaited.take() {
                Some(variant) => {
                    let url = resolve(base, &uri)?;
                    listed.room.take([&url])?;
                    offered.variants.push(Variant { url, ..variant });
                }
                None => listed.piece(base, &uri)?,
            },
            HlsLine::KnownTag(KnownTag::Hls(Tag::StreamInf(tag))) => {
                awaited = Some(Variant {
                    url: base.clone(),
                    codecs: tag.codecs().map(str::to_owned),
                    height: tag.resolution().map(|size| size.height),
                    bandwidth: tag.bandwidth(),
                    sound: tag.audio().map(str::to_owned),
                });
            }
            HlsLine::KnownTag(KnownTag::Hls(Tag::Media(tag))) => {
                if tag.media_type().known() == Some(&MediaType::Audio) {
                    listed.room.take([base])?;
                    offered.sounds.push(Sound {
                        group: tag.group_id().to_owned(),
                        url: tag.uri().map(|uri| resolve(base, uri)).transpose()?,
                        rank: u8::from(tag.default()) * 2 + u8::from(tag.autoselect()),
                    });
                }
            }
            HlsLine::KnownTag(KnownTag::Hls(tag)) => listed.tag(base, &tag)?,
            // A key that cannot be read is no reason to take what it protects for plain.
            HlsLine::UnknownTag(tag)
                if matches!(tag.name(), "-X-KEY" | "-X-MAP" | "-X-BYTERANGE") =>
            {
                return Err(PlaylistError::Unreadable);
            }
            HlsLine::KnownTag(KnownTag::Custom(_))
            | HlsLine::UnknownTag(_)
            | HlsLine::Comment(_)
            | HlsLine::Blank => {}
        }
    }
    if offered.variants.is_empty() {
        listed.finish()
    } else {
        offered.choose(wish).map(Playlist::Choice)
    }
}

#[derive(Default)]
struct Offered {
    variants: Vec<Variant>,
    sounds: Vec<Sound>,
}

struct Variant {
    url: Url,
    codecs: Option<String>,
    height: Option<u64>,
    bandwidth: u64,
    sound: Option<String>,
}

struct Sound {
    group: String,
    /// None: it is in the pictures' own pieces.
    url: Option<Url>,
    rank: u8,
}

impl Offered {
    fn choose(self, wish: Wish) -> Result<Choice, PlaylistError> {
        const SOUND_ONLY: [&str; 6] = ["mp4a", "ac-3", "ec-3", "opus", "mp3", "flac"];
        let has_pictures = |variant: &&Variant| {
            variant.height.is_some()
                || variant.codecs.as_deref().is_none_or(|codecs| {
                    codecs.split(',').any(|codec| {
                        !SOUND_ONLY
                            .iter()
                            .any(|sound| codec.trim().starts_with(sound))
                    })
                })
        };
        let best = self
            .variants
            .iter()
            .filter(has_pictures)
            .max_by_key(|variant| {
                merit(
                    variant.codecs.as_deref(),
                    variant.height,
                    variant.bandwidth,
                    wish,
                )
            })
            .ok_or(PlaylistError::Empty)?;
        let mut sound = None;
        for candidate in &self.sounds {
            let better = |known: &&Sound| known.rank >= candidate.rank;
            if best.sound.as_ref() == Some(&candidate.group)
                && sound.as_ref().is_none_or(|known| !better(known))
            {
                sound = Some(candidate);
            }
        }
        Ok(Choice {
            pictures: best.url.clone(),
            sound: sound.and_then(|sound| sound.url.clone()),
        })
    }
}

/// A media playlist as far as it was read. What a tag says holds until it is said anew (clause 4.3.2).
struct Listed {
    runs: Vec<Run>,
    room: Room,
    at: Seconds,
    sequence: u64,
    length: Option<f64>,
    range: Option<(u64, Option<u64>)>,
    /// Where the range before this one ended, and in which file.
    behind: Option<(Url, u64)>,
    key: Option<Key>,
    map: Option<Init>,
    broken: bool,
    gap: bool,
    complete: bool,
    recorded: bool,
}

#[derive(Clone)]
struct Key {
    url: Url,
    iv: Option<[u8; 16]>,
}

impl Listed {
    fn new() -> Listed {
        Listed {
            runs: Vec::new(),
            room: Room::new(),
            at: Seconds::ZERO,
            sequence: 0,
            length: None,
            range: None,
            behind: None,
            key: None,
            map: None,
            broken: false,
            gap: false,
            complete: false,
            recorded: false,
        }
    }

    fn tag(&mut self, base: &Url, tag: &Tag<'_>) -> Result<(), PlaylistError> {
        match tag {
            Tag::Inf(tag) => self.length = Some(tag.duration()),
            Tag::Byterange(tag) => self.range = Some((tag.length(), tag.offset())),
            Tag::Discontinuity(_) => self.broken = true,
            Tag::Gap(_) => self.gap = true,
            Tag::Endlist(_) => self.complete = true,
            Tag::PlaylistType(kind) => self.recorded = kind.playlist_type() == HlsPlaylistType::Vod,
            Tag::MediaSequence(tag) => self.sequence = tag.media_sequence(),
            Tag::IFramesOnly(_) => return Err(PlaylistError::Empty),
            Tag::Key(tag) => self.key = key(base, tag)?,
            Tag::Map(tag) => {
                let range = tag.byterange().map(|range| (range.length, range.offset));
                let range = range
                    .map(|(length, offset)| bytes(offset, length))
                    .transpose()?;
                let part = Part {
                    url: resolve(base, tag.uri())?,
                    range,
                };
                // Without an explicit IV there is no number it could be made from (clause 4.3.2.5).
                let cipher = self.key.as_ref().map(|key| Cipher {
                    key: key.url.clone(),
                    iv: key.iv.unwrap_or_default(),
                });
                self.map = Some(Init { part, cipher });
            }
            _ => {}
        }
        Ok(())
    }

    fn piece(&mut self, base: &Url, uri: &str) -> Result<(), PlaylistError> {
        // An address without a length belongs to nothing that we know.
        let Some(length) = self.length.take() else {
            return Ok(());
        };
        let length = Seconds::from_f64(length)
            .ok()
            .filter(|length| *length >= Seconds::ZERO)
            .ok_or(PlaylistError::Unreadable)?;
        let (start, end) = (self.at, self.at + length);
        self.at = end;
        let url = resolve(base, uri)?;
        let range = match self.range.take() {
            None => None,
            Some((length, offset)) => {
                let follows = self.behind.take().filter(|(file, _)| *file == url);
                let offset = offset
                    .or(follows.map(|(_, end)| end))
                    .ok_or(PlaylistError::Unreadable)?;
                Some(bytes(offset, length)?)
            }
        };
        self.behind = range.as_ref().map(|range| (url.clone(), range.end));
        let cipher = self.key.as_ref().map(|key| Cipher {
            key: key.url.clone(),
            iv: key
                .iv
                .unwrap_or_else(|| u128::from(self.sequence).to_be_bytes()),
        });
        self.sequence = self.sequence.wrapping_add(1);
        let init = self.map.as_ref().map(|init| &init.part.url);
        let key = cipher.as_ref().map(|cipher| &cipher.key);
        self.room
            .take([Some(&url), key, init].into_iter().flatten())?;
        // A piece that is not there leaves a hole; what comes behind it need not go on where it would have.
        if std::mem::take(&mut self.gap) {
            self.broken = true;
            return Ok(());
        }
        let chunk = Chunk {
            start,
            end,
            part: Part { url, range },
            cipher,
        };
        let broken = std::mem::take(&mut self.broken);
        match self.runs.last_mut() {
            Some(Run {
                init,
                end: run_end,
                chunks: Chunks::Listed(chunks),
                ..
            }) if !broken && *init == self.map => {
                *run_end = end;
                chunks.push(chunk);
            }
            _ => self.runs.push(Run {
                start,
                end,
                zero: Zero::First,
                init: self.map.clone(),
                chunks: Chunks::Listed(vec![chunk]),
            }),
        }
        Ok(())
    }

    fn finish(self) -> Result<Playlist, PlaylistError> {
        if self.runs.is_empty() {
            return Err(PlaylistError::Empty);
        }
        let ending = if self.complete || self.recorded {
            Ending::Complete
        } else {
            Ending::Live
        };
        Ok(Playlist::Media(Timeline { runs: self.runs }, ending))
    }
}

fn bytes(offset: u64, length: u64) -> Result<std::ops::Range<u64>, PlaylistError> {
    let end = offset
        .checked_add(length)
        .filter(|_| length > 0)
        .ok_or(PlaylistError::Unreadable)?;
    Ok(offset..end)
}

/// None when what follows is plain.
fn key(base: &Url, tag: &hls::Key<'_>) -> Result<Option<Key>, PlaylistError> {
    match tag.method().known() {
        Some(Method::None) => return Ok(None),
        Some(Method::Aes128) if tag.keyformat() == "identity" => {}
        _ => return Err(PlaylistError::Protected),
    }
    let url = resolve(base, tag.uri().ok_or(PlaylistError::Unreadable)?)?;
    // Anything but a file at an address is how licences of protected videos are named.
    if !matches!(url.scheme(), "http" | "https") {
        return Err(PlaylistError::Protected);
    }
    let iv = tag.iv().map(|iv| {
        let digits = iv.strip_prefix("0x").or_else(|| iv.strip_prefix("0X"));
        let number = digits
            .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .and_then(|digits| u128::from_str_radix(digits, 16).ok());
        number
            .map(u128::to_be_bytes)
            .ok_or(PlaylistError::Unreadable)
    });
    Ok(Some(Key {
        url,
        iv: iv.transpose()?,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> Url {
        Url::parse("https://example.com/films/1/index.m3u8?key=a").unwrap()
    }

    fn parse(lines: &str) -> Result<Playlist, PlaylistError> {
        read(
            format!("#EXTM3U\n{lines}").as_bytes(),
            &base(),
            Wish { height: 1080 },
        )
    }

    fn media(lines: &str) -> (Vec<Run>, Ending) {
        match parse(lines).unwrap() {
            Playlist::Media(timeline, ending) => (timeline.runs, ending),
            Playlist::Choice(choice) => panic!("{choice:?}"),
        }
    }

    fn chunks(run: &Run) -> &[Chunk] {
        match &run.chunks {
            Chunks::Listed(chunks) => chunks,
            Chunks::Indexed { .. } => panic!("no index"),
        }
    }

    fn choice(lines: &str, height: u32) -> (String, Option<String>) {
        let text = format!("#EXTM3U\n{lines}");
        match read(text.as_bytes(), &base(), Wish { height }).unwrap() {
            Playlist::Choice(choice) => (
                choice.pictures.path().to_owned(),
                choice.sound.map(|url| url.path().to_owned()),
            ),
            Playlist::Media(..) => panic!("no choice"),
        }
    }

    #[test]
    fn pieces_lie_one_behind_the_other() {
        let (runs, ending) = media(
            "#EXT-X-TARGETDURATION:4\n#EXTINF:4.004,\na.ts\n#EXTINF:3.5,title, with comma\n/b.ts?x=1\n# a comment\n\n#EXTINF:2\nhttps://cdn.example.net/c.ts\r\n#EXT-X-ENDLIST\n",
        );
        assert_eq!(ending, Ending::Complete);
        assert_eq!(runs.len(), 1);
        let told: Vec<_> = chunks(&runs[0])
            .iter()
            .map(|chunk| {
                (
                    chunk.start.micros(),
                    chunk.end.micros(),
                    chunk.part.url.as_str(),
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                (0, 4_004_000, "https://example.com/films/1/a.ts"),
                (4_004_000, 7_504_000, "https://example.com/b.ts?x=1"),
                (7_504_000, 9_504_000, "https://cdn.example.net/c.ts"),
            ]
        );
        assert_eq!((runs[0].zero, runs[0].init.clone()), (Zero::First, None));
    }

    #[test]
    fn without_an_end_it_is_live() {
        assert_eq!(media("#EXTINF:4,\na.ts\n").1, Ending::Live);
        assert_eq!(
            media("#EXT-X-PLAYLIST-TYPE:EVENT\n#EXTINF:4,\na.ts\n").1,
            Ending::Live
        );
        assert_eq!(
            media("#EXT-X-PLAYLIST-TYPE:VOD\n#EXTINF:4,\na.ts\n").1,
            Ending::Complete
        );
    }

    #[test]
    fn ranges_go_on_where_the_one_before_ended() {
        let (runs, _) = media(
            "#EXT-X-MAP:URI=\"all.mp4\",BYTERANGE=\"700@0\"\n#EXTINF:4,\n#EXT-X-BYTERANGE:1000@700\nall.mp4\n#EXTINF:4,\n#EXT-X-BYTERANGE:50\nall.mp4\n#EXTINF:1,\n#EXT-X-BYTERANGE:5@9000\nall.mp4\n",
        );
        let ranges: Vec<_> = chunks(&runs[0])
            .iter()
            .map(|chunk| chunk.part.range.clone())
            .collect();
        assert_eq!(
            ranges,
            [Some(700..1700), Some(1700..1750), Some(9000..9005)]
        );
        assert_eq!(runs[0].init.as_ref().unwrap().part.range, Some(0..700));
        for wrong in [
            "#EXTINF:4,\n#EXT-X-BYTERANGE:50\na.mp4\n",
            "#EXTINF:4,\n#EXT-X-BYTERANGE:50@0\na.mp4\n#EXTINF:4,\n#EXT-X-BYTERANGE:50\nb.mp4\n",
            "#EXTINF:4,\n#EXT-X-BYTERANGE:18446744073709551615@9\na.mp4\n",
            "#EXTINF:4,\n#EXT-X-BYTERANGE:0@9\na.mp4\n",
        ] {
            assert_eq!(parse(wrong), Err(PlaylistError::Unreadable), "{wrong}");
        }
    }

    #[test]
    fn a_key_holds_until_the_next_and_counts_pieces_for_its_vector() {
        let (runs, _) = media(
            "#EXT-X-MEDIA-SEQUENCE:258\n#EXTINF:4,\nplain.ts\n#EXT-X-KEY:METHOD=AES-128,URI=\"k1\"\n#EXTINF:4,\na.ts\n#EXTINF:4,\nb.ts\n#EXT-X-KEY:METHOD=AES-128,URI=\"k2\",IV=0x0000000000000000000000000000AbCd\n#EXTINF:4,\nc.ts\n#EXT-X-KEY:METHOD=NONE\n#EXTINF:4,\nd.ts\n",
        );
        assert_eq!(runs.len(), 1);
        let told: Vec<_> = chunks(&runs[0])
            .iter()
            .map(|chunk| {
                chunk
                    .cipher
                    .as_ref()
                    .map(|cipher| (cipher.key.path().to_owned(), u128::from_be_bytes(cipher.iv)))
            })
            .collect();
        let key = |name: &str, iv| Some((format!("/films/1/{name}"), iv));
        assert_eq!(
            told,
            [
                None,
                key("k1", 259),
                key("k1", 260),
                key("k2", 0xabcd),
                None
            ]
        );
    }

    #[test]
    fn protection_is_called_so() {
        for tag in [
            "METHOD=SAMPLE-AES,URI=\"skd://a\",KEYFORMAT=\"com.apple.streamingkeydelivery\"",
            "METHOD=SAMPLE-AES-CTR,URI=\"a\"",
            "METHOD=AES-128,URI=\"a\",KEYFORMAT=\"com.microsoft.playready\"",
            "METHOD=AES-128,URI=\"data:text/plain;base64,AAAA\"",
            "METHOD=AES-128,URI=\"file:///etc/passwd\"",
            "METHOD=ROT13,URI=\"a\"",
        ] {
            let lines = format!("#EXT-X-KEY:{tag}\n#EXTINF:4,\na.ts\n");
            assert_eq!(parse(&lines), Err(PlaylistError::Protected), "{tag}");
        }
        for tag in [
            "URI=\"a\"",
            "METHOD=AES-128",
            "METHOD=AES-128,URI=\"a\",IV=0xzz",
            "METHOD=AES-128,URI=\"a\",IV=0x+1",
        ] {
            let lines = format!("#EXT-X-KEY:{tag}\n#EXTINF:4,\na.ts\n");
            assert_eq!(parse(&lines), Err(PlaylistError::Unreadable), "{tag}");
        }
    }

    #[test]
    fn a_break_begins_a_new_run() {
        let (runs, _) = media(
            "#EXTINF:4,\na.ts\n#EXT-X-DISCONTINUITY\n#EXTINF:6,\nad.ts\n#EXTINF:2,\n#EXT-X-GAP\nlost.ts\n#EXTINF:3,\nb.ts\n#EXT-X-MAP:URI=\"i.mp4\"\n#EXTINF:1,\nc.m4s\n",
        );
        let told: Vec<_> = runs
            .iter()
            .map(|run| (run.start.as_f64(), run.end.as_f64(), run.init.is_some()))
            .collect();
        assert_eq!(
            told,
            [
                (0.0, 4.0, false),
                (4.0, 10.0, false),
                (12.0, 15.0, false),
                (15.0, 16.0, true)
            ]
        );
    }

    #[test]
    fn the_rendition_that_fits_the_wish_is_chosen() {
        let offered = "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"de\",URI=\"de.m3u8\"\n\
            #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"en\",DEFAULT=YES,AUTOSELECT=YES,URI=\"en.m3u8\"\n\
            #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"b\",NAME=\"x\",DEFAULT=YES,URI=\"b.m3u8\"\n\
            #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"inside\",NAME=\"x\",DEFAULT=YES\n\
            #EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID=\"a\",NAME=\"s\",URI=\"s.m3u8\"\n\
            #EXT-X-STREAM-INF:BANDWIDTH=100000,CODECS=\"mp4a.40.2\"\nsound.m3u8\n\
            #EXT-X-STREAM-INF:BANDWIDTH=5000000,RESOLUTION=1920x1080,CODECS=\"avc1.640028,mp4a.40.2\",AUDIO=\"a\"\n1080.m3u8\n\
            #EXT-X-STREAM-INF:BANDWIDTH=9000000,RESOLUTION=1920x1080,CODECS=\"hvc1.2.4.L120,mp4a.40.2\",AUDIO=\"a\"\n1080h.m3u8\n\
            #EXT-X-STREAM-INF:BANDWIDTH=2000000,RESOLUTION=1280x720,CODECS=\"avc1.64001f,mp4a.40.2\",AUDIO=\"inside\"\n720.m3u8\n\
            #EXT-X-STREAM-INF:BANDWIDTH=2500000,RESOLUTION=1280x720,CODECS=\"avc1.64001f,mp4a.40.2\"\n720rich.m3u8\n\
            #EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=90000,URI=\"keys.m3u8\",RESOLUTION=1920x1080\n";
        let path = |name: &str| format!("/films/1/{name}.m3u8");
        assert_eq!(choice(offered, 1080), (path("1080"), Some(path("en"))));
        assert_eq!(choice(offered, 2160), (path("1080"), Some(path("en"))));
        assert_eq!(choice(offered, 720), (path("720rich"), None));
        assert_eq!(choice(offered, 900), (path("720rich"), None));
        assert_eq!(choice(offered, 240), (path("720rich"), None));
        let plain =
            "#EXT-X-STREAM-INF:BANDWIDTH=1\nlow.m3u8\n#EXT-X-STREAM-INF:BANDWIDTH=2\nhigh.m3u8\n";
        assert_eq!(choice(plain, 1080), (path("high"), None));
        let inside = "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"g\",NAME=\"x\",DEFAULT=YES\n#EXT-X-STREAM-INF:BANDWIDTH=1,AUDIO=\"g\"\na.m3u8\n";
        assert_eq!(choice(inside, 1080), (path("a"), None));
        let deaf = "#EXT-X-STREAM-INF:BANDWIDTH=100000,CODECS=\"mp4a.40.2\"\nsound.m3u8\n";
        assert_eq!(parse(deaf), Err(PlaylistError::Empty));
    }

    #[test]
    fn what_is_no_playlist_is_refused() {
        for text in [
            &b""[..],
            b"#EXTM3",
            b"#EXTM3Ux\n",
            b"<html>",
            b"\xff\xfe#EXTM3U",
            b" #EXTM3U",
        ] {
            assert_eq!(
                read(text, &base(), Wish { height: 1080 }),
                Err(PlaylistError::Unreadable)
            );
        }
        for lines in [
            "",
            "#EXTINF:4,\n",
            "a.ts\n",
            "#EXT-X-I-FRAMES-ONLY\n#EXTINF:4,\na.ts\n",
        ] {
            assert_eq!(parse(lines), Err(PlaylistError::Empty), "{lines}");
        }
        for lines in [
            "#EXTINF:-4,\na.ts\n",
            "#EXTINF:1e30,\na.ts\n",
            "#EXTINF:4,\nhttp://[::\n",
        ] {
            assert_eq!(parse(lines), Err(PlaylistError::Unreadable), "{lines}");
        }
        let long = "k".repeat(4000);
        let sealed = format!("#EXT-X-KEY:METHOD=AES-128,URI=\"{long}\"\n");
        for many in [
            "#EXTINF:1,\na\n".repeat(crate::source::playlist::MOST_CHUNKS + 1),
            format!("{sealed}{}", "#EXTINF:1,\na\n".repeat(10_000)),
            "#EXT-X-STREAM-INF:BANDWIDTH=1\na\n".repeat(crate::source::playlist::MOST_CHUNKS + 1),
        ] {
            assert_eq!(parse(&many), Err(PlaylistError::TooLong));
        }
        let longer = "k".repeat(5000);
        assert_eq!(
            parse(&format!("#EXTINF:1,\n{longer}\n")),
            Err(PlaylistError::Unreadable)
        );
        assert!(begins(b"\xef\xbb\xbf#EXTM3U\r\n"));
    }
}
