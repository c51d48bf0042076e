//! Dynamic Adaptive Streaming over HTTP (ISO/IEC 23009-1): which representations a manifest offers, and which segments make them up.
//! The XML is read by `quick_xml`, which expands no entities; what it means is judged here.

use std::ops::Range;

use serde::Deserialize;
use url::Url;

use super::{
    Chunk, Chunks, Ending, Init, MOST_ADDRESS, Part, PlaylistError, Presentation, Room, Run,
    Timeline, Wish, Zero, merit, resolve,
};
use crate::seconds::Seconds;

/// Whether a text looks like a manifest: an XML document whose first element is `MPD`.
pub fn begins(text: &[u8]) -> bool {
    let head = String::from_utf8_lossy(&text[..text.len().min(4096)]);
    let mut rest = head.trim_start_matches('\u{feff}').trim_start();
    loop {
        let skipped = if rest.starts_with("<?") {
            rest.split_once("?>")
        } else if rest.starts_with("<!--") {
            rest.split_once("-->")
        } else {
            None
        };
        match skipped {
            Some((_, behind)) => rest = behind.trim_start(),
            None => break,
        }
    }
    let name = rest.strip_prefix('<').unwrap_or_default();
    let name: String = name
        .chars()
        .take_while(|letter| !letter.is_whitespace() && !matches!(letter, '>' | '/'))
        .collect();
    name == "MPD" || name.ends_with(":MPD")
}

/// Reads a manifest that came from `base`.
///
/// # Errors
/// When it is none, offers no video, is protected, live, or has too many segments.
pub fn read(text: &[u8], base: &Url, wish: Wish) -> Result<Presentation, PlaylistError> {
    let text = std::str::from_utf8(text).map_err(|_| PlaylistError::Unreadable)?;
    let manifest: Manifest =
        quick_xml::de::from_str(text).map_err(|_| PlaylistError::Unreadable)?;
    // Which segments of it there are is a question of the wall clock, and of the server's.
    if manifest.kind.as_deref() == Some("dynamic") {
        return Err(PlaylistError::Live);
    }
    let base = below(base, &manifest.base)?;
    let whole = manifest.length.as_deref().and_then(duration);
    let mut pictures = Timeline::default();
    let mut sound = Timeline::default();
    let mut at = Seconds::ZERO;
    let mut room = Room::new();
    for (number, period) in manifest.periods.iter().enumerate() {
        let start = period.start.as_deref().and_then(duration).unwrap_or(at);
        let next = manifest.periods.get(number + 1);
        let end = period
            .length
            .as_deref()
            .and_then(duration)
            .map(|length| start + length)
            .or_else(|| next.and_then(|next| next.start.as_deref().and_then(duration)))
            .or(whole);
        let place = Place {
            base: below(&base, &period.base)?,
            start,
            end,
        };
        let run = chosen(period, Kind::Pictures, wish)?.ok_or(PlaylistError::Empty)?;
        let run = run.run(&place, &mut room)?;
        // Segments may reach over the end of their period; what does is not shown.
        at = place.end.unwrap_or(run.end);
        pictures.runs.push(place.bounded(run));
        if let Some(choice) = chosen(period, Kind::Sound, wish)? {
            sound
                .runs
                .push(place.bounded(choice.run(&place, &mut room)?));
        }
    }
    if pictures.runs.is_empty() {
        return Err(PlaylistError::Empty);
    }
    Ok(Presentation {
        pictures,
        sound: (!sound.runs.is_empty()).then_some(sound),
        ending: Ending::Complete,
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Pictures,
    Sound,
}

/// Where a period is.
struct Place {
    base: Url,
    start: Seconds,
    end: Option<Seconds>,
}

impl Place {
    fn bounded(&self, run: Run) -> Run {
        Run {
            end: self.end.map_or(run.end, |end| run.end.min(end)),
            ..run
        }
    }
}

/// A representation with the set that it is in.
struct Choice<'a> {
    period: &'a Period,
    set: &'a Set,
    one: &'a Representation,
}

/// The best representation of a kind, if there is any.
fn chosen(period: &Period, kind: Kind, wish: Wish) -> Result<Option<Choice<'_>>, PlaylistError> {
    let mut protected = false;
    let mut best: Option<Choice<'_>> = None;
    for set in &period.sets {
        for one in &set.representations {
            let choice = Choice { period, set, one };
            if choice.kind() != Some(kind) {
                continue;
            }
            if !set.protection.is_empty() || !one.protection.is_empty() {
                protected = true;
                continue;
            }
            if best
                .as_ref()
                .is_none_or(|known| choice.merit(kind, wish) > known.merit(kind, wish))
            {
                best = Some(choice);
            }
        }
    }
    if best.is_none() && protected {
        return Err(PlaylistError::Protected);
    }
    Ok(best)
}

