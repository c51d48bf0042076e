//! Manifests of every make, and wrong ones, against what becomes of them.

use super::*;

fn base() -> Url {
    Url::parse("https://example.com/films/1/all.mpd").unwrap()
}

fn parse(body: &str) -> Result<Presentation, PlaylistError> {
    let text = format!(
        "<?xml version=\"1.0\"?>\n<!-- a -->\n<MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" type=\"static\" mediaPresentationDuration=\"PT10.5S\">{body}</MPD>"
    );
    assert!(begins(text.as_bytes()));
    read(text.as_bytes(), &base(), Wish { height: 1080 })
}

fn video(body: &str) -> Result<Presentation, PlaylistError> {
    parse(&format!(
        "<Period><AdaptationSet contentType=\"video\">{body}</AdaptationSet></Period>"
    ))
}

fn told(run: &Run) -> Vec<(f64, f64, String)> {
    let Chunks::Listed(chunks) = &run.chunks else {
        panic!("an index")
    };
    chunks
        .iter()
        .map(|chunk| {
            (
                chunk.start.as_f64(),
                chunk.end.as_f64(),
                chunk.part.url.path().to_owned(),
            )
        })
        .collect()
}

fn named(start: f64, end: f64, path: &str) -> (f64, f64, String) {
    (start, end, format!("/films/1/{path}"))
}

#[test]
fn numbered_segments_fill_the_period() {
    let presentation = video(
        "<SegmentTemplate timescale=\"1000\" duration=\"4000\" startNumber=\"3\" media=\"$RepresentationID$/$Number%04d$-$$.m4s\" initialization=\"$RepresentationID$/i.mp4\"/>
         <Representation id=\"v1\" bandwidth=\"9\" codecs=\"avc1.64001f\" height=\"720\"/>",
    )
    .unwrap();
    let run = &presentation.pictures.runs[0];
    assert_eq!(
        told(run),
        [
            named(0.0, 4.0, "v1/0003-$.m4s"),
            named(4.0, 8.0, "v1/0004-$.m4s"),
            named(8.0, 12.0, "v1/0005-$.m4s")
        ]
    );
    assert_eq!(run.zero, Zero::At(Seconds::ZERO));
    assert_eq!(
        run.init.as_ref().unwrap().part.url.path(),
        "/films/1/v1/i.mp4"
    );
    assert_eq!(presentation.sound, None);
}

#[test]
fn a_timeline_tells_each_segment() {
    let presentation = video(
        "<Representation id=\"v\" bandwidth=\"9\"><BaseURL>v/</BaseURL>
         <SegmentTemplate timescale=\"10\" presentationTimeOffset=\"100\" media=\"$Time$.m4s\" initialization=\"i\">
         <SegmentTimeline><S t=\"100\" d=\"20\" r=\"1\"/><S d=\"30\"/><S t=\"180\" d=\"10\" r=\"-1\"/></SegmentTimeline></SegmentTemplate></Representation>",
    )
    .unwrap();
    let run = &presentation.pictures.runs[0];
    let starts = [0.0, 2.0, 4.0, 8.0, 9.0, 10.0];
    let ends = [2.0, 4.0, 7.0, 9.0, 10.0, 11.0];
    let times = [100, 120, 140, 180, 190, 200];
    let expected: Vec<_> = (0..6)
        .map(|place| {
            named(
                starts[place],
                ends[place],
                &format!("v/{}.m4s", times[place]),
            )
        })
        .collect();
    assert_eq!(told(run), expected);
    assert_eq!(run.zero, Zero::At(Seconds::from_whole(10)));
}

#[test]
fn listed_segments_and_single_files_have_ranges() {
    let presentation = video(
        "<Representation id=\"v\"><SegmentList timescale=\"2\" duration=\"8\"><Initialization sourceURL=\"a.mp4\" range=\"0-99\"/>
         <SegmentURL media=\"a.mp4\" mediaRange=\"100-199\"/><SegmentURL media=\"a.mp4\" mediaRange=\"200-299\"/></SegmentList></Representation>",
    )
    .unwrap();
    let run = &presentation.pictures.runs[0];
    assert_eq!(
        told(run),
        [named(0.0, 4.0, "a.mp4"), named(4.0, 8.0, "a.mp4")]
    );
    assert_eq!(run.init.as_ref().unwrap().part.range, Some(0..100));
    let presentation = video(
        "<Representation id=\"v\"><BaseURL>one.mp4</BaseURL><SegmentBase timescale=\"10\" presentationTimeOffset=\"5\" indexRange=\"700-799\"><Initialization range=\"0-699\"/></SegmentBase></Representation>",
    )
    .unwrap();
    let run = &presentation.pictures.runs[0];
    assert_eq!(
        run.chunks,
        Chunks::Indexed {
            file: base().join("one.mp4").unwrap(),
            index: Some(700..800)
        }
    );
    assert_eq!(run.zero, Zero::At(Seconds::from_micros(500_000)));
    assert_eq!(run.end, Seconds::from_micros(10_500_000));
    let presentation =
        video("<Representation id=\"v\"><BaseURL>one.mp4</BaseURL></Representation>").unwrap();
    assert!(matches!(
        presentation.pictures.runs[0].chunks,
        Chunks::Indexed { index: None, .. }
    ));
}

