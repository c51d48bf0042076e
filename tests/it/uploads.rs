//! Uploads by tus 1.0: what every header does, and what every mistake is told.

mod clips;
mod corpus;
mod endurance;

use serde_json::json;

use crate::support::service::{Service, Setup};
use crate::support::tus::{PIECE, base64, noise, sha256};
use crate::support::visitor::until;
use crate::support::wire;

#[test]
fn the_service_says_what_of_the_protocol_it_speaks() {
    let service = Setup::default().with("LIMITS__UPLOAD_BYTES", 5_000).start();
    let answer = service.request("OPTIONS", "/api/uploads", &[], b"");
    assert_eq!(answer.status, 204);
    for (name, value) in [
        ("tus-resumable", "1.0.0"),
        ("tus-version", "1.0.0"),
        (
            "tus-extension",
            "creation,creation-with-upload,termination,expiration,checksum",
        ),
        ("tus-max-size", "5000"),
        ("tus-checksum-algorithm", "sha1,sha256"),
    ] {
        assert_eq!(answer.header(name), value, "{name}");
    }
}

#[test]
fn a_file_that_is_sent_in_pieces_is_the_same_file() {
    let service = Service::start();
    let bytes = noise(1, 700_001);
    let metadata = format!("filename {},is_private", base64(b"holiday.mp4"));
    let headers = [
        ("Upload-Length", "700001"),
        ("Upload-Metadata", metadata.as_str()),
    ];
    let answer = service.tus("POST", "/api/uploads", &headers, b"");
    assert_eq!(answer.status, 201);
    assert_eq!(answer.header("upload-offset"), "0");
    let path = answer.header("location");
    assert!(path.starts_with("/api/uploads/"), "{path}");
    let mut sent = 0;
    for (number, piece) in bytes.chunks(233_334).enumerate() {
        service.sent(&path, sent, piece);
        sent += piece.len();
        let answer = service.tus("HEAD", &path, &[], b"");
        assert_eq!(answer.status, 200);
        for (name, value) in [
            ("upload-offset", sent.to_string()),
            ("upload-length", "700001".to_owned()),
            ("upload-metadata", metadata.clone()),
            ("cache-control", "no-store".to_owned()),
        ] {
            assert_eq!(answer.header(name), value, "{name} after piece {number}");
        }
        let expires = answer.header("upload-expires");
        assert!(expires.ends_with(" GMT"), "{expires}");
    }
    let kept = std::fs::read(service.bytes_of(&path)).unwrap();
    assert_eq!(sha256(&kept), sha256(&bytes));
    // A piece of nothing at the end is no mistake.
    service.sent(&path, 700_001, b"");

    assert_eq!(service.tus("DELETE", &path, &[], b"").status, 204);
    assert!(!service.bytes_of(&path).parent().unwrap().exists());
    assert_eq!(service.tus("HEAD", &path, &[], b"").status, 404);
    service
        .tus("DELETE", &path, &[], b"")
        .expect_problem(404, "not_found");
}

#[test]
fn uploads_are_for_the_service_alone() {
    use std::os::unix::fs::PermissionsExt;
    let service = Service::start();
    let file = service.bytes_of(&service.upload("x.mp4", b"private"));
    let folder = file.parent().unwrap();
    for path in [folder.parent().unwrap(), folder, &file] {
        let mode = std::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}", path.display());
    }
}

