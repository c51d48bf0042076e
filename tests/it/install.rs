//! `deploy/install.sh` laid out under a folder: run twice it changes nothing, an upgrade keeps what ran before, and the way back keeps
//! every clip.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::service::{BINARY, Service};
use crate::support::skipped;

struct Root {
    dir: tempfile::TempDir,
}

impl Root {
    fn new() -> Root {
        Root {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join("root").join(path)
    }

    fn binary(&self) -> PathBuf {
        self.at("opt/meme-maker/bin/meme-maker")
    }

    fn previous(&self) -> PathBuf {
        self.at("opt/meme-maker/bin/meme-maker.previous")
    }

    fn index(&self) -> PathBuf {
        self.at("opt/meme-maker/data/index.db")
    }

    fn install(&self, arguments: &[&str]) -> Output {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/install.sh");
        Command::new(script)
            .arg("--root")
            .arg(self.at(""))
            .args(arguments)
            .env_remove("BASE_URL")
            .output()
            .unwrap()
    }

    #[track_caller]
    fn installed(&self, binary: &Path) -> String {
        let binary = binary.to_str().unwrap();
        said(&self.install(&["--domain", "clips.example.org", binary]))
    }

    /// Another version: a program that does as ours but for `changes`, in the words of a shell.
    fn version(&self, name: &str, changes: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        let script = format!("#!/bin/sh\n{changes}\nexec {BINARY} \"$@\"\n");
        std::fs::write(&path, script).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        path
    }

    /// All files with their bytes.
    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        fn walk(dir: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) {
            for entry in std::fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    walk(&path, found);
                } else {
                    let bytes = std::fs::read(&path).unwrap_or_default();
                    found.insert(path, bytes);
                }
            }
        }
        let mut found = BTreeMap::new();
        walk(&self.at(""), &mut found);
        found
    }

    fn schema(&self) -> i64 {
        let index = rusqlite::Connection::open(self.index()).unwrap();
        index
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .unwrap()
    }

    /// Puts a clip into the index as it stands.
    fn clip(&self, id: &str) {
        let index = rusqlite::Connection::open(self.index()).unwrap();
        index
            .create_scalar_function(
                "folded",
                1,
                rusqlite::functions::FunctionFlags::SQLITE_UTF8
                    | rusqlite::functions::FunctionFlags::SQLITE_DETERMINISTIC,
                |context| Ok(context.get::<String>(0)?.to_lowercase()),
            )
            .unwrap();
        index
            .execute(
                "INSERT INTO clips (id, state, title, recipe, visitor, estimate, created_at, queued_at)
                 VALUES (?1, 'queued', 'kept', '{}', 'v', 1, 5, 5)",
                [id],
            )
            .unwrap();
    }

    fn clips(&self) -> Vec<String> {
        let index = rusqlite::Connection::open(self.index()).unwrap();
        let mut statement = index.prepare("SELECT id FROM clips ORDER BY id").unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    }

    /// Opens the index as the service does.
    fn opened(&self) {
        let made = Command::new(BINARY)
            .args(["token", "create", "--scope", "admin", "--data-dir"])
            .arg(self.at("opt/meme-maker/data"))
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
    }
}

#[track_caller]
fn said(output: &Output) -> String {
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}{errors}");
    told
}

