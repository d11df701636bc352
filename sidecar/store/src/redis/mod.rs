//! The Redis store: transport only.
//!
//! Owns the connection: connecting, batching, timeouts, reloading scripts, turning bytes into answers. Must not decide
//! anything about locks: operations go to `scripts/` as they are, and every answer, failure and push goes back to the
//! engine, which has the rules. Read on in `link.rs`.
//!
//! One connection, in RESP3: pushes of the inbox arrive on it between the answers, so that there is no subscriber that
//! can be half dead while commands work, nothing to ping besides, and no order to restore between the two. In a cluster one to
//! each primary, and one for the inbox: `cluster/`.

mod address;
mod credentials;
mod tls;
mod dial;
mod clock;
mod sentinel;
mod connect;
mod fitness;
mod rights;
mod survey;
mod names;
mod codec;
mod script;
mod strict;
mod fault;
mod outbox;
mod plain_read;
mod pipeline;
mod outlet;
mod link;
mod listing;
mod cluster;
#[cfg(feature = "fuzz")]
pub mod fuzz;

pub use credentials::{Credentials, Party};
pub use dial::Access;
pub use survey::{Survey, survey};
pub use tls::TlsFiles;

use crate::listing::Listing;
use sidelock_engine::store::{Call, CallId, Outcome, Push};
use sidelock_engine::{Incarnation, StoreTime};
use std::fmt;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// How to reach Redis, and what to call things there.
#[derive(Clone)]
pub struct RedisConfig {
    /// Where: `redis://[user[:password]@]host[:port][/db]`, `rediss://…` for TLS, or
    /// `unix:///path/to/socket[?db=…&user=…&pass=…]`. One, or all sentinels.
    pub urls: Vec<String>,
    /// What is there.
    pub mode: Mode,
    /// Files that are read anew for each connection.
    pub access: Access,
    /// Strict (P20), with tenures that live no longer than this at a time; all sidecars of a namespace have to say the same.
    pub strict: Option<Duration>,
    /// First part of every name in Redis.
    pub prefix: String,
    /// Keeps apart those who share a Redis.
    pub namespace: String,
    /// An answer that takes longer means that the connection is dead. With `ping_interval` this bounds how long a black
    /// hole goes unnoticed, which must be well below a quarter of the tenure's time to live (H6).
    pub response_timeout: Duration,
    /// A connection on which Redis has not let us in by then is given up. What is asked of it then has the response's time.
    pub connect_timeout: Duration,
    /// After so long without an answer, Redis is asked for a sign of life.
    pub ping_interval: Duration,
}

/// What is at the addresses.
#[derive(Clone)]
pub enum Mode {
    /// A server.
    Single,
    /// Sentinels, who say where the server is.
    Sentinel(Sentinel),
    /// Some nodes of a cluster, which know the others.
    Cluster,
}

/// What sentinels are asked, and as whom. Users, passwords and TLS in their URLs are theirs; the server is spoken to over TLS
/// if they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sentinel {
    /// What they call the primary.
    pub service: String,
    /// Who we are to them.
    pub credentials: Credentials,
}

impl RedisConfig {
    /// The defaults, for a server and a tenure time to live of 10 s.
    pub fn new(url: impl Into<String>) -> RedisConfig {
        RedisConfig {
            urls: vec![url.into()],
            mode: Mode::Single,
            access: Access::default(),
            strict: None,
            prefix: "sl".into(),
            namespace: "default".into(),
            response_timeout: Duration::from_millis(1250),
            connect_timeout: Duration::from_secs(1),
            ping_interval: Duration::from_secs(1),
        }
    }

    /// Whether the store could be started with this, as far as that shows without a network: the files are there, and make
    /// sense.
    pub fn check(&self) -> Result<(), RedisConfigError> {
        match self.mode {
            Mode::Single | Mode::Sentinel(_) => connect::Connector::new(self, Incarnation(0)).map(drop),
            Mode::Cluster => cluster::Cluster::new(self).map(drop),
        }
    }
}

impl fmt::Debug for RedisConfig {
    /// Without anything that could be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RedisConfig { prefix, namespace, response_timeout, connect_timeout, ping_interval, .. } = self;
        f.debug_struct("RedisConfig")
            .field("prefix", prefix)
            .field("namespace", namespace)
            .field("response_timeout", response_timeout)
            .field("connect_timeout", connect_timeout)
            .field("ping_interval", ping_interval)
            .finish_non_exhaustive()
    }
}

