//! Pages of video sites, as yt-dlp reads them: what it is asked, what it answers and what its errors mean. Pure but for the loan
//! of the cookies file; it never starts the program and never reaches the network.

mod blame;
mod choose;
mod cookies;
mod dump;
mod headers;
mod version;

use std::ffi::OsString;
use std::path::Path;

use url::Url;

use crate::seconds::Seconds;
use crate::sighting::{Chapter, Heat};

pub use blame::{PageError, blame};
pub use cookies::{LentCookies, examine_cookies};
pub use dump::read;
pub use headers::Cookie;
pub use version::{Installed, OLD_DAYS, Version};

/// What is wanted of a page, and what may help to read it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wish<'a> {
    /// Pictures are not taken taller than this where the page has a choice.
    pub height: u32,
    /// A copy of the operator's cookies file that the program may write to: see [`LentCookies`].
    pub cookies: Option<&'a Path>,
    /// The runtime for sites that hide their streams behind scripts: `NAME` or `NAME:PATH`, as the settings hold it.
    pub js_runtime: Option<&'a str>,
}

/// A video on a page, with the streams chosen for a wish.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// Cleaned.
    pub title: Option<String>,
    pub duration: Option<Seconds>,
    pub thumbnail: Option<Url>,
    pub chapters: Vec<Chapter>,
    /// What viewers watched again, where the site tells.
    pub heatmap: Vec<Heat>,
    pub live: Live,
    pub video: Stream,
    /// `None`: the sound is in `video`, or there is none.
    pub audio: Option<Stream>,
}

/// Whether a page's video has an end yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Live {
    Recorded,
    Running,
}

/// One resource to read from.
#[derive(Clone, Debug, PartialEq)]
pub struct Stream {
    /// http or https. Of a [`Kind::Dash`] stream the manifest, in which `format` names the representation.
    pub url: Url,
    /// What the server is to be sent with requests for `url`, its cookies among them; for any other address ask [`Stream::headers_for`].
    pub headers: Vec<(String, String)>,
    pub kind: Kind,
    /// yt-dlp's name for it.
    pub format: String,
    /// As the page says, such as `avc1.640028`; `None` when it does not say.
    pub video_codec: Option<String>,
    pub audio_codec: Option<String>,
    pub height: Option<u32>,
    /// About how large it is.
    pub bytes: Option<u64>,
    cookies: Vec<Cookie>,
}

/// How a stream is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One file, by ranges.
    File,
    /// A media playlist.
    Hls,
    /// A manifest.
    Dash,
}

impl Stream {
    /// What a server may be sent with a request for `url` on the way to this stream: a redirect, a segment, a key. Cookies go only
    /// where they belong.
    pub fn headers_for(&self, url: &Url) -> Vec<(String, String)> {
        headers::with_cookies(&self.headers, &self.cookies, url)
    }

    /// The cookies that belong to it, each with its domain: `Display` writes them as `Set-Cookie` does.
    pub fn cookies(&self) -> &[Cookie] {
        &self.cookies
    }
}

/// What the program is asked: everything it can tell about one page, without a download. The link is the last argument, behind `--`.
///
/// Plugins are switched off by the caller's environment, which older versions honour too.
pub fn arguments(url: &Url, wish: &Wish<'_>) -> Vec<OsString> {
    let mut list: Vec<OsString> = [
        // Nothing of the machine's or a user's configuration counts.
        "--ignore-config",
        "--no-cache-dir",
        "--no-update",
        "--no-warnings",
        "--no-playlist",
        // Of a page with several videos, the first: each further one would cost further requests.
        "--playlist-items",
        "1",
        "--socket-timeout",
        "15",
        "--extractor-retries",
        "1",
        // What is taken is chosen here; its own choice must neither fail nor cost requests.
        "--no-check-formats",
        "--format",
        "b*",
        "--skip-download",
        "--dump-single-json",
    ]
    .into_iter()
    .map(OsString::from)
    .collect();
    if let Some(cookies) = wish.cookies {
        let mut option = OsString::from("--cookies=");
        option.push(cookies);
        list.push(option);
    }
    // Versions before November 2025 know neither option, so that they are not said without need.
    if let Some(runtime) = wish.js_runtime {
        list.push("--no-js-runtimes".into());
        list.push(format!("--js-runtimes={runtime}").into());
    }
    list.push("--".into());
    list.push(asked(url).into());
    list
}

/// The link as it is asked for. A fragment that yt-dlp would take for orders of its own extractors is left out.
fn asked(url: &Url) -> String {
    let mut url = url.clone();
    if url
        .fragment()
        .is_some_and(|fragment| fragment.contains("__youtubedl_smuggle"))
    {
        url.set_fragment(None);
    }
    url.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(link: &str, cookies: Option<&Path>) -> Vec<String> {
        let wish = Wish {
            height: 1080,
            cookies,
            js_runtime: None,
        };
        arguments(&Url::parse(link).unwrap(), &wish)
            .into_iter()
            .map(|piece| piece.into_string().unwrap())
            .collect()
    }

    #[test]
    fn the_link_is_one_argument_behind_the_options() {
        for link in [
            "https://example.org/watch?v=1",
            "https://example.org/--exec=id",
            "https://example.org/?a=--exec%20id&b=-o/etc/passwd",
            "https://-x.example.org/",
            "https://example.org/a b\nc",
        ] {
            let told = told(link, None);
            assert_eq!(told[told.len() - 2], "--", "{told:?}");
            assert_eq!(told.iter().filter(|piece| *piece == "--").count(), 1);
            let last = told.last().unwrap();
            assert!(last.starts_with("https://"), "{last}");
            assert!(!last.contains(['\n', ' ']), "{last}");
        }
    }

    #[test]
    fn a_cookies_file_is_one_argument_whatever_its_name() {
        let told = told("https://example.org/", Some(Path::new("--exec=id")));
        assert!(told.contains(&"--cookies=--exec=id".to_owned()));
        assert!(!told.contains(&"--exec=id".to_owned()));
    }

    #[test]
    fn a_runtime_is_named_only_when_one_is_set() {
        let url = Url::parse("https://example.org/").unwrap();
        let runtimes = |js_runtime| {
            let wish = Wish {
                js_runtime,
                ..Wish::default()
            };
            let list = arguments(&url, &wish);
            list.iter()
                .filter(|piece| {
                    piece
                        .to_str()
                        .is_some_and(|piece| piece.contains("js-runtimes"))
                })
                .map(|piece| piece.to_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(runtimes(None), [""; 0]);
        assert_eq!(
            runtimes(Some("node:/usr/bin/node")),
            ["--no-js-runtimes", "--js-runtimes=node:/usr/bin/node"]
        );
    }

    #[test]
    fn no_orders_are_smuggled_in_behind_a_hash() {
        for (link, asked) in [
            (
                "https://example.org/x#__youtubedl_smuggle=%7B%22force_videoid%22%3A1%7D",
                "https://example.org/x",
            ),
            (
                "https://example.org/x#a#__youtubedl_smuggle=1",
                "https://example.org/x",
            ),
            (
                "https://example.org/x#!/video/3",
                "https://example.org/x#!/video/3",
            ),
        ] {
            assert_eq!(told(link, None).last().unwrap(), asked);
        }
    }
}
