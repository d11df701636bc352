//! Getting a connection that can be used.
//!
//! Owns what must be true of a Redis before it is used, and the words for what is not (H20). Must not know calls, nor how
//! Redis is reached: `dial` does.

use super::address::{self, Address};
use super::clock::Clock;
use super::codec;
use super::dial::{Access, Dialer, Wire};
use super::fitness::{self, Info, MAJOR_MIN};
use super::names::Names;
use super::script::programs;
use super::sentinel::Sentinels;
use super::strict::{self, Patience, Strict};
use super::{Mode, RedisConfig, RedisConfigError};
use crate::finding::Verdict;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Cmd, ErrorKind, PushInfo, PushKind, RedisConnectionInfo, RedisError, Value,
};
use sidelock_engine::store::Push;
use sidelock_engine::{Incarnation, StoreTime};
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// What CLIENT LIST calls us.
const NAME: &str = "sidelock";

/// Knows how to connect.
pub(super) struct Connector {
    place: Place,
    dialer: Arc<Dialer>,
    names: Names,
    /// What is heard on the same connection. `None`: it is a node of a cluster, whose inboxes are heard elsewhere.
    inbox: Option<String>,
    /// How long tenures live at most where the store is to be strict.
    longest: Option<Duration>,
    patience: Patience,
    mode: Mode,
}

/// Where the server is.
enum Place {
    Known(Address),
    /// Where they say.
    Named(Arc<Sentinels>),
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
    /// The server's.
    pub(super) clock: Clock,
    pub(super) warning: Option<String>,
    /// Where strict is wanted: whether it can be promised.
    pub(super) strictness: Option<Result<(), String>>,
    /// It is a node of a cluster.
    pub(super) sharded: bool,
}

/// Ends when another server has taken the place of the one in use: which.
pub(super) type Replaced = Pin<Box<dyn Future<Output = String> + Send>>;

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
    /// They are those of a strict store, which is told this.
    pub(super) strict: Option<Strict>,
}

impl Connector {
    pub(super) fn new(config: &RedisConfig, incarnation: Incarnation) -> Result<Connector, RedisConfigError> {
        let (place, settings) = Place::new(config)?;
        // Whoever names an authority believes that nobody else can listen.
        match config.access.tls.first_named() {
            Some(setting) if !place.has_tls() => return Err(RedisConfigError::NoTls { setting }),
            _ => {}
        }
        let dialer = Dialer::new(settings, config.access.clone(), config.connect_timeout);
        place.check(&dialer).map_err(RedisConfigError::Access)?;
        let names = Names::new(&config.prefix, &config.namespace);
        let (dialer, inbox) = (Arc::new(dialer), Some(names.inbox(incarnation)));
        let (longest, patience, mode) = (config.strict, Patience::of(config), config.mode.clone());
        Ok(Connector { place, dialer, names, inbox, longest, patience, mode })
    }

    /// For a node of a cluster.
    pub(super) fn of_node(address: Address, dialer: Arc<Dialer>, config: &RedisConfig) -> Connector {
        let (place, names) = (Place::Known(address), Names::new(&config.prefix, &config.namespace));
        let (patience, mode) = (Patience::of(config), config.mode.clone());
        Connector { place, dialer, names, inbox: None, longest: None, patience, mode }
    }

    /// One attempt. What is wrong, in words for the log, if it fails.
    pub(super) async fn connect(self: &Arc<Self>) -> Result<(Connection, Replaced), String> {
        let sentinels = match &self.place {
            Place::Known(address) => {
                let connection = self.connect_to(address).await?;
                return Ok((connection, Box::pin(pending())));
            }
            Place::Named(sentinels) => sentinels,
        };
        let road = |all: Arc<Sentinels>, number| {
            let connector = self.clone();
            async move {
                let address = all.ask_once(number).await?;
                let connected = connector.connect_to(&address).await;
                connected
                    .map(|connection| (connection, number, address.clone()))
                    .map_err(|why| format!("primary {address}: {why}"))
            }
        };
        let (connection, number, address) = sentinels.first_of(road).await?;
        sentinels.trust(number);
        Ok((connection, replaced(sentinels.clone(), address)))
    }

    async fn connect_to(&self, address: &Address) -> Result<Connection, String> {
        let (pushes, inbox) = mpsc::unbounded_channel();
        let config =
            self.habits().set_push_sender(move |info| news(&info).map_or(Ok(()), |news| pushes.send(news)));
        let wire = self.dialer.dial(address, config, self.dialer.deadline()).await?;
        // Half a dozen answers one after another, from a distant Redis each as late as any: each has its own time.
        self.prepare(wire, inbox).await.map_err(|not_ready| match not_ready {
            NotReady::Redis(error) => reason(&error),
            NotReady::Unfit(why) => why,
        })
    }