impl Choice<'_> {
    fn kind(&self) -> Option<Kind> {
        let told = [&self.set.content, &self.one.mime, &self.set.mime];
        let told = told.into_iter().flatten().next()?;
        if told.starts_with("video") {
            Some(Kind::Pictures)
        } else if told.starts_with("audio") {
            Some(Kind::Sound)
        } else {
            None
        }
    }

    fn merit(&self, kind: Kind, wish: Wish) -> impl Ord + use<> {
        let codecs = self.one.codecs.as_ref().or(self.set.codecs.as_ref());
        let bandwidth = self.one.bandwidth.unwrap_or(0);
        let main = self
            .set
            .roles
            .iter()
            .any(|role| role.value.as_deref() == Some("main"));
        let height = self.one.height.or(self.set.height);
        let aac = codecs.is_some_and(|codecs| codecs.starts_with("mp4a"));
        match kind {
            Kind::Pictures => (
                main,
                false,
                Some(merit(codecs.map(String::as_str), height, bandwidth, wish)),
                0,
            ),
            Kind::Sound => (main, aac, None, bandwidth),
        }
    }

    fn run(&self, place: &Place, room: &mut Room) -> Result<Run, PlaylistError> {
        let base = below(&below(&place.base, &self.set.base)?, &self.one.base)?;
        let templates = [
            self.one.template.as_ref(),
            self.set.template.as_ref(),
            self.period.template.as_ref(),
        ];
        let lists = [
            self.one.list.as_ref(),
            self.set.list.as_ref(),
            self.period.list.as_ref(),
        ];
        if templates.iter().any(Option::is_some) {
            return self.templated(&base, place, &templates, room);
        }
        if lists.iter().any(Option::is_some) {
            return listed(&base, place, &lists, room);
        }
        let bases = [
            self.one.single.as_ref(),
            self.set.single.as_ref(),
            self.period.single.as_ref(),
        ];
        let bases = || bases.into_iter().flatten();
        let scale = bases().find_map(|one| one.timescale).unwrap_or(1);
        let offset = bases().find_map(|one| one.offset).unwrap_or(0);
        let index = bases()
            .find_map(|one| one.index.as_deref())
            .map(|text| range(text).ok_or(PlaylistError::Unreadable))
            .transpose()?;
        let init = bases().find_map(|one| one.init.as_ref());
        let init = init.and_then(|init| init.range.as_deref());
        let init = init
            .map(|text| range(text).ok_or(PlaylistError::Unreadable))
            .transpose()?;
        room.take([&base])?;
        Ok(Run {
            start: place.start,
            end: place.end.ok_or(PlaylistError::Unreadable)?,
            zero: Zero::At(scaled(offset, scale)?),
            init: init.map(|range| Init {
                part: Part {
                    url: base.clone(),
                    range: Some(range),
                },
                cipher: None,
            }),
            chunks: Chunks::Indexed { file: base, index },
        })
    }

    /// Segments whose addresses follow a pattern (clause 5.3.9.4).
    fn templated(
        &self,
        base: &Url,
        place: &Place,
        templates: &[Option<&Template>; 3],
        room: &mut Room,
    ) -> Result<Run, PlaylistError> {
        let all = || templates.iter().copied().flatten();
        let scale = all().find_map(|one| one.timescale).unwrap_or(1);
        let offset = all().find_map(|one| one.offset).unwrap_or(0);
        let first = all().find_map(|one| one.first).unwrap_or(1);
        let media = all()
            .find_map(|one| one.media.as_deref())
            .ok_or(PlaylistError::Unreadable)?;
        let named = |pattern: &str, number: u64, time: u64| -> Result<Part, PlaylistError> {
            let name = self
                .filled(pattern, number, time)
                .ok_or(PlaylistError::Unreadable)?;
            Ok(Part {
                url: resolve(base, &name)?,
                range: None,
            })
        };
        let spans = match all().find_map(|one| one.timeline.as_ref()) {
            Some(timeline) => timeline.spans(place, scale, offset, *room)?,
            None => {
                let length = all()
                    .find_map(|one| one.length)
                    .filter(|length| *length > 0)
                    .ok_or(PlaylistError::Unreadable)?;
                even(length, place, scale, *room)?
                    .into_iter()
                    // The pattern's time counts from where the media does.
                    .map(|span| span.start.saturating_add(offset)..span.end.saturating_add(offset))
                    .collect()
            }
        };
        let mut chunks = Vec::new();
        for (place_in, span) in spans.iter().enumerate() {
            let number = first.saturating_add(place_in as u64);
            let part = named(media, number, span.start)?;
            room.take([&part.url])?;
            chunks.push(Chunk {
                start: place.start + scaled(span.start, scale)? - scaled(offset, scale)?,
                end: place.start + scaled(span.end, scale)? - scaled(offset, scale)?,
                part,
                cipher: None,
            });
        }
        let init = all().find_map(|one| one.init.as_deref());
        let init = init.map(|pattern| named(pattern, first, 0)).transpose()?;
        Ok(Run {
            start: place.start,
            end: chunks
                .last()
                .map(|chunk| chunk.end)
                .ok_or(PlaylistError::Empty)?,
            zero: Zero::At(scaled(offset, scale)?),
            init: init.map(|part| Init { part, cipher: None }),
            chunks: Chunks::Listed(chunks),
        })
    }

    /// Fills in `$RepresentationID$`, `$Number%05d$`, `$Time$`, `$Bandwidth$` and `$$`.
    fn filled(&self, pattern: &str, number: u64, time: u64) -> Option<String> {
        let mut name = String::new();
        let mut pieces = pattern.split('$');
        name.push_str(pieces.next()?);
        loop {
            let Some(word) = pieces.next() else {
                return Some(name);
            };
            let (word, width) = match word.split_once('%') {
                Some((word, format)) => (
                    word,
                    format
                        .strip_prefix('0')?
                        .strip_suffix('d')?
                        .parse::<usize>()
                        .ok()?,
                ),
                None => (word, 0),
            };
            // Wider than any number: only meant to take memory.
            if width > 32 {
                return None;
            }
            match word {
                "" => name.push('$'),
                "RepresentationID" => name.push_str(self.one.id.as_deref()?),
                "Number" => name.push_str(&format!("{number:0width$}")),
                "Time" => name.push_str(&format!("{time:0width$}")),
                "Bandwidth" => name.push_str(&format!("{:0width$}", self.one.bandwidth?)),
                _ => return None,
            }
            // A pattern has as many opening as closing signs.
            name.push_str(pieces.next()?);
            if name.len() > MOST_ADDRESS {
                return None;
            }
        }
    }
}

