//! What a sidecar cannot do: attempts to get out, started by the very code that starts ffmpeg, with a script in its place. Each is made
//! without the launcher too, where it has to work: one that fails for a reason of its own proves nothing.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use meme_maker::media::sidecar::{self, Job, Kin, Programs};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::support::service::{BINARY, PATIENCE, Service};

/// What a fetching sidecar may do.
const ALLOWED: [&str; 5] = [
    "work",
    "read named file",
    "connect to the gate",
    "threads",
    "random",
];

/// Every attempt, what the system says to it, and whether it works without the sandbox for everybody, for root, or nowhere for sure.
const ESCAPES: [(&str, &[&str], Unheld); 65] = [
    ("read passwd", &["EACCES"], Works),
    ("read by way of its own root", &["EACCES"], Works),
    ("read through a link", &["EACCES"], Works),
    ("read index", &["EACCES"], Works),
    ("read key", &["EACCES"], Works),
    ("read another's work", &["EACCES"], Works),
    ("list works", &["EACCES"], Works),
    ("list home", &["EACCES"], Works),
    ("list root", &["EACCES"], Works),
    ("write named file", &["EACCES"], Works),
    ("write data", &["EACCES"], Works),
    ("write tmp", &["EACCES"], Works),
    ("write another's work", &["EACCES"], Works),
    ("truncate another's work", &["EACCES"], Works),
    ("remove another's work", &["EACCES"], Works),
    ("remove named file", &["EACCES"], Works),
    ("make link", &["EPERM"], Works),
    ("make hard link", &["EPERM"], Works),
    ("rename out", &["EACCES", "EXDEV"], Works),
    ("rename in", &["EACCES", "EXDEV"], Works),
    ("open up the key", &["EPERM"], Works),
    ("give away", &["EPERM"], Works),
    ("set times", &["EPERM"], Works),
    ("pipe with a name", &["EPERM"], Works),
    ("device", &["EPERM"], Root),
    ("parent's environment", &["EACCES"], Works),
    ("parent's memory", &["EACCES", "EPERM"], Varies),
    ("parent's descriptors", &["EACCES"], Works),
    ("signal parent", &["EPERM"], Works),
    ("trace parent", &["EPERM"], Varies),
    ("read parent's memory", &["EPERM"], Varies),
    ("limit parent", &["EPERM"], Works),
    ("slow parent down", &["EPERM"], Varies),
    ("slow everybody down", &["EPERM"], Varies),
    ("leave the group", &["EPERM"], Varies),
    ("new session", &["EPERM"], Varies),
    ("outlive the service", &["EPERM"], Works),
    ("fork", &["EPERM"], Works),
    ("fork bomb", &["EPERM"], Varies),
    ("connect to 127.0.0.1", &["EACCES"], Works),
    ("connect to ::1", &["EACCES"], Varies),
    ("connect to the service", &["EACCES"], Works),
    ("connect while sending", &["EPERM"], Varies),
    ("listen", &["EACCES"], Works),
    ("listen without a name", &["EPERM"], Works),
    ("datagram", &["EPERM"], Works),
    ("raw socket", &["EPERM"], Root),
    ("packet socket", &["EPERM"], Root),
    ("netlink", &["EPERM"], Works),
    ("multipath", &["EPERM"], Varies),
    ("unix socket", &["EPERM"], Works),
    ("abstract socket", &["EPERM"], Works),
    ("pair of sockets", &["EPERM"], Works),
    ("run what was written", &["EPERM"], Works),
    ("run what was copied", &["EACCES"], Varies),
    ("run what lies nowhere", &["EPERM"], Varies),
    ("another user", &["EPERM"], Root),
    ("mount", &["EPERM"], Varies),
    ("new namespace", &["EPERM"], Varies),
    ("new root", &["EPERM"], Root),
    ("ring", &["EPERM"], Varies),
    ("second numbers", &["EPERM"], Varies),
    ("large file", &["EFBIG"], Works),
    ("large memory", &["ENOMEM"], Varies),
    ("many files", &["EMFILE"], Varies),
];