#[test]
fn the_first_piece_may_come_with_the_creation() {
    let service = Service::start();
    let bytes = noise(2, 5_000);
    let headers = [PIECE, ("Upload-Length", "5000")];
    let answer = service.tus("POST", "/api/uploads", &headers, &bytes[..3_000]);
    assert_eq!(answer.status, 201);
    assert_eq!(answer.header("upload-offset"), "3000");
    let path = answer.header("location");
    service.sent(&path, 3_000, &bytes[3_000..]);
    assert_eq!(std::fs::read(service.bytes_of(&path)).unwrap(), bytes);

    let empty = service.tus("POST", "/api/uploads", &[("Upload-Length", "0")], b"");
    assert_eq!(empty.status, 201);
    assert_eq!(service.offset(&empty.header("location")), 0);

    // What fails with the creation leaves nothing: nobody knows its address.
    let folders = || {
        std::fs::read_dir(service.data.join("uploads"))
            .unwrap()
            .count()
    };
    assert_eq!(folders(), 2);
    let half = "POST /api/uploads HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\nUpload-Length: 5000\r\n\
                Content-Type: application/offset+octet-stream\r\nContent-Length: 5000\r\n\r\nhalf";
    let mut stream = service.raw();
    std::io::Write::write_all(&mut stream, half.as_bytes()).unwrap();
    until("it has begun", || folders() == 3);
    socket2::SockRef::from(&stream)
        .set_linger(Some(std::time::Duration::ZERO))
        .unwrap();
    drop(stream);
    until("it is gone", || folders() == 2);
    let wrong = format!("sha1 {}", base64(&[7; 20]));
    for (headers, status, code) in [
        (
            vec![PIECE, ("Upload-Length", "2999")],
            413,
            "upload_past_length",
        ),
        (
            vec![("Content-Type", "video/mp4"), ("Upload-Length", "5000")],
            415,
            "content_type",
        ),
        (
            vec![
                PIECE,
                ("Upload-Length", "5000"),
                ("Upload-Checksum", &wrong),
            ],
            460,
            "upload_checksum_mismatch",
        ),
    ] {
        let answer = service.tus("POST", "/api/uploads", &headers, &bytes[..3_000]);
        answer.expect_problem(status, code);
        assert_eq!(folders(), 2, "{code}");
    }
}

