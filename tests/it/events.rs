//! Server-sent events about a clip.

use crate::support::media;
use crate::support::origin::{Behaviour, Origin};
use crate::support::service::{Service, recipe};

#[test]
fn a_clip_is_followed_from_its_state_to_ready() {
    let (service, (_origin, link)) = (Service::start(), Origin::with(&media::tiny()));
    let clip = service.submit(&recipe(&link, 0.5, 1.5));
    let mut events = service.events(clip["id"].as_str().unwrap(), None);
    let head = events.head.to_ascii_lowercase();
    for line in [
        "200 ok",
        "content-type: text/event-stream",
        "x-accel-buffering: no",
        "cache-control: no-store",
    ] {
        assert!(head.contains(line), "{line} is missing in {head}");
    }
    let all: Vec<_> = events.by_ref().collect();
    assert_eq!(all.first().unwrap().kind, "state");
    let order = ["queued", "fetching", "cutting", "storing", "ready"];
    let places: Vec<usize> = all
        .iter()
        .filter(|event| event.kind == "state")
        .map(|event| {
            order
                .iter()
                .position(|state| event.data["state"] == *state)
                .unwrap()
        })
        .collect();
    assert!(
        places.windows(2).all(|pair| pair[0] <= pair[1]),
        "{places:?}"
    );
    let last = all.last().unwrap();
    assert_eq!(last.data["state"], "ready");
    assert!(last.data["urls"]["file"].is_string() && last.data["result"]["frames"].is_u64());
    let ids: Vec<u64> = all
        .iter()
        .filter_map(|event| event.id.as_ref()?.parse().ok())
        .collect();
    assert!(
        ids.windows(2).all(|pair| pair[0] <= pair[1]) && !ids.is_empty(),
        "{ids:?}"
    );
}

#[test]
fn what_was_seen_is_not_sent_again() {
    let (service, origin) = (Service::start(), Origin::start());
    let link = origin.add("/silent.mp4", Behaviour::Silent);
    let clip = service.submit(&recipe(&link, 0.0, 1.0));
    let id = clip["id"].as_str().unwrap();
    service.wait_for(id, &["fetching"]);
    let first = service.events(id, None).next().unwrap();
    let (kind, last) = (first.kind, first.id.unwrap());
    assert_eq!(kind, "state");
    assert_eq!(
        service.events(id, Some(&last)).next().unwrap().kind,
        "progress"
    );
    assert_eq!(service.events(id, Some("0")).next().unwrap().kind, "state");
    let token = clip["delete_token"].as_str().unwrap();
    let mut events = service.events(id, Some(&last));
    assert_eq!(events.next().unwrap().kind, "progress");
    assert_eq!(
        service
            .with_token("POST", &format!("/api/clips/{id}/cancel"), token)
            .status,
        200
    );
    let end = events.next().unwrap();
    assert_eq!(
        (end.kind.as_str(), end.data["state"].as_str()),
        ("state", Some("cancelled"))
    );
    assert!(events.next().is_none());
    // A settled clip's stream says how it stands and ends.
    let settled: Vec<_> = service.events(id, None).collect();
    assert_eq!(settled.len(), 1);
}

#[test]
fn a_removed_clip_says_so_and_an_unknown_one_is_not_found() {
    let (service, origin) = (Service::start(), Origin::start());
    let link = origin.add("/silent.mp4", Behaviour::Silent);
    let clip = service.submit(&recipe(&link, 0.0, 1.0));
    let id = clip["id"].as_str().unwrap();
    let mut events = service.events(id, None);
    events.next().unwrap();
    let token = clip["delete_token"].as_str().unwrap();
    assert_eq!(
        service
            .with_token("DELETE", &format!("/api/clips/{id}"), token)
            .status,
        204
    );
    assert_eq!(events.last().unwrap().kind, "removed");
    service
        .get(&format!("/api/clips/{id}/events"))
        .expect_problem(404, "not_found");
}
