//! A look at a Redis before, or while, it holds locks.
//!
//! Owns what is asked of it. It changes nothing there: the one script it loads only asks whether the user may do what
//! Sidelock does. Must not judge: `fitness` does.

use super::address;
use super::connect::{Connector, reason};
use super::dial::Wire;
use super::fitness::{self, Info, Settings};
use super::names::Names;
use super::{Mode, RedisConfig};
use crate::finding::Finding;
use redis::aio::MultiplexedConnection;
use redis::{RedisError, RedisResult, cmd};
use sidelock_engine::{Incarnation, Key};
use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Round trips that are measured.
const ROUND_TRIPS: usize = 9;
/// What a user who may not run INFO leaves unknown.
const UNCHECKED: &str = "version, topology, eviction, persistence, replicas and clients";

/// What is to hold when Redis loses data (S6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
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

/// Looks at the Redis that `config` names, for locks with this guarantee. Takes a few round trips, or the connection's time
/// limit.
pub async fn survey(config: &RedisConfig, wanted: Wanted) -> Survey {
    let names = Names::new(&config.prefix, &config.namespace);
    let needs = Needs::new(&names, &config.mode);
    let user = user_of(config);
    let acl_rule = needs.rule(user.as_deref(), &names);
    let mut findings = Vec::new();
    match open(config, &mut findings).await {
        Ok((mut line, reachable)) => {
            findings.push(reachable);
            look_around(&mut line.commands, config, wanted, &needs, &acl_rule, &mut findings).await;
        }
        Err(unreachable) => findings.push(unreachable),
    }
    findings.push(fitness::guarantee(wanted));
    Survey { findings, acl_rule }
}

/// A connection, and that there is one; or why not.
async fn open(config: &RedisConfig, findings: &mut Vec<Finding>) -> Result<(Wire, Finding), Finding> {
    let connector = Connector::new(config, Incarnation(0))
        .map_err(|error| Finding::fail("redis", error.to_string(), "correct it, then ask again"))?;
    if let (Some(sentinels), Mode::Sentinel(told)) = (connector.sentinels(), &config.mode) {
        findings.push(fitness::sentinels(&told.service, &sentinels.census().await));
    }
    let line = connector.visit().await.map_err(|why| {
        Finding::fail(
            "redis",
            format!("can not be used: {why}"),
            "nothing more was looked at: ask again then",
        )
    })?;
    let tls = if connector.has_tls() { ", over TLS" } else { "" };
    Ok((line, Finding::ok("redis", format!("is reachable{tls}"))))
}

async fn look_around(
    wire: &mut MultiplexedConnection,
    config: &RedisConfig,
    wanted: Wanted,
    needs: &Needs,
    rule: &str,
    findings: &mut Vec<Finding>,
) {
    match cmd("INFO").query_async::<String>(wire).await {
        Ok(text) => {
            let info = Info::read(&text);
            findings.extend([fitness::version(&info), fitness::topology(&info, &config.mode)]);
            if fitness::is_sentinel(&info) {
                // It has no keys, no scripts and no clock to ask for.
                return;
            }
            let settings = settings(wire).await;
            findings.extend([fitness::eviction(&info), fitness::persistence(&info, &settings, wanted)]);
            findings.extend([fitness::replication(&info, &settings), fitness::clients(&info)]);
        }
        Err(error) => findings.push(Finding::warn(
            "info",
            format!("{UNCHECKED} stay unchecked: {}", reason(&error)),
            "let this user run INFO",
        )),
    }
    let user: String = cmd("ACL").arg("WHOAMI").query_async(wire).await.unwrap_or_else(|_| {
        // It may not ask.
        user_of(config).unwrap_or_else(|| "of this connection".into())
    });
    findings.push(needs.ask(wire).await.map_or_else(
        |error| Finding::fail("rights", reason(&error), format!("let an operator of Redis run: {rule}")),
        |answer| fitness::rights(&user, &answer.denied, answer.may_too_much, rule),
    ));
    match trips(wire).await {
        Ok(trips) => findings.extend(trips.judged(config.response_timeout)),
        Err(error) => findings.push(Finding::fail("clock", reason(&error), "let this user run TIME")),
    }
}

