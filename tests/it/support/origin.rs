//! Where videos come from in tests: an HTTP server on loopback that can behave well or badly, and counts what it sends.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How a path answers.
#[derive(Clone, Debug)]
pub enum Behaviour {
    /// The file, with ranges.
    File(PathBuf),
    /// The file whole, whatever range is asked for.
    WithoutRanges(PathBuf),
    /// The file, with ranges, at most this many bytes a second.
    Slow(PathBuf, u64),
    /// These bytes, claimed to be so long.
    Bytes {
        bytes: Vec<u8>,
        claimed: usize,
    },
    /// Bytes, and others again and again for as long as somebody listens; no length is told.
    Endless {
        head: Vec<u8>,
        again: Vec<u8>,
    },
    /// An answer as it stands, head and all; then the connection ends.
    Raw(Vec<u8>),
    Redirect(String),
    Status(u16),
    /// Takes the request and never answers.
    Silent,
}

pub struct Origin {
    pub port: u16,
    host: String,
    paths: Arc<Mutex<Vec<(String, Behaviour)>>>,
    sent: Arc<AtomicU64>,
    requests: Arc<Mutex<Vec<String>>>,
    open: Arc<AtomicU64>,
}

impl Origin {
    pub fn start() -> Origin {
        Origin::start_at("127.0.0.1")
    }

    /// An origin on another address of loopback.
    pub fn start_at(host: &str) -> Origin {
        let listener = TcpListener::bind((host, 0)).unwrap();
        let origin = Origin {
            port: listener.local_addr().unwrap().port(),
            host: host.to_owned(),
            paths: Arc::default(),
            sent: Arc::default(),
            requests: Arc::default(),
            open: Arc::default(),
        };
        let (paths, sent, requests) = (
            Arc::clone(&origin.paths),
            Arc::clone(&origin.sent),
            Arc::clone(&origin.requests),
        );
        let open = Arc::clone(&origin.open);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (paths, sent, requests) =
                    (Arc::clone(&paths), Arc::clone(&sent), Arc::clone(&requests));
                let open = Arc::clone(&open);
                open.fetch_add(1, Ordering::SeqCst);
                std::thread::spawn(move || {
                    let _ = answer(stream, &paths, &sent, &requests);
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        origin
    }

    /// An origin with one well-behaved file; its link.
    pub fn with(path: &Path) -> (Origin, String) {
        let origin = Origin::start();
        let name = format!("/{}", path.file_name().unwrap().to_str().unwrap());
        let link = origin.add(&name, Behaviour::File(path.to_owned()));
        (origin, link)
    }

    /// Lets a path behave; its link.
    pub fn add(&self, path: &str, behaviour: Behaviour) -> String {
        self.paths
            .lock()
            .unwrap()
            .push((path.to_owned(), behaviour));
        self.link(path)
    }

    pub fn link(&self, path: &str) -> String {
        format!("http://{}:{}{path}", self.host, self.port)
    }

    /// Bytes of bodies sent so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::SeqCst)
    }

    /// Connections that are being answered.
    pub fn open(&self) -> u64 {
        self.open.load(Ordering::SeqCst)
    }

    /// Request lines so far.
    pub fn requests(&self) -> Vec<String> {
        let lines = |head: &String| head.lines().next().unwrap_or_default().trim().to_owned();
        self.requests.lock().unwrap().iter().map(lines).collect()
    }

    /// Whole heads of requests so far.
    pub fn heads(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn answer(
    stream: TcpStream,
    paths: &Mutex<Vec<(String, Behaviour)>>,
    sent: &AtomicU64,
    requests: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut head = first.clone();
    let mut range = None;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
        head.push_str(&line);
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("range: bytes=") {
            range = value
                .trim()
                .split_once('-')
                .map(|(from, to)| (from.parse::<usize>().unwrap_or(0), to.parse::<usize>().ok()));
        }
    }
    requests.lock().unwrap().push(head);
    let path = first
        .split(' ')
        .nth(1)
        .unwrap_or_default()
        .split('?')
        .next()
        .unwrap_or_default()
        .to_owned();
    let behaviour = paths
        .lock()
        .unwrap()
        .iter()
        .rev()
        .find(|(known, _)| *known == path)
        .map(|(_, behaviour)| behaviour.clone());
    match behaviour {
        None => write!(
            &stream,
            "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
        ),
        Some(Behaviour::Status(status)) => {
            write!(&stream, "HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n")
        }
        Some(Behaviour::Raw(bytes)) => send(&stream, &bytes, sent, None),
        Some(Behaviour::Redirect(to)) => write!(
            &stream,
            "HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n"
        ),
        Some(Behaviour::Silent) => {
            std::thread::sleep(Duration::from_secs(120));
            Ok(())
        }
        Some(Behaviour::Bytes { bytes, claimed }) => {
            write!(
                &stream,
                "HTTP/1.1 200 OK\r\nContent-Length: {claimed}\r\n\r\n"
            )?;
            send(&stream, &bytes, sent, None)
        }
        Some(Behaviour::Endless { head, again }) => {
            write!(&stream, "HTTP/1.1 200 OK\r\n\r\n")?;
            send(&stream, &head, sent, None)?;
            loop {
                send(&stream, &again, sent, None)?;
            }
        }
        Some(Behaviour::File(file)) => ranged(&stream, &std::fs::read(file)?, range, sent, None),
        Some(Behaviour::Slow(file, rate)) => {
            ranged(&stream, &std::fs::read(file)?, range, sent, Some(rate))
        }
        Some(Behaviour::WithoutRanges(file)) => {
            let bytes = std::fs::read(file)?;
            write!(
                &stream,
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
                bytes.len()
            )?;
            send(&stream, &bytes, sent, None)
        }
    }
}

fn ranged(
    mut stream: &TcpStream,
    bytes: &[u8],
    range: Option<(usize, Option<usize>)>,
    sent: &AtomicU64,
    rate: Option<u64>,
) -> std::io::Result<()> {
    let (from, to) = range.map_or((0, bytes.len()), |(from, to)| {
        (from, to.map_or(bytes.len(), |to| (to + 1).min(bytes.len())))
    });
    if from >= to {
        return write!(
            stream,
            "HTTP/1.1 416 No\r\nContent-Range: bytes */{}\r\nContent-Length: 0\r\n\r\n",
            bytes.len()
        );
    }
    let status = if range.is_some() {
        "206 Partial Content"
    } else {
        "200 OK"
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nAccept-Ranges: bytes\r\nContent-Type: video/mp4\r\nContent-Length: {}\r\nContent-Range: bytes {from}-{}/{}\r\n\r\n",
        to - from,
        to - 1,
        bytes.len()
    )?;
    send(stream, &bytes[from..to], sent, rate)
}

/// Sends in pieces, so that a reader that leaves is noticed and not counted for more than it took.
fn send(
    mut stream: &TcpStream,
    bytes: &[u8],
    sent: &AtomicU64,
    rate: Option<u64>,
) -> std::io::Result<()> {
    let piece = rate.map_or(16 * 1024, |rate| (rate / 10).max(1) as usize);
    for piece in bytes.chunks(piece) {
        stream.write_all(piece)?;
        sent.fetch_add(piece.len() as u64, Ordering::SeqCst);
        if rate.is_some() {
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    Ok(())
}
