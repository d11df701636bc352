//! Settings that a sidecar keeps for life.
//!
//! Owns which those are: all but the few that are read anew, so that a new one counts as kept until somebody made it so. Must
//! not know how the others are taken over.

use super::Config;
use toml::{Table, Value};

/// What a reload takes over: sections, and single settings.
const READ_ANEW: &[&str] = &[
    "allow_gid",
    "allow_uid",
    "class",
    "limits",
    "policy",
    "policy_log",
    "redis.ca_file",
    "redis.cert_file",
    "redis.key_file",
    "redis.password_file",
    "redis.username",
];

/// The settings that stay as they were at the start although these say something else.
pub(crate) fn kept(started: &Config, wanted: &Config) -> Vec<String> {
    let (was, is) = (settings(started), settings(wanted));
    let mut names: Vec<String> = Vec::new();
    for (one, other) in [(&was, &is), (&is, &was)] {
        names.extend(one.iter().filter(|setting| !other.contains(setting)).map(|(name, _)| name.clone()));
    }
    // Written without its password.
    if started.redis.url != wanted.redis.url {
        names.push("redis.url".into());
    }
    names.sort_unstable();
    names.dedup();
    names
}

/// Names and values of those that are kept.
fn settings(config: &Config) -> Vec<(String, Value)> {
    // What can be read can be written.
    let table = Table::try_from(config).unwrap_or_default();
    let all = table.into_iter().flat_map(|(section, value)| match value {
        Value::Table(inner) => {
            inner.into_iter().map(|(name, value)| (format!("{section}.{name}"), value)).collect()
        }
        value => vec![(section, value)],
    });
    let is_anew = |name: &str| {
        READ_ANEW
            .iter()
            .any(|anew| name == *anew || name.split_once('.').is_some_and(|(section, _)| section == *anew))
    };
    all.filter(|(name, _)| !is_anew(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_a_reload_does_not_take_over_is_named() {
        let started = Config::default();
        assert!(kept(&started, &started).is_empty());
        let mut wanted = Config::default();
        wanted.limits.sessions_max += 1;
        wanted.allow_uid.push(1);
        wanted.policy_log = Some("/l".into());
        wanted.redis.username = Some("u".into());
        assert!(kept(&started, &wanted).is_empty());
        wanted.namespace = "other".into();
        wanted.drain_grace += Duration::from_secs(1);
        wanted.tenure.ttl += Duration::from_secs(1);
        wanted.socket = Some("/s".into());
        wanted.redis.url.push("redis://h".into());
        let names = ["drain_grace", "namespace", "redis.url", "socket", "tenure.ttl"];
        assert_eq!(kept(&started, &wanted), names);
        assert_eq!(kept(&wanted, &started), names, "what is no longer said, too");
    }

    #[test]
    fn another_password_in_an_address_is_another_address() {
        let with = |url: &str| {
            let mut config = Config::default();
            config.redis.url = vec![url.into()];
            config
        };
        assert_eq!(kept(&with("redis://:a@h"), &with("redis://:b@h")), ["redis.url"]);
    }
}
