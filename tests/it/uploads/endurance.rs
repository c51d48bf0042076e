//! What becomes of uploads when two write at once, connections break, the service dies, the disk is full, or their time has come.

use std::io::Write;
use std::net::Shutdown;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;
use socket2::SockRef;

use crate::support::media;
use crate::support::origin::Origin;
use crate::support::service::{Service, Setup, run};
use crate::support::tus::{PIECE, id_of, noise, sha256};
use crate::support::visitor::{Ticket, until};
use crate::support::wire;

/// The keeper runs at the turn of the year only.
const NEVER: &str = "0 0 0 1 1 *";
const EVERY_SECOND: &str = "* * * * * *";

#[track_caller]
fn assert_same(service: &Service, path: &str, bytes: &[u8]) {
    let kept = std::fs::read(service.bytes_of(path)).unwrap();
    assert_eq!(kept.len(), bytes.len());
    assert_eq!(sha256(&kept), sha256(bytes));
}

fn size(path: &Path) -> usize {
    std::fs::metadata(path).map_or(0, |meta| meta.len() as usize)
}

#[test]
fn one_writes_while_the_other_is_turned_away() {
    let service = Service::start();
    let bytes = noise(11, 3_000_000);
    let path = service.begin_upload(bytes.len(), "x.mp4");
    let mut first = service.piece(&path, 0, bytes.len(), &bytes[..1_000_000]);
    let file = service.bytes_of(&path);
    until("the first half is written", || size(&file) == 1_000_000);
    for offset in [0, 1_000_000] {
        let answer = service.patch(&path, offset, &noise(12, 1_000));
        answer.expect_problem(423, "upload_locked");
        assert!(answer.header("retry-after").parse::<u64>().is_ok());
    }
    first.write_all(&bytes[1_000_000..]).unwrap();
    let reply = wire::read(first);
    assert_eq!(
        (reply.status, reply.header("upload-offset")),
        (204, "3000000")
    );
    assert_same(&service, &path, &bytes);
}

#[test]
fn of_two_who_send_the_same_piece_one_wins() {
    let service = Service::start();
    let bytes = noise(13, 2_000_000);
    for _ in 0..5 {
        let path = service.begin_upload(bytes.len(), "x.mp4");
        let mut statuses: Vec<u16> = std::thread::scope(|scope| {
            let senders: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| wire::read(service.piece(&path, 0, bytes.len(), &bytes)).status)
                })
                .collect();
            senders
                .into_iter()
                .map(|sender| sender.join().unwrap())
                .collect()
        });
        statuses.sort_unstable();
        assert_eq!(statuses[0], 204, "{statuses:?}");
        for status in &statuses[1..] {
            // A connection that is closed with bytes unread may lose its answer.
            assert!([409, 423, 0].contains(status), "{statuses:?}");
        }
        assert_same(&service, &path, &bytes);
    }
}

#[test]
fn a_writer_that_has_fallen_silent_gives_way() {
    let service = Service::start();
    let bytes = noise(14, 900_000);
    let path = service.begin_upload(bytes.len(), "x.mp4");
    // The phone has changed its network; its old connection looks alive for ever.
    let _lost = service.piece(&path, 0, bytes.len(), &bytes[..400_000]);
    until("what came can be gone on from", || {
        service.offset(&path) == 400_000
    });
    service.sent(&path, 400_000, &bytes[400_000..]);
    assert_same(&service, &path, &bytes);
}

#[test]
fn a_writer_makes_way_for_a_removal() {
    let service = Service::start();
    let path = service.begin_upload(1_000_000, "x.mp4");
    let stream = service.piece(&path, 0, 1_000_000, &noise(15, 500_000));
    until("some is written", || size(&service.bytes_of(&path)) > 0);
    assert_eq!(service.tus("DELETE", &path, &[], b"").status, 204);
    assert_eq!(wire::read(stream).status, 423);
    assert!(!service.bytes_of(&path).exists());
    assert_eq!(service.tus("HEAD", &path, &[], b"").status, 404);
}

