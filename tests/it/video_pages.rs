//! Pages of video sites: the real yt-dlp, started as the service starts it, on pages served on loopback through a real gate.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use meme_maker::media::sidecar::{self, Job, Kin, Programs, SidecarError};
use meme_maker::recipe::parse_source_url;
use meme_maker::source::gate::{Budget, Gate, Policy, Refusal};
use meme_maker::source::page::{self, Kind, LentCookies, Live, Page, PageError, Stream, Wish};
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::support::origin::{Behaviour, Origin};
use crate::support::service::{BINARY, PATIENCE, Service, Setup};

/// Name and package for `tests/python.sh`; `make test` installs the same beforehand.
const YTDLP: [&str; 2] = ["pages", "yt-dlp==2026.10.26"];

/// The real program, installed once for all tests of a build.
pub fn ytdlp() -> &'static Path {
    static PLACE: LazyLock<PathBuf> = LazyLock::new(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python.sh");
        let output = Command::new("bash")
            .arg(script)
            .args(YTDLP)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        let folder = String::from_utf8(output.stdout).unwrap();
        Path::new(folder.trim()).join("bin/yt-dlp")
    });
    &PLACE
}

pub fn program(dir: &Path, script: &str) -> PathBuf {
    let path = dir.join("program");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    path
}

/// What the tests' programs read outside of the system's folders; in a configuration as `engine.readable`.
pub fn readable() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    vec![root.join("tests/data/pages"), std::env::temp_dir()]
}

/// The real program with the faults of `tests/data/pages/plugin` within its reach; `switch` is a line of Python before it starts.
pub fn with_faults(dir: &Path, switch: &str) -> PathBuf {
    let plugin = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/pages/plugin");
    let python = ytdlp().with_file_name("python3");
    let path = dir.join("program");
    let script = format!(
        "#!{}\nimport os, sys\nsys.dont_write_bytecode = True\nsys.path.insert(0, '{}')\n{switch}\nimport yt_dlp\nsys.exit(yt_dlp.main())\n",
        python.display(),
        plugin.display()
    );
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    path
}

/// Lets plugins be found.
pub const WITH_PLUGINS: &str = "os.environ.pop('YTDLP_NO_PLUGINS', None)";

/// How a page is visited.
struct Visit<'a> {
    program: &'a Path,
    allow: &'a str,
    height: u32,
    deadline: Duration,
    cookies: Option<&'a Path>,
    js_runtime: Option<&'a str>,
}

#[derive(Clone, Copy)]
enum Way {
    Lease,
    Nowhere,
}

/// What came of it.
#[derive(Debug)]
struct Seen {
    ended: Result<Vec<u8>, SidecarError>,
    page: Result<Page, PageError>,
    refusal: Option<Refusal>,
    /// What is left in the job's directory.
    left: Vec<OsString>,
    job: tempfile::TempDir,
}

impl<'a> Visit<'a> {
    fn by(program: &'a Path) -> Visit<'a> {
        Visit {
            program,
            allow: "127.0.0.0/8",
            height: 1080,
            deadline: PATIENCE,
            cookies: None,
            js_runtime: None,
        }
    }

    fn real() -> Visit<'a> {
        Visit::by(ytdlp())
    }

    #[track_caller]
    fn to(&self, link: &str) -> Seen {
        self.by_way_of(Way::Lease, link)
    }

    #[track_caller]
    fn by_way_of(&self, way: Way, link: &str) -> Seen {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(self.visit(&Url::parse(link).unwrap(), way))
    }

