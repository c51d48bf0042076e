//! A client of tus 1.0 that does one request at a time, well or badly.

use std::io::Write;
use std::net::TcpStream;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::service::{Answer, Service};

pub const VERSION: (&str, &str) = ("Tus-Resumable", "1.0.0");
pub const PIECE: (&str, &str) = ("Content-Type", "application/offset+octet-stream");

/// Bytes that repeat nowhere near, the same for the same seed (xorshift).
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// In lower-case hex.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// As metadata holds it.
pub fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// The last part of an upload's address.
pub fn id_of(path: &str) -> &str {
    path.rsplit('/').next().unwrap()
}

impl Service {
    /// Any request of the protocol.
    pub fn tus(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut all = vec![VERSION];
        all.extend(headers);
        let answer = self.request(method, path, &all, body);
        assert_eq!(answer.header("tus-resumable"), "1.0.0");
        answer
    }

    /// Begins an upload that has to be taken; its path.
    #[track_caller]
    pub fn begin_upload(&self, length: usize, name: &str) -> String {
        let metadata = format!("filename {}", base64(name.as_bytes()));
        let headers = [
            ("Upload-Length", length.to_string()),
            ("Upload-Metadata", metadata),
        ];
        let headers = headers
            .each_ref()
            .map(|(name, value)| (*name, value.as_str()));
        let answer = self.tus("POST", "/api/uploads", &headers, b"");
        assert_eq!(answer.status, 201, "{}", answer.text());
        answer.header("location")
    }

    /// Sends a piece.
    pub fn patch(&self, path: &str, offset: usize, bytes: &[u8]) -> Answer {
        let headers = [PIECE, ("Upload-Offset", &offset.to_string())];
        self.tus("PATCH", path, &headers, bytes)
    }

    /// Sends a piece that has to be taken.
    #[track_caller]
    pub fn sent(&self, path: &str, offset: usize, bytes: &[u8]) {
        let answer = self.patch(path, offset, bytes);
        assert_eq!(answer.status, 204, "{}", answer.text());
        let reached = (offset + bytes.len()).to_string();
        assert_eq!(answer.header("upload-offset"), reached);
    }

    /// An upload sent whole; its path.
    #[track_caller]
    pub fn upload(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.begin_upload(bytes.len(), name);
        self.sent(&path, 0, bytes);
        path
    }

    /// Where an upload stands.
    #[track_caller]
    pub fn offset(&self, path: &str) -> usize {
        let answer = self.tus("HEAD", path, &[], b"");
        assert_eq!(answer.status, 200);
        answer.header("upload-offset").parse().unwrap()
    }

    /// Begins to send a piece that is said to be so long, and sends these bytes of it.
    pub fn piece(&self, path: &str, offset: usize, length: usize, bytes: &[u8]) -> TcpStream {
        piece(&self.address, path, offset, length, bytes)
    }

    /// Where an upload's bytes are.
    pub fn bytes_of(&self, path: &str) -> PathBuf {
        self.data.join("uploads").join(id_of(path)).join("file")
    }

    /// Changes the index behind the service's back.
    pub fn index(&self, change: &str) {
        let index = rusqlite::Connection::open(self.data.join("index.db")).unwrap();
        index
            .busy_timeout(std::time::Duration::from_secs(20))
            .unwrap();
        meme_maker::index::teach(&index).unwrap();
        index.execute_batch(change).unwrap();
    }
}

/// As [`Service::piece`], through whatever listens at the address.
pub fn piece(address: &str, path: &str, offset: usize, length: usize, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(super::service::PATIENCE))
        .unwrap();
    write!(
        stream,
        "PATCH {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: {offset}\r\n\
         Content-Type: application/offset+octet-stream\r\nContent-Length: {length}\r\n\r\n"
    )
    .unwrap();
    // The service may go away under our hands; then nobody reads it.
    let _ = stream.write_all(bytes);
    stream
}
