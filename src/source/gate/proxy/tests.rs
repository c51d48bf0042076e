//! Whole connections through the gate, against origins on loopback.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use tokio::net::{TcpListener, UdpSocket};
use tokio::time::Instant;

use super::super::{Budget, Gate, Lease, Policy, Refused, base64};
use super::*;

pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// A server on loopback that answers every request with the same bytes, and then does `after`.
struct Origin {
    port: u16,
    heads: Arc<Mutex<Vec<String>>>,
    accepted: Arc<AtomicUsize>,
    closed: Arc<AtomicUsize>,
}

#[derive(Clone, Copy)]
enum After {
    Close,
    Drip,
    Flood,
    Echo,
}

impl Origin {
    async fn open(answer: &str, after: After) -> Origin {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let origin = Origin {
            port,
            heads: Arc::default(),
            accepted: Arc::default(),
            closed: Arc::default(),
        };
        let (heads, accepted, closed) = (
            Arc::clone(&origin.heads),
            Arc::clone(&origin.accepted),
            Arc::clone(&origin.closed),
        );
        let answer = answer.to_owned();
        tokio::spawn(async move {
            loop {
                let (mut peer, _) = listener.accept().await.unwrap();
                accepted.fetch_add(1, Ordering::SeqCst);
                let (heads, closed, answer) =
                    (Arc::clone(&heads), Arc::clone(&closed), answer.clone());
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n")
                        && peer.read_buf(&mut head).await.is_ok_and(|n| n > 0)
                    {}
                    heads.lock().unwrap().push(String::from_utf8(head).unwrap());
                    let mut alive = peer.write_all(answer.as_bytes()).await.is_ok();
                    match after {
                        After::Close => {}
                        After::Drip => {
                            while alive {
                                alive = peer.write_all(b".").await.is_ok();
                                tokio::time::sleep(Duration::from_millis(20)).await;
                            }
                        }
                        After::Flood => while peer.write_all(&[b'x'; 8192]).await.is_ok() {},
                        After::Echo => {
                            let (mut from, mut to) = peer.split();
                            tokio::io::copy(&mut from, &mut to).await.ok();
                        }
                    }
                    closed.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        origin
    }

    fn head(&self) -> String {
        self.heads.lock().unwrap().last().unwrap().clone()
    }

    fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    async fn wait_until_closed(&self) {
        let waiting = async {
            while self.closed.load(Ordering::SeqCst) == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, waiting)
            .await
            .expect("upstream was left open");
    }
}

/// A name server that knows `*.public.example` (8.8.8.8 and more, see below) and answers by the first label.
pub(super) async fn resolver() -> (TokioResolver, Arc<AtomicUsize>) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = socket.local_addr().unwrap().port();
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    tokio::spawn(async move {
        let mut packet = [0_u8; 512];
        loop {
            let (length, peer) = socket.recv_from(&mut packet).await.unwrap();
            counter.fetch_add(1, Ordering::SeqCst);
            let reply = answer_query(&packet[..length]);
            socket.send_to(&reply, peer).await.unwrap();
        }
    });
    let mut connection = ConnectionConfig::udp();
    connection.port = port;
    let server = NameServerConfig::new(Ipv4Addr::LOCALHOST.into(), true, vec![connection]);
    let config = ResolverConfig::from_parts(None, vec![], vec![server]);
    let built = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()).build();
    (built.unwrap(), asked)
}

/// RFC 1035 section 4.1, for one question.
fn answer_query(query: &[u8]) -> Vec<u8> {
    let label = &query[13..13 + query[12] as usize];
    let name_end = 12 + query[12..].iter().position(|&byte| byte == 0).unwrap() + 1;
    let question = &query[12..name_end + 4];
    let wants_v6 = query[name_end + 1] == 28;
    let v4 = |ip: [u8; 4]| (1_u8, ip.to_vec());
    let v6 = |ip: &str| {
        (
            28_u8,
            ip.parse::<std::net::Ipv6Addr>().unwrap().octets().to_vec(),
        )
    };
    let (code, records) = match label {
        b"private" => (0, vec![v4([127, 0, 0, 1])]),
        b"private6" => (0, vec![v6("::1")]),
        b"mapped" => (0, vec![v6("::ffff:127.0.0.1")]),
        b"mixed" => (0, vec![v4([8, 8, 8, 8]), v4([127, 0, 0, 1])]),
        b"mixed6" => (0, vec![v4([8, 8, 8, 8]), v6("fd00::1")]),
        b"broken" => (2, vec![]),
        _ => (3, vec![]),
    };
    let records: Vec<_> = records
        .into_iter()
        .filter(|record| (record.0 == 28) == wants_v6)
        .collect();
    let mut reply = query[..2].to_vec();
    reply.extend([0x81, 0x80 | code, 0, 1, 0, records.len() as u8, 0, 0, 0, 0]);
    reply.extend(question);
    for (kind, data) in records {
        reply.extend([0xc0, 12, 0, kind, 0, 1, 0, 0, 0, 0, 0, data.len() as u8]);
        reply.extend(data);
    }
    reply
}

async fn gate(allow: &[&str]) -> Gate {
    let allow: Vec<String> = allow.iter().map(ToString::to_string).collect();
    Gate::open_with(Arc::new(Policy::new(&allow, &[]).unwrap()), None)
        .await
        .unwrap()
}

pub(super) fn budget() -> Budget {
    Budget {
        bytes: 1 << 20,
        deadline: Duration::from_secs(60),
        connections: 10,
        connect_timeout: Duration::from_secs(5),
    }
}

/// Where the lease's proxy listens, and the header that opens it.
fn entry(lease: &Lease) -> (SocketAddr, String) {
    let url = Url::parse(&lease.proxy_url()).unwrap();
    let pair = format!("{}:{}", url.username(), url.password().unwrap());
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, url.port().unwrap()));
    (
        address,
        format!("Proxy-Authorization: Basic {}\r\n", base64(pair.as_bytes())),
    )
}