/// Segments named one by one (clause 5.3.9.3).
fn listed(
    base: &Url,
    place: &Place,
    lists: &[Option<&List>; 3],
    room: &mut Room,
) -> Result<Run, PlaylistError> {
    let all = || lists.iter().copied().flatten();
    let scale = all().find_map(|one| one.timescale).unwrap_or(1);
    let offset = all().find_map(|one| one.offset).unwrap_or(0);
    let urls = all()
        .map(|one| &one.urls)
        .find(|urls| !urls.is_empty())
        .ok_or(PlaylistError::Empty)?;
    let spans: Vec<Range<u64>> = match all().find_map(|one| one.timeline.as_ref()) {
        Some(timeline) => timeline
            .spans(place, scale, offset, *room)?
            .into_iter()
            .map(|span| span.start.saturating_sub(offset)..span.end.saturating_sub(offset))
            .collect(),
        None => {
            let length = all()
                .find_map(|one| one.length)
                .filter(|length| *length > 0);
            let length = length.ok_or(PlaylistError::Unreadable)?;
            (0..urls.len() as u64)
                .map(|number| Some(number.checked_mul(length)?..(number + 1).checked_mul(length)?))
                .collect::<Option<_>>()
                .ok_or(PlaylistError::Unreadable)?
        }
    };
    let part = |name: Option<&str>, bytes: Option<&str>| -> Result<Part, PlaylistError> {
        Ok(Part {
            url: name.map_or(Ok(base.clone()), |name| resolve(base, name))?,
            range: bytes
                .map(|text| range(text).ok_or(PlaylistError::Unreadable))
                .transpose()?,
        })
    };
    let mut chunks = Vec::new();
    for (url, span) in urls.iter().zip(&spans) {
        let part = part(url.media.as_deref(), url.range.as_deref())?;
        room.take([&part.url])?;
        chunks.push(Chunk {
            start: place.start + scaled(span.start, scale)?,
            end: place.start + scaled(span.end, scale)?,
            part,
            cipher: None,
        });
    }
    let init = all().find_map(|one| one.init.as_ref());
    let init = init
        .map(|init| part(init.url.as_deref(), init.range.as_deref()))
        .transpose()?;
    Ok(Run {
        start: place.start,
        end: chunks
            .last()
            .map(|chunk| chunk.end)
            .ok_or(PlaylistError::Empty)?,
        zero: Zero::At(scaled(offset, scale)?),
        init: init.map(|part| Init { part, cipher: None }),
        chunks: Chunks::Listed(chunks),
    })
}

