//! What yt-dlp's last words mean for whoever asked: one table from phrases of its extractors to kinds of failure. Addresses and ids
//! in its messages are left out first, because a visitor chose them.

/// Why a page gave no video.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    #[error("this video is private")]
    Private,
    #[error("the site shows this video only to people with an account")]
    Login,
    #[error("the site does not show this video in the country of this service")]
    Geo,
    #[error("the site has had too many requests from this service")]
    RateLimited,
    #[error("the site refuses to show this page to a program")]
    Refused,
    #[error("there is no video on this page that can be read")]
    Unsupported,
    #[error("the video is locked by a copy protection")]
    Locked,
    #[error("the video is no longer there")]
    Gone,
    #[error("the video has not been recorded yet")]
    Live,
    #[error("the site cannot be reached")]
    Unreachable,
    #[error("the site did not answer in time")]
    Timeout,
    #[error("the cookies file of this service cannot be used")]
    Cookies,
    #[error("pages of video sites are switched off here")]
    Off,
    /// What the program said, cleaned.
    #[error("the page could not be read: {0}")]
    Failed(String),
}

impl PageError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            PageError::Private => "page_private",
            PageError::Login => "page_login",
            PageError::Geo => "page_geo_blocked",
            PageError::RateLimited => "page_rate_limited",
            PageError::Refused => "page_refused",
            PageError::Unsupported => "page_unsupported",
            PageError::Locked => "page_locked",
            PageError::Gone => "page_gone",
            PageError::Live => "page_live",
            PageError::Unreachable => "page_unreachable",
            PageError::Timeout => "page_timeout",
            PageError::Cookies => "page_cookies",
            PageError::Off => "page_off",
            PageError::Failed(_) => "page_failed",
        }
    }

    /// The next step.
    pub fn hint(&self) -> &'static str {
        match self {
            PageError::Private => "Ask its owner to make it public, or use another link.",
            PageError::Login => {
                "Use a public video; the operator can lend an account with sources.cookies_file."
            }
            PageError::Geo => "Use a copy of the video on another site.",
            PageError::RateLimited => "Try again in an hour.",
            PageError::Refused => {
                "Use the video's own file; the operator can lend an account with sources.cookies_file."
            }
            PageError::Unsupported => {
                "Paste the page of one video, or the link of the video file itself."
            }
            PageError::Locked => "Use a video without copy protection.",
            PageError::Gone => "Check the link in your browser.",
            PageError::Live => "Come back when the broadcast is over and its recording is online.",
            PageError::Unreachable | PageError::Timeout => {
                "Check that the page opens in your browser, then try again later."
            }
            PageError::Cookies => {
                "Tell the operator: `meme-maker doctor` says what is wrong with sources.cookies_file."
            }
            PageError::Off => {
                "Paste the link of the video file itself; the operator can install yt-dlp."
            }
            PageError::Failed(_) => {
                "Try again; if it stays, the operator can update yt-dlp: `meme-maker doctor` says how."
            }
        }
    }
}

type Rule = (fn() -> PageError, &'static [&'static str]);

