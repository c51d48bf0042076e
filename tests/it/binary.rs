//! The binary that is shipped: static, small, and able to start by itself.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

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
    // No environment, no config, an empty folder to stand in.
    let mut child = Command::new(shipped())
        .args(["serve", "--bind", "127.0.0.1:0"])
        .current_dir(dir.path())
        .env_clear()
        .env("PATH", std::env::var("PATH").unwrap())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let address = lines.map_while(Result::ok).find_map(|line| {
        line.split_once("listening address=")
            .map(|(_, address)| address.trim().to_owned())
    });
    let page = address.as_ref().map(|address| {
        ureq::get(format!("http://{address}/"))
            .call()
            .unwrap()
            .body_mut()
            .read_to_string()
            .unwrap()
    });
    let _ = child.kill();
    let _ = child.wait();
    assert!(
        page.expect("it did not start")
            .contains("<title>Meme Maker")
    );
    assert!(
        dir.path().join("data/index.db").exists(),
        "data is kept in ./data"
    );
}