pub(super) async fn send(lease: &Lease, first_line: &str, fields: &str) -> TcpStream {
    let (address, credential) = entry(lease);
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(format!("{first_line}\r\n{credential}{fields}\r\n").as_bytes())
        .await
        .unwrap();
    stream
}

/// Everything until the end, and whether the end was an orderly one.
async fn read_all(stream: &mut TcpStream) -> (String, bool) {
    let mut bytes = Vec::new();
    let end = timeout(PATIENCE, stream.read_to_end(&mut bytes))
        .await
        .expect("the gate did not close");
    (String::from_utf8(bytes).unwrap(), end.is_ok())
}

pub(super) async fn ask(lease: &Lease, first_line: &str, fields: &str) -> String {
    read_all(&mut send(lease, first_line, fields).await).await.0
}

async fn get(lease: &Lease, url: &str) -> String {
    ask(lease, &format!("GET {url} HTTP/1.1"), "").await
}

#[tokio::test]
async fn a_ranged_get_passes_and_is_counted() {
    let answer = "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 206 Partial Content\r\nContent-Length: 4\r\n\
                  Content-Range: bytes 2-5/9\r\nKeep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\n\r\nbody";
    let origin = Origin::open(answer, After::Close).await;
    let gate = gate(&["127.0.0.0/8"]).await;
    let lease = gate.lease(budget());
    let url = format!("http://127.0.0.1:{}/a%20b.mp4?x=1&y=%2F#z", origin.port);
    let fields = "Host: elsewhere.example\r\nRange: bytes=2-5\r\nX-Hop: 1\r\nConnection: keep-alive, X-Hop\r\nTE: trailers\r\n\
                  Proxy-Connection: keep-alive\r\nUpgrade: h2c\r\n";
    let response = ask(&lease, &format!("GET {url} HTTP/1.1"), fields).await;
    assert_eq!(
        response,
        "HTTP/1.1 206 Partial Content\r\ncontent-length: 4\r\ncontent-range: bytes 2-5/9\r\nConnection: close\r\n\r\nbody"
    );
    assert_eq!(
        origin.head(),
        format!(
            "GET /a%20b.mp4?x=1&y=%2F HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nrange: bytes=2-5\r\nConnection: close\r\n\r\n",
            origin.port
        )
    );
    assert_eq!(
        (lease.bytes(), lease.connections(), lease.refusal()),
        (answer.len() as u64, 1, None)
    );
    gate.close().await;
}