/// Segments of one length, from the period's start to its end, in ticks from that start.
fn even(
    length: u64,
    place: &Place,
    scale: u64,
    room: Room,
) -> Result<Vec<Range<u64>>, PlaylistError> {
    let end = place.end.ok_or(PlaylistError::Unreadable)?;
    let micros =
        u64::try_from((end - place.start).micros()).map_err(|_| PlaylistError::Unreadable)?;
    let ticks = u128::from(micros) * u128::from(scale);
    let unit = u128::from(length) * 1_000_000;
    // A last segment of less than a millisecond is a rounded duration.
    let count = (ticks.saturating_sub(u128::from(scale) * 1_000))
        .div_ceil(unit)
        .max(1);
    if count > room.pieces as u128 {
        return Err(PlaylistError::TooLong);
    }
    (0..count as u64)
        .map(|number| Some(number.checked_mul(length)?..(number + 1).checked_mul(length)?))
        .collect::<Option<_>>()
        .ok_or(PlaylistError::Unreadable)
}

/// Ticks as a time.
fn scaled(ticks: u64, scale: u64) -> Result<Seconds, PlaylistError> {
    if scale == 0 {
        return Err(PlaylistError::Unreadable);
    }
    let micros = u128::from(ticks) * 1_000_000 / u128::from(scale);
    i64::try_from(micros)
        .map(Seconds::from_micros)
        .map_err(|_| PlaylistError::Unreadable)
}

/// `FIRST-LAST`, as in a Range header.
fn range(text: &str) -> Option<Range<u64>> {
    let (first, last) = text.trim().split_once('-')?;
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some(first..last.checked_add(1)?)
}