    async fn visit(&self, url: &Url, way: Way) -> Seen {
        let policy = Policy::new(&[self.allow.to_owned()], &[]).unwrap();
        let gate = Gate::open(Arc::new(policy), &[]).await.unwrap();
        let lease = gate.lease(Budget {
            bytes: 20_000_000,
            deadline: PATIENCE,
            connections: 100,
            connect_timeout: Duration::from_secs(5),
        });
        let (job_dir, stop) = (tempfile::tempdir().unwrap(), CancellationToken::new());
        let programs = Programs {
            launcher: BINARY.into(),
            ffmpeg: "ffmpeg".into(),
            ffprobe: "ffprobe".into(),
            // The shipped setting.
            memory: 1_500_000_000,
            readable: readable(),
        };
        let proxy = lease.proxy_url();
        let job = Job {
            programs: &programs,
            dir: job_dir.path(),
            deadline: self.deadline,
            stop: &stop,
            proxy: match way {
                Way::Lease => Some(&proxy),
                Way::Nowhere => None,
            },
            reads: &[],
            kin: Kin::Alone,
        };
        let lent = self
            .cookies
            .map(|file| LentCookies::lend(file, job_dir.path()).unwrap());
        let wish = Wish {
            height: self.height,
            js_runtime: self.js_runtime,
            cookies: lent.as_ref().map(LentCookies::path),
        };
        let arguments = page::arguments(url, &wish);
        let ended = sidecar::ytdlp(job, self.program, arguments).await;
        let page = match &ended {
            Ok(printed) => page::read(printed, &wish),
            Err(SidecarError::Exit { stderr, .. }) => Err(page::blame(stderr)),
            Err(SidecarError::Deadline(_)) => Err(PageError::Timeout),
            Err(SidecarError::Missing { .. }) => Err(PageError::Off),
            Err(SidecarError::Stopped | SidecarError::Io(_)) => panic!("{ended:?}"),
        };
        drop(lent);
        let left = std::fs::read_dir(job_dir.path()).unwrap();
        let seen = Seen {
            ended,
            page,
            refusal: lease.refusal(),
            left: left.map(|entry| entry.unwrap().file_name()).collect(),
            job: job_dir,
        };
        drop(lease);
        gate.close().await;
        seen
    }
}

fn html(head: &str, body: &str) -> Behaviour {
    text(&format!(
        "<!DOCTYPE html><html><head>{head}</head><body>{body}</body></html>"
    ))
}

fn text(text: &str) -> Behaviour {
    Behaviour::Bytes {
        bytes: text.as_bytes().to_vec(),
        claimed: text.len(),
    }
}

fn place(stream: &Stream) -> (Kind, &str) {
    (stream.kind, stream.url.path())
}

/// Pages of every common kind, and what their links lead to.
fn site() -> Origin {
    let origin = Origin::start();
    origin.add("/film.mp4", text("not looked into"));
    origin.add(
        "/master.m3u8",
        text(
            "#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"en\",DEFAULT=YES,URI=\"sound.m3u8\"\n\
             #EXT-X-STREAM-INF:BANDWIDTH=800000,RESOLUTION=640x360,CODECS=\"avc1.64001e,mp4a.40.2\",AUDIO=\"a\"\n360.m3u8\n\
             #EXT-X-STREAM-INF:BANDWIDTH=2800000,RESOLUTION=1280x720,CODECS=\"avc1.64001f,mp4a.40.2\",AUDIO=\"a\"\n720.m3u8\n",
        ),
    );
    origin.add(
        "/manifest.mpd",
        text(
            "<?xml version=\"1.0\"?><MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" type=\"static\" mediaPresentationDuration=\"PT8S\">\
             <Period><AdaptationSet mimeType=\"video/mp4\"><SegmentTemplate timescale=\"1\" duration=\"4\" startNumber=\"1\" \
             initialization=\"$RepresentationID$-i.mp4\" media=\"$RepresentationID$-$Number$.m4s\"/>\
             <Representation id=\"v\" bandwidth=\"800000\" width=\"640\" height=\"360\" codecs=\"avc1.64001e\"/></AdaptationSet>\
             <AdaptationSet mimeType=\"audio/mp4\"><SegmentTemplate timescale=\"1\" duration=\"4\" startNumber=\"1\" \
             initialization=\"$RepresentationID$-i.mp4\" media=\"$RepresentationID$-$Number$.m4s\"/>\
             <Representation id=\"s\" bandwidth=\"128000\" codecs=\"mp4a.40.2\"/></AdaptationSet></Period></MPD>",
        ),
    );
    let film = origin.link("/film.mp4");
    origin.add(
        "/html5",
        html(
            "<title>A &quot;film&quot; &mdash; ours</title>",
            "<video controls poster=\"/p.jpg\"><source src=\"/film.mp4\" type=\"video/mp4\"></video>",
        ),
    );
    origin.add(
        "/linked-data",
        html(
            &format!(
                "<script type=\"application/ld+json\">{{\"@context\":\"https://schema.org\",\"@type\":\"VideoObject\",\
                 \"name\":\"Linked data\",\"description\":\"d\",\"thumbnailUrl\":\"{film}.jpg\",\"uploadDate\":\"2024-01-01\",\
                 \"duration\":\"PT10S\",\"contentUrl\":\"{film}\"}}</script>"
            ),
            "",
        ),
    );
    origin.add(
        "/open-graph",
        html(
            &format!(
                "<meta property=\"og:title\" content=\"Open graph\"><meta property=\"og:video\" content=\"{film}\">\
                 <meta property=\"og:video:type\" content=\"video/mp4\"><meta property=\"og:image\" content=\"{film}.jpg\">"
            ),
            "",
        ),
    );
    origin.add(
        "/hls",
        html(
            "<title>Playlist</title>",
            "<video src=\"/master.m3u8\"></video>",
        ),
    );
    origin.add(
        "/dash",
        html(
            "<title>Manifest</title>",
            "<video src=\"/manifest.mpd\"></video>",
        ),
    );
    origin.add("/nothing", html("<title>Text</title>", "<p>No film.</p>"));
    origin
}

