//! Owns one connection through the gate, from the request's head to the last byte.
//! It never connects to an address that was not judged, never resolves a name twice for one connection, and never lets
//! a second request follow the first to the same upstream.

use std::future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep_until, timeout};
use url::{Host, Url};

use super::head::{Method, Request, ResponseHead, Unserved, parse_response};
use super::{Account, Refusal, Seal, Shared};

/// Why bytes stopped before their end.
enum Cut {
    /// Either side broke off.
    Broken,
    /// The lease does not cover more.
    Refused(Refusal),
}

const REQUEST_HEAD: usize = 16 * 1024;
const RESPONSE_HEAD: usize = 64 * 1024;
const HEAD_TIME: Duration = Duration::from_secs(10);
const LOOKUP_TIME: Duration = Duration::from_secs(10);
/// A client that was asked for its credential may answer on the same connection; one that keeps guessing may not.
const ATTEMPTS: usize = 3;

/// Serves one client until its one request is done.
pub(super) async fn serve(mut client: TcpStream, shared: &Shared) {
    let mut buffer = Vec::new();
    for attempt in 1..=ATTEMPTS {
        let read = timeout(HEAD_TIME, read_request(&mut client, &mut buffer)).await;
        let request = match read.unwrap_or(Err(Unserved::Gone)) {
            Ok(request) => request,
            Err(Unserved::Gone) => return,
            Err(Unserved::Answer(status, sentence)) => {
                let head = format!(
                    "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                    sentence.len()
                );
                return finish(&mut client, format!("{head}{sentence}").as_bytes()).await;
            }
        };
        if let Some(account) = request
            .credential()
            .and_then(|presented| shared.account(presented))
        {
            return attend(client, request, &account, shared).await;
        }
        let last = attempt == ATTEMPTS;
        let answer = format!(
            "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"gate\"\r\n\
             Content-Length: 0\r\nConnection: {}\r\n\r\n",
            if last { "close" } else { "keep-alive" }
        );
        if last {
            return finish(&mut client, answer.as_bytes()).await;
        }
        if client.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
        buffer = request.rest;
    }
}

/// Serves a request whose lease is known, for as long as the lease lives.
async fn attend(mut client: TcpStream, request: Request, account: &Account, shared: &Shared) {
    let target = parse_target(&request);
    let done = tokio::select! {
        biased;
        () = account.void.cancelled() => Err(Cut::Broken),
        () = sleep_until(account.deadline) => Err(Cut::Refused(Refusal::Deadline)),
        done = exchange(&mut client, &request, &target, account, shared) => done,
    };
    let Err(cut) = done else { return };
    if let Cut::Refused(refusal) = cut {
        note(account, shared, &target, &refusal);
    }
    // A reset, not an orderly end: a body without a length would pass for a whole one.
    if client.set_zero_linger().is_err() {
        tracing::debug!("a cut connection could not be reset");
    }
}

async fn exchange(
    client: &mut TcpStream,
    request: &Request,
    target: &Result<Url, Refusal>,
    account: &Account,
    shared: &Shared,
) -> Result<(), Cut> {
    let opened = match target {
        // Plain text on the way, where the link promised that there is none.
        Ok(url) if url.scheme() == "http" && account.seal == Seal::Sealed => {
            Err(Refusal::Downgrade)
        }
        Ok(url) => connect(url, account, shared)
            .await
            .map(|upstream| (url, upstream)),
        Err(refusal) => Err(refusal.clone()),
    };
    let relayed = match opened {
        Ok((_, upstream)) if request.method == Method::Connect => {
            tunnel(client, upstream, &request.rest, account).await
        }
        Ok((url, upstream)) => forward(client, upstream, request, url, account).await,
        Err(refusal) => Ok(Some(refusal)),
    };
    if let Some(refusal) = relayed? {
        note(account, shared, target, &refusal);
        answer_refusal(client, request.method, &refusal).await;
    }
    Ok(())
}

/// The absolute form of a GET or HEAD, or the authority form of a CONNECT (RFC 9112 section 3.2), as a URL.
fn parse_target(request: &Request) -> Result<Url, Refusal> {
    let text = request.target.as_str();
    if request.method != Method::Connect {
        let url = Url::parse(text).map_err(|_| Refusal::Invalid)?;
        // https is reached through a tunnel: the gate speaks no TLS.
        return if url.scheme() == "http" {
            Ok(url)
        } else {
            Err(Refusal::Scheme)
        };
    }
    if text.contains('@') {
        return Err(Refusal::Credentials);
    }
    // The parser would take these for the start of a path, and with it another host than the one that was written.
    if text.contains(['/', '\\', '?', '#'])
        || text
            .rsplit_once(':')
            .is_none_or(|(_, port)| port.parse::<u16>().is_err())
    {
        return Err(Refusal::Invalid);
    }
    Url::parse(&format!("https://{text}/")).map_err(|_| Refusal::Invalid)
}

