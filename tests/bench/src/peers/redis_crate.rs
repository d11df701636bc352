//! What a user would write without us: the `redis` crate, SET NX PX, compare and delete.

use super::TTL;
use crate::Outcome;
use crate::load::Lock;
use redis::Script;
use redis::aio::MultiplexedConnection;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Deletes the key if it still holds our token.
const COMPARE_AND_DELETE: &str =
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0";

/// A connection that any number of tasks share.
#[derive(Clone)]
pub(crate) struct Connection {
    connection: MultiplexedConnection,
    delete: Rc<Script>,
}

impl Connection {
    /// Connects.
    pub(crate) async fn open(url: &str) -> Outcome<Connection> {
        let connection = redis::Client::open(url)?.get_multiplexed_async_connection().await?;
        Ok(Connection { connection, delete: Rc::new(Script::new(COMPARE_AND_DELETE)) })
    }

    /// One small command and its answer.
    pub(crate) async fn ping(&mut self) -> Outcome {
        let pong: String = redis::cmd("PING").query_async(&mut self.connection).await?;
        (pong == "PONG").then_some(()).ok_or_else(|| format!("PING was answered {pong}").into())
    }

    /// A lock on this key.
    pub(crate) fn lock(&self, key: impl Into<String>) -> Plain {
        Plain { connection: self.clone(), key: key.into() }
    }
}

/// A lock on one key. A lost try is repeated at once: the most grants that polling can have, at the price of a busy Redis.
pub(crate) struct Plain {
    connection: Connection,
    key: String,
}

impl Lock for Plain {
    /// The token in the key.
    type Lease = u64;

    async fn acquire(&mut self) -> Outcome<u64> {
        static TOKENS: AtomicU64 = AtomicU64::new(1);
        let token = TOKENS.fetch_add(1, Ordering::Relaxed);
        loop {
            let mut set = redis::cmd("SET");
            set.arg(&self.key).arg(token).arg("NX").arg("PX").arg(TTL.as_millis() as u64);
            let answer: Option<String> = set.query_async(&mut self.connection.connection).await?;
            if answer.is_some() {
                return Ok(token);
            }
        }
    }

    async fn release(&mut self, token: u64) -> Outcome {
        let Connection { connection, delete } = &mut self.connection;
        Ok(delete.key(&self.key).arg(token).invoke_async(connection).await?)
    }
}

/// A value under a key, as the crate stores one: what it takes to write and to read it.
pub(crate) struct Stored {
    connection: MultiplexedConnection,
    key: String,
    value: &'static [u8],
}

impl Stored {
    /// On this connection.
    pub(crate) fn new(connection: &Connection, key: String, value: &'static [u8]) -> Stored {
        Stored { connection: connection.connection.clone(), key, value }
    }
}

impl Lock for Stored {
    type Lease = ();

    async fn acquire(&mut self) -> Outcome {
        Ok(redis::cmd("SET").arg(&self.key).arg(self.value).query_async(&mut self.connection).await?)
    }

    async fn release(&mut self, (): ()) -> Outcome {
        let read: Vec<u8> = redis::cmd("GET").arg(&self.key).query_async(&mut self.connection).await?;
        (read == self.value).then_some(()).ok_or_else(|| "GET read what was not SET".into())
    }
}
