//! From an address to a connection that Redis has let in.
//!
//! Owns the road there (name, socket, TLS, introduction) and the words for where it ends, within one span of patience for
//! all of it. Must not know what the connection is for, nor what Redis must be like.

use super::address::Address;
use super::connect::reason;
use super::credentials::{Credentials, introduction};
use super::tls::{Handshake, NO_TLS, Tls, TlsFiles};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, RedisConnectionInfo, RedisError};
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};

/// Without an answer for so long, a connection is begun anew beside those that are under way. The kernel repeats its first
/// packet after a second, which is all the time that there is.
const ANEW: Duration = Duration::from_millis(250);

/// What is read anew for each connection: who we are, and whom we believe.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// User and password.
    pub credentials: Credentials,
    /// For `rediss://`.
    pub tls: TlsFiles,
}

/// Makes connections, to any address, that say the same of us.
pub(super) struct Dialer {
    /// As the URL has them.
    settings: RedisConnectionInfo,
    access: Mutex<(Credentials, Tls)>,
    patience: Duration,
}

/// A connection, and the task that reads it, which ends with the value.
pub(super) struct Wire {
    pub(super) commands: MultiplexedConnection,
    reader: JoinHandle<()>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Dialer {
    /// `patience` is for all of a connection's road.
    pub(super) fn new(settings: RedisConnectionInfo, access: Access, patience: Duration) -> Dialer {
        let Access { credentials, tls } = access;
        Dialer { settings, access: Mutex::new((credentials, Tls::new(tls))), patience }
    }

    /// Takes these from now on.
    pub(super) fn renew(&self, access: Access) {
        *self.access() = (access.credentials, Tls::new(access.tls));
    }

    fn access(&self) -> std::sync::MutexGuard<'_, (Credentials, Tls)> {
        self.access.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether what a connection to this address needs is there and makes sense. Connects to nothing.
    pub(super) fn check(&self, address: &Address) -> Result<(), String> {
        self.introduction().map(drop)?;
        if address.has_tls() {
            self.handshake()?;
        }
        Ok(())
    }

    /// For a connection that stands: what it has to say for Redis to know us by what the files say now; nothing without a
    /// password. And what is wrong with the files for the next connection, to this address.
    pub(super) fn introduction(&self) -> Result<Option<Cmd>, String> {
        self.settings().map(|settings| introduction(&settings))
    }

    fn settings(&self) -> Result<RedisConnectionInfo, String> {
        self.access().0.put_into(self.settings.clone())
    }

    fn handshake(&self) -> Result<Handshake, String> {
        self.access().1.ready()
    }

    /// When a connection that is begun now has to be ready.
    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + self.patience
    }

    /// The words for a deadline that has passed.
    pub(super) fn overdue(&self) -> String {
        format!("Redis did not answer within {} ms", self.patience.as_millis())
    }

    /// One attempt. What is wrong, in words for the log, if it fails.
    pub(super) async fn dial(
        &self,
        address: &Address,
        config: AsyncConnectionConfig,
        deadline: Instant,
    ) -> Result<Wire, String> {
        let settings = self.settings()?;
        match address {
            Address::Unix(path) => {
                let stream =
                    timeout_at(deadline, UnixStream::connect(path)).await.map_err(|_| self.overdue())?;
                let stream = stream.map_err(|error| format!("{address}: {error}"))?;
                let greeted = self.greet(Box::new(stream), &settings, config, deadline).await?;
                greeted.map_err(|error| reason(&error))
            }
            Address::Tcp { host, port, tls: false } => {
                let stream = self.reach(host, *port, deadline).await?;
                let greeted = self.greet(Box::new(stream), &settings, config, deadline).await?;
                greeted.map_err(|error| plainly(&error))
            }
            Address::Tcp { host, port, tls: true } => {
                let handshake = self.handshake()?;
                let stream = self.reach(host, *port, deadline).await?;
                let shaken = timeout_at(deadline, handshake.over(stream, host)).await;
                let shaken =
                    shaken.map_err(|_| format!("{} the TLS handshake: {NO_TLS}", self.overdue()))??;
                let greeted = self.greet(Box::new(shaken), &settings, config, deadline).await?;
                greeted
                    .map_err(|error| handshake.afterthought(&error, host).unwrap_or_else(|| reason(&error)))
            }
        }
    }

    async fn reach(&self, host: &str, port: u16, deadline: Instant) -> Result<TcpStream, String> {
        let stream = timeout_at(deadline, reach(host, port)).await.map_err(|_| self.overdue())?;
        let stream = stream.map_err(|error| format!("{host}:{port}: {error}"))?;
        // Nothing is gained by waiting for more to send: batches are made before.
        stream.set_nodelay(true).map_err(|error| format!("{host}:{port}: {error}"))?;
        Ok(stream)
    }

    /// Introduces us. The outer failure is one of time.
    async fn greet(
        &self,
        stream: Box<dyn Stream>,
        settings: &RedisConnectionInfo,
        config: AsyncConnectionConfig,
        deadline: Instant,
    ) -> Result<Result<Wire, RedisError>, String> {
        let greeted = MultiplexedConnection::new_with_config(settings, stream, config);
        let greeted = timeout_at(deadline, greeted).await.map_err(|_| self.overdue())?;
        Ok(greeted.map(|(commands, reading)| Wire { commands, reader: tokio::spawn(reading) }))
    }
}

/// All that a connection goes over.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// The first of a name's addresses that answers: one of them may be a hole. A network that swallowed the first packet may work
/// a moment later, long before the kernel sends it again: a newer attempt is not behind it.
async fn reach(host: &str, port: u16) -> io::Result<TcpStream> {
    let addresses: Vec<_> = lookup_host((host, port)).await?.collect();
    if addresses.is_empty() {
        return Err(io::Error::other("this name has no address"));
    }
    let (mut attempts, mut anew) = (JoinSet::new(), interval(ANEW));
    anew.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = anew.tick() => addresses.iter().for_each(|address| {
                attempts.spawn(TcpStream::connect(*address));
            }),
            Some(attempt) = attempts.join_next() => match attempt.unwrap_or_else(|ended| Err(ended.into())) {
                Ok(stream) => return Ok(stream),
                Err(error) if attempts.is_empty() => return Err(error),
                Err(_) => {}
            }
        }
    }
}

/// The words for a server that does not understand an introduction without TLS.
fn plainly(error: &RedisError) -> String {
    match error.code() {
        Some(_) => reason(error),
        None => format!("{}; if this Redis wants TLS, write rediss://", reason(error)),
    }
}
