//! Getting a connection that can be used.
//!
//! Owns what must be true of a Redis before it is used, and the words for what is not (H20). Must not know calls, nor how
//! Redis is reached: `dial` does.

use super::address::{self, Address};
use super::codec;
use super::dial::{Access, Dialer, Wire};
use super::fitness::{self, Info, MAJOR_MIN};
use super::names::Names;
use super::script::{TURN, TURN_UNDER_OOM};
use super::{RedisConfig, RedisConfigError};
use crate::finding::Verdict;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, ErrorKind, PushInfo, PushKind, RedisError, Value};
use sidelock_engine::store::Push;
use sidelock_engine::{Incarnation, StoreTime};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout_at;

/// Knows how to connect.
pub(super) struct Connector {
    address: Address,
    dialer: Dialer,
    names: Names,
    inbox: String,
    response_timeout: Duration,
}

/// A connection in use.
pub(super) struct Connection {
    pub(super) wire: MultiplexedConnection,
    /// Keeps it open.
    _line: Wire,
    pub(super) names: Names,
    pub(super) scripts: Arc<Scripts>,
    /// Messages of the inbox.
    pub(super) pushes: mpsc::UnboundedReceiver<News>,
    pub(super) at: StoreTime,
    pub(super) warning: Option<String>,
}

/// What arrives unasked.
pub(super) enum News {
    Push(Push),
    Closed,
}

/// Under which names Redis knows the scripts.
#[derive(Debug)]
pub(super) struct Scripts {
    pub(super) turn: String,
    pub(super) turn_under_oom: String,
}

impl Connector {
    pub(super) fn new(config: &RedisConfig, incarnation: Incarnation) -> Result<Connector, RedisConfigError> {
        let (address, settings) = address::read(&config.url)?;
        // Whoever names an authority believes that nobody else can listen.
        match config.access.tls.first_named() {
            Some(setting) if !address.has_tls() => return Err(RedisConfigError::NoTls { setting }),
            _ => {}
        }
        let dialer = Dialer::new(settings, config.access.clone(), config.connect_timeout);
        dialer.check(&address).map_err(RedisConfigError::Access)?;
        let names = Names::new(&config.prefix, &config.namespace);
        let inbox = names.inbox(incarnation);
        Ok(Connector { address, dialer, names, inbox, response_timeout: config.response_timeout })
    }

    /// One attempt. What is wrong, in words for the log, if it fails.
    pub(super) async fn connect(&self) -> Result<Connection, String> {
        let (pushes, inbox) = mpsc::unbounded_channel();
        let config =
            self.habits().set_push_sender(move |info| news(&info).map_or(Ok(()), |news| pushes.send(news)));
        let deadline = self.dialer.deadline();
        let wire = self.dialer.dial(&self.address, config, deadline).await?;
        match timeout_at(deadline, self.prepare(wire, inbox)).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(NotReady::Redis(error))) => Err(reason(&error)),
            Ok(Err(NotReady::Unfit(why))) => Err(why),
            Err(_) => Err(self.dialer.overdue()),
        }
    }

    /// A connection of its own for looking around, on which no scripts are loaded and no inbox is heard.
    pub(super) async fn visit(&self) -> Result<Wire, String> {
        self.dialer.dial(&self.address, self.habits(), self.dialer.deadline()).await
    }

    pub(super) fn has_tls(&self) -> bool {
        self.address.has_tls()
    }

    /// The crate's defaults are for caches: half a second to answer, retries that know nothing of outcomes. Retrying is the
    /// engine's business.
    fn habits(&self) -> AsyncConnectionConfig {
        AsyncConnectionConfig::new().set_response_timeout(Some(self.response_timeout))
    }

    /// Takes these for the next connection. For one that stands: what it has to say, if there is something.
    pub(super) fn renew(&self, access: Access) -> Result<Option<Cmd>, String> {
        self.dialer.renew(access);
        self.dialer.check(&self.address)?;
        self.dialer.introduction()
    }

    async fn prepare(
        &self,
        line: Wire,
        pushes: mpsc::UnboundedReceiver<News>,
    ) -> Result<Connection, NotReady> {
        let mut wire = line.commands.clone();
        let warning = check(&mut wire).await?;
        let (turn, turn_under_oom, (seconds, micros)): (String, String, (u64, u64)) = redis::pipe()
            .cmd("SCRIPT")
            .arg("LOAD")
            .arg(TURN)
            .cmd("SCRIPT")
            .arg("LOAD")
            .arg(TURN_UNDER_OOM)
            .cmd("TIME")
            .query_async(&mut wire)
            .await?;
        wire.subscribe(&self.inbox).await?;
        Ok(Connection {
            wire,
            _line: line,
            names: self.names.clone(),
            scripts: Arc::new(Scripts { turn, turn_under_oom }),
            pushes,
            at: StoreTime(seconds * 1_000_000 + micros),
            warning,
        })
    }
}

enum NotReady {
    Redis(RedisError),
    Unfit(String),
}

impl From<RedisError> for NotReady {
    fn from(error: RedisError) -> NotReady {
        NotReady::Redis(error)
    }
}

/// Whether this Redis will do, and what should be changed about it.
async fn check(wire: &mut MultiplexedConnection) -> Result<Option<String>, NotReady> {
    let said: Result<(String, String), RedisError> =
        redis::pipe().cmd("INFO").arg("server").cmd("INFO").arg("memory").query_async(wire).await;
    let info = match said {
        Ok((server, memory)) => Info::read(&(server + "\n" + &memory)),
        Err(error) if error.code() == Some("NOPERM") => {
            return Ok(Some("this user may not run INFO: version and eviction policy stay unchecked".into()));
        }
        Err(error) => return Err(error.into()),
    };
    let version = fitness::version(&info);
    if version.verdict == Verdict::Fail {
        return Err(NotReady::Unfit(version.sentence()));
    }
    let eviction = fitness::eviction(&info);
    Ok((eviction.verdict != Verdict::Ok).then(|| eviction.sentence()))
}

/// A message of the inbox, or the end of the connection.
fn news(info: &PushInfo) -> Option<News> {
    match (&info.kind, info.data.as_slice()) {
        (PushKind::Disconnection, _) => Some(News::Closed),
        (PushKind::Message, [_channel, Value::BulkString(message)]) => codec::push(message).map(News::Push),
        _ => None,
    }
}

/// What went wrong, and what to do where that is known.
pub(super) fn reason(error: &RedisError) -> String {
    let code = error.code().unwrap_or_default();
    let whole = error.to_string();
    let detail = error.detail().unwrap_or(&whole);
    match (code, error.kind()) {
        ("WRONGPASS", _) | (_, ErrorKind::AuthenticationFailed) => {
            "WRONGPASS: Redis refuses this user or password; correct them: their file is read anew for the next attempt".into()
        }
        ("NOAUTH", _) => "Redis wants a password and none is configured".into(),
        ("NOPERM", _) => format!("Redis does not let this user do what Sidelock needs: {detail}"),
        (_, ErrorKind::RESP3NotSupported) => {
            format!("this server is too old: Sidelock needs Redis {MAJOR_MIN}.0 or newer")
        }
        ("", _) => whole,
        _ => format!("{code} {detail}"),
    }
}
