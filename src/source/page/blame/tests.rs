//! Messages as yt-dlp 2026.10.26 writes them, with the kind of failure that each is.

use super::*;

/// What its extractors add to a message that wants an account.
const ACCOUNT: &str = ". Use --cookies-from-browser or --cookies for the authentication. See  https://github.com/yt-dlp/yt-dlp/wiki/FAQ#how-do-i-pass-cookies-to-yt-dlp  for how to manually pass cookies";
/// And to one that its makers should hear of.
const REPORT: &str = "; please report this issue on  https://github.com/yt-dlp/yt-dlp/issues?q= , filling out the appropriate issue template. Confirm you are on the latest version using  yt-dlp -U";

#[test]
fn messages_of_the_big_sites_are_told_apart() {
    for (message, code) in [
        // YouTube
        (
            "[youtube] abc: Private video. Sign in if you've been granted access to this video{account}",
            "page_private",
        ),
        (
            "[youtube] abc: This video is private. If the owner of this video has granted you access, please sign in{account}",
            "page_private",
        ),
        (
            "[youtube] abc: Sign in to confirm your age. This video may be inappropriate for some users{account}",
            "page_login",
        ),
        (
            "[youtube] abc: Sign in to confirm you’re not a bot{account}",
            "page_refused",
        ),
        (
            "[youtube] abc: Sign in to confirm you're not a bot{account}",
            "page_refused",
        ),
        (
            "[youtube] abc: Video unavailable. YouTube is requiring a captcha challenge before playback",
            "page_refused",
        ),
        (
            "[youtube] abc: All player responses are invalid. Your IP is likely being blocked by Youtube",
            "page_refused",
        ),
        (
            "[youtube] abc: Join this channel to get access to members-only content like this video, and other exclusive perks{account}",
            "page_login",
        ),
        (
            "[youtube] abc: This video is available to this channel's members on level: Gold (or any higher level). Join this channel to get access{account}",
            "page_login",
        ),
        (
            "[youtube] abc: The uploader has not made this video available in your country\nThis video is available in Germany, Austria.\nYou might want to use a VPN or a proxy server (with --proxy) to workaround.",
            "page_geo_blocked",
        ),
        (
            "[youtube] abc: Video unavailable. This video contains content from SME, who has blocked it in your country on copyright grounds",
            "page_geo_blocked",
        ),
        ("[youtube] abc: Video unavailable", "page_gone"),
        (
            "[youtube] abc: Video unavailable. This video is no longer available because the YouTube account associated with this video has been terminated.",
            "page_gone",
        ),
        (
            "[youtube] abc: Video unavailable. This video has been removed by the uploader",
            "page_gone",
        ),
        (
            "[youtube] abc: This live stream recording is not available.",
            "page_gone",
        ),
        (
            "[youtube] abc: This live event will begin in 3 hours.",
            "page_live",
        ),
        ("[youtube] abc: Premieres in 12 minutes", "page_live"),
        (
            "[youtube] abc: This content isn't available, try again later. The current session has been rate-limited by YouTube for up to an hour. It is recommended to use `-t sleep` to add a delay between video requests",
            "page_rate_limited",
        ),
        (
            "[youtube] abc: Requested format is not available. Use --list-formats for a list of available formats",
            "page_unsupported",
        ),
        ("[youtube] abc: This video is DRM protected", "page_locked"),
        (
            "[youtube:tab] @x: Unable to download API page: HTTP Error 404: Not Found (caused by <HTTPError 404: Not Found>)",
            "page_gone",
        ),
        (
            "[youtube] abc: Failed to extract any player response{report}",
            "page_failed",
        ),
        // Vimeo
        (
            "[vimeo] 1: This video is protected by a password, use the --video-password option",
            "page_private",
        ),
        ("[vimeo] 1: Wrong video password", "page_private"),
        (
            "[vimeo] 1: This request has been blocked due to its TLS fingerprint. Install a required impersonation dependency if possible, or else if you are okay with compromising your security/cookies, try replacing \"https:\" with \"http:\" in the input URL. If you are using a data center IP or VPN/proxy, your IP may be blocked.",
            "page_refused",
        ),
        (
            "[vimeo] 1: Got HTTP Error 403 when using impersonate target \"chrome\". If you are using a data center IP or VPN/proxy, your IP may be blocked",
            "page_refused",
        ),
        (
            "[vimeo] 1: Because of its privacy settings, this video cannot be played here",
            "page_private",
        ),
        (
            "[vimeo:event] 1: This event has not been made available to anyone",
            "page_private",
        ),
        (
            "[vimeo:event] 1: This live event is scheduled for 2026-12-01",
            "page_live",
        ),
        (
            "[vimeo] 1: The web client only works when logged-in{account}",
            "page_login",
        ),
        // X
        (
            "[twitter] 1: NSFW tweet requires authentication{account}",
            "page_login",
        ),
        (
            "[twitter] 1: You are not authorized to view this protected tweet{account}",
            "page_private",
        ),
        (
            "[twitter] 1: No video could be found in this tweet",
            "page_unsupported",
        ),
        ("[twitter] 1: Requested tweet is unavailable", "page_gone"),
        (
            "[twitter] 1: Twitter API says: This Post was deleted by the Post author",
            "page_gone",
        ),
        (
            "[twitter] 1: Twitter API says: This Post is from a suspended account",
            "page_gone",
        ),
        (
            "[twitter] 1: Error(s) while querying API: Rate limit exceeded",
            "page_rate_limited",
        ),
        (
            "[twitter:broadcast] 1: Broadcast no longer exists",
            "page_gone",
        ),
        (
            "[twitter:broadcast] 1: This live broadcast has not yet started",
            "page_live",
        ),
        (
            "[twitter:spaces] 1: Twitter Space ended and replay is disabled",
            "page_gone",
        ),
        (
            "[twitter:spaces] 1: Twitter Space ended but not downloadable yet",
            "page_live",
        ),
        // Instagram
        (
            "[Instagram] C: This content is only available for registered users who follow this account{account}",
            "page_private",
        ),
        (
            "[Instagram] C: The webpage request was redirected to the login page. You have exceeded the rate-limit for accessing posts anonymously{account}",
            "page_rate_limited",
        ),
        (
            "[Instagram] C: Instagram sent an empty media response. Check if this post is accessible in your browser without being logged-in. If it is not, then use --cookies-from-browser or --cookies for the authentication.",
            "page_login",
        ),
        (
            "[Instagram] C: Restricted Video: You must be 18 years old or over to see this video{account}",
            "page_login",
        ),
        (
            "[Instagram] C: There is no video in this post",
            "page_unsupported",
        ),
        (
            "[instagram:story] x: You need to log in to access this content{account}",
            "page_login",
        ),
        // TikTok
        (
            "[TikTok] 1: You do not have permission to view this post. Log into an account that has access{account}",
            "page_private",
        ),
        (
            "[TikTok] 1: This post may not be comfortable for some audiences. Log in for access{account}",
            "page_login",
        ),
        (
            "[TikTok] 1: TikTok is requiring login for access to this content{account}",
            "page_login",
        ),
        (
            "[TikTok] 1: Your IP address is blocked from accessing this post",
            "page_refused",
        ),
        (
            "[TikTok] 1: Unable to solve JS challenge{report}",
            "page_refused",
        ),
        (
            "[TikTok] 1: Video not available, status code 10204{report}",
            "page_gone",
        ),
        (
            "[TikTok] 1: Unable to extract universal data for rehydration{report}",
            "page_failed",
        ),
        (
            "[tiktok:live] x: The channel is not currently live",
            "page_live",
        ),
        ("[tiktok:live] x: This livestream has ended", "page_gone"),
        // Reddit
        (
            "[Reddit] x: Private subreddit; an account that has been approved is required{account}",
            "page_private",
        ),
        (
            "[Reddit] x: Quarantined subreddit; an account that has opted in is required{account}",
            "page_login",
        ),
        (
            "[Reddit] x: Account authentication is required{account}",
            "page_login",
        ),
        (
            "[Reddit] x: Your IP address is unable to access the Reddit API",
            "page_refused",
        ),
        (
            "[Reddit] x: HTTP Error 403 Forbidden; reason given: banned{report}",
            "page_refused",
        ),
        ("[Reddit] x: No media found", "page_unsupported"),
        // Twitch
        ("[twitch:vod] v1: Video v1 does not exist", "page_gone"),
        (
            "[twitch:vod] v1: You must be logged into an account that has access to this subscriber-only content{account}",
            "page_login",
        ),
        (
            "[twitch:vod] v1: Your account does not have access to this subscriber-only content",
            "page_login",
        ),
        (
            "[twitch:clips] x: This clip is no longer available",
            "page_gone",
        ),
        (
            "[twitch:stream] x: The channel is not currently live",
            "page_live",
        ),
        // Everybody
        (
            "[generic] x: This video is not available from your location due to geo restriction\nYou might want to use a VPN or a proxy server (with --proxy) to workaround.",
            "page_geo_blocked",
        ),
        (
            "[generic] x: This video is only available for registered users{account}",
            "page_login",
        ),
        (
            "[generic] x: No video formats found!{report}",
            "page_unsupported",
        ),
        (
            "[facebook] 1: The video is not available, Facebook said: \"This may be because of a technical error\"",
            "page_gone",
        ),
        (
            "[DRM] x: The requested site is known to use DRM protection. It will NOT be supported.",
            "page_locked",
        ),
        (
            "Unsupported URL: https://video.example/x",
            "page_unsupported",
        ),
        (
            "[generic] x: Unable to download webpage: HTTP Error 401: Unauthorized (caused by <HTTPError 401: Unauthorized>)",
            "page_login",
        ),
        (
            "[generic] x: Unable to download webpage: HTTP Error 403: Forbidden (caused by <HTTPError 403: Forbidden>)",
            "page_refused",
        ),
        (
            "[generic] x: Got HTTP Error 403 caused by Cloudflare anti-bot challenge; try again with  --extractor-args \"generic:impersonate\"",
            "page_refused",
        ),
        (
            "[generic] x: Unable to download webpage: HTTP Error 410: Gone (caused by <HTTPError 410: Gone>)",
            "page_gone",
        ),
        (
            "[generic] x: Unable to download webpage: HTTP Error 429: Too Many Requests (caused by <HTTPError 429: Too Many Requests>)",
            "page_rate_limited",
        ),
        (
            "[generic] x: Unable to download webpage: HTTP Error 451: Unavailable For Legal Reasons (caused by <HTTPError 451: Unavailable For Legal Reasons>)",
            "page_geo_blocked",
        ),
        (
            "[generic] x: Unable to download webpage: HTTP Error 503: Service Unavailable (caused by <HTTPError 503: Service Unavailable>)",
            "page_unreachable",
        ),
        (
            "[generic] x: Unable to download webpage: [Errno 111] Connection refused (caused by TransportError('[Errno 111] Connection refused'))",
            "page_unreachable",
        ),
        (
            "[generic] x: Unable to download webpage: The read operation timed out (caused by TransportError('The read operation timed out'))",
            "page_unreachable",
        ),
        (
            "[generic] x: Unable to download webpage: Tunnel connection failed: 502 Bad Gateway (caused by ProxyError('Tunnel connection failed: 502 Bad Gateway'))",
            "page_unreachable",
        ),
        (
            "'/srv/job/cookies.txt' does not look like a Netscape format cookies file",
            "page_cookies",
        ),
    ] {
        let message = message
            .replace("{account}", ACCOUNT)
            .replace("{report}", REPORT);
        let stderr = format!("WARNING: [x] login: geo restriction, sign in\nERROR: {message}\n");
        assert_eq!(blame(&stderr).code(), code, "{message}");
    }
}

