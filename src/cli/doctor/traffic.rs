//! What goes through the proxy: published files, the card of a link, events and uploads. The upload made here is taken back.

use std::time::Duration;

use reqwest::{Method, Url};

use super::caller::{Answer, Caller, Silence};
use super::{Finding, card};

/// A stream begins with an event at once; a proxy that holds events back holds that one too.
const EVENT: Duration = Duration::from_secs(5);
/// The largest chunk that browsers send.
const CHUNK: usize = 1 << 20;
/// What a chat program says it is.
const BOT: &str = "Mozilla/5.0 (compatible; Discordbot/2.0; +https://discordapp.com)";

/// A clip by its number.
pub(super) async fn named(caller: &Caller, id: &str) -> Result<serde_json::Value, String> {
    let answer = caller.get(&format!("api/clips/{id}"), &[]).await;
    let answer = answer.map_err(|error| error.to_string())?;
    let clip = answer.json().filter(|_| answer.status == 200);
    let clip = clip.ok_or_else(|| format!("the clip {id}: {}", answer.told()))?;
    if clip["state"] == "ready" {
        Ok(clip)
    } else {
        Err(format!(
            "the clip {id} is {}",
            clip["state"].as_str().unwrap_or("odd")
        ))
    }
}

/// The newest clip of a list.
pub(super) async fn newest(caller: &Caller, query: &str) -> Result<serde_json::Value, String> {
    let answer = caller.get(&format!("api/clips{query}"), &[]).await;
    let answer = answer.map_err(|error| error.to_string())?;
    if answer.status != 200 {
        return Err(format!(
            "the list is closed ({}); use --token or --clip",
            answer.told()
        ));
    }
    let clip = answer.json().map(|list| list["clips"][0].clone());
    clip.filter(serde_json::Value::is_object)
        .ok_or_else(|| "no clip yet".to_owned())
}

/// Whether an address in an answer is a whole one of this site.
pub(super) fn links(caller: &Caller, told: &str) -> Finding {
    const NAME: &str = "links";
    let site = caller.site.origin().ascii_serialization();
    let right = Url::parse(told).is_ok_and(|url| url.origin() == caller.site.origin());
    if right {
        return Finding::well(NAME, format!("answers lead to {site}"));
    }
    // An upload's id is nobody else's.
    let lead = Url::parse(told).map_or("no whole address".to_owned(), |url| {
        url.origin().ascii_serialization()
    });
    Finding::wrong(
        NAME,
        format!("answers lead to {lead}"),
        format!(
            "Set base_url = \"{site}\" in /opt/meme-maker/config.toml and run systemctl restart meme-maker."
        ),
    )
}

/// The path of an address in an answer: where it leads is another finding.
fn path_of(caller: &Caller, told: &serde_json::Value) -> Result<Url, Silence> {
    let url = caller.at(told.as_str().unwrap_or_default())?;
    caller.at(url.path())
}

pub(super) async fn ranges(caller: &Caller, clip: &serde_json::Value) -> Finding {
    const NAME: &str = "ranges";
    let asked = async {
        let file = path_of(caller, &clip["urls"]["file"])?;
        let range = [("Range", "bytes=1-2")];
        caller.ask(Method::GET, &file, &range, Vec::new()).await
    };
    let answer = match asked.await {
        Ok(answer) => answer,
        Err(error) => return Finding::wrong(NAME, error.to_string(), "Read nginx's error log."),
    };
    let told = answer.header("content-range").to_owned();
    match answer.status {
        206 if told.starts_with("bytes 1-2/") && answer.body.len() == 2 => {
            Finding::well(NAME, format!("206, {told}"))
        }
        200 | 206 => Finding::wrong(
            NAME,
            format!(
                "{} with {} bytes where two were asked for",
                answer.status,
                answer.body.len()
            ),
            "Let the proxy pass Range and If-Range on (no proxy_set_header Range \"\", no proxy_force_ranges off, no cache in front): \
             players seek by them.",
        ),
        403 | 404 => Finding::wrong(
            NAME,
            format!("a published file is not found ({})", answer.told()),
            "Let nginx read it: usermod -a -G meme-maker www-data, restart nginx, and see that alias and server.accel are as shipped.",
        ),
        _ => Finding::wrong(
            NAME,
            answer.told(),
            "Read nginx's error log and journalctl -u meme-maker -n 50.",
        ),
    }
}

