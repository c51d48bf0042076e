//! `doctor --url` against the shipped sites behind TLS: all is well; then one thing at a time is broken, and that one is told with its
//! mend.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use base64::Engine as _;
use serde_json::Value;

use crate::support::media::{self, everyday};
use crate::support::nginx::{ACCEL, Nginx, free_port, replaced};
use crate::support::origin::{Behaviour, Origin};
use crate::support::service::{BINARY, PATIENCE, Service, Setup, recipe};
use crate::support::skipped;

const ALL: [&str; 12] = [
    "dns", "connect", "tls", "redirect", "health", "metrics", "headers", "links", "ranges", "card",
    "events", "upload",
];

/// A certificate for a name until a year, in files.
struct Seal {
    dir: tempfile::TempDir,
}

impl Seal {
    fn new(name: &str, until: i32) -> Seal {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut wish = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        wish.not_after = rcgen::date_time_ymd(until, 1, 1);
        let certificate = wish.self_signed(&key).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let pem = |kind: &str, bytes: &[u8]| {
            let coded = base64::engine::general_purpose::STANDARD.encode(bytes);
            let lines: Vec<&str> = (0..coded.len())
                .step_by(64)
                .map(|at| &coded[at..coded.len().min(at + 64)])
                .collect();
            format!(
                "-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n",
                lines.join("\n")
            )
        };
        let file = |name: &str| dir.path().join(name);
        std::fs::write(file("chain.pem"), pem("CERTIFICATE", certificate.der())).unwrap();
        std::fs::write(file("key.pem"), pem("PRIVATE KEY", &key.serialize_der())).unwrap();
        Seal { dir }
    }

    fn file(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }
}

/// A service with a clip that is ready and one at work, and the real nginx with the shipped site and TLS before it.
struct Site {
    port: u16,
    http_port: u16,
    seal: Seal,
    service: Service,
    nginx: Nginx,
    _origin: Origin,
}

/// What is done to a site file.
type Edit<'a> = &'a dyn Fn(String) -> String;

/// What is done to a site before it is asked.
struct Change<'a> {
    setup: fn(Setup) -> Setup,
    site: Edit<'a>,
    seal: Seal,
}

impl Default for Change<'_> {
    fn default() -> Self {
        Change {
            setup: |setup| setup,
            site: &|site| site,
            seal: Seal::new("localhost", 4000),
        }
    }
}

fn has_ipv6() -> bool {
    std::net::TcpListener::bind("[::1]:0").is_ok()
}

impl Site {
    fn new(change: Change) -> Site {
        let began = Instant::now();
        let origin = Origin::start();
        let link = origin.add("/everyday.mp4", Behaviour::File(everyday()));
        let drip = origin.add("/drip.mp4", Behaviour::Slow(media::long(), 2_000));
        let seal = change.seal;
        loop {
            let (port, http_port) = (free_port(), free_port());
            let setup = Setup::default()
                .with("server.accel", ACCEL)
                .with("engine.workers", "2")
                .with("server.base_url", format!("https://localhost:{port}"));
            let service = (change.setup)(setup).start();
            let nginx = Nginx::on_port(port, &service, |site, _| {
                let tls = format!(
                    "listen 127.0.0.1:{port} ssl;\n ssl_certificate {};\n ssl_certificate_key {};",
                    seal.file("chain.pem"),
                    seal.file("key.pem")
                );
                let site = replaced(&site, &format!("listen 127.0.0.1:{port};"), &tls);
                let site = match has_ipv6() {
                    true => replaced(
                        &site,
                        "# listen [::]:80;",
                        &format!("listen [::1]:{port} ssl;"),
                    ),
                    false => site,
                };
                // As certbot adds it, with the test's port.
                let site = format!(
                    "{site}\nserver {{ listen 127.0.0.1:{http_port}; return 301 https://$host:{port}$request_uri; }}\n"
                );
                (change.site)(site)
            });
            if let Some(nginx) = nginx {
                let token = service.token("clip:create");
                let submit = |link: &str, from: f64| {
                    let answer = service.request(
                        "POST",
                        "/api/clips",
                        &[
                            ("content-type", "application/json"),
                            ("authorization", &format!("Bearer {token}")),
                        ],
                        recipe(link, from, from + 1.0).to_string().as_bytes(),
                    );
                    assert_eq!(answer.status, 202, "{}", answer.text());
                    answer.json()["id"].as_str().unwrap().to_owned()
                };
                service.wait_for(&submit(&link, 1.0), &["ready"]);
                service.wait_for(&submit(&drip, 8.0), &["fetching"]);
                return Site {
                    port,
                    http_port,
                    seal,
                    service,
                    nginx,
                    _origin: origin,
                };
            }
            assert!(began.elapsed() < PATIENCE, "no port is free");
        }
    }