/// A duration as XML Schema writes it (ISO 8601), of days and less: `PT1H2M3.5S`.
fn duration(text: &str) -> Option<Seconds> {
    let rest = text.trim().strip_prefix('P')?;
    let (days, rest) = rest.split_once('T').unwrap_or((rest, ""));
    let mut total = 0.0;
    for (part, units) in [
        (days, &[('D', 86_400.0)][..]),
        (rest, &[('H', 3600.0), ('M', 60.0), ('S', 1.0)]),
    ] {
        let mut rest = part;
        for (unit, worth) in units {
            if let Some((number, behind)) = rest.split_once(*unit) {
                if number.is_empty()
                    || !number
                        .bytes()
                        .all(|byte| byte.is_ascii_digit() || byte == b'.')
                {
                    return None;
                }
                total += number.parse::<f64>().ok()? * worth;
                rest = behind;
            }
        }
        if !rest.is_empty() {
            return None;
        }
    }
    Seconds::from_f64(total).ok()
}

fn below(base: &Url, bases: &[String]) -> Result<Url, PlaylistError> {
    bases
        .first()
        .map_or(Ok(base.clone()), |first| resolve(base, first))
}

#[derive(Deserialize)]
struct Manifest {
    #[serde(rename = "@type")]
    kind: Option<String>,
    #[serde(rename = "@mediaPresentationDuration")]
    length: Option<String>,
    #[serde(rename = "BaseURL", default)]
    base: Vec<String>,
    #[serde(rename = "Period", default)]
    periods: Vec<Period>,
}

#[derive(Deserialize)]
struct Period {
    #[serde(rename = "@start")]
    start: Option<String>,
    #[serde(rename = "@duration")]
    length: Option<String>,
    #[serde(rename = "BaseURL", default)]
    base: Vec<String>,
    #[serde(rename = "AdaptationSet", default)]
    sets: Vec<Set>,
    #[serde(rename = "SegmentTemplate")]
    template: Option<Template>,
    #[serde(rename = "SegmentList")]
    list: Option<List>,
    #[serde(rename = "SegmentBase")]
    single: Option<Single>,
}

#[derive(Deserialize)]
struct Set {
    #[serde(rename = "@contentType")]
    content: Option<String>,
    #[serde(rename = "@mimeType")]
    mime: Option<String>,
    #[serde(rename = "@codecs")]
    codecs: Option<String>,
    #[serde(rename = "@height")]
    height: Option<u64>,
    #[serde(rename = "BaseURL", default)]
    base: Vec<String>,
    #[serde(rename = "Role", default)]
    roles: Vec<Role>,
    #[serde(rename = "ContentProtection", default)]
    protection: Vec<Present>,
    #[serde(rename = "Representation", default)]
    representations: Vec<Representation>,
    #[serde(rename = "SegmentTemplate")]
    template: Option<Template>,
    #[serde(rename = "SegmentList")]
    list: Option<List>,
    #[serde(rename = "SegmentBase")]
    single: Option<Single>,
}

#[derive(Deserialize)]
struct Representation {
    #[serde(rename = "@id")]
    id: Option<String>,
    #[serde(rename = "@mimeType")]
    mime: Option<String>,
    #[serde(rename = "@codecs")]
    codecs: Option<String>,
    #[serde(rename = "@height")]
    height: Option<u64>,
    #[serde(rename = "@bandwidth")]
    bandwidth: Option<u64>,
    #[serde(rename = "BaseURL", default)]
    base: Vec<String>,
    #[serde(rename = "ContentProtection", default)]
    protection: Vec<Present>,
    #[serde(rename = "SegmentTemplate")]
    template: Option<Template>,
    #[serde(rename = "SegmentList")]
    list: Option<List>,
    #[serde(rename = "SegmentBase")]
    single: Option<Single>,
}

#[derive(Deserialize)]
struct Role {
    #[serde(rename = "@value")]
    value: Option<String>,
}

/// An element of which only matters that it is there.
#[derive(Deserialize)]
struct Present {}

