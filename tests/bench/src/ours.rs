//! What our users do, through the SDK and a real sidecar.

use crate::Outcome;
use crate::load::Lock;
use sidelock_client::{Client, Lease, Request};
use std::path::Path;

/// A lock of ours. The release is sent with the next request and not waited for: the next acquire queues behind it.
pub(crate) struct Ours(pub(crate) Request);

impl Lock for Ours {
    type Lease = Lease;

    async fn acquire(&mut self) -> Outcome<Lease> {
        Ok(self.0.acquire().await?)
    }

    async fn release(&mut self, lease: Lease) -> Outcome {
        drop(lease);
        Ok(())
    }
}

/// So many locks on one key, all on this connection.
pub(crate) fn on_one_connection(client: &Client, key: &str, count: usize) -> Vec<Ours> {
    (0..count).map(|_| Ours(client.lock(key))).collect()
}

/// So many locks on one key, each on a connection of its own.
pub(crate) async fn on_connections(socket: &Path, key: &str, count: usize) -> Outcome<Vec<Ours>> {
    let mut locks = Vec::with_capacity(count);
    for _ in 0..count {
        locks.push(Ours(Client::connect(socket).await?.lock(key)));
    }
    Ok(locks)
}
