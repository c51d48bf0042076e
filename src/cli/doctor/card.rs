//! What a chat program reads off a clip's page: the tags in its head, and whether they say what a card needs. Pure.

use std::collections::BTreeMap;

use reqwest::Url;

/// What a card is made from: whole addresses on the site itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Card {
    pub(super) video: Url,
    pub(super) image: Url,
    /// The player for programs that show one.
    pub(super) player: Url,
}

/// The card that a page offers.
///
/// # Errors
/// What is missing or wrong, in words.
pub(super) fn read(page: &str, site: &Url) -> Result<Card, String> {
    let tags = tags(page);
    for name in ["og:title", "og:type", "og:url"] {
        if tags.get(name).is_none_or(String::is_empty) {
            return Err(format!("{name} is missing"));
        }
    }
    let address = |name: &str| {
        let told = tags
            .get(name)
            .filter(|told| !told.is_empty())
            .ok_or_else(|| format!("{name} is missing"))?;
        let url = Url::parse(told).map_err(|_| format!("{name} is no whole address: {told}"))?;
        if url.origin() == site.origin() {
            Ok(url)
        } else {
            let origin = url.origin().ascii_serialization();
            Err(format!("{name} leads to {origin}"))
        }
    };
    address("og:url")?;
    Ok(Card {
        video: address("og:video")?,
        image: address("og:image")?,
        player: address("twitter:player")?,
    })
}

/// `property` or `name` of every `meta`, with its `content`; of several with one name the first counts.
fn tags(page: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let head = page.split("</head").next().unwrap_or_default();
    for tag in head.split("<meta").skip(1) {
        let name = attribute(tag, "property").or_else(|| attribute(tag, "name"));
        if let (Some(name), Some(content)) = (name, attribute(tag, "content")) {
            found.entry(name).or_insert(content);
        }
    }
    found
}

/// The value of an attribute in quotes, before the tag ends.
fn attribute(tag: &str, name: &str) -> Option<String> {
    let mut rest = tag;
    loop {
        rest = rest.trim_start();
        let (found, after) = rest.split_once('=')?;
        if found.contains('>') {
            return None;
        }
        let after = after.trim_start();
        let quote = after.chars().next().filter(|c| matches!(c, '"' | '\''))?;
        let (value, after) = after.get(1..)?.split_once(quote)?;
        if found.trim() == name {
            return Some(unescaped(value));
        }
        rest = after;
    }
}

/// The characters that have to be escaped in an attribute.
fn unescaped(text: &str) -> String {
    text.replace("&quot;", "\"")
        .replace("&#34;", "\"")
        .replace("&#39;", "'")
        .replace("&#x27;", "'")
        .replace("&lt;", "<")
        .replace("&#60;", "<")
        .replace("&gt;", ">")
        .replace("&#62;", ">")
        .replace("&#38;", "&")
        .replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(change: impl Fn(&str) -> String) -> String {
        change(
            r#"<html><head><meta charset="utf-8"><meta property="og:title" content="a &#38; b">
            <meta content="video.other" property='og:type'><meta property="og:url" content="https://s.example/c/1">
            <meta property="og:video" content="https://s.example/f/1/a.mp4?x=1&amp;y=2">
            <meta property="og:image" content="https://s.example/f/1/p.jpg">
            <meta name="twitter:player" content="https://s.example/embed/1">
            </head><body><meta property="og:video" content="https://evil.example/"></body></html>"#,
        )
    }

    #[test]
    fn a_whole_card_is_read() {
        let site = Url::parse("https://s.example").unwrap();
        let card = read(&page(str::to_owned), &site).unwrap();
        assert_eq!(card.video.as_str(), "https://s.example/f/1/a.mp4?x=1&y=2");
        assert_eq!(card.image.path(), "/f/1/p.jpg");
        assert_eq!(card.player.path(), "/embed/1");
        assert_eq!(tags(&page(str::to_owned))["og:title"], "a & b");
    }

    #[test]
    fn what_is_wrong_with_a_card_is_said() {
        let site = Url::parse("https://s.example").unwrap();
        for (from, to, said) in [
            ("og:title", "og:other", "og:title is missing"),
            ("a &#38; b", "", "og:title is missing"),
            (
                "og:video\" content=\"https://s.example",
                "og:video\" content=\"",
                "og:video is no whole address: /f/1/a.mp4?x=1&y=2",
            ),
            (
                "https://s.example/f/1/p.jpg",
                "http://s.example/p.jpg",
                "og:image leads to http://s.example",
            ),
            (
                "https://s.example/embed/1",
                "https://127.0.0.1:8000/",
                "twitter:player leads to https://127.0.0.1:8000",
            ),
            ("<html>", "</head>", "og:title is missing"),
        ] {
            let page = page(|page| page.replacen(from, to, 1));
            assert_eq!(read(&page, &site).unwrap_err(), said, "{from}");
        }
    }
}
