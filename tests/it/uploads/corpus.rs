//! The corpus of bad input, groups `upload` and `name`: every line of `tests/data/bad-input` against the real service.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::media;
use crate::support::service::{Service, Setup};
use crate::support::tus::{base64, id_of, noise, sha256};
use crate::support::wire;

const MOST: usize = 2_000_000;

fn data(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/bad-input");
    std::fs::read_to_string(folder.join(name)).unwrap()
}

#[test]
fn requests_that_are_wrong_are_told_so_and_change_nothing() {
    let service = Setup::default().with("LIMITS__UPLOAD_BYTES", MOST).start();
    let bytes = noise(41, 1_000);
    let (half, whole) = (
        service.begin_upload(1_000, "half.mp4"),
        service.upload("whole.mp4", &bytes),
    );
    service.sent(&half, 0, &bytes[..500]);
    let uploads = service.data.join("uploads");
    let mut lines = 0;
    for line in data("uploads.psv")
        .lines()
        .filter(|line| !line.starts_with('#'))
    {
        let line = line
            .replace("{unknown}", "5f0c1a52-7c3e-4d8a-9d0b-0123456789ab")
            .replace("{half}", id_of(&half))
            .replace("{whole}", id_of(&whole))
            .replace("{max+1}", &(MOST + 1).to_string());
        let fields: Vec<&str> = line.split('|').collect();
        let [id, method, path, headers, body, status, code] = fields[..] else {
            panic!("{line}");
        };
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
        if !headers.contains("Tus-Resumable") {
            request.push_str("Tus-Resumable: 1.0.0\r\n");
        }
        for header in headers.split(";;").filter(|header| !header.is_empty()) {
            request.push_str(&format!("{header}\r\n"));
        }
        request.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
        let reply = wire::exchange(&service, request.as_bytes());
        assert_eq!(reply.status.to_string(), status, "{id}: {}", reply.text());
        let problem: Value = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!(problem["code"], code, "{id}");
        assert_eq!(reply.header("tus-resumable"), "1.0.0", "{id}");
        assert_eq!(std::fs::read_dir(&uploads).unwrap().count(), 2, "{id}");
        lines += 1;
    }
    assert!(lines > 35, "{lines}");
    assert_eq!(service.offset(&half), 500);
    let kept = std::fs::read(service.bytes_of(&whole)).unwrap();
    assert_eq!(sha256(&kept), sha256(&bytes));
    assert!(!service.log().contains("panicked"));
}

#[test]
fn no_name_gets_out_of_its_folder_or_its_header() {
    let service = Setup::default()
        .with("LIMITS__UPLOADS_PER_VISITOR", 1_000)
        .start();
    let tiny = std::fs::read(media::tiny()).unwrap();
    let mut tickets = Vec::new();
    for line in data("names.txt")
        .lines()
        .filter(|line| !line.starts_with('#'))
    {
        let name: String =
            serde_json::from_str(&format!("\"{}\"", line.trim_start_matches("LONG "))).unwrap();
        let name = if line.starts_with("LONG ") {
            name.repeat(200)
        } else {
            name
        };
        let metadata = format!("filename {}", base64(name.as_bytes()));
        let length = tiny.len().to_string();
        let headers = [
            ("Upload-Length", length.as_str()),
            ("Upload-Metadata", &metadata),
        ];
        let answer = service.tus("POST", "/api/uploads", &headers, b"");
        if answer.status != 201 {
            assert_eq!(answer.status, 400, "{name:?}: {}", answer.text());
            assert!(metadata.len() > 4_096, "{name:?}: {}", answer.text());
            continue;
        }
        let path = answer.header("location");
        service.sent(&path, 0, &tiny);
        let mut wish =
            json!({"upload": id_of(&path), "start_time": 0.5, "end_time": 1, "mode": "fast"});
        tickets.push((name.clone(), service.ticket(&wish)));
        // The same as a title.
        wish["title"] = json!(name);
        let answer = service.post("/api/clips", &wish);
        match answer.status {
            202 => tickets.push((name, crate::support::visitor::Ticket::of(&answer.json()))),
            400 => {}
            status => panic!("{name:?}: {status}"),
        }
    }
    assert!(tickets.len() > 60, "{}", tickets.len());
    for (name, ticket) in &tickets {
        let clip = service.wait_for(&ticket.id, &["ready"]);
        let title = clip["title"].as_str().unwrap();
        assert!(
            !title.is_empty() && !title.chars().any(char::is_control),
            "{name:?}: {title:?}"
        );
        let reply = wire::get(&service, &format!("{}/download", ticket.path()), "");
        assert_eq!(reply.status, 200, "{name:?}");
        disposition_is_clean(name, reply.header("content-disposition"));
        for header in ["set-cookie", "x-injected"] {
            assert_eq!(reply.header(header), "", "{name:?}");
        }
        let page = service.get(&format!("/c/{}", ticket.id)).text();
        assert!(
            !page.contains("<script>alert") && !page.contains("<img src=x"),
            "{name:?}"
        );
    }
    files_are_where_they_belong(&service);
    assert!(!service.log().contains("panicked"));
}

/// `attachment` with a quoted name of plain ASCII, and the same in RFC 8187's form.
#[track_caller]
fn disposition_is_clean(name: &str, header: &str) {
    assert!(
        header.starts_with("attachment; filename"),
        "{name:?}: {header}"
    );
    assert!(
        header.bytes().all(|byte| (b' '..=b'~').contains(&byte)),
        "{name:?}: {header}"
    );
    let quotes = header.replace("\\\\", "").replace("\\\"", "");
    assert!(quotes.matches('"').count() <= 2, "{name:?}: {header}");
    assert!(
        !header.contains('/') && !header.contains('\\'),
        "{name:?}: {header}"
    );
    assert!(
        header.to_ascii_lowercase().contains(".mp4"),
        "{name:?}: {header}"
    );
}

/// Published names are plain, uploads are stored under ids alone, and nothing lies beside the data.
#[track_caller]
fn files_are_where_they_belong(service: &Service) {
    let beside: Vec<_> = std::fs::read_dir(service.data.parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(beside, ["data"]);
    for file in files(&service.data.join("uploads")) {
        assert_eq!(file.file_name().unwrap(), "file", "{}", file.display());
    }
    let mut kinds = BTreeSet::new();
    for file in files(&service.data.join("storage")) {
        let inside = file
            .strip_prefix(service.data.join("storage/clips"))
            .unwrap();
        assert_eq!(inside.components().count(), 2, "{}", file.display());
        let name = file.file_name().unwrap().to_str().unwrap();
        assert!(
            name.len() <= 120 && !name.starts_with(['-', '.', '~']),
            "{name}"
        );
        assert!(!name.chars().any(char::is_control), "{name:?}");
        kinds.insert(file.extension().unwrap().to_str().unwrap().to_owned());
    }
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), ["jpg", "mp4"]);
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}
