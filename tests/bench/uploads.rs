//! A gigabyte uploaded in one PATCH over loopback, against `cp` and `sync` of the same file to the same disk: both end when every byte
//! is on the disk. And what the service grows by meanwhile.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::figures::{mb, median, worst};
use crate::service::Service;
use crate::table::{Bound, Must, Table};
use crate::tree::{self, Watch};
use crate::{Ground, Outcome};

pub const MUSTS: &[Must] = &[
    Must {
        measure: "upload of 1 GB against cp and sync of the same file",
        bound: Bound::AtLeast(0.6),
        aim: None,
        unit: "of its speed",
    },
    Must {
        measure: "growth of resident memory meanwhile",
        bound: Bound::AtMost(20.0),
        aim: None,
        unit: "MB",
    },
];
const BYTES: usize = 1_000_000_000;
/// In turns, so that a slow minute of the disk slows both.
const ROUNDS: usize = 5;

pub fn take(ground: &Ground, table: &mut Table) -> Outcome<()> {
    let source = ground.dir.path().join("upload-source");
    make(&source)?;
    let service = Service::start(ground, &ground.dir.path().join("uploads"), &[])?;
    // The first request of a process costs memory that the others share.
    service.get("/api/health/live")?;
    let idle = tree::memory(service.pid())?.rss;
    let (mut copies, mut uploads, mut peaks) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        settle()?;
        copies.push(copied(&source, &ground.dir.path().join("copy"))?);
        settle()?;
        let watch = Watch::every(Duration::from_millis(10), service.pid());
        let (time, path) = uploaded(&service, &source)?;
        peaks.push(watch.peaks()?.0.rss);
        uploads.push(time);
        if round == 0 {
            compare(&service, &path, &source)?;
        }
        request(
            &service,
            &format!("DELETE {path} HTTP/1.1\r\nContent-Length: 0\r\n"),
            204,
        )?;
    }
    std::fs::remove_file(&source)?;
    let seconds = |times: &[Duration]| median(times.iter().map(Duration::as_secs_f64));
    let (copy, upload) = (seconds(&copies), seconds(&uploads));
    let rate = |seconds: f64| mb(BYTES as u64) / seconds;
    table.judge(
        &MUSTS[0],
        copy / upload,
        format!(
            "{:.2} ({:.2} s, {:.0} MB/s, against {:.2} s, {:.0} MB/s; medians of {ROUNDS})",
            copy / upload,
            upload,
            rate(upload),
            copy,
            rate(copy)
        ),
    );
    let peak = worst(peaks.into_iter().map(mb));
    table.judge(
        &MUSTS[1],
        peak - mb(idle),
        format!(
            "{:.1} MB, from {:.1} to {peak:.1} MB",
            peak - mb(idle),
            mb(idle)
        ),
    );
    Ok(())
}

/// Bytes that neither file system nor disk can make smaller.
fn make(path: &Path) -> Outcome<()> {
    let mut file = File::create(path)?;
    let mut random = io::Read::take(File::open("/dev/urandom")?, BYTES as u64);
    io::copy(&mut random, &mut file)?;
    Ok(file.sync_all()?)
}

/// Nothing of what was before is still to be written.
fn settle() -> Outcome<()> {
    run(&mut Command::new("sync"))
}

fn run(command: &mut Command) -> Outcome<()> {
    if command.status()?.success() {
        Ok(())
    } else {
        Err(format!("{command:?} failed").into())
    }
}

fn copied(from: &Path, to: &Path) -> Outcome<Duration> {
    let began = Instant::now();
    // A file system that shares blocks would copy nothing.
    run(Command::new("cp").arg("--reflink=never").arg(from).arg(to))?;
    run(Command::new("sync").arg(to))?;
    let time = began.elapsed();
    std::fs::remove_file(to)?;
    Ok(time)
}

/// From the first request to the 204 that says that every byte is on the disk; and the upload's path.
fn uploaded(service: &Service, source: &Path) -> Outcome<(Duration, String)> {
    let began = Instant::now();
    let head =
        format!("POST /api/uploads HTTP/1.1\r\nUpload-Length: {BYTES}\r\nContent-Length: 0\r\n");
    let path = request(service, &head, 201)?.ok_or("the upload has no address")?;
    let mut stream = TcpStream::connect(&service.address)?;
    write!(
        stream,
        "PATCH {path} HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\n\
         Content-Type: application/offset+octet-stream\r\nContent-Length: {BYTES}\r\n\r\n"
    )?;
    io::copy(&mut File::open(source)?, &mut stream)?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    if !answer.starts_with("HTTP/1.1 204") {
        return Err(format!("the upload was answered {answer}").into());
    }
    Ok((began.elapsed(), path))
}

/// A request without a body; where its answer leads.
fn request(service: &Service, head: &str, status: u16) -> Outcome<Option<String>> {
    let request = format!("{head}Host: x\r\nTus-Resumable: 1.0.0\r\n\r\n");
    let mut stream = TcpStream::connect(&service.address)?;
    stream.write_all(request.as_bytes())?;
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next().ok_or("no answer")??;
    if !first.starts_with(&format!("HTTP/1.1 {status}")) {
        return Err(format!("{head} was answered {first}").into());
    }
    for line in lines {
        let line = line?;
        if line.is_empty() {
            break;
        }
        if let Some(location) = line.to_ascii_lowercase().strip_prefix("location:") {
            return Ok(Some(location.trim().to_owned()));
        }
    }
    Ok(None)
}

fn compare(service: &Service, path: &str, source: &Path) -> Outcome<()> {
    let id = path.rsplit('/').next().unwrap_or_default();
    let kept = service.data.join("uploads").join(id).join("file");
    run(Command::new("cmp").arg("--silent").arg(kept).arg(source))
}
