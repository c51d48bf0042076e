//! What is read of real and of hostile prints, and which streams are chosen.

use super::*;
use crate::source::page::{Kind, Stream};

const MANY: &str = include_str!("../../../../tests/data/pages/many_formats.json");
const HTML5: &str = include_str!("../../../../tests/data/pages/html5.json");
const OPEN_GRAPH: &str = include_str!("../../../../tests/data/pages/og.json");
const LINKED_DATA: &str = include_str!("../../../../tests/data/pages/ld.json");
const HLS: &str = include_str!("../../../../tests/data/pages/hls.json");

fn read_for(json: &str, height: u32) -> Result<Page, PageError> {
    let wish = Wish {
        height,
        ..Wish::default()
    };
    read(json.as_bytes(), &wish)
}

fn page(json: &str) -> Page {
    read_for(json, 1080).unwrap()
}

/// The formats chosen out of a list in shorthand: each `id codecs height protocol`, separated by `|`.
fn chosen(list: &str, height: u32) -> String {
    let formats: Vec<Value> = list
        .split('|')
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [id, video, audio, tall, protocol, more @ ..] = words.as_slice() else {
                panic!("{line}");
            };
            let mut format = serde_json::json!({
                "format_id": id, "vcodec": video, "acodec": audio, "height": tall.parse::<u32>().ok(),
                "protocol": protocol, "url": format!("https://v.example/{id}"), "manifest_url": "https://v.example/m",
                "ext": if video.starts_with("vp") { "webm" } else { "mp4" },
            });
            for (name, value) in more.iter().filter_map(|pair| pair.split_once('=')) {
                format[name] = serde_json::from_str(value).unwrap_or_else(|_| value.replace('_', " ").into());
            }
            for name in ["vcodec", "acodec"] {
                if format[name] == "?" {
                    format[name] = Value::Null;
                }
            }
            format
        })
        .collect();
    let json = serde_json::json!({"title": "x", "formats": formats}).to_string();
    match read_for(&json, height) {
        Ok(page) => {
            let audio = page.audio.map(|audio| format!("+{}", audio.format));
            format!("{}{}", page.video.format, audio.unwrap_or_default())
        }
        Err(error) => error.code().to_owned(),
    }
}

#[test]
fn a_playlist_that_may_lack_its_sound_is_entered_from_above() {
    let address = |acodec: &str| {
        let json = format!(
            r#"{{"title": "x", "formats": [{{"format_id": "h", "protocol": "m3u8_native", "ext": "mp4", "vcodec": "avc1", "height": 360,
                 "acodec": {acodec}, "url": "https://v.example/list.m3u8", "manifest_url": "https://v.example/master.m3u8"}}]}}"#
        );
        page(&json).video.url.path().to_owned()
    };
    assert_eq!(address("null"), "/master.m3u8");
    assert_eq!(address("\"mp4a.40.2\""), "/list.m3u8");
    assert_eq!(address("\"none\""), "/list.m3u8");
}

