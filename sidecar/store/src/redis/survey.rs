//! A look at a Redis before, or while, it holds locks.
//!
//! Owns what is asked of it. It changes nothing there: the one script it loads only asks whether the user may do what
//! Sidelock does. Must not judge: `fitness` does.

use super::address;
use super::cluster;
use super::connect::{Connector, reason};
use super::fitness::{self, Info, Settings};
use super::rights::Needs;
use super::strict::{self, Patience, Replicas};
use super::{Mode, RedisConfig, RedisConfigError};
use crate::finding::{Finding, Verdict};
use redis::aio::MultiplexedConnection;
use redis::{RedisError, RedisResult, cmd};
use sidelock_engine::Incarnation;
use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Round trips that are measured.
const ROUND_TRIPS: usize = 9;
/// What a user who may not run INFO leaves unknown.
const UNCHECKED: &str = "version, topology, eviction, persistence, replicas and clients";

/// What is to hold when Redis loses data (S6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Holders of before and after may overlap for at most one lease.
    Bounded,
    /// They never overlap.
    Strict,
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Survey {
    /// In the order in which it was looked at.
    pub findings: Vec<Finding>,
    /// The command that makes a user who may do what Sidelock needs, and nothing else.
    pub acl_rule: String,
}

/// Looks at the Redis that `config` names. Takes a few round trips, or the connection's time limit.
pub async fn survey(config: &RedisConfig) -> Survey {
    let wanted = if config.strict.is_some() { Wanted::Strict } else { Wanted::Bounded };
    let (user, db) = in_urls(config);
    let user = config.access.credentials.username.clone().or(user);
    let needs = Needs::new(config, db, user);
    let mut findings = match config.mode {
        Mode::Single | Mode::Sentinel(_) => look(config, wanted, &needs).await,
        Mode::Cluster => cluster::survey::look(config, wanted, &needs).await,
    };
    if wanted == Wanted::Bounded {
        findings.push(fitness::bounded());
    }
    Survey { findings, acl_rule: needs.rule }
}

/// At a server.
async fn look(config: &RedisConfig, wanted: Wanted, needs: &Needs) -> Vec<Finding> {
    let connector = match Connector::new(config, Incarnation(0)) {
        Ok(connector) => connector,
        Err(error) => return vec![misconfigured(&error)],
    };
    let mut findings = Vec::new();
    if let (Some(sentinels), Mode::Sentinel(told)) = (connector.sentinels(), &config.mode) {
        findings.push(fitness::sentinels(&told.service, &sentinels.census().await));
    }
    match connector.visit().await {
        Ok(mut line) => {
            findings.push(reachable(connector.has_tls()));
            findings.extend(look_around(&mut line.commands, config, wanted, needs).await);
        }
        Err(why) => findings.push(unreachable(&why)),
    }
    findings
}

pub(super) fn misconfigured(error: &RedisConfigError) -> Finding {
    Finding::fail("redis", error.to_string(), "correct it, then ask again")
}

pub(super) fn unreachable(why: &str) -> Finding {
    Finding::fail(
        "redis",
        format!("can not be used: {why}"),
        "put right what it says; where it does not run or can not be reached from here, start it or correct its address. Nothing more was looked at",
    )
}

pub(super) fn reachable(tls: bool) -> Finding {
    let tls = if tls { ", over TLS" } else { "" };
    Finding::ok("redis", format!("is reachable{tls}"))
}

/// What one server is like.
pub(super) async fn look_around(
    wire: &mut MultiplexedConnection,
    config: &RedisConfig,
    wanted: Wanted,
    needs: &Needs,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    match cmd("INFO").query_async::<String>(wire).await {
        Ok(text) => {
            let info = Info::read(&text);
            findings.extend([fitness::version(&info), fitness::topology(&info, &config.mode)]);
            if fitness::is_sentinel(&info) {
                // It has no keys, no scripts and no clock to ask for.
                return findings;
            }
            let settings = settings(wire).await;
            let eviction = fitness::eviction(&info);
            let keeps = if eviction.verdict == Verdict::Ok { Ok(()) } else { Err(eviction.sentence()) };
            findings.extend([eviction, fitness::persistence(&info, &settings, wanted)]);
            if !fitness::is_replica(&info) {
                findings.push(fitness::replication(&info, &settings));
            }
            findings.push(fitness::clients(&info));
            if let Some(longest) = config.strict {
                let replicas = Replicas::of(&info, &settings, &config.mode);
                let replicas = replicas.and_then(|replicas| keeps.map(|()| replicas));
                findings.push(strict::finding(replicas, longest, &Patience::of(config)));
            }
        }
        Err(error) => findings.push(Finding::warn(
            "info",
            format!("{UNCHECKED} stay unchecked: {}", reason(&error)),
            "let this user run INFO",
        )),
    }
    findings.push(needs.examine(wire).await.unwrap_or_else(|error| {
        Finding::fail("rights", reason(&error), format!("let an operator of Redis run: {}", needs.rule))
    }));
    match trips(wire).await {
        Ok(trips) => findings.extend(trips.judged(config.response_timeout)),
        Err(error) => findings.push(Finding::fail("clock", reason(&error), "let this user run TIME")),
    }
    findings
}

/// What the addresses say of the server that keeps the locks: a user, and the database.
fn in_urls(config: &RedisConfig) -> (Option<String>, i64) {
    let first = config.urls.first().and_then(|url| address::read(url).ok());
    let Some((_, settings)) = first else { return (None, 0) };
    let user = match config.mode {
        Mode::Single | Mode::Cluster => settings.username().map(str::to_owned),
        // One that is named there is a user of the sentinels.
        Mode::Sentinel(_) => None,
    };
    // A cluster has no other database.
    let db = if let Mode::Cluster = config.mode { 0 } else { settings.db() };
    (user, db)
}

/// What only CONFIG GET tells. A user for Sidelock need not be allowed to ask.
async fn settings(wire: &mut MultiplexedConnection) -> Settings {
    let [awaited, lag] = strict::SETTINGS;
    let names = ["save", "appendfsync", awaited, lag];
    let told: RedisResult<HashMap<String, String>> =
        cmd("CONFIG").arg("GET").arg(&names).query_async(wire).await;
    Settings(told.unwrap_or_default())
}

/// Round trips, each with what Redis' clock said in it.
struct Trips(Vec<(Duration, i64)>);

async fn trips(wire: &mut MultiplexedConnection) -> Result<Trips, RedisError> {
    let mut trips = Vec::with_capacity(ROUND_TRIPS);
    for _ in 0..ROUND_TRIPS {
        let (sent, begun) = (SystemTime::now(), Instant::now());
        let (seconds, micros): (i64, i64) = cmd("TIME").query_async(wire).await?;
        let took = begun.elapsed();
        let middle = sent.duration_since(UNIX_EPOCH).unwrap_or_default() + took / 2;
        let ours = i64::try_from(middle.as_micros()).unwrap_or(i64::MAX);
        trips.push((took, seconds * 1_000_000 + micros - ours));
    }
    trips.sort_unstable();
    Ok(Trips(trips))
}

impl Trips {
    /// The shortest trip tells the clocks' difference best: Redis read its clock somewhere within it.
    fn judged(&self, patience: Duration) -> Vec<Finding> {
        let Some(((shortest, ahead), (longest, _))) = self.0.first().zip(self.0.last()) else {
            return Vec::new();
        };
        let (middle, _) = self.0[self.0.len() / 2];
        vec![fitness::latency(middle, *longest, patience), fitness::clock(*ahead, *shortest / 2)]
    }
}