    /// A connection of its own for looking around, on which no scripts are loaded and no inbox is heard.
    pub(super) async fn visit(&self) -> Result<Wire, String> {
        let named;
        let address = match &self.place {
            Place::Known(address) => address,
            Place::Named(sentinels) => {
                named = sentinels.primary().await?;
                &named
            }
        };
        self.dialer.dial(address, self.habits(), self.dialer.deadline()).await
    }

    /// Those who say where it is, if it is not known.
    pub(super) fn sentinels(&self) -> Option<&Arc<Sentinels>> {
        match &self.place {
            Place::Known(_) => None,
            Place::Named(sentinels) => Some(sentinels),
        }
    }

    pub(super) fn has_tls(&self) -> bool {
        self.place.has_tls()
    }

    /// The crate's defaults are for caches: half a second to answer, retries that know nothing of outcomes. Retrying is the
    /// engine's business.
    fn habits(&self) -> AsyncConnectionConfig {
        AsyncConnectionConfig::new().set_response_timeout(Some(self.patience.response))
    }

    /// Takes these for the next connection. For one that stands: what it has to say, if there is something.
    pub(super) fn renew(&self, access: Access) -> Result<Option<Cmd>, String> {
        if let Place::Named(sentinels) = &self.place {
            sentinels.renew(&access);
        }
        self.dialer.renew(access);
        self.place.check(&self.dialer)?;
        self.dialer.introduction()
    }

    async fn prepare(
        &self,
        line: Wire,
        pushes: mpsc::UnboundedReceiver<News>,
    ) -> Result<Connection, NotReady> {
        let mut wire = line.commands.clone();
        if let Place::Named(_) = self.place {
            check_role(&mut wire).await?;
        }
        let (mut warning, keeps) = match self.check(&mut wire).await? {
            None => (None, Ok(())),
            Some(warning) => (Some(warning.clone()), Err(warning)),
        };
        let sharded = self.inbox.is_none();
        let (strict, strictness) = self.terms(&mut wire).await;
        // Of what it evicts it remembers nothing, and the marker is none of that.
        let strictness = strictness.map(|promise| promise.and(keeps));
        let [with_asks, without] = programs(sharded, strict.is_some());
        let (turn, turn_under_oom, (seconds, micros)): (String, String, (u64, u64)) = redis::pipe()
            .cmd("HELLO")
            .arg(3)
            .arg("SETNAME")
            .arg(NAME)
            .ignore()
            .cmd("SCRIPT")
            .arg("LOAD")
            .arg(with_asks)
            .cmd("SCRIPT")
            .arg("LOAD")
            .arg(without)
            .cmd("TIME")
            .query_async(&mut wire)
            .await?;
        let clock = Clock::heard(StoreTime(seconds * 1_000_000 + micros));
        let scripts = Scripts { turn, turn_under_oom, strict };
        match &scripts.strict {
            // Terms only widen, and for a Redis that is not set up as it should be they are wide: the first call is soon enough.
            Some(_) if matches!(strictness, Some(Err(_))) => {}
            Some(strict) => strict.greet(&mut wire, &scripts).await,
            // Nobody is strict in a cluster.
            None if sharded => {}
            None => warning = warning.or(self.strict_others(&mut wire).await?),
        }
        if let Some(inbox) = &self.inbox {
            wire.subscribe(inbox).await?;
        }
        Ok(Connection {
            wire,
            _line: line,
            names: self.names.clone(),
            scripts: Arc::new(scripts),
            pushes,
            clock,
            warning,
            strictness,
            sharded,
        })
    }

