//! What a link leads to, told from the first bytes and from what the server calls it. The bytes come first: servers call playlists and
//! videos anything.

use super::playlist::{dash, hls};

/// What something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nature {
    Hls,
    Dash,
    /// For people; a video may be on it.
    Page,
    /// A file, of whatever kind.
    File,
}

/// Judges by the beginning of a body.
pub fn nature(head: &[u8], content_type: &str) -> Nature {
    if hls::begins(head) {
        Nature::Hls
    } else if dash::begins(head) {
        Nature::Dash
    } else if begins_as_page(head) || is_page(content_type) && !head.contains(&0) {
        Nature::Page
    } else {
        Nature::File
    }
}

fn is_page(content_type: &str) -> bool {
    matches!(content_type, "text/html" | "application/xhtml+xml")
}

fn begins_as_page(head: &[u8]) -> bool {
    const TAGS: [&str; 6] = [
        "<!doctype html",
        "<html",
        "<head",
        "<body",
        "<script",
        "<meta",
    ];
    let text = String::from_utf8_lossy(&head[..head.len().min(4096)]).to_ascii_lowercase();
    let mut text = text.trim_start_matches('\u{feff}').trim_start();
    while let Some((_, behind)) = text
        .strip_prefix("<!--")
        .and_then(|rest| rest.split_once("-->"))
    {
        text = behind.trim_start();
    }
    TAGS.iter().any(|tag| text.starts_with(tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_tell_more_than_names() {
        for (head, content_type, expected) in [
            (&b"#EXTM3U\n#EXTINF:4,\n"[..], "text/plain", Nature::Hls),
            (b"\xef\xbb\xbf#EXTM3U\r\n", "video/mp4", Nature::Hls),
            (
                b"<?xml version=\"1.0\"?>\n<MPD type=\"static\">",
                "application/octet-stream",
                Nature::Dash,
            ),
            (
                b"<mpd:MPD xmlns:mpd=\"urn:mpeg:dash:schema:mpd:2011\">",
                "",
                Nature::Dash,
            ),
            (b"  <!DOCTYPE HTML><title>a</title>", "", Nature::Page),
            (b"<!-- a --><html lang=\"en\">", "video/mp4", Nature::Page),
            (b"Sorry", "text/html", Nature::Page),
            (b"\x00\x00\x00\x20ftypisom", "text/html", Nature::File),
            (b"\x00\x00\x00\x20ftypisom", "video/mp4", Nature::File),
            (b"<svg><script>", "", Nature::File),
            (b"ffconcat version 1.0", "text/plain", Nature::File),
            (b"", "", Nature::File),
        ] {
            assert_eq!(
                nature(head, content_type),
                expected,
                "{}",
                String::from_utf8_lossy(head)
            );
        }
    }
}