#[derive(Clone, Copy, PartialEq)]
enum Unheld {
    /// Without the sandbox it works, or the test is worth nothing.
    Works,
    /// It works for root.
    Root,
    /// Depends on the machine, ends the attempt itself, or disturbs whoever runs the test.
    Varies,
}
use Unheld::{Root, Varies, Works};

/// A running service with secrets, one job's folder in it, and canaries all around.
struct Ground {
    dir: PathBuf,
    script: PathBuf,
    places: Value,
    gate: TcpListener,
    canaries: Vec<TcpListener>,
    sockets: Vec<UnixListener>,
    datagrams: UdpSocket,
    _service: Service,
    _base: tempfile::TempDir,
}

impl Ground {
    fn new() -> Ground {
        let service = Service::start();
        let base = tempfile::tempdir().unwrap();
        let dir = service.data.join("work/0197-job");
        let other = service.data.join("work/0197-other");
        for dir in [&dir, &other] {
            std::fs::create_dir_all(dir).unwrap();
        }
        let at = |path: PathBuf, bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            path
        };
        at(dir.join("own"), b"own");
        std::os::unix::fs::symlink(service.data.join("secret.key"), dir.join("link")).unwrap();
        let other = at(other.join("window-0.mp4"), b"another's");
        let named = at(base.path().join("named.mp4"), b"named");
        let home = base.path().join("home");
        std::fs::create_dir(&home).unwrap();
        let script = at(base.path().join("probe"), program().as_bytes());
        std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();

        let listener = |address: &str| {
            let listener = TcpListener::bind(address).unwrap();
            listener.set_nonblocking(true).unwrap();
            listener
        };
        let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
        let gate = listener("127.0.0.1:0");
        let canary = listener("127.0.0.1:0");
        // A machine without IPv6 has nobody there to knock at.
        let canary6 = TcpListener::bind("[::1]:0").ok();
        let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
        datagrams.set_nonblocking(true).unwrap();
        let unix = base.path().join("socket");
        let name = format!("meme-maker-canary-{}", std::process::id());
        let abstractly = SocketAddr::from_abstract_name(&name).unwrap();
        let sockets = vec![
            UnixListener::bind(&unix).unwrap(),
            UnixListener::bind_addr(&abstractly).unwrap(),
        ];
        let places = json!({
            "data": service.data, "other": other, "named": named, "home": home, "unix": unix, "abstract": name,
            "parent": std::process::id(), "group": 0,
            "gate": port(&gate), "canary": port(&canary), "canary6": canary6.as_ref().map_or(1, port),
            "datagrams": datagrams.local_addr().unwrap().port(),
            "service": service.address.rsplit_once(':').unwrap().1.parse::<u16>().unwrap(),
        });
        Ground {
            dir,
            script,
            places,
            gate,
            canaries: std::iter::once(canary).chain(canary6).collect(),
            sockets,
            datagrams,
            _service: service,
            _base: base,
        }
    }

    /// What an attempt says, made as a sidecar is started.
    fn held(&self, name: &str, kin: Kin, way_out: bool) -> String {
        let programs = Programs {
            launcher: BINARY.into(),
            ffmpeg: self.script.clone(),
            ffprobe: self.script.clone(),
            memory: 1_500_000_000,
            readable: Vec::new(),
        };
        let stop = CancellationToken::new();
        let proxy = format!("http://lease:0123@127.0.0.1:{}", self.places["gate"]);
        let reads = [PathBuf::from(self.places["named"].as_str().unwrap())];
        let job = Job {
            programs: &programs,
            dir: &self.dir,
            deadline: Duration::from_secs(30),
            stop: &stop,
            proxy: way_out.then_some(proxy.as_str()),
            reads: &reads,
            kin,
        };
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let arguments = vec![name.into(), self.places.to_string().into()];
        let said = runtime.block_on(sidecar::ffprobe(job, arguments));
        let said = said.unwrap_or_else(|error| panic!("{name}: {error}"));
        String::from_utf8(said).unwrap().trim().to_owned()
    }

    /// What it says without the launcher.
    fn unheld(&self, name: &str) -> String {
        let ended = Command::new(&self.script)
            .args([name, &self.places.to_string()])
            .current_dir(&self.dir)
            .output()
            .unwrap();
        assert!(
            ended.status.success(),
            "{name}: {}",
            String::from_utf8_lossy(&ended.stderr)
        );
        String::from_utf8(ended.stdout).unwrap().trim().to_owned()
    }

    #[track_caller]
    fn nobody_knocked(&self) {
        for canary in &self.canaries {
            canary.set_nonblocking(true).unwrap();
            assert!(canary.accept().is_err(), "somebody connected");
        }
        for socket in &self.sockets {
            socket.set_nonblocking(true).unwrap();
            assert!(socket.accept().is_err(), "somebody connected");
        }
        let heard = self.datagrams.recv(&mut [0; 16]);
        assert!(heard.is_err(), "somebody sent a datagram");
    }

    /// What is in the data folder and the job's, by name.
    fn names(&self) -> BTreeSet<PathBuf> {
        let in_dir = |dir: &Path| {
            let entries = std::fs::read_dir(dir).unwrap();
            entries
                .map(|entry| entry.unwrap().path())
                .collect::<Vec<_>>()
        };
        let data = PathBuf::from(self.places["data"].as_str().unwrap());
        [in_dir(&data), in_dir(&self.dir)]
            .concat()
            .into_iter()
            // The index comes and goes with its own files.
            .filter(|path| !path.to_string_lossy().contains("index.db-"))
            .collect()
    }
}

