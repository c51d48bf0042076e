//! Every route by five kinds of caller, where anybody may make clips and where that takes a token. A route that is added without a line
//! here fails the test.

use std::collections::BTreeSet;

use meme_maker::http::ROUTES;

use super::{Met, meet, nowhere};
use crate::support::service::{Service, Setup};
use crate::support::visitor::Ticket;

/// What a route asks of its caller.
#[derive(Clone, Copy, Debug)]
enum Door {
    Open,
    /// Who may make clips, where that takes a token.
    Maker,
    /// Who may make or read clips, where that takes a token.
    Reader,
    /// The holder of the clip's token, or who manages all clips.
    Holder,
    With(&'static str),
    /// As `With`, and nobody else learns that there is something; open to the machine itself.
    Hidden(&'static str),
}
use Door::{Hidden, Holder, Maker, Open, Reader, With};

/// One line a route. `{id}` is a clip of the caller's, or nothing that is there.
const DOORS: &[(&str, &str, Door)] = &[
    ("POST", "/api/clips", Maker),
    ("POST", "/api/clips:batch", Maker),
    ("GET", "/api/clips", Reader),
    ("POST", "/api/clips:estimate", Maker),
    ("GET", "/api/presets", Open),
    ("GET", "/api/clips/{id}", Open),
    ("PATCH", "/api/clips/{id}", Holder),
    ("DELETE", "/api/clips/{id}", Holder),
    ("POST", "/api/clips/{id}/cancel", Holder),
    ("POST", "/api/clips/{id}/retry", Holder),
    ("GET", "/api/clips/{id}/events", Open),
    ("GET", "/api/clips/{id}/download", Open),
    ("OPTIONS", "/api/uploads", Open),
    ("POST", "/api/uploads", Maker),
    ("HEAD", "/api/uploads/{id}", Open),
    ("PATCH", "/api/uploads/{id}", Open),
    ("DELETE", "/api/uploads/{id}", Open),
    ("GET", "/api/files/clips/{id}/{name}", Open),
    ("HEAD", "/api/files/clips/{id}/{name}", Open),
    ("POST", "/api/sources", Maker),
    ("GET", "/api/sources/{id}", Open),
    ("GET", "/api/sources/{id}/stream", Open),
    ("HEAD", "/api/sources/{id}/stream", Open),
    ("GET", "/api/sources/{id}/filmstrip", Open),
    ("GET", "/api/sources/{id}/waveform", Open),
    ("GET", "/api/events", Reader),
    ("GET", "/api/admin/cleanup", With("ops:read")),
    ("POST", "/api/admin/cleanup", With("ops:run")),
    ("GET", "/api/admin/trash", With("clip:manage")),
    ("POST", "/api/admin/trash/{id}/restore", With("clip:manage")),
    ("POST", "/api/admin/backup", With("ops:run")),
    ("GET", "/api/admin/backups", With("ops:read")),
    ("GET", "/api/admin/disk", With("ops:read")),
    ("GET", "/api/admin/history", With("ops:read")),
    ("GET", "/api/admin/queue", With("ops:read")),
    ("GET", "/api/admin/events", With("ops:read")),
    ("GET", "/api/admin/health", With("ops:read")),
    ("GET", "/api/admin/tokens", With("admin")),
    ("POST", "/api/admin/tokens", With("admin")),
    ("DELETE", "/api/admin/tokens/{id}", With("admin")),
    ("GET", "/api/admin/settings", With("admin")),
    ("GET", "/api/health/live", Open),
    ("GET", "/api/health", Open),
    ("GET", "/api/openapi.json", Open),
    ("GET", "/metrics", Hidden("ops:read")),
    ("GET", "/", Open),
    ("GET", "/c/{id}", Open),
    ("GET", "/embed/{id}", Open),
    ("GET", "/static/{name}", Open),
    ("GET", "/favicon.ico", Open),
    ("GET", "/robots.txt", Open),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Caller {
    Nobody,
    /// Has the token that came with the clip.
    ClipHolder,
    /// Has a token with every scope but those that open the door, and not `admin`.
    Unrelated,
    /// Has a token with the one scope that opens the door.
    Scoped,
    /// Had one.
    Revoked,
}

const CALLERS: [Caller; 5] = [
    Caller::Nobody,
    Caller::ClipHolder,
    Caller::Unrelated,
    Caller::Scoped,
    Caller::Revoked,
];

/// What the door says: nothing, or a status and a code.
fn expected(door: Door, caller: Caller, create: &str) -> Option<(u16, &'static str)> {
    let by_token = match (door, create) {
        (Open, _) | (Maker | Reader, "public") => return None,
        (Hidden(_), _) => match caller {
            Caller::Scoped => return None,
            _ => return Some((404, "not_found")),
        },
        (Holder, _) => {
            return match caller {
                Caller::ClipHolder | Caller::Scoped => None,
                Caller::Nobody => Some((401, "token_missing")),
                Caller::Unrelated | Caller::Revoked => Some((403, "token_wrong")),
            };
        }
        (Maker | Reader | With(_), _) => caller,
    };
    match by_token {
        Caller::Scoped => None,
        Caller::Nobody => Some((401, "token_needed")),
        Caller::ClipHolder | Caller::Revoked => Some((401, "token_invalid")),
        Caller::Unrelated => Some((403, "token_scope")),
    }
}

fn opening(door: Door) -> &'static [&'static str] {
    match door {
        Open => &[],
        Maker => &["clip:create"],
        Reader => &["file:read", "clip:create"],
        Holder => &["clip:manage"],
        With(scope) | Hidden(scope) => match scope {
            "ops:read" => &["ops:read"],
            "ops:run" => &["ops:run"],
            "clip:manage" => &["clip:manage"],
            "admin" => &["admin"],
            other => panic!("{other} opens no route yet"),
        },
    }
}

/// A service with a token for each set of scopes that was asked for.
struct House {
    service: Service,
    create: &'static str,
    tokens: std::collections::HashMap<String, String>,
    revoked: String,
    /// May make clips, wherever.
    maker: String,
    asked: u32,
}

impl House {
    fn open(create: &'static str) -> House {
        let service = Setup::default()
            .with("AUTH__CREATE", create)
            .with("LIMITS__QUEUE", "10000")
            .start();
        let maker = service.token("clip:create");
        let admin = service.token("admin");
        let revoked = service.token("clip:create,clip:manage,file:read,ops:read,ops:run,admin");
        let id = &revoked[3..19];
        let gone = service.with_token("DELETE", &format!("/api/admin/tokens/{id}"), &admin);
        assert_eq!(gone.status, 204, "{}", gone.text());
        House {
            service,
            create,
            tokens: std::collections::HashMap::new(),
            revoked,
            maker,
            asked: 0,
        }
    }

    fn token(&mut self, scopes: &str) -> String {
        let service = &self.service;
        self.tokens
            .entry(scopes.to_owned())
            .or_insert_with(|| service.token(scopes))
            .clone()
    }

    fn clip(&self) -> Ticket {
        let bearer = format!("Bearer {}", self.maker);
        let made = self
            .service
            .submit_with(&[("authorization", &bearer)], &nowhere());
        assert_eq!(made.status, 202, "{}", made.text());
        Ticket::of(&made.json())
    }

    /// Has a caller knock, every time from another address.
    fn knock(&mut self, method: &str, path: &str, door: Door, caller: Caller) -> Met {
        let clip = match door {
            Holder => self.clip(),
            _ => Ticket {
                id: "0192f0c1-2345-7abc-8def-0123456789ab".to_owned(),
                token: "ab".repeat(32),
            },
        };
        let token = match caller {
            Caller::Nobody => None,
            Caller::ClipHolder => Some(clip.token.clone()),
            Caller::Revoked => Some(self.revoked.clone()),
            Caller::Scoped => {
                let scope = opening(door).first().copied().unwrap_or("file:read");
                Some(self.token(scope))
            }
            Caller::Unrelated => {
                let others = [
                    "clip:create",
                    "clip:manage",
                    "file:read",
                    "ops:read",
                    "ops:run",
                ];
                let others = others.into_iter().filter(|s| !opening(door).contains(s));
                let others: Vec<&str> = others.collect();
                Some(self.token(&others.join(",")))
            }
        };
        let path = path.replace("{id}", &clip.id).replace("{name}", "x");
        self.asked += 1;
        let address = format!("203.0.{}.{}", self.asked / 250, self.asked % 250);
        let bearer = token.map(|token| format!("Bearer {token}"));
        let mut headers = vec![("X-Forwarded-For", address.as_str())];
        if let Some(bearer) = &bearer {
            headers.push(("Authorization", bearer));
        }
        meet(&self.service, method, &path, &headers)
    }
}

/// What says that the door was closed.
const CLOSED: [&str; 5] = [
    "token_needed",
    "token_invalid",
    "token_scope",
    "token_missing",
    "token_wrong",
];

#[test]
fn every_route_has_a_line() {
    let routes: BTreeSet<_> = ROUTES
        .iter()
        .map(|route| (route.method, route.path))
        .collect();
    let lines: BTreeSet<_> = DOORS
        .iter()
        .map(|(method, path, _)| (*method, *path))
        .collect();
    assert_eq!(lines.len(), DOORS.len(), "a route has two lines");
    let missing: Vec<_> = routes.difference(&lines).collect();
    assert!(missing.is_empty(), "give a line in DOORS to {missing:?}");
    let gone: Vec<_> = lines.difference(&routes).collect();
    assert!(gone.is_empty(), "there is no route {gone:?}");
}

#[test]
fn every_route_lets_in_whom_it_should_and_nobody_else() {
    for create in ["public", "token"] {
        let mut house = House::open(create);
        for (method, path, door) in DOORS {
            for caller in CALLERS {
                let met = house.knock(method, path, *door, caller);
                let told =
                    format!("{method} {path} by {caller:?}, auth.create = {create}: {met:?}");
                match expected(*door, caller, house.create) {
                    Some((status, code)) => {
                        assert_eq!((met.status, met.code.as_str()), (status, code), "{told}");
                    }
                    None => {
                        let closed = CLOSED.contains(&met.code.as_str());
                        assert!(!closed && met.status < 500, "{told}");
                        let found = matches!(door, Hidden(_)) && met.status == 404;
                        assert!(!found, "{told}");
                    }
                }
            }
        }
    }
}

#[test]
fn no_method_tells_that_a_hidden_address_is_there() {
    let mut house = House::open("public");
    for (_, path, door) in DOORS.iter().filter(|line| matches!(line.2, Hidden(_))) {
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "BREW"] {
            let met = house.knock(method, path, *door, Caller::Nobody);
            assert_eq!((met.status, met.code.as_str()), (404, "not_found"));
            let met = house.knock(method, path, *door, Caller::Scoped);
            assert_eq!(met.status, 405, "{method} {path}");
        }
    }
}

#[test]
fn no_way_of_writing_an_address_leads_around_the_door() {
    let mut house = House::open("token");
    let closed = |door: &Door| matches!(door, Maker | Reader | Holder | With(_) | Hidden(_));
    for (method, path, door) in DOORS.iter().filter(|(_, _, door)| closed(door)) {
        let last = path.trim_start_matches('/').rsplit('/').next().unwrap();
        let first = path[1..].chars().next().unwrap();
        let one = format!("/%{:02x}{}", u32::from(first), &path[2..]);
        let (front, back) = path.split_at(path.len() - last.len());
        let letters = back.chars().map(|letter| match letter {
            'a'..='z' => format!("%{:02X}", u32::from(letter)),
            other => other.to_string(),
        });
        // Of a path that ends in a placeholder the whole front is written otherwise.
        let all = if last.starts_with('{') {
            format!("{}{last}", front.replace('a', "%61"))
        } else {
            format!("{front}{}", letters.collect::<String>())
        };
        for written in [
            one,
            all,
            format!("{path}/"),
            format!("/{path}"),
            format!("/.{path}"),
            format!("/static/..{path}"),
            path.to_uppercase().replace("{ID}", "{id}"),
            format!("{path}?a=/api/health/live"),
            format!("{path};x"),
            format!("http://x{path}"),
        ] {
            let met = house.knock(method, &written, *door, Caller::Nobody);
            assert!(
                matches!(met.status, 400 | 401 | 404 | 405),
                "{method} {written}: {met:?}"
            );
        }
    }
    // HEAD is answered where GET is, by the same door; no other method gets in.
    for path in ["/api/clips", "/api/admin/tokens", "/api/admin/settings"] {
        for method in ["HEAD", "PUT", "TRACE", "get"] {
            let met = house.knock(method, path, With("admin"), Caller::Nobody);
            assert!(matches!(met.status, 401 | 405), "{method} {path}: {met:?}");
        }
    }
}

#[test]
fn what_is_for_the_machine_itself_is_for_nobody_who_comes_by_a_proxy() {
    for trusted in ["127.0.0.0/8", "10.0.0.0/8"] {
        let service = Setup::default()
            .with("SERVER__TRUSTED_PROXIES", trusted)
            .start();
        assert_eq!(service.get("/metrics").status, 200);
        let by =
            |name: &str, value: &str| service.request("GET", "/metrics", &[(name, value)], b"");
        for (name, value) in [
            ("x-forwarded-for", "203.0.113.9"),
            ("x-forwarded-for", "127.0.0.1"),
            ("x-forwarded-for", ""),
            ("forwarded", "for=127.0.0.1"),
            ("x-real-ip", "127.0.0.1"),
            ("via", "1.1 proxy"),
        ] {
            by(name, value).expect_problem(404, "not_found");
        }
        let admin = format!("Bearer {}", service.token("admin"));
        let headers = [("via", "1.1 proxy"), ("authorization", admin.as_str())];
        assert_eq!(
            service.request("GET", "/metrics", &headers, b"").status,
            200
        );
    }
}
