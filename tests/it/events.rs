//! Server-sent events about a clip: what is told, in which order, and when the telling ends.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};

use crate::support::media;
use crate::support::origin::{Behaviour, Origin};
use crate::support::service::{Event, Service, Setup, recipe};
use crate::support::visitor::{Ticket, quick, until};

fn states(events: &[Event]) -> Vec<&str> {
    events
        .iter()
        .filter(|event| event.kind == "state")
        .map(|event| event.data["state"].as_str().unwrap())
        .collect()
}

fn numbers(events: &[Event]) -> Vec<u64> {
    events
        .iter()
        .filter_map(|event| event.id.as_ref()?.parse().ok())
        .collect()
}

#[test]
fn one_visitor_does_not_take_all_streams_and_those_that_ended_are_given_back() {
    let service = Service::start();
    let origin = Origin::start();
    let held = service.hold(&origin);
    let streams: Vec<_> = (0..32).map(|_| service.events(&held.id, None)).collect();
    for path in ["/api/events", &format!("/api/clips/{}/events", held.id)] {
        let refused = service.get(path);
        refused.expect_problem(429, "streams_too_many");
        assert!(!refused.header("retry-after").is_empty());
    }
    // The clip that others ask for is not touched by it.
    let path = format!("/api/clips/{}/events", held.id);
    let ask = format!("GET {path} HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 203.0.113.5\r\n\r\n");
    let mut other = service.raw();
    std::io::Write::write_all(&mut other, ask.as_bytes()).unwrap();
    let mut head = [0; 12];
    std::io::Read::read_exact(&mut other, &mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
    service.cancel(&held);
    for stream in streams {
        assert_eq!(stream.last().unwrap().data["state"], "cancelled");
    }
    assert!(service.events(&held.id, None).next().is_some());
}

#[test]
fn a_clip_is_followed_from_its_state_to_ready() {
    let (service, (_origin, link)) = (Service::start(), Origin::with(&media::tiny()));
    let ticket = service.ticket(&recipe(&link, 0.5, 1.5));
    let mut stream = service.events(&ticket.id, None);
    let head = stream.head.to_ascii_lowercase();
    for line in [
        "200 ok",
        "content-type: text/event-stream",
        "x-accel-buffering: no",
        "cache-control: no-store",
    ] {
        assert!(head.contains(line), "{line} is missing in {head}");
    }
    let all: Vec<Event> = stream.by_ref().collect();
    assert_eq!(all[0].kind, "state");
    let last = all.last().unwrap();
    assert_eq!(last.data["state"], "ready");
    assert!(last.data["urls"]["file"].is_string() && last.data["result"]["frames"].is_u64());
    for event in &all {
        let known = ["state", "progress"].contains(&event.kind.as_str());
        assert!(known, "{event:?}");
        assert_eq!(event.id.is_some(), event.kind == "state", "{event:?}");
        for field in [
            "state",
            "stage",
            "progress",
            "eta_seconds",
            "queue_position",
        ] {
            assert!(event.data.get(field).is_some(), "{field} in {event:?}");
        }
        // The token is for the one who submitted; anybody may listen.
        assert!(event.data.get("delete_token").is_none(), "{event:?}");
    }
}

#[test]
fn every_listener_hears_the_states_in_order_and_none_twice() {
    let service = Service::start();
    let (_origin, link) = Origin::with(&media::tiny());
    let order = ["queued", "fetching", "cutting", "storing", "ready"];
    for _ in 0..4 {
        let ticket = service.ticket(&quick(&link));
        std::thread::scope(|scope| {
            // They come at different moments of the clip's life.
            for moment in 0..6 {
                let (service, ticket) = (&service, &ticket);
                scope.spawn(move || {
                    if let Some(state) = order.get(moment) {
                        until("the moment to come has come", || {
                            let state_now = service.clip(ticket)["state"].clone();
                            let place = order.iter().position(|known| state_now == *known);
                            place.unwrap() >= order.iter().position(|s| s == state).unwrap()
                        });
                    }
                    let all: Vec<Event> = service.events(&ticket.id, None).collect();
                    let heard = states(&all);
                    let places: Vec<usize> = heard
                        .iter()
                        .map(|state| order.iter().position(|known| known == state).unwrap())
                        .collect();
                    assert!(places.is_sorted(), "{heard:?}");
                    assert_eq!(heard.last(), Some(&"ready"));
                    let numbers = numbers(&all);
                    let several: HashSet<&u64> = numbers.iter().collect();
                    assert!(
                        numbers.is_sorted() && several.len() == numbers.len(),
                        "an event came twice: {numbers:?} {heard:?}"
                    );
                });
            }
        });
    }
}

#[test]
fn what_was_seen_is_not_sent_again() {
    let (service, origin) = (Service::start(), Origin::start());
    let ticket = service.hold(&origin);
    let id = &ticket.id;
    let first = service.events(id, None).next().unwrap();
    assert_eq!(first.kind, "state");
    let last = first.id.unwrap();
    let again = service.events(id, Some(&last)).next().unwrap();
    assert_eq!(again.kind, "progress");
    assert_eq!(again.data["state"], "fetching");
    for earlier in ["0", "nonsense", "-1", "99999999999999999999999"] {
        let event = service.events(id, Some(earlier)).next().unwrap();
        assert_eq!(event.kind, "state", "{earlier}");
    }
    let mut events = service.events(id, Some(&last));
    assert_eq!(events.next().unwrap().kind, "progress");
    assert_eq!(service.cancel(&ticket).status, 200);
    let end = events.next().unwrap();
    assert_eq!(
        (end.kind.as_str(), &end.data["state"]),
        ("state", &"cancelled".into())
    );
    assert!(end.id.unwrap().parse::<u64>().unwrap() > last.parse().unwrap());
    assert!(events.next().is_none());
}

#[test]
fn the_stream_of_a_settled_clip_says_how_it_stands_and_ends() {
    let (service, (origin, link)) = (Service::start(), Origin::with(&media::tiny()));
    let ready = service.ticket(&quick(&link));
    let failed = service.ticket(&quick(&origin.link("/missing.mp4")));
    service.wait_for(&ready.id, &["ready"]);
    service.wait_for(&failed.id, &["failed"]);
    for (ticket, state) in [(&ready, "ready"), (&failed, "failed")] {
        let all: Vec<Event> = service.events(&ticket.id, None).collect();
        assert_eq!(states(&all), [state]);
        assert_eq!(all.len(), 1);
        let last = all[0].id.clone().unwrap();
        let again: Vec<Event> = service.events(&ticket.id, Some(&last)).collect();
        assert_eq!(states(&again), [state], "a listener that missed the end");
    }
    let all: Vec<Event> = service.events(&failed.id, None).collect();
    assert_eq!(all[0].data["error"]["code"], "source_unreachable");
}

#[test]
fn a_removed_clip_says_so_and_an_unknown_one_is_not_found() {
    let (service, origin) = (Service::start(), Origin::start());
    let ticket = service.hold(&origin);
    let mut events = service.events(&ticket.id, None);
    events.next().unwrap();
    assert_eq!(service.remove(&ticket).status, 204);
    let rest: Vec<Event> = events.collect();
    let last = rest.last().unwrap();
    assert_eq!(last.kind, "removed");
    assert_eq!(last.data["id"], ticket.id);
    for id in [ticket.id.as_str(), "no-id"] {
        let path = format!("/api/clips/{id}/events");
        service.get(&path).expect_problem(404, "not_found");
    }
}

#[test]
fn a_waiting_clip_is_told_its_place() {
    let service = Setup::default().with("ENGINE__WORKERS", 1).start();
    let origin = Origin::start();
    let held = service.hold(&origin);
    let wish = quick(&origin.link("/silent.mp4"));
    let ahead: Vec<Ticket> = (0..2).map(|_| service.ticket(&wish)).collect();
    let waiting = service.ticket(&wish);
    let mut events = service.events(&waiting.id, None);
    assert_eq!(events.next().unwrap().data["queue_position"], 3);
    for (cancelled, place) in ahead.iter().zip([2, 1]) {
        service.cancel(cancelled);
        let event = events.next().unwrap();
        assert_eq!(event.kind, "progress");
        assert_eq!(event.data["queue_position"], place);
    }
    service.cancel(&held);
    let event = events.next().unwrap();
    assert_eq!(
        (event.kind.as_str(), &event.data["state"]),
        ("state", &"fetching".into())
    );
}

#[test]
fn a_clip_made_again_can_be_followed_again() {
    let (service, origin) = (Service::start(), Origin::start());
    let ticket = service.ticket(&quick(&origin.link("/late.mp4")));
    let first: Vec<Event> = service.events(&ticket.id, None).collect();
    assert_eq!(states(&first).last(), Some(&"failed"));
    origin.add("/late.mp4", Behaviour::File(media::tiny()));
    assert_eq!(service.retry(&ticket).status, 202);
    let last = first.last().unwrap().id.clone().unwrap();
    let second: Vec<Event> = service.events(&ticket.id, Some(&last)).collect();
    assert_eq!(states(&second).last(), Some(&"ready"));
    assert!(numbers(&second) > numbers(&first));
}

#[test]
fn a_quiet_stream_shows_that_it_is_alive() {
    let (service, origin) = (Service::start(), Origin::start());
    let ticket = service.hold(&origin);
    let mut stream = service.raw();
    let path = ticket.path();
    write!(stream, "GET {path}/events HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    // Comes every 15 seconds; whoever reads waits up to a minute.
    let comment = BufReader::new(stream)
        .lines()
        .map(Result::unwrap)
        .find(|line| line.starts_with(':'));
    assert!(comment.is_some());
}
