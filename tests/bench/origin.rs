//! Where the videos come from: an HTTP server on loopback that serves one file with ranges and counts what it sends. Under `/silent`
//! it takes the request and never answers.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub struct Origin {
    port: u16,
    sent: Arc<AtomicU64>,
}

impl Origin {
    /// Serves `file` at every address but `/silent`; without a file there is only silence.
    pub fn start(file: Option<&Path>) -> io::Result<Origin> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let origin = Origin {
            port: listener.local_addr()?.port(),
            sent: Arc::default(),
        };
        let (file, sent) = (file.map(Path::to_owned), Arc::clone(&origin.sent));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (file, sent) = (file.clone(), Arc::clone(&sent));
                // A reader that leaves in the middle is no error: that is what seeking looks like.
                std::thread::spawn(move || answer(stream, file, &sent));
            }
        });
        Ok(origin)
    }

    pub fn link(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Bytes of bodies handed to the network so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::SeqCst)
    }
}

fn answer(mut stream: TcpStream, file: Option<PathBuf>, sent: &AtomicU64) -> io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?);
    let mut first = String::new();
    lines.read_line(&mut first)?;
    let mut range = None;
    loop {
        let mut line = String::new();
        if lines.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("range: bytes=") {
            range = value.trim().split_once('-').map(|(from, to)| {
                (
                    from.parse::<u64>().unwrap_or(0),
                    to.parse::<u64>().unwrap_or(u64::MAX),
                )
            });
        }
    }
    let silent = first.split(' ').nth(1).unwrap_or_default() == "/silent";
    let Some(path) = file.filter(|_| !silent) else {
        // Held until the other side gives up.
        return stream.read(&mut [0]).map(drop);
    };
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    let (from, to) = range.map_or((0, size), |(from, to)| {
        (from, to.saturating_add(1).min(size))
    });
    if from >= to {
        return write!(
            stream,
            "HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */{size}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
    }
    let status = if range.is_some() {
        "206 Partial Content"
    } else {
        "200 OK"
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nAccept-Ranges: bytes\r\nContent-Type: video/mp4\r\nContent-Length: {}\r\n\
         Content-Range: bytes {from}-{}/{size}\r\nConnection: close\r\n\r\n",
        to - from,
        to - 1
    )?;
    if first.starts_with("HEAD ") {
        return Ok(());
    }
    file.seek(SeekFrom::Start(from))?;
    let (mut file, mut piece) = (file.take(to - from), vec![0; 64 * 1024]);
    loop {
        let count = file.read(&mut piece)?;
        if count == 0 {
            return Ok(());
        }
        stream.write_all(&piece[..count])?;
        sent.fetch_add(count as u64, Ordering::SeqCst);
    }
}