#[test]
fn a_page_of_any_common_kind_gives_its_video() {
    let origin = site();
    for (path, title, seconds, video, audio) in [
        (
            "/html5",
            "A \"film\" — ours",
            None,
            (Kind::File, "/film.mp4"),
            None,
        ),
        (
            "/linked-data",
            "Linked data",
            Some(10.0),
            (Kind::File, "/film.mp4"),
            None,
        ),
        (
            "/open-graph",
            "Open graph",
            None,
            (Kind::File, "/film.mp4"),
            None,
        ),
        (
            "/hls",
            "Playlist",
            None,
            (Kind::Hls, "/720.m3u8"),
            Some((Kind::Hls, "/sound.m3u8")),
        ),
        (
            "/dash",
            "Manifest",
            None,
            (Kind::Dash, "/manifest.mpd"),
            None,
        ),
    ] {
        let seen = Visit::real().to(&origin.link(path));
        let page = seen
            .page
            .as_ref()
            .unwrap_or_else(|_| panic!("{path}: {seen:?}"));
        assert_eq!(page.title.as_deref(), Some(title), "{path}");
        if seconds.is_some() {
            assert_eq!(
                page.duration.map(|length| length.as_f64()),
                seconds,
                "{path}"
            );
        }
        assert_eq!(page.live, Live::Recorded, "{path}");
        assert_eq!(place(&page.video), video, "{path}");
        assert_eq!(page.audio.as_ref().map(place), audio, "{path}");
        let names: Vec<&str> = page
            .video
            .headers
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        assert!(names.contains(&"User-Agent"), "{path}: {names:?}");
        assert_eq!(seen.refusal, None, "{path}");
        assert!(seen.left.is_empty(), "{path} leaves {:?}", seen.left);
    }
    let small = Visit {
        height: 400,
        js_runtime: Some("node"),
        ..Visit::real()
    };
    let page = small.to(&origin.link("/hls")).page.unwrap();
    assert_eq!(
        (page.video.height, page.video.url.path()),
        (Some(360), "/360.m3u8")
    );
}