#[tokio::test]
async fn a_head_request_and_an_old_client_pass() {
    let origin = Origin::open("HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\n", After::Close).await;
    let gate = gate(&["127.0.0.1"]).await;
    let lease = gate.lease(budget());
    let response = ask(
        &lease,
        &format!("HEAD http://127.0.0.1:{} HTTP/1.0", origin.port),
        "",
    )
    .await;
    assert_eq!(
        response,
        "HTTP/1.0 200 OK\r\ncontent-length: 4\r\nConnection: close\r\n\r\n"
    );
    assert!(origin.head().starts_with("HEAD / HTTP/1.0\r\n"));
}

#[tokio::test]
async fn what_is_no_http_is_passed_as_it_is() {
    let origin = Origin::open("ICY 200 OK\r\nicy-name: x\r\n\r\nsound", After::Close).await;
    let gate = gate(&["127.0.0.1"]).await;
    let lease = gate.lease(budget());
    let response = get(&lease, &format!("http://127.0.0.1:{}/", origin.port)).await;
    assert_eq!(response, "ICY 200 OK\r\nicy-name: x\r\n\r\nsound");
}

#[tokio::test]
async fn a_wrong_credential_is_asked_for_again_and_then_turned_away() {
    let origin = Origin::open("HTTP/1.1 200 OK\r\n\r\nbody", After::Close).await;
    let gate = gate(&["127.0.0.0/8"]).await;
    let lease = gate.lease(budget());
    let (address, credential) = entry(&lease);
    let line = format!("GET http://127.0.0.1:{}/ HTTP/1.1\r\n", origin.port);

    let mut stranger = TcpStream::connect(address).await.unwrap();
    let guesses = [
        "",
        "Proxy-Authorization: Basic bGVhc2U6\r\n",
        "Proxy-Authorization: Bearer x\r\n",
    ];
    for guess in guesses {
        stranger
            .write_all(format!("{line}{guess}\r\n").as_bytes())
            .await
            .unwrap();
    }
    let (answers, _) = read_all(&mut stranger).await;
    assert_eq!(answers.matches("HTTP/1.1 407 ").count(), 3, "{answers}");
    assert_eq!(
        answers
            .matches("Proxy-Authenticate: Basic realm=\"gate\"\r\n")
            .count(),
        3
    );

    // The same connection, after the challenge.
    let mut client = TcpStream::connect(address).await.unwrap();
    client
        .write_all(format!("{line}\r\n").as_bytes())
        .await
        .unwrap();
    let mut challenge = [0_u8; 12];
    client.read_exact(&mut challenge).await.unwrap();
    assert_eq!(&challenge, b"HTTP/1.1 407");
    assert_eq!((origin.accepted(), lease.connections()), (0, 0));
    client
        .write_all(format!("{line}{credential}\r\n").as_bytes())
        .await
        .unwrap();
    assert!(read_all(&mut client).await.0.ends_with("\r\n\r\nbody"));
    assert_eq!((origin.accepted(), lease.connections()), (1, 1));
}

#[tokio::test]
async fn heads_that_cannot_be_served_are_turned_away() {
    let gate = gate(&[]).await;
    let lease = gate.lease(budget());
    for (line, fields, status) in [
        ("POST http://example.com/ HTTP/1.1", "", "405"),
        (
            "GET http://example.com/ HTTP/1.1",
            "Content-Length: 5\r\n",
            "400",
        ),
        (
            "GET http://example.com/ HTTP/1.1",
            "Transfer-Encoding: chunked\r\n",
            "400",
        ),
        ("GET /path HTTP/1.1", "", "400"),
        ("GET http://example.com/ HTTP/3.1", "", "400"),
        ("nonsense", "", "400"),
        ("CONNECT example.com HTTP/1.1", "", "400"),
        ("CONNECT example.com:443/a HTTP/1.1", "", "400"),
        ("CONNECT example.com:443#@a:443 HTTP/1.1", "", "403"),
        ("CONNECT a@example.com:443 HTTP/1.1", "", "403"),
        ("CONNECT example.com:22 HTTP/1.1", "", "403"),
        ("GET https://example.com/ HTTP/1.1", "", "403"),
        ("GET ftp://example.com/ HTTP/1.1", "", "403"),
    ] {
        let response = ask(&lease, line, fields).await;
        assert!(
            response.starts_with(&format!("HTTP/1.1 {status} ")),
            "{line}: {response}"
        );
    }
    let long = format!("X: {}\r\n", "x".repeat(REQUEST_HEAD));
    let mut stream = send(&lease, "GET http://example.com/ HTTP/1.1", &long).await;
    let mut status = [0_u8; 12];
    stream.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 431");
    assert_eq!(
        (lease.connections(), lease.refusal()),
        (0, Some(Refusal::Invalid))
    );
}

