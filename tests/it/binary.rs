//! The binary that is shipped: static, small, and able to start by itself.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};

use crate::support::nginx::request;

const MOST_BYTES: u64 = 25_000_000;

#[track_caller]
fn shipped() -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("dist/meme-maker");
    assert!(
        path.exists(),
        "There is no dist/meme-maker: run `make build`."
    );
    path
}

/// Both streams of a program, as text.
fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| {
            panic!("{program} is needed, deploy/needs.sh test installs it: {error}")
        });
    [output.stdout, output.stderr]
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .concat()
}

#[test]
fn the_shipped_binary_is_static_and_small() {
    let binary = shipped();
    let path = binary.to_str().unwrap();
    let kind = said("file", &["-b", path]);
    assert!(
        kind.contains("static-pie linked") || kind.contains("statically linked"),
        "{kind}"
    );
    assert!(!kind.contains("not stripped"), "{kind}");
    let libraries = said("ldd", &[path]);
    assert!(
        libraries.contains("statically linked") || libraries.contains("not a dynamic executable"),
        "{libraries}"
    );
    let size = binary.metadata().unwrap().len();
    assert!(size <= MOST_BYTES, "{size} bytes");
}

#[test]
fn the_shipped_binary_tells_its_version() {
    let version = said(shipped().to_str().unwrap(), &["--version"]);
    assert_eq!(
        version.trim(),
        concat!("meme-maker ", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn the_shipped_binary_serves_with_nothing_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let started = Started::in_folder(dir.path());
    assert!(started.page().contains("<title>Meme Maker"));
    assert!(
        dir.path().join("data/index.db").exists(),
        "data is kept in ./data"
    );
}

#[test]
fn a_log_that_nobody_reads_does_not_end_the_service() {
    let dir = tempfile::tempdir().unwrap();
    let mut started = Started::in_folder(dir.path());
    drop(started.log.take());
    for _ in 0..3 {
        assert!(started.page().contains("<title>Meme Maker"));
    }
    assert!(started.child.try_wait().unwrap().is_none());
}

/// The shipped binary at work, without environment, without configuration, in an empty folder.
struct Started {
    child: Child,
    address: String,
    log: Option<BufReader<ChildStderr>>,
}

impl Started {
    #[track_caller]
    fn in_folder(folder: &Path) -> Started {
        let mut child = Command::new(shipped())
            .args(["serve", "--bind", "127.0.0.1:0"])
            .current_dir(folder)
            .env_clear()
            .env("PATH", std::env::var("PATH").unwrap())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        while log.read_line(&mut said).unwrap() > 0 {
            if let Some((_, address)) = said.split_once("listening address=") {
                return Started {
                    child,
                    address: address.trim().to_owned(),
                    log: Some(log),
                };
            }
        }
        let _ = child.kill();
        let _ = child.wait();
        panic!("it did not start:\n{said}");
    }

    #[track_caller]
    fn page(&self) -> String {
        let answer = request(&self.address, "GET", "/", &[], b"");
        assert_eq!(answer.status, 200);
        answer.text()
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