    /// Whether this Redis will do, and what should be changed about it.
    async fn check(&self, wire: &mut MultiplexedConnection) -> Result<Option<String>, NotReady> {
        let said: Result<[String; 3], RedisError> = redis::pipe()
            .cmd("INFO")
            .arg("server")
            .cmd("INFO")
            .arg("memory")
            .cmd("INFO")
            .arg("replication")
            .query_async(wire)
            .await;
        let info = match said {
            Ok(sections) => Info::read(&sections.join("\n")),
            // Where it is to be strict, each call asks.
            Err(error) if error.code() == Some("NOPERM") && self.longest.is_none() => {
                let unchecked =
                    "this user may not run INFO: version, role and eviction policy stay unchecked";
                return Ok(Some(unchecked.into()));
            }
            Err(error) => return Err(error.into()),
        };
        let version = fitness::version(&info);
        if version.verdict == Verdict::Fail {
            return Err(NotReady::Unfit(version.sentence()));
        }
        // A name may lead to one that was a primary, or to a node of a cluster, which has a part of the keys; in a cluster, the
        // other nodes tell.
        let topology = fitness::topology(&info, &self.mode);
        if self.inbox.is_some() && topology.verdict == Verdict::Fail {
            return Err(NotReady::Unfit(topology.sentence()));
        }
        let eviction = fitness::eviction(&info);
        Ok((eviction.verdict != Verdict::Ok).then(|| eviction.sentence()))
    }

    /// Whether others rely on what this sidecar does not do.
    async fn strict_others(&self, wire: &mut MultiplexedConnection) -> Result<Option<String>, RedisError> {
        let marker = self.names.marker();
        let marked: Value = redis::cmd("GET").arg(&marker).query_async(wire).await?;
        Ok((marked != Value::Nil).then(|| {
            format!("others of this namespace rely on strict, which this sidecar breaks: set redis.guarantee to strict, or, where nobody does any more, DEL '{marker}'")
        }))
    }

    /// What a strict store has to be told, and whether this one can keep its promise.
    async fn terms(&self, wire: &mut MultiplexedConnection) -> (Option<Strict>, Option<Result<(), String>>) {
        let Some(longest) = self.longest else { return (None, None) };
        let replicas = strict::ask(wire, &self.mode).await;
        let known = replicas.as_ref().ok().copied();
        (Some(Strict::new(&self.names, longest, known, &self.patience)), Some(replicas.map(drop)))
    }
}

impl Place {
    /// With how a connection to the server introduces itself.
    fn new(config: &RedisConfig) -> Result<(Place, RedisConnectionInfo), RedisConfigError> {
        match (&config.mode, config.urls.as_slice()) {
            (Mode::Single, [url]) => {
                address::read(url).map(|(there, settings)| (Place::Known(there), settings))
            }
            (Mode::Single, _) => Err(RedisConfigError::Addresses("exactly one is needed in mode single")),
            (Mode::Cluster, _) => Err(RedisConfigError::Addresses("a cluster is no single server")),
            (Mode::Sentinel(_), []) => {
                Err(RedisConfigError::Addresses("those of the sentinels are needed in mode sentinel"))
            }
            (Mode::Sentinel(told), [first, ..]) => {
                // Whoever else is named in these addresses is a user of the sentinels.
                let db = address::read(first)?.1.db();
                Ok((Place::Named(Arc::new(Sentinels::new(config, told)?)), address::plain(db)))
            }
        }
    }

    fn has_tls(&self) -> bool {
        match self {
            Place::Known(address) => address.has_tls(),
            Place::Named(sentinels) => sentinels.has_tls(),
        }
    }

    /// Whether what a connection needs is there and makes sense. Connects to nothing.
    fn check(&self, dialer: &Dialer) -> Result<(), String> {
        match self {
            Place::Known(address) => dialer.check(address),
            Place::Named(sentinels) => sentinels.check().and_then(|()| dialer.introduction().map(drop)),
        }
    }
}

/// Ends when sentinels name another server than this one.
fn replaced(sentinels: Arc<Sentinels>, used: Address) -> Replaced {
    Box::pin(async move {
        let other = sentinels.another_than(&used).await;
        format!("the sentinels name another primary than {used}: {other}")
    })
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

/// Whether it is a primary. Sentinels may have named one that is none any more, or not yet.
async fn check_role(wire: &mut MultiplexedConnection) -> Result<(), NotReady> {
    let role: Vec<Value> = redis::cmd("ROLE").query_async(wire).await?;
    match role.first() {
        Some(Value::BulkString(role)) if role == b"master" => Ok(()),
        _ => Err(NotReady::Unfit("it is a replica".into())),
    }
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
        ("NOAUTH", _) => "Redis wants a password and none is configured: write it into a file that redis.password_file names".into(),
        ("NOPERM", _) => format!("Redis does not let this user do what Sidelock needs: {detail}"),
        (_, ErrorKind::RESP3NotSupported) => {
            format!("this server is too old: Sidelock needs Redis {MAJOR_MIN}.0 or newer")
        }
        ("", _) => whole,
        _ => format!("{code} {detail}"),
    }
}