/// Why a configuration can not work, whatever the network does. Never contains the URL: it may hold a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RedisConfigError {
    /// Not understood.
    #[error(
        "redis.url is not understood ({0}); write redis://host:6379/0, rediss://host:6379/0 for TLS, or unix:///path/to/socket"
    )]
    Url(String),
    /// Too few addresses, or too many.
    #[error("redis.url: {0}")]
    Addresses(&'static str),
    /// TLS without a proof of whom it speaks with.
    #[error("redis.url: #insecure is not offered; name the authority of Redis' certificate in redis.ca_file")]
    Insecure,
    /// There are files for TLS, and no TLS.
    #[error(
        "redis.{setting} is for TLS, and redis.url asks for none: write rediss://, or drop redis.{setting}"
    )]
    NoTls {
        /// One of those that are there.
        setting: &'static str,
    },
    /// A file can not be read, or makes no sense.
    #[error("{0}")]
    Access(String),
}

/// What the store tells its driver.
#[derive(Clone, Debug, PartialEq)]
pub enum StoreEvent {
    /// Precedes an `Up` where strict is wanted: whether this Redis is set up for it, or why not. Once it was, one that is not
    /// counts as away.
    Strict(Result<(), String>),
    /// Connected, checked, scripts loaded, inbox subscribed. In a cluster: every primary has said what it is, and one at least is
    /// so; told again when one comes back.
    Up {
        /// Redis' clock now, by what it showed while the connection was made.
        at: StoreTime,
    },
    /// Not connected. Repeated when the reason changes.
    Down {
        /// What happened and what to do, without secrets.
        reason: String,
    },
    /// The inbox was subscribed: pushes may have been lost until now. Follows every `Up`, in a cluster when it is heard again.
    Subscribed,
    /// Exactly one per call.
    Answer {
        /// Which call.
        call: CallId,
        /// What became of it.
        outcome: Outcome,
    },
    /// A message of the inbox.
    Push(Push),
    /// Redis is not set up as locks need it; what to do about it. Precedes an `Up`.
    Warning(String),
    /// What [`RedisHandle::renew`] came to: why the new access can not be used, if so. A connection that stands goes on.
    Renewed(Result<(), String>),
    /// A pipeline was answered: for the metrics.
    Pipeline {
        /// Calls in it.
        calls: usize,
        /// Requests on the wire.
        requests: usize,
        /// From before the send to the last answer.
        took: Duration,
    },
}

/// The Redis store; a name for [`RedisStore::start`].
#[derive(Debug)]
pub struct RedisStore;

impl RedisStore {
    /// Starts a task of the current runtime that connects, keeps connected and tells `events`. It ends when the handle is
    /// dropped and everything sent has its outcome.
    ///
    /// Answers wait for room in `events`; pushes that find none are dropped, as pushes may be.
    pub fn start(
        config: RedisConfig,
        incarnation: Incarnation,
        events: mpsc::Sender<StoreEvent>,
    ) -> Result<RedisHandle, RedisConfigError> {
        let (handle, requests) = mpsc::unbounded_channel();
        match config.mode {
            Mode::Single | Mode::Sentinel(_) => {
                let connector = connect::Connector::new(&config, incarnation)?;
                tokio::spawn(link::run(config, connector, requests, outlet::Outlet::Driver(events)));
            }
            Mode::Cluster => {
                let cluster = cluster::Cluster::new(&config)?;
                tokio::spawn(cluster::run(cluster, config, incarnation, requests, events));
            }
        }
        Ok(RedisHandle { requests: handle })
    }
}

/// Sends calls to the store.
#[derive(Clone, Debug)]
pub struct RedisHandle {
    requests: mpsc::UnboundedSender<Request>,
}

/// What a handle wants of the task.
#[derive(Debug)]
enum Request {
    Calls(Vec<Call>),
    /// From a router: calls that say ASKING first.
    Asking(Vec<Call>),
    /// From a router: for inboxes that are heard at this node.
    Messages(Vec<pipeline::Message>),
    /// From a router: what CLUSTER SLOTS says at this node.
    Slots(oneshot::Sender<Result<redis::Value, String>>),
    List(listing::Wish),
    Renew(Box<Access>),
}

impl RedisHandle {
    /// Hands over the calls of one turn, in their order. Never blocks; the number of calls under way is bounded by the
    /// engine, which has at most a few per key.
    pub fn send(&self, calls: Vec<Call>) {
        // The task only ends before its handles if the receiver of its events is gone: nobody waits for these outcomes.
        let _ = self.requests.send(Request::Calls(calls));
    }

    /// Lists what keys that begin with `prefix` are held or waited for, or says why it can not. For people: it looks through
    /// the store step by step. The answer is dropped where there is no connection.
    pub fn list(&self, prefix: String, answer: oneshot::Sender<Result<Listing, String>>) {
        // As above.
        let _ = self.requests.send(Request::List(listing::Wish { prefix, answer }));
    }

    /// Takes this access from now on, and reads its files again. A connection that stands stays, and says the new password
    /// to Redis: no call is lost, whatever comes of it.
    pub fn renew(&self, access: Access) {
        // As above.
        let _ = self.requests.send(Request::Renew(Box::new(access)));
    }
}