pub(super) async fn link_card(caller: &Caller, clip: &serde_json::Value) -> Finding {
    const NAME: &str = "card";
    const BASE: &str = "Set base_url to the https address in /opt/meme-maker/config.toml and restart the service: chat programs read whole \
                        addresses only.";
    const BLOCKED: &str = "Let programs without a browser in: no rule, cache or bot protection may answer for /c/, /embed/ and /api/files/.";
    let bot = [("User-Agent", BOT)];
    let asked = async {
        let page = path_of(caller, &clip["urls"]["page"])?;
        caller.ask(Method::GET, &page, &bot, Vec::new()).await
    };
    let page = match asked.await {
        Ok(page) if page.status == 200 => page,
        Ok(page) => {
            return Finding::wrong(NAME, format!("the page answers {}", page.told()), BLOCKED);
        }
        Err(error) => return Finding::wrong(NAME, error.to_string(), BLOCKED),
    };
    let card = match card::read(&page.text(), &caller.site) {
        Ok(card) => card,
        Err(why) => return Finding::wrong(NAME, why, BASE),
    };
    let part = [("User-Agent", BOT), ("Range", "bytes=0-1023")];
    for (what, url, kind) in [
        ("og:video", &card.video, "video/mp4"),
        ("og:image", &card.image, "image/jpeg"),
        ("twitter:player", &card.player, "text/html"),
    ] {
        let answer = match caller.ask(Method::GET, url, &part, Vec::new()).await {
            Ok(answer) => answer,
            Err(error) => return Finding::wrong(NAME, format!("{what}: {error}"), BLOCKED),
        };
        let found = answer.header("content-type");
        if !matches!(answer.status, 200 | 206) {
            return Finding::wrong(NAME, format!("{what} answers {}", answer.told()), BLOCKED);
        }
        if !found.starts_with(kind) {
            return Finding::wrong(
                NAME,
                format!("{what} comes as {found}, not as {kind}"),
                "Let the proxy keep Content-Type as the service sends it.",
            );
        }
        if kind == "text/html" && !may_be_framed(&answer) {
            return Finding::wrong(
                NAME,
                "the player may not be shown inside other pages".to_owned(),
                "Take X-Frame-Options and Content-Security-Policy out of the proxy: the service sends its own for /embed/.",
            );
        }
    }
    Finding::well(
        NAME,
        "title, video, picture and player are there".to_owned(),
    )
}

fn may_be_framed(player: &Answer) -> bool {
    let policy = player.header("content-security-policy");
    player.header("x-frame-options").is_empty()
        && (policy.contains("frame-ancestors *") || !policy.contains("frame-ancestors"))
}

pub(super) async fn events(caller: &Caller) -> Finding {
    const NAME: &str = "events";
    let found = match caller.first_bytes("api/events", EVENT).await {
        Ok((404, _)) => {
            // A service without a stream of everything: a clip at work has one.
            let running = match newest(caller, "?state=fetching&limit=1").await {
                Ok(clip) => clip,
                Err(_) => return Finding::unchecked(NAME, "no clip is being made"),
            };
            let id = running["id"].as_str().unwrap_or_default();
            caller
                .first_bytes(&format!("api/clips/{id}/events"), EVENT)
                .await
        }
        other => other,
    };
    match found {
        Ok((200, Some(after))) => Finding::well(
            NAME,
            format!("the first came after {:.1} s", after.as_secs_f64()),
        ),
        Ok((200, None)) => Finding::wrong(
            NAME,
            format!(
                "nothing came within {} s: the proxy holds events back",
                EVENT.as_secs()
            ),
            "Switch it off for event streams: proxy_buffering off; gzip off; and no proxy_ignore_headers X-Accel-Buffering.",
        ),
        Ok((status @ (401 | 403), _)) => {
            Finding::unchecked(NAME, &format!("the stream takes a token ({status})"))
        }
        Ok((status, _)) => Finding::wrong(
            NAME,
            format!("the stream answers {status}"),
            "Read journalctl -u meme-maker -n 50.",
        ),
        Err(error) => Finding::wrong(NAME, error.to_string(), "Read nginx's error log."),
    }
}

