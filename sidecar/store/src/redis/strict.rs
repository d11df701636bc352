//! What makes a strict store of a Redis (P20): what it is told with each call, and whether it is set up so that the promise
//! holds.
//!
//! Owns the terms of this sidecar, the marker's bytes, and the words for what does not meet them. Must not know what follows from
//! them: that is `scripts/strict.lua`.

use super::connect::{Scripts, reason};
use super::fitness::{Info, Settings};
use super::names::Names;
use super::{Mode, RedisConfig};
use crate::finding::Finding;
use crate::strict::Terms;
use redis::aio::MultiplexedConnection;
use redis::{RedisResult, cmd};
use std::collections::HashMap;
use std::time::Duration;

/// What CONFIG GET must tell.
pub(super) const SETTINGS: [&str; 2] = ["min-replicas-to-write", "min-replicas-max-lag"];
/// A replica's lag is counted in whole seconds, once a second (`replicationCron`): so much later than its limit says a
/// primary may still take it for near.
const COUNTED_LATE: Duration = Duration::from_secs(2);
/// Where Redis does not say: its default.
const LAG_ASSUMED: Duration = Duration::from_secs(10);

/// What a call to a strict store carries besides its operations.
#[derive(Clone, Debug)]
pub(super) struct Strict {
    /// The marker's name.
    pub(super) marker: String,
    /// What no operation may exceed.
    pub(super) terms: Terms,
    /// The terms as the script reads them.
    pub(super) argument: Vec<u8>,
}

/// How far a Redis is what strict needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Replicas {
    /// It has none, and had none: nothing can take its place.
    None,
    /// It takes writes as long as so many hear it …
    Awaited {
        /// All that it has.
        count: u32,
        /// … with no more than this between two words of theirs.
        lag: Duration,
    },
}

impl Replicas {
    /// By what Redis says of itself; or why strict can not be promised.
    pub(super) fn of(info: &Info, settings: &Settings, mode: &Mode) -> Result<Replicas, String> {
        let connected =
            info.number("connected_slaves").ok_or("Redis does not say how many replicas it has")?;
        let [awaited, lag] = SETTINGS.map(|name| settings.number(name));
        let unasked = "this user may not ask for min-replicas-to-write (ACL: +config|get)";
        let (awaited, lag) = awaited.zip(lag).ok_or(unasked)?;
        let alone = matches!(mode, Mode::Single) && info.number("repl_backlog_active") == Some(0);
        match (connected, awaited) {
            (0, 0) if alone => Ok(Replicas::None),
            (0, 0) => {
                Err("writes wait for no replica; set min-replicas-to-write to the number of replicas".into())
            }
            (_, 1..) if lag == 0 => {
                Err("min-replicas-max-lag is 0, so writes wait for no replica; set it to 1".into())
            }
            _ if connected > awaited => Err(format!(
                "{connected} replicas, and writes wait for {awaited}; set min-replicas-to-write {connected}"
            )),
            _ => {
                let count = u32::try_from(awaited).map_err(|_| "min-replicas-to-write is beyond reason")?;
                Ok(Replicas::Awaited { count, lag: Duration::from_secs(lag) })
            }
        }
    }
}

/// What a Redis of which this is known has to be told.
fn terms(longest: Duration, replicas: Option<Replicas>, patience: &Patience) -> Terms {
    let isolation = match replicas {
        Some(Replicas::None) => Duration::ZERO,
        Some(Replicas::Awaited { lag, .. }) => patience.isolation(lag),
        None => patience.isolation(LAG_ASSUMED),
    };
    Terms { longest, isolation }
}

/// The terms and how many replicas there may be, as the script reads them.
pub(super) fn argument(terms: &Terms, replicas: Option<Replicas>) -> Vec<u8> {
    let replicas_max = match replicas {
        Some(Replicas::None) => 0,
        Some(Replicas::Awaited { count, .. }) => i32::try_from(count).unwrap_or(i32::MAX),
        None => -1,
    };
    let micros = |span: Duration| u64::try_from(span.as_micros()).unwrap_or(u64::MAX).to_le_bytes();
    [&micros(terms.longest)[..], &micros(terms.isolation), &replicas_max.to_le_bytes()].concat()
}

impl Strict {
    /// For a Redis of which this is known.
    pub(super) fn new(
        names: &Names,
        longest: Duration,
        replicas: Option<Replicas>,
        patience: &Patience,
    ) -> Strict {
        let terms = terms(longest, replicas, patience);
        Strict { marker: names.marker(), terms, argument: argument(&terms, replicas) }
    }

    /// Tells Redis that we are here: a quarantine that is due begins now, not with the first who waits for it. Whatever
    /// keeps Redis from it keeps it from granting.
    pub(super) async fn greet(&self, wire: &mut MultiplexedConnection, scripts: &Scripts) {
        let mut greeting = cmd("EVALSHA");
        greeting.arg(&scripts.turn_under_oom).arg(1).arg(&self.marker).arg(&self.argument);
        let _: RedisResult<redis::Value> = greeting.query_async(wire).await;
    }
}

