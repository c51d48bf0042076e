//! HTTP as bytes on a socket: for what a well-behaved client would never send.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::service::{PATIENCE, Service};

/// An answer as it came; its status is 0 when the connection was closed without one.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Reply {
    /// A header of the head; empty when there is none.
    pub fn header(&self, name: &str) -> &str {
        self.head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map_or("", |(_, value)| value.trim())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Sends bytes on a connection of their own and reads until the service closes it.
pub fn exchange(service: &Service, bytes: &[u8]) -> Reply {
    let stream = TcpStream::connect(&service.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // The service may have read enough before all is written; what it says to that is what counts.
    let writer = stream.try_clone().unwrap();
    let bytes = bytes.to_vec();
    let writing = std::thread::spawn(move || {
        let _ = (&writer).write_all(&bytes);
    });
    let reply = read(stream);
    writing.join().unwrap();
    reply
}

/// Reads an answer until the connection is closed.
pub fn read(mut stream: TcpStream) -> Reply {
    let mut all = Vec::new();
    let mut buffer = [0_u8; 16 * 1024];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => all.extend_from_slice(&buffer[..count]),
            // Closed with something of ours unread.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
            Err(error) => panic!("no end of the answer: {error}"),
        }
    }
    // An interim answer comes before the real one.
    let interim = b"HTTP/1.1 100 Continue\r\n\r\n";
    let all = all.strip_prefix(interim.as_slice()).unwrap_or(&all);
    let end = all.windows(4).position(|four| four == b"\r\n\r\n");
    let (head, body) = match end {
        Some(end) => (&all[..end], &all[end + 4..]),
        None => (all, &[][..]),
    };
    let head = String::from_utf8_lossy(head).into_owned();
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    Reply {
        status: status.unwrap_or(0),
        head,
        body: body.to_vec(),
    }
}

/// A GET whose target is sent as it stands.
pub fn get(service: &Service, target: &str, headers: &str) -> Reply {
    let request = format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
    exchange(service, request.as_bytes())
}
