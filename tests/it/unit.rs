//! The unit: what systemd says of it, whether it lets through what the service does, who is killed first when memory runs out, and
//! who is told when the service has failed.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::support::media::{self, everyday};
use crate::support::nginx::request;
use crate::support::origin::{Behaviour, Origin};
use crate::support::service::{BINARY, PATIENCE, Service, descendants, recipe};
use crate::support::skipped;
use crate::support::tus::{PIECE, VERSION};
use crate::video_pages::ytdlp;

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("deploy")
        .join(name)
}

/// What a program prints; none, with a message, where it is not installed.
fn printed(program: &str, arguments: &[&str]) -> Option<String> {
    match Command::new(program).args(arguments).output() {
        Ok(output) => Some(String::from_utf8_lossy(&output.stdout).into_owned()),
        Err(_) => {
            skipped(&format!("{program} is not installed"));
            None
        }
    }
}

/// The values of a setting in a unit, in their order.
fn values(unit: &str, key: &str) -> Vec<String> {
    let lines = unit.lines().filter_map(|line| line.split_once('='));
    lines
        .filter(|(name, _)| *name == key)
        .map(|(_, value)| value.to_owned())
        .collect()
}

#[test]
fn the_units_expose_no_more_than_was_promised() {
    for name in ["meme-maker.service", "meme-maker-failed@.service"] {
        let file = shipped(name);
        let file = file.to_str().unwrap();
        let flags = ["security", "--offline=true", "--threshold=12", file];
        let Ok(judged) = Command::new("systemd-analyze").args(flags).output() else {
            skipped("systemd-analyze is not installed");
            return;
        };
        let told = String::from_utf8_lossy(&judged.stdout);
        assert!(told.contains("Overall exposure level"), "{told}");
        assert!(judged.status.success(), "{told}");
        // A word that systemd does not know is ignored with a warning: then it protects nobody.
        let verified = Command::new("systemd-analyze")
            .args(["verify", file])
            .output();
        let said = String::from_utf8(verified.unwrap().stderr).unwrap();
        let unknown = said
            .lines()
            .filter(|line| line.contains(name) && !line.contains("is not executable"));
        assert_eq!(unknown.collect::<Vec<_>>(), Vec::<&str>::new());
    }
}

/// Every call that the unit lets through.
fn let_through(unit: &str) -> Option<BTreeSet<String>> {
    fn expanded(name: &str, found: &mut BTreeSet<String>) -> Option<()> {
        if !name.starts_with('@') {
            found.insert(name.to_owned());
            return Some(());
        }
        let listed = printed("systemd-analyze", &["syscall-filter", "--no-pager", name])?;
        assert!(listed.contains(name), "{name}: {listed}");
        let lines = listed.lines().map(str::trim).skip(1);
        for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
            expanded(line, found)?;
        }
        Some(())
    }
    let mut all = BTreeSet::new();
    for value in values(unit, "SystemCallFilter") {
        let (names, refused) = match value.strip_prefix('~') {
            Some(names) => (names, true),
            None => (value.as_str(), false),
        };
        let mut found = BTreeSet::new();
        for name in names.split_whitespace() {
            expanded(name, &mut found)?;
        }
        if refused {
            all.retain(|call| !found.contains(call));
        } else {
            all.extend(found);
        }
    }
    // systemd lets these through in any case, for it starts the program by them.
    expanded("@default", &mut all)?;
    all.insert("execve".to_owned());
    Some(all)
}

/// The calls in a table of `strace -c`.
fn calls(table: &Path) -> BTreeSet<String> {
    let table = std::fs::read_to_string(table).unwrap();
    let rows = table
        .lines()
        .filter(|line| line.trim_start().starts_with(|c: char| c.is_ascii_digit()));
    rows.filter_map(|row| row.split_whitespace().last())
        .filter(|name| *name != "total")
        .map(str::to_owned)
        .collect()
}

