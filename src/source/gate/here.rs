//! The addresses of this machine, read anew now and then: an interface that came up later is as much this machine as the others. It
//! judges nothing.

use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use sysinfo::Networks;

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
        let interfaces = match Networks::new_with_refreshed_list() {
            Ok(interfaces) => interfaces,
            // What was known before holds.
            Err(error) => {
                tracing::warn!(%error, "the addresses of this machine cannot be read: name them in egress.deny");
                return;
            }
        };
        let mut addresses: Vec<IpAddr> = interfaces
            .values()
            .flat_map(|interface| interface.ip_networks())
            .map(|network| network.addr.to_canonical())
            .collect();
        addresses.sort_unstable();
        addresses.dedup();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = addresses.into();
    }
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
}
