//! Where the videos come from: an HTTP server on loopback that serves one file with ranges, as fast as it can or as a line of so many
//! bytes a second lets it, and counts what it sends. Under `/silent` it takes the request and never answers.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use socket2::SockRef;

/// What is handed to the network at once.
const PIECE: usize = 16 * 1024;
/// What may wait in a socket to be taken: little, so that what a reader leaves behind is not counted as sent.
const WAITING: usize = 16 * 1024;

pub struct Origin {
    port: u16,
    shared: Arc<Shared>,
}

/// What all connections have in common.
struct Shared {
    file: Option<PathBuf>,
    sent: AtomicU64,
    line: Option<Line>,
    depth: Depth,
}

/// How much is on its way at once.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Depth {
    /// Little, so that what a reader leaves behind is not counted as sent.
    Shallow,
    /// As much as the system lets it, as any server.
    Deep,
}

/// A line that carries so many bytes a second, for all connections together.
struct Line {
    rate: f64,
    free: Mutex<Instant>,
}

impl Line {
    /// Waits for its turn and as long as so many bytes take.
    fn carry(&self, bytes: usize) {
        let time = Duration::from_secs_f64(bytes as f64 / self.rate);
        let done = {
            let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
            *free = (*free).max(Instant::now()) + time;
            *free
        };
        std::thread::sleep(done.saturating_duration_since(Instant::now()));
    }
}

impl Origin {
    /// Serves `file` at every address but `/silent`; without a file there is only silence.
    pub fn start(file: Option<&Path>) -> io::Result<Origin> {
        Origin::serve(file, None, Depth::Shallow)
    }

    /// Serves `file` as any server does, without counting to the byte.
    pub fn deep(file: &Path) -> io::Result<Origin> {
        Origin::serve(Some(file), None, Depth::Deep)
    }

    /// Serves `file` at every address with at most so many bytes a second, however many connections there are.
    pub fn behind_a_line(file: &Path, rate: f64) -> io::Result<Origin> {
        let free = Mutex::new(Instant::now());
        Origin::serve(Some(file), Some(Line { rate, free }), Depth::Shallow)
    }

    fn serve(file: Option<&Path>, line: Option<Line>, depth: Depth) -> io::Result<Origin> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let shared = Arc::new(Shared {
            file: file.map(Path::to_owned),
            sent: AtomicU64::default(),
            line,
            depth,
        });
        let origin = Origin {
            port: listener.local_addr()?.port(),
            shared: Arc::clone(&shared),
        };
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                // A reader that leaves in the middle is no error: that is what seeking looks like.
                std::thread::spawn(move || answer(stream, &shared));
            }
        });
        Ok(origin)
    }

    pub fn link(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Bytes of bodies handed to the network so far.
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::SeqCst)
    }
}

fn answer(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    if shared.depth == Depth::Shallow {
        SockRef::from(&stream).set_send_buffer_size(WAITING)?;
    }
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
    let Some(path) = shared.file.as_ref().filter(|_| !silent) else {
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
    let (mut file, mut piece) = (file.take(to - from), vec![0; PIECE]);
    loop {
        let count = file.read(&mut piece)?;
        let mut rest = &piece[..count];
        if rest.is_empty() {
            return Ok(());
        }
        if let Some(line) = &shared.line {
            line.carry(count);
        }
        while !rest.is_empty() {
            let taken = stream.write(rest)?;
            shared.sent.fetch_add(taken as u64, Ordering::SeqCst);
            rest = &rest[taken..];
        }
    }
}
