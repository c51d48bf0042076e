//! The heads of HTTP/1 messages that pass the gate: read from a buffer, and written again as the next hop shall see them.
//! It never touches a connection.

use url::{Position, Url};

/// A parsed request head.
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) target: String,
    /// The minor version of HTTP/1: what the client can read of the response depends on it.
    pub(super) version: u8,
    headers: Vec<Header>,
    /// What the client sent after the head. Only a tunnel has a use for it.
    pub(super) rest: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Get,
    Head,
    Connect,
}

pub(super) struct Header {
    name: String,
    value: Vec<u8>,
}

/// What the first bytes of a response are.
pub(super) enum ResponseHead {
    Incomplete,
    /// Not HTTP/1 (old stream servers say `ICY 200 OK`): passed on as it is.
    Foreign,
    /// An interim response (RFC 9110 section 15.2) of this length.
    Interim(usize),
    Final {
        /// As the client shall see it.
        head: Vec<u8>,
        /// Of the original.
        length: usize,
        status: u16,
    },
}

/// Why there is no request to serve.
pub(super) enum Unserved {
    /// The client left, or was too slow.
    Gone,
    /// What it sent cannot be served: a status line and a sentence.
    Answer(&'static str, &'static str),
}

const HEADERS: usize = 128;

/// Fields that belong to one hop (RFC 9110 section 7.6.1), in a request and in a response.
/// `Transfer-Encoding` and `Trailer` stay in a response, because its body is passed on as it comes.
const HOP_FIELDS: &[&str] = &["connection", "keep-alive", "upgrade", "te"];
const REQUEST_FIELDS: &[&str] = &[
    "host",
    "expect",
    "content-length",
    "transfer-encoding",
    "trailer",
];

pub(super) fn parse_response(buffer: &[u8]) -> ResponseHead {
    let mut fields = [httparse::EMPTY_HEADER; HEADERS];
    let mut response = httparse::Response::new(&mut fields);
    let length = match response.parse(buffer) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return ResponseHead::Incomplete,
        Err(_) => return ResponseHead::Foreign,
    };
    let status = response.code.unwrap_or_default();
    if matches!(status, 100..=199) {
        return ResponseHead::Interim(length);
    }
    let version = response.version.unwrap_or(1);
    let reason = response.reason.unwrap_or_default();
    let headers = owned(response.headers);
    let mut head = format!("HTTP/1.{version} {status:03} {reason}\r\n").into_bytes();
    write_fields(&mut head, &headers, &[]);
    ResponseHead::Final {
        head,
        length,
        status,
    }
}

impl Request {
    /// None while the head is incomplete.
    pub(super) fn parse(buffer: &[u8]) -> Result<Option<Request>, Unserved> {
        let mut fields = [httparse::EMPTY_HEADER; HEADERS];
        let mut parsed = httparse::Request::new(&mut fields);
        let length = match parsed.parse(buffer) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => {
                return Err(Unserved::Answer(
                    "400 Bad Request",
                    "The request cannot be read.\n",
                ));
            }
        };
        let method = match parsed.method {
            Some("GET") => Method::Get,
            Some("HEAD") => Method::Head,
            Some("CONNECT") => Method::Connect,
            Some(_) | None => {
                return Err(Unserved::Answer(
                    "405 Method Not Allowed",
                    "Only GET, HEAD and CONNECT are served.\n",
                ));
            }
        };
        let headers = owned(parsed.headers);
        // A body would be the place to hide a second request in.
        let body = headers.iter().any(|header| match header.name.as_str() {
            "content-length" => header.value != b"0",
            "transfer-encoding" => true,
            _ => false,
        });
        if body {
            return Err(Unserved::Answer(
                "400 Bad Request",
                "Requests with a body are not served.\n",
            ));
        }
        Ok(Some(Request {
            method,
            target: parsed.path.unwrap_or_default().to_owned(),
            version: parsed.version.unwrap_or(1),
            headers,
            rest: buffer[length..].to_vec(),
        }))
    }

    /// The base64 part of the Basic credential (RFC 7617), if there is one.
    pub(super) fn credential(&self) -> Option<&[u8]> {
        let header = self
            .headers
            .iter()
            .find(|header| header.name == "proxy-authorization")?;
        let (scheme, rest) = header.value.split_at_checked("Basic ".len())?;
        scheme
            .eq_ignore_ascii_case(b"Basic ")
            .then(|| rest.trim_ascii())
    }

    /// The head that upstream gets. The host is the URL's, which is the one that was judged.
    pub(super) fn origin_form(&self, url: &Url) -> Vec<u8> {
        let method = if self.method == Method::Head {
            "HEAD"
        } else {
            "GET"
        };
        let path = &url[Position::BeforePath..Position::AfterQuery];
        let host = &url[Position::BeforeHost..Position::AfterPort];
        let mut head = format!(
            "{method} {path} HTTP/1.{}\r\nHost: {host}\r\n",
            self.version
        )
        .into_bytes();
        write_fields(&mut head, &self.headers, REQUEST_FIELDS);
        head
    }
}

fn owned(fields: &[httparse::Header<'_>]) -> Vec<Header> {
    let own = |field: &httparse::Header<'_>| Header {
        name: field.name.to_ascii_lowercase(),
        value: field.value.to_vec(),
    };
    fields.iter().map(own).collect()
}

/// Writes the fields that travel on, `Connection: close` and the empty line.
fn write_fields(head: &mut Vec<u8>, headers: &[Header], dropped: &[&str]) {
    let nominated: Vec<String> = headers
        .iter()
        .filter(|header| header.name == "connection")
        .flat_map(|header| header.value.split(|&byte| byte == b','))
        .map(|token| String::from_utf8_lossy(token.trim_ascii()).to_ascii_lowercase())
        // Nobody may nominate away what says where the body ends.
        .filter(|token| token != "transfer-encoding" && token != "content-length")
        .collect();
    for Header { name, value } in headers {
        let name_str = name.as_str();
        let stays = !HOP_FIELDS.contains(&name_str)
            && !dropped.contains(&name_str)
            && !name.starts_with("proxy-")
            && !nominated.contains(name);
        if stays {
            head.extend_from_slice(name.as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value);
            head.extend_from_slice(b"\r\n");
        }
    }
    head.extend_from_slice(b"Connection: close\r\n\r\n");
}