#[test]
fn the_gate_is_the_only_way_out() {
    let origin = site();
    let link = origin.link("/html5");
    let walled = Visit {
        allow: "192.0.2.0/24",
        ..Visit::real()
    };
    for link in [&link, &link.replace("http://", "https://")] {
        let seen = walled.to(link);
        assert!(seen.page.is_err(), "{seen:?}");
        assert_eq!(seen.refusal, Some(Refusal::Blocked), "{link}");
    }
    // Without a lease there is no way at all.
    let seen = Visit::real().by_way_of(Way::Nowhere, &link);
    assert_eq!(seen.page, Err(PageError::Unreachable), "{:?}", seen.ended);
    assert_eq!(origin.requests(), [""; 0]);
    // Nor is there one from a page of outside to the inside.
    let inner = Origin::start_at("127.0.0.2");
    let redirect = origin.add("/away", Behaviour::Redirect(inner.link("/html5")));
    let narrow = Visit {
        allow: "127.0.0.1",
        ..Visit::real()
    };
    let seen = narrow.to(&redirect);
    assert!(seen.page.is_err(), "{seen:?}");
    assert_eq!(seen.refusal, Some(Refusal::Blocked));
    assert_eq!(inner.requests(), [""; 0]);
}

#[test]
fn what_a_server_answers_is_told_apart() {
    let origin = site();
    for (status, code) in [
        (401, "page_login"),
        (403, "page_refused"),
        (404, "page_gone"),
        (410, "page_gone"),
        (429, "page_rate_limited"),
        (451, "page_geo_blocked"),
        (500, "page_unreachable"),
        (503, "page_unreachable"),
    ] {
        let link = origin.add(&format!("/{status}"), Behaviour::Status(status));
        let seen = Visit::real().to(&link);
        assert_eq!(
            seen.page.map_err(|error| error.code()),
            Err(code),
            "{status}: {:?}",
            seen.ended
        );
    }
    let nothing = Visit::real().to(&origin.link("/nothing"));
    assert_eq!(
        nothing.page,
        Err(PageError::Unsupported),
        "{:?}",
        nothing.ended
    );
    let closed = Visit::real().to("http://127.0.0.1:9/x");
    assert_eq!(
        closed.page,
        Err(PageError::Unreachable),
        "{:?}",
        closed.ended
    );
    let silent = origin.add("/silent", Behaviour::Silent);
    let hasty = Visit {
        deadline: Duration::from_secs(4),
        ..Visit::real()
    };
    assert_eq!(hasty.to(&silent).page, Err(PageError::Timeout));
}

#[test]
fn what_the_program_says_is_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let program = with_faults(dir.path(), WITH_PLUGINS);
    let origin = site();
    for (fault, code) in [
        ("geo", "page_geo_blocked"),
        ("login", "page_login"),
        ("private", "page_private"),
        ("live", "page_live"),
        ("drm", "page_locked"),
        ("formats", "page_unsupported"),
        ("unexpected", "page_failed"),
    ] {
        let seen = Visit::by(&program).to(&origin.link(&format!("/fault/{fault}")));
        assert_eq!(
            seen.page.map_err(|error| error.code()),
            Err(code),
            "{fault}: {:?}",
            seen.ended
        );
    }
    assert_eq!(origin.requests(), [""; 0]);
}

#[test]
fn code_that_lies_about_is_not_run() {
    let dir = tempfile::tempdir().unwrap();
    let program = with_faults(dir.path(), "");
    let origin = site();
    let seen = Visit::by(&program).to(&origin.link("/fault/geo"));
    // The page itself was asked for, and is not there.
    assert_eq!(seen.page, Err(PageError::Gone), "{:?}", seen.ended);
}

#[test]
fn what_a_page_says_never_becomes_an_order() {
    let dir = tempfile::tempdir().unwrap();
    let program = with_faults(dir.path(), WITH_PLUGINS);
    let origin = site();
    let seen = Visit::by(&program).to(&origin.link("/fault/odd"));
    let page = seen
        .page
        .unwrap_or_else(|error| panic!("{error}: {:?}", seen.ended));
    assert_eq!(
        page.title.as_deref(),
        Some("--exec \"touch pwned\" Set-Cookie: a=b $(touch pwned) %(title)s")
    );
    assert_eq!(page.chapters[0].title, "one two");
    assert_eq!(place(&page.video), (Kind::File, "/film.mp4"));
    let origin_only = page
        .video
        .headers
        .iter()
        .filter(|(name, _)| {
            !matches!(
                name.as_str(),
                "User-Agent" | "Accept" | "Accept-Language" | "Sec-Fetch-Mode"
            )
        })
        .collect::<Vec<_>>();
    assert_eq!(
        origin_only,
        [&("Origin".to_owned(), "https://video.example".to_owned())]
    );
    assert!(seen.left.is_empty(), "{:?}", seen.left);
}

