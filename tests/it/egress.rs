//! Links that try to lead inside, against the real binary: every line of the corpus, with a canary on loopback that must never be
//! touched, a name server that changes its mind, and servers that lead astray. There is no public address on a test machine: 127.9.9.9
//! is allowed and stands for one, while everything inside is on 127.0.0.1 and ::1.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::media;
use crate::support::names::{NameServer, Says};
use crate::support::origin::{Behaviour, Origin};
use crate::support::service::{PATIENCE, Service, Setup, recipe};
use base64::Engine as _;

const PUBLIC: &str = "127.9.9.9";
const CORPUS: &str = include_str!("../data/bad-links.psv");

/// One line of the corpus.
#[derive(Clone, Debug)]
struct Line {
    id: &'static str,
    input: &'static str,
    status: &'static str,
    code: &'static str,
}

fn lines(group: &str) -> Vec<Line> {
    let lines: Vec<Line> = CORPUS
        .lines()
        .skip(1)
        .filter_map(|line| match line.split('|').collect::<Vec<_>>()[..] {
            [id, of, _, input, status, code] if of == group => Some(Line {
                id,
                input,
                status,
                code,
            }),
            [_, _, _, _, _, _] => None,
            _ => panic!("{line}"),
        })
        .collect();
    assert!(lines.len() > 10);
    lines
}

/// Counts everybody who comes.
struct Canary {
    port: u16,
    came: Arc<AtomicU64>,
}

impl Canary {
    /// On loopback inside, at this port or a free one.
    fn start(port: u16) -> Canary {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let canary = Canary {
            port,
            came: Arc::default(),
        };
        // A machine without IPv6 has nobody there to knock at.
        for listener in std::iter::once(listener).chain(TcpListener::bind(("::1", port))) {
            let came = Arc::clone(&canary.came);
            std::thread::spawn(move || {
                for mut stream in listener.incoming().flatten() {
                    came.fetch_add(1, Ordering::SeqCst);
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret");
                }
            });
        }
        canary
    }

    #[track_caller]
    fn untouched(&self, service: &Service) {
        let came = self.came.load(Ordering::SeqCst);
        assert_eq!(came, 0, "somebody connected\n{}", service.log());
    }
}

#[test]
fn every_bad_link_of_the_corpus_is_refused_and_nothing_knocks() {
    let canary = Canary::start(0);
    let names = NameServer::start();
    let service = Setup::default()
        .with("EGRESS__ALLOW", "")
        // Whatever is not refused before would find its way.
        .with("EGRESS__NAMESERVERS", names.address)
        .start();
    for line in lines("url").into_iter().chain(lines("ssrf")) {
        let body = format!(
            "{{\"url\":\"{}\",\"start_time\":0,\"end_time\":5}}",
            line.input
        );
        let answer = service.request(
            "POST",
            "/api/clips",
            &[("content-type", "application/json")],
            body.as_bytes(),
        );
        let told: Value = serde_json::from_slice(&answer.bytes).unwrap_or_default();
        assert_eq!(
            (
                answer.status.to_string().as_str(),
                &told["code"],
                &told["field"]
            ),
            (line.status, &json!(line.code), &json!("url")),
            "{line:?}: {}",
            answer.text()
        );
        answer.expect_problem(line.status.parse().unwrap(), line.code);
    }
    // And with the port at which somebody listens.
    for host in [
        "127.0.0.1",
        "[::1]",
        "localhost",
        "2130706433",
        "[::ffff:7f00:1]",
    ] {
        let link = format!("http://{host}:{}/a.mp4", canary.port);
        let answer = service.post("/api/clips", &recipe(&link, 0.0, 5.0));
        assert!([400, 403].contains(&answer.status), "{}", answer.text());
    }
    canary.untouched(&service);
}

/// What lies outside, what lies inside, and the service between.
struct Ground {
    origin: Origin,
    names: NameServer,
    canary: Canary,
    service: Service,
    seal: Seal,
}

