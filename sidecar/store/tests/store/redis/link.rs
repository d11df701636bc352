//! An adapter under test: what is sent to it, and what it says.

use super::server::Server;
use sidelock_engine::store::{Ask, Call, CallId, Fault, Op, Outcome, REFUSE_AFTER, Renew, Reply, Return};
use sidelock_engine::{AskId, Incarnation, Key, StoreTime, WHOLE};
use sidelock_store::redis::{RedisConfig, RedisHandle, RedisStore, StoreEvent};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Nothing here takes as long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// An adapter with its events.
pub(crate) struct Link {
    pub(crate) incarnation: Incarnation,
    pub(crate) handle: RedisHandle,
    pub(crate) events: mpsc::Receiver<StoreEvent>,
    pub(crate) at: StoreTime,
    next: u64,
}

impl Link {
    /// Not connected yet.
    pub(crate) fn start(config: RedisConfig, n: u128) -> Link {
        let incarnation = Incarnation(n);
        let (sender, events) = mpsc::channel(65_536);
        let handle = RedisStore::start(config, incarnation, sender).unwrap();
        Link { incarnation, handle, events, at: StoreTime(0), next: 0 }
    }

    /// Connected, and its inbox is heard.
    pub(crate) async fn up(server: &Server, n: u128) -> Link {
        let mut link = Link::start(RedisConfig::new(server.url()), n);
        link.await_up().await;
        link
    }

    /// The next one.
    pub(crate) async fn event(&mut self) -> StoreEvent {
        timeout(PATIENCE, self.events.recv()).await.expect("an event in time").expect("the task runs")
    }

    /// Until it is connected and its inbox is heard.
    pub(crate) async fn await_up(&mut self) {
        loop {
            match self.event().await {
                StoreEvent::Up { at } => self.at = at,
                StoreEvent::Subscribed => return,
                StoreEvent::Down { .. } | StoreEvent::Warning(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Until the connection is lost, or refused; why.
    pub(crate) async fn await_down(&mut self) -> String {
        loop {
            if let StoreEvent::Down { reason } = self.event().await {
                return reason;
            }
        }
    }

    /// An ask for the whole key.
    pub(crate) fn ask(&self, key: &str) -> Op {
        Op::Ask(Ask {
            key: Key::new(key).unwrap(),
            id: AskId { incarnation: self.incarnation, seq: 1 },
            units: WHOLE,
            limit: WHOLE,
            ttl: Duration::from_secs(10),
            entry_ttl: Duration::from_secs(3),
            floor: 0,
            refuse_after: self.at + REFUSE_AFTER * 100,
            give_back: None,
            upgrade: false,
            waiting_since: None,
        })
    }

    /// A renewal of what [`Link::ask`] asked for.
    pub(crate) fn renew(&self, key: &str) -> Op {
        Op::Renew(Renew {
            key: Key::new(key).unwrap(),
            tenure: AskId { incarnation: self.incarnation, seq: 1 },
            ttl: Duration::from_secs(10),
            floor: 0,
            top_up: true,
        })
    }

    /// A return of it.
    pub(crate) fn give_back(&self, key: &str) -> Op {
        Op::Return(Return {
            key: Key::new(key).unwrap(),
            tenure: AskId { incarnation: self.incarnation, seq: 1 },
            keep: 0,
            issued: 0,
            tombstone: None,
        })
    }

    /// Sends in one go.
    pub(crate) fn send(&mut self, ops: Vec<Op>) -> Vec<CallId> {
        let mut call = |op| {
            self.next += 1;
            Call { id: CallId(self.next), op }
        };
        let calls: Vec<Call> = ops.into_iter().map(&mut call).collect();
        let ids = calls.iter().map(|call| call.id).collect();
        self.handle.send(calls);
        ids
    }

    /// Sends in one go; the outcomes in the order of the operations, and no second one.
    pub(crate) async fn all(&mut self, ops: Vec<Op>) -> Vec<Outcome> {
        let ids = self.send(ops);
        let mut outcomes = BTreeMap::new();
        while outcomes.len() < ids.len() {
            if let StoreEvent::Answer { call, outcome } = self.event().await {
                assert!(ids.contains(&call));
                assert_eq!(outcomes.insert(call, outcome), None, "answered twice");
            }
        }
        outcomes.into_values().collect()
    }

    /// Sends one; its outcome.
    pub(crate) async fn one(&mut self, op: Op) -> Outcome {
        self.all(vec![op]).await.remove(0)
    }
}

/// It is a tenure.
pub(crate) fn granted(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Applied { reply: Reply::Granted(_), .. })
}

/// It ran.
pub(crate) fn applied(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Applied { .. })
}

/// Redis refused it with this code, and nothing ran.
#[track_caller]
pub(crate) fn assert_unready(outcome: &Outcome, code: &str) {
    let so = matches!(outcome, Outcome::NotApplied(Fault::Unready(text)) if text.starts_with(code));
    assert!(so, "{outcome:?} is not {code}");
}

/// A connection beside the adapter.
pub(crate) async fn admin(server: &Server) -> ::redis::aio::MultiplexedConnection {
    let client = ::redis::Client::open(server.url()).unwrap();
    // Some commands take seconds.
    let config = ::redis::AsyncConnectionConfig::new().set_response_timeout(Some(PATIENCE));
    client.get_multiplexed_async_connection_with_config(&config).await.unwrap()
}

/// Runs a command of these words.
pub(crate) async fn command<T: ::redis::FromRedisValue>(server: &Server, words: &str) -> T {
    let mut command = ::redis::Cmd::new();
    for word in words.split(' ') {
        command.arg(word);
    }
    command.query_async(&mut admin(server).await).await.unwrap()
}