#[test]
fn periods_follow_each_other_and_sound_comes_apart() {
    let period = |attributes: &str, name: &str| {
        format!(
            "<Period {attributes}><BaseURL>{name}/</BaseURL>
             <AdaptationSet mimeType=\"video/mp4\"><SegmentTemplate duration=\"4\" media=\"v$Number$\"/><Representation id=\"v\"/></AdaptationSet>
             <AdaptationSet mimeType=\"audio/mp4\" lang=\"de\"><SegmentTemplate duration=\"2\" media=\"$RepresentationID$$Number$\"/>
             <Representation id=\"rich\" bandwidth=\"300\" codecs=\"ec-3\"/><Representation id=\"low\" bandwidth=\"64\" codecs=\"mp4a.40.2\"/>
             <Representation id=\"a\" bandwidth=\"128\" codecs=\"mp4a.40.2\"/></AdaptationSet></Period>"
        )
    };
    let presentation = parse(&format!(
        "{}{}",
        period("duration=\"PT4S\"", "one"),
        period("", "two")
    ))
    .unwrap();
    let runs = &presentation.pictures.runs;
    assert_eq!(told(&runs[0]), [named(0.0, 4.0, "one/v1")]);
    assert_eq!(
        told(&runs[1]),
        [named(4.0, 8.0, "two/v1"), named(8.0, 12.0, "two/v2")]
    );
    let sound = presentation.sound.unwrap();
    assert_eq!(
        told(&sound.runs[0]),
        [named(0.0, 2.0, "one/a1"), named(2.0, 4.0, "one/a2")]
    );
    assert_eq!(sound.runs[1].start, Seconds::from_whole(4));
}

#[test]
fn a_period_ends_where_it_says_whatever_its_segments_do() {
    let period = "<Period duration=\"PT10S\"><AdaptationSet mimeType=\"video/mp4\"><SegmentTemplate duration=\"4\" media=\"$Number$\"/><Representation id=\"v\"/></AdaptationSet></Period>";
    let presentation = parse(&format!("{period}{period}")).unwrap();
    let spans: Vec<_> = presentation
        .pictures
        .runs
        .iter()
        .map(|run| (run.start.as_f64(), run.end.as_f64()))
        .collect();
    assert_eq!(spans, [(0.0, 10.0), (10.0, 20.0)]);
    assert_eq!(
        told(&presentation.pictures.runs[1])[2],
        named(18.0, 22.0, "3")
    );
}

#[test]
fn a_small_manifest_cannot_name_much() {
    let long = "i".repeat(3900);
    for (template, id) in [
        ("$RepresentationID$$RepresentationID$", long.as_str()),
        ("$RepresentationID$/$Number$", long.as_str()),
    ] {
        let body = format!(
            "<SegmentTemplate timescale=\"1000\" duration=\"1\" media=\"{template}\"/><Representation id=\"{id}\"/>"
        );
        assert!(video(&body).is_err(), "{template}");
    }
    let period = "<Period duration=\"PT40S\"><AdaptationSet mimeType=\"video/mp4\"><SegmentTemplate timescale=\"1000\" duration=\"1\" media=\"$Number$\"/><Representation id=\"v\"/></AdaptationSet></Period>";
    assert_eq!(parse(&period.repeat(2)), Err(PlaylistError::TooLong));
}

#[test]
fn the_representation_that_fits_is_chosen() {
    let presentation = video(
        "<SegmentTemplate duration=\"4\" media=\"$RepresentationID$\"/>
         <Representation id=\"4k\" height=\"2160\" codecs=\"avc1.640033\" bandwidth=\"9000\"/>
         <Representation id=\"hd\" height=\"1080\" codecs=\"avc1.640028\" bandwidth=\"4000\"/>
         <Representation id=\"new\" height=\"1080\" codecs=\"av01.0.08M.08\" bandwidth=\"8000\"/>
         <Representation id=\"sd\" height=\"480\" codecs=\"avc1.64001f\" bandwidth=\"1000\"/>",
    )
    .unwrap();
    assert_eq!(told(&presentation.pictures.runs[0])[0].2, "/films/1/hd");
}