#[test]
fn what_a_visitor_wrote_in_the_link_decides_nothing() {
    for stderr in [
        "ERROR: Unsupported URL: https://video.example/private-video?login=HTTP%20Error%20429",
        "ERROR: Unsupported URL: https://video.example/login/private/captcha",
        "ERROR: [generic] captcha: No video formats found!",
        "ERROR: [generic] login-rate-limit: No video formats found!",
        "WARNING: [generic] Falling back; HTTP Error 429\nERROR: [generic] x: No video formats found!",
        "ERROR: [generic] x: HTTP Error 429\nERROR: [generic] y: No video formats found!",
    ] {
        assert_eq!(blame(stderr), PageError::Unsupported, "{stderr}");
    }
}

#[test]
fn what_is_shown_of_an_unknown_failure_is_short_and_tells_no_secrets() {
    for (stderr, shown) in [
        ("", "yt-dlp does not say why"),
        ("ERROR: ", "yt-dlp does not say why"),
        (
            "ERROR: [x] 1: Unable to extract title{report}",
            "Unable to extract title",
        ),
        (
            "ERROR: [x] 1: Bad thing at https://video.example/?token=secret now",
            "Bad thing at now",
        ),
        (
            "ERROR: unable to open '/srv/meme-maker/work/1/x.txt': odd",
            "unable to open odd",
        ),
        (
            "ModuleNotFoundError: No module named 'yt_dlp'",
            "ModuleNotFoundError: No module named 'yt_dlp",
        ),
        ("ERROR: \u{1b}[31mred\u{202e} text\u{7}", "[31mred text"),
        (
            "WARNING: skipping cookie file entry due to invalid length 1: 'secret'",
            "yt-dlp does not say why",
        ),
    ] {
        let stderr = stderr.replace("{report}", REPORT);
        assert_eq!(
            blame(&stderr),
            PageError::Failed(shown.to_owned()),
            "{stderr}"
        );
    }
    let long = blame(&format!("ERROR: {}", "字 ".repeat(4000)));
    assert!(long.to_string().chars().count() < 220);
}

#[test]
fn every_failure_has_a_sentence_and_a_next_step() {
    for error in [
        PageError::Private,
        PageError::Login,
        PageError::Geo,
        PageError::RateLimited,
        PageError::Refused,
        PageError::Unsupported,
        PageError::Locked,
        PageError::Gone,
        PageError::Live,
        PageError::Unreachable,
        PageError::Timeout,
        PageError::Cookies,
        PageError::Off,
        PageError::Failed("x".to_owned()),
    ] {
        assert!(error.code().starts_with("page_"), "{error}");
        assert!(error.hint().ends_with('.'), "{error}");
    }
}