/// For how long an answer is awaited.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// With something under way.
    pub(super) response: Duration,
    /// With nothing.
    pub(super) ping: Duration,
}

impl Patience {
    pub(super) fn of(config: &RedisConfig) -> Patience {
        Patience { response: config.response_timeout, ping: config.ping_interval }
    }

    /// How long a primary may still give answers that somebody hears after a replica heard it last. A primary that stands
    /// still counts nothing and carries out what waits for it when it goes on, if the sender still listens; and clocks differ
    /// by one percent (A1).
    fn isolation(&self, lag: Duration) -> Duration {
        let counted = lag + COUNTED_LATE + self.response + self.ping;
        counted + counted / 100
    }
}

/// Asks a Redis what it is to strict.
pub(super) async fn ask(wire: &mut MultiplexedConnection, mode: &Mode) -> Result<Replicas, String> {
    let info: String =
        cmd("INFO").arg("replication").query_async(wire).await.map_err(|error| reason(&error))?;
    let settings: RedisResult<HashMap<String, String>> =
        cmd("CONFIG").arg("GET").arg(&SETTINGS).query_async(wire).await;
    Replicas::of(&Info::read(&info), &Settings(settings.unwrap_or_default()), mode)
}

/// For people: which level is in force where strict is asked for.
pub(super) fn finding(replicas: Result<Replicas, String>, longest: Duration, patience: &Patience) -> Finding {
    match replicas {
        Ok(replicas) => {
            let quarantine = terms(longest, Some(replicas), patience).quarantine();
            let says = format!(
                "strict: leases do not overlap though Redis lose data; then, and at the first start, nothing is granted for {quarantine:.1?}"
            );
            Finding::ok("guarantee", says)
        }
        Err(why) => Finding::fail(
            "guarantee",
            format!("bounded, though redis.guarantee is strict: {why}"),
            "sidecars that connect after that grant strictly",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redis::{Credentials, Sentinel};

    fn of(info: &str, settings: &[(&str, &str)], mode: &Mode) -> Result<Replicas, String> {
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Replicas::of(&Info::read(info), &Settings(settings.collect()), mode)
    }

    fn watched() -> Mode {
        Mode::Sentinel(Sentinel { service: "s".into(), credentials: Credentials::default() })
    }

    #[test]
    fn strict_needs_a_primary_that_does_not_go_on_without_its_replicas() {
        let waits = |count: &'static str, lag: &'static str| {
            [("min-replicas-to-write", count), ("min-replicas-max-lag", lag)]
        };
        let awaited = |count, lag| Ok(Replicas::Awaited { count, lag: Duration::from_secs(lag) });
        let alone = "connected_slaves:0\nrepl_backlog_active:0";
        let left = "connected_slaves:0\nrepl_backlog_active:1";
        assert_eq!(of(alone, &waits("0", "10"), &Mode::Single), Ok(Replicas::None));
        assert_eq!(of("connected_slaves:2", &waits("2", "10"), &watched()), awaited(2, 10));
        assert_eq!(of(left, &waits("1", "3"), &watched()), awaited(1, 3), "it refuses writes, and will not");
        for (info, settings, mode, says) in [
            (left, waits("0", "10"), Mode::Single, "wait for no replica"),
            (alone, waits("0", "10"), watched(), "wait for no replica"),
            ("connected_slaves:2", waits("1", "10"), watched(), "set min-replicas-to-write 2"),
            ("connected_slaves:1", waits("0", "10"), Mode::Single, "set min-replicas-to-write 1"),
            ("connected_slaves:1", waits("1", "0"), watched(), "min-replicas-max-lag"),
            ("role:master", waits("1", "10"), watched(), "does not say"),
        ] {
            let why = of(info, &settings, &mode).unwrap_err();
            assert!(why.contains(says), "{info}: {why}");
        }
        assert!(of(alone, &[], &Mode::Single).unwrap_err().contains("+config|get"));
    }

    #[test]
    fn an_isolated_primary_is_given_the_time_that_it_takes_to_notice() {
        let patience = Patience { response: Duration::from_millis(1250), ping: Duration::from_secs(1) };
        let names = Names::new("sl", "default");
        let longest = Duration::from_secs(10);
        let strict = |replicas| Strict::new(&names, longest, replicas, &patience);
        assert_eq!(strict(Some(Replicas::None)).terms.quarantine(), Duration::from_millis(10_110));
        let awaited = Replicas::Awaited { count: 2, lag: Duration::from_secs(1) };
        let with_two = strict(Some(awaited));
        assert_eq!(with_two.terms.isolation, Duration::from_micros(5_302_500));
        assert_eq!(with_two.argument[16..], 2i32.to_le_bytes());
        assert_eq!(strict(None).argument[16..], (-1i32).to_le_bytes());
        assert!(strict(None).terms.isolation > Duration::from_secs(14));
    }
}
