//! Tokens of the service: made, listed and revoked by the operator, on the command line and by API.

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::from;
use crate::support::service::{BINARY, PATIENCE, Service, Setup};

fn token(data: &Path, arguments: &[&str]) -> Output {
    Command::new(BINARY)
        .arg("token")
        .args(arguments)
        .arg("--data-dir")
        .arg(data)
        .output()
        .unwrap()
}

#[track_caller]
fn said(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[track_caller]
fn refused(output: &Output, exit: i32, code: &str) -> String {
    let told = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(exit), "{told}");
    assert!(told.contains(&format!("({code})")), "{told}");
    assert!(output.stdout.is_empty(), "{output:?}");
    told
}

fn admin(service: &Service, token: &str) -> u16 {
    from("203.0.113.1")
        .with(token)
        .get(service, "/api/admin/tokens")
        .status
}

/// The tokens as the service lists them.
fn listed(service: &Service, token: &str) -> Vec<Value> {
    let list = service.with_token("GET", "/api/admin/tokens", token);
    assert_eq!(list.status, 200, "{}", list.text());
    list.json()["tokens"].as_array().unwrap().clone()
}

#[test]
fn the_command_line_makes_lists_and_revokes_while_the_service_runs_and_while_it_does_not() {
    let service = Service::start();
    let data = service.data.clone();
    let made = said(&token(&data, &["create", "--scope", "admin"]));
    assert_eq!(made.lines().count(), 1);
    let made = made.trim();
    assert_eq!(admin(&service, made), 200);

    let other = said(&token(
        &data,
        &[
            "create",
            "--scope",
            "ops:read,file:read",
            "--scope",
            "file:read",
            "--name",
            "wall",
            "--json",
        ],
    ));
    let other: Value = serde_json::from_str(&other).unwrap();
    assert_eq!(other["scopes"], json!(["file:read", "ops:read"]));
    assert_eq!(other["name"], "wall");
    assert!(other["token"].as_str().unwrap().starts_with("mm_"));

    let lines = said(&token(&data, &["list", "--json"]));
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2);
    assert!(
        lines.iter().all(|line| line["token"].is_null()),
        "{lines:?}"
    );
    assert_eq!(lines, listed(&service, made));
    let shown = said(&token(&data, &["list"]));
    assert!(shown.contains("file:read,ops:read"), "{shown}");
    assert!(!shown.contains(made), "{shown}");

    let id = &made[3..19];
    assert_eq!(
        said(&token(&data, &["revoke", id])),
        format!("{id} is revoked.\n")
    );
    assert_eq!(admin(&service, made), 401);
    said(&token(&data, &["revoke", id]));
    refused(
        &token(&data, &["revoke", "0123456789abcdef"]),
        3,
        "not_found",
    );
    assert_eq!(token(&data, &["revoke", made]).status.code(), Some(2));

    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_owned();
    let late = said(&token(&data, &["create", "--scope", "admin"]));
    let service = Setup {
        data: Some(data),
        ..Setup::default()
    }
    .start();
    assert_eq!(admin(&service, late.trim()), 200);
    let mut service = service;
    service.signal("TERM");
    assert!(service.ended().success());
    said(&token(&service.data, &["revoke", &late[3..19]]));
    let made = said(&token(&service.data, &["create", "--scope", "admin"]));
    let service = Setup {
        data: Some(service.data.clone()),
        ..Setup::default()
    }
    .start();
    assert_eq!(admin(&service, made.trim()), 200);
    assert_eq!(admin(&service, late.trim()), 401);
}

#[test]
fn the_api_makes_lists_and_revokes() {
    let service = Service::start();
    let keys = service.token("admin");
    let owner = from("203.0.113.1").with(&keys);
    let wish = json!({"scopes": ["clip:create", "clip:create"], "name": "phone"});
    let made = owner.post(&service, "/api/admin/tokens", &wish);
    assert_eq!(made.status, 201, "{}", made.text());
    assert_eq!(made.header("cache-control"), "no-store");
    let made = made.json();
    assert_eq!(made["scopes"], json!(["clip:create"]));
    let place = format!("/api/admin/tokens/{}", made["id"].as_str().unwrap());
    let text = made["token"].as_str().unwrap();
    let theirs = from("203.0.113.2").with(text);
    theirs
        .get(&service, "/api/admin/tokens")
        .expect_problem(403, "token_scope");
    assert_eq!(listed(&service, &keys)[1]["revoked_at"], Value::Null);

    assert_eq!(owner.ask(&service, "DELETE", &place, b"").status, 204);
    theirs
        .get(&service, "/api/admin/tokens")
        .expect_problem(401, "token_invalid");
    assert!(listed(&service, &keys)[1]["revoked_at"].is_string());
    assert_eq!(owner.ask(&service, "DELETE", &place, b"").status, 204);
    for nothing in ["0123456789abcdef", "x"] {
        owner
            .ask(
                &service,
                "DELETE",
                &format!("/api/admin/tokens/{nothing}"),
                b"",
            )
            .expect_problem(404, "not_found");
    }

    let long = "x".repeat(101);
    for (wish, code) in [
        (json!({"scopes": []}), "scopes_missing"),
        (json!({"scopes": ["clip:creat"]}), "scope_unknown"),
        (json!({"scopes": ["admin"], "name": "a\nb"}), "name_invalid"),
        (json!({"scopes": ["admin"], "name": long}), "name_invalid"),
        (json!({"scopes": "admin"}), "json_invalid"),
        (json!({"scopes": ["admin"], "expires": 1}), "json_invalid"),
        (json!({}), "json_invalid"),
        (json!([]), "json_invalid"),
    ] {
        owner
            .post(&service, "/api/admin/tokens", &wish)
            .expect_problem(400, code);
    }
    assert_eq!(listed(&service, &keys).len(), 2);
}

