//! A page as a reader of markup sees it: its elements with their attributes, references resolved.

use std::collections::BTreeMap;

/// An element's start tag.
#[derive(Clone, Debug)]
pub struct Element {
    pub name: String,
    pub attributes: BTreeMap<String, String>,
    /// The text up to the next tag.
    pub text: String,
}

impl Element {
    pub fn attribute(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }
}

/// All elements in order. Strict where a browser would forgive: markup of ours is well-formed.
#[track_caller]
pub fn elements(html: &str) -> Vec<Element> {
    let mut found = Vec::new();
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        rest = &rest[at + 1..];
        if rest.starts_with(['/', '!']) {
            continue;
        }
        let mut element = Element {
            name: String::new(),
            attributes: BTreeMap::new(),
            text: String::new(),
        };
        let end = rest
            .find(|letter: char| letter.is_whitespace() || letter == '>')
            .unwrap();
        element.name = rest[..end].to_owned();
        assert!(
            element
                .name
                .chars()
                .all(|letter| letter.is_ascii_alphanumeric()),
            "<{} is no element",
            element.name
        );
        rest = rest[end..].trim_start();
        while !rest.starts_with('>') {
            let end = rest
                .find(|letter: char| letter.is_whitespace() || letter == '=' || letter == '>')
                .unwrap();
            let name = rest[..end].to_owned();
            rest = &rest[end..];
            let mut value = String::new();
            if let Some(quoted) = rest.strip_prefix("=\"") {
                let end = quoted.find('"').unwrap();
                value = resolved(&quoted[..end]);
                rest = &quoted[end + 1..];
            }
            assert!(!rest.starts_with('='), "{name} is not in double quotes");
            element.attributes.insert(name, value);
            rest = rest.trim_start();
        }
        rest = &rest[1..];
        element.text = resolved(&rest[..rest.find('<').unwrap_or(rest.len())]);
        found.push(element);
    }
    found
}

/// What the page says about itself to other sites: `property` or `name` of its `meta` elements, and their content.
#[track_caller]
pub fn tags(html: &str) -> BTreeMap<String, String> {
    let mut tags = BTreeMap::new();
    for element in elements(html) {
        if element.name == "meta" && element.attributes.contains_key("content") {
            let name = [element.attribute("property"), element.attribute("name")].concat();
            tags.insert(name, element.attribute("content").to_owned());
        }
    }
    tags
}

/// Character references as askama writes them: decimal ones, and the ampersand that the templates write by hand.
fn resolved(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        let end = at
            + rest[at..]
                .find(';')
                .unwrap_or_else(|| panic!("a bare & in {text}"));
        let name = &rest[at + 1..end];
        let letter = match name {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            "ndash" => '\u{2013}',
            _ => name
                .strip_prefix('#')
                .and_then(|code| code.parse().ok())
                .and_then(char::from_u32)
                .unwrap_or_else(|| panic!("&{name};")),
        };
        out.push(letter);
        rest = &rest[end + 1..];
    }
    out + rest
}
