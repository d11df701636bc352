//! The connection of a client: made on first use, and anew in a forked child.
//!
//! Owns when it is made. What is asked over it is `client`'s business.

use crate::error::Result;
use crate::own_process::OwnProcess;
use sidelock_client::{self as sdk, Builder};
use tokio::sync::OnceCell;

/// How the SDK's client is made.
#[derive(Clone, Debug)]
pub(crate) struct Recipe {
    pub(crate) builder: Builder,
    /// With a sidecar of its own, in this process.
    pub(crate) embedded: bool,
}

/// The connection of one process.
#[derive(Debug, Default)]
pub(crate) struct Connection {
    client: OnceCell<OwnProcess<sdk::Client>>,
}

impl Connection {
    /// The connected client. Who comes while another one connects waits for that; a failure is told to each who tried, and
    /// the next tries again.
    pub(crate) async fn client(&self, recipe: &Recipe) -> Result<sdk::Client> {
        let connected = self.client.get_or_try_init(async || {
            let builder = recipe.builder.clone();
            let client = if recipe.embedded { builder.embedded().await } else { builder.connect().await };
            client.map(OwnProcess::new)
        });
        let client = connected.await?;
        Ok(client.get().expect("a process uses its own connection").clone())
    }

    /// The client, if it is connected.
    pub(crate) fn connected(&self) -> Option<&sdk::Client> {
        self.client.get().and_then(OwnProcess::get)
    }
}
