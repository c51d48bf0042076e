//! How the service ends, and what is left of it.

use std::time::{Duration, Instant};

use crate::support::media;
use crate::support::origin::{Behaviour, Origin};
use crate::support::service::{Service, Setup, recipe};

/// Waits until no process of these is left (a zombie that nobody has reaped yet is gone).
#[track_caller]
fn gone(pids: &[u32]) {
    let alive = |pid: &u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status
            .lines()
            .any(|line| line.starts_with("State:") && !line.contains('Z'))
    };
    let began = Instant::now();
    while pids.iter().any(alive) {
        assert!(
            began.elapsed() < Duration::from_secs(2),
            "{pids:?} are still there"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A service that is cutting, with the clip's id and the children that do it. Frames come slowly from a large source.
fn cutting(setup: Setup) -> (Service, Origin, String, Vec<u32>) {
    let service = setup.start();
    let (origin, link) = Origin::with(&media::long());
    let mut body = recipe(&link, 0.5, 35.0);
    body["height"] = 700.into();
    let id = service.submit(&body)["id"].as_str().unwrap().to_owned();
    service.wait_for(&id, &["cutting"]);
    let began = Instant::now();
    loop {
        let children = service.children();
        if !children.is_empty() {
            return (service, origin, id, children);
        }
        assert!(began.elapsed() < Duration::from_secs(20));
    }
}

#[test]
fn an_idle_service_ends_at_once_even_with_listeners() {
    let mut service = Service::start();
    let origin = Origin::start();
    let clip = service.submit(&recipe(
        &origin.add("/silent.mp4", Behaviour::Silent),
        0.0,
        1.0,
    ));
    let id = clip["id"].as_str().unwrap().to_owned();
    let _idle: Vec<_> = (0..50).map(|_| service.raw()).collect();
    let mut events = service.events(&id, None);
    events.next().unwrap();
    service.with_token(
        "POST",
        &format!("/api/clips/{id}/cancel"),
        clip["delete_token"].as_str().unwrap(),
    );
    service.signal("TERM");
    assert!(service.ended().success(), "{}", service.log());
}

#[test]
fn a_cut_in_hand_is_finished_before_the_end() {
    let (service, origin, id, _) = cutting(Setup::default());
    let service = service.restarted(Setup::default());
    let clip = service.get(&format!("/api/clips/{id}")).json();
    assert_eq!(clip["state"], "ready", "{clip}");
    drop(origin);
}

#[test]
fn what_is_not_finished_in_time_is_queued_again_and_no_child_stays() {
    let (service, _origin, id, children) =
        cutting(Setup::default().with("SERVER__DRAIN_SECONDS", 0));
    let service = service.restarted(Setup::default());
    gone(&children);
    let clip = service.wait_for(&id, &["ready"]);
    assert_eq!(clip["error"], serde_json::Value::Null);
}

#[test]
fn children_die_with_a_killed_service() {
    let (service, _origin, _, children) = cutting(Setup::default());
    service.signal("KILL");
    gone(&children);
}