#[test]
fn every_mistake_has_its_status_and_code() {
    let service = Setup::default().with("LIMITS__UPLOAD_BYTES", 5_000).start();
    let path = service.begin_upload(1_000, "x.mp4");
    service.sent(&path, 0, &noise(3, 400));
    let unknown = "/api/uploads/5f0c1a52-7c3e-4d8a-9d0b-0123456789ab";
    let upper = path.to_uppercase().replace("/API/UPLOADS", "/api/uploads");
    let (length, offset) = (("Upload-Length", "10"), ("Upload-Offset", "400"));
    let long = format!("filename {}", "A".repeat(4_096));
    let sha1_of_other = format!("sha1 {}", base64(&[1; 20]));
    let hundred = noise(4, 100);
    for (method, path, headers, body, status, code) in [
        (
            "POST",
            "/api/uploads",
            vec![],
            &b""[..],
            400,
            "upload_length",
        ),
        (
            "POST",
            "/api/uploads",
            vec![("Upload-Defer-Length", "1")],
            b"",
            400,
            "upload_length",
        ),
        (
            "POST",
            "/api/uploads",
            vec![("Upload-Length", "-5")],
            b"",
            400,
            "upload_length",
        ),
        (
            "POST",
            "/api/uploads",
            vec![("Upload-Length", "5001")],
            b"",
            413,
            "upload_too_large",
        ),
        (
            "POST",
            "/api/uploads",
            vec![length, ("Upload-Metadata", "filename x.mp4")],
            b"",
            400,
            "upload_metadata",
        ),
        (
            "POST",
            "/api/uploads",
            vec![length, ("Upload-Metadata", "a YQ==,a YQ==")],
            b"",
            400,
            "upload_metadata",
        ),
        (
            "POST",
            "/api/uploads",
            vec![length, ("Upload-Metadata", &long)],
            b"",
            400,
            "upload_metadata",
        ),
        (
            "POST",
            "/api/uploads",
            vec![PIECE, length, ("Upload-Checksum", "md5 x")],
            b"0123456789",
            400,
            "upload_checksum",
        ),
        ("PATCH", &path, vec![offset], &hundred, 415, "content_type"),
        (
            "PATCH",
            &path,
            vec![offset, ("Content-Type", "text/plain")],
            &hundred,
            415,
            "content_type",
        ),
        (
            "PATCH",
            &path,
            vec![PIECE, offset, ("Content-Encoding", "gzip")],
            &hundred,
            415,
            "content_encoding",
        ),
        ("PATCH", &path, vec![PIECE], &hundred, 400, "upload_offset"),
        (
            "PATCH",
            &path,
            vec![PIECE, ("Upload-Offset", "-400")],
            &hundred,
            400,
            "upload_offset",
        ),
        (
            "PATCH",
            &path,
            vec![PIECE, ("Upload-Offset", "4e2")],
            &hundred,
            400,
            "upload_offset",
        ),
        (
            "PATCH",
            &path,
            vec![PIECE, ("Upload-Offset", "399")],
            &hundred,
            409,
            "upload_offset_mismatch",
        ),
        (
            "PATCH",
            &path,
            vec![PIECE, ("Upload-Offset", "401")],
            &hundred,
            409,
            "upload_offset_mismatch",
        ),
        (
            "PATCH",
            &path,
            vec![PIECE, ("Upload-Offset", "0")],
            &hundred,
            409,
            "upload_offset_mismatch",
        ),
        (
            "PATCH",
            &path,
            vec![PIECE, offset],
            &noise(5, 601),
            413,
            "upload_past_length",
        ),
        (
            "PATCH",
            &path,
            vec![PIECE, offset, ("Upload-Checksum", "md5 x")],
            &hundred,
            400,
            "upload_checksum",
        ),
        (
            "PATCH",
            &path,
            vec![PIECE, offset, ("Upload-Checksum", "sha1 !")],
            &hundred,
            400,
            "upload_checksum",
        ),
        (
            "PATCH",
            &path,
            vec![PIECE, offset, ("Upload-Checksum", &sha1_of_other)],
            &hundred,
            460,
            "upload_checksum_mismatch",
        ),
        (
            "PATCH",
            unknown,
            vec![PIECE, offset],
            &hundred,
            404,
            "not_found",
        ),
        (
            "PATCH",
            "/api/uploads/..%2fsecret.key",
            vec![PIECE, offset],
            &hundred,
            404,
            "not_found",
        ),
        (
            "PATCH",
            &upper,
            vec![PIECE, offset],
            &hundred,
            404,
            "not_found",
        ),
        ("DELETE", unknown, vec![], b"", 404, "not_found"),
        ("GET", &path, vec![], b"", 405, "method_not_allowed"),
        ("PUT", &path, vec![], b"", 405, "method_not_allowed"),
        (
            "PATCH",
            "/api/uploads",
            vec![],
            b"",
            405,
            "method_not_allowed",
        ),
    ] {
        let answer = service.tus(method, path, &headers, body);
        assert_eq!(
            answer.status,
            status,
            "{method} {headers:?}: {}",
            answer.text()
        );
        answer.expect_problem(status, code);
    }
    assert_eq!(service.tus("HEAD", unknown, &[], b"").status, 404);
    // None of it moved the upload.
    assert_eq!(service.offset(&path), 400);
    let kept = std::fs::read(service.bytes_of(&path)).unwrap();
    assert_eq!(kept, noise(3, 400));
}

#[test]
fn another_version_is_refused_with_ours() {
    let service = Service::start();
    let path = service.begin_upload(10, "x.mp4");
    for version in [None, Some("9.9.9"), Some("0.2.2"), Some("")] {
        let headers: Vec<(&str, &str)> = version
            .map(|version| ("Tus-Resumable", version))
            .into_iter()
            .chain([PIECE, ("Upload-Offset", "0"), ("Upload-Length", "1")])
            .collect();
        for (method, path) in [
            ("POST", "/api/uploads"),
            ("PATCH", &path),
            ("DELETE", &path),
        ] {
            let answer = service.request(method, path, &headers, b"x");
            answer.expect_problem(412, "upload_version");
            assert_eq!(answer.header("tus-version"), "1.0.0");
            assert_eq!(answer.header("tus-resumable"), "1.0.0");
        }
        let head = service.request("HEAD", &path, &headers, b"");
        assert_eq!(
            (head.status, head.header("tus-version").as_str()),
            (412, "1.0.0")
        );
    }
    assert_eq!(service.offset(&path), 0);
}

