//! What a page says that its streams want to be sent: a few headers by name, and cookies with the hosts they are meant for.
//! Everything else that it says is left out.

use std::collections::BTreeMap;
use std::fmt;

use url::{Host, Url};

/// The only headers that are passed on; they are written with these names whatever the page wrote.
const SAFE: [&str; 6] = [
    "Accept",
    "Accept-Language",
    "Origin",
    "Referer",
    "Sec-Fetch-Mode",
    "User-Agent",
];
const VALUE_MOST: usize = 2048;
const COOKIES_MOST: usize = 64;

/// A cookie and where it belongs (RFC 6265).
#[derive(Clone, PartialEq, Eq)]
pub struct Cookie {
    name: String,
    value: String,
    /// Without a dot in front; a cookie of one host only says so in `subdomains`.
    domain: String,
    subdomains: Reach,
    path: String,
    transport: Transport,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    Host,
    Subdomains,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transport {
    Any,
    Https,
}

/// The headers that are passed on.
pub(super) fn safe(said: &BTreeMap<String, String>) -> Vec<(String, String)> {
    SAFE.iter()
        .filter_map(|name| {
            let (_, value) = said
                .iter()
                .find(|(said, _)| said.eq_ignore_ascii_case(name))?;
            sendable(value).then(|| ((*name).to_owned(), value.clone()))
        })
        .collect()
}

/// `headers` with the `Cookie` that belongs to `url` and with no other.
pub(super) fn with_cookies(
    headers: &[(String, String)],
    cookies: &[Cookie],
    url: &Url,
) -> Vec<(String, String)> {
    let mut headers: Vec<(String, String)> = headers
        .iter()
        .filter(|(name, _)| name != "Cookie")
        .cloned()
        .collect();
    let pairs: Vec<String> = cookies
        .iter()
        .filter(|cookie| cookie.belongs_to(url))
        .map(|cookie| format!("{}={}", cookie.name, cookie.value))
        .collect();
    if !pairs.is_empty() {
        headers.push(("Cookie".to_owned(), pairs.join("; ")));
    }
    headers
}

/// One line of visible ASCII.
fn sendable(value: &str) -> bool {
    !value.is_empty()
        && value.len() <= VALUE_MOST
        && value.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

/// Reads yt-dlp's `cookies` of a format: `name=value; Domain=.example.org; Path=/; Secure; name=…`. A cookie that does not say its
/// domain belongs to the host of `url`.
pub(super) fn read_cookies(text: &str, url: &Url) -> Vec<Cookie> {
    let mut cookies: Vec<Cookie> = Vec::new();
    for piece in text.split(';').map(str::trim) {
        let (name, value) = piece.split_once('=').unwrap_or((piece, ""));
        match (name.to_ascii_lowercase().as_str(), cookies.last_mut()) {
            ("domain", Some(cookie)) => {
                let bare = value.trim_start_matches('.');
                cookie.subdomains = if bare.len() < value.len() {
                    Reach::Subdomains
                } else {
                    Reach::Host
                };
                cookie.domain = bare.to_ascii_lowercase();
            }
            ("path", Some(cookie)) => cookie.path = value.to_owned(),
            ("secure", Some(cookie)) => cookie.transport = Transport::Https,
            ("expires" | "version" | "httponly" | "samesite", _)
            | ("domain" | "path" | "secure", None) => {}
            _ if piece.contains('=') => cookies.push(Cookie {
                name: name.to_owned(),
                value: unquoted(value),
                domain: url.host_str().unwrap_or_default().to_owned(),
                subdomains: Reach::Host,
                path: "/".to_owned(),
                transport: Transport::Any,
            }),
            _ => {}
        }
    }
    cookies.retain(Cookie::is_sendable);
    cookies.truncate(COOKIES_MOST);
    cookies
}

/// Takes back the quoting of Python's `http.cookies`: `"a\073b"` is `a;b`.
fn unquoted(value: &str) -> String {
    let Some(inner) = value
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
    else {
        return value.to_owned();
    };
    let mut plain = String::new();
    let mut rest = inner;
    while let Some((before, after)) = rest.split_once('\\') {
        plain.push_str(before);
        let octal = after
            .get(..3)
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        rest = match octal {
            Some(byte) => {
                plain.push(char::from(byte));
                after.get(3..).unwrap_or_default()
            }
            None => {
                let mut letters = after.chars();
                plain.extend(letters.next());
                letters.as_str()
            }
        };
    }
    plain.push_str(rest);
    plain
}

impl Cookie {
    fn is_sendable(&self) -> bool {
        let name = !self.name.is_empty()
            && self
                .name
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?={}".contains(&byte));
        let value = self.value.len() <= VALUE_MOST
            && self
                .value
                .bytes()
                .all(|byte| matches!(byte, b' '..=b'~') && byte != b';');
        let place = |text: &str| {
            text.bytes()
                .all(|byte| byte.is_ascii_graphic() && byte != b';')
        };
        name && value && !self.domain.is_empty() && place(&self.domain) && place(&self.path)
    }

    /// RFC 6265 section 5.4, step 1.
    fn belongs_to(&self, url: &Url) -> bool {
        let host = url.host_str().unwrap_or_default();
        let below = host
            .strip_suffix(self.domain.as_str())
            .is_some_and(|front| front.ends_with('.'));
        let named = matches!(url.host(), Some(Host::Domain(_)));
        let at_home =
            host == self.domain || (self.subdomains == Reach::Subdomains && named && below);
        let inside = url
            .path()
            .strip_prefix(self.path.as_str())
            .is_some_and(|rest| {
                rest.is_empty() || rest.starts_with('/') || self.path.ends_with('/')
            });
        at_home && inside && (self.transport == Transport::Any || url.scheme() == "https")
    }
}

impl fmt::Display for Cookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}={}; path={}; domain=",
            self.name, self.value, self.path
        )?;
        match self.subdomains {
            Reach::Host => f.write_str(&self.domain)?,
            Reach::Subdomains => write!(f, ".{}", self.domain)?,
        }
        match self.transport {
            Transport::Any => Ok(()),
            Transport::Https => f.write_str("; secure"),
        }
    }
}

