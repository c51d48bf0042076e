//! A name server on loopback whose answers a test decides, one after the other: UDP, RFC 1035, nothing to be cached.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What is said about a name.
#[derive(Clone, Debug)]
pub enum Says {
    Addresses(Vec<IpAddr>),
    /// The first time this, and from the second question of the same kind on that.
    Then(Vec<IpAddr>, Vec<IpAddr>),
    /// This until so much time has gone since the first question, and then that.
    After(Duration, Vec<IpAddr>, Vec<IpAddr>),
    /// Another name, which leads to these.
    Alias(&'static str, Vec<IpAddr>),
    /// These, said of a name nobody asked about.
    Beside(Vec<IpAddr>),
    ServerFailure,
    Silence,
}

pub struct NameServer {
    pub address: SocketAddr,
    names: Arc<Mutex<HashMap<String, Says>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

const A: u8 = 1;
const CNAME: u8 = 5;
const AAAA: u8 = 28;

impl NameServer {
    pub fn start() -> NameServer {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let server = NameServer {
            address: socket.local_addr().unwrap(),
            names: Arc::default(),
            asked: Arc::default(),
        };
        let (names, asked) = (Arc::clone(&server.names), Arc::clone(&server.asked));
        std::thread::spawn(move || {
            let mut first = HashMap::new();
            let mut packet = [0_u8; 1500];
            while let Ok((length, peer)) = socket.recv_from(&mut packet) {
                let (name, kind, end) = question(&packet[..length]);
                let times = {
                    let mut asked = asked.lock().unwrap();
                    let line = format!("{name} {kind}");
                    let times = asked.iter().filter(|known| **known == line).count();
                    asked.push(line);
                    times
                };
                let since = *first.entry(name.clone()).or_insert_with(Instant::now);
                let says = names.lock().unwrap().get(&name).cloned();
                if let Some(reply) = reply(&packet[..end], kind, says, times, since) {
                    let _ = socket.send_to(&reply, peer);
                }
            }
        });
        server
    }

    /// Lets it say so; the name.
    pub fn add(&self, name: &str, says: Says) -> String {
        self.names.lock().unwrap().insert(name.to_owned(), says);
        name.to_owned()
    }

    /// How often a name was asked for, by either kind of address.
    pub fn asked(&self, name: &str) -> usize {
        let asked = self.asked.lock().unwrap();
        asked
            .iter()
            .filter(|line| line.split(' ').next() == Some(name))
            .count()
    }
}

/// The name and kind of the first question, and where it ends. Names are asked for in any mixture of cases.
fn question(packet: &[u8]) -> (String, u8, usize) {
    let mut labels = Vec::new();
    let mut at = 12;
    while packet[at] != 0 {
        let length = packet[at] as usize;
        labels.push(String::from_utf8_lossy(&packet[at + 1..=at + length]).to_lowercase());
        at += length + 1;
    }
    (labels.join("."), packet[at + 2], at + 5)
}

fn reply(
    query: &[u8],
    kind: u8,
    says: Option<Says>,
    times: usize,
    since: Instant,
) -> Option<Vec<u8>> {
    /// The name that was asked for, wherever it stands in the query.
    const ASKED: &[u8] = &[0xc0, 12];
    let (code, alias, owner, addresses) = match says {
        None => (3, None, ASKED.to_vec(), Vec::new()),
        Some(Says::Silence) => return None,
        Some(Says::ServerFailure) => (2, None, ASKED.to_vec(), Vec::new()),
        Some(Says::Addresses(addresses)) => (0, None, ASKED.to_vec(), addresses),
        Some(Says::Then(first, then)) => {
            let addresses = if times == 0 { first } else { then };
            (0, None, ASKED.to_vec(), addresses)
        }
        Some(Says::After(time, first, then)) => {
            let addresses = if since.elapsed() < time { first } else { then };
            (0, None, ASKED.to_vec(), addresses)
        }
        Some(Says::Alias(name, addresses)) => (0, Some(written(name)), written(name), addresses),
        Some(Says::Beside(addresses)) => (0, None, written("other.example.test"), addresses),
    };
    let addresses = addresses.into_iter().filter_map(|address| match address {
        IpAddr::V4(ip) if kind == A => Some(ip.octets().to_vec()),
        IpAddr::V6(ip) if kind == AAAA => Some(ip.octets().to_vec()),
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    });
    let mut records: Vec<(Vec<u8>, u8, Vec<u8>)> =
        addresses.map(|data| (owner.clone(), kind, data)).collect();
    if let Some(alias) = alias {
        records.insert(0, (ASKED.to_vec(), CNAME, alias));
    }
    let mut reply = query[..2].to_vec();
    reply.extend([0x81, 0x80 | code, 0, 1, 0, records.len() as u8, 0, 0, 0, 0]);
    reply.extend(&query[12..]);
    for (owner, kind, data) in records {
        reply.extend(owner);
        reply.extend([0, kind, 0, 1, 0, 0, 0, 0, 0, data.len() as u8]);
        reply.extend(data);
    }
    Some(reply)
}

fn written(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.') {
        bytes.push(label.len() as u8);
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes
}