/// Bytes that upstream may send ahead: at 50 ms of round trip still 80 Mbit/s.
const AHEAD_OF_GATE: u32 = 512 * 1024;

async fn open(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_recv_buffer_size(AHEAD_OF_GATE)?;
    socket.connect(address).await
}

/// Judges, resolves, judges every address, and connects to one that was judged.
async fn connect(url: &Url, account: &Account, shared: &Shared) -> Result<TcpStream, Refusal> {
    shared.judge_url(url)?;
    let (Some(host), Some(port)) = (url.host(), url.port_or_known_default()) else {
        return Err(Refusal::Invalid);
    };
    account.let_out()?;
    let name = host.to_string();
    let addresses = match host {
        Host::Ipv4(ip) => vec![IpAddr::V4(ip)],
        Host::Ipv6(ip) => vec![IpAddr::V6(ip)],
        Host::Domain(name) => resolve(name, shared).await?,
    };
    // One forbidden address condemns the name: a public one beside it is how a rebinding answer gets in.
    for &ip in &addresses {
        shared.judge_address(&name, port, ip)?;
    }
    for ip in addresses {
        let attempt = timeout(
            account.budget.connect_timeout,
            open(SocketAddr::new(ip.to_canonical(), port)),
        );
        match attempt.await {
            Ok(Ok(upstream)) => {
                upstream
                    .set_nodelay(true)
                    .map_err(|_| Refusal::Unreachable(name.clone()))?;
                return Ok(upstream);
            }
            Ok(Err(error)) => tracing::debug!(host = name, %error, "an address does not answer"),
            Err(_) => tracing::debug!(host = name, "an address does not answer in time"),
        }
    }
    Err(Refusal::Unreachable(name))
}

async fn resolve(name: &str, shared: &Shared) -> Result<Vec<IpAddr>, Refusal> {
    let unresolvable = || Refusal::Unresolvable(name.to_owned());
    let resolver = shared.resolver.as_ref().ok_or_else(unresolvable)?;
    // With the root's dot the name is whole, and no search domain of this machine is tried behind it.
    let whole = format!("{}.", name.trim_end_matches('.'));
    let found = timeout(LOOKUP_TIME, resolver.lookup_ip(whole)).await;
    let addresses: Vec<IpAddr> = match found {
        Ok(Ok(found)) => found.iter().collect(),
        Ok(Err(error)) => {
            tracing::debug!(host = name, %error, "the name does not resolve");
            Vec::new()
        }
        Err(_) => Vec::new(),
    };
    if addresses.is_empty() {
        Err(unresolvable())
    } else {
        Ok(addresses)
    }
}

/// Sends one request and passes its response on. `Some` if upstream hung up before it said anything.
async fn forward(
    client: &mut TcpStream,
    mut upstream: TcpStream,
    request: &Request,
    url: &Url,
    account: &Account,
) -> Result<Option<Refusal>, Cut> {
    if upstream.write_all(&request.origin_form(url)).await.is_err() {
        return Ok(Some(Refusal::Unreachable(
            url.host_str().unwrap_or_default().to_owned(),
        )));
    }
    let (from_client, mut to_client) = client.split();
    let respond = async {
        let (head, status) = read_response_head(&mut upstream, account).await?;
        if let Err(refusal) = account.answered(status) {
            return Ok(Some(refusal));
        }
        if head.is_empty() {
            return Ok(Some(Refusal::Unreachable(
                url.host_str().unwrap_or_default().to_owned(),
            )));
        }
        to_client.write_all(&head).await?;
        pour(&mut upstream, &mut to_client, account).await?;
        Ok(None)
    };
    tokio::select! {
        done = respond => done,
        // Whatever the client says after its request goes nowhere; that it left is all that matters.
        () = discard(from_client) => Ok(None),
    }
}