    fn doctor(&self, more: &[&str]) -> (Option<i32>, Value) {
        let ca = self.seal.file("chain.pem");
        let mut flags = vec!["--ca", &ca];
        flags.extend(more);
        doctor(self.port, self.http_port, &flags)
    }
}

fn doctor(port: u16, http_port: u16, flags: &[&str]) -> (Option<i32>, Value) {
    let ended = Command::new(BINARY)
        .args(["doctor", "--json", "--url"])
        .arg(format!("https://localhost:{port}"))
        .args(["--http-port", &http_port.to_string()])
        .args(flags)
        .output()
        .unwrap();
    let told =
        serde_json::from_slice(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"));
    (ended.status.code(), told)
}

fn check<'a>(told: &'a Value, name: &str) -> &'a Value {
    let checks = told["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["name"] == name);
    check.unwrap_or_else(|| panic!("{name} in {told}"))
}

/// The names of findings with this verdict.
fn names(told: &Value, ok: &Value) -> Vec<String> {
    let checks = told["checks"].as_array().unwrap().iter();
    checks
        .filter(|check| check["ok"] == *ok)
        .map(|check| check["name"].as_str().unwrap().to_owned())
        .collect()
}

/// Exactly these are wrong, and the mend holds the words.
#[track_caller]
fn expect_wrong(told: &(Option<i32>, Value), wrong: &[(&str, &str)]) {
    let (exit, told) = told;
    assert_eq!(*exit, Some(1), "{told}");
    assert_eq!(told["ok"], false);
    let expected: Vec<&str> = wrong.iter().map(|(name, _)| *name).collect();
    assert_eq!(names(told, &Value::Bool(false)), expected, "{told:#}");
    for (name, mend) in wrong {
        let hint = check(told, name)["hint"].as_str().unwrap();
        assert!(hint.contains(mend), "{name}: {hint}");
    }
}

#[test]
fn the_shipped_site_is_found_well_from_outside() {
    let site = Site::new(Change::default());
    let (exit, told) = site.doctor(&[]);
    assert_eq!(names(&told, &Value::Bool(true)), ALL, "{told:#}");
    assert_eq!(exit, Some(0));
    assert_eq!(told["ok"], true);
    // Nothing is left behind, and no log knows the upload.
    let left = std::fs::read_dir(site.service.data.join("uploads")).unwrap();
    let left: Vec<PathBuf> = left.map(|entry| entry.unwrap().path()).collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(site.nginx.site_log().contains("/api/uploads/-"));

    // For a person, the same.
    let said = Command::new(BINARY)
        .args(["doctor", "--url"])
        .arg(format!("https://localhost:{}/", site.port))
        .args(["--ca", &site.seal.file("chain.pem")])
        .output()
        .unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    assert!(said.ends_with("All is well.\n"), "{said}");
    assert!(said.contains("-    redirect  not checked:"), "{said}");
}

#[test]
fn one_broken_thing_is_told_from_the_others() {
    fn change(site: Edit) -> Change {
        Change {
            site,
            ..Change::default()
        }
    }
    let one = |from: &'static str, to: &'static str| move |site: String| replaced(&site, from, to);
    let limit = one("client_max_body_size 1m;", "client_max_body_size 1k;");
    let open = one(
        "location ^~ /metrics {\n        return 404;",
        "location ^~ /metrics {\n        proxy_set_header X-Forwarded-For \"\"; proxy_pass http://meme_maker;",
    );
    let ranges = one(
        "        internal;\n        alias",
        "        internal;\n        max_ranges 0;\n        alias",
    );
    let hidden = one(
        "    location / {\n",
        "    location / {\n        proxy_hide_header Referrer-Policy;\n",
    );
    let twice = one(
        "    location / {\n",
        "    location / {\n        add_header X-Content-Type-Options nosniff;\n",
    );
    let lost = one("alias ", "alias /nowhere");
    let framed = one(
        "    location / {\n",
        "    location /embed/ { add_header X-Frame-Options DENY; proxy_pass http://meme_maker; }\n    location / {\n",
    );
    let straight = |site: String| {
        let (kept, _) = site.split_once("return 301").unwrap();
        format!("{kept} return 200 hello; }}\n")
    };
    let cases: [(Edit, &[(&str, &str)]); 8] = [
        (&limit, &[("upload", "client_max_body_size 1m")]),
        (&open, &[("metrics", "return 404")]),
        (&ranges, &[("ranges", "Range")]),
        (&hidden, &[("headers", "proxy_hide_header")]),
        (&twice, &[("headers", "add_header")]),
        (&lost, &[("ranges", "usermod"), ("card", "/api/files/")]),
        (&framed, &[("card", "X-Frame-Options")]),
        (&straight, &[("redirect", "--redirect")]),
    ];
    // Side by side: each waits for events.
    std::thread::scope(|scope| {
        for (site, wrong) in cases {
            let site = Site::new(change(site));
            scope.spawn(move || expect_wrong(&site.doctor(&[]), wrong));
        }
    });
}

