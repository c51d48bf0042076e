//! Who may do what: tokens of the service, the routes that take them, and how often visitors may ask.

mod creating;
mod door;
mod limits;
mod tokens;

use std::io::{BufRead, BufReader, Read, Write};

use serde_json::{Value, json};

use crate::support::service::{Answer, Service};

/// The head of an answer and, of a problem, its code. Streams that never end are let go after their head.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Met {
    status: u16,
    code: String,
}

/// Asks for a path exactly as it is written, and does not wait for a stream to end.
#[track_caller]
fn meet(service: &Service, method: &str, path: &str, headers: &[(&str, &str)]) -> Met {
    let mut stream = service.raw();
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
    if ["POST", "PUT", "PATCH"].contains(&method) {
        head.push_str("Content-Length: 0\r\n");
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = BufReader::new(stream);
    let mut line = String::new();
    answer.read_line(&mut line).unwrap();
    let status: u16 = line.split(' ').nth(1).unwrap().parse().unwrap();
    let mut problem = false;
    loop {
        let mut line = String::new();
        answer.read_line(&mut line).unwrap();
        problem |= line
            .to_ascii_lowercase()
            .starts_with("content-type: application/problem+json");
        if line.trim().is_empty() {
            break;
        }
    }
    let mut code = String::new();
    if problem && method != "HEAD" {
        let mut body = String::new();
        answer.read_to_string(&mut body).unwrap();
        let problem: Value = serde_json::from_str(&body).unwrap();
        code = problem["code"].as_str().unwrap().to_owned();
    }
    Met { status, code }
}

/// A visitor at an address, as the proxy tells it, with a token or none.
#[derive(Clone, Copy)]
struct From<'a> {
    address: &'a str,
    token: Option<&'a str>,
}

impl<'a> From<'a> {
    fn with(self, token: &'a str) -> From<'a> {
        From {
            token: Some(token),
            ..self
        }
    }

    fn ask(self, service: &Service, method: &str, path: &str, body: &[u8]) -> Answer {
        let bearer = format!("Bearer {}", self.token.unwrap_or_default());
        let mut headers = vec![
            ("x-forwarded-for", self.address),
            ("content-type", "application/json"),
        ];
        if self.token.is_some() {
            headers.push(("authorization", &bearer));
        }
        service.request(method, path, &headers, body)
    }

    fn post(self, service: &Service, path: &str, body: &Value) -> Answer {
        self.ask(service, "POST", path, body.to_string().as_bytes())
    }

    fn get(self, service: &Service, path: &str) -> Answer {
        self.ask(service, "GET", path, b"")
    }
}

fn from(address: &str) -> From<'_> {
    From {
        address,
        token: None,
    }
}

/// A link behind which nothing is: the clip fails in no time.
fn nowhere() -> Value {
    json!({"url": "http://127.0.0.1:9/v.mp4", "start_time": 1, "end_time": 2})
}
