//! How the service ends: nothing is lost, nothing stays behind, and nobody who only listens holds it up.

use std::time::Duration;

use crate::support::media;
use crate::support::origin::Origin;
use crate::support::service::{Service, Setup};
use crate::support::visitor::{Ticket, gone, lengthy, quick, until, within};

/// What a killed process had started is gone within this.
const GONE: Duration = Duration::from_secs(2);
/// Connections that are cut off at the end are given five seconds by actix; whoever has nothing to say must not use them up.
const PROMPT: Duration = Duration::from_secs(4);

fn hasty() -> Setup {
    Setup::default().with("SERVER__DRAIN_SECONDS", 0)
}

/// A service that is in the middle of an encode, with the processes that do it.
fn cutting(setup: Setup, seconds: f64) -> (Service, Origin, Ticket, Vec<u32>) {
    let service = setup.start();
    let (origin, link) = Origin::with(&media::long());
    let ticket = service.ticket(&lengthy(&link, seconds));
    service.wait_for(&ticket.id, &["cutting"]);
    let mut children = Vec::new();
    until("the encode has begun", || {
        children = service.children();
        !children.is_empty()
    });
    (service, origin, ticket, children)
}

#[track_caller]
fn ends_promptly(mut service: Service) {
    let pid = service.pid();
    within(PROMPT, "the service has ended", || gone(&[pid]));
    assert!(service.ended().success(), "{}", service.log());
}

#[test]
fn an_idle_service_ends_well_on_either_signal() {
    for signal in ["TERM", "INT"] {
        let service = Service::start();
        service.get("/api/health");
        service.signal(signal);
        ends_promptly(service);
    }
}

#[test]
fn open_connections_do_not_hold_up_the_end() {
    let service = Service::start();
    let origin = Origin::start();
    let held = service.hold(&origin);
    // Some have said nothing yet, some half a request, some were answered and stay open.
    let mut open = Vec::new();
    for number in 0..100 {
        let mut stream = service.raw();
        let said: &[u8] = match number % 3 {
            0 => b"",
            1 => b"GET /api/health/live HTTP/1.1\r\nHo",
            _ => b"GET /api/health/live HTTP/1.1\r\nHost: x\r\n\r\n",
        };
        std::io::Write::write_all(&mut stream, said).unwrap();
        open.push(stream);
    }
    let mut events = service.events(&held.id, None);
    events.next().unwrap();
    service.cancel(&held);
    let waiting = service.ticket(&quick(&origin.link("/missing.mp4")));
    service.wait_for(&waiting.id, &["failed"]);
    service.signal("TERM");
    ends_promptly(service);
    drop(open);
}

#[test]
fn listeners_are_let_go_at_the_end() {
    let service = hasty().start();
    let origin = Origin::start();
    let held = service.hold(&origin);
    let mut listening: Vec<_> = (0..10).map(|_| service.events(&held.id, None)).collect();
    for events in &mut listening {
        events.next().unwrap();
    }
    service.signal("TERM");
    ends_promptly(service);
    for events in listening {
        // Whatever else was told, the stream has an end.
        events.for_each(drop);
    }
}

#[test]
fn a_cut_in_hand_is_finished_before_the_end() {
    let (service, _origin, ticket, children) = cutting(Setup::default(), 6.0);
    let service = service.restarted(Setup::default());
    let clip = service.clip(&ticket);
    assert_eq!(clip["state"], "ready", "{clip}");
    assert_eq!(clip["result"]["frames"], 180);
    assert!(gone(&children));
}

#[test]
fn what_is_not_finished_in_time_is_made_by_the_next_run() {
    let (mut service, _origin, ticket, mut children) = cutting(hasty(), 8.0);
    // Being stopped in good order is not the clip's fault: it may happen more often than an interruption.
    for _ in 0..3 {
        service = service.restarted(hasty());
        within(GONE, "its children are gone", || gone(&children));
        service.wait_for(&ticket.id, &["cutting"]);
        until("the encode has begun", || {
            children = service.children();
            !children.is_empty()
        });
    }
    let clip = service.wait_for(&ticket.id, &["ready"]);
    assert!(clip["error"].is_null());
    until("its work is cleared away", || {
        !service.work_of(&ticket).exists()
    });
}

#[test]
fn asked_twice_the_service_does_not_wait_for_the_cut() {
    let (mut service, _origin, ticket, children) = cutting(Setup::default(), 38.0);
    service.signal("TERM");
    until("it is stopping", || service.log().contains("stopping"));
    service.signal("TERM");
    let pid = service.pid();
    within(PROMPT, "the service has ended", || gone(&[pid]));
    assert!(service.ended().success());
    assert!(gone(&children));
    let service = service.killed_and_started_again(Setup::default().with("ENGINE__WORKERS", 1));
    let clip = service.clip(&ticket);
    assert!(clip["error"].is_null(), "{clip}");
}

#[test]
fn nothing_new_is_taken_while_it_ends() {
    let one_at_a_time = Setup::default().with("ENGINE__WORKERS", 1);
    let (service, origin, ticket, _children) = cutting(one_at_a_time, 6.0);
    let waiting: Vec<Ticket> = (0..3)
        .map(|_| service.ticket(&lengthy(&origin.link("/long.mp4"), 30.0)))
        .collect();
    let service = service.restarted(hasty());
    assert_eq!(service.clip(&ticket)["state"], "ready");
    for ticket in &waiting {
        let clip = service.clip(ticket);
        let unharmed = ["queued", "fetching", "cutting"].contains(&clip["state"].as_str().unwrap());
        assert!(unharmed, "{clip}");
    }
}

#[test]
fn children_die_with_a_killed_service() {
    let (service, _origin, _ticket, children) = cutting(Setup::default(), 38.0);
    service.signal("KILL");
    within(GONE, "its children are gone", || gone(&children));

    let service = Service::start();
    let origin = Origin::start();
    service.hold(&origin);
    let mut fetching = Vec::new();
    until("something fetches", || {
        fetching = service.children();
        !fetching.is_empty()
    });
    service.signal("KILL");
    within(GONE, "its children are gone", || gone(&fetching));
}