#[test]
fn events_that_are_held_back_are_noticed() {
    let held = |site: String| {
        replaced(
            &site,
            "proxy_buffering off;",
            "proxy_buffering on; proxy_ignore_headers X-Accel-Buffering;",
        )
    };
    let site = Site::new(Change {
        site: &held,
        ..Change::default()
    });
    expect_wrong(&site.doctor(&[]), &[("events", "proxy_buffering off")]);
}

#[test]
fn an_address_at_which_nobody_answers_is_told() {
    let deaf = |site: String| {
        let lines = site.lines().filter(|line| !line.contains("listen [::1]"));
        lines.collect::<Vec<_>>().join("\n")
    };
    let site = Site::new(Change {
        site: &deaf,
        ..Change::default()
    });
    let told = site.doctor(&[]);
    let addresses = check(&told.1, "dns")["detail"].as_str().unwrap();
    if !has_ipv6() || !addresses.contains("::1") {
        skipped("localhost has no IPv6 here");
        return;
    }
    expect_wrong(&told, &[("connect", "AAAA")]);
}

#[test]
fn an_address_that_is_not_the_sites_own_breaks_links_and_cards() {
    let site = Site::new(Change {
        setup: |setup| setup.with("server.base_url", "http://clips.example.org"),
        ..Change::default()
    });
    expect_wrong(
        &site.doctor(&[]),
        &[
            ("links", "base_url = \"https://localhost:"),
            ("card", "base_url"),
        ],
    );
}

#[test]
fn certificates_that_do_not_count_are_told_apart() {
    for (seal, trusted, mend) in [
        (Seal::new("localhost", 2020), true, "certbot renew"),
        (Seal::new("other.example", 4000), true, "this very name"),
        (Seal::new("localhost", 4000), false, "fullchain.pem"),
    ] {
        let site = Site::new(Change {
            seal,
            ..Change::default()
        });
        let told = if trusted {
            site.doctor(&[])
        } else {
            doctor(site.port, site.http_port, &[])
        };
        expect_wrong(&told, &[("tls", mend)]);
        // The rest is not guessed at.
        assert_eq!(names(&told.1, &Value::Null).len(), 9);
    }
}

#[test]
fn a_service_that_is_away_and_a_name_that_leads_nowhere_are_told() {
    let mut site = Site::new(Change::default());
    site.service.signal("KILL");
    site.service.ended();
    expect_wrong(
        &site.doctor(&[]),
        &[("health", "systemctl start meme-maker")],
    );
    let port = site.port;
    drop(site);
    expect_wrong(&doctor(port, 1, &[]), &[("connect", "firewall")]);
    let ended = Command::new(BINARY)
        .args(["doctor", "--json", "--url", "https://nobody.invalid"])
        .output()
        .unwrap();
    let told: Value = serde_json::from_slice(&ended.stdout).unwrap();
    expect_wrong(&(ended.status.code(), told), &[("dns", "A record")]);
}

#[test]
fn what_takes_a_token_is_checked_with_one() {
    let site = Site::new(Change {
        setup: |setup| setup.with("auth.create", "token"),
        ..Change::default()
    });
    let (exit, told) = site.doctor(&[]);
    assert_eq!(exit, Some(0), "{told:#}");
    // The list is closed too, and with it the way to a clip to look at.
    let unseen = ["links", "ranges", "card", "events", "upload"];
    assert_eq!(names(&told, &Value::Null), unseen, "{told:#}");
    let token = site.service.token("clip:create");
    let (_, told) = site.doctor(&["--token", &token]);
    assert_eq!(names(&told, &Value::Bool(true)), ALL, "{told:#}");
}