/// The script, with the machine's Python in its first line: the real one, no shim that would have to start it.
fn program() -> String {
    let asked = Command::new("python3")
        .args([
            "-c",
            "import os, sys; print(os.path.realpath(sys.executable))",
        ])
        .output()
        .unwrap();
    let python = String::from_utf8(asked.stdout).unwrap();
    format!(
        "#!{} -I\n{}",
        python.trim(),
        include_str!("../data/sandbox/probe.py")
    )
}

/// What `doctor` says in a folder of its own.
fn doctor(flags: &[&str]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let ended = Command::new(BINARY)
        .arg("doctor")
        .args(flags)
        .current_dir(dir.path())
        .output()
        .unwrap();
    String::from_utf8(ended.stdout).unwrap()
}

/// Where the kernel cannot hold a sidecar these tests prove nothing, and say so by failing.
#[track_caller]
fn expect_whole() {
    let told = doctor(&["--json"]);
    let told: Value = serde_json::from_str(&told).unwrap();
    for part in ["files", "tcp", "signals", "calls"] {
        assert_eq!(
            told["sandbox"][part], true,
            "this kernel cannot hold a sidecar; the tests of the sandbox need Linux 6.12: {}",
            told["sandbox"]
        );
    }
}

#[test]
fn a_sidecar_does_not_get_out() {
    expect_whole();
    let ground = Ground::new();
    let before = ground.names();
    let key = std::fs::read(ground.places["data"].as_str().unwrap().to_owned() + "/secret.key");
    for name in ALLOWED {
        let said = ground.held(name, Kin::Alone, true);
        assert!(said.starts_with("done "), "{name}: {said}");
    }
    assert!(ground.gate.accept().is_ok(), "nobody came to the gate");
    let mut got_out = Vec::new();
    for (name, errors, _) in ESCAPES {
        let said = ground.held(name, Kin::Alone, true);
        let refused = said.strip_prefix("refused ");
        if refused.is_none_or(|error| !errors.contains(&error)) {
            got_out.push(format!("{name}: {said}"));
        }
    }
    assert!(got_out.is_empty(), "{}", got_out.join("\n"));
    ground.nobody_knocked();
    for made in ["escape", "copied", "large"] {
        let _ = std::fs::remove_file(ground.dir.join(made));
    }
    assert_eq!(ground.names(), before);
    assert_eq!(
        std::fs::read(ground.places["data"].as_str().unwrap().to_owned() + "/secret.key").unwrap(),
        key.unwrap()
    );
}

