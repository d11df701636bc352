//! The Redis store as a subject: the real adapter, and a listener that sees every inbox.

use super::server::Server;
use crate::subject::{A, B, C, D, Done, Subject, key};
use ::redis::aio::MultiplexedConnection;
use ::redis::{AsyncConnectionConfig, PushInfo, PushKind, Value};
use sidelock_e2e::cluster::Cluster;
use sidelock_engine::store::{Call, CallId, Declare, Op, Outcome, Push, Wake};
use sidelock_engine::{AskId, Incarnation, Key, Space, StoreTime};
use sidelock_store::redis::{Mode, RedisConfig, RedisHandle, RedisStore, StoreEvent};
#[cfg(feature = "fuzz")]
use sidelock_store::strict::Terms;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

pub(crate) struct RedisSubject {
    runtime: Runtime,
    /// Beside the adapter: reads the clock, flushes, listens.
    admin: MultiplexedConnection,
    inboxes: mpsc::UnboundedReceiver<PushInfo>,
    handle: RedisHandle,
    events: mpsc::Receiver<StoreEvent>,
    calls: u64,
    /// In a cluster messages go out after the answer: a key of the node where inboxes are heard, that no case uses.
    beside: Option<Key>,
    /// To the other primaries of a cluster.
    others: Vec<MultiplexedConnection>,
    _servers: Servers,
}

/// What runs as long as the subject.
#[expect(dead_code, reason = "they are kept, and never looked at")]
enum Servers {
    One(Server),
    Cluster(Cluster),
}

/// The script on a clock that stands still.
#[cfg(feature = "fuzz")]
pub(crate) struct StoppedScript {
    hash: String,
    /// The terms and the marker's name, where the store is strict.
    strict: Option<(Terms, &'static str)>,
    /// Whether its answers say since when a tenure stands: older versions' do not.
    pub(crate) tells_origins: bool,
}

impl RedisSubject {
    pub(crate) fn start() -> RedisSubject {
        RedisSubject::with(&[], |_| ())
    }

    /// On a server with these arguments; the adapter's settings are changed before it starts.
    pub(crate) fn with(arguments: &[&str], change: impl FnOnce(&mut RedisConfig)) -> RedisSubject {
        let server = Server::start(arguments);
        let (mut config, url) = (RedisConfig::new(server.url()), server.url());
        change(&mut config);
        RedisSubject::on(Servers::One(server), config, &[url], None)
    }

    /// A cluster of three primaries, with a replica each. All inboxes are heard at one of them, so that messages keep their order;
    /// the key of most cases is another one's.
    pub(crate) fn start_cluster() -> RedisSubject {
        let cluster = Cluster::start();
        let primaries = cluster.primaries();
        let owner = |name: &str| {
            let slot = cluster.slot_of(name);
            let owner = primaries.iter().copied().find(|number| cluster.has(*number, slot)).unwrap();
            (slot, owner)
        };
        let (_, of_key) = owner(&record(&escaped(&key())));
        let home = primaries.iter().copied().find(|number| *number != of_key).unwrap();
        for incarnation in [A, B, C, D] {
            let (slot, from) = owner(&inbox(incarnation));
            if from != home {
                cluster.move_slot(slot, from, home);
            }
        }
        let beside = (0..).map(|number| format!("beside {number}"));
        let beside = beside.into_iter().find(|key| owner(&record(key)).1 == home);
        let url = |number: &usize| format!("redis://127.0.0.1:{}", cluster.nodes()[*number].port());
        let others = primaries.iter().filter(|number| **number != home);
        let urls: Vec<String> = std::iter::once(&home).chain(others).map(url).collect();
        let mut config = RedisConfig::new(&urls[0]);
        config.mode = Mode::Cluster;
        RedisSubject::on(Servers::Cluster(cluster), config, &urls, Some(Key::new(&beside.unwrap()).unwrap()))
    }

    /// At the first of `urls` inboxes are heard.
    fn on(servers: Servers, config: RedisConfig, urls: &[String], beside: Option<Key>) -> RedisSubject {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (tap, inboxes) = mpsc::unbounded_channel();
        let (events, mut from_store) = mpsc::channel(1024);
        let (handle, admin, others) = runtime.block_on(async {
            let client = |url: &String| ::redis::Client::open(format!("{url}?protocol=resp3")).unwrap();
            let tapped = AsyncConnectionConfig::new().set_push_sender(tap);
            let mut admin =
                client(&urls[0]).get_multiplexed_async_connection_with_config(&tapped).await.unwrap();
            if beside.is_some() {
                for incarnation in [A, B, C, D] {
                    let mut subscribe = ::redis::cmd("SSUBSCRIBE");
                    subscribe.arg(inbox(incarnation));
                    let () = subscribe.query_async::<Value>(&mut admin).await.map(drop).unwrap();
                }
            } else {
                admin.psubscribe("sl:1:default:inbox:*").await.unwrap();
            }
            let mut others = Vec::new();
            for url in &urls[1..] {
                others.push(client(url).get_multiplexed_async_connection().await.unwrap());
            }
            let handle = RedisStore::start(config, Incarnation(1), events).unwrap();
            while !matches!(from_store.recv().await, Some(StoreEvent::Subscribed)) {}
            (handle, admin, others)
        });
        RedisSubject {
            runtime,
            admin,
            inboxes,
            handle,
            events: from_store,
            calls: 0,
            beside,
            others,
            _servers: servers,
        }
    }