const TUS: (&str, &str) = ("Tus-Resumable", "1.0.0");

/// Begins an upload; where it is.
///
/// # Errors
/// The finding when there is none.
pub(super) async fn begin_upload(caller: &Caller) -> Result<String, Finding> {
    const NAME: &str = "upload";
    // One byte more than is sent, so that nothing makes use of it.
    let length = (CHUNK + 1).to_string();
    let metadata = "filename bWVtZS1tYWtlciBkb2N0b3I=";
    let begun = async {
        let url = caller.at("api/uploads")?;
        let headers = [
            TUS,
            ("Upload-Length", length.as_str()),
            ("Upload-Metadata", metadata),
        ];
        caller.ask(Method::POST, &url, &headers, Vec::new()).await
    };
    let begun = begun
        .await
        .map_err(|error| Finding::wrong(NAME, error.to_string(), "Read nginx's error log."))?;
    match begun.status {
        201 => Ok(begun.header("location").to_owned()),
        401 | 403 => Err(Finding::unchecked(
            NAME,
            "uploads take a token; use --token",
        )),
        429 | 503 | 507 => {
            let why = format!("none is taken now: {}", begun.told());
            Err(Finding::unchecked(NAME, &why))
        }
        _ => Err(Finding::wrong(
            NAME,
            format!("none can be begun: {}", begun.told()),
            "Let the proxy pass every method and header of /api/uploads on.",
        )),
    }
}

/// Sends a chunk as large as browsers do, and takes the upload back.
pub(super) async fn upload(caller: &Caller, location: &str) -> Finding {
    const NAME: &str = "upload";
    let id = location.rsplit('/').next().unwrap_or_default();
    let url = match caller.at(&format!("api/uploads/{id}")) {
        Ok(url) if !id.is_empty() => url,
        Ok(_) | Err(_) => {
            return Finding::wrong(
                NAME,
                "no Location came".to_owned(),
                "Let the proxy pass Location on.",
            );
        }
    };
    let headers = [
        TUS,
        ("Upload-Offset", "0"),
        ("Content-Type", "application/offset+octet-stream"),
    ];
    let sent = caller
        .ask(Method::PATCH, &url, &headers, vec![0x55; CHUNK])
        .await;
    let taken_back = caller.ask(Method::DELETE, &url, &[TUS], Vec::new()).await;
    match sent {
        Ok(answer) if answer.status == 204 => match taken_back {
            Ok(answer) if matches!(answer.status, 204 | 404 | 410) => {
                Finding::well(NAME, "1 MiB taken and taken back".to_owned())
            }
            Ok(answer) => Finding::wrong(
                NAME,
                format!(
                    "1 MiB is taken, but taking it back answers {}",
                    answer.told()
                ),
                "Let the proxy pass DELETE on; the upload goes by itself after retention.upload_hours.",
            ),
            Err(error) => Finding::wrong(NAME, error.to_string(), "Read nginx's error log."),
        },
        Ok(answer) if answer.status == 413 => Finding::wrong(
            NAME,
            "a chunk of 1 MiB is refused with 413".to_owned(),
            "Set client_max_body_size 1m; in location ~ ^/api/uploads(/|$), and let nothing in front of it allow less.",
        ),
        Ok(answer) => Finding::wrong(
            NAME,
            format!(
                "a chunk of 1 MiB is refused: {} {}",
                answer.told(),
                answer.code()
            ),
            "Read journalctl -u meme-maker -n 50.",
        ),
        // A proxy may refuse by hanging up while it is still being spoken to.
        Err(error) => Finding::wrong(
            NAME,
            format!("a chunk of 1 MiB does not get through: {error}"),
            "Set client_max_body_size 1m; and proxy_request_buffering off; in location ~ ^/api/uploads(/|$).",
        ),
    }
}
