//! Getting a connection that can be used.
//!
//! Owns what must be true of a Redis before it is used, and the words for what is not (H20). Must not know calls.

use super::codec;
use super::fitness::{self, Info, MAJOR_MIN};
use super::names::Names;
use super::script::{TURN, TURN_UNDER_OOM};
use super::{RedisConfig, RedisConfigError};
use crate::finding::Verdict;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, ConnectionInfo, ErrorKind, IntoConnectionInfo, ProtocolVersion, PushInfo,
    PushKind, RedisError, Value,
};
use sidelock_engine::store::Push;
use sidelock_engine::{Incarnation, StoreTime};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Knows how to connect.
pub(super) struct Connector {
    client: redis::Client,
    names: Names,
    inbox: String,
    response_timeout: Duration,
    connect_timeout: Duration,
}

/// A connection in use.
pub(super) struct Connection {
    pub(super) wire: MultiplexedConnection,
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
        if config.url.starts_with("rediss:") || config.url.starts_with("valkeys:") {
            return Err(RedisConfigError::Tls);
        }
        let misunderstood = |error: RedisError| RedisConfigError::Url(error.to_string());
        let info: ConnectionInfo = config.url.as_str().into_connection_info().map_err(misunderstood)?;
        let mut settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        settings = settings.set_lib_name("sidelock", env!("CARGO_PKG_VERSION"));
        if let Some(username) = &config.username {
            settings = settings.set_username(username);
        }
        if let Some(password) = &config.password {
            settings = settings.set_password(password);
        }
        let tcp = info.tcp_settings().clone().set_nodelay(true);
        let info = info.set_redis_settings(settings).set_tcp_settings(tcp);
        let names = Names::new(&config.prefix, &config.namespace);
        Ok(Connector {
            client: redis::Client::open(info).map_err(misunderstood)?,
            inbox: names.inbox(incarnation),
            names,
            response_timeout: config.response_timeout,
            connect_timeout: config.connect_timeout,
        })
    }

    /// One attempt. What is wrong, in words for the log, if it fails.
    pub(super) async fn connect(&self) -> Result<Connection, String> {
        match tokio::time::timeout(self.connect_timeout, self.prepare()).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(NotReady::Redis(error))) => Err(reason(&error)),
            Ok(Err(NotReady::Unfit(why))) => Err(why),
            Err(_) => Err(format!("Redis did not answer within {} ms", self.connect_timeout.as_millis())),
        }
    }

    /// A connection of its own for looking around, on which no scripts are loaded and no inbox is heard.
    pub(super) async fn visit(&self) -> Result<MultiplexedConnection, String> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(Some(self.response_timeout));
        let opened = self.client.get_multiplexed_async_connection_with_config(&config);
        match tokio::time::timeout(self.connect_timeout, opened).await {
            Ok(opened) => opened.map_err(|error| reason(&error)),
            Err(_) => Err(format!("Redis did not answer within {} ms", self.connect_timeout.as_millis())),
        }
    }

    async fn prepare(&self) -> Result<Connection, NotReady> {
        let (pushes, inbox) = mpsc::unbounded_channel();
        // The crate's defaults are for caches: half a second to answer, Nagle on, retries that know nothing of
        // outcomes. Retrying is the engine's business.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.connect_timeout))
            .set_response_timeout(Some(self.response_timeout))
            .set_push_sender(move |info| news(&info).map_or(Ok(()), |news| pushes.send(news)));
        let mut wire = self.client.get_multiplexed_async_connection_with_config(&config).await?;
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
            names: self.names.clone(),
            scripts: Arc::new(Scripts { turn, turn_under_oom }),
            pushes: inbox,
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
            "WRONGPASS: Redis refuses this user or password; correct them, then SIGHUP".into()
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
