//! Owns the one way out: a loopback proxy that every sidecar and fetch goes through, and the leases that open it.
//! It never fetches on its own account, never lets a connection outlive its lease, and never serves one without.

mod head;
mod here;
mod policy;
mod proxy;
mod resolver;

use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use url::Url;

use here::Here;
pub use policy::{Policy, PolicyError, Refusal};

/// The listener on 127.0.0.1 and all that it serves. Closed when dropped.
pub struct Gate {
    shared: Arc<Shared>,
    address: SocketAddr,
    stop: CancellationToken,
    tasks: TaskTracker,
    refused: Mutex<Option<mpsc::Receiver<Refused>>>,
}

/// Somebody was kept from going somewhere: for the trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// For whom it was, as the lease was told.
    pub subject: Option<Arc<str>>,
    pub code: &'static str,
    /// Without path and query; empty when there was none to be read.
    pub host: String,
    pub port: u16,
}

/// What one job may use up.
#[derive(Clone, Debug)]
pub struct Budget {
    /// Bytes received from upstream, response heads included, over all connections.
    pub bytes: u64,
    /// Time from the making of the lease.
    pub deadline: Duration,
    /// Requests that reach upstream, in total.
    pub connections: u32,
    /// Time for one attempt to connect to one address.
    pub connect_timeout: Duration,
}

/// One job's credential. When dropped, the credential is void and its connections are closed at once.
pub struct Lease {
    shared: Arc<Shared>,
    account: Arc<Account>,
    address: SocketAddr,
}

/// What the accept task and the connections share with the gate.
struct Shared {
    policy: Arc<Policy>,
    /// None if the system's configuration cannot be read: then names cannot be resolved, and only literal addresses work.
    resolver: Option<TokioResolver>,
    accounts: Mutex<Vec<Arc<Account>>>,
    /// Held open, so that a lease needs neither a file descriptor nor a path that a sandbox may have taken away.
    entropy: Mutex<File>,
    here: Arc<Here>,
    refusals: mpsc::Sender<Refused>,
}

/// What is known of a lease, by its holder and by its connections.
struct Account {
    secret: Secret,
    budget: Budget,
    deadline: Instant,
    received: AtomicU64,
    connections: AtomicU32,
    /// Redirects since the last answer that was none.
    redirects: AtomicU32,
    seal: Seal,
    subject: Option<Arc<str>>,
    refusal: OnceLock<Refusal>,
    void: CancellationToken,
}

/// Whether a lease was made for a link that nobody can read on the way; what it leads to has to stay so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seal {
    Sealed,
    Open,
}

/// The password of a lease, and the base64 (RFC 7617) in which a client presents it.
struct Secret {
    password: String,
    presented: String,
}

/// A sidecar opens a handful of connections; more than this at once is a mistake or an attack from this machine.
const CONNECTIONS_AT_ONCE: usize = 256;
const USER: &str = "lease";

/// ffmpeg follows eight in a row and the spool five; more than this is a way without an end.
const MOST_REDIRECTS: u32 = 10;
/// Refusals that wait for whoever writes them down. More than that at once are counted only.
const REFUSALS_WAITING: usize = 64;

/// Bytes that may lie ready for a reader.
const AHEAD_OF_READER: u32 = 128 * 1024;

impl Gate {
    /// Binds a free port of 127.0.0.1 and starts to accept; these name servers are asked, or the system's when there are none. Fails if
    /// it cannot be bound or there is no source of secrets.
    pub async fn open(policy: Arc<Policy>, nameservers: &[SocketAddr]) -> io::Result<Gate> {
        Gate::open_with(policy, resolver::asking(nameservers)).await
    }

    /// A credential for one job. Its clock starts now.
    pub fn lease(&self, budget: Budget) -> Lease {
        self.leased(budget, Seal::Open, None)
    }

    /// The same for a job that begins at this link: one that is sealed stays so, whatever it leads to. `subject` is whom refusals are about.
    pub fn lease_for(&self, link: &Url, budget: Budget, subject: Option<&str>) -> Lease {
        let seal = if link.scheme() == "https" {
            Seal::Sealed
        } else {
            Seal::Open
        };
        self.leased(budget, seal, subject.map(Arc::from))
    }

    fn leased(&self, budget: Budget, seal: Seal, subject: Option<Arc<str>>) -> Lease {
        let now = Instant::now();
        let account = Arc::new(Account {
            secret: self.shared.draw_secret(),
            // A deadline beyond what the clock can hold is one that never comes; a year stands for it.
            deadline: now
                .checked_add(budget.deadline)
                .unwrap_or(now + Duration::from_secs(31_536_000)),
            budget,
            received: AtomicU64::new(0),
            connections: AtomicU32::new(0),
            redirects: AtomicU32::new(0),
            seal,
            subject,
            refusal: OnceLock::new(),
            void: self.stop.child_token(),
        });
        self.shared.accounts().push(Arc::clone(&account));
        Lease {
            shared: Arc::clone(&self.shared),
            account,
            address: self.address,
        }
    }