#[test]
fn no_link_becomes_an_option() {
    let dir = tempfile::tempdir().unwrap();
    let fake = program(
        dir.path(),
        "printf '%s\\0' \"$@\" > arguments\nenv -0 > environment\npwd > folder\necho '{\"url\":\"https://v.example/1.mp4\"}'",
    );
    for link in [
        "http://v.example/--exec=touch%20pwned",
        "http://v.example/?--exec touch pwned",
        "http://v.example/x\n--exec\ntouch pwned",
        "http://v.example/$(touch pwned)`touch pwned`;touch pwned",
        "http://v.example/%(id)s",
        "http://v.example/x#__youtubedl_smuggle=%7B%22http_headers%22%3A%7B%7D%7D",
        "http://--exec.example/",
    ] {
        let cookies = dir.path().join("jar");
        std::fs::write(&cookies, "# Netscape HTTP Cookie File\n\r\n--exec\tid\n").unwrap();
        let seen = Visit {
            cookies: Some(&cookies),
            ..Visit::by(&fake)
        }
        .to(link);
        assert!(seen.page.is_ok(), "{seen:?}");
        let list = |name: &str| -> Vec<String> {
            std::fs::read_to_string(seen.job.path().join(name))
                .unwrap()
                .split_terminator('\0')
                .map(str::to_owned)
                .collect()
        };
        let arguments = list("arguments");
        let place = arguments.iter().position(|piece| piece == "--").unwrap();
        assert_eq!(place, arguments.len() - 2, "{arguments:?}");
        let last = &arguments[place + 1];
        assert!(
            last.starts_with("http://") && !last.contains(['\n', ' ']),
            "{last}"
        );
        assert!(!last.contains("smuggle"), "{last}");
        let options = &arguments[..place];
        assert!(
            options.iter().all(|piece| !piece.contains("exec")),
            "{options:?}"
        );
        let jar = format!(
            "--cookies={}",
            seen.job.path().join("cookies.txt").display()
        );
        assert_eq!(options.last(), Some(&jar));
        // The way out stands in the environment, which nobody else can read, and nothing else of ours does.
        let environment = list("environment");
        let value = |name: &str| {
            let pair = environment
                .iter()
                .find_map(|pair| pair.strip_prefix(&format!("{name}=")));
            pair.unwrap_or_else(|| panic!("{name} in {environment:?}"))
                .to_owned()
        };
        let way_out = value("http_proxy");
        assert!(
            way_out.starts_with("http://lease:") && way_out.contains("@127.0.0.1:"),
            "{way_out}"
        );
        assert_eq!(
            (value("https_proxy"), value("all_proxy")),
            (way_out.clone(), way_out.clone())
        );
        assert!(
            arguments.iter().all(|piece| !piece.contains("lease:")),
            "{arguments:?}"
        );
        let folder = std::fs::read_to_string(seen.job.path().join("folder")).unwrap();
        for name in ["HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"] {
            assert_eq!(value(name), folder.trim(), "{name}");
        }
        assert_eq!(value("YTDLP_NO_PLUGINS"), "1");
        let known = [
            "http_proxy",
            "https_proxy",
            "all_proxy",
            "HOME",
            "TMPDIR",
            "XDG_CACHE_HOME",
            "XDG_CONFIG_HOME",
            "PYTHONUSERBASE",
            "MALLOC_ARENA_MAX",
            "YTDLP_NO_PLUGINS",
            "PATH",
            "LC_ALL",
            "PWD",
            "OLDPWD",
            "SHLVL",
            "_",
        ];
        for pair in &environment {
            let name = pair.split('=').next().unwrap();
            assert!(known.contains(&name), "{pair}");
        }
        assert!(!seen.left.contains(&"pwned".into()), "{:?}", seen.left);
    }
    for link in [
        "--exec id",
        "-o/etc/passwd",
        "--",
        "-",
        "ytsearch:x",
        "file:///etc/passwd",
        "http:--exec",
    ] {
        let parsed = parse_source_url(link);
        assert!(
            parsed.as_ref().is_err()
                || parsed
                    .as_ref()
                    .is_ok_and(|url| url.as_str().starts_with("http://")),
            "{link}: {parsed:?}"
        );
    }
}

