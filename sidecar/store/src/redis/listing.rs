//! All keys of a namespace that somebody holds or waits for: found only when a person asks.
//!
//! Owns the walk through Redis' names and its steps. Nothing here holds Redis up: a step looks through a few hundred names,
//! the next is only asked for when it is answered, and what others send goes between. Must not know what is shown of it.
//! Walks one server; a cluster has one of each primary.

use super::cluster::slots::redirect_of;
use super::connect::{Connection, reason};
use super::names::Names;
use super::pipeline::Pipeline;
use crate::listing::{Cut, KEYS_LISTED_MAX, Listing, NAMES_SCANNED_MAX};
use redis::RedisError;
use sidelock_engine::Key;
use sidelock_engine::store::{Call, CallId, Fault, Op, Outcome, Peeked, Reply};
use std::sync::Arc;
use tokio::sync::oneshot;

/// Names that one step looks through: Redis does nothing else for about 0.1 ms.
const NAMES_PER_STEP: usize = 500;
/// Keys looked at in one pipeline: a crowd's answer has 16 KiB, and locks' calls wait behind it on the same line.
const PEEKED_AT_ONCE: usize = 64;

/// A question, and where its answer goes: the listing, or why there is none.
#[derive(Debug)]
pub(super) struct Wish {
    /// Only keys that begin with this.
    pub(super) prefix: String,
    pub(super) answer: oneshot::Sender<Result<Listing, String>>,
}

/// Answers beside all else that the connection does.
pub(super) fn start(connection: &Connection, wish: Wish) {
    let (wire, names) = (connection.wire.clone(), connection.names.clone());
    let (scripts, sharded) = (connection.scripts.clone(), connection.sharded);
    tokio::spawn(async move {
        let Wish { prefix, mut answer } = wish;
        let walk = Walk { wire, names, scripts, sharded };
        tokio::select! {
            listing = walk.list(&prefix) => drop(answer.send(listing)),
            // Nobody waits for it any more.
            () = answer.closed() => {}
        }
    });
}

struct Walk {
    wire: redis::aio::MultiplexedConnection,
    names: Names,
    scripts: Arc<super::connect::Scripts>,
    sharded: bool,
}

impl Walk {
    async fn list(mut self, prefix: &str) -> Result<Listing, String> {
        let pattern = self.names.records_of(prefix);
        let mut listing = Listing::default();
        let mut cursor = b"0".to_vec();
        for _ in 0..NAMES_SCANNED_MAX / NAMES_PER_STEP {
            let found: Vec<Vec<u8>>;
            (cursor, found) = self.step(&cursor, &pattern).await.map_err(|error| reason(&error))?;
            let key = |name: &Vec<u8>| self.names.key_of(std::str::from_utf8(name).ok()?);
            // A name may be found twice.
            let keys: Vec<Key> =
                found.iter().filter_map(key).filter(|key| !listing.keys.contains_key(key)).collect();
            for few in keys.chunks(PEEKED_AT_ONCE) {
                listing.keys.extend(self.peek(few).await?);
            }
            if listing.keys.len() > KEYS_LISTED_MAX {
                while listing.keys.len() > KEYS_LISTED_MAX {
                    listing.keys.pop_last();
                }
                listing.cut = Some(Cut::Keys);
                return Ok(listing);
            }
            if cursor == b"0" {
                return Ok(listing);
            }
        }
        listing.cut = Some(Cut::Names);
        Ok(listing)
    }

    async fn step(&mut self, cursor: &[u8], pattern: &str) -> Result<(Vec<u8>, Vec<Vec<u8>>), RedisError> {
        let mut scan = redis::cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(NAMES_PER_STEP);
        scan.query_async(&mut self.wire).await
    }

    /// Those of the keys that somebody holds or waits for.
    async fn peek(&self, keys: &[Key]) -> Result<Vec<(Key, Peeked)>, String> {
        let call =
            |(number, key): (u64, &Key)| Call { id: CallId(number), op: Op::Peek { key: key.clone() } };
        let calls: Arc<[Call]> = (0..).zip(keys).map(call).collect();
        let send =
            |pipeline: Pipeline| pipeline.send(self.wire.clone(), self.names.clone(), self.scripts.clone());
        let pipeline = Pipeline { calls, sharded: self.sharded, ..Pipeline::default() };
        let mut answered = send(pipeline).await;
        if !answered.again.is_empty() && answered.lost.is_none() {
            let (calls, reload) = (answered.again.into(), answered.reload);
            let pipeline =
                Pipeline { calls, reload, again: true, sharded: self.sharded, ..Pipeline::default() };
            let mut again = send(pipeline).await;
            again.outcomes.append(&mut answered.outcomes);
            answered = again;
        }
        if let Some(why) = answered.lost {
            return Err(why);
        }
        let mut seen: Vec<Option<Peeked>> = keys.iter().map(|_| None).collect();
        for (CallId(number), outcome) in answered.outcomes {
            let record = match outcome {
                Outcome::Applied { reply: Reply::Record(record), .. } => record,
                // Its slot has moved: who has it now lists it, or nobody does for a moment.
                Outcome::NotApplied(Fault::Unready(why)) if redirect_of(&why).is_some() => continue,
                // Who holds a key is not known then, which is not that nobody does.
                Outcome::NotApplied(Fault::Unready(why)) => return Err(why),
                // A record that can not be read is nobody's: what reads it to use it says so.
                _ => continue,
            };
            if let Some(slot) = usize::try_from(number).ok().and_then(|number| seen.get_mut(number)) {
                *slot = Some(record).filter(|record| !record.tenures.is_empty() || !record.queue.is_empty());
            }
        }
        Ok(keys.iter().zip(seen).filter_map(|(key, record)| Some((key.clone(), record?))).collect())
    }
}
