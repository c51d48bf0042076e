//! The addresses of this machine, read anew now and then: an interface that came up later is as much this machine as the others. From
//! `/proc`, because the service's unit leaves it no socket to ask the kernel by. It judges nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// What the interfaces had when they were last read.
#[derive(Debug, Default)]
pub(super) struct Here(RwLock<Arc<[IpAddr]>>);

/// An address that a machine was given a moment ago is hardly in anybody's links yet.
const ANEW: Duration = Duration::from_secs(60);

impl Here {
    /// As they are now.
    pub(super) fn read() -> Here {
        let here = Here::default();
        here.refresh();
        here
    }

    pub(super) fn addresses(&self) -> Arc<[IpAddr]> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads them again and again; never ends by itself.
    pub(super) async fn keep_up(self: Arc<Self>) {
        loop {
            tokio::time::sleep(ANEW).await;
            let own = Arc::clone(&self);
            if let Err(error) = tokio::task::spawn_blocking(move || own.refresh()).await {
                tracing::error!(%error, "the addresses of this machine could not be read");
            }
        }
    }

    fn refresh(&self) {
        let told = |name| std::fs::read_to_string(Path::new("/proc/net").join(name));
        let v4 = match told("fib_trie") {
            Ok(told) => local_v4(&told),
            // What was known before holds.
            Err(error) => {
                tracing::warn!(%error, "the addresses of this machine cannot be read: name them in egress.deny");
                return;
            }
        };
        // Not there on a machine without IPv6.
        let v6 = told("if_inet6").map_or(Vec::new(), |told| local_v6(&told));
        *self.0.write().unwrap_or_else(PoisonError::into_inner) =
            v4.into_iter().chain(v6).collect();
    }
}

/// The local addresses of a routing table as the kernel prints it: an address, and on a line after it what it is.
fn local_v4(told: &str) -> Vec<IpAddr> {
    let mut addresses = Vec::new();
    let mut last = None;
    for line in told.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address.parse::<Ipv4Addr>().ok();
        } else if line.ends_with("host LOCAL")
            && let Some(address) = last
        {
            addresses.push(address.into());
        }
    }
    // The main table and the local one may tell the same.
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

/// The addresses of all interfaces, each in 32 digits at the beginning of a line.
fn local_v6(told: &str) -> Vec<IpAddr> {
    let digits = told.lines().filter_map(|line| line.split(' ').next());
    digits
        .filter_map(|digits| u128::from_str_radix(digits, 16).ok())
        .map(|bits| Ipv6Addr::from_bits(bits).into())
        .collect()
}

#[cfg(test)]
impl Here {
    /// Another machine, for tests.
    pub(super) fn set(&self, addresses: &[IpAddr]) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = addresses.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_found() {
        let here = Here::read().addresses();
        assert!(here.contains(&IpAddr::from([127, 0, 0, 1])), "{here:?}");
    }

    #[test]
    fn what_the_kernel_prints_is_understood() {
        let table = "\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 93.184.215.0/24 2 0 2
        |-- 93.184.215.0
           /24 link UNICAST
        |-- 93.184.215.14
           /32 host LOCAL
        |-- 93.184.215.255
           /32 link BROADCAST
Local:
     |-- 127.0.0.0
        /8 host LOCAL
     |-- 127.0.0.1
        /32 host LOCAL
        |-- 93.184.215.14
           /32 host LOCAL
";
        let found: Vec<String> = local_v4(table).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["93.184.215.14", "127.0.0.0", "127.0.0.1"]);
        let interfaces = "00000000000000000000000000000001 01 80 10 80       lo\n\
                          260628000220000100000000000000aa 02 40 00 80     eth0\n";
        let found: Vec<String> = local_v6(interfaces)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(found, ["::1", "2606:2800:220:1::aa"]);
    }
}