#[test]
fn numbers_at_the_end_of_what_can_be_counted_do_no_harm() {
    for template in [
        "duration=\"4\" startNumber=\"18446744073709551615\" media=\"$Number$\"",
        "duration=\"4\" presentationTimeOffset=\"18446744073709551615\" media=\"$Time$\"",
        "duration=\"18446744073709551615\" media=\"$Time$\"",
    ] {
        let _ = video(&format!(
            "<SegmentTemplate {template}/><Representation id=\"v\"/>"
        ));
    }
}

#[test]
fn what_cannot_be_used_is_refused() {
    let template = "<SegmentTemplate duration=\"4\" media=\"$Number$\"/><Representation id=\"v\"/>";
    assert_eq!(
        video(&format!(
            "<ContentProtection schemeIdUri=\"urn:x\"/>{template}"
        )),
        Err(PlaylistError::Protected)
    );
    let live = "<MPD type=\"dynamic\"><Period/></MPD>";
    assert_eq!(
        read(live.as_bytes(), &base(), Wish { height: 1 }),
        Err(PlaylistError::Live)
    );
    assert_eq!(parse(""), Err(PlaylistError::Empty));
    assert_eq!(
        parse(
            "<Period><AdaptationSet mimeType=\"audio/mp4\"><Representation id=\"a\"/></AdaptationSet></Period>"
        ),
        Err(PlaylistError::Empty)
    );
    for pattern in [
        "$Number",
        "$Nonsense$",
        "$Number%999999999d$",
        "$Number%5d$",
        "$Number%0xd$",
        "$Bandwidth$",
    ] {
        let body = format!(
            "<SegmentTemplate duration=\"4\" media=\"{pattern}\"/><Representation id=\"v\"/>"
        );
        assert_eq!(video(&body), Err(PlaylistError::Unreadable), "{pattern}");
    }
    for template in [
        "<SegmentTemplate duration=\"0\" media=\"$Number$\"/>",
        "<SegmentTemplate media=\"$Number$\"/>",
        "<SegmentTemplate timescale=\"0\" duration=\"4\" media=\"$Number$\"/>",
        "<SegmentTemplate media=\"$Time$\"><SegmentTimeline><S t=\"0\" d=\"0\" r=\"-1\"/></SegmentTimeline></SegmentTemplate>",
        "<SegmentTemplate media=\"$Time$\"><SegmentTimeline><S t=\"18446744073709551615\" d=\"9\"/></SegmentTimeline></SegmentTemplate>",
    ] {
        let body = format!("{template}<Representation id=\"v\"/>");
        assert!(video(&body).is_err(), "{template}");
    }
    for template in [
        "<SegmentTemplate timescale=\"1000000\" duration=\"1\" media=\"$Number$\"/>",
        "<SegmentTemplate media=\"$Time$\"><SegmentTimeline><S t=\"0\" d=\"1\" r=\"9223372036854775807\"/></SegmentTimeline></SegmentTemplate>",
        "<SegmentTemplate media=\"$Time$\"><SegmentTimeline><S d=\"1\"/><S t=\"0\" d=\"1\" r=\"-1\"/><S t=\"18446744073709551615\" d=\"1\"/></SegmentTimeline></SegmentTemplate>",
    ] {
        let body = format!("{template}<Representation id=\"v\"/>");
        assert_eq!(video(&body), Err(PlaylistError::TooLong), "{template}");
    }
    for text in [
        "",
        "<MPD",
        "<html></html>",
        "<MPD><Period></MPD>",
        "<!DOCTYPE a [<!ENTITY b \"c\">]><MPD>&b;</MPD>",
    ] {
        assert!(
            read(text.as_bytes(), &base(), Wish { height: 1 }).is_err(),
            "{text}"
        );
    }
    assert!(!begins(b"<html><MPD>"));
    assert!(!begins(b"#EXTM3U"));
}

#[test]
fn durations_are_read_as_the_schema_writes_them() {
    for (text, seconds) in [
        ("PT0S", Some(0.0)),
        ("PT1H2M3.5S", Some(3723.5)),
        ("P1DT1S", Some(86_401.0)),
        ("PT634.566S", Some(634.566)),
        ("P2D", Some(172_800.0)),
        ("PT", Some(0.0)),
        ("1H", None),
        ("PT1X", None),
        ("PT-5S", None),
        ("PTS", None),
        ("PT1S2H", None),
        ("", None),
    ] {
        assert_eq!(duration(text).map(Seconds::as_f64), seconds, "{text}");
    }
}