#[tokio::test]
async fn a_private_target_is_refused_recorded_and_never_touched() {
    let canary = Origin::open("HTTP/1.1 200 OK\r\n\r\nsecret", After::Close).await;
    let gate = gate(&["10.0.0.0/8"]).await;
    let lease = gate.lease(budget());
    for host in [
        "127.0.0.1",
        "localhost",
        "127.1",
        "[::ffff:127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[::1]",
    ] {
        let target = format!("{host}:{}", canary.port);
        for line in [
            format!("GET http://{target}/ HTTP/1.1"),
            format!("CONNECT {target} HTTP/1.1"),
        ] {
            let response = ask(&lease, &line, "").await;
            assert!(response.starts_with("HTTP/1.1 403 "), "{line}: {response}");
            assert!(
                response.contains("\r\nX-Gate-Code: url_blocked\r\n"),
                "{line}: {response}"
            );
        }
    }
    assert_eq!(lease.refusal(), Some(Refusal::Blocked));
    assert_eq!(
        (canary.accepted(), lease.connections(), lease.bytes()),
        (0, 0, 0)
    );
}

#[tokio::test]
async fn a_name_is_refused_if_any_of_its_addresses_is() {
    let canary = Origin::open("HTTP/1.1 200 OK\r\n\r\nsecret", After::Close).await;
    let (resolver, asked) = resolver().await;
    let policy = Arc::new(Policy::new(&[], &[canary.port]).unwrap());
    let gate = Gate::open_with(policy, Some(resolver)).await.unwrap();
    for (label, status, refusal) in [
        ("private", "403", Refusal::Blocked),
        ("private6", "403", Refusal::Blocked),
        ("mapped", "403", Refusal::Blocked),
        ("mixed", "403", Refusal::Blocked),
        ("mixed6", "403", Refusal::Blocked),
        (
            "broken",
            "502",
            Refusal::Unresolvable("broken.public.example".to_owned()),
        ),
        (
            "missing",
            "502",
            Refusal::Unresolvable("missing.public.example".to_owned()),
        ),
    ] {
        let lease = gate.lease(budget());
        let response = get(
            &lease,
            &format!("http://{label}.public.example:{}/", canary.port),
        )
        .await;
        assert!(
            response.starts_with(&format!("HTTP/1.1 {status} ")),
            "{label}: {response}"
        );
        assert_eq!(lease.refusal(), Some(refusal), "{label}");
    }
    assert_eq!(canary.accepted(), 0);
    assert!(asked.load(Ordering::SeqCst) > 0);
}

#[tokio::test]
async fn a_listed_name_is_reached_where_it_resolves_to() {
    let origin = Origin::open("HTTP/1.1 200 OK\r\n\r\nbody", After::Close).await;
    let (resolver, _) = resolver().await;
    let policy = Arc::new(Policy::new(&["*.public.example".to_owned()], &[]).unwrap());
    let gate = Gate::open_with(policy, Some(resolver)).await.unwrap();
    let lease = gate.lease(budget());
    let response = get(
        &lease,
        &format!("http://private.public.example:{}/", origin.port),
    )
    .await;
    assert!(response.ends_with("body"), "{response}");
    assert!(origin.head().contains(&format!(
        "\r\nHost: private.public.example:{}\r\n",
        origin.port
    )));
}

#[tokio::test]
async fn without_a_resolver_names_fail_closed() {
    let gate = gate(&[]).await;
    let lease = gate.lease(budget());
    let response = get(&lease, "http://example.com/").await;
    assert!(response.starts_with("HTTP/1.1 502 "), "{response}");
    assert!(
        response.contains("X-Gate-Code: source_unreachable"),
        "{response}"
    );
    assert_eq!(
        lease.refusal(),
        Some(Refusal::Unresolvable("example.com".to_owned()))
    );
}