#[test]
fn the_attempts_work_where_nothing_holds_them() {
    let ground = Ground::new();
    let root = rustix::process::geteuid().is_root();
    for (name, _, unheld) in ESCAPES {
        if unheld == Varies || (unheld == Root && !root) {
            continue;
        }
        // Some take away what others need.
        std::fs::write(ground.places["other"].as_str().unwrap(), b"another's").unwrap();
        std::fs::write(ground.places["named"].as_str().unwrap(), b"named").unwrap();
        std::fs::write(ground.dir.join("own"), b"own").unwrap();
        let said = ground.unheld(name);
        assert!(said.starts_with("done "), "{name}: {said}");
    }
    let _ = std::fs::remove_file("/tmp/meme-maker-probe");
}

#[test]
fn without_a_way_out_there_is_no_socket_at_all() {
    expect_whole();
    let ground = Ground::new();
    for name in [
        "connect to the gate",
        "connect to 127.0.0.1",
        "listen",
        "datagram",
        "unix socket",
    ] {
        assert_eq!(
            ground.held(name, Kin::Alone, false),
            "refused EPERM",
            "{name}"
        );
    }
    assert!(ground.gate.accept().is_err(), "somebody came to the gate");
    ground.nobody_knocked();
}

#[test]
fn a_program_with_children_is_held_with_them() {
    expect_whole();
    let ground = Ground::new();
    assert_eq!(ground.held("child", Kin::Family, true), "done hi");
    assert_eq!(ground.held("child", Kin::Alone, true), "refused EPERM");
    for (name, errors, _) in ESCAPES {
        // Those are what it may do, and a bomb is bounded by the number of tasks, which root has no bound for.
        if ["fork", "fork bomb"].contains(&name) {
            continue;
        }
        let said = ground.held(name, Kin::Family, true);
        let refused = said.strip_prefix("refused ");
        assert!(
            refused.is_some_and(|error| errors.contains(&error)),
            "{name}: {said}"
        );
    }
    ground.nobody_knocked();
}

#[test]
fn doctor_tells_what_holds() {
    expect_whole();
    let said = doctor(&[]);
    let line = said
        .lines()
        .find(|line| line.contains(" sandbox "))
        .unwrap_or_default();
    assert!(
        line.starts_with("ok ")
            && line.contains("Landlock ")
            && line.contains("files, TCP ports, signals, system calls")
            && !line.contains("not held"),
        "{said}"
    );
}

#[test]
fn files_beside_the_job_are_read_only_when_they_are_named() {
    expect_whole();
    let ground = Ground::new();
    let mut unnamed = ground.places.clone();
    let other = Path::new(unnamed["named"].as_str().unwrap()).with_file_name("unnamed.mp4");
    std::fs::File::create(&other)
        .unwrap()
        .write_all(b"unnamed")
        .unwrap();
    unnamed["named"] = json!(other);
    let named = ground.held("read named file", Kin::Alone, true);
    assert_eq!(named, "done 5");
    let programs = Programs {
        launcher: BINARY.into(),
        ffmpeg: ground.script.clone(),
        ffprobe: ground.script.clone(),
        memory: 1_500_000_000,
        readable: Vec::new(),
    };
    let stop = CancellationToken::new();
    let job = Job {
        programs: &programs,
        dir: &ground.dir,
        deadline: PATIENCE,
        stop: &stop,
        proxy: None,
        reads: &[],
        kin: Kin::Alone,
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let ask = |job: Job<'_>| {
        let arguments = vec!["read named file".into(), unnamed.to_string().into()];
        let said = runtime.block_on(sidecar::ffprobe(job, arguments)).unwrap();
        String::from_utf8(said).unwrap().trim().to_owned()
    };
    assert_eq!(ask(job), "refused EACCES");
    let listed = [other.parent().unwrap().to_owned()];
    assert_eq!(ask(job.reading(&listed)), "done 7");
    let wider = Programs {
        readable: listed.to_vec(),
        ..programs.clone()
    };
    let job = Job {
        programs: &wider,
        ..job
    };
    assert_eq!(ask(job), "done 7");
}