#[test]
fn cookies_are_lent_and_come_back_unchanged() {
    let origin = site();
    let dir = tempfile::tempdir().unwrap();
    let jar = dir.path().join("jar");
    let text = "# Netscape HTTP Cookie File\n\n127.0.0.1\tFALSE\t/\tFALSE\t4102444800\tsid\tours\n\
                other.example\tFALSE\t/\tFALSE\t4102444800\tsid\ttheirs\n";
    std::fs::write(&jar, text).unwrap();
    let seen = Visit {
        cookies: Some(&jar),
        ..Visit::real()
    }
    .to(&origin.link("/html5"));
    let page = seen
        .page
        .unwrap_or_else(|error| panic!("{error}: {:?}", seen.ended));
    let cookie: Vec<&str> = page
        .video
        .headers
        .iter()
        .filter(|(name, _)| name == "Cookie")
        .map(|(_, value)| value.as_str())
        .collect();
    assert_eq!(cookie, ["sid=ours"]);
    let elsewhere = page
        .video
        .headers_for(&Url::parse("http://127.0.0.2/film.mp4").unwrap());
    assert!(elsewhere.iter().all(|(name, _)| name != "Cookie"));
    assert!(seen.left.is_empty(), "{:?}", seen.left);
    assert_eq!(std::fs::read_to_string(&jar).unwrap(), text);
    // What is wrong with the operator's file is told without what stands in it.
    for broken in ["sid secret\n", "# Netscape HTTP Cookie File\nsecret line\n"] {
        std::fs::write(&jar, broken).unwrap();
        let seen = Visit {
            cookies: Some(&jar),
            ..Visit::real()
        }
        .to(&origin.link("/404"));
        assert!(
            matches!(seen.page, Err(PageError::Cookies | PageError::Gone)),
            "{seen:?}"
        );
        assert!(
            !format!("{:?} {:?}", seen.page, seen.ended).contains("secret"),
            "{:?}",
            seen.ended
        );
    }
}

#[test]
fn a_page_without_end_ends_at_the_budget() {
    let origin = site();
    let endless = Behaviour::Endless {
        head: b"<!DOCTYPE html><html><body>".to_vec(),
        again: vec![b'x'; 64 * 1024],
    };
    let seen = Visit::real().to(&origin.add("/endless", endless));
    assert!(seen.page.is_err(), "{seen:?}");
    assert_eq!(seen.refusal, Some(Refusal::Bytes), "{:?}", seen.ended);
}

#[test]
fn a_program_that_is_not_there_is_said_to_be_missing() {
    let dir = tempfile::tempdir().unwrap();
    let seen = Visit::by(&dir.path().join("yt-dlp")).to("http://127.0.0.1:9/");
    assert!(
        matches!(seen.ended, Err(SidecarError::Missing { .. })),
        "{:?}",
        seen.ended
    );
}

