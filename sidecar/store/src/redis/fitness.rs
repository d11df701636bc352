//! What a Redis must be like to hold locks.
//!
//! Owns the requirements and the words for what does not meet them, each a pure function of what Redis says of itself.
//! `connect` asks the first two at every connection; `survey` asks them all. Must not talk to Redis.

use super::Mode;
use super::sentinel::Census;
use super::survey::Wanted;
use crate::finding::{Finding, Verdict};
use std::collections::HashMap;
use std::time::Duration;

/// The oldest major version with `#!lua flags=…`, which releases under OOM need.
pub(super) const MAJOR_MIN: u32 = 7;
/// Clocks further apart are not both right.
const CLOCK_OFFSET_MAX: Duration = Duration::from_secs(1);
/// A Redis on another continent: it works, slowly.
const ROUND_TRIP_MAX: Duration = Duration::from_millis(20);
/// Of its places for clients, in percent.
const CLIENTS_MAX: u64 = 80;

/// A majority of as many stands the loss of one.
const SENTINELS_MIN: usize = 3;

/// What INFO says, field by field.
#[derive(Debug, Default)]
pub(super) struct Info(HashMap<String, String>);

impl Info {
    pub(super) fn read(text: &str) -> Info {
        let fields = text.lines().filter_map(|line| line.trim().split_once(':'));
        Info(fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    fn said(&self, field: &str) -> Option<&str> {
        self.0.get(field).map(String::as_str)
    }

    pub(super) fn text(&self, field: &str) -> &str {
        self.said(field).unwrap_or("unknown")
    }

    pub(super) fn number(&self, field: &str) -> Option<u64> {
        self.said(field)?.parse().ok()
    }
}

/// What CONFIG GET says; nothing if the user may not ask.
#[derive(Debug, Default)]
pub(super) struct Settings(pub(super) HashMap<String, String>);

impl Settings {
    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.text(name)?.parse().ok()
    }
}

pub(super) fn version(info: &Info) -> Finding {
    // A Valkey says which Redis it takes the place of, besides.
    let (name, version) = match info.said("valkey_version") {
        Some(version) => ("Valkey", version),
        None => ("Redis", info.text("redis_version")),
    };
    let major: u32 = version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or_default();
    match major < MAJOR_MIN {
        true => Finding::fail(
            "version",
            format!("{name} {version} is too old"),
            format!(
                "Sidelock needs {MAJOR_MIN}.0 or newer, whose scripts can release locks while memory is short"
            ),
        ),
        false => Finding::ok("version", format!("{name} {version}")),
    }
}

pub(super) fn eviction(info: &Info) -> Finding {
    match (info.said("maxmemory_policy"), info.said("maxmemory")) {
        (Some("noeviction"), _) => {
            Finding::ok("eviction", "keys are never evicted (maxmemory-policy noeviction)")
        }
        (_, Some("0")) => Finding::ok("eviction", "keys are never evicted (no maxmemory)"),
        (Some(policy), Some(_)) => Finding::fail(
            "eviction",
            format!("Redis evicts keys (maxmemory-policy {policy}), locks with them"),
            "set maxmemory-policy to noeviction",
        ),
        (None, _) | (_, None) => Finding::warn(
            "eviction",
            "Redis does not say whether it evicts keys, and locks with them (INFO lacks maxmemory)",
            "see that its maxmemory-policy is noeviction",
        ),
    }
}

/// A Sentinel answers INFO and hardly anything else.
pub(super) fn is_sentinel(info: &Info) -> bool {
    kind(info) == "sentinel"
}

/// A replica has none of its own.
pub(super) fn is_replica(info: &Info) -> bool {
    info.text("role") == "slave"
}

/// What kind of server it is; Valkey has another name for that.
fn kind(info: &Info) -> &str {
    info.said("server_mode").unwrap_or(info.text("redis_mode"))
}

/// Whether it is what the settings say it is.
pub(super) fn topology(info: &Info, mode: &Mode) -> Finding {
    match (kind(info), info.text("role"), mode) {
        ("sentinel", ..) => Finding::fail(
            "topology",
            "this is a Sentinel, which stores nothing",
            "set redis.mode to sentinel and redis.service to the name of what it watches",
        ),
        ("cluster", _, Mode::Cluster) => Finding::ok("topology", "a node of a Redis Cluster"),
        ("cluster", ..) => {
            Finding::fail("topology", "this is a node of a Redis Cluster", "set redis.mode to cluster")
        }
        (_, _, Mode::Cluster) => Finding::fail(
            "topology",
            "this server is in no cluster",
            "set redis.mode to single, or give the addresses of a cluster's nodes",
        ),
        (_, "slave", Mode::Single) => Finding::fail(
            "topology",
            format!(
                "this is a replica of {}:{}, which takes no writes",
                info.text("master_host"),
                info.text("master_port")
            ),
            "give the address of its master, or those of sentinels with redis.mode sentinel",
        ),
        (_, "slave", Mode::Sentinel(_)) => Finding::fail(
            "topology",
            "the sentinels name a primary that is a replica",
            "a failover may be under way: look again in some seconds",
        ),
        (_, role, Mode::Single) => Finding::ok("topology", format!("a single server (role {role})")),
        (_, role, Mode::Sentinel(_)) => {
            Finding::ok("topology", format!("a primary that sentinels name (role {role})"))
        }
    }
}

/// Whether sentinels could agree on another primary, and all name the same one.
pub(super) fn sentinels(service: &str, census: &Census) -> Finding {
    let Census { asked, named, silent } = census;
    let says = format!("{} of {asked} name a primary of `{service}`", named.len());
    match named.as_slice() {
        [] => Finding::fail("sentinels", says, silent.join("; ")),
        [first, rest @ ..] if rest.iter().any(|other| other != first) => {
            let all: Vec<_> = named.iter().map(ToString::to_string).collect();
            Finding::warn(
                "sentinels",
                format!("they name different primaries: {}", all.join(", ")),
                "a failover may be under way; if it is not, some of them do not hear the others",
            )
        }
        [first, ..] if *asked < SENTINELS_MIN => Finding::warn(
            "sentinels",
            format!("{says}, {first}"),
            "name at least three: fewer can not agree on another primary when one of them is lost",
        ),
        [first, ..] if !silent.is_empty() => {
            Finding::warn("sentinels", format!("{says}, {first}"), silent.join("; "))
        }
        [first, ..] => Finding::ok("sentinels", format!("{says}, {first}")),
    }
}

/// What a restart of Redis costs. Who asks for strict does not want to lose more than time.
pub(super) fn persistence(info: &Info, settings: &Settings, wanted: Wanted) -> Finding {
    let found = what_a_restart_costs(info, settings);
    match (wanted, found.verdict, settings.text("appendfsync")) {
        (Wanted::Bounded, ..) | (_, Verdict::Fail, _) | (_, Verdict::Ok, Some("always")) => found,
        (Wanted::Strict, ..) => Finding::fail(
            "persistence",
            format!(
                "{}; strict keeps leases apart all the same, but what is done once, registers and places in line are lost with it",
                found.says
            ),
            "set appendonly yes and appendfsync always",
        ),
    }
}

fn what_a_restart_costs(info: &Info, settings: &Settings) -> Finding {
    let remedy = "set appendonly yes; what is lost costs exclusion for at most one lease, and fences tell the holders apart";
    if info.text("aof_enabled") == "1" {
        if info.text("aof_last_write_status") == "err" {
            let says = "Redis can not write its append-only file, and refuses writes until it can";
            return Finding::fail("persistence", says, "see the log of Redis: most likely its disk is full");
        }
        let lost = match settings.text("appendfsync") {
            Some("always") => "a crash loses nothing that was confirmed",
            Some("no") => "a crash of its host loses what the system had not written yet, up to about 30 s",
            Some(_) => "a crash of its host loses up to about 1 s",
            None => "a crash of its host loses what appendfsync allows",
        };
        return Finding::ok("persistence", format!("append-only file; {lost}"));
    }
    match settings.text("save") {
        Some("") => Finding::warn(
            "persistence",
            "neither append-only file nor snapshots: a restart loses every lock",
            remedy,
        ),
        Some(_) if info.text("rdb_last_bgsave_status") == "err" => Finding::warn(
            "persistence",
            "the last snapshot failed, and Redis may refuse writes until one succeeds",
            "see the log of Redis: most likely its disk is full",
        ),
        Some(_) => Finding::warn(
            "persistence",
            "snapshots only: a restart loses every lock since the last one",
            remedy,
        ),
        None => Finding::warn(
            "persistence",
            "no append-only file: a restart loses all locks, or those since the last snapshot (this user may not ask which)",
            remedy,
        ),
    }
}

/// INFO counts the replicas that are up to date only while writes wait for some; for how many, CONFIG alone tells.
pub(super) fn replication(info: &Info, settings: &Settings) -> Finding {
    let wanted: Option<u64> = settings.number("min-replicas-to-write");
    match (info.number("connected_slaves"), info.number("min_slaves_good_slaves")) {
        (None, _) => Finding::warn(
            "replicas",
            "Redis does not say whether it has replicas",
            "look at its min-replicas-to-write",
        ),
        (Some(_), Some(good)) => awaited(good, wanted),
        (Some(0), None) => Finding::ok("replicas", "none: while this server is away, nothing new is granted"),
        (Some(replicas), None) => Finding::warn(
            "replicas",
            format!(
                "{replicas}, and writes do not wait for any: a failover may lose locks granted just before it"
            ),
            "set min-replicas-to-write 1, so that a master that lost its replicas grants nothing",
        ),
    }
}

/// Writes wait for replicas, of which so many are up to date.
fn awaited(good: u64, wanted: Option<u64>) -> Finding {
    match wanted {
        Some(wanted) if wanted <= good => Finding::ok(
            "replicas",
            format!(
                "{good} up to date, of which {wanted} must be (replication is asynchronous all the same)"
            ),
        ),
        None if good > 0 => Finding::warn(
            "replicas",
            format!("{good} up to date; how many must be before Redis takes writes, this user may not ask"),
            format!("see that min-replicas-to-write is at most {good}"),
        ),
        _ => {
            let wanted = wanted.map_or("set".to_owned(), |wanted| wanted.to_string());
            Finding::fail(
                "replicas",
                format!(
                    "Redis refuses writes: min-replicas-to-write is {wanted} and {good} replicas are up to date"
                ),
                "bring the replicas back, or lower min-replicas-to-write",
            )
        }
    }
}

pub(super) fn clients(info: &Info) -> Finding {
    let (Some(now), Some(max)) = (info.number("connected_clients"), info.number("maxclients")) else {
        return Finding::warn(
            "clients",
            "Redis does not say how many clients it takes",
            "look at its maxclients",
        );
    };
    let says = format!("{now} of {max} clients are connected; each sidecar is one");
    match now * 100 > max * CLIENTS_MAX {
        true => {
            Finding::warn("clients", says, "raise maxclients: a sidecar that finds no place has no store")
        }
        false => Finding::ok("clients", says),
    }
}

/// How far Redis' clock is ahead of this host's, give or take `uncertainty`, in microseconds.
pub(super) fn clock(ahead_us: i64, uncertainty: Duration) -> Finding {
    let offset = Duration::from_micros(ahead_us.unsigned_abs());
    let direction = if ahead_us < 0 { "behind" } else { "ahead of" };
    let says = format!("Redis' clock is {offset:.1?} {direction} this host's, ± {uncertainty:.1?}");
    match offset > CLOCK_OFFSET_MAX + uncertainty {
        true => Finding::warn(
            "clock",
            says,
            "locks do not need the two to agree, but one of them is wrong: let NTP slew it, since a step of Redis' clock ends leases early or late",
        ),
        false => Finding::ok("clock", says),
    }
}

/// Of several round trips: the middle one, and the longest.
pub(super) fn latency(middle: Duration, longest: Duration, patience: Duration) -> Finding {
    let says = format!("a round trip takes {middle:.1?} (longest {longest:.1?})");
    match (longest > patience / 4, middle > ROUND_TRIP_MAX) {
        (true, _) => Finding::warn(
            "round trip",
            says,
            format!(
                "an answer later than {patience:?} counts as a dead connection: move Redis closer, or raise tenure.ttl"
            ),
        ),
        (_, true) => Finding::warn(
            "round trip",
            says,
            "every key that comes from another sidecar costs at least two of these",
        ),
        _ => Finding::ok("round trip", says),
    }
}

/// The level in force where no more is asked for.
pub(super) fn bounded() -> Finding {
    Finding::ok(
        "guarantee",
        "bounded: if Redis loses data, holders of before and after may overlap for at most one lease; fences tell them apart",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Verdict::{Fail, Ok, Warn};
    use crate::redis::address::Address;
    use crate::redis::{Credentials, Sentinel};

    fn verdict(judge: fn(&Info) -> Finding, text: &str) -> Verdict {
        judge(&Info::read(text)).verdict
    }

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        Settings(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn versions_before_7_are_too_old() {
        for (text, expected) in [("6.2.14", Fail), ("7.0.15", Ok), ("10.0", Ok), ("", Fail)] {
            assert_eq!(verdict(version, &format!("redis_version:{text}\r\n")), expected, "{text}");
        }
        let valkey =
            version(&Info::read("redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:8.1.1\r\n"));
        assert_eq!((valkey.verdict, valkey.says.as_str()), (Ok, "Valkey 8.1.1"));
    }

    #[test]
    fn only_a_limit_makes_a_policy_evict() {
        assert_eq!(verdict(eviction, "maxmemory:0\r\nmaxmemory_policy:allkeys-lru"), Ok);
        assert_eq!(verdict(eviction, "maxmemory:9\r\nmaxmemory_policy:allkeys-lru"), Fail);
        assert_eq!(verdict(eviction, "maxmemory:9\r\nmaxmemory_policy:noeviction"), Ok);
        for silent in ["maxmemory_policy:allkeys-lru", "maxmemory:9", ""] {
            assert_eq!(verdict(eviction, silent), Warn, "{silent}");
        }
    }

    fn watched() -> Mode {
        Mode::Sentinel(Sentinel { service: "s".into(), credentials: Credentials::default() })
    }

    #[test]
    fn what_is_not_what_the_settings_say_is_named() {
        for (text, mode, word) in [
            ("redis_mode:sentinel", Mode::Single, "set redis.mode to sentinel"),
            ("redis_mode:sentinel", watched(), "Sentinel"),
            ("redis_mode:cluster\nrole:master", Mode::Single, "set redis.mode to cluster"),
            ("redis_mode:cluster\nrole:master", watched(), "set redis.mode to cluster"),
            ("redis_mode:standalone\nrole:master", Mode::Cluster, "in no cluster"),
            ("server_mode:cluster\nrole:master", Mode::Single, "set redis.mode to cluster"),
            (
                "redis_mode:standalone\nrole:slave\nmaster_host:h\nmaster_port:9",
                Mode::Single,
                "replica of h:9",
            ),
            ("redis_mode:standalone\nrole:slave", watched(), "is a replica"),
        ] {
            let finding = topology(&Info::read(text), &mode);
            assert!(finding.verdict == Fail && finding.sentence().contains(word), "{finding:?}");
        }
        for mode in [Mode::Single, watched()] {
            assert_eq!(topology(&Info::read("redis_mode:standalone\nrole:master"), &mode).verdict, Ok);
        }
    }

    #[test]
    fn sentinels_are_three_that_agree() {
        let address = |port| Address::Tcp { host: "h".into(), port, tls: false };
        let census = |asked, ports: &[u16], silent: &[&str]| Census {
            asked,
            named: ports.iter().copied().map(address).collect(),
            silent: silent.iter().map(|why| (*why).to_owned()).collect(),
        };
        for (census, expected, says) in [
            (census(3, &[1, 1, 1], &[]), Ok, "3 of 3 name a primary of `s`, h:1"),
            (census(3, &[1, 1], &["c: refused"]), Warn, "c: refused"),
            (census(3, &[1, 1, 2], &[]), Warn, "h:1, h:1, h:2"),
            (census(1, &[1], &[]), Warn, "at least three"),
            (census(1, &[], &["a: watches no `s`"]), Fail, "a: watches no `s`"),
        ] {
            let finding = sentinels("s", &census);
            assert!(finding.verdict == expected && finding.sentence().contains(says), "{finding:?}");
        }
    }

    #[test]
    fn persistence_says_what_a_restart_loses() {
        for (info, pairs, expected, says) in [
            ("aof_enabled:1", &[("appendfsync", "always")][..], Ok, "nothing"),
            ("aof_enabled:1", &[("appendfsync", "everysec")], Ok, "about 1 s"),
            ("aof_enabled:1\naof_last_write_status:err", &[], Fail, "refuses writes"),
            ("aof_enabled:0", &[("save", "")], Warn, "every lock"),
            ("aof_enabled:0", &[("save", "60 1")], Warn, "since the last one"),
            ("aof_enabled:0\nrdb_last_bgsave_status:err", &[("save", "60 1")], Warn, "failed"),
            ("aof_enabled:0", &[], Warn, "may not ask"),
        ] {
            let finding = persistence(&Info::read(info), &settings(pairs), Wanted::Bounded);
            assert!(finding.verdict == expected && finding.says.contains(says), "{info}: {finding:?}");
        }
        for (info, pairs, expected) in [
            ("aof_enabled:1", &[("appendfsync", "always")][..], Ok),
            ("aof_enabled:1", &[("appendfsync", "everysec")], Fail),
            ("aof_enabled:0", &[("save", "")], Fail),
            ("aof_enabled:0", &[], Fail),
        ] {
            let finding = persistence(&Info::read(info), &settings(pairs), Wanted::Strict);
            assert_eq!(finding.verdict, expected, "{info}: {finding:?}");
        }
    }

    #[test]
    fn replicas_that_must_be_there_and_are_not_stop_writes() {
        let (may_not_ask, none, two) = (
            settings(&[]),
            settings(&[("min-replicas-to-write", "0")]),
            settings(&[("min-replicas-to-write", "2")]),
        );
        for (info, settings, expected, says) in [
            ("connected_slaves:1\nmin_slaves_good_slaves:1", &two, Fail, "is 2 and 1"),
            ("connected_slaves:3\nmin_slaves_good_slaves:2", &two, Ok, "of which 2 must be"),
            ("connected_slaves:1\nmin_slaves_good_slaves:0", &may_not_ask, Fail, "refuses writes"),
            ("connected_slaves:2\nmin_slaves_good_slaves:1", &may_not_ask, Warn, "may not ask"),
            // Redis counts no good ones: nothing waits for them, whatever the number (min-replicas-max-lag 0).
            ("connected_slaves:1", &two, Warn, "do not wait"),
            ("connected_slaves:1", &may_not_ask, Warn, "do not wait"),
            ("connected_slaves:1", &none, Warn, "do not wait"),
            ("connected_slaves:0", &none, Ok, "none"),
            ("role:master", &none, Warn, "does not say"),
        ] {
            let finding = replication(&Info::read(info), settings);
            assert!(finding.verdict == expected && finding.says.contains(says), "{info}: {finding:?}");
        }
    }

    #[test]
    fn numbers_out_of_the_ordinary_are_warned_of() {
        assert_eq!(verdict(clients, "connected_clients:81\nmaxclients:100"), Warn);
        assert_eq!(verdict(clients, "connected_clients:80\nmaxclients:100"), Ok);
        let ms = Duration::from_millis;
        assert_eq!(clock(-1_100_000, ms(1)).verdict, Warn);
        assert!(clock(-1_100_000, ms(1)).says.contains("behind"));
        assert_eq!(clock(1_100_000, ms(200)).verdict, Ok, "it may be within a second");
        assert_eq!(latency(ms(1), ms(2), ms(1250)).verdict, Ok);
        assert_eq!(latency(ms(30), ms(31), ms(1250)).verdict, Warn);
        assert_eq!(latency(ms(1), ms(400), ms(1250)).verdict, Warn);
    }
}