#[test]
fn connections_that_break_anywhere_lose_nothing_that_arrived() {
    let service = Service::start();
    let bytes = noise(16, 4_000_000);
    let path = service.begin_upload(bytes.len(), "x.mp4");
    let (mut offset, mut cuts) = (0, 0);
    while offset < bytes.len() {
        let end = bytes.len().min(offset + 1 + (cuts * 7_919_731) % 600_000);
        let stream = service.piece(&path, offset, bytes.len() - offset, &bytes[offset..end]);
        if cuts % 2 == 0 {
            // Closed in good order: what was sent arrives, but for what the HTTP server had not handed on, unless the one before is
            // still being made safe.
            stream.shutdown(Shutdown::Write).unwrap();
            let reply = wire::read(stream);
            match reply.status {
                204 | 400 => assert!(service.offset(&path) + 200_000 >= end, "{end}"),
                status => assert!([409, 423].contains(&status), "{}", reply.text()),
            }
        } else {
            // Reset: what was on its way may be lost.
            SockRef::from(&stream)
                .set_linger(Some(Duration::ZERO))
                .unwrap();
            drop(stream);
        }
        let kept = service.offset(&path);
        // The one that was reset may have been heard late; its bytes are the same.
        assert!(kept >= offset, "{offset} {kept}");
        offset = kept;
        cuts += 1;
        assert!(cuts < 500, "it does not come forward");
    }
    assert!(cuts > 8);
    assert_same(&service, &path, &bytes);
}

fn received(service: &Service) -> usize {
    let index = rusqlite::Connection::open(service.data.join("index.db")).unwrap();
    let query = "SELECT received FROM uploads";
    let received: i64 = index.query_row(query, [], |row| row.get(0)).unwrap();
    received as usize
}

#[test]
fn a_power_cut_takes_nothing_that_was_said_to_be_there() {
    let bytes = noise(17, 60_000_000);
    let mut service = Service::start();
    let path = service.begin_upload(bytes.len(), "x.mp4");
    service.sent(&path, 0, &bytes[..1_000_000]);
    let mut told = 1_000_000;
    for round in 1..4 {
        // More than a piece, and never the end: the request is still running when the power goes.
        let end = told + 18_000_000;
        let (address, rest) = (service.address.clone(), bytes[told..end].to_vec());
        let (target, length) = (path.clone(), bytes.len() - told);
        let start = told;
        let sender = std::thread::spawn(move || {
            crate::support::tus::piece(&address, &target, start, length, &rest)
        });
        if round < 3 {
            // The index is looked into: asking the service would make a silent writer end.
            until("a piece is recorded", || {
                told = received(&service);
                told > start
            });
        } else {
            until("some is written", || size(&service.bytes_of(&path)) > start);
        }
        service.signal("KILL");
        let _ = sender.join();
        let file = service.bytes_of(&path);
        assert!(size(&file) >= told);
        // What a power cut makes of a file that was growing.
        let mut grown = std::fs::OpenOptions::new()
            .append(true)
            .open(&file)
            .unwrap();
        grown.write_all(&[0; 5_000]).unwrap();
        drop(grown);
        service = service.killed_and_started_again(Setup::default());
        let kept = service.offset(&path);
        assert!(kept >= told, "{kept} of {told}");
        assert_eq!(size(&file), kept, "what was not recorded is cut off");
        told = kept;
    }
    service.sent(&path, told, &bytes[told..]);
    assert_same(&service, &path, &bytes);
}

#[test]
fn a_stop_in_good_order_keeps_what_has_come() {
    let service = Service::start();
    let bytes = noise(18, 2_000_000);
    let path = service.begin_upload(bytes.len(), "x.mp4");
    let stream = service.piece(&path, 0, bytes.len(), &bytes[..1_234_567]);
    until("it is written", || {
        size(&service.bytes_of(&path)) == 1_234_567
    });
    let service = service.restarted(Setup::default());
    assert_eq!(wire::read(stream).status, 503);
    assert_eq!(service.offset(&path), 1_234_567);
    service.sent(&path, 1_234_567, &bytes[1_234_567..]);
    assert_same(&service, &path, &bytes);
}