    /// The record of a key as it stands in Redis.
    pub(crate) fn raw(&mut self, key: &str, space: Space) -> Option<Vec<u8>> {
        let name = format!("sl:1:default:{{{key}}}:{}", space.name());
        self.runtime.block_on(::redis::cmd("GET").arg(name).query_async(&mut self.admin)).unwrap()
    }

    /// How long Redis keeps it; zero if for ever, which it must not.
    pub(crate) fn time_to_live(&mut self, key: &str, space: Space) -> Duration {
        let name = format!("sl:1:default:{{{key}}}:{}", space.name());
        let millis: i64 = self.command(&[b"PTTL", name.as_bytes()]);
        Duration::from_millis(u64::try_from(millis).unwrap_or(0))
    }

    /// What became of an operation.
    pub(crate) fn outcome(&mut self, op: &Op) -> Outcome {
        self.calls += 1;
        let id = CallId(self.calls);
        self.handle.send(vec![Call { id, op: op.clone() }]);
        self.runtime.block_on(async {
            loop {
                match self.events.recv().await {
                    Some(StoreEvent::Answer { call, outcome }) if call == id => return outcome,
                    Some(StoreEvent::Pipeline { .. } | StoreEvent::Push(_) | StoreEvent::Warning(_)) => {}
                    other => panic!("instead of an answer: {other:?}"),
                }
            }
        })
    }

    /// Runs one command beside the adapter.
    pub(crate) fn command<T: ::redis::FromRedisValue>(&mut self, words: &[&[u8]]) -> T {
        let mut command = ::redis::Cmd::new();
        for word in words {
            command.arg(*word);
        }
        self.runtime.block_on(command.query_async(&mut self.admin)).unwrap()
    }

    /// The same at every primary of a cluster.
    fn everywhere<T: ::redis::FromRedisValue>(&mut self, word: &str) -> Vec<T> {
        let nodes = std::iter::once(&mut self.admin).chain(&mut self.others);
        let ask = |node| self.runtime.block_on(::redis::cmd(word).query_async(node)).unwrap();
        nodes.map(ask).collect()
    }

    /// Has Redis know a script on a clock that stands still.
    #[cfg(feature = "fuzz")]
    pub(crate) fn load(&mut self, program: &str, strict: Option<(Terms, &'static str)>) -> StoppedScript {
        let tells_origins = program.contains("origin");
        let program = sidelock_store::redis::fuzz::stopped(program);
        let hash = self.command(&[b"SCRIPT", b"LOAD", program.as_bytes()]);
        StoppedScript { hash, strict, tells_origins }
    }

    /// What the script does with an operation at this very instant, whatever Redis' own clock says.
    #[cfg(feature = "fuzz")]
    pub(crate) fn apply_at(
        &mut self,
        script: &StoppedScript,
        now: StoreTime,
        op: &Op,
    ) -> (sidelock_engine::store::Reply, Vec<Wake>) {
        use sidelock_store::redis::fuzz::{argument, instant, reply, strict_arguments};
        let name = |key: &Key| format!("sl:1:default:{{{}}}:{}", escaped(key), key.space().name());
        let mut names: Vec<String> =
            std::iter::once(op.key().clone()).chain(op.bound_to()).map(|key| name(&key)).collect();
        let mut arguments = match script.strict {
            Some((terms, marker)) => {
                names.push(marker.to_owned());
                strict_arguments(&terms, op).to_vec()
            }
            None => vec![argument(op)],
        };
        arguments.extend(instant(now));
        let count = names.len().to_string();
        let mut words: Vec<&[u8]> = vec![b"EVALSHA", script.hash.as_bytes(), count.as_bytes()];
        words.extend(names.iter().map(|name| name.as_bytes()));
        words.extend(arguments.iter().map(Vec::as_slice));
        let (at, mut answer): (u64, Vec<u8>) = self.command(&words);
        assert_eq!(at, now.0, "the clock stands still");
        if !script.tells_origins {
            add_origin(&mut answer);
        }
        (reply(&answer).unwrap_or_else(|| panic!("{op:?}: {answer:?}")), self.wakes())
    }

    /// What was published so far: an answer on the listening connection comes after everything published before.
    fn wakes(&mut self) -> Vec<Wake> {
        if let Some(key) = self.beside.clone() {
            // Answered together with what went out before it, or later.
            self.outcome(&Op::Peek { key });
        }
        let _: String = self.command(&[b"PING"]);
        std::iter::from_fn(|| self.inboxes.try_recv().ok()).filter_map(|info| wake(&info)).collect()
    }
}

impl Subject for RedisSubject {
    fn apply(&mut self, op: &Op) -> Done {
        match self.outcome(op) {
            Outcome::Applied { at, reply } => Done { at, reply, wakes: self.wakes() },
            other => panic!("{op:?}: {other:?}"),
        }
    }