#[test]
fn streams_are_chosen_to_fit_and_to_be_cut_cheaply() {
    for (list, height, expected) in [
        // One file with both.
        ("a avc1 mp4a 360 https", 1080, "a"),
        ("a avc1 mp4a 360 https | b avc1 mp4a 720 https", 1080, "b"),
        ("a avc1 mp4a 360 https | b avc1 mp4a 720 https", 480, "a"),
        // Nothing fits: the least of the too tall.
        ("a avc1 mp4a 1080 https | b avc1 mp4a 720 https", 480, "b"),
        // Pictures and sound apart.
        ("v avc1 none 720 https | s none mp4a 0 https", 1080, "v+s"),
        (
            "v avc1 none 720 https | s none opus 0 https | t none mp4a 0 https",
            1080,
            "v+t",
        ),
        ("v avc1 none 720 https | s none opus 0 https", 1080, "v+s"),
        ("v avc1 none 720 https", 1080, "v"),
        // No second input without need, and no pictures without sound where there are some with.
        (
            "m avc1 mp4a 720 https | v avc1 none 720 https | s none mp4a 0 https",
            1080,
            "m",
        ),
        ("m avc1 mp4a 360 https | v avc1 none 720 https", 1080, "m"),
        (
            "m avc1 mp4a 360 https | v avc1 none 720 https | s none mp4a 0 https",
            1080,
            "v+s",
        ),
        // H.264 is worth a quarter of the lines.
        ("a avc1 mp4a 810 https | b vp9 opus 1080 https", 1080, "a"),
        ("a avc1 mp4a 720 https | b vp9 opus 1080 https", 1080, "b"),
        ("a av01 mp4a 1080 https | b vp9 opus 1080 https", 1080, "b"),
        ("a hev1 mp4a 1080 https | b av01 opus 1080 https", 1080, "a"),
        ("a avc1 mp4a 2160 https | b vp9 opus 1440 https", 1080, "a"),
        // A file, then a playlist, then a manifest; but not at the price of the height.
        (
            "h avc1 mp4a 720 m3u8_native | f avc1 mp4a 720 https",
            1080,
            "f",
        ),
        (
            "f avc1 mp4a 720 https | h avc1 mp4a 720 m3u8_native",
            1080,
            "f",
        ),
        ("f avc1 mp4a 360 https | h avc1 mp4a 720 m3u8", 1080, "h"),
        (
            "d avc1 mp4a 720 http_dash_segments | h avc1 mp4a 720 m3u8",
            1080,
            "h",
        ),
        ("h avc1 none 720 m3u8 | s none mp4a 0 m3u8", 1080, "h+s"),
        // Pictures and sound of one manifest are one input.
        (
            "d avc1 none 720 http_dash_segments | s none mp4a 0 http_dash_segments",
            1080,
            "d",
        ),
        (
            "d avc1 none 720 http_dash_segments | s none mp4a 0 https",
            1080,
            "d+s",
        ),
        // What the page does not say.
        ("a ? ? 0 https", 1080, "a"),
        ("a ? ? 0 https | b ? ? 720 https", 1080, "b"),
        ("a ? ? 720 https | h avc1 mp4a 720 m3u8", 1080, "a"),
        (
            "a ? ? 0 https resolution=audio_only | b avc1 none 720 m3u8",
            1080,
            "b+a",
        ),
        ("s ? ? 0 https ext=mp3", 1080, "page_unsupported"),
        // The last of equals is the best in the program's own order.
        ("a avc1 mp4a 720 https | b avc1 mp4a 720 https", 1080, "b"),
        // Languages, high dynamic range, damage.
        (
            "a avc1 mp4a 720 https language_preference=-1 | b avc1 mp4a 360 https language_preference=10",
            1080,
            "b",
        ),
        (
            "v avc1 none 720 https | s none mp4a 0 https language_preference=10 | t none mp4a 0 https language_preference=-10",
            1080,
            "v+s",
        ),
        (
            "v avc1 none 720 https | s-drc none mp4a 0 https | s none mp4a 0 https | t-drc none mp4a 0 https",
            1080,
            "v+s",
        ),
        (
            "a vp9 opus 1080 https dynamic_range=HDR10 | b vp9 opus 720 https",
            1080,
            "b",
        ),
        (
            "a avc1 mp4a 720 https preference=-10 | b avc1 mp4a 360 https",
            1080,
            "b",
        ),
        ("a avc1 mp4a 720 https preference=-10", 1080, "a"),
        // What cannot be read by us.
        ("a avc1 mp4a 720 rtmp", 1080, "page_unsupported"),
        ("a avc1 mp4a 720 f4m | b avc1 mp4a 360 https", 1080, "b"),
        ("a avc1 mp4a 720 ism", 1080, "page_unsupported"),
        ("a avc1 mp4a 720 websocket_frag", 1080, "page_unsupported"),
        (
            "a avc1 mp4a 720 http_dash_segments_generator",
            1080,
            "page_unsupported",
        ),
        (
            "a avc1 mp4a 720 http_dash_segments manifest_url=null",
            1080,
            "page_unsupported",
        ),
        ("a none none 27 mhtml", 1080, "page_unsupported"),
        ("a none none 27 https", 1080, "page_unsupported"),
        ("a avc1 mp4a 720 https has_drm=true", 1080, "page_locked"),
        (
            "a avc1 mp4a 720 https has_drm=true | b avc1 mp4a 360 https has_drm=\"maybe\"",
            1080,
            "b",
        ),
        (
            "a avc1 mp4a 720 https url=file:///etc/passwd",
            1080,
            "page_unsupported",
        ),
        (
            "a avc1 mp4a 720 https url=concat:/etc/passwd",
            1080,
            "page_unsupported",
        ),
        (
            "a avc1 mp4a 720 http_dash_segments manifest_url=file:///etc/passwd",
            1080,
            "page_unsupported",
        ),
    ] {
        assert_eq!(chosen(list, height), expected, "{list} at {height}");
    }
}