#[tokio::test]
async fn a_redirect_is_passed_on_and_judged_when_followed() {
    let canary = Origin::open("HTTP/1.1 200 OK\r\n\r\nsecret", After::Close).await;
    let there = format!("http://127.0.0.2:{}/", canary.port);
    let moved = format!("HTTP/1.1 302 Found\r\nLocation: {there}\r\nContent-Length: 0\r\n\r\n");
    let origin = Origin::open(&moved, After::Close).await;
    let gate = gate(&["127.0.0.1"]).await;
    let lease = gate.lease(budget());
    let response = get(&lease, &format!("http://127.0.0.1:{}/", origin.port)).await;
    assert!(
        response.contains(&format!("location: {there}\r\n")),
        "{response}"
    );
    assert_eq!(lease.refusal(), None);
    assert!(get(&lease, &there).await.starts_with("HTTP/1.1 403 "));
    assert_eq!(
        (canary.accepted(), lease.refusal()),
        (0, Some(Refusal::Blocked))
    );
}

#[tokio::test]
async fn a_way_without_an_end_is_cut_and_one_with_an_end_is_not() {
    let moved = "HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n";
    let moving = Origin::open(moved, After::Close).await;
    let still = Origin::open("HTTP/1.1 206 OK\r\nContent-Length: 0\r\n\r\n", After::Close).await;
    let gate = gate(&["127.0.0.1"]).await;
    let lease = gate.lease(Budget {
        connections: 100,
        ..budget()
    });
    let (moving, still) = (
        format!("http://127.0.0.1:{}/", moving.port),
        format!("http://127.0.0.1:{}/", still.port),
    );
    for _ in 0..3 {
        for _ in 0..10 {
            assert!(get(&lease, &moving).await.starts_with("HTTP/1.1 302 "));
        }
        assert!(get(&lease, &still).await.starts_with("HTTP/1.1 206 "));
    }
    assert_eq!(lease.refusal(), None);
    for _ in 0..10 {
        get(&lease, &moving).await;
    }
    let answer = get(&lease, &moving).await;
    assert!(answer.contains("X-Gate-Code: source_redirects"), "{answer}");
    assert_eq!(lease.refusal(), Some(Refusal::Redirects));
}