#[test]
fn bytes_and_records_are_made_to_agree_at_the_start() {
    let service = Service::start();
    let (short, lost, whole) = (
        service.upload("short.mp4", &noise(19, 5_000)),
        service.upload("lost.mp4", &noise(20, 5_000)),
        service.upload("whole.mp4", &noise(21, 5_000)),
    );
    let uploads = service.data.join("uploads");
    let shorter = std::fs::File::options()
        .write(true)
        .open(service.bytes_of(&short))
        .unwrap();
    shorter.set_len(3_000).unwrap();
    std::fs::remove_dir_all(uploads.join(id_of(&lost))).unwrap();
    std::fs::create_dir(uploads.join("5f0c1a52-7c3e-4d8a-9d0b-0123456789ab")).unwrap();
    std::fs::write(uploads.join("stray"), "x").unwrap();
    let service = service.killed_and_started_again(Setup::default());
    assert_eq!(service.offset(&short), 3_000);
    assert_eq!(service.tus("HEAD", &lost, &[], b"").status, 404);
    assert_same(&service, &whole, &noise(21, 5_000));
    assert_eq!(std::fs::read_dir(&uploads).unwrap().count(), 2);
    service.sent(&short, 3_000, &noise(19, 5_000)[3_000..]);
    assert_same(&service, &short, &noise(19, 5_000));
}

/// A file system of its own that is full soon; `None` where none may be mounted.
struct Small(tempfile::TempDir);