/// The user as far as we know without asking.
fn user_of(config: &RedisConfig) -> Option<String> {
    let in_url = || match (&config.mode, config.urls.as_slice()) {
        (Mode::Single, [url]) => Some(address::read(url).ok()?.1.username()?.to_owned()),
        _ => None,
    };
    config.access.credentials.username.clone().or_else(in_url)
}

/// What only CONFIG GET tells. A user for Sidelock need not be allowed to ask.
async fn settings(wire: &mut MultiplexedConnection) -> Settings {
    let names = ["save", "appendfsync", "min-replicas-to-write"];
    let told: RedisResult<HashMap<String, String>> =
        cmd("CONFIG").arg("GET").arg(&names).query_async(wire).await;
    Settings(told.unwrap_or_default())
}

/// Everything that a sidecar says to Redis, as arguments that name this namespace.
struct Needs {
    commands: Vec<Vec<String>>,
}

/// Asks whether the user may run the commands in ARGV, which holds each after its length. Answers the numbers of those that
/// are denied. Older servers than Sidelock needs do not know the question.
const MAY_I: &str = "#!lua flags=no-writes
local denied, at, number = {}, 1, 0
while at <= #ARGV do
    local length = tonumber(ARGV[at])
    if not redis.acl_check_cmd(unpack(ARGV, at + 1, at + length)) then denied[#denied + 1] = number end
    at, number = at + 1 + length, number + 1
end
return denied";

/// What nobody needs who only locks.
const FAR_TOO_MUCH: &str = "flushall";

/// What a user may do.
struct Rights {
    /// Of what is needed, the commands that it may not run, or not on our keys and channels.
    denied: Vec<String>,
    may_too_much: bool,
}

impl Needs {
    fn new(names: &Names, mode: &Mode) -> Needs {
        let record = names.record(&Key::new("doctor").expect("is a key"));
        let inbox = names.inbox(Incarnation(0));
        let commands: [&[&str]; 10] = [
            &["ping"],
            &["time"],
            &["get", &record],
            &["set", &record, "", "px", "1"],
            &["del", &record],
            &["publish", &inbox, ""],
            &["subscribe", &inbox],
            &["script", "load", ""],
            &["evalsha", "0", "1", &record],
            &["scan", "0"],
        ];
        // Whoever sentinels name is asked what it is.
        let role: &[&[&str]] = if let Mode::Sentinel(_) = mode { &[&["role"]] } else { &[] };
        let owned = |words: &&[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Needs { commands: commands.iter().chain(role).map(owned).collect() }
    }

    async fn ask(&self, wire: &mut MultiplexedConnection) -> RedisResult<Rights> {
        let sha: String = cmd("SCRIPT").arg("LOAD").arg(MAY_I).query_async(wire).await?;
        let mut question = cmd("EVALSHA");
        question.arg(sha).arg(0);
        for command in &self.commands {
            question.arg(command.len()).arg(command);
        }
        question.arg(1).arg(FAR_TOO_MUCH);
        let denied: Vec<usize> = question.query_async(wire).await?;
        let may_too_much = !denied.contains(&self.commands.len());
        let name = |at: usize| self.commands.get(at).map(|words| words[0].to_uppercase());
        Ok(Rights { denied: denied.into_iter().filter_map(name).collect(), may_too_much })
    }

    /// The command that makes a user with these rights. INFO lets it check what it runs on, SCAN list the fleet's keys; the
    /// rest is how a connection introduces itself.
    fn rule(&self, user: Option<&str>, names: &Names) -> String {
        let (keys, channels) = names.patterns();
        let named = self.commands.iter().map(|words| match words[0].as_str() {
            "script" => "+script|load".to_owned(),
            command => format!("+{command}"),
        });
        let commands: Vec<_> = named.chain(["+info", "+hello", "+select"].map(str::to_owned)).collect();
        let user = user.unwrap_or("sidelock");
        format!(
            "ACL SETUSER {user} on >PASSWORD resetkeys ~{keys} resetchannels &{channels} -@all {}",
            commands.join(" ")
        )
    }
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