#[test]
fn a_site_of_many_formats_gives_two_files_of_the_wanted_height() {
    for (height, video, audio, lines) in [
        (1080, "137", Some("140-0"), Some(1080)),
        (720, "136", Some("140-0"), Some(720)),
        (480, "18", None, Some(360)),
        (360, "18", None, Some(360)),
        (144, "160", Some("140-0"), Some(144)),
        (100, "160", Some("140-0"), Some(144)),
        (1440, "137", Some("140-0"), Some(1080)),
        (2160, "313", Some("140-0"), Some(2160)),
    ] {
        let page = read_for(MANY, height).unwrap();
        assert_eq!(page.video.format, video, "{height}");
        assert_eq!(page.video.height, lines, "{height}");
        let sound: Option<&str> = page.audio.as_ref().map(|audio| audio.format.as_str());
        assert_eq!(sound, audio, "{height}");
    }
    let page = page(MANY);
    assert_eq!(page.title.as_deref(), Some("A film of ours in two lines"));
    assert_eq!(page.duration, Some(Seconds::from_whole(130)));
    assert_eq!(page.live, Live::Recorded);
    assert_eq!(page.video.kind, Kind::File);
    assert_eq!(page.video.video_codec.as_deref(), Some("avc1.640028"));
    assert_eq!(page.video.audio_codec, None);
    assert_eq!(page.video.bytes, Some(60_000_000));
    let names: Vec<&str> = page
        .video
        .headers
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(
        names,
        ["Accept", "Accept-Language", "Sec-Fetch-Mode", "User-Agent"]
    );
    assert!(page.thumbnail.is_some());
    let titles: Vec<&str> = page
        .chapters
        .iter()
        .map(|chapter| chapter.title.as_str())
        .collect();
    assert_eq!(titles, ["Intro", "The joke"]);
    assert_eq!(page.chapters[0].end, Seconds::from_micros(12_500_000));
    let heats: Vec<f64> = page.heatmap.iter().map(|heat| heat.value).collect();
    assert_eq!(heats, [1.0, 0.25, 1.0]);
}