#[test]
fn a_site_without_a_clip_is_checked_as_far_as_it_goes() {
    let (port, http_port) = (free_port(), free_port());
    // Nothing is in front: what it says of itself is all there is.
    let service = Setup::default().start();
    let told = |base: &str| {
        let ended = Command::new(BINARY)
            .args(["doctor", "--json", "--url", base])
            .output()
            .unwrap();
        serde_json::from_slice::<Value>(&ended.stdout).unwrap()
    };
    let found = told(&service.url("/"));
    assert_eq!(
        names(&found, &Value::Bool(false)),
        ["tls", "metrics", "links"],
        "{found:#}"
    );
    assert_eq!(
        check(&found, "ranges")["detail"],
        "not checked: no clip yet"
    );
    assert_eq!(check(&found, "upload")["ok"], true);
    drop(service);
    let (_, found) = doctor(port, http_port, &[]);
    assert_eq!(names(&found, &Value::Bool(false)), ["connect"], "{found:#}");
}

#[test]
fn flags_that_cannot_be_used_say_so() {
    for flags in [
        &["--url", "ftp://clips.example.org"][..],
        &["--url", "https://user:word@clips.example.org"],
        &["--url", "https://127.0.0.1:1", "--ca", "/nonexistent.pem"],
        &["--ca", "/etc/hostname"],
    ] {
        let ended = Command::new(BINARY)
            .arg("doctor")
            .args(flags)
            .output()
            .unwrap();
        assert!(matches!(ended.status.code(), Some(1 | 2)), "{flags:?}");
        assert!(!ended.stderr.is_empty(), "{flags:?}");
    }
}

/// Caddy at work.
struct Caddy(Child, tempfile::TempDir);

impl Drop for Caddy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_site_for_caddy_does_what_that_for_nginx_does() {
    if Command::new("caddy").arg("version").output().is_err() {
        skipped("caddy is not installed (apt-get install caddy)");
        return;
    }
    let (port, http_port) = (free_port(), free_port());
    let seal = Seal::new("localhost", 4000);
    let origin = Origin::start();
    let link = origin.add("/everyday.mp4", Behaviour::File(everyday()));
    let drip = origin.add("/drip.mp4", Behaviour::Slow(media::long(), 2_000));
    let service = Setup::default()
        .with("engine.workers", "2")
        .with("server.base_url", format!("https://localhost:{port}"))
        .start();
    service.make(&recipe(&link, 1.0, 2.0));
    let running = service.submit(&recipe(&drip, 8.0, 9.0));
    service.wait_for(running["id"].as_str().unwrap(), &["fetching"]);

    let dir = tempfile::tempdir().unwrap();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/Caddyfile");
    let site = std::fs::read_to_string(shipped).unwrap();
    let site = replaced(
        &site,
        "reverse_proxy 127.0.0.1:8000",
        &format!("reverse_proxy {}", service.address),
    );
    let site = replaced(
        &site,
        "\nclips.example.org {\n",
        &format!(
            "\nhttps://localhost:{port} {{\n\ttls {} {}\n",
            seal.file("chain.pem"),
            seal.file("key.pem")
        ),
    );
    let global = format!("{{\n\tadmin off\n\thttp_port {http_port}\n}}\n");
    let file = dir.path().join("Caddyfile");
    std::fs::write(&file, format!("{global}{site}")).unwrap();
    let log = std::fs::File::create(dir.path().join("log")).unwrap();
    let child = Command::new("caddy")
        .args(["run", "--adapter", "caddyfile", "--config"])
        .arg(&file)
        .env("XDG_DATA_HOME", dir.path())
        .env("XDG_CONFIG_HOME", dir.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    let caddy = Caddy(child, dir);
    let began = Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        let said = std::fs::read_to_string(caddy.1.path().join("log")).unwrap();
        assert!(began.elapsed() < PATIENCE, "{said}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let (_, told) = doctor(port, http_port, &["--ca", &seal.file("chain.pem")]);
    assert_eq!(names(&told, &Value::Bool(true)), ALL, "{told:#}");
}