#[tokio::test]
async fn a_sealed_lease_lets_no_plain_request_out() {
    let origin = Origin::open("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", After::Close).await;
    let gate = gate(&["127.0.0.1"]).await;
    let url = |scheme| Url::parse(&format!("{scheme}://127.0.0.1:{}/", origin.port)).unwrap();
    let sealed = gate.lease_for(&url("https"), budget(), None);
    let answer = get(&sealed, url("http").as_str()).await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    assert!(answer.contains("X-Gate-Code: url_downgrade"), "{answer}");
    assert_eq!(
        (origin.accepted(), sealed.refusal()),
        (0, Some(Refusal::Downgrade))
    );
    let line = format!("CONNECT 127.0.0.1:{} HTTP/1.1", origin.port);
    let mut tunnel = send(&sealed, &line, "").await;
    tunnel.read_exact(&mut [0; 12]).await.unwrap();
    let open = gate.lease_for(&url("http"), budget(), None);
    let answer = get(&open, url("http").as_str()).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn who_was_refused_what_is_told_without_the_path() {
    let gate = gate(&[]).await;
    let mut refused = gate.refusals().unwrap();
    assert!(gate.refusals().is_none());
    let link = Url::parse("http://10.0.0.1/secret?token=1").unwrap();
    gate.judge(&link, None).unwrap_err();
    let lease = gate.lease_for(&link, budget(), Some("clip"));
    get(&lease, "http://127.0.0.1:81/secret").await;
    // That a server is away is nobody's attempt.
    get(&lease, "http://example.com/").await;
    get(&lease, "http://[::1]/secret").await;
    let told = |subject: Option<&str>, host: &str, port| Refused {
        subject: subject.map(Arc::from),
        code: "url_blocked",
        host: host.to_owned(),
        port,
    };
    for expected in [
        told(None, "10.0.0.1", 80),
        told(Some("clip"), "127.0.0.1", 81),
        told(Some("clip"), "[::1]", 80),
    ] {
        let heard = timeout(PATIENCE, refused.recv()).await.unwrap().unwrap();
        assert_eq!(heard, expected);
    }
    assert!(refused.try_recv().is_err());
    // Nobody has to listen.
    drop(refused);
    for _ in 0..100 {
        gate.judge(&link, None).unwrap_err();
    }
}

#[tokio::test]
async fn an_address_of_this_machine_is_refused_although_it_is_public() {
    let gate = gate(&[]).await;
    let link = Url::parse("http://93.184.215.14/").unwrap();
    assert_eq!(gate.judge(&link, None), Ok(()));
    gate.shared.here.set(&["93.184.215.14".parse().unwrap()]);
    assert_eq!(gate.judge(&link, None), Err(Refusal::Own));
    let lease = gate.lease(budget());
    get(&lease, link.as_str()).await;
    assert_eq!(lease.refusal(), Some(Refusal::Own));
    assert_eq!(lease.connections(), 0);
}

#[tokio::test]
async fn a_second_request_on_the_connection_goes_nowhere() {
    let canary = Origin::open("HTTP/1.1 200 OK\r\n\r\nsecret", After::Close).await;
    let origin = Origin::open(
        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody",
        After::Close,
    )
    .await;
    let gate = gate(&["127.0.0.1"]).await;
    let lease = gate.lease(budget());
    let second = format!(
        "\r\nGET http://127.0.0.1:{}/ HTTP/1.1\r\n{}",
        canary.port,
        entry(&lease).1
    );
    let response = ask(
        &lease,
        &format!("GET http://127.0.0.1:{}/ HTTP/1.1", origin.port),
        &second,
    )
    .await;
    assert!(
        response.ends_with("\r\nConnection: close\r\n\r\nbody"),
        "{response}"
    );
    assert_eq!((origin.accepted(), canary.accepted()), (1, 0));
    assert_eq!(origin.head().matches("GET ").count(), 1);
}

#[tokio::test]
async fn the_byte_budget_cuts_and_is_never_exceeded() {
    let origin = Origin::open("HTTP/1.1 200 OK\r\n\r\n", After::Flood).await;
    let gate = gate(&["127.0.0.1"]).await;
    let lease = gate.lease(Budget {
        bytes: 100_000,
        ..budget()
    });
    let line = format!("GET http://127.0.0.1:{}/ HTTP/1.1", origin.port);
    let (body, orderly) = read_all(&mut send(&lease, &line, "").await).await;
    assert!(
        body.len() <= 100_100 && !orderly,
        "{} {orderly}",
        body.len()
    );
    assert_eq!(lease.refusal(), Some(Refusal::Bytes));
    assert!(
        ask(&lease, &line, "")
            .await
            .contains("X-Gate-Code: source_too_large")
    );
    origin.wait_until_closed().await;
    assert_eq!(origin.accepted(), 1);
}

#[tokio::test]
async fn a_budget_that_is_just_enough_is_enough() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody";
    let origin = Origin::open(answer, After::Close).await;
    let gate = gate(&["127.0.0.1"]).await;
    let lease = gate.lease(Budget {
        bytes: answer.len() as u64,
        connections: 1,
        ..budget()
    });
    let url = format!("http://127.0.0.1:{}/", origin.port);
    assert!(get(&lease, &url).await.ends_with("body"));
    assert_eq!(lease.refusal(), None);
    assert!(
        get(&lease, &url)
            .await
            .contains("X-Gate-Code: source_too_many_requests")
    );
    assert_eq!(
        (lease.refusal(), lease.connections()),
        (Some(Refusal::Connections), 1)
    );
}