/// A service under strace, which ends with the test however that ends.
struct Traced(Child);

impl Drop for Traced {
    fn drop(&mut self) {
        // The service first: killed alone, strace would let it go on.
        for pid in descendants(self.0.id()) {
            let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_unit_lets_through_every_call_that_the_work_takes() {
    let unit = std::fs::read_to_string(shipped("meme-maker.service")).unwrap();
    let (Some(allowed), Some(_)) = (let_through(&unit), printed("strace", &["-V"])) else {
        return;
    };
    assert!(allowed.len() > 200 && allowed.contains("openat") && allowed.contains("clone3"));
    for refused in [
        "mount", "chown", "setuid", "reboot", "bpf", "ptrace", "keyctl",
    ] {
        assert!(!allowed.contains(refused), "{refused}");
    }
    let dir = tempfile::tempdir().unwrap();
    let traced = |table: &Path, arguments: &[&str]| {
        let mut command = Command::new("strace");
        command
            .args(["-f", "-c", "-U", "calls,errors,name", "-o"])
            .arg(table)
            .arg(BINARY)
            .args(arguments)
            .arg("--data-dir")
            .arg(dir.path().join("data"))
            .env("MEME_MAKER__EGRESS__ALLOW", "127.0.0.0/8")
            .env("MEME_MAKER__MONITOR__FLOOR", "1 MB")
            .env("MEME_MAKER__MONITOR__INTERVAL_SECONDS", "1")
            .env("MEME_MAKER__SOURCES__YTDLP_PATH", ytdlp())
            .stdin(Stdio::null());
        command
    };

    // Clips from a link and from an upload, by every way of cutting; what it is asked for; and an orderly end.
    let table = dir.path().join("serve");
    let mut strace = traced(&table, &["serve", "--bind", "127.0.0.1:0"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map(Traced)
        .unwrap();
    let mut lines = BufReader::new(strace.0.stderr.take().unwrap()).lines();
    let mut said = String::new();
    let address = loop {
        match lines.next() {
            Some(line) => {
                let line = line.unwrap();
                if let Some((_, address)) = line.split_once("listening address=") {
                    break address.trim().to_owned();
                }
                said.push_str(&line);
            }
            None if said.contains("Operation not permitted") => {
                skipped(&format!("programs may not be traced here: {said}"));
                return;
            }
            None => panic!("{said}"),
        }
    };
    let drain = std::thread::spawn(move || lines.map_while(Result::ok).count());
    let ask = |method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]| {
        request(&address, method, path, headers, body)
    };
    let (_origin, link) = Origin::with(&everyday());
    let bytes = std::fs::read(everyday()).unwrap();
    let length = bytes.len().to_string();
    let begun = ask(
        "POST",
        "/api/uploads",
        &[VERSION, ("Upload-Length", &length)],
        b"",
    );
    let upload = begun.header("location");
    let sent = ask(
        "PATCH",
        &upload,
        &[VERSION, PIECE, ("Upload-Offset", "0")],
        &bytes,
    );
    assert_eq!(sent.status, 204, "{}", sent.text());
    let upload = upload.rsplit('/').next().unwrap();
    for wish in [
        recipe(&link, 0.5, 2.5),
        json!({"url": link, "start_time": 1, "end_time": 3, "mode": "fast"}),
        json!({"upload": upload, "start_time": 1, "end_time": 2, "height": 120}),
        json!({"url": link, "segments": [{"start": 0, "end": 1}, {"start": 3, "end": 4}]}),
    ] {
        let made = ask(
            "POST",
            "/api/clips",
            &[("Content-Type", "application/json"), ("Prefer", "wait=60")],
            wish.to_string().as_bytes(),
        );
        let clip = made.json();
        assert_eq!(clip["state"], "ready", "{clip}");
        let file = ask("GET", clip["urls"]["file"].as_str().unwrap(), &[], b"");
        assert_eq!(file.status, 200);
        let token = format!("Bearer {}", clip["delete_token"].as_str().unwrap());
        let path = clip["urls"]["self"].as_str().unwrap();
        let removed = ask("DELETE", path, &[("Authorization", &token)], b"");
        assert_eq!(removed.status, 204, "{}", removed.text());
    }
    let seen = ask(
        "POST",
        "/api/sources",
        &[("Content-Type", "application/json")],
        json!({"url": link}).to_string().as_bytes(),
    );
    assert_eq!(seen.status, 201, "{}", seen.text());
    // Asked for, the pictures are begun; the end waits for them.
    let pictures = seen.json()["urls"]["filmstrip"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(ask("GET", &pictures, &[], b"").status < 504);
    for path in ["/", "/api/health", "/metrics"] {
        assert_eq!(ask("GET", path, &[], b"").status, 200, "{path}");
    }
    let service = descendants(strace.0.id())[0];
    let ended = Command::new("kill").arg(service.to_string()).status();
    assert!(ended.unwrap().success());
    assert!(strace.0.wait().unwrap().success());
    drain.join().unwrap();
    let mut used = calls(&table);

    // And the commands that run as the service's user: doctor with yt-dlp, which is Python, and clean-up; a backup takes the same calls
    // whether the service or the command makes it.
    let mut commands = vec![vec!["doctor"], vec!["cleanup"], vec!["schema"]];
    let target = dir.path().join("copy.tar").display().to_string();
    let backup = printed(BINARY, &["backup", "--help"]).unwrap_or_default();
    if backup.contains("--data-dir") {
        commands.push(vec!["backup", &target]);
    }
    for arguments in &commands {
        let table = dir.path().join(arguments[0]);
        let ended = traced(&table, arguments).output().unwrap();
        assert!(ended.status.success(), "{ended:?}");
        used.extend(calls(&table));
    }
    for sign in [
        "execve",
        "landlock_restrict_self",
        "seccomp",
        "fdatasync",
        "setpriority",
    ] {
        assert!(
            used.contains(sign),
            "{sign} was not seen, so this sees nothing: {used:?}"
        );
    }
    // Only for root: the launcher drops what it has, SQLite gives its files to the database's owner.
    if rustix::process::geteuid().is_root() {
        used.remove("capset");
        used.remove("fchown");
    }
    let refused: Vec<&String> = used
        .iter()
        .filter(|call| !allowed.contains(*call))
        .collect();
    assert!(refused.is_empty(), "{refused:?}");
}

#[test]
fn when_memory_runs_out_sidecars_go_before_the_service() {
    let service = Service::start();
    let origin = Origin::start();
    // What is no MP4 is fetched by a sidecar.
    let matroska = media::remuxed("long.mkv", &media::long(), "");
    let drip = origin.add("/drip.mkv", Behaviour::Slow(matroska, 40_000));
    let clip = service.submit(&recipe(&drip, 1.0, 2.0));
    let score = |pid: u32| -> i32 {
        let score = std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj"));
        score.map_or(0, |score| score.trim().parse().unwrap())
    };
    let name = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let began = Instant::now();
    loop {
        let sidecar = service
            .children()
            .into_iter()
            .find(|pid| name(*pid).starts_with("ff"));
        if let Some(sidecar) = sidecar {
            assert_eq!(score(sidecar), 800);
            break;
        }
        let state = service.get(&format!("/api/clips/{}", clip["id"].as_str().unwrap()));
        assert!(began.elapsed() < PATIENCE, "no sidecar: {}", state.text());
        std::thread::sleep(Duration::from_millis(10));
    }
    // The service keeps what it was started with, and the unit starts it with less.
    assert_eq!(score(service.pid()), score(std::process::id()));
    let unit = std::fs::read_to_string(shipped("meme-maker.service")).unwrap();
    let [given] = &values(&unit, "OOMScoreAdjust")[..] else {
        panic!("one OOMScoreAdjust")
    };
    assert!(given.parse::<i32>().unwrap() < 0);
    assert_eq!(values(&unit, "OOMPolicy"), ["continue"]);
}

/// Answers requests one after the other with these statuses; what was asked, head and body.
fn receiver(statuses: &'static [u16]) -> (String, std::thread::JoinHandle<Vec<(String, String)>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let listening = std::thread::spawn(move || {
        let mut asked = Vec::new();
        for status in statuses {
            let (mut stream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap());
            let (mut head, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                lines.read_line(&mut line).unwrap();
                if line.trim().is_empty() {
                    break;
                }
                if let Some(told) = line.to_lowercase().strip_prefix("content-length:") {
                    length = told.trim().parse().unwrap();
                }
                head.push_str(&line);
            }
            let mut body = vec![0; length];
            lines.read_exact(&mut body).unwrap();
            asked.push((head, String::from_utf8(body).unwrap()));
            let answer =
                format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).unwrap();
        }
        asked
    });
    (format!("http://{address}/hook/secret-path"), listening)
}

fn alert(settings: &[(&str, &str)]) -> std::process::Output {
    Command::new(BINARY)
        .args(["alert", "--unit", "meme-maker.service"])
        .envs(settings.iter().copied())
        .env("MONITOR_SERVICE_RESULT", "start-limit-hit")
        .output()
        .unwrap()
}

#[test]
fn a_failed_unit_is_told_once_and_signed() {
    let (url, receiver) = receiver(&[503, 204]);
    let ended = alert(&[
        ("MEME_MAKER__MONITOR__WEBHOOK_URL", &url),
        ("MEME_MAKER__MONITOR__WEBHOOK_SECRET", "s3cret"),
    ]);
    assert!(ended.status.success(), "{ended:?}");
    let asked = receiver.join().unwrap();
    assert_eq!(asked[0].1, asked[1].1, "it is the same message again");
    let (head, body) = &asked[1];
    let header = |name: &str| {
        let line = head
            .lines()
            .find(|line| line.to_lowercase().starts_with(&format!("{name}:")));
        line.and_then(|line| line.split_once(':'))
            .unwrap_or_else(|| panic!("{name} in {head}"))
            .1
            .trim()
            .to_owned()
    };
    let told: Value = serde_json::from_str(body).unwrap();
    assert_eq!(told["resource"], "meme-maker.service");
    assert_eq!(told["verdict"], "critical");
    assert!(told["detail"].as_str().unwrap().contains("start-limit-hit"));
    for field in ["id", "at", "kind", "was", "hint", "readings"] {
        assert!(!told[field].is_null(), "{field}");
    }
    assert_eq!(
        header("x-meme-maker-event-id"),
        told["id"].as_str().unwrap()
    );
    assert_eq!(header("content-type"), "application/json");
    let signature = header("x-meme-maker-signature");
    let (at, mac) = signature
        .strip_prefix("t=")
        .unwrap()
        .split_once(",v1=")
        .unwrap();
    let mut own = Hmac::<Sha256>::new_from_slice(b"s3cret").unwrap();
    own.update(format!("{at}.{body}").as_bytes());
    let own: String = own
        .finalize()
        .into_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(mac, own);
}

#[test]
fn an_alert_that_cannot_be_delivered_says_so_without_the_address() {
    let (url, receiver) = receiver(&[400]);
    let ended = alert(&[("MEME_MAKER__MONITOR__WEBHOOK_URL", &url)]);
    assert_eq!(ended.status.code(), Some(1));
    let (head, _) = &receiver.join().unwrap()[0];
    assert!(
        !head.to_lowercase().contains("x-meme-maker-signature"),
        "there is no secret"
    );
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(
        said.contains("answers 400") && said.contains("webhook_status"),
        "{said}"
    );
    assert!(!said.contains("secret-path"), "{said}");
    // Where nobody wants to be told there is nothing to do.
    assert!(alert(&[]).status.success());
}