/// Passes bytes both ways until upstream ends, or the client breaks off.
async fn tunnel(
    client: &mut TcpStream,
    mut upstream: TcpStream,
    early: &[u8],
    account: &Account,
) -> Result<Option<Refusal>, Cut> {
    client
        .write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
        .await?;
    client.set_nodelay(true)?;
    upstream.write_all(early).await?;
    let (mut from_client, mut to_client) = client.split();
    let (mut from_upstream, mut to_upstream) = upstream.split();
    let upward = async {
        tokio::io::copy(&mut from_client, &mut to_upstream).await?;
        to_upstream.shutdown().await?;
        // The client has said all it will; the answer may still be on its way.
        future::pending::<Result<(), Cut>>().await
    };
    tokio::select! {
        done = pour(&mut from_upstream, &mut to_client, account) => done?,
        done = upward => done?,
    }
    Ok(None)
}

/// Passes on and counts until the end, then closes the writing side.
async fn pour<R, W>(from: &mut R, to: &mut W, account: &Account) -> Result<(), Cut>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut chunk = vec![0_u8; 64 * 1024];
    loop {
        let length = from.read(&mut chunk).await?;
        if length == 0 {
            return Ok(to.shutdown().await?);
        }
        let covered = account.receive(length);
        to.write_all(&chunk[..covered]).await?;
        if covered < length {
            return Err(Cut::Refused(Refusal::Bytes));
        }
    }
}

async fn discard(mut from: impl AsyncRead + Unpin) {
    let mut chunk = [0_u8; 1024];
    while from.read(&mut chunk).await.is_ok_and(|length| length > 0) {}
}

async fn read_request(client: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<Request, Unserved> {
    loop {
        if !buffer.is_empty()
            && let Some(request) = Request::parse(buffer)?
        {
            return Ok(request);
        }
        if buffer.len() >= REQUEST_HEAD {
            return Err(Unserved::Answer(
                "431 Request Header Fields Too Large",
                "The request's head is too long.\n",
            ));
        }
        let room = (REQUEST_HEAD - buffer.len()) as u64;
        match (&mut *client).take(room).read_buf(buffer).await {
            Ok(length) if length > 0 => {}
            Ok(_) | Err(_) => return Err(Unserved::Gone),
        }
    }
}

/// The response's head as the client shall see it, what came with it, and its status if it has one. Empty if upstream hung up without a
/// word.
async fn read_response_head(
    upstream: &mut TcpStream,
    account: &Account,
) -> Result<(Vec<u8>, Option<u16>), Cut> {
    let mut buffer = Vec::new();
    loop {
        let length = upstream.read_buf(&mut buffer).await?;
        if account.receive(length) < length {
            return Err(Cut::Refused(Refusal::Bytes));
        }
        if length == 0 || buffer.len() > RESPONSE_HEAD {
            return Ok((buffer, None));
        }
        loop {
            match parse_response(&buffer) {
                ResponseHead::Incomplete => break,
                ResponseHead::Foreign => return Ok((buffer, None)),
                // It is for the hop that asked for it, and the gate did not.
                ResponseHead::Interim(length) => drop(buffer.drain(..length)),
                ResponseHead::Final {
                    mut head,
                    length,
                    status,
                } => {
                    head.extend_from_slice(&buffer[length..]);
                    return Ok((head, Some(status)));
                }
            }
        }
    }
}

/// Stores a refusal with the lease and tells of it.
fn note(account: &Account, shared: &Shared, target: &Result<Url, Refusal>, refusal: &Refusal) {
    account.record(refusal);
    shared.report(target.as_ref().ok(), refusal, account.subject.clone());
}

async fn answer_refusal(client: &mut TcpStream, method: Method, refusal: &Refusal) {
    let status = match refusal {
        Refusal::Invalid => "400 Bad Request",
        Refusal::Unresolvable(_) | Refusal::Unreachable(_) => "502 Bad Gateway",
        Refusal::Scheme
        | Refusal::Credentials
        | Refusal::Port(_)
        | Refusal::Blocked
        | Refusal::Denied
        | Refusal::Own
        | Refusal::Downgrade
        | Refusal::Redirects
        | Refusal::Bytes
        | Refusal::Connections
        | Refusal::Deadline => "403 Forbidden",
    };
    let body = format!("{refusal}\n");
    let mut answer = format!(
        "HTTP/1.1 {status}\r\nX-Gate-Code: {}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        refusal.code(),
        body.len()
    );
    if method != Method::Head {
        answer.push_str(&body);
    }
    finish(client, answer.as_bytes()).await;
}

/// Says the last word. That the client did not wait for it changes nothing.
async fn finish(client: &mut TcpStream, answer: &[u8]) {
    if client.write_all(answer).await.is_ok() && client.shutdown().await.is_err() {
        tracing::debug!("the client left before the gate's answer");
    }
}

impl From<io::Error> for Cut {
    fn from(_: io::Error) -> Cut {
        Cut::Broken
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod encodings;