#[test]
fn prints_of_real_pages_are_read() {
    let file = |stream: &Stream| {
        stream.url.as_str() == "http://video.example/film.mp4" && stream.kind == Kind::File
    };
    for (json, title, duration) in [
        (HTML5, "A \"film\" of ours", None),
        (OPEN_GRAPH, "Og title", None),
        (LINKED_DATA, "Ld title", Some(Seconds::from_whole(10))),
    ] {
        let page = page(json);
        assert_eq!(page.title.as_deref(), Some(title));
        assert_eq!(page.duration, duration);
        assert!(
            file(&page.video) && page.audio.is_none(),
            "{:?}",
            page.video
        );
        assert!(
            page.video
                .headers
                .iter()
                .any(|(name, _)| name == "User-Agent")
        );
    }
    for (height, url) in [
        (1080, "http://video.example/720.m3u8"),
        (480, "http://video.example/360.m3u8"),
    ] {
        let page = read_for(HLS, height).unwrap();
        assert_eq!((page.video.url.as_str(), page.video.kind), (url, Kind::Hls));
        let audio = page.audio.unwrap();
        assert_eq!(
            (audio.url.as_str(), audio.kind),
            ("http://video.example/a.m3u8", Kind::Hls)
        );
    }
}

#[test]
fn of_a_list_the_first_video_is_taken() {
    let one = r#"{"title":"one","url":"https://v.example/1.mp4","ext":"mp4","protocol":"https"}"#;
    for (json, title) in [
        (
            format!(r#"{{"_type":"playlist","title":"all","entries":[{one}]}}"#),
            "one",
        ),
        (
            format!(r#"{{"title":"all","entries":[null,{{"title":"some","entries":[{one}]}}]}}"#),
            "one",
        ),
        (
            r#"{"title":"all","entries":[{"url":"https://v.example/1.mp4"}]}"#.to_owned(),
            "all",
        ),
    ] {
        assert_eq!(page(&json).title.as_deref(), Some(title), "{json}");
    }
    let deep = format!("{}{one}{}", r#"{"entries":["#.repeat(9), "]}".repeat(9));
    for json in [r#"{"entries":[]}"#, r#"{"entries":[null]}"#, &deep] {
        assert_eq!(read_for(json, 1080), Err(PageError::Unsupported), "{json}");
    }
}

#[test]
fn whatever_a_stranger_writes_is_absent_or_an_error() {
    let with = |more: &str| format!(r#"{{"url":"https://v.example/1.mp4"{more}}}"#);
    for more in [
        "",
        r#","title":7,"duration":"long","thumbnail":[],"chapters":{},"heatmap":5,"is_live":"no","http_headers":[]"#,
        r#","title":"\n\u202e","duration":-1,"thumbnail":"file:///etc/passwd","chapters":[1,null,{"start_time":"0"}]"#,
        r#","duration":1e300,"chapters":[{"start_time":5,"end_time":1,"title":"x"}],"heatmap":[{"value":1}]"#,
        r#","duration":0,"thumbnail":"javascript:alert(1)","formats":null,"height":-3,"filesize":"x""#,
        r#","formats":[1,"x",null,[]],"cookies":{},"http_headers":{"Referer":3}"#,
    ] {
        let page = page(&with(more));
        assert_eq!(page.title, None, "{more}");
        assert_eq!(page.duration, None, "{more}");
        assert_eq!(page.thumbnail, None, "{more}");
        assert!(
            page.chapters.is_empty() && page.heatmap.is_empty(),
            "{more}"
        );
        assert!(page.video.headers.is_empty(), "{more}");
    }
    for json in [
        "",
        "null",
        "{",
        "{\"url\":\"https://v.example/\u{0}\"",
        "\u{feff}{}",
    ] {
        assert!(
            matches!(read_for(json, 1080), Err(PageError::Failed(_))),
            "{json}"
        );
    }
    for json in ["{}", "[]", r#"{"title":"no way to it"}"#] {
        assert_eq!(read_for(json, 1080), Err(PageError::Unsupported), "{json}");
    }
    assert_eq!(
        read(b"{\"title\":\"\xff\"}", &Wish::default()).map_err(|error| error.code()),
        Err("page_failed")
    );
}

#[test]
fn a_broadcast_says_so() {
    for (more, live) in [
        (r#""is_live":true"#, Live::Running),
        (r#""live_status":"is_live""#, Live::Running),
        (
            r#""live_status":"was_live","is_live":false"#,
            Live::Recorded,
        ),
        (r#""was_live":true"#, Live::Recorded),
    ] {
        let json =
            format!(r#"{{"url":"https://v.example/1.m3u8","protocol":"m3u8_native",{more}}}"#);
        assert_eq!(page(&json).live, live, "{more}");
    }
}

#[test]
fn half_an_emoji_does_not_cost_the_page() {
    for (title, read) in [
        (r"a \ud83d\ude02 b", "a \u{1f602} b"),
        (r"cut \ud83d", "cut \u{fffd}"),
        (r"\ude02 cut", "\u{fffd} cut"),
        (r"\ud83d\ud83d\ude02", "\u{fffd}\u{1f602}"),
        (r"\\ud83d", r"\ud83d"),
        (r"\\\ud83dx", "\\\u{fffd}x"),
        ("\\ud83d\\n", "\u{fffd}"),
    ] {
        let json = format!(r#"{{"title":"{title}","url":"https://v.example/1.mp4"}}"#);
        assert_eq!(page(&json).title.as_deref(), Some(read), "{title}");
    }
}

#[test]
fn a_format_lends_its_cookies_to_its_own_host_only() {
    let json = r#"{"title":"x","formats":[{"format_id":"a","url":"https://cdn.v.example/1.mp4","vcodec":"avc1","acodec":"mp4a",
        "http_headers":{"Referer":"https://v.example/","Cookie":"other=1"},
        "cookies":"sid=1; Domain=.v.example; Path=/; Secure; Expires=1800000000"}]}"#;
    let video = page(json).video;
    let expected = [("Referer", "https://v.example/"), ("Cookie", "sid=1")];
    assert_eq!(
        video.headers,
        expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
    );
    let elsewhere = video.headers_for(&Url::parse("https://other.example/1.ts").unwrap());
    assert!(elsewhere.iter().all(|(name, _)| name != "Cookie"));
    let beside = video.headers_for(&Url::parse("https://b.v.example/1.ts").unwrap());
    assert!(beside.iter().any(|(name, _)| name == "Cookie"));
    assert_eq!(video.cookies().len(), 1);
}

/// A real print with some of its bytes changed.
fn broken() -> impl proptest::strategy::Strategy<Value = Vec<u8>> {
    use proptest::prelude::*;
    proptest::collection::vec((0..MANY.len(), any::<u8>()), 1..20).prop_map(|changes| {
        let mut json = MANY.as_bytes().to_vec();
        for (place, byte) in changes {
            json[place] = byte;
        }
        json
    })
}

proptest::proptest! {
    #[test]
    fn no_print_and_no_text_of_a_stranger_breaks_a_reader(json in broken(), text in "(?s).{0,60}") {
        let wish = Wish { height: 720, ..Wish::default() };
        if let Ok(page) = read(&json, &wish) {
            for stream in [Some(&page.video), page.audio.as_ref()].into_iter().flatten() {
                assert!(matches!(stream.url.scheme(), "http" | "https"));
                assert!(stream.headers.iter().all(|(_, value)| !value.contains(['\r', '\n', '\0'])));
            }
            assert!(page.title.is_none_or(|title| !title.contains(char::is_control)));
        }
        let url = Url::parse("https://v.example/1.mp4").unwrap();
        let lines = format!("a={text}; Domain={text}; b=\"\\{text}\"; {text}");
        for cookie in super::super::headers::read_cookies(&lines, &url) {
            assert!(!cookie.to_string().contains(['\r', '\n', '\0']));
        }
        let shown = super::super::blame(&format!("ERROR: [x] {text}\n{text}")).to_string();
        assert!(!shown.contains(char::is_control), "{shown:?}");
        let title = format!(r#"{{"title":"{}","url":"https://v.example/1.mp4"}}"#, text.escape_default());
        let _ = read(title.as_bytes(), &wish);
        let _ = read(format!("\\u{text}\\ud8{text}\\").as_bytes(), &wish);
    }
}
