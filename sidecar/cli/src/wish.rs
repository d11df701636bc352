//! How much of a key `run` and `lock` ask for.
//!
//! Owns the flags that say so, and the client that asks. Must not wait for anything.

use crate::failure::Failure;
use crate::socket::Socket;
use clap::Args;
use sidelock_client::{Client, Request};

/// Alone, shared, or some permits.
#[derive(Args, Debug, Default, Clone, Copy)]
pub(crate) struct ModeArgs {
    /// Beside other shared leases, instead of alone
    #[arg(long, short = 's', conflicts_with_all = ["exclusive", "permits", "limit"])]
    shared: bool,
    /// Alone: the default
    #[arg(long, short = 'x', visible_short_alias = 'e', conflicts_with_all = ["permits", "limit"])]
    exclusive: bool,
    /// So many permits of a semaphore
    #[arg(long, value_name = "N", requires = "limit")]
    permits: Option<u32>,
    /// Permits that the semaphore has; all who use it must agree
    #[arg(long, value_name = "M")]
    limit: Option<u32>,
}

impl ModeArgs {
    /// The word for it, as the doors have it.
    pub(crate) fn name(self) -> &'static str {
        match self.limit {
            Some(_) => "permits",
            None if self.shared => "shared",
            None => "exclusive",
        }
    }

    /// The request for `key`.
    pub(crate) fn request(self, client: &Client, key: &str) -> Request {
        match self.limit {
            Some(limit) => client.semaphore(key, limit).permits(self.permits.unwrap_or(1)),
            None if self.shared => client.rwlock(key).read(),
            None => client.lock(key),
        }
    }
}

/// A client of the sidecar that the caller means.
pub(crate) async fn connect(socket: &Socket, app: &str) -> Result<Client, Failure> {
    let builder = Client::builder().app(app);
    let builder = match socket.said() {
        Some(path) => builder.socket(path),
        None => builder,
    };
    Ok(builder.connect().await?)
}
