//! The real nginx with the shipped site file in front of a service, and a client that shows an answer as it came over the wire.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::service::{Answer, PATIENCE, Service, Setup};

/// The location in the site file behind which published files lie.
pub const ACCEL: &str = "/internal-clips/";

pub struct Nginx {
    child: Child,
    pub address: String,
    dir: tempfile::TempDir,
}

impl Nginx {
    /// A service that hands its files to nginx, and nginx in front of it.
    pub fn with_service(setup: Setup) -> (Nginx, Service) {
        let service = setup.with("SERVER__ACCEL", ACCEL).start();
        (Nginx::in_front_of(&service), service)
    }

    /// Starts nginx with the site file; only the addresses and the folder in it are replaced.
    pub fn in_front_of(service: &Service) -> Nginx {
        let began = Instant::now();
        loop {
            // Between finding a free port and listening on it somebody else may take it; then another is found.
            if let Some(nginx) = Nginx::on_port(free_port(), service, |site, _| site) {
                return nginx;
            }
            assert!(began.elapsed() < PATIENCE, "nginx does not start");
        }
    }

    /// With the site file changed; none when somebody else has the port.
    pub fn on_port(
        port: u16,
        service: &Service,
        change: impl FnOnce(String, &Path) -> String,
    ) -> Option<Nginx> {
        let dir = tempfile::tempdir().unwrap();
        let address = format!("127.0.0.1:{port}");
        let clips = service.data.join("storage/clips/");
        let site = shipped_site();
        let site = replaced(&site, "listen 80;", &format!("listen {address};"));
        let site = replaced(
            &site,
            "server 127.0.0.1:8000;",
            &format!("server {};", service.address),
        );
        let site = replaced(
            &site,
            "alias /opt/meme-maker/data/storage/clips/;",
            &format!("alias {}/;", clips.to_str().unwrap().trim_end_matches('/')),
        );
        let site = logged_in(&site, dir.path());
        let site = change(site, dir.path());
        std::fs::write(dir.path().join("site.conf"), site).unwrap();
        let conf = dir.path().join("nginx.conf");
        std::fs::write(&conf, frame(dir.path())).unwrap();

        let child = Command::new(program())
            .args(["-e", "error.log", "-p"])
            .arg(dir.path())
            .arg("-c")
            .arg(&conf)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("nginx is needed, deploy/needs.sh test installs it: {error}")
            });
        let mut nginx = Nginx {
            child,
            address,
            dir,
        };
        let began = Instant::now();
        while TcpStream::connect(&nginx.address).is_err() {
            if nginx.child.try_wait().unwrap().is_some() {
                let log = nginx.error_log();
                assert!(
                    log.contains("Address already in use"),
                    "nginx ended:\n{log}"
                );
                return None;
            }
            assert!(began.elapsed() < PATIENCE, "{}", nginx.error_log());
            std::thread::sleep(Duration::from_millis(10));
        }
        Some(nginx)
    }

    pub fn error_log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("error.log")).unwrap_or_default()
    }

    /// The line of the access log about a request, once nginx has written it.
    #[track_caller]
    pub fn logged(&self, request_line: &str) -> String {
        let began = Instant::now();
        loop {
            let log =
                std::fs::read_to_string(self.dir.path().join("access.log")).unwrap_or_default();
            if let Some(line) = log
                .lines()
                .rev()
                .find(|line| line.starts_with(request_line))
            {
                return line.to_owned();
            }
            assert!(
                began.elapsed() < PATIENCE,
                "{request_line} is not in the log:\n{log}"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The access log as the site file writes it.
    pub fn site_log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("site.log")).unwrap_or_default()
    }

    pub fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        request(&self.address, method, path, headers, body)
    }

    pub fn get(&self, path: &str) -> Answer {
        self.request("GET", path, &[], b"")
    }

    /// Opens a stream of events and returns once its head is there.
    pub fn events(&self, path: &str) -> (BufReader<TcpStream>, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: {}\r\nAccept: text/event-stream\r\nAccept-Encoding: gzip\r\n\r\n",
            self.address
        )
        .unwrap();
        let mut lines = BufReader::new(stream);
        let head = head(&mut lines);
        (lines, head)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // The master takes its workers along when it is asked; killed, it would leave them.
        let _ = Command::new("kill")
            .args(["-TERM", &self.child.id().to_string()])
            .status();
        let _ = self.child.wait();
    }
}

