//! The real binary, booted on a free port with a data folder of its own, and killed when the test ends.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

pub const BINARY: &str = env!("CARGO_BIN_EXE_meme-maker");
/// No test waits longer than this for anything.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Service {
    child: Child,
    pub address: String,
    pub data: PathBuf,
    log: Arc<Mutex<String>>,
    _dir: Option<tempfile::TempDir>,
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: ureq::http::HeaderMap,
    pub bytes: Vec<u8>,
}

impl Answer {
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes)
            .unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// A header as text; empty when there is none.
    pub fn header(&self, name: &str) -> String {
        self.headers
            .get(name)
            .map(|value| value.to_str().unwrap().to_owned())
            .unwrap_or_default()
    }

    /// Fails unless this is a problem with the status and the code.
    #[track_caller]
    pub fn expect_problem(&self, status: u16, code: &str) {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["code"], code);
        assert_eq!(problem["status"], status);
        for field in ["type", "title", "detail", "hint", "request_id"] {
            assert!(
                problem[field].as_str().is_some_and(|text| !text.is_empty()),
                "{field} is missing in {problem}"
            );
        }
    }
}

/// How a service is started.
#[derive(Default)]
pub struct Setup {
    pub environment: Vec<(String, String)>,
    /// A data folder to go on with instead of a new one.
    pub data: Option<PathBuf>,
}

impl Setup {
    /// With a setting, like `("LIMITS__QUEUE", "1")` or `("limits.queue", "1")`: one name, so that it covers what is set for all tests.
    pub fn with(mut self, key: &str, value: impl ToString) -> Setup {
        let key = key.replace('.', "__").to_uppercase();
        self.environment
            .push((format!("MEME_MAKER__{key}"), value.to_string()));
        self
    }

    pub fn start(self) -> Service {
        let (dir, data) = match self.data {
            Some(data) => (None, data),
            None => {
                let dir = tempfile::tempdir().unwrap();
                let data = dir.path().join("data");
                (Some(dir), data)
            }
        };
        let mut command = Command::new(BINARY);
        command
            .args(["serve", "--bind", "127.0.0.1:0", "--data-dir"])
            .arg(&data)
            // Tests serve their media on loopback.
            .env("MEME_MAKER__EGRESS__ALLOW", "127.0.0.0/8")
            .env("MEME_MAKER__MONITOR__FLOOR", "1 MB")
            .env("MEME_MAKER__STORAGE__BALLAST_BYTES", "0")
            // Tests ask faster than people do; those of the limits set their own.
            .env("MEME_MAKER__LIMITS__CLIPS_PER_MINUTE", "0")
            .env("MEME_MAKER__LIMITS__CLIPS_PER_VISITOR", "0")
            .env("MEME_MAKER__LIMITS__PROBES_PER_MINUTE", "0")
            .env("MEME_MAKER__LIMITS__UPLOADS_PER_MINUTE", "0")
            .envs(self.environment)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let log = Arc::new(Mutex::new(String::new()));
        let mut address = None;
        for line in lines.by_ref() {
            let line = line.unwrap();
            log.lock().unwrap().push_str(&format!("{line}\n"));
            if let Some(told) = listening(&line) {
                address = Some(told);
                break;
            }
        }
        let Some(address) = address else {
            panic!("the service did not start:\n{}", log.lock().unwrap())
        };
        let kept = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                kept.lock().unwrap().push_str(&format!("{line}\n"));
            }
        });
        Service {
            child,
            address,
            data,
            log,
            _dir: dir,
        }
    }
}

/// The address in the line that tells it, in either format of the log.
fn listening(line: &str) -> Option<String> {
    if let Some((_, rest)) = line.split_once("listening address=") {
        return Some(rest.trim().to_owned());
    }
    let line: Value = serde_json::from_str(line).ok()?;
    let told = line["message"] == "listening";
    told.then(|| line["address"].as_str().unwrap().to_owned())
}

impl Service {
    pub fn start() -> Service {
        Setup::default().start()
    }

    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Any request with headers and a body.
    pub fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .allow_non_standard_methods(true)
            .max_redirects(0)
            .timeout_global(Some(PATIENCE))
            .build();
        let mut request = ureq::http::Request::builder()
            .method(method)
            .uri(self.url(path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = config.new_agent().run(request.body(body).unwrap()).unwrap();
        let (parts, mut body) = response.into_parts();
        let bytes = if method == "HEAD" {
            Vec::new()
        } else {
            body.with_config().limit(1 << 30).read_to_vec().unwrap()
        };
        Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            bytes,
        }
    }

    pub fn get(&self, path: &str) -> Answer {
        self.request("GET", path, &[], b"")
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.request(
            "POST",
            path,
            &[("content-type", "application/json")],
            body.to_string().as_bytes(),
        )
    }

    /// A request that carries a clip's delete token.
    pub fn with_token(&self, method: &str, path: &str, token: &str) -> Answer {
        self.request(
            method,
            path,
            &[("authorization", &format!("Bearer {token}"))],
            b"",
        )
    }

    /// Makes a token of the service with these scopes, as the operator does.
    #[track_caller]
    pub fn token(&self, scopes: &str) -> String {
        let made = Command::new(BINARY)
            .args(["token", "create", "--scope", scopes, "--data-dir"])
            .arg(&self.data)
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        String::from_utf8(made.stdout).unwrap().trim().to_owned()
    }