#[test]
fn a_checksum_holds_for_all_of_a_piece_or_nothing_is_kept() {
    let service = Service::start();
    let bytes = noise(6, 300_000);
    let path = service.begin_upload(bytes.len(), "x.mp4");
    let hex = |text: &str| -> Vec<u8> {
        (0..text.len() / 2)
            .map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap())
            .collect()
    };
    let right = format!("sha256 {}", base64(&hex(&sha256(&bytes[..200_000]))));
    let send = |checksum: &str, piece: &[u8]| {
        let headers = [PIECE, ("Upload-Offset", "0"), ("Upload-Checksum", checksum)];
        service.tus("PATCH", &path, &headers, piece)
    };
    let mut damaged = bytes[..200_000].to_vec();
    damaged[150_000] ^= 1;
    send(&right, &damaged).expect_problem(460, "upload_checksum_mismatch");
    assert_eq!(service.offset(&path), 0);
    assert_eq!(std::fs::metadata(service.bytes_of(&path)).unwrap().len(), 0);

    // Half of a piece cannot be held against its checksum.
    let half = format!(
        "PATCH {path} HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\nUpload-Checksum: {right}\r\n\
         Content-Type: application/offset+octet-stream\r\nContent-Length: 200000\r\n\r\n"
    );
    let mut stream = service.raw();
    std::io::Write::write_all(&mut stream, &[half.as_bytes(), &bytes[..90_000]].concat()).unwrap();
    drop(stream);
    until("the broken piece is over", || {
        service.log().contains("upload interrupted")
    });
    assert_eq!(service.offset(&path), 0);

    let answer = send(&right, &bytes[..200_000]);
    assert_eq!(answer.status, 204, "{}", answer.text());
    service.sent(&path, 200_000, &bytes[200_000..]);
    let kept = std::fs::read(service.bytes_of(&path)).unwrap();
    assert_eq!(sha256(&kept), sha256(&bytes));

    let path = service.begin_upload(11, "x.mp4");
    let headers = [
        PIECE,
        ("Upload-Offset", "0"),
        ("Upload-Checksum", "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0="),
    ];
    let answer = service.tus("PATCH", &path, &headers, b"hello world");
    assert_eq!(answer.status, 204, "{}", answer.text());
}

#[test]
fn the_method_may_be_said_in_a_header() {
    let service = Service::start();
    let path = service.begin_upload(5, "x.mp4");
    let over = |method| ("X-HTTP-Method-Override", method);
    let headers = [over("PATCH"), PIECE, ("Upload-Offset", "0")];
    let answer = service.tus("POST", &path, &headers, b"hello");
    assert_eq!(
        (answer.status, answer.header("upload-offset").as_str()),
        (204, "5")
    );
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTus-Resumable: 1.0.0\r\nX-HTTP-Method-Override: HEAD\r\nContent-Length: 0\r\n\r\n"
    );
    let reply = wire::exchange(&service, head.as_bytes());
    assert_eq!((reply.status, reply.header("upload-offset")), (200, "5"));
    assert_eq!(
        service.tus("POST", &path, &[over("DELETE")], b"").status,
        204
    );
    assert!(!service.bytes_of(&path).exists());
    // Nowhere else.
    let clip = service.request("GET", "/api/clips", &[over("DELETE")], b"");
    assert_eq!(clip.status, 200);
}

