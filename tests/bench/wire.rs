//! A kept connection that speaks just enough HTTP/1.1: one request, one answer, as little work in between as can be.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

pub struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// The part of an answer that measures look at; the body is in the wire's buffer until the next one.
pub struct Answer<'a> {
    pub status: u16,
    pub location: Option<String>,
    pub body: &'a [u8],
}

impl Wire {
    pub fn connect(address: &str) -> io::Result<Wire> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        Ok(Wire {
            stream,
            buffer: vec![0; 64 * 1024],
        })
    }

    /// Sends a whole request and reads the whole answer. The answer has to say its length.
    pub fn exchange(&mut self, request: &[u8]) -> io::Result<Answer<'_>> {
        self.stream.write_all(request)?;
        let broken = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
        let mut filled = 0;
        let (status, location, from, length) = loop {
            if filled == self.buffer.len() {
                self.buffer.resize(filled * 2, 0);
            }
            let count = self.stream.read(&mut self.buffer[filled..])?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            filled += count;
            let mut headers = [httparse::EMPTY_HEADER; 32];
            let mut head = httparse::Response::new(&mut headers);
            let parsed = head
                .parse(&self.buffer[..filled])
                .map_err(|error| broken(&error.to_string()))?;
            let httparse::Status::Complete(from) = parsed else {
                continue;
            };
            let header = |name: &str| {
                head.headers
                    .iter()
                    .find(|header| header.name.eq_ignore_ascii_case(name))
                    .and_then(|header| std::str::from_utf8(header.value).ok())
            };
            let length: usize = header("content-length")
                .and_then(|length| length.parse().ok())
                .ok_or_else(|| broken("the answer does not say its length"))?;
            break (
                head.code.unwrap_or(0),
                header("location").map(str::to_owned),
                from,
                length,
            );
        };
        let end = from + length;
        if self.buffer.len() < end {
            self.buffer.resize(end, 0);
        }
        if filled < end {
            self.stream.read_exact(&mut self.buffer[filled..end])?;
        }
        Ok(Answer {
            status,
            location,
            body: &self.buffer[from..end],
        })
    }
}
