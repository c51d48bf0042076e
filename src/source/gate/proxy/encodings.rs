//! Forbidden addresses in every spelling that somebody may take for an address, each submitted and each sent through a real gate.

use std::cell::Cell;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use hickory_resolver::TokioResolver;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio::net::TcpListener;

use super::super::{Gate, Policy};
use super::tests::{PATIENCE, ask, budget, resolver};
use crate::recipe::parse_source_url;

/// Blocks that nobody outside may be in, each with its length.
const V4: [([u8; 4], u32); 17] = [
    ([127, 0, 0, 1], 32),
    ([127, 0, 0, 0], 8),
    ([0, 0, 0, 0], 8),
    ([10, 0, 0, 0], 8),
    ([100, 64, 0, 0], 10),
    ([168, 63, 129, 16], 32),
    ([169, 254, 0, 0], 16),
    ([169, 254, 169, 254], 32),
    ([172, 16, 0, 0], 12),
    ([192, 0, 0, 0], 24),
    ([192, 0, 2, 0], 24),
    ([192, 168, 0, 0], 16),
    ([198, 18, 0, 0], 15),
    ([198, 51, 100, 0], 24),
    ([203, 0, 113, 0], 24),
    ([224, 0, 0, 0], 4),
    ([240, 0, 0, 0], 4),
];
const V6: [(&str, u32); 14] = [
    ("::1", 128),
    ("::", 128),
    ("::", 8),
    ("100::", 64),
    ("64:ff9b:1::", 48),
    ("2001::", 23),
    ("2001:db8::", 32),
    ("2002::", 16),
    ("3fff::", 20),
    ("5f00::", 16),
    ("fc00::", 7),
    ("fe80::", 10),
    ("fec0::", 10),
    ("ff00::", 8),
];

fn v4() -> impl Strategy<Value = Ipv4Addr> {
    (prop::sample::select(&V4[..]), any::<u32>()).prop_map(|((base, bits), random)| {
        let host = u32::MAX.checked_shr(bits).unwrap_or(0);
        Ipv4Addr::from_bits(Ipv4Addr::from(base).to_bits() | (random & host))
    })
}

fn v6() -> impl Strategy<Value = Ipv6Addr> {
    let native =
        (prop::sample::select(&V6[..]), any::<u128>()).prop_map(|((base, bits), random)| {
            let base: Ipv6Addr = base.parse().unwrap();
            let host = u128::MAX.checked_shr(bits).unwrap_or(0);
            Ipv6Addr::from_bits(base.to_bits() | (random & host))
        });
    let embedding = (v4(), 0..8, any::<u64>()).prop_map(|(ip, form, random)| {
        let bits = u128::from(ip.to_bits());
        let random = u128::from(random);
        let within = |prefix: &str| prefix.parse::<Ipv6Addr>().unwrap().to_bits() | bits;
        Ipv6Addr::from_bits(match form {
            0 => within("::ffff:0:0"),
            1 => within("::"),
            2 => within("::ffff:0:0:0"),
            3 => within("64:ff9b::"),
            4 => within("64:ff9b:1::"),
            // 6to4 and Teredo, which turns the bits around; the rest is anything.
            5 => (0x2002_u128 << 112) | (bits << 80) | random,
            6 => (0x2001_0000_u128 << 96) | (random << 32) | (!bits & 0xffff_ffff),
            // ISATAP below a public prefix, with every pair of flags.
            _ => {
                let flags = (random & 0b11) << 56;
                within("2606:4700::5efe:0:0") | flags
            }
        })
    });
    prop_oneof![native, embedding]
}

/// One number of an address as `inet_aton` takes it.
fn number(value: u32, style: u8) -> String {
    match style % 6 {
        0 | 1 => value.to_string(),
        2 => format!("0{value:o}"),
        3 => format!("0x{value:x}"),
        4 => format!("0X{value:08X}"),
        _ => format!("0000{value:o}"),
    }
}

/// An IPv4 address in one to four numbers of any base.
fn spelled_v4(ip: Ipv4Addr, parts: usize, styles: [u8; 4]) -> String {
    let bits = ip.to_bits();
    let mut text = String::new();
    for (place, byte) in ip.octets().into_iter().take(parts - 1).enumerate() {
        let _ = write!(text, "{}.", number(byte.into(), styles[place]));
    }
    let rest = bits & (u32::MAX >> (8 * (parts - 1)));
    text + &number(rest, styles[3])
}

