//! What happens when there is too much, and when there is no room at all.

use std::time::Duration;

use serde_json::json;

use super::{now, still, trail};
use crate::support::media;
use crate::support::origin::Origin;
use crate::support::plant::{self, Plant};
use crate::support::service::{Service, Setup};
use crate::support::small::Small;
use crate::support::visitor::{Ticket, quick, until, within};

const EVERY_SECOND: &str = "* * * * * *";
const HOUR: i64 = 3_600_000;

#[test]
fn above_the_high_mark_what_is_worth_least_goes_down_to_the_low_one() {
    let (origin, link) = Origin::with(&media::tiny());
    let setup = || {
        still()
            .with("ENGINE__WORKERS", 1)
            .with("STORAGE__MAX_BYTES", "1 GB")
    };
    let service = setup().start();
    let old = service.ticket(&quick(&link));
    service.wait_for(&old.id, &["ready"]);
    let held = service.hold(&origin);
    let mb = |count: u64| count * 1_000_000;
    let ago = |hours: i64| now().plus_millis(-hours * HOUR);
    let plants = [
        // The oldest of all, but pinned.
        Plant {
            pinned: true,
            bytes: mb(500),
            finished_at: ago(100),
            ..plant::clip(1)
        },
        // As old as the next, and somebody has looked at it.
        Plant {
            bytes: mb(150),
            finished_at: ago(20),
            viewed_at: Some(ago(1)),
            ..plant::clip(2)
        },
        Plant {
            bytes: mb(100),
            finished_at: ago(20),
            ..plant::clip(3)
        },
        // Younger, but large.
        Plant {
            bytes: mb(100),
            finished_at: ago(17),
            ..plant::clip(4)
        },
        Plant {
            bytes: mb(10),
            finished_at: ago(2),
            ..plant::clip(5)
        },
    ];
    plant::rows(&service.data, &plants);
    plant::files(&service.data, &plants);
    // The one that was really made is the least worth of those that may go, and only the start of what has to.
    service.index(&format!(
        "UPDATE clips SET worth = 0 WHERE id = '{}';
         INSERT INTO trash (id, title, why, bytes, trashed_at) VALUES ('{}', 'x', 'removed', 40000000, {})",
        old.id, plant::clip(6).id, now().0
    ));
    // 900 MB and the one in hand, for which some 20 are kept: more than 100 MB have to go, 40 of them trash.
    let service = service.killed_and_started_again(setup().with("KEEPER__EVICT", EVERY_SECOND));
    until("it is brought down", || {
        let index = plant::connect(&service.data);
        let query = "SELECT count(*) FROM events WHERE subject = 'evict'";
        index
            .query_row(query, [], |row| row.get::<_, i64>(0))
            .unwrap()
            > 0
    });
    let state = |number: u32| {
        let clip = service.get(&format!("/api/clips/{}", plant::clip(number).id));
        clip.json()["state"].as_str().unwrap().to_owned()
    };
    let states: Vec<String> = (1..=5).map(state).collect();
    assert_eq!(states, ["ready", "ready", "expired", "ready", "ready"]);
    assert_eq!(service.clip(&old)["state"], "expired");
    assert!(["queued", "fetching"].contains(&service.clip(&held)["state"].as_str().unwrap()));
    assert!(!service.files_of(&old).exists());
    let (kind, data) = trail(&service, &plants[2].id).pop().unwrap();
    assert_eq!(
        (kind.as_str(), &data["bytes"]),
        ("clip.evicted", &json!(100_000_000))
    );
    assert!(
        data["why"].as_str().unwrap().contains("1 GB are in use"),
        "{data}"
    );
    let (_, ran) = trail(&service, "evict").pop().unwrap();
    assert_eq!(
        (&ran["trash"], &ran["clips"]),
        (&json!(1), &json!(2)),
        "{ran}"
    );

    // Who opens it is told, and the recipe is kept.
    let clip = service.clip(&old);
    assert_eq!(clip["error"]["code"], "clip_evicted");
    let page = service.get(&format!("/c/{}", old.id));
    assert_eq!(page.status, 410);
    assert!(
        page.text().contains("removed before its time to make room"),
        "{}",
        page.text()
    );
    let download = service.get(&format!("{}/download", old.path()));
    download.expect_problem(410, "clip_gone");
    assert!(download.text().contains("to make room"));
    let ledger = std::fs::read_to_string(service.ledger_of(&old)).unwrap();
    assert!(ledger.contains(r#""state":"expired""#), "{ledger}");
    service.cancel(&held);
    assert_eq!(service.retry(&old).status, 202);
    let again = service.wait_for(&old.id, &["ready"]);
    assert!(again["error"].is_null());
}

#[test]
fn what_does_not_fit_beside_what_is_here_is_refused() {
    let (_origin, link) = Origin::with(&media::tiny());
    let service = still().with("STORAGE__MAX_BYTES", "1 GB").start();
    let plants = [Plant {
        bytes: 990_000_000,
        ..plant::clip(1)
    }];
    plant::rows(&service.data, &plants);
    let headers = [("Upload-Length", "20000000")];
    let answer = service.tus("POST", "/api/uploads", &headers, b"");
    answer.expect_problem(507, "disk_low");
    assert!(
        answer.text().contains("1 GB are in use or promised"),
        "{}",
        answer.text()
    );
    assert_eq!(answer.header("retry-after"), "60");
    // The keeper has been rung for, and makes room for the next one.
    until("it fits", || {
        service.tus("POST", "/api/uploads", &headers, b"").status == 201
    });
    assert_eq!(plant::states(&service.data)[0].1, "expired");
    assert_eq!(service.post("/api/clips", &quick(&link)).status, 202);
}

#[test]
fn what_was_refused_below_the_high_mark_gets_room_too() {
    let service = still().with("STORAGE__MAX_BYTES", "1 GB").start();
    let plants = [Plant {
        bytes: 850_000_000,
        ..plant::clip(1)
    }];
    plant::rows(&service.data, &plants);
    let headers = [("Upload-Length", "200000000")];
    let answer = service.tus("POST", "/api/uploads", &headers, b"");
    answer.expect_problem(507, "disk_low");
    until("it fits", || {
        service.tus("POST", "/api/uploads", &headers, b"").status == 201
    });
    assert_eq!(plant::states(&service.data)[0].1, "expired");
}

fn three(service: &Service, link: &str) -> [Ticket; 3] {
    [(); 3].map(|()| {
        let ticket = service.ticket(&quick(link));
        service.wait_for(&ticket.id, &["ready"]);
        ticket
    })
}

#[track_caller]
fn reads_go_on(service: &Service, ticket: &Ticket) {
    let clip = service.clip(ticket);
    assert_eq!(clip["state"], "ready", "{clip}");
    assert_eq!(service.get("/api/clips").status, 200);
    for path in [
        format!("/c/{}", ticket.id),
        clip["urls"]["file"].as_str().unwrap().to_owned(),
        format!("{}/download", ticket.path()),
    ] {
        let answer = service.get(&path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    }
}

#[test]
fn at_the_last_byte_clips_can_be_read_and_removed_and_later_made_again() {
    let Some(small) = Small::mount("size=64m") else {
        println!("no file system can be mounted here: the full disk was not tried");
        return;
    };
    let (_origin, link) = Origin::with(&media::tiny());
    let service = Setup {
        data: Some(small.path().join("data")),
        ..Setup::default()
    }
    .with("STORAGE__BALLAST_BYTES", "6 MB")
    .with("KEEPER__EVICT", EVERY_SECOND)
    .start();
    let [first, second, kept] = three(&service, &link);
    let ballast = service.data.join("ballast");
    until("the ballast is there", || {
        std::fs::metadata(&ballast).is_ok_and(|meta| meta.len() == 6_000_000)
    });
    let refused = || {
        let answer = service.post("/api/clips", &quick(&link));
        assert_eq!(answer.status, 507, "{}", answer.text());
        answer.expect_problem(507, "disk_low");
    };
    small.fill("filler");
    refused();
    reads_go_on(&service, &kept);
    assert_eq!(service.remove(&first).status, 204);
    service.get(&first.path()).expect_problem(404, "not_found");
    // What the ballast gave up is not for new work.
    until("the ballast is given up", || !ballast.exists());
    refused();
    // Nothing is left to be given up now.
    small.fill("filler");
    assert_eq!(service.remove(&second).status, 204);
    service.get(&second.path()).expect_problem(404, "not_found");
    assert!(!service.files_of(&second).exists());
    small.fill("filler");
    for _ in 0..20 {
        reads_go_on(&service, &kept);
        refused();
    }
    let complaints = service.log().matches("could not commit").count();
    assert!(complaints <= 2, "{}", service.log());

    std::fs::remove_file(small.path().join("filler")).unwrap();
    within(Duration::from_secs(60), "it is accepted again", || {
        service.post("/api/clips", &quick(&link)).status == 202
    });
    let again = service.ticket(&quick(&link));
    service.wait_for(&again.id, &["ready"]);
    until("the ballast is back", || {
        std::fs::metadata(&ballast).is_ok_and(|meta| meta.len() == 6_000_000)
    });
    reads_go_on(&service, &kept);
}

#[test]
fn at_the_last_file_clips_can_be_read_and_removed_and_later_made_again() {
    let Some(small) = Small::mount("size=64m,nr_inodes=1500") else {
        println!("no file system can be mounted here: the full disk was not tried");
        return;
    };
    let (_origin, link) = Origin::with(&media::tiny());
    let service = Setup {
        data: Some(small.path().join("data")),
        ..Setup::default()
    }
    .start();
    let [first, _, kept] = three(&service, &link);
    let crowd = small.crowd();
    let answer = service.post("/api/clips", &quick(&link));
    answer.expect_problem(507, "disk_low");
    assert!(answer.text().contains("more files"), "{}", answer.text());
    reads_go_on(&service, &kept);
    assert_eq!(service.remove(&first).status, 204);
    service.get(&first.path()).expect_problem(404, "not_found");
    small.crowd();
    reads_go_on(&service, &kept);
    std::fs::remove_dir_all(crowd).unwrap();
    within(Duration::from_secs(60), "it is accepted again", || {
        service.post("/api/clips", &quick(&link)).status == 202
    });
    reads_go_on(&service, &kept);
}