#[tokio::test]
async fn a_dropped_lease_closes_its_connections() {
    let origin = Origin::open("HTTP/1.1 200 OK\r\n\r\n", After::Drip).await;
    let gate = gate(&["127.0.0.1"]).await;
    let (lease, other) = (gate.lease(budget()), gate.lease(budget()));
    let line = format!("GET http://127.0.0.1:{}/ HTTP/1.1", origin.port);
    let mut client = send(&lease, &line, "").await;
    let mut others = send(&other, &line, "").await;
    client.read_exact(&mut [0_u8; 12]).await.unwrap();
    let (address, credential) = entry(&lease);
    drop(lease);
    assert!(!read_all(&mut client).await.1);
    let mut again = TcpStream::connect(address).await.unwrap();
    again
        .write_all(format!("{line}\r\n{credential}\r\n").as_bytes())
        .await
        .unwrap();
    let mut status = [0_u8; 12];
    again.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 407");
    others.read_exact(&mut [0_u8; 60]).await.unwrap();
    origin.wait_until_closed().await;
    timeout(PATIENCE, gate.close())
        .await
        .expect("the gate did not close");
    assert!(!read_all(&mut others).await.1);
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_dripping_upstream_ends_at_the_deadline() {
    let origin = Origin::open("HTTP/1.1 200 OK\r\n\r\n", After::Drip).await;
    let gate = gate(&["127.0.0.1"]).await;
    let started = Instant::now();
    let lease = gate.lease(Budget {
        deadline: Duration::from_millis(200),
        ..budget()
    });
    let mut client = send(
        &lease,
        &format!("GET http://127.0.0.1:{}/ HTTP/1.1", origin.port),
        "",
    )
    .await;
    assert!(!read_all(&mut client).await.1);
    assert!(started.elapsed() >= Duration::from_millis(200));
    assert_eq!(lease.refusal(), Some(Refusal::Deadline));
    origin.wait_until_closed().await;
}

#[tokio::test]
async fn a_client_that_leaves_frees_upstream() {
    let origin = Origin::open("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", After::Echo).await;
    let gate = gate(&["127.0.0.1"]).await;
    let lease = gate.lease(budget());
    let mut client = send(
        &lease,
        &format!("GET http://127.0.0.1:{}/ HTTP/1.1", origin.port),
        "",
    )
    .await;
    client.read_exact(&mut [0_u8; 12]).await.unwrap();
    drop(client);
    origin.wait_until_closed().await;
    assert_eq!(lease.refusal(), None);
}

#[tokio::test]
async fn an_upstream_that_does_not_answer_is_named() {
    let silent = Origin::open("", After::Close).await;
    let gone = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let gate = gate(&["127.0.0.1"]).await;
    for port in [silent.port, gone] {
        let lease = gate.lease(budget());
        let response = get(&lease, &format!("http://127.0.0.1:{port}/")).await;
        assert!(response.starts_with("HTTP/1.1 502 "), "{response}");
        assert_eq!(
            lease.refusal(),
            Some(Refusal::Unreachable("127.0.0.1".to_owned()))
        );
    }
}

#[tokio::test]
async fn a_tunnel_carries_bytes_both_ways() {
    let origin = Origin::open("hello", After::Echo).await;
    let gate = gate(&["127.0.0.1"]).await;
    let lease = gate.lease(Budget {
        bytes: 5000,
        ..budget()
    });
    let line = format!("CONNECT 127.0.0.1:{} HTTP/1.1", origin.port);
    let mut client = send(&lease, &line, "\r\nearly\r\n\r\n").await;
    let established = "HTTP/1.1 200 Connection established\r\n\r\nhello";
    let mut answer = vec![0_u8; established.len()];
    timeout(PATIENCE, client.read_exact(&mut answer))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(String::from_utf8(answer).unwrap(), established);
    client.write_all(b"ping").await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(read_all(&mut client).await, ("ping".to_owned(), true));
    assert!(origin.head().starts_with("early\r\n"));
    assert_eq!((lease.bytes(), lease.refusal()), (9, None));

    let flood = Origin::open("", After::Flood).await;
    let mut client = send(
        &lease,
        &format!("CONNECT 127.0.0.1:{} HTTP/1.1", flood.port),
        "\r\n\r\n\r\n",
    )
    .await;
    assert!(!read_all(&mut client).await.1);
    assert_eq!(lease.refusal(), Some(Refusal::Bytes));
}

#[test]
fn a_response_keeps_what_delimits_its_body() {
    let response = b"HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\nConnection: Transfer-Encoding, X-A\r\nX-A: 1\r\n\r\n0";
    let ResponseHead::Final { head, length, .. } = parse_response(response) else {
        panic!("not final")
    };
    let head = String::from_utf8(head).unwrap();
    assert_eq!(
        head,
        "HTTP/1.1 200 \r\ntransfer-encoding: chunked\r\nConnection: close\r\n\r\n"
    );
    assert_eq!(length, response.len() - 1);
    assert!(matches!(
        parse_response(b"HTTP/1.1 20"),
        ResponseHead::Incomplete
    ));
    assert!(matches!(parse_response(b""), ResponseHead::Incomplete));
}