#[derive(Deserialize)]
struct Template {
    #[serde(rename = "@timescale")]
    timescale: Option<u64>,
    #[serde(rename = "@presentationTimeOffset")]
    offset: Option<u64>,
    #[serde(rename = "@duration")]
    length: Option<u64>,
    #[serde(rename = "@startNumber")]
    first: Option<u64>,
    #[serde(rename = "@media")]
    media: Option<String>,
    #[serde(rename = "@initialization")]
    init: Option<String>,
    #[serde(rename = "SegmentTimeline")]
    timeline: Option<SegmentTimeline>,
}

#[derive(Deserialize)]
struct List {
    #[serde(rename = "@timescale")]
    timescale: Option<u64>,
    #[serde(rename = "@presentationTimeOffset")]
    offset: Option<u64>,
    #[serde(rename = "@duration")]
    length: Option<u64>,
    #[serde(rename = "Initialization")]
    init: Option<Address>,
    #[serde(rename = "SegmentTimeline")]
    timeline: Option<SegmentTimeline>,
    #[serde(rename = "SegmentURL", default)]
    urls: Vec<SegmentUrl>,
}

#[derive(Deserialize)]
struct Single {
    #[serde(rename = "@timescale")]
    timescale: Option<u64>,
    #[serde(rename = "@presentationTimeOffset")]
    offset: Option<u64>,
    #[serde(rename = "@indexRange")]
    index: Option<String>,
    #[serde(rename = "Initialization")]
    init: Option<Address>,
}

#[derive(Deserialize)]
struct Address {
    #[serde(rename = "@sourceURL")]
    url: Option<String>,
    #[serde(rename = "@range")]
    range: Option<String>,
}

#[derive(Deserialize)]
struct SegmentUrl {
    #[serde(rename = "@media")]
    media: Option<String>,
    #[serde(rename = "@mediaRange")]
    range: Option<String>,
}

#[derive(Deserialize)]
struct SegmentTimeline {
    #[serde(rename = "S", default)]
    spans: Vec<Span>,
}

#[derive(Deserialize)]
struct Span {
    #[serde(rename = "@t")]
    start: Option<u64>,
    #[serde(rename = "@d")]
    length: u64,
    #[serde(rename = "@r")]
    repeat: Option<i64>,
}

impl SegmentTimeline {
    /// Each segment's ticks, as the media counts. A negative repetition goes on to the next span or to the end (clause 5.3.9.6).
    fn spans(
        &self,
        place: &Place,
        scale: u64,
        offset: u64,
        room: Room,
    ) -> Result<Vec<Range<u64>>, PlaylistError> {
        let mut spans = Vec::new();
        let mut at = 0_u64;
        for (number, span) in self.spans.iter().enumerate() {
            at = span.start.unwrap_or(at);
            let length = Some(span.length)
                .filter(|length| *length > 0)
                .ok_or(PlaylistError::Unreadable)?;
            let count = match span.repeat.unwrap_or(0) {
                repeat @ 0.. => repeat as u64 + 1,
                _ => {
                    let until = match self.spans.get(number + 1).and_then(|next| next.start) {
                        Some(next) => next,
                        None => {
                            let end = place.end.ok_or(PlaylistError::Unreadable)?;
                            let micros = u128::try_from((end - place.start).micros())
                                .map_err(|_| PlaylistError::Unreadable)?;
                            let ticks = micros * u128::from(scale) / 1_000_000;
                            u64::try_from(ticks)
                                .map_err(|_| PlaylistError::Unreadable)?
                                .saturating_add(offset)
                        }
                    };
                    until.saturating_sub(at).div_ceil(length)
                }
            };
            if (spans.len() as u64).saturating_add(count) > room.pieces as u64 {
                return Err(PlaylistError::TooLong);
            }
            for _ in 0..count {
                let end = at.checked_add(length).ok_or(PlaylistError::Unreadable)?;
                spans.push(at..end);
                at = end;
            }
        }
        Ok(spans)
    }
}

#[cfg(test)]
mod tests;