/// What a distribution's nginx.conf puts around a site, with everything that is written in a folder of the test.
fn frame(dir: &Path) -> String {
    let dir = dir.to_str().unwrap();
    // Started by root, nginx would read as another user, who may not look into the test's folder.
    let user = if is_root() { "user root;" } else { "" };
    format!(
        r#"{user}
daemon off;
worker_processes 1;
pid {dir}/nginx.pid;
error_log {dir}/error.log info;
events {{ worker_connections 256; }}
http {{
    include /etc/nginx/mime.types;
    default_type application/octet-stream;
    log_format told '$request_method $request_uri uri=$uri status=$status sent=$body_bytes_sent from_app=$upstream_response_length';
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    include {dir}/site.conf;
}}
"#
    )
}

/// The site file as it is shipped.
pub fn shipped_site() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("nginx/meme-maker.conf"))
        .unwrap()
}

/// The site's logs in a folder of the test, and beside them the one that tests read.
pub fn logged_in(site: &str, dir: &Path) -> String {
    let shown = dir.to_str().unwrap();
    let site = replaced(
        site,
        "access_log /var/log/nginx/access.log meme_maker;",
        &format!("access_log {shown}/access.log told; access_log {shown}/site.log meme_maker;"),
    );
    replaced(
        &site,
        "error_log /var/log/nginx/error.log crit;",
        &format!("error_log {shown}/error.log crit;"),
    )
}

#[track_caller]
pub fn replaced(text: &str, from: &str, to: &str) -> String {
    assert_eq!(text.matches(from).count(), 1, "`{from}` in the site file");
    text.replace(from, to)
}

fn program() -> PathBuf {
    let installed = PathBuf::from("/usr/sbin/nginx");
    if installed.exists() {
        installed
    } else {
        PathBuf::from("nginx")
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// One request on a connection of its own; the path goes out as it is written.
#[track_caller]
pub fn request(
    address: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut sent = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    for (name, value) in headers {
        sent.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() {
        sent.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    sent.push_str("\r\n");
    stream.write_all(sent.as_bytes()).unwrap();
    // A server that refuses early need not read all of a body.
    let _ = stream.write_all(body);
    let mut lines = BufReader::new(stream);
    let head = head(&mut lines);
    let mut parts = head.lines();
    let status = parts
        .next()
        .unwrap()
        .split(' ')
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    let mut headers = ureq::http::HeaderMap::new();
    for line in parts {
        let (name, value) = line.split_once(':').unwrap();
        let name: ureq::http::HeaderName = name.parse().unwrap();
        headers.append(name, value.trim().parse().unwrap());
    }
    let mut bytes = Vec::new();
    if headers
        .get("transfer-encoding")
        .is_some_and(|coding| coding == "chunked")
    {
        while let Some(piece) = chunk(&mut lines) {
            bytes.extend(piece);
        }
    } else {
        let _ = lines.read_to_end(&mut bytes);
    }
    Answer {
        status,
        headers,
        bytes,
    }
}

fn head(lines: &mut BufReader<TcpStream>) -> String {
    let mut head = String::new();
    loop {
        let mut line = String::new();
        let read = lines.read_line(&mut line).unwrap();
        if read == 0 || line == "\r\n" {
            return head;
        }
        head.push_str(&line);
    }
}

/// One piece of a chunked body (RFC 9112 section 7.1); `None` after the last.
fn chunk(lines: &mut BufReader<TcpStream>) -> Option<Vec<u8>> {
    let mut size = String::new();
    lines.read_line(&mut size).unwrap();
    let size = usize::from_str_radix(size.trim(), 16).unwrap();
    let mut piece = vec![0; size + 2];
    lines.read_exact(&mut piece).unwrap();
    piece.truncate(size);
    (size > 0).then_some(piece)
}
