//! The pages for people: what they are made of, what each state of a clip looks like, and that nothing in them can be turned
//! against a visitor.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::media::everyday;
use crate::support::origin::{Behaviour, Origin};
use crate::support::page::{Element, elements, tags};
use crate::support::service::{Answer, PATIENCE, Service, Setup, recipe};

/// Clips that are gone at once: their time is over when they are ready, and the keeper looks every second.
fn forgetful() -> Setup {
    Setup::default()
        .with("RETENTION__HOURS", 0)
        .with("KEEPER__EXPIRY", "* * * * * *")
}

/// The names of the files that pages are made of.
fn assets() -> Vec<String> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("static");
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().unwrap().is_file())
        .map(|entry| entry.file_name().into_string().unwrap())
        .filter(|name| name != "index.html")
        .collect();
    names.sort();
    assert!(names.len() > 5);
    names
}

fn html(answer: &Answer) -> Vec<Element> {
    assert!(answer.header("content-type").starts_with("text/html"));
    elements(&answer.text())
}

/// The first element that is called so and whose text holds this.
fn saying<'a>(elements: &'a [Element], name: &str, text: &str) -> Option<&'a Element> {
    elements
        .iter()
        .find(|element| element.name == name && element.text.contains(text))
}

/// Waits until the keeper has taken a clip away.
fn wait_until_expired(service: &Service, id: &str) {
    let began = Instant::now();
    while service.get(&format!("/api/clips/{id}")).json()["state"] != "expired" {
        assert!(began.elapsed() < PATIENCE, "{}", service.log());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Every kind of page there is, with the status it has.
fn all_pages(service: &Service, origin: &Origin) -> Vec<(String, u16)> {
    let link = origin.add("/everyday.mp4", Behaviour::File(everyday()));
    let silent = origin.add("/silent.mp4", Behaviour::Silent);
    let ready = service.make(&recipe(&link, 1.0, 2.0))["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let waiting = service.submit(&recipe(&silent, 1.0, 2.0))["id"]
        .as_str()
        .unwrap()
        .to_owned();
    vec![
        ("/".to_owned(), 200),
        (format!("/c/{ready}"), 200),
        (format!("/c/{waiting}"), 200),
        ("/c/01890000-0000-7000-8000-000000000000".to_owned(), 404),
        ("/c/nonsense".to_owned(), 404),
        (format!("/embed/{ready}"), 200),
        (format!("/embed/{waiting}"), 404),
        ("/embed/nonsense".to_owned(), 404),
    ]
}

#[test]
fn assets_have_their_types_and_answer_304_when_unchanged() {
    let service = Service::start();
    let mut paths: Vec<String> = assets()
        .iter()
        .map(|name| format!("/static/{name}"))
        .collect();
    paths.extend(["/".to_owned(), "/favicon.ico".to_owned()]);
    for path in paths {
        let kind = match path.rsplit('.').next().unwrap() {
            "js" => "text/javascript",
            "css" => "text/css",
            "svg" | "ico" => "image/svg+xml",
            _ => "text/html",
        };
        let answer = service.get(&path);
        assert_eq!(answer.status, 200, "{path}");
        assert!(
            answer.header("content-type").starts_with(kind),
            "{path}: {}",
            answer.header("content-type")
        );
        assert!(!answer.bytes.is_empty(), "{path}");
        let tag = answer.header("etag");
        assert!(tag.starts_with('"'), "{path}: {tag}");
        for known in [
            tag.as_str(),
            &format!("W/{tag}"),
            &format!("\"other\", {tag}"),
            "*",
        ] {
            let again = service.request("GET", &path, &[("if-none-match", known)], b"");
            assert_eq!(
                (again.status, again.bytes.len()),
                (304, 0),
                "{path} {known}"
            );
            assert_eq!(again.header("etag"), tag);
        }
        let changed = service.request("GET", &path, &[("if-none-match", "\"other\"")], b"");
        assert_eq!(
            (changed.status, changed.bytes),
            (200, answer.bytes),
            "{path}"
        );
    }
}

#[test]
fn what_is_no_asset_has_no_address() {
    let service = Service::start();
    for path in [
        "/static/",
        "/static/index.html",
        "/static/clip.html",
        "/static/pages/clip.html",
        "/static/pages%2Fclip.html",
        "/static/..%2FCargo.toml",
        "/static/nothing.js",
        "/static",
        "/c/",
        "/c",
        "/admin/none",
    ] {
        service.get(path).expect_problem(404, "not_found");
    }
}

#[test]
fn pages_answer_head_as_they_answer_get() {
    let service = Service::start();
    let (_origin, link) = Origin::with(&everyday());
    let clip = service.make(&recipe(&link, 1.0, 2.0));
    let page = clip["urls"]["page"].as_str().unwrap();
    let embed = clip["urls"]["embed"].as_str().unwrap();
    for path in [
        "/",
        "/static/app.js",
        "/favicon.ico",
        "/robots.txt",
        page,
        embed,
    ] {
        let (get, head) = (service.get(path), service.request("HEAD", path, &[], b""));
        assert_eq!(head.status, 200, "{path}");
        assert!(head.bytes.is_empty());
        for name in [
            "content-type",
            "content-length",
            "etag",
            "content-security-policy",
        ] {
            assert_eq!(head.header(name), get.header(name), "{name} of {path}");
        }
    }
}

#[test]
fn no_page_has_a_script_or_a_style_inside_it() {
    let service = Service::start();
    let origin = Origin::start();
    for (path, status) in all_pages(&service, &origin) {
        let answer = service.get(&path);
        assert_eq!(answer.status, status, "{path}");
        let policy = answer.header("content-security-policy");
        assert!(policy.contains("default-src 'none'"), "{path}: {policy}");
        for loose in ["unsafe", "*;", "http:", "https:"] {
            assert!(!policy.contains(loose), "{path}: {policy}");
        }
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        for element in html(&answer) {
            let name = element.name.as_str();
            assert!(name != "style", "{path} has a style of its own");
            if name == "script" {
                assert!(
                    element.attribute("src").starts_with("/static/"),
                    "{path} has a script of its own"
                );
                assert!(element.text.trim().is_empty(), "{path}");
            }
            for (attribute, value) in &element.attributes {
                assert!(
                    attribute != "style" && !attribute.starts_with("on"),
                    "{path}: {attribute} of {name}"
                );
                assert!(
                    !value
                        .trim_start()
                        .to_ascii_lowercase()
                        .starts_with("javascript:"),
                    "{path}: {value}"
                );
            }
            // Whatever a page needs comes from here.
            if ["script", "link", "img", "video", "source"].contains(&name) {
                for attribute in ["src", "poster"] {
                    let value = element.attribute(attribute);
                    assert!(
                        value.is_empty() || value.starts_with('/'),
                        "{path}: {value}"
                    );
                }
            }
        }
    }
}

#[test]
fn scripts_and_styles_name_nothing_outside() {
    for name in assets() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("static")
            .join(&name);
        let text = std::fs::read_to_string(path).unwrap();
        for sink in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
            "@import",
            "url(",
        ] {
            assert!(!text.contains(sink), "{sink} in {name}");
        }
        for piece in text
            .split("http")
            .skip(1)
            .filter(|piece| piece.starts_with("://") || piece.starts_with("s://"))
        {
            let known = ["://www.w3.org/", "s://'", "s://`", "s://${"]
                .iter()
                .any(|start| piece.starts_with(start));
            assert!(
                known,
                "an address in {name}: http{}",
                &piece[..piece.len().min(40)]
            );
        }
    }
}

#[test]
fn only_the_embed_page_may_be_framed() {
    let service = Service::start();
    let origin = Origin::start();
    for (path, _) in all_pages(&service, &origin) {
        let policy = service.get(&path).header("content-security-policy");
        let framed = policy
            .split(';')
            .map(str::trim)
            .find(|part| part.starts_with("frame-ancestors"));
        let expected = if path.starts_with("/embed/") {
            "frame-ancestors *"
        } else {
            "frame-ancestors 'none'"
        };
        assert_eq!(framed, Some(expected), "{path}");
        assert_eq!(service.get(&path).header("x-frame-options"), "", "{path}");
    }
}

#[test]
fn a_ready_clip_has_a_player_a_link_and_a_download() {
    let service = Service::start();
    let (_origin, link) = Origin::with(&everyday());
    let clip = service
        .make(&json!({"url": link, "start_time": 1, "end_time": 3.5, "title": "The moment"}));
    let urls = &clip["urls"];
    let page = service.get(urls["page"].as_str().unwrap());
    let elements = html(&page);
    let video = elements
        .iter()
        .find(|element| element.name == "video")
        .unwrap();
    assert_eq!(video.attribute("src"), urls["file"]);
    assert_eq!(video.attribute("poster"), urls["poster"]);
    assert_eq!(
        video.attribute("width"),
        clip["result"]["width"].to_string()
    );
    assert!(saying(&elements, "h1", "The moment").is_some());
    assert!(saying(&elements, "li", "2.5 s").is_some());
    assert!(saying(&elements, "li", "640 × 360").is_some());
    assert!(saying(&elements, "li", "Exact to the frame").is_some());
    assert!(saying(&elements, "li", "Expires in 24 hours").is_some());
    let download = saying(&elements, "a", "Download").unwrap();
    assert_eq!(download.attribute("href"), urls["download"]);
    let field = elements
        .iter()
        .find(|element| element.attribute("id") == "clip-link")
        .unwrap();
    assert_eq!(field.attribute("value"), urls["page"]);
    assert!(
        page.header("x-robots-tag").contains("noindex")
            || tags(&page.text())["robots"] == "noindex"
    );

    // Each look counts, and only looks at the page.
    let views = service.get(urls["self"].as_str().unwrap()).json()["views"].as_u64();
    assert_eq!(views, Some(1));

    let embed = html(&service.get(urls["embed"].as_str().unwrap()));
    let video = embed
        .iter()
        .find(|element| element.name == "video")
        .unwrap();
    assert_eq!(video.attribute("src"), urls["file"]);
    let back = saying(&embed, "a", "The moment").unwrap();
    assert_eq!(back.attribute("href"), urls["page"]);
    assert!(back.attribute("rel").contains("noopener"));
}

#[test]
fn a_clip_that_is_not_ready_says_so_and_shows_no_file() {
    let service = Service::start();
    let origin = Origin::start();
    let silent = origin.add("/silent.mp4", Behaviour::Silent);
    let broken = origin.add("/broken.mp4", Behaviour::Status(404));
    let waiting = service.submit(&recipe(&silent, 1.0, 2.0))["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let failed = service.submit(&recipe(&broken, 1.0, 2.0))["id"]
        .as_str()
        .unwrap()
        .to_owned();
    service.wait_for(&failed, &["failed"]);
    for id in [waiting, failed] {
        let answer = service.get(&format!("/c/{id}"));
        assert_eq!(answer.status, 200);
        let elements = html(&answer);
        assert!(saying(&elements, "p", "not ready yet").is_some());
        assert!(elements.iter().all(|element| element.name != "video"));
        assert!(
            elements
                .iter()
                .any(|element| element.attribute("id") == "job")
        );
        let tags = tags(&answer.text());
        assert!(!tags.contains_key("og:video") && !tags.contains_key("og:image"));
        assert_eq!(tags["og:type"], "website");
    }
}

#[test]
fn an_expired_clip_can_be_made_again_from_its_page() {
    let service = forgetful().start();
    let (_origin, link) = Origin::with(&everyday());
    let odd = format!("{link}?a=1&b=\"<x>\"#t=5");
    let id = service.submit(&json!({"url": odd, "start_time": 1.25, "end_time": "0:02.5"}))["id"]
        .as_str()
        .unwrap()
        .to_owned();
    wait_until_expired(&service, &id);
    let answer = service.get(&format!("/c/{id}"));
    assert_eq!(answer.status, 410);
    let elements = html(&answer);
    assert!(saying(&elements, "h1", "expired").is_some());
    let again = saying(&elements, "a", "Make it again")
        .unwrap()
        .attribute("href");
    let asked = url::Url::parse(&format!("http://here{again}")).unwrap();
    assert_eq!(asked.path(), "/");
    let value = |name: &str| {
        asked
            .query_pairs()
            .find(|(key, _)| key == name)
            .unwrap()
            .1
            .into_owned()
    };
    assert!(value("url").starts_with(&link), "{again}");
    assert!(value("url").contains("a=1&b="), "{again}");
    assert_eq!(
        (value("start").as_str(), value("end").as_str()),
        ("1.25", "2.5")
    );
    assert_eq!(service.get(&format!("/embed/{id}")).status, 410);
}

#[test]
fn a_link_that_leads_nowhere_says_so_kindly() {
    let service = Service::start();
    for path in [
        "/c/01890000-0000-7000-8000-000000000000",
        "/c/nonsense",
        "/c/%3Cscript%3E",
        "/embed/01890000-0000-7000-8000-000000000000",
    ] {
        let answer = service.get(path);
        assert_eq!(answer.status, 404, "{path}");
        let elements = html(&answer);
        assert!(
            saying(&elements, "h1", "There is no clip here").is_some(),
            "{path}"
        );
        let next = saying(&elements, "a", "Make a clip").unwrap();
        assert_eq!(next.attribute("href"), "/");
        assert!(!answer.text().contains("<script>"));
    }
}

#[test]
fn a_title_is_never_markup() {
    let service = Service::start();
    let (_origin, link) = Origin::with(&everyday());
    let title =
        "</title><script>alert(1)</script>\"><img src=x onerror='alert(2)'> & ' {{ title }}";
    let clip = service.make(&json!({"url": link, "start_time": 1, "end_time": 2, "title": title}));
    for address in [&clip["urls"]["page"], &clip["urls"]["embed"]] {
        let answer = service.get(address.as_str().unwrap());
        let text = answer.text();
        let elements = html(&answer);
        assert_eq!(
            elements
                .iter()
                .filter(|element| element.name == "title")
                .count(),
            1
        );
        assert!(
            elements
                .iter()
                .all(|element| !element.attributes.contains_key("onerror")),
            "{text}"
        );
        assert!(
            !text.contains("<script>") && !text.contains("<img src=x"),
            "{text}"
        );
        // It arrives as it was written.
        let shown = elements
            .iter()
            .find(|element| element.name == "title")
            .unwrap();
        assert_eq!(shown.text, format!("{title} · Meme Maker"));
        let video = elements
            .iter()
            .find(|element| element.name == "video")
            .unwrap();
        assert_eq!(video.attribute("aria-label"), title);
    }
    assert_eq!(
        tags(&service.get(clip["urls"]["page"].as_str().unwrap()).text())["og:title"],
        title
    );
}

#[test]
fn search_engines_are_asked_to_stay_out() {
    let service = Service::start();
    let answer = service.get("/robots.txt");
    assert!(answer.header("content-type").starts_with("text/plain"));
    for line in [
        "User-agent: *",
        "Disallow: /api/",
        "Disallow: /c/",
        "Disallow: /embed/",
    ] {
        assert!(answer.text().contains(line), "{line}");
    }
}