    /// Submits a clip that has to be accepted; the answer with its `id` and `delete_token`.
    #[track_caller]
    pub fn submit(&self, body: &Value) -> Value {
        let answer = self.post("/api/clips", body);
        assert_eq!(answer.status, 202, "{}", answer.text());
        answer.json()
    }

    /// Waits until a clip is in one of the states.
    #[track_caller]
    pub fn wait_for(&self, id: &str, states: &[&str]) -> Value {
        let began = Instant::now();
        loop {
            let clip = self.get(&format!("/api/clips/{id}")).json();
            let state = clip["state"].as_str().unwrap().to_owned();
            if states.contains(&state.as_str()) {
                return clip;
            }
            let settled = ["ready", "failed", "cancelled", "expired"].contains(&state.as_str());
            assert!(
                !settled && began.elapsed() < PATIENCE,
                "waited for {states:?}, but {clip}\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(25));
        }
    }

    /// Makes a clip and waits until it is ready.
    #[track_caller]
    pub fn make(&self, body: &Value) -> Value {
        let id = self.submit(body)["id"].as_str().unwrap().to_owned();
        self.wait_for(&id, &["ready"])
    }

    /// Makes a clip that has to fail, and returns its error's code.
    #[track_caller]
    pub fn fail(&self, body: &Value) -> String {
        let id = self.submit(body)["id"].as_str().unwrap().to_owned();
        let clip = self.wait_for(&id, &["failed"]);
        let error = &clip["error"];
        for field in ["detail", "hint"] {
            assert!(
                error[field].as_str().is_some_and(|text| !text.is_empty()),
                "{error}"
            );
        }
        error["code"].as_str().unwrap().to_owned()
    }

    /// A connection that speaks bytes.
    pub fn raw(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Sends bytes and returns all that comes back until the service closes the connection.
    pub fn exchange(&self, bytes: &[u8]) -> String {
        let mut stream = self.raw();
        stream.write_all(bytes).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Listens to a clip's events; `last` is sent as Last-Event-ID.
    pub fn events(&self, id: &str, last: Option<&str>) -> Events {
        let mut stream = self.raw();
        let last = last
            .map(|last| format!("Last-Event-ID: {last}\r\n"))
            .unwrap_or_default();
        write!(stream, "GET /api/clips/{id}/events HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n{last}\r\n").unwrap();
        let mut lines = BufReader::new(stream);
        let mut head = String::new();
        loop {
            let mut line = String::new();
            lines.read_line(&mut line).unwrap();
            if line.trim().is_empty() {
                break;
            }
            head.push_str(&line);
        }
        Events { lines, head }
    }

    pub fn signal(&self, signal: &str) {
        let done = Command::new("kill")
            .args([&format!("-{signal}"), &self.pid().to_string()])
            .status()
            .unwrap();
        assert!(done.success());
    }

    /// Waits until the process has ended by itself.
    pub fn ended(&mut self) -> ExitStatus {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(
                began.elapsed() < PATIENCE,
                "the service does not end:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Kills it as a power cut would and starts another on the same data, with the settings given.
    pub fn killed_and_started_again(mut self, setup: Setup) -> Service {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let dir = self._dir.take();
        let mut next = Setup {
            data: Some(self.data.clone()),
            ..setup
        }
        .start();
        next._dir = dir;
        next
    }

    /// Ends it in good order and starts another on the same data.
    pub fn restarted(mut self, setup: Setup) -> Service {
        self.signal("TERM");
        assert!(self.ended().success());
        let dir = self._dir.take();
        let mut next = Setup {
            data: Some(self.data.clone()),
            ..setup
        }
        .start();
        next._dir = dir;
        next
    }

    /// Process ids of all its descendants.
    pub fn children(&self) -> Vec<u32> {
        descendants(self.pid())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub struct Events {
    lines: BufReader<TcpStream>,
    pub head: String,
}

/// One server-sent event.
#[derive(Debug)]
pub struct Event {
    pub kind: String,
    pub id: Option<String>,
    pub data: Value,
}

impl Iterator for Events {
    type Item = Event;

    /// The next event; `None` when the stream has ended. Comments and chunk sizes are skipped.
    fn next(&mut self) -> Option<Event> {
        let mut event = Event {
            kind: String::new(),
            id: None,
            data: Value::Null,
        };
        loop {
            let mut line = String::new();
            if self.lines.read_line(&mut line).unwrap() == 0 || line == "0\r\n" {
                return None;
            }
            let line = line.trim_end();
            if let Some(kind) = line.strip_prefix("event: ") {
                event.kind = kind.to_owned();
            } else if let Some(id) = line.strip_prefix("id: ") {
                event.id = Some(id.to_owned());
            } else if let Some(data) = line.strip_prefix("data: ") {
                event.data = serde_json::from_str(data).unwrap();
                return Some(event);
            }
        }
    }
}

pub fn descendants(pid: u32) -> Vec<u32> {
    let mut found = Vec::new();
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
        return found;
    };
    for thread in threads.flatten() {
        let children = std::fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        for child in children
            .split_whitespace()
            .filter_map(|child| child.parse().ok())
        {
            found.push(child);
            found.extend(descendants(child));
        }
    }
    found
}

/// Runs the command line to its end.
pub fn run(arguments: &[&str], dir: &Path) -> std::process::Output {
    Command::new(BINARY)
        .args(arguments)
        .current_dir(dir)
        .env("MEME_MAKER__EGRESS__ALLOW", "127.0.0.0/8")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// A recipe in its shortest form.
pub fn recipe(url: &str, start: f64, end: f64) -> Value {
    json!({"url": url, "start_time": start, "end_time": end})
}