/// The first rule of which a phrase occurs decides, so the order matters: "Video unavailable" also stands before what a country
/// forbids, and "sign in" in what is private.
const RULES: [Rule; 13] = [
    (
        || PageError::Cookies,
        &[
            "netscape format",
            "netscape formatted",
            "failed to load cookies",
        ],
    ),
    (
        || PageError::RateLimited,
        &[
            "http error 429",
            "too many requests",
            "rate-limit",
            "rate limit",
            "ratelimit",
        ],
    ),
    (
        || PageError::Geo,
        &[
            "geo restriction",
            "geo-restrict",
            "geo restrict",
            "geo-block",
            "in your country",
            "in your region",
            "in your location",
            "from your location",
            "from your country",
            "might want to use a vpn",
            "http error 451",
        ],
    ),
    (
        || PageError::Refused,
        &[
            "not a bot",
            "captcha",
            "challenge",
            "tls fingerprint",
            "ip is likely being blocked",
            "ip address is blocked",
            "ip may be blocked",
            "ip address is unable",
            "cloudflare",
            "impersonation",
        ],
    ),
    (
        || PageError::Locked,
        &[
            "drm protect",
            "drm-protect",
            "known to use drm",
            "drm protection",
        ],
    ),
    (
        || PageError::Private,
        &[
            "private video",
            "video is private",
            "is a private",
            "is private",
            "private subreddit",
            "private account",
            "private post",
            "protected tweet",
            "privacy settings",
            "not been made available to anyone",
            "follow this account",
            "do not have permission",
            "protected by a password",
            "password protected",
            "wrong video password",
        ],
    ),
    (
        || PageError::Gone,
        &[
            "live event has ended",
            "livestream has ended",
            "live stream recording is not available",
            "replay is disabled",
        ],
    ),
    (
        || PageError::Live,
        &[
            "live event will begin",
            "premieres in",
            "premiere will begin",
            "premiere starts",
            "not currently live",
            "has not yet started",
            "not started yet",
            "live event is scheduled",
            "is scheduled for",
            "not downloadable yet",
            "waiting for the stream to start",
            "is upcoming",
            "is offline",
        ],
    ),
    (
        || PageError::Login,
        &[
            "sign in",
            "log in",
            "login",
            "logged in",
            "logged-in",
            "registered users",
            "authenticat",
            "http error 401",
            "members-only",
            "channel's members",
            "join this channel",
            "subscriber-only",
            "subscribers only",
            "premium members",
            "requires payment",
            "confirm your age",
            "age-restricted",
            "without being logged-in",
        ],
    ),
    (
        || PageError::Gone,
        &[
            "http error 404",
            "http error 410",
            "has been removed",
            "been deleted",
            "was deleted",
            "been terminated",
            "been suspended",
            "no longer available",
            "no longer exist",
            "does not exist",
            "doesn't exist",
            "video unavailable",
            "video not available",
            "video is not available",
            "video is unavailable",
            "tweet is unavailable",
            "content isn't available",
            "not found",
            "suspended account",
        ],
    ),
    (
        || PageError::Unreachable,
        &[
            "http error 5",
            "http error 408",
            "timed out",
            "connection refused",
            "operation not permitted",
            "connection reset",
            "connection aborted",
            "remote end closed",
            "name or service not known",
            "name resolution",
            "unable to connect",
            "tunnel connection failed",
            "certificate verify failed",
            "ssl:",
            "network is unreachable",
            "no route to host",
            "incompleteread",
            "incomplete read",
        ],
    ),
    (
        || PageError::Refused,
        &[
            "http error 403",
            "http error 405",
            "http error 406",
            "forbidden",
        ],
    ),
    (
        || PageError::Unsupported,
        &[
            "unsupported url",
            "no video formats found",
            "no media found",
            "no video could be found",
            "no video in this",
            "no video found",
            "is not a video",
            "only images are available",
            "requested format is not available",
            "is not a valid url",
            "does not have any videos",
            "no video embed",
        ],
    ),
];

/// What the program's words on standard error mean.
pub fn blame(stderr: &str) -> PageError {
    let said = last_words(stderr);
    let heard = said.to_lowercase().replace('\u{2019}', "'");
    RULES
        .iter()
        .find(|(_, phrases)| phrases.iter().any(|phrase| heard.contains(phrase)))
        .map_or_else(|| PageError::Failed(shown(&said)), |(error, _)| error())
}

/// The last error and the lines that belong to it, without names that somebody else chose.
fn last_words(stderr: &str) -> String {
    let mut words: Vec<&str> = Vec::new();
    for line in stderr.lines() {
        let line = line.trim();
        if let Some(message) = line.strip_prefix("ERROR:") {
            words = vec![after_id(message.trim())];
        } else if !line.starts_with("WARNING:") && !line.is_empty() {
            words.push(line);
        }
    }
    let text = words.join(" ");
    let plain: Vec<&str> = text
        .split_whitespace()
        .filter(|word| !word.contains("://"))
        .collect();
    plain.join(" ")
}

/// `[site] id: message` without site and id.
fn after_id(message: &str) -> &str {
    let Some((_, rest)) = message
        .strip_prefix('[')
        .and_then(|rest| rest.split_once("] "))
    else {
        return message;
    };
    match rest.split_once(": ") {
        Some((id, message)) if !id.contains(' ') => message,
        Some(_) | None => rest,
    }
}

/// A message for people: short, without what is meant for the program's makers or for its command line.
fn shown(said: &str) -> String {
    const MOST: usize = 160;
    let end = [
        "; please report",
        "(caused by",
        "Use --",
        "use --",
        "See ",
        "Also see",
    ]
    .iter()
    .filter_map(|tail| said.find(tail))
    .min()
    .unwrap_or(said.len());
    let said = said.get(..end).unwrap_or(said);
    // Paths of this machine are nobody's business.
    let plain: Vec<&str> = said
        .split_whitespace()
        .filter(|word| {
            !word
                .trim_start_matches(['\'', '"', '(', '<'])
                .starts_with('/')
        })
        .collect();
    let short: String = plain.join(" ").chars().take(MOST).collect();
    let short = crate::title::clean(&short).unwrap_or_default();
    match short.trim_end_matches(['.', ':', ';', ' ', '"', '\'']) {
        "" => "yt-dlp does not say why".to_owned(),
        short => short.to_owned(),
    }
}

#[cfg(test)]
mod tests;
