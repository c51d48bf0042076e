//! Requests that the command line makes to places the operator names: names are looked up by our own resolver, nothing is followed,
//! and the gate is not asked, because these are not a visitor's links.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, ClientBuilder, Url};

/// Longest time for one whole request.
pub(super) const DEADLINE: Duration = Duration::from_secs(30);
const CONNECT: Duration = Duration::from_secs(10);

/// Where a host is: itself when it is an address, else what this machine's resolver says, hosts file included.
///
/// # Errors
/// Why nobody knows.
pub(super) async fn addresses(url: &Url) -> Result<Vec<IpAddr>, String> {
    let name = match url.host() {
        None => return Err("the address names no host".to_owned()),
        Some(url::Host::Ipv4(address)) => return Ok(vec![address.into()]),
        Some(url::Host::Ipv6(address)) => return Ok(vec![address.into()]),
        Some(url::Host::Domain(name)) => name,
    };
    let resolver = TokioResolver::builder_tokio().and_then(|builder| builder.build());
    let resolver = resolver.map_err(|error| format!("no resolver: {error}"))?;
    let found = resolver.lookup_ip(name).await;
    let found = found.map_err(|error| {
        if error.is_nx_domain() || error.is_no_records_found() {
            format!("nobody knows the name {name}")
        } else {
            format!("{name}: {error}")
        }
    })?;
    Ok(found.iter().collect())
}

/// A client for one host at these addresses, which trusts these authorities beside those of the system.
///
/// # Errors
/// When an authority's certificate cannot be used.
pub(super) fn client(
    url: &Url,
    addresses: &[IpAddr],
    authorities: Vec<Certificate>,
) -> Result<ClientBuilder, reqwest::Error> {
    // The first to ask decides; that it was decided already is fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let addresses: Vec<SocketAddr> = addresses
        .iter()
        .map(|address| SocketAddr::new(*address, 0))
        .collect();
    let mut builder = Client::builder()
        .user_agent(concat!("meme-maker/", env!("CARGO_PKG_VERSION")))
        .no_proxy()
        .referer(false)
        .redirect(Policy::none())
        .connect_timeout(CONNECT);
    if let Some(host) = url.domain() {
        builder = builder.resolve_to_addrs(host, &addresses);
    }
    if !authorities.is_empty() {
        builder = builder.tls_certs_merge(authorities);
    }
    Ok(builder)
}