#[test]
fn settings_are_shown_to_admins_without_secrets() {
    let service = Setup::default()
        .with(
            "MONITOR__WEBHOOK_URL",
            "https://alerts.example.org/hook/s3cret",
        )
        .with("MONITOR__WEBHOOK_SECRET", "hunter2")
        .with("RETENTION__HOURS", "7")
        .start();
    let shown = service.with_token("GET", "/api/admin/settings", &service.token("admin"));
    assert_eq!(shown.status, 200, "{}", shown.text());
    assert_eq!(shown.json()["retention"]["hours"], 7);
    assert_eq!(shown.json()["monitor"]["webhook_secret"], "***");
    assert!(!shown.text().contains("hunter2") && !shown.text().contains("s3cret"));
}

#[test]
fn a_token_leaves_its_traces_in_the_trail_and_its_secret_nowhere() {
    let service = Service::start();
    let text = service.token("admin");
    let (id, secret) = (&text[3..19], &text[20..]);
    assert_eq!(admin(&service, &text), 200);
    let began = Instant::now();
    while listed(&service, &text)[0]["last_used_at"].is_null() {
        assert!(began.elapsed() < PATIENCE, "its use was not noted");
        std::thread::sleep(Duration::from_millis(20));
    }
    let used = listed(&service, &text)[0]["last_used_at"].clone();
    assert!(
        used.as_str().unwrap().contains(":00"),
        "to the minute: {used}"
    );
    let wrong = format!("mm_{id}_{}", "A".repeat(43));
    assert_eq!(admin(&service, &wrong), 401);
    assert_eq!(admin(&service, &format!("{text}x")), 401);
    let place = format!("/api/admin/tokens/{id}");
    assert_eq!(service.with_token("DELETE", &place, &text).status, 204);

    let index = rusqlite::Connection::open(service.data.join("index.db")).unwrap();
    let mut kinds_of = index
        .prepare("SELECT kind FROM events WHERE subject = ?1 ORDER BY seq")
        .unwrap();
    let kinds: Vec<String> = kinds_of
        .query_map([id], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(kinds, ["token.created", "token.revoked"]);
    drop(kinds_of);
    drop(index);
    let mut files = vec![service.data.clone()];
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(std::fs::read_dir(path).unwrap().map(|e| e.unwrap().path()));
        } else {
            let bytes = std::fs::read(&path).unwrap();
            let found = bytes
                .windows(secret.len())
                .any(|some| some == secret.as_bytes());
            assert!(!found, "{}", path.display());
        }
    }
    assert!(!service.log().contains(secret) && !service.log().contains(&wrong[20..]));
}

#[test]
fn trying_tokens_is_slowed_down_for_whoever_tries_and_a_right_one_always_counts() {
    let service = Service::start();
    let right = service.token("admin");
    let tried = |address, text: &str| from(address).with(text).get(&service, "/api/admin/tokens");
    let mut refused = None;
    for number in 0..60 {
        let wrong = format!("mm_{number:016x}_{}", "A".repeat(43));
        let answer = tried("203.0.113.1", &wrong);
        if answer.status == 429 {
            refused = Some((number, answer));
            break;
        }
        answer.expect_problem(401, "token_invalid");
    }
    let (number, answer) = refused.expect("nobody was slowed down");
    assert!(number >= 20, "after {number} already");
    answer.expect_problem(429, "rate_limited");
    let wait: u64 = answer.header("retry-after").parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    assert_eq!(tried("203.0.113.1", &right).status, 200);
    tried("203.0.113.2", "x").expect_problem(401, "token_invalid");
    // A clip's token is guessed as little.
    let clip = service.submit(&super::nowhere());
    let path = format!("/api/clips/{}", clip["id"].as_str().unwrap());
    from("203.0.113.1")
        .with(&"0".repeat(64))
        .ask(&service, "DELETE", &path, b"")
        .expect_problem(429, "rate_limited");
    let own = clip["delete_token"].as_str().unwrap();
    let gone = from("203.0.113.1")
        .with(own)
        .ask(&service, "DELETE", &path, b"");
    assert_eq!(gone.status, 204, "{}", gone.text());
}

#[test]
fn a_data_folder_of_another_user_is_left_alone() {
    use std::os::unix::fs::MetadataExt;
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    std::fs::create_dir(&data).unwrap();
    if std::fs::metadata(&data).unwrap().uid() != 0 {
        eprintln!("not root: skipped");
        return;
    }
    std::os::unix::fs::chown(&data, Some(65_534), Some(65_534)).unwrap();
    for arguments in [
        &["create", "--scope", "admin"][..],
        &["list"],
        &["revoke", "0123456789abcdef"],
    ] {
        let ended = token(&data, arguments);
        if arguments == ["create", "--scope", "admin"] {
            let told = refused(&ended, 1, "data_dir_owner");
            assert!(told.contains("sudo -u nobody meme-maker"), "{told}");
        }
        assert!(!ended.status.success());
        assert_eq!(std::fs::read_dir(&data).unwrap().count(), 0);
    }
    // Of its own folder, root takes care.
    std::os::unix::fs::chown(&data, Some(0), Some(0)).unwrap();
    said(&token(&data, &["create", "--scope", "admin"]));
}

#[test]
fn a_wrong_folder_is_told_and_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let told = refused(&token(dir.path(), &["list"]), 3, "data_dir");
    assert!(told.contains("--data-dir"), "{told}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    let ended = token(dir.path(), &["create", "--scope", "clips"]);
    assert_eq!(ended.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&ended.stderr).contains("clip:create"));
}