impl Ground {
    fn new() -> Ground {
        let origin = Origin::start_at(PUBLIC);
        // At the same port, for names that lead from one to the other.
        let canary = Canary::start(origin.port);
        let names = NameServer::start();
        let seal = Seal::new();
        let service = trusting(&seal)
            .with("EGRESS__ALLOW", PUBLIC)
            .with("EGRESS__PORTS", origin.port)
            .with("EGRESS__NAMESERVERS", names.address)
            .with("SOURCES__YTDLP_PATH", super::video_pages::ytdlp().display())
            .with("ENGINE__PROBE_SECONDS", 15)
            .with("ENGINE__FETCH_SECONDS", 15)
            .start();
        origin.add("/film.mp4", Behaviour::File(media::tiny()));
        Ground {
            origin,
            names,
            canary,
            service,
            seal,
        }
    }

    /// A film on a host of this name.
    fn named(&self, name: &str, says: Says) -> String {
        let name = self.names.add(name, says);
        format!("http://{name}:{}/film.mp4", self.origin.port)
    }

    fn inside(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.canary.port)
    }

    /// A link that answers so.
    fn answer(&self, path: &str, head: &str, body: impl AsRef<[u8]>) -> String {
        let body = body.as_ref();
        let mut answer = format!(
            "HTTP/1.1 {head}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        )
        .into_bytes();
        answer.extend(body);
        self.origin.add(path, Behaviour::Raw(answer))
    }

    fn moved(&self, path: &str, status: u16, to: &str) -> String {
        self.answer(path, &format!("{status} Moved\r\nLocation: {to}"), "")
    }

    fn playlist(&self, name: &str, text: &str) -> String {
        let text =
            format!("#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:4\n{text}\n#EXT-X-ENDLIST\n");
        self.answer(
            &format!("/{name}.m3u8"),
            "200 OK\r\nContent-Type: application/vnd.apple.mpegurl",
            text,
        )
    }

    fn manifest(&self, name: &str, base: &str, segments: &str) -> String {
        let text = format!(
            "<?xml version=\"1.0\"?><MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" type=\"static\" mediaPresentationDuration=\"PT4S\" \
             minBufferTime=\"PT1S\" profiles=\"urn:mpeg:dash:profile:isoff-main:2011\">{base}<Period><AdaptationSet mimeType=\"video/mp4\">\
             {segments}<Representation id=\"1\" bandwidth=\"100000\" codecs=\"avc1.42c01e\" width=\"64\" height=\"64\"/>\
             </AdaptationSet></Period></MPD>"
        );
        self.answer(
            &format!("/{name}.mpd"),
            "200 OK\r\nContent-Type: application/dash+xml",
            text,
        )
    }

    /// The link that a line of the corpus speaks of.
    fn link(&self, line: &Line) -> String {
        let public = || vec![PUBLIC.parse().unwrap()];
        let at = |ip: &str| vec![ip.parse::<IpAddr>().unwrap()];
        let inside = || at("127.0.0.1");
        let id = line.id;
        let name = &format!("{id}.example.test");
        let path = &format!("/{id}.mp4");
        let port = self.canary.port;
        let template = |media: &str| {
            format!(
                "<SegmentTemplate media=\"{media}\" initialization=\"{media}\" duration=\"4\" startNumber=\"1\"/>"
            )
        };
        match line.input {
            "A record -> 127.0.0.1" => self.named(name, Says::Addresses(inside())),
            "AAAA record -> ::1" => self.named(name, Says::Addresses(at("::1"))),
            "TTL0 rebinding: public first, 127.0.0.1 second" => {
                self.named(name, Says::Then(public(), inside()))
            }
            // The first bytes take longer than that, and the next ones are asked for at another address.
            "rebinding after 100 ms" => {
                self.origin
                    .add("/slow.mp4", Behaviour::Slow(media::tiny(), 200_000));
                let time = Duration::from_millis(100);
                self.named(name, Says::After(time, public(), inside()))
                    .replace("film", "slow")
            }
            "DNS SERVFAIL (fail closed)" => self.named(name, Says::ServerFailure),
            "A record -> public and private mixed" => {
                self.named(name, Says::Addresses([public(), inside()].concat()))
            }
            "AAAA record -> ::ffff:127.0.0.1" => {
                self.named(name, Says::Addresses(at("::ffff:127.0.0.1")))
            }
            "AAAA record -> fd00::1 beside a public A" => {
                self.named(name, Says::Addresses([public(), at("fd00::1")].concat()))
            }
            "A record -> 169.254.169.254" => {
                self.named(name, Says::Addresses(at("169.254.169.254")))
            }
            "CNAME -> a name with A 127.0.0.1" => {
                self.named(name, Says::Alias("inside.example.test", inside()))
            }
            "no such name" => format!("http://{name}:{port}/film.mp4"),
            "the name server does not answer" => self.named(name, Says::Silence),
            "an answer for another name" => self.named(name, Says::Beside(public())),
            "301 -> http://127.0.0.1/" => self.moved(path, 301, &self.inside("/")),
            "302 -> http://127.0.0.1/" => self.moved(path, 302, &self.inside("/")),
            "307 -> http://127.0.0.1/" => self.moved(path, 307, &self.inside("/")),
            "303 -> http://[::1]/" => self.moved(path, 303, &format!("http://[::1]:{port}/")),
            "300 with Location http://127.0.0.1/" => self.moved(path, 300, &self.inside("/")),
            "302 -> http://0x7f000001/" => {
                self.moved(path, 302, &format!("http://0x7f000001:{port}/"))
            }
            "308 -> file:///etc/passwd" => self.moved(path, 308, "file:///etc/passwd"),
            "302 -> gopher://127.0.0.1" => {
                self.moved(path, 302, &format!("gopher://127.0.0.1:{port}"))
            }
            "302 -> //127.0.0.1/" => self.moved(path, 302, &format!("//127.0.0.1:{port}/")),
            "302 -> a name with A 127.0.0.1" => {
                let there = self.named(name, Says::Addresses(inside()));
                self.moved(path, 302, &there)
            }
            "302 -> itself, without end" => self.moved(path, 302, path),
            "302 -> public -> 302 -> private" => {
                let second = self.moved(&format!("/second-{id}.mp4"), 302, &self.inside("/"));
                self.moved(path, 302, &second)
            }
            "302 -> https on a private address" => {
                self.moved(path, 302, &format!("https://127.0.0.1:{port}/"))
            }
            "https->http downgrade redirect" => {
                let to = self.origin.link("/film.mp4");
                let head = format!("302 Found\r\nLocation: {to}");
                self.seal.origin(&head, b"")
            }
            "Refresh header to 127.0.0.1" => {
                let head = format!("200 OK\r\nRefresh: 0;url={}", self.inside("/"));
                self.answer(path, &head, "<html></html>")
            }
            "HLS segment http://10.0.0.1/s.ts" => {
                self.playlist(id, "#EXTINF:4,\nhttp://10.0.0.1/s.ts")
            }
            "HLS segment http://127.0.0.1/s.ts" => {
                self.playlist(id, &format!("#EXTINF:4,\n{}", self.inside("/s.ts")))
            }
            "HLS segment file:///etc/passwd" => {
                self.playlist(id, "#EXTINF:4,\nfile:///etc/passwd")
            }
            "HLS #EXT-X-MAP URI=file:///etc/passwd" => {
                self.playlist(id, "#EXT-X-MAP:URI=\"file:///etc/passwd\"\n#EXTINF:4,\nfilm.mp4")
            }
            "HLS key URI=http://127.0.0.1/key" => {
                let key = self.inside("/key");
                self.playlist(id, &format!("#EXT-X-KEY:METHOD=AES-128,URI=\"{key}\"\n#EXTINF:4,\nfilm.mp4"))
            }
            "HLS variant http://127.0.0.1/v.m3u8" => {
                let variant = self.inside("/v.m3u8");
                self.playlist(id, &format!("#EXT-X-STREAM-INF:BANDWIDTH=100000\n{variant}"))
            }
            "DASH BaseURL http://127.0.0.1/" => {
                let base = format!("<BaseURL>{}</BaseURL>", self.inside("/"));
                self.manifest(id, &base, &template("a.m4s"))
            }
            "DASH BaseURL file:///etc/" => {
                self.manifest(id, "<BaseURL>file:///etc/</BaseURL>", &template("passwd"))
            }
            "DASH SegmentTemplate http://127.0.0.1/" => {
                self.manifest(id, "", &template(&self.inside("/$Number$.m4s")))
            }
            "MP4 whose data lies elsewhere" => {
                self.answer(path, "200 OK\r\nContent-Type: video/mp4", referring())
            }
            "ffconcat of http://127.0.0.1/a" => {
                let list = format!("ffconcat version 1.0\nfile '{}'\n", self.inside("/a"));
                self.answer(path, "200 OK", list)
            }
            "SDP to 127.0.0.1" => self.answer(
                &format!("/{id}.sdp"),
                "200 OK\r\nContent-Type: application/sdp",
                format!("v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video {port} RTP/AVP 96\n"),
            ),
            "a page with a video on 127.0.0.1" => {
                let page = format!("<html><video src=\"{}\"></video></html>", self.inside("/a.mp4"));
                self.answer(&format!("/{id}.html"), "200 OK\r\nContent-Type: text/html", page)
            }
            "Alt-Svc header to 127.0.0.1:port" => {
                let head = format!("200 OK\r\nAlt-Svc: h2=\"127.0.0.1:{port}\", http/1.1=\"127.0.0.1:{port}\"");
                self.answer(path, &head, std::fs::read(media::tiny()).unwrap())
            }
            "Proxy env var http_proxy set to attacker (must be ignored)" => {
                self.origin.link("/film.mp4")
            }
            other => panic!("no scene for {other}"),
        }
    }
}