/// The check of that name once it says `words`.
fn awaited(service: &Service, words: &str) -> String {
    let until = Instant::now() + PATIENCE;
    loop {
        let health = service.get("/api/health");
        assert_eq!(health.status, 200, "{}", health.text());
        let health = health.json();
        let checks = health["checks"].as_array().unwrap();
        let check = checks
            .iter()
            .find(|check| check["name"] == "pages")
            .unwrap();
        assert_eq!(check["status"], "ok");
        let detail = check["detail"].as_str().unwrap();
        if detail.contains(words) {
            return detail.to_owned();
        }
        assert!(Instant::now() < until, "{detail}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn doctor(settings: &[(&str, &str)]) -> (Option<i32>, serde_json::Value) {
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new(BINARY)
        .args(["doctor", "--json"])
        .current_dir(dir.path())
        .env("MEME_MAKER__MONITOR__FLOOR", "1 MB")
        .envs(
            settings
                .iter()
                .map(|(key, value)| (format!("MEME_MAKER__{key}"), value)),
        )
        .output()
        .unwrap();
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    (output.status.code(), told)
}

fn finding(told: &serde_json::Value, name: &str) -> (bool, String, String) {
    let checks = told["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["name"] == name).unwrap();
    let words = |field: &str| check[field].as_str().unwrap().to_owned();
    (
        check["ok"].as_bool().unwrap(),
        words("detail"),
        words("hint"),
    )
}

#[test]
fn health_says_which_program_reads_pages_and_stays_well_without_one() {
    let path = ytdlp().to_str().unwrap();
    let version = YTDLP[1].split("==").nth(1).unwrap();
    let service = Setup::default().with("SOURCES__YTDLP_PATH", path).start();
    let detail = awaited(&service, version);
    assert!(detail.contains("days old"), "{detail}");
    for setting in ["", "/nonexistent/yt-dlp"] {
        let service = Setup::default()
            .with("SOURCES__YTDLP_PATH", setting)
            .start();
        awaited(&service, "off");
    }
}

#[test]
fn doctor_says_how_old_the_program_is_and_how_it_is_renewed() {
    let (exit, told) = doctor(&[("SOURCES__YTDLP_PATH", ytdlp().to_str().unwrap())]);
    assert_eq!(exit, Some(0), "{told}");
    let (ok, detail, _) = finding(&told, "pages");
    assert!(
        ok && detail.contains(YTDLP[1].split("==").nth(1).unwrap()),
        "{told}"
    );

    let dir = tempfile::tempdir().unwrap();
    let path = |program: &Path| program.to_str().unwrap().to_owned();
    let old = path(&program(dir.path(), "echo 2024.01.01"));
    let (exit, told) = doctor(&[("SOURCES__YTDLP_PATH", &old)]);
    let (ok, detail, hint) = finding(&told, "pages");
    assert_eq!((exit, ok), (Some(0), true), "{told}");
    assert!(
        detail.contains("2024.01.01") && hint.contains(&format!("{old} -U")),
        "{told}"
    );

    let (exit, told) = doctor(&[("SOURCES__YTDLP_PATH", "/nonexistent/yt-dlp")]);
    let (ok, detail, hint) = finding(&told, "pages");
    assert_eq!((exit, ok), (Some(0), true), "{told}");
    assert!(
        detail.starts_with("off") && hint.contains("pip install"),
        "{told}"
    );

    let broken = path(&program(dir.path(), "echo no; exit 3"));
    let (exit, told) = doctor(&[("SOURCES__YTDLP_PATH", &broken)]);
    assert_eq!(
        (exit, finding(&told, "pages").0),
        (Some(1), false),
        "{told}"
    );

    let jar = dir.path().join("jar");
    std::fs::write(&jar, "sid secret\n").unwrap();
    let settings = [
        ("SOURCES__YTDLP_PATH", ""),
        ("SOURCES__COOKIES_FILE", jar.to_str().unwrap()),
    ];
    let (exit, told) = doctor(&settings);
    let (ok, _, hint) = finding(&told, "cookies");
    assert_eq!((exit, ok), (Some(1), false), "{told}");
    assert!(
        !hint.is_empty() && !told.to_string().contains("secret"),
        "{told}"
    );
    std::fs::write(&jar, "# Netscape HTTP Cookie File\n").unwrap();
    assert_eq!(doctor(&settings).0, Some(0));
}
