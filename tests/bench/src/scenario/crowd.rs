//! Ten thousand sidecars at one Redis: idle, and with a held key each (B16).
//!
//! Of each sidecar there is only the part that Redis sees, the store's own adapter, all of them in this process: a connection, an
//! inbox, a sign of life, a record that is renewed. What is measured is Redis.

use super::weight::cpu;
use crate::Outcome;
use crate::figures::Figures;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sidelock_e2e::redis::Redis;
use sidelock_engine::store::{Ask, Call, CallId, Op, Outcome as Answer, REFUSE_AFTER, Renew, Reply};
use sidelock_engine::{AskId, Incarnation, Key, StoreTime, WHOLE};
use sidelock_store::redis::{RedisConfig, RedisHandle, RedisStore, StoreEvent};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

const SIZES: [usize; 2] = [1_000, 10_000];
/// So many connect at a time: more than wait in a socket's queue would be refused.
const AT_A_TIME: usize = 100;
/// How long Redis is watched.
const WATCHED: Duration = Duration::from_secs(10);
/// A tenure, and how often it is renewed.
const TTL: Duration = Duration::from_secs(10);
const RENEWALS: u32 = 3;
/// Renewals are spread over the time between two of them, as those of as many sidecars are.
const STEPS: u32 = 100;
/// Files that a process has open besides connections, generously.
const OTHER_FILES: u64 = 200;

/// What Redis sees of a sidecar.
struct Seen {
    handle: RedisHandle,
    events: mpsc::Receiver<StoreEvent>,
    number: usize,
}

/// B16.
pub(crate) async fn idle(figures: &mut Figures) -> Outcome {
    let most = SIZES[SIZES.len() - 1];
    let limit = getrlimit(Resource::Nofile);
    // Redis inherits it.
    setrlimit(Resource::Nofile, Rlimit { current: Some(most as u64 + OTHER_FILES), ..limit })?;
    let redis = Redis::with(&["--maxclients", &(most + 100).to_string()]);
    let empty = memory(&redis);
    let mut crowd: Vec<Seen> = Vec::new();
    for size in SIZES {
        while crowd.len() < size {
            join(&redis, &mut crowd, AT_A_TIME).await?;
        }
        let connected = memory(&redis);
        figures.add(format!("b16.connection@{size}"), (connected - empty) / size as f64);
        let watch = Watch::begin(&redis)?;
        tokio::time::sleep(WATCHED).await;
        watch.end(&redis, figures, "idle", size)?;
    }
    let connected = memory(&redis);
    hold(&redis, &mut crowd).await?;
    figures.add(format!("b16.key@{most}"), (memory(&redis) - connected) / most as f64);
    let watch = Watch::begin(&redis)?;
    renew(&mut crowd).await?;
    watch.end(&redis, figures, "holding", most)
}

async fn join(redis: &Redis, crowd: &mut Vec<Seen>, more: usize) -> Outcome {
    let first = crowd.len();
    let mut new = Vec::new();
    for number in first..first + more {
        let (tell, events) = mpsc::channel(64);
        let incarnation = Incarnation(number as u128 + 1);
        let handle = RedisStore::start(RedisConfig::new(redis.url()), incarnation, tell)?;
        new.push(Seen { handle, events, number });
    }
    for mut one in new {
        loop {
            match one.events.recv().await {
                Some(StoreEvent::Up { .. }) => {}
                Some(StoreEvent::Subscribed) => break,
                other => return Err(format!("sidecar {}: {other:?}", one.number).into()),
            }
        }
        crowd.push(one);
    }
    Ok(())
}

impl Seen {
    fn ask(&self) -> AskId {
        AskId { incarnation: Incarnation(self.number as u128 + 1), seq: 1 }
    }

    fn send(&self, op: Op) {
        self.handle.send(vec![Call { id: CallId(0), op }]);
    }

    async fn answer(&mut self) -> Outcome<Reply> {
        loop {
            match self.events.recv().await {
                Some(StoreEvent::Answer { outcome: Answer::Applied { reply, .. }, .. }) => return Ok(reply),
                Some(StoreEvent::Pipeline { .. }) => {}
                other => return Err(format!("sidecar {}: {other:?}", self.number).into()),
            }
        }
    }
}

fn key(number: usize) -> Outcome<Key> {
    Ok(Key::new(&format!("b16/{number}"))?)
}

/// Each takes a key of its own.
async fn hold(redis: &Redis, crowd: &mut [Seen]) -> Outcome {
    for some in crowd.chunks_mut(AT_A_TIME) {
        let now = clock(redis)?;
        for one in some.iter() {
            let ask = Ask {
                key: key(one.number)?,
                id: one.ask(),
                units: WHOLE,
                limit: WHOLE,
                ttl: TTL,
                entry_ttl: TTL,
                floor: 0,
                refuse_after: now + REFUSE_AFTER,
                give_back: None,
                upgrade: false,
                waiting_since: None,
            };
            one.send(Op::Ask(ask));
        }
        for one in some {
            match one.answer().await? {
                Reply::Granted(_) => {}
                other => return Err(format!("instead of a grant: {other:?}").into()),
            }
        }
    }
    Ok(())
}

/// Each renews what it holds, as often as sidecars do, for as long as is watched.
async fn renew(crowd: &mut [Seen]) -> Outcome {
    let interval = TTL / RENEWALS;
    let step = interval / STEPS;
    let chunk = crowd.len().div_ceil(STEPS as usize);
    let begun = Instant::now();
    let mut steps = 0;
    while begun.elapsed() < WATCHED {
        for some in crowd.chunks_mut(chunk) {
            for one in some.iter() {
                let renew =
                    Renew { key: key(one.number)?, tenure: one.ask(), ttl: TTL, floor: 0, top_up: false };
                one.send(Op::Renew(renew));
            }
            for one in some.iter_mut() {
                if let reply @ Reply::Gone = one.answer().await? {
                    return Err(format!("a tenure of sidecar {} was {reply:?}", one.number).into());
                }
            }
            steps += 1;
            tokio::time::sleep_until((begun + step * steps).into()).await;
        }
    }
    Ok(())
}

fn clock(redis: &Redis) -> Outcome<StoreTime> {
    let said = redis.command(&["TIME"]);
    let (seconds, micros) = said.split_once('\n').ok_or("TIME has two parts")?;
    Ok(StoreTime(seconds.parse::<u64>()? * 1_000_000 + micros.parse::<u64>()?))
}

fn memory(redis: &Redis) -> f64 {
    redis.info("memory", "used_memory") as f64
}

/// Redis at work.
struct Watch {
    begun: Instant,
    commands: u64,
    used: Duration,
}

impl Watch {
    fn begin(redis: &Redis) -> Outcome<Watch> {
        let commands = redis.info("stats", "total_commands_processed");
        Ok(Watch { begun: Instant::now(), commands, used: cpu(redis.running().id())? })
    }

    /// Commands a second and sidecar, those inside scripts included; and how much of a processor they took.
    fn end(self, redis: &Redis, figures: &mut Figures, name: &str, size: usize) -> Outcome {
        let seconds = self.begun.elapsed().as_secs_f64();
        let commands = (redis.info("stats", "total_commands_processed") - self.commands) as f64;
        let used = (cpu(redis.running().id())? - self.used).as_secs_f64();
        figures.add(format!("b16.{name}.commands@{size}"), commands / seconds / size as f64);
        figures.add(format!("b16.{name}.cpu@{size}"), used / seconds * 100.0);
        Ok(())
    }
}