/// The film with boxes that say that its bytes are in another file, which is nobody's business: they are taken from this one.
fn referring() -> Vec<u8> {
    let mut bytes = std::fs::read(media::tiny()).unwrap();
    let own = b"url \0\0\0\x01";
    let found: Vec<usize> = (0..bytes.len() - own.len())
        .filter(|at| bytes[*at..].starts_with(own))
        .collect();
    assert!(!found.is_empty());
    for at in found {
        bytes[at + 7] = 0;
    }
    bytes
}

/// A certificate that only those trust who are told of it.
struct Seal {
    config: Arc<rustls::ServerConfig>,
    dir: tempfile::TempDir,
}

/// A service that trusts a seal, and nothing else.
fn trusting(seal: &Seal) -> Setup {
    let mut setup = Setup::default();
    let roots = seal.dir.path().join("roots.pem").display().to_string();
    setup.environment.push(("SSL_CERT_FILE".to_owned(), roots));
    setup
}

impl Seal {
    fn new() -> Seal {
        let key = rcgen::generate_simple_self_signed(vec![PUBLIC.to_owned()]).unwrap();
        let private =
            rustls::pki_types::PrivateKeyDer::try_from(key.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![key.cert.der().clone()], private)
            .unwrap();
        let dir = tempfile::tempdir().unwrap();
        let coded = base64::engine::general_purpose::STANDARD.encode(key.cert.der());
        let pem = format!("-----BEGIN CERTIFICATE-----\n{coded}\n-----END CERTIFICATE-----\n");
        std::fs::write(dir.path().join("roots.pem"), pem).unwrap();
        Seal {
            config: Arc::new(config),
            dir,
        }
    }

