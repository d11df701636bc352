//! What a user would write without us: the `redis` crate, SET NX PX, compare and delete.

use crate::measure::Latency;
use redis::aio::MultiplexedConnection;
use redis::{RedisResult, Script};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Deletes the key if it still holds our token.
const COMPARE_AND_DELETE: &str =
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0";
const TTL_MS: u64 = 10_000;

/// A connection that any number of tasks share.
#[derive(Clone)]
pub(crate) struct Peer {
    connection: MultiplexedConnection,
    delete: Rc<Script>,
}

impl Peer {
    /// Connects.
    pub(crate) async fn connect(url: &str) -> RedisResult<Peer> {
        let connection = redis::Client::open(url)?.get_multiplexed_async_connection().await?;
        Ok(Peer { connection, delete: Rc::new(Script::new(COMPARE_AND_DELETE)) })
    }

    /// One try; true if it is ours now.
    pub(crate) async fn acquire(&mut self, key: &str, token: u64) -> RedisResult<bool> {
        let mut set = redis::cmd("SET");
        set.arg(key).arg(token).arg("NX").arg("PX").arg(TTL_MS);
        let answer: Option<String> = set.query_async(&mut self.connection).await?;
        Ok(answer.is_some())
    }

    /// Gives it back.
    pub(crate) async fn release(&mut self, key: &str, token: u64) -> RedisResult<()> {
        self.delete.key(key).arg(token).invoke_async(&mut self.connection).await
    }

    /// Acquires and releases one key for `span`, nobody else there.
    pub(crate) async fn cycles(mut self, key: String, span: Duration) -> RedisResult<Latency> {
        let mut latency = Latency::default();
        let end = Instant::now() + span;
        let mut token = 0;
        while Instant::now() < end {
            let start = Instant::now();
            token += 1;
            self.acquire(&key, token).await?;
            self.release(&key, token).await?;
            latency.add(start.elapsed());
        }
        Ok(latency)
    }

    /// Wins the key again and again against others who do the same, for `span`; how long each win took. A lost try is
    /// repeated at once: the most grants that polling can have, at the price of a busy Redis.
    pub(crate) async fn contend(mut self, key: String, seed: u64, span: Duration) -> RedisResult<Latency> {
        let mut latency = Latency::default();
        let end = Instant::now() + span;
        let mut token = seed << 32;
        loop {
            let start = Instant::now();
            token += 1;
            while !self.acquire(&key, token).await? {
                if Instant::now() >= end {
                    return Ok(latency);
                }
            }
            latency.add(start.elapsed());
            self.release(&key, token).await?;
            if Instant::now() >= end {
                return Ok(latency);
            }
        }
    }
}