    fn now(&mut self) -> StoreTime {
        let (seconds, micros): (u64, u64) = self.command(&[b"TIME"]);
        StoreTime(seconds * 1_000_000 + micros)
    }

    fn wait(&mut self, span: Duration) {
        self.runtime.block_on(async { tokio::time::sleep(span).await });
    }

    fn flush(&mut self) {
        let _: Vec<String> = self.everywhere("FLUSHALL");
    }

    fn keys(&mut self) -> usize {
        self.everywhere::<usize>("DBSIZE").into_iter().sum()
    }
}

fn inbox(incarnation: Incarnation) -> String {
    format!("sl:1:default:inbox:{incarnation}")
}

/// The record of a lock.
fn record(escaped: &str) -> String {
    format!("sl:1:default:{{{escaped}}}:lock")
}

fn escaped(key: &Key) -> String {
    let marks = [("%", "%25"), ("{", "%7B"), ("}", "%7D"), (":", "%3A")];
    marks.iter().fold(key.as_str().to_owned(), |text, (mark, escaped)| text.replace(mark, escaped))
}

/// A message of an inbox, read by hand from what `scripts/turn.lua` says about it.
fn wake(info: &PushInfo) -> Option<Wake> {
    let (channel, message) = match (&info.kind, info.data.as_slice()) {
        (PushKind::PMessage, [_, Value::BulkString(channel), Value::BulkString(message)])
        | (PushKind::SMessage, [Value::BulkString(channel), Value::BulkString(message)]) => {
            (channel, message)
        }
        _ => return None,
    };
    let channel = std::str::from_utf8(channel).unwrap();
    let to = Incarnation(u128::from_str_radix(channel.rsplit(':').next().unwrap(), 16).unwrap());
    let incarnation = Incarnation(u128::from_be_bytes(message[1..17].try_into().unwrap()));
    let ask = AskId { incarnation, seq: u64::from_le_bytes(message[17..25].try_into().unwrap()) };
    let more = match message[0] {
        3 => 8,
        6 => 2 + usize::from(u16::from_le_bytes(message[25..27].try_into().unwrap())),
        7 => 18 + usize::from(u16::from_le_bytes(message[41..43].try_into().unwrap())),
        _ => 0,
    };
    let (more, rest) = message[25..].split_at(more);
    let space = Space::from_letter(rest[0]).unwrap();
    let escaped = std::str::from_utf8(&rest[1..]).unwrap();
    let plain = escaped.replace("%7B", "{").replace("%7D", "}").replace("%3A", ":").replace("%25", "%");
    let key = Key::of(space, &plain).unwrap();
    let push = match message[0] {
        4 => Push::Changed { key },
        1 => Push::Offer { key, ask },
        2 => Push::Recall { key, ask },
        3 => {
            let free_in = Duration::from_micros(u64::from_le_bytes(more.try_into().unwrap()));
            Push::Busy { key, ask, free_in: Some(free_in).filter(|span| !span.is_zero()) }
        }
        5 => Push::Forced { key, tenure: ask },
        6 => Push::Inquired { key, more: more[2..].into(), inquiry: ask },
        7 => {
            let from = Incarnation(u128::from_be_bytes(more[..16].try_into().unwrap()));
            Push::Declared(Box::new(Declare { key, inquiry: ask, from, declarations: more[18..].into() }))
        }
        other => panic!("a push of kind {other}"),
    };
    Some(Wake { to, push })
}

/// Where today's answers say since when a tenure stands, an older version's say nothing: 0 stands for that.
#[cfg(feature = "fuzz")]
fn add_origin(answer: &mut Vec<u8>) {
    let at = match answer.first() {
        Some(1) => 13,
        Some(7) => 9,
        _ => return,
    };
    answer.splice(at..at, [0; 8]);
}