fn spelled_v6(ip: Ipv6Addr, style: u8) -> String {
    let groups = ip.segments();
    let joined = |format: fn(u16) -> String, groups: &[u16]| {
        groups
            .iter()
            .map(|group| format(*group))
            .collect::<Vec<_>>()
            .join(":")
    };
    let [.., a, b, c, d] = ip.octets();
    let inside = match style % 6 {
        0 | 1 => ip.to_string(),
        2 => joined(|group| format!("{group:04X}"), &groups),
        3 => joined(|group| format!("{group:x}"), &groups),
        4 => format!(
            "{}:{a}.{b}.{c}.{d}",
            joined(|group| format!("{group:x}"), &groups[..6])
        ),
        _ => format!("{ip}%25lo"),
    };
    format!("[{inside}]")
}

/// Letters that a browser takes for others.
fn disguised(host: &str, style: u8) -> String {
    let wide = |letter: char, from: char, to: u32| {
        char::from_u32(letter as u32 - from as u32 + to).unwrap_or(letter)
    };
    let mut disguised = String::new();
    for (place, letter) in host.chars().enumerate() {
        let odd = place % 2 == 1;
        match (style % 10, letter) {
            (0, '0'..='9') => disguised.push(wide(letter, '0', 0xff10)),
            (1, '0'..='9') if odd => disguised.push(wide(letter, '0', 0xff10)),
            (2, '1'..='9') => disguised.push(wide(letter, '1', 0x2460)),
            (3, '.') => disguised.push('\u{3002}'),
            (4, '.') => disguised.push('\u{ff0e}'),
            (5, '.') => disguised.push('\u{ff61}'),
            (6, 'a'..='z') => disguised.push(wide(letter, 'a', 0x24d0)),
            (7, _) if odd => {
                let _ = write!(disguised, "%{:02x}", letter as u32);
            }
            // Digits of other scripts, which no parser takes for these.
            (8, '0'..='9') => disguised.push(wide(letter, '0', 0x0660)),
            (9, _) if odd => disguised.push(letter.to_ascii_uppercase()),
            _ => disguised.push(letter),
        }
    }
    disguised
}

fn host() -> impl Strategy<Value = String> {
    let v4 = (v4(), 1..=4_usize, any::<[u8; 4]>())
        .prop_map(|(ip, parts, styles)| spelled_v4(ip, parts, styles));
    let v6 = (v6(), any::<u8>()).prop_map(|(ip, style)| spelled_v6(ip, style));
    // The last ones are names that lead here by the name server.
    let name = prop::sample::select(
        &[
            "localhost",
            "a.localhost",
            "localhost.localdomain",
            "metadata.google.internal",
            "metadata",
            "printer.local",
            "private.public.example",
            "private6.public.example",
            "mapped.public.example",
            "mixed.public.example",
            "mixed6.public.example",
        ][..],
    );
    let host = prop_oneof![4 => v4, 4 => v6, 1 => name.prop_map(str::to_owned)];
    let tail = prop::sample::select(&["", "", "", ".", ".."][..]);
    (host, tail, prop::option::weighted(0.3, any::<u8>())).prop_map(|(host, tail, style)| {
        let host = match style {
            Some(style) if !host.starts_with('[') => disguised(&host, style),
            _ => host,
        };
        host + tail
    })
}