    /// A server behind TLS that gives one answer; its link.
    fn origin(&self, head: &str, body: &[u8]) -> String {
        let listener = TcpListener::bind((PUBLIC, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let length = body.len();
        let mut answer =
            format!("HTTP/1.1 {head}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n")
                .into_bytes();
        answer.extend(body);
        let config = Arc::clone(&self.config);
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let (config, answer) = (Arc::clone(&config), answer.clone());
                std::thread::spawn(move || {
                    let mut session = rustls::ServerConnection::new(config).unwrap();
                    let mut sealed = rustls::Stream::new(&mut session, &mut stream);
                    if sealed.read(&mut [0; 4096]).is_ok() {
                        let _ = sealed.write_all(&answer);
                        sealed.conn.send_close_notify();
                        let _ = sealed.flush();
                    }
                });
            }
        });
        format!("https://{PUBLIC}:{port}/film.mp4")
    }
}

#[test]
fn a_server_that_nobody_vouches_for_is_not_believed() {
    let (seal, stranger) = (Seal::new(), Seal::new());
    let film = std::fs::read(media::tiny()).unwrap();
    let service = trusting(&seal).with("EGRESS__ALLOW", PUBLIC).start();
    let known = seal.origin("200 OK", &film);
    service.make(&recipe(&known, 0.5, 1.0));
    let unknown = stranger.origin("200 OK", &film);
    assert_eq!(
        service.fail(&recipe(&unknown, 0.5, 1.0)),
        "source_unreachable"
    );
}