impl Small {
    fn mount(size: &str) -> Option<Small> {
        let dir = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(dir.path())
            .stderr(Stdio::null())
            .status();
        mounted
            .is_ok_and(|status| status.success())
            .then_some(Small(dir))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_is_told_and_what_arrived_stays() {
    let Some(small) = Small::mount("40m") else {
        println!("no file system can be mounted here: the full disk was not tried");
        return;
    };
    let data = small.0.path().join("data");
    let service = Setup {
        data: Some(data.clone()),
        ..Setup::default()
    }
    .start();
    let bytes = noise(22, 22_000_000);
    let small_one = service.upload("small.mp4", &noise(26, 3_000_000));
    let path = service.begin_upload(bytes.len(), "x.mp4");
    // What is promised to one is not promised to another.
    let headers = [("Upload-Length", "22000000")];
    let second = service.tus("POST", "/api/uploads", &headers, b"");
    second.expect_problem(507, "disk_low");
    assert_eq!(std::fs::read_dir(data.join("uploads")).unwrap().count(), 2);
    // Nobody else was to write here, but somebody does.
    let filler = small.0.path().join("filler");
    std::fs::write(&filler, noise(23, 28_000_000)).unwrap();
    let stream = service.piece(&path, 0, bytes.len(), &bytes);
    let reply = wire::read(stream);
    // The answer can be lost with the bytes that nobody reads.
    assert!([507, 0].contains(&reply.status), "{}", reply.text());
    until("it is told", || service.log().contains("the disk is full"));
    let kept = service.offset(&path);
    assert!(kept > 1_000_000 && kept < bytes.len(), "{kept}");
    let answer = service.patch(&path, kept, &bytes[kept..]);
    answer.expect_problem(507, "disk_full");
    // Not one byte is free: what is not needed can go all the same.
    let other = small.0.path().join("other");
    assert!(std::fs::write(&other, noise(25, 30_000_000)).is_err());
    assert_eq!(service.tus("DELETE", &small_one, &[], b"").status, 204);
    assert!(!service.bytes_of(&small_one).exists());
    std::fs::remove_file(&other).unwrap();
    std::fs::remove_file(&filler).unwrap();
    let kept = service.offset(&path);
    service.sent(&path, kept, &bytes[kept..]);
    assert_same(&service, &path, &bytes);
}

#[test]
fn expiry_takes_what_nobody_used_and_nothing_that_is_in_use() {
    let (origin, tiny) = (Origin::start(), std::fs::read(media::tiny()).unwrap());
    let service = Setup::default()
        .with("ENGINE__WORKERS", 1)
        .with("KEEPER__EXPIRY", EVERY_SECOND)
        .start();
    let held = service.hold(&origin);
    let (idle, waiting, old) = (
        service.upload("idle.mp4", &tiny),
        service.upload("waiting.mp4", &tiny),
        service.upload("old.mp4", &tiny),
    );
    let clip = service.ticket(
        &json!({"upload": id_of(&waiting), "start_time": 0.5, "end_time": 1.5, "mode": "fast"}),
    );
    let bytes = noise(24, 300_000);
    let writing = service.begin_upload(bytes.len(), "writing.mp4");
    let mut stream = service.piece(&writing, 0, bytes.len(), &bytes[..100_000]);
    until("it is being written", || {
        size(&service.bytes_of(&writing)) == 100_000
    });
    let age = |path: &str| {
        let id = id_of(path);
        service.index(&format!(
            "UPDATE uploads SET used_at = 1000 WHERE id = '{id}'"
        ));
    };
    // The last of them to be aged goes last, so that the others had their turn.
    age(&waiting);
    age(&writing);
    age(&old);
    until("the keeper has run", || {
        service.log().contains("upload expired")
    });
    let gone = service.tus("HEAD", &old, &[], b"").status;
    assert_eq!(gone, 404);
    assert!(!service.bytes_of(&old).parent().unwrap().exists());
    assert_eq!(service.tus("HEAD", &waiting, &[], b"").status, 200);
    assert_eq!(service.offset(&idle), tiny.len());
    stream.write_all(&bytes[100_000..]).unwrap();
    assert_eq!(wire::read(stream).status, 204);
    assert_same(&service, &writing, &bytes);
    // The clip is made from it, and having been used so lately it stays.
    service.cancel(&held);
    service.wait_for(&clip.id, &["ready"]);
    age(&idle);
    until("the next run is over", || {
        service.tus("HEAD", &idle, &[], b"").status == 404
    });
    assert_eq!(service.offset(&waiting), tiny.len());
    until("both are counted", || {
        let figures = service.get("/metrics").text();
        figures.contains("meme_maker_uploads_expired_total 2")
    });
}

#[test]
fn an_upload_whose_time_is_over_is_gone_before_it_is_swept() {
    let service = Setup::default()
        .with("KEEPER__EXPIRY", NEVER)
        .with("KEEPER__SWEEP", NEVER)
        .start();
    let (path, kept) = (
        service.begin_upload(10, "x.mp4"),
        service.upload("y.mp4", b"0123456789"),
    );
    let id = id_of(&path);
    service.index(&format!(
        "UPDATE uploads SET used_at = 1000 WHERE id = '{id}'"
    ));
    assert_eq!(service.tus("HEAD", &path, &[], b"").status, 410);
    let headers = [PIECE, ("Upload-Offset", "0")];
    service
        .tus("PATCH", &path, &headers, b"0123456789")
        .expect_problem(410, "upload_gone");
    let cleanup = |more: &[&str]| {
        let data = service.data.to_str().unwrap();
        let arguments = [&["cleanup", "--data-dir", data], more].concat();
        let output = run(&arguments, Path::new("/"));
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    let told = cleanup(&["--dry-run"]);
    assert!(
        told.contains(&format!("would remove upload {}", &id[..8])),
        "{told}"
    );
    assert!(told.contains("0 clips and 1 upload"), "{told}");
    assert!(service.bytes_of(&path).exists());
    // Beside the service, which writes to another meanwhile.
    let writing = service.begin_upload(10, "z.mp4");
    let mut stream = service.piece(&writing, 0, 10, b"01234");
    until("it is being written", || {
        size(&service.bytes_of(&writing)) == 5
    });
    service.index(&format!(
        "UPDATE uploads SET used_at = 1000 WHERE id = '{}'",
        id_of(&writing)
    ));
    cleanup(&[]);
    assert_eq!(service.tus("HEAD", &path, &[], b"").status, 404);
    assert!(!service.bytes_of(&path).exists());
    assert_eq!(service.offset(&kept), 10);
    stream.write_all(b"56789").unwrap();
    assert_eq!(wire::read(stream).status, 204);
    assert_eq!(service.offset(&writing), 10);
}

#[test]
fn a_ticket_of_an_upload_is_like_any_other() {
    let service = Service::start();
    let tiny = std::fs::read(media::tiny()).unwrap();
    let path = service.upload("tiny.mp4", &tiny);
    let wish = json!({"upload": id_of(&path), "start_time": 0.5, "end_time": 1.5, "mode": "fast"});
    let ticket: Ticket = service.ticket(&wish);
    service.wait_for(&ticket.id, &["ready"]);
    assert_eq!(service.remove(&ticket).status, 204);
    assert_eq!(service.offset(&path), tiny.len(), "the upload outlives it");
}