/// A link to a port of such a host, as strange as links get.
fn link(port: u16) -> impl Strategy<Value = (String, String)> {
    // Mostly plain: what is no link at all gets no further than the parser.
    let strange = |plain: &'static str, others: &'static [&'static str]| prop_oneof![12 => Just(plain), 1 => prop::sample::select(others)];
    let scheme = prop_oneof![
        Just("http://"),
        strange(
            "https://",
            &["HTTP://", "hTtP:/", "http:\\\\", "http:////", "http:"]
        ),
    ];
    let user = strange("", &["example.com@", "u:p@", "example.com%40"]);
    let port = prop::sample::select(vec![
        format!(":{port}"),
        format!(":{port}"),
        format!(":00{port}"),
        String::new(),
    ]);
    let path = strange(
        "/a.mp4",
        &["", "/", "?a", "#@example.com/", "\\@example.com/"],
    );
    (scheme, user, host(), port, path).prop_map(|(scheme, user, host, port, path)| {
        (
            format!("{scheme}{user}{host}{port}{path}"),
            format!("{host}{port}"),
        )
    })
}

/// Listens on every address of this machine.
async fn canary() -> (Vec<TcpListener>, u16) {
    let one = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await.unwrap();
    let port = one.local_addr().unwrap().port();
    let other = TcpListener::bind((Ipv6Addr::LOCALHOST, port)).await;
    (std::iter::once(one).chain(other).collect(), port)
}

async fn open(allow: &[&str], port: u16, resolver: TokioResolver) -> Gate {
    let allow: Vec<String> = allow.iter().map(ToString::to_string).collect();
    let policy = Policy::new(&allow, &[port]).unwrap();
    Gate::open_with(Arc::new(policy), Some(resolver))
        .await
        .unwrap()
}

#[test]
fn ten_thousand_spellings_of_forbidden_addresses_reach_nothing() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let ((canaries, port), (resolver, _)) =
        runtime.block_on(async { (canary().await, resolver().await) });
    let gate = runtime.block_on(open(&[], port, resolver));
    let lease = gate.lease(budget());
    let config = Config {
        cases: 10_000,
        failure_persistence: None,
        ..Config::default()
    };
    let (literals, names) = (Cell::new(0), Cell::new(0));
    let tried = TestRunner::new(config).run(&link(port), |(text, authority)| {
        // As a visitor would submit it.
        if let Ok(url) = parse_source_url(&text) {
            let judged = gate.judge(&url, None);
            let literal = matches!(url.host(), Some(url::Host::Ipv4(_) | url::Host::Ipv6(_)));
            let kind = if literal { &literals } else { &names };
            kind.set(kind.get() + 1);
            prop_assert!(!literal || judged.is_err(), "{text} is {url}");
            let answer = runtime.block_on(ask(&lease, &format!("GET {url} HTTP/1.1"), ""));
            prop_assert!(
                answer.starts_with("HTTP/1.1 4") || answer.starts_with("HTTP/1.1 502 "),
                "{text} is {url}: {answer}"
            );
        }
        // As a sidecar would ask for what it was given, without a parser of ours before it.
        for line in [
            format!("GET {text} HTTP/1.1"),
            format!("CONNECT {authority} HTTP/1.1"),
        ] {
            let answer = runtime.block_on(ask(&lease, &line, ""));
            prop_assert!(
                answer.starts_with("HTTP/1.1 4") || answer.starts_with("HTTP/1.1 502 "),
                "{line}: {answer}"
            );
        }
        Ok(())
    });
    if let Err(error) = tried {
        panic!("{error}");
    }
    assert_eq!(lease.bytes(), 0);
    let understood = (literals.get(), names.get());
    assert!(
        understood.0 > 5000 && understood.1 > 500,
        "too few were links at all: {understood:?}"
    );
    for canary in &canaries {
        let accepted = runtime.block_on(async {
            tokio::select! {
                biased;
                accepted = canary.accept() => accepted.ok(),
                () = std::future::ready(()) => None,
            }
        });
        assert!(accepted.is_none(), "somebody connected");
    }
}

/// The canary would hear them: where loopback is allowed, the same spellings arrive.
#[tokio::test]
async fn spellings_of_an_allowed_address_arrive() {
    let ((canaries, port), (resolver, _)) = (canary().await, resolver().await);
    let gate = open(&["127.0.0.0/8"], port, resolver).await;
    for (parts, style) in (1..=4).flat_map(|parts| (0..6).map(move |style| (parts, style))) {
        let host = spelled_v4(Ipv4Addr::new(127, 9, 8, 7), parts, [style; 4]);
        let lease = gate.lease(budget());
        let line = format!("GET http://{host}:{port}/ HTTP/1.1");
        let (_, accepted) = tokio::join!(
            async { drop(super::tests::send(&lease, &line, "").await) },
            tokio::time::timeout(PATIENCE, canaries[0].accept())
        );
        let (_, peer): (_, SocketAddr) = accepted.expect("nobody came").unwrap();
        assert!(peer.ip().is_loopback(), "{host}");
    }
}