#[test]
fn links_that_turn_inside_on_the_way_fail_and_nothing_knocks() {
    let ground = Ground::new();
    let mut submitted = Vec::new();
    for line in lines("ssrfdyn") {
        // Of that one the environment is another.
        if line.input.starts_with("Proxy env var") {
            continue;
        }
        let answer = ground
            .service
            .post("/api/clips", &recipe(&ground.link(&line), 0.0, 2.5));
        assert_eq!(answer.status, 202, "{line:?}: {}", answer.text());
        submitted.push((line, answer.json()["id"].as_str().unwrap().to_owned()));
    }
    let mut wrong = Vec::new();
    for (line, id) in &submitted {
        let clip = ground.service.wait_for(id, &["failed", "ready"]);
        let code = clip["error"]["code"].as_str().unwrap_or("-").to_owned();
        let right = match line.code {
            "url_blocked/source_*" => {
                code == "url_blocked" || code == "url_port" || code.starts_with("source_")
            }
            "url_blocked/page_*" => code == "url_blocked" || code.starts_with("page_"),
            exact => code == exact,
        };
        if !right || line.status != format!("job={}", clip["state"].as_str().unwrap()) {
            wrong.push(format!("{line:?}: {clip}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "{}\n{}",
        wrong.join("\n"),
        ground.service.log()
    );
    ground.canary.untouched(&ground.service);
    let log = ground.service.log();
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap();
    assert!(!log.contains(passwd.lines().next().unwrap()));
    // The names were asked for, and of those that changed more than once.
    for name in ["ssrfdyn-001", "ssrfdyn-004", "ssrfdyn-005", "ssrfdyn-007"] {
        assert!(
            ground.names.asked(&format!("{name}.example.test")) > 0,
            "{name}"
        );
    }
    assert!(ground.names.asked("ssrfdyn-004.example.test") >= 4);
    // What was refused is in the trail, with the clip it was for and without a path.
    let refused = events(&ground.service, submitted.len() / 4);
    let about: HashMap<&str, &Value> = refused
        .iter()
        .map(|(subject, data)| (subject.as_str(), data))
        .collect();
    let (_, first) = submitted
        .iter()
        .find(|(line, _)| line.id == "ssrfdyn-009")
        .unwrap();
    let told = about.get(first.as_str()).map(|told| {
        let mut told = (*told).clone();
        // Whoever is refused may ask once more.
        assert!(told["count"].as_u64() > Some(0), "{told}");
        told.as_object_mut().unwrap().remove("count");
        told
    });
    assert_eq!(
        told,
        Some(json!({"code": "url_blocked", "host": "127.0.0.1", "port": ground.canary.port})),
        "{refused:?}"
    );
    let figures = ground.service.get("/metrics").text();
    for code in [
        "url_blocked",
        "url_downgrade",
        "source_redirects",
        "source_unreachable",
    ] {
        let figure = format!("meme_maker_egress_refusals_total{{code=\"{code}\"}}");
        assert!(figures.contains(&figure), "{code}\n{figures}");
    }
}

/// What the trail says was refused, by whom it was about, once there are so many.
#[track_caller]
fn events(service: &Service, least: usize) -> Vec<(String, Value)> {
    let began = Instant::now();
    loop {
        let index = rusqlite::Connection::open_with_flags(
            service.data.join("index.db"),
            rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY,
        )
        .unwrap();
        let mut query = index
            .prepare("SELECT subject, data FROM events WHERE kind = 'egress.refused' ORDER BY seq")
            .unwrap();
        let rows = query.query_map([], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
        });
        let found: Vec<(String, Value)> = rows
            .unwrap()
            .map(|row| row.unwrap())
            .map(|(subject, data)| (subject, serde_json::from_str(&data).unwrap()))
            .collect();
        if found.len() >= least {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "only {found:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn proxies_of_the_environment_are_not_asked() {
    let canary = Canary::start(0);
    let origin = Origin::start_at(PUBLIC);
    let link = origin.add("/film.mp4", Behaviour::File(media::tiny()));
    let plain = origin.add("/plain.mp4", Behaviour::WithoutRanges(media::tiny()));
    let mut setup = Setup::default().with("EGRESS__ALLOW", PUBLIC);
    let proxy = format!("http://127.0.0.1:{}", canary.port);
    for name in ["http_proxy", "https_proxy", "all_proxy", "ftp_proxy"] {
        for name in [name.to_owned(), name.to_uppercase()] {
            setup.environment.push((name, proxy.clone()));
        }
    }
    setup
        .environment
        .push(("no_proxy".to_owned(), "*".to_owned()));
    let service = setup.start();
    service.make(&recipe(&link, 0.5, 1.0));
    service.make(&recipe(&plain, 0.5, 1.0));
    canary.untouched(&service);
}

#[test]
fn what_the_operator_denies_is_refused_whatever_allows_it() {
    let origin = Origin::start_at(PUBLIC);
    let names = NameServer::start();
    let denied = Origin::start_at("127.9.9.8");
    let film = denied.add("/film.mp4", Behaviour::File(media::tiny()));
    let by_name = {
        let name = names.add(
            "films.example.test",
            Says::Addresses(vec![Ipv4Addr::new(127, 9, 9, 8).into()]),
        );
        format!("http://{name}:{}/film.mp4", denied.port)
    };
    let service = Setup::default()
        .with("EGRESS__ALLOW", "127.9.9.0/24,*.example.test")
        .with("EGRESS__DENY", "127.9.9.8,*.evil.example.test")
        .with("EGRESS__NAMESERVERS", names.address)
        .with("SERVER__BASE_URL", "https://clips.example.org")
        .start();
    let fine = origin.add("/film.mp4", Behaviour::File(media::tiny()));
    service.make(&recipe(&fine, 0.5, 1.0));
    for link in [
        film.as_str(),
        "http://x.evil.example.test/a.mp4",
        // The service itself.
        "https://clips.example.org/api/files/clips/1/a.mp4",
        "http://CLIPS.example.org./a.mp4",
    ] {
        let answer = service.post("/api/clips", &recipe(link, 0.0, 1.0));
        answer.expect_problem(403, "url_blocked");
    }
    assert_eq!(service.fail(&recipe(&by_name, 0.0, 1.0)), "url_blocked");
    let moved = origin.add("/moved.mp4", Behaviour::Redirect(film));
    assert_eq!(service.fail(&recipe(&moved, 0.0, 1.0)), "url_blocked");
    assert!(denied.requests().is_empty());
    // Refused before there was a clip: about nobody, with the host and no path.
    let refused = events(&service, 4);
    let own = (
        "".to_owned(),
        json!({"code": "url_blocked", "host": "clips.example.org", "port": 443, "count": 1}),
    );
    assert!(refused.contains(&own), "{refused:?}");
}

#[test]
fn a_list_that_makes_no_sense_stops_the_start() {
    let dir = tempfile::tempdir().unwrap();
    for (key, value) in [
        ("EGRESS__DENY", "10.0.0.0/99"),
        ("EGRESS__NAMESERVERS", "nowhere"),
        ("EGRESS__ALLOW", "http://x"),
    ] {
        let ended = std::process::Command::new(crate::support::service::BINARY)
            .args(["serve", "--bind", "127.0.0.1:0", "--data-dir"])
            .arg(dir.path())
            .env(format!("MEME_MAKER__{key}"), value)
            .output()
            .unwrap();
        assert_eq!(ended.status.code(), Some(3), "{ended:?}");
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(said.contains("config_invalid"), "{said}");
    }
}

#[test]
fn an_endless_way_and_a_way_that_ends_are_told_apart() {
    let origin = Origin::start_at(PUBLIC);
    let service = Setup::default().with("EGRESS__ALLOW", PUBLIC).start();
    let film = origin.add("/0.mp4", Behaviour::File(media::tiny()));
    let mut link = film;
    for number in 1..=4 {
        link = origin.add(&format!("/{number}.mp4"), Behaviour::Redirect(link));
    }
    service.make(&recipe(&link, 0.5, 1.0));
    let endless = origin.add(
        "/endless.mp4",
        Behaviour::Redirect("/endless.mp4".to_owned()),
    );
    assert_eq!(
        service.fail(&recipe(&endless, 0.5, 1.0)),
        "source_redirects"
    );
    let asked = origin
        .requests()
        .iter()
        .filter(|line| line.contains("endless"))
        .count();
    assert!(asked <= 12, "asked {asked} times");
}