#[test]
fn bodies_without_a_length_are_held_to_the_upload() {
    let service = Service::start();
    let bytes = noise(7, 5_000);
    let path = service.begin_upload(bytes.len(), "x.mp4");
    let chunked = |offset: usize, body: &[u8]| {
        let mut request = format!(
            "PATCH {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: {offset}\r\n\
             Content-Type: application/offset+octet-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        .into_bytes();
        for chunk in body.chunks(1_000) {
            request.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
            request.extend(chunk);
            request.extend(b"\r\n");
        }
        request.extend(b"0\r\n\r\n");
        wire::exchange(&service, &request)
    };
    let reply = chunked(0, &bytes[..2_500]);
    assert_eq!((reply.status, reply.header("upload-offset")), (204, "2500"));
    let reply = chunked(2_500, &noise(8, 2_501));
    assert_eq!(reply.status, 413, "{}", reply.text());
    assert!(reply.text().contains("upload_past_length"));
    assert_eq!(service.offset(&path), 2_500);
    assert_eq!(chunked(2_500, &bytes[2_500..]).status, 204);
    assert_eq!(std::fs::read(service.bytes_of(&path)).unwrap(), bytes);
}

#[test]
fn what_one_visitor_keeps_is_limited() {
    let service = Setup::default()
        .with("LIMITS__UPLOADS_PER_VISITOR", 3)
        .with("LIMITS__UPLOAD_BYTES_PER_VISITOR", 10_000)
        .start();
    let begin = |from: &str, length: &str| {
        let headers = [("X-Forwarded-For", from), ("Upload-Length", length)];
        service.tus("POST", "/api/uploads", &headers, b"")
    };
    let first = begin("192.0.2.1", "9000");
    assert_eq!(first.status, 201);
    begin("192.0.2.1", "1001").expect_problem(429, "uploads_too_large");
    assert_eq!(begin("192.0.2.1", "500").status, 201);
    assert_eq!(begin("192.0.2.1", "500").status, 201);
    let answer = begin("192.0.2.1", "0");
    answer.expect_problem(429, "uploads_too_many");
    assert!(answer.header("retry-after").parse::<u64>().is_ok());
    // Others are not concerned, and room that is given back is there again.
    assert_eq!(begin("192.0.2.2", "10000").status, 201);
    let path = first.header("location");
    assert_eq!(service.tus("DELETE", &path, &[], b"").status, 204);
    assert_eq!(begin("192.0.2.1", "9000").status, 201);
    let figures = service.get("/metrics").text();
    for line in [
        "meme_maker_uploads_created_total 5",
        "meme_maker_upload_refusals_total{code=\"uploads_too_many\"} 1",
        "meme_maker_upload_refusals_total{code=\"uploads_too_large\"} 1",
    ] {
        assert!(figures.contains(line), "{line} is missing in {figures}");
    }
}

#[test]
fn no_upload_begins_on_a_disk_that_is_too_full() {
    let service = Setup::default().with("MONITOR__FLOOR", "900 TB").start();
    let answer = service.tus("POST", "/api/uploads", &[("Upload-Length", "1")], b"");
    answer.expect_problem(507, "disk_low");
    assert!(
        std::fs::read_dir(service.data.join("uploads"))
            .unwrap()
            .next()
            .is_none()
    );
}

#[test]
fn neither_ids_nor_names_of_files_are_in_the_log() {
    let service = Service::start();
    let path = service.upload("my secret holiday.mp4", &noise(9, 2_000));
    service.offset(&path);
    service.patch(&path, 7, b"x");
    service.piece(&path, 2_000, 10, b"");
    let id = crate::support::tus::id_of(&path).to_owned();
    service.fail(&json!({"upload": id, "start_time": 0, "end_time": 1}));
    service.tus("DELETE", &path, &[], b"");
    until("the removal is told", || {
        service.log().contains("upload removed") && service.log().contains("method=DELETE")
    });
    let log = service.log();
    for secret in [
        id.as_str(),
        "my secret",
        "holiday",
        &base64(b"my secret holiday.mp4"),
    ] {
        assert!(!log.contains(secret), "{secret} in {log}");
    }
    assert!(log.contains(&id[..8]), "an upload can be followed: {log}");
}