#[track_caller]
fn refused(output: &Output) -> String {
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn installing_twice_changes_nothing_and_keeps_what_was_edited() {
    let root = Root::new();
    let first = root.installed(Path::new(BINARY));
    assert!(first.contains("changed: /opt/meme-maker/bin/meme-maker"));
    for path in [
        "etc/systemd/system/meme-maker.service",
        "etc/systemd/system/meme-maker-failed@.service",
        "etc/nginx/sites-enabled/meme-maker.conf",
        "opt/meme-maker/config.toml",
        "opt/meme-maker/config.example.toml",
        "opt/meme-maker/nginx.example.conf",
    ] {
        assert!(root.at(path).exists(), "{path}");
    }
    assert!(!root.previous().exists(), "there is nothing to go back to");

    let site = root.at("etc/nginx/sites-available/meme-maker.conf");
    let edited = format!(
        "{}# listen 443 ssl;\n",
        std::fs::read_to_string(&site).unwrap()
    );
    std::fs::write(&site, &edited).unwrap();
    let before = root.files();
    let second = said(&root.install(&[BINARY]));
    assert!(second.contains("nothing changed"), "{second}");
    assert!(second.contains("was edited and is kept"), "{second}");
    assert!(second.contains("diff /etc/nginx/"), "{second}");
    assert_eq!(root.files(), before);
}

#[test]
fn an_upgrade_keeps_what_ran_and_the_way_back_keeps_every_clip() {
    let root = Root::new();
    let old = root.version("old", "[ \"$*\" = 'schema --known' ] && { echo 5; exit; }");
    let new = root.version("new", "# newer");
    root.installed(&old);
    // The index of the old version, with a clip.
    root.opened();
    let down = Command::new(BINARY)
        .args(["schema", "--to", "5", "--data-dir"])
        .arg(root.at("opt/meme-maker/data"))
        .output()
        .unwrap();
    assert!(said(&down).contains("index 5"));
    root.clip("0197-old");
    let unit = root.at("etc/systemd/system/meme-maker.service");
    std::fs::write(&unit, "[Unit]\nDescription=of the old version\n").unwrap();

    root.installed(&new);
    let bytes = |path: &Path| std::fs::read(path).unwrap();
    assert_eq!(bytes(&root.previous()), bytes(&old));
    assert_eq!(bytes(&root.binary()), bytes(&new));
    // The new one starts, and a clip is made.
    root.opened();
    let newest = root.schema();
    assert!(newest > 5);
    root.clip("0198-new");

    let back = said(&root.install(&["--rollback"]));
    assert!(
        back.contains(&format!("from schema {newest} to 5")),
        "{back}"
    );
    assert_eq!(bytes(&root.binary()), bytes(&old));
    assert_eq!(bytes(&root.previous()), bytes(&new));
    assert!(
        std::fs::read_to_string(&unit)
            .unwrap()
            .contains("of the old version")
    );
    assert_eq!(root.schema(), 5);
    assert_eq!(root.clips(), ["0197-old", "0198-new"]);

    // And forward again.
    said(&root.install(&["--rollback"]));
    assert_eq!(bytes(&root.binary()), bytes(&new));
    assert!(
        std::fs::read_to_string(&unit)
            .unwrap()
            .contains("WatchdogSec")
    );
    root.opened();
    assert_eq!(root.schema(), newest);
    assert_eq!(root.clips(), ["0197-old", "0198-new"]);
}

#[test]
fn a_version_that_cannot_say_its_schema_gets_that_of_its_copy() {
    let root = Root::new();
    // As clap answers to a command that is not there.
    let mute = "[ \"$1\" = schema ] && { echo \"unrecognized subcommand 'schema'\" >&2; exit 2; }";
    let old = root.version("old", mute);
    root.installed(&old);
    root.opened();
    let to = |schema: &str| {
        let done = Command::new(BINARY)
            .args(["schema", "--to", schema, "--data-dir"])
            .arg(root.at("opt/meme-maker/data"))
            .output();
        said(&done.unwrap());
    };
    to("4");
    root.clip("0197-old");
    root.installed(&root.version("new", "# newer"));
    // Starting, it keeps a copy of the index as it found it.
    root.opened();
    root.clip("0198-new");
    said(&root.install(&["--rollback"]));
    assert_eq!(root.schema(), 4);
    assert_eq!(root.clips(), ["0197-old", "0198-new"]);
    // Forward, although what is installed now cannot say anything.
    said(&root.install(&["--rollback"]));
    root.opened();
    assert_eq!(root.clips(), ["0197-old", "0198-new"]);
}

#[test]
fn where_the_index_cannot_be_brought_down_the_copy_takes_its_place() {
    let root = Root::new();
    let old = root.version("old", "[ \"$*\" = 'schema --known' ] && { echo 5; exit; }");
    root.installed(&old);
    root.opened();
    let done = Command::new(BINARY)
        .args(["schema", "--to", "5", "--data-dir"])
        .arg(root.at("opt/meme-maker/data"))
        .output();
    said(&done.unwrap());
    root.clip("0197-old");
    root.installed(&root.version("new", "[ \"$2\" = --to ] && exit 1"));
    root.opened();
    root.clip("0198-new");
    let back = said(&root.install(&["--rollback"]));
    assert!(back.contains("index.db.set-aside"), "{back}");
    assert_eq!(root.schema(), 5);
    assert_eq!(root.clips(), ["0197-old"]);
    let aside = root.at("opt/meme-maker/data/index.db.set-aside");
    let aside = rusqlite::Connection::open(aside).unwrap();
    let count: i64 = aside
        .query_row("SELECT count(*) FROM clips", [], |row| row.get(0))
        .unwrap();
    assert_eq!(count, 2);
}

#[test]
fn a_way_back_that_is_not_there_is_refused_and_nothing_changes() {
    let root = Root::new();
    assert!(refused(&root.install(&["--rollback"])).contains("no binary to go back to"));
    root.installed(Path::new(BINARY));
    let before = root.files();
    assert!(refused(&root.install(&["--rollback"])).contains("Nothing was changed"));
    assert_eq!(root.files(), before);
    for wrong in [&["--sideways"][..], &["--domain"], &["a", "b"]] {
        refused(&root.install(wrong));
    }
}

#[test]
fn the_schema_of_a_running_service_is_told_and_not_changed() {
    let service = Service::start();
    let schema = |arguments: &[&str]| {
        let ended = Command::new(BINARY)
            .arg("schema")
            .args(arguments)
            .arg("--data-dir")
            .arg(&service.data)
            .output();
        ended.unwrap()
    };
    let told = said(&schema(&[]));
    let known = said(&schema(&["--known"]));
    assert!(
        told.contains(&format!("known {}index {}", known, known.trim())),
        "{told}"
    );
    let error = refused(&schema(&["--to", "5"]));
    assert!(
        error.contains("index_in_use") && error.contains("systemctl stop"),
        "{error}"
    );
    assert!(refused(&schema(&["--to", "999"])).contains("no_such_schema"));
    assert_eq!(service.get("/api/clips").status, 200);
    assert_eq!(said(&schema(&[])), told);
}

#[test]
fn user_data_for_a_new_machine_is_yaml_with_what_it_needs() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/cloud-init.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.starts_with("#cloud-config\n"));
    // Python is there for tests; where its YAML reader is not, the shape is all that is looked at.
    let read = "import sys, json\ntry:\n import yaml\nexcept ImportError:\n sys.exit(9)\nprint(json.dumps(yaml.safe_load(open(sys.argv[1]))))";
    let told = Command::new("python3")
        .args(["-c", read])
        .arg(&file)
        .output()
        .unwrap();
    if told.status.code() == Some(9) {
        skipped("python3 has no yaml (apt-get install python3-yaml)");
        return;
    }
    let told: serde_json::Value = serde_json::from_str(&said(&told)).unwrap();
    let setup = told["write_files"][0]["content"].as_str().unwrap();
    assert!(setup.starts_with("#!/bin/sh\n"), "{setup}");
    assert_eq!(told["write_files"][0]["permissions"], "0755");
    assert_eq!(told["swap"]["size"], "1G");
    let packages = told["packages"].as_array().unwrap();
    assert!(packages.contains(&"ffmpeg".into()) && packages.contains(&"nginx".into()));
    let checked = Command::new("sh")
        .args(["-n", "-c", setup])
        .output()
        .unwrap();
    said(&checked);
}
