//! How much of a key `run` and `lock` ask for.
//!
//! Owns the flags that say so, the client that asks, and what a person sees of a long wait. Must not decide how long.

use crate::door::{ask, escaped};
use crate::failure::Failure;
use crate::output::tell;
use crate::run::is_held_around;
use crate::show::list;
use crate::socket::Socket;
use crate::span::window;
use crate::table::shown;
use clap::Args;
use hyper::Method;
use sidelock_client::{Client, Request};
use std::pin::pin;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// A wait that is longer is told.
const SILENT_MAX: Duration = Duration::from_secs(1);
/// How long the sidecar may take to say why.
const WHY_TIME_MAX: Duration = Duration::from_secs(1);

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
    /// A rate: the permits come back so long after they were granted, and not before
    #[arg(long, value_name = "SPAN", value_parser = window, requires = "limit")]
    per: Option<Duration>,
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
        let permits = self.permits.unwrap_or(1);
        match (self.limit, self.per) {
            (Some(limit), Some(per)) => client.rate(key, limit, per).permits(permits),
            (Some(limit), None) => client.semaphore(key, limit).permits(permits),
            (None, _) if self.shared => client.rwlock(key).read(),
            (None, _) => client.lock(key),
        }
    }

    /// Permits of a semaphore or a rate, no lock.
    pub(crate) fn is_permits(self) -> bool {
        self.limit.is_some()
    }

    /// Beside other shared leases.
    pub(crate) fn is_shared(self) -> bool {
        self.shared
    }

    /// Permits that come back by the clock: nothing is held beyond that, and nothing lost by it.
    pub(crate) fn is_rate(self) -> bool {
        self.per.is_some()
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

/// Waits for `acquire`; when that takes long, tells once what is waited for.
pub(crate) async fn patiently<T>(socket: &Socket, keys: &[String], acquire: impl Future<Output = T>) -> T {
    let mut acquire = pin!(acquire);
    let told = async {
        sleep(SILENT_MAX).await;
        let (key, why) = in_the_way(socket, keys).await;
        tell(format_args!("waiting for {key:?} ({why})"));
    };
    tokio::select! {
        biased;
        done = &mut acquire => return done,
        () = told => {}
    }
    acquire.await
}

/// The key that is waited for, and why it is not free. Of several the ones before it are reserved for us already.
async fn in_the_way<'a>(socket: &Socket, keys: &'a [String]) -> (&'a str, String) {
    let mut keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    keys.sort_unstable();
    let mut last = ("", "the sidecar does not say why".to_owned());
    for key in keys {
        let path = format!("/v1/locks/{}?shown=32", escaped(key));
        let state = match timeout(WHY_TIME_MAX, ask(socket, Method::GET, &path, None)).await {
            Ok(Ok(state)) => state,
            Ok(Err(_)) | Err(_) => return (key, "the sidecar does not answer".to_owned()),
        };
        let mut why = state["why"].as_str().map_or(last.1, shown);
        if list(&state["holders"])
            .any(|holder| holder["fence"].as_u64().is_some_and(|fence| is_held_around(key, fence)))
        {
            why.push_str("; that is the run around this one, which ends only with its command");
        }
        last = (key, why);
        // Who waits is in its queue; whatever is reserved only is behind us.
        if list(&state["queue"]).next().is_some() && state["holders"][0]["reserved"] != true {
            break;
        }
    }
    last
}