    /// Judges a link as far as it can be without resolving its name, before any work is queued for it. A refusal is noted as one on the
    /// way out is.
    ///
    /// # Errors
    /// The refusal.
    pub fn judge(&self, link: &Url, subject: Option<&str>) -> Result<(), Refusal> {
        self.shared.judge_url(link).inspect_err(|refusal| {
            self.shared
                .report(Some(link), refusal, subject.map(Arc::from));
        })
    }

    /// Who was refused what, from now on; there is one listener, and a second gets nothing.
    pub fn refusals(&self) -> Option<mpsc::Receiver<Refused>> {
        self.refused
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// Stops accepting, cuts every connection and waits until all tasks have ended. Can be called again.
    pub async fn close(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    async fn open_with(policy: Arc<Policy>, resolver: Option<TokioResolver>) -> io::Result<Gate> {
        // What a reader abandons has been paid for: little is kept on the way to it.
        let socket = TcpSocket::new_v4()?;
        socket.set_send_buffer_size(AHEAD_OF_READER)?;
        socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
        let listener = socket.listen(256)?;
        let address = listener.local_addr()?;
        let entropy = Mutex::new(File::open("/dev/urandom")?);
        let here = tokio::task::spawn_blocking(Here::read).await;
        let here = Arc::new(here.map_err(io::Error::other)?);
        let (refusals, refused) = mpsc::channel(REFUSALS_WAITING);
        let shared = Arc::new(Shared {
            policy,
            resolver,
            accounts: Mutex::default(),
            entropy,
            here: Arc::clone(&here),
            refusals,
        });
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let until = stop.clone();
        tasks.spawn(async move { until.run_until_cancelled(here.keep_up()).await });
        let accepting = accept(listener, Arc::clone(&shared), stop.clone(), tasks.clone());
        let until = stop.clone();
        tasks.spawn(async move { until.run_until_cancelled(accepting).await });
        Ok(Gate {
            shared,
            address,
            stop,
            tasks,
            refused: Mutex::new(Some(refused)),
        })
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Lease {
    /// `http://USER:SECRET@127.0.0.1:PORT`, for the client's proxy setting. A secret: not for logs.
    pub fn proxy_url(&self) -> String {
        format!(
            "http://{USER}:{}@{}",
            self.account.secret.password, self.address
        )
    }

    /// Bytes received from upstream so far.
    pub fn bytes(&self) -> u64 {
        self.account.received.load(Ordering::Relaxed)
    }

    /// Requests that were let out so far.
    pub fn connections(&self) -> u32 {
        self.account.connections.load(Ordering::Relaxed)
    }

    /// The first refusal, which is the one that explains why a sidecar failed.
    pub fn refusal(&self) -> Option<Refusal> {
        self.account.refusal.get().cloned()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        metrics::counter!("meme_maker_fetched_bytes_total").increment(self.bytes());
        self.shared
            .accounts()
            .retain(|account| !Arc::ptr_eq(account, &self.account));
        self.account.void.cancel();
    }
}

impl Shared {
    fn judge_url(&self, url: &Url) -> Result<(), Refusal> {
        self.policy.judge_url(url, &self.here.addresses())
    }

    fn judge_address(&self, host: &str, port: u16, ip: IpAddr) -> Result<(), Refusal> {
        self.policy
            .judge_address(host, port, ip, &self.here.addresses())
    }

    /// Logs and counts a refusal and passes it on to whoever listens, without path or query.
    fn report(&self, target: Option<&Url>, refusal: &Refusal, subject: Option<Arc<str>>) {
        let host = target.and_then(Url::host_str).unwrap_or_default();
        let port = target
            .and_then(Url::port_or_known_default)
            .unwrap_or_default();
        let code = refusal.code();
        tracing::info!(host, port, code, "egress refused");
        metrics::counter!("meme_maker_egress_refusals_total", "code" => code).increment(1);
        if refusal.is_judgement() {
            let refused = Refused {
                subject,
                code,
                host: host.to_owned(),
                port,
            };
            // Nobody listens, or too much was refused at once: it has been counted.
            let _ = self.refusals.try_send(refused);
        }
    }

    /// The live lease that a client presents: the base64 part of `Proxy-Authorization: Basic ...`.
    fn account(&self, presented: &[u8]) -> Option<Arc<Account>> {
        let accounts = self.accounts();
        let mut found = None;
        for account in accounts.iter() {
            if same(account.secret.presented.as_bytes(), presented) {
                found = Some(Arc::clone(account));
            }
        }
        found
    }

    fn accounts(&self) -> MutexGuard<'_, Vec<Arc<Account>>> {
        // A list of handles is whole after every statement, so a poisoned lock says nothing about it.
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn draw_secret(&self) -> Secret {
        let mut bytes = [0_u8; 16];
        let drawn = self
            .entropy
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .read_exact(&mut bytes);
        if let Err(error) = drawn {
            // Fails closed: no client can present an empty credential, see `same`.
            tracing::error!(%error, "no randomness for a lease: it will open nothing");
            return Secret {
                password: String::new(),
                presented: String::new(),
            };
        }
        let password: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let presented = base64(format!("{USER}:{password}").as_bytes());
        Secret {
            password,
            presented,
        }
    }
}

impl Account {
    /// Counts one request against the budget.
    fn let_out(&self) -> Result<(), Refusal> {
        if self.received.load(Ordering::Relaxed) > self.budget.bytes {
            return Err(Refusal::Bytes);
        }
        let limit = self.budget.connections;
        self.connections
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                (used < limit).then(|| used + 1)
            })
            .map(|_| ())
            .map_err(|_| Refusal::Connections)
    }

    /// Counts `length` received bytes and says how many of them may be passed on.
    fn receive(&self, length: usize) -> usize {
        let before = self.received.fetch_add(length as u64, Ordering::Relaxed);
        let left = self.budget.bytes.saturating_sub(before);
        usize::try_from(left).map_or(length, |left| left.min(length))
    }

    /// Counts one answer of a server: one that leads elsewhere, or one that ends the way.
    fn answered(&self, status: Option<u16>) -> Result<(), Refusal> {
        if !status.is_some_and(|status| matches!(status, 301 | 302 | 303 | 307 | 308)) {
            self.redirects.store(0, Ordering::Relaxed);
            return Ok(());
        }
        match self.redirects.fetch_add(1, Ordering::Relaxed) {
            before if before < MOST_REDIRECTS => Ok(()),
            _ => Err(Refusal::Redirects),
        }
    }

    fn record(&self, refusal: &Refusal) {
        // Only the first is kept; later ones are often its consequences.
        self.refusal.get_or_init(|| refusal.clone());
    }
}

async fn accept(
    listener: TcpListener,
    shared: Arc<Shared>,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_AT_ONCE));
    while let Ok(slot) = Arc::clone(&slots).acquire_owned().await {
        match listener.accept().await {
            Ok((client, _)) => {
                let (shared, stop) = (Arc::clone(&shared), stop.clone());
                tasks.spawn(async move {
                    stop.run_until_cancelled(proxy::serve(client, &shared))
                        .await;
                    drop(slot);
                });
            }
            Err(error) => {
                // Out of descriptors, most likely: a moment later some will have been given back.
                tracing::warn!(%error, "the gate could not accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Compares in a time that depends on the lengths only. Nothing is the same as an empty secret.
fn same(secret: &[u8], presented: &[u8]) -> bool {
    if secret.is_empty() || secret.len() != presented.len() {
        return false;
    }
    let difference = secret
        .iter()
        .zip(presented)
        .fold(0_u8, |sum, (a, b)| std::hint::black_box(sum | (a ^ b)));
    difference == 0
}

/// RFC 4648 section 4, with padding.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let word = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let letter = ALPHABET[(word >> (18 - 6 * place)) as usize & 63];
            text.push(if place <= chunk.len() {
                char::from(letter)
            } else {
                '='
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_pads_as_the_standard_says() {
        // RFC 4648 section 10.
        for (plain, coded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn an_empty_secret_matches_nothing() {
        assert!(!same(b"", b""));
        assert!(!same(b"abc", b"abd"));
        assert!(!same(b"abc", b"ab"));
        assert!(same(b"abc", b"abc"));
    }

    #[tokio::test]
    async fn every_lease_has_its_own_credential_until_it_is_dropped() {
        let gate = Gate::open(Arc::new(Policy::new(&[], &[]).unwrap()), &[])
            .await
            .unwrap();
        let budget = Budget {
            bytes: 1,
            deadline: Duration::MAX,
            connections: 1,
            connect_timeout: Duration::from_secs(1),
        };
        let (one, two) = (gate.lease(budget.clone()), gate.lease(budget));
        assert_ne!(one.proxy_url(), two.proxy_url());
        let presented = one.account.secret.presented.clone();
        assert!(gate.shared.account(presented.as_bytes()).is_some());
        drop(one);
        assert!(gate.shared.account(presented.as_bytes()).is_none());
        assert!(
            gate.shared
                .account(two.account.secret.presented.as_bytes())
                .is_some()
        );
        gate.close().await;
        gate.close().await;
    }
}