/// Its value may open somebody's account, so it is not for logs.
impl fmt::Debug for Cookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cookie({} of {})", self.name, self.domain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    fn sent(cookies: &str, from: &str, to: &str) -> String {
        let cookies = read_cookies(cookies, &Url::parse(from).unwrap());
        with_cookies(&[], &cookies, &Url::parse(to).unwrap())
            .pop()
            .map_or_else(String::new, |(_, value)| value)
    }

    #[test]
    fn only_known_headers_of_one_line_are_passed_on() {
        for (name, value, passed) in [
            ("User-Agent", "Mozilla/5.0 (X11)", Some("User-Agent")),
            ("user-agent", "x", Some("User-Agent")),
            ("Referer", "https://example.org/", Some("Referer")),
            ("Origin", "https://example.org", Some("Origin")),
            ("Cookie", "a=b", None),
            ("Authorization", "Bearer x", None),
            ("Proxy-Authorization", "Basic x", None),
            ("Host", "127.0.0.1", None),
            ("Range", "bytes=0-", None),
            ("X-Forwarded-For", "127.0.0.1", None),
            ("Accept-Encoding", "gzip", None),
            ("Referer\r\nHost", "x", None),
            ("Referer", "x\r\nHost: 127.0.0.1", None),
            ("Referer", "x\nHost: 127.0.0.1", None),
            ("Referer", "x\u{0}y", None),
            ("Referer", "", None),
            ("User-Agent", "é", None),
        ] {
            let names: Vec<String> = safe(&said(&[(name, value)]))
                .into_iter()
                .map(|(name, _)| name)
                .collect();
            assert_eq!(names, Vec::from_iter(passed), "{name:?}: {value:?}");
        }
        assert!(safe(&said(&[("Accept", &"x".repeat(VALUE_MOST + 1))])).is_empty());
    }

    #[test]
    fn cookies_go_only_where_they_belong() {
        let host = "sid=1; Domain=example.org; Path=/";
        let wide = "sid=1; Domain=.example.org; Path=/; Secure; Expires=1800000000; b=2; Domain=cdn.example.org; Path=/v";
        for (cookies, to, value) in [
            (host, "https://example.org/x", "sid=1"),
            (host, "http://example.org/x", "sid=1"),
            (host, "https://cdn.example.org/x", ""),
            (host, "https://example.org.evil.net/", ""),
            (host, "https://notexample.org/", ""),
            (wide, "https://example.org/", "sid=1"),
            (wide, "https://cdn.example.org/v/1.ts", "sid=1; b=2"),
            (wide, "https://cdn.example.org/video", "sid=1"),
            (wide, "http://cdn.example.org/v/1.ts", "b=2"),
            (wide, "https://evilexample.org/", ""),
            ("sid=1", "https://example.org/", "sid=1"),
            ("sid=1", "https://www.example.org/", ""),
            ("a=1; Domain=.0.0.1; Path=/", "http://127.0.0.1/", ""),
        ] {
            assert_eq!(
                sent(cookies, "https://example.org/f.mp4", to),
                value,
                "{cookies} to {to}"
            );
        }
    }

    #[test]
    fn no_cookie_breaks_out_of_its_line() {
        for (cookies, value) in [
            ("a=\"x y\"; Domain=example.org", "a=x y"),
            ("a=\"q\\042q\"; Domain=example.org", "a=q\"q"),
            ("a=\"x\\015\\012Host: b\"; Domain=example.org", ""),
            ("a=\"x\\073 b=2\"; Domain=example.org", ""),
            ("a=x\r\nHost: b; Domain=example.org", ""),
            ("a\r\nHost=x; Domain=example.org", ""),
            ("Domain=example.org; Path=/", ""),
            ("", ""),
            (";;=;", ""),
            ("\"\\", ""),
        ] {
            let to = "https://example.org/";
            assert_eq!(sent(cookies, to, to), value, "{cookies:?}");
        }
    }

    #[test]
    fn a_cookie_shows_as_a_line_for_readers_and_without_its_value_in_logs() {
        let url = Url::parse("https://example.org/").unwrap();
        let cookies = read_cookies("sid=secret; Domain=.example.org; Path=/v; Secure", &url);
        assert_eq!(
            cookies[0].to_string(),
            "sid=secret; path=/v; domain=.example.org; secure"
        );
        assert!(!format!("{cookies:?}").contains("secret"));
    }
}
