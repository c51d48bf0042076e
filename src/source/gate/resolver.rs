//! Who is asked where a name leads. It judges no answer and remembers none beyond what the answer allows.

use std::net::SocketAddr;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;

/// A resolver without this machine's hosts file: what a name means here is not what it means outside, and a link comes from outside.
pub(super) fn asking(nameservers: &[SocketAddr]) -> Option<TokioResolver> {
    let builder = if nameservers.is_empty() {
        TokioResolver::builder_tokio()
    } else {
        let servers = nameservers.iter().map(name_server).collect();
        let config = ResolverConfig::from_parts(None, Vec::new(), servers);
        Ok(TokioResolver::builder_with_config(
            config,
            TokioRuntimeProvider::default(),
        ))
    };
    let built = builder.and_then(|mut builder| {
        let options = builder.options_mut();
        options.use_hosts_file = ResolveHosts::Never;
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        builder.build()
    });
    built
        .inspect_err(
            |error| tracing::warn!(%error, "no resolver: only literal addresses can be reached"),
        )
        .ok()
}

/// A name server on a port of its own, by UDP and for long answers by TCP.
fn name_server(address: &SocketAddr) -> NameServerConfig {
    let at = |mut connection: ConnectionConfig| {
        connection.port = address.port();
        connection
    };
    let connections = vec![at(ConnectionConfig::udp()), at(ConnectionConfig::tcp())];
    NameServerConfig::new(address.ip(), true, connections)
}
