//! The Redis store's connection, as the driver sees it.
//!
//! Owns gathering the calls of a turn, and what is logged and counted about the connection. Must not know Redis: the
//! store crate's adapter does.

use super::longest_tenure;
use crate::config::{Config, Guarantee, RedisMode};
use crate::identity::Identity;
use crate::metrics::StoreMetrics;
use sidelock_engine::Input;
use sidelock_engine::store::Call;
use sidelock_store::finding::Finding;
use sidelock_store::listing::Listing;
use sidelock_store::redis::{
    Access, Credentials, Mode, Party, RedisConfig, RedisHandle, RedisStore, Sentinel, StoreEvent, Survey,
    TlsFiles,
};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Events that wait for the driver. It takes all there are in every turn; the adapter waits for room.
const EVENTS_MAX: usize = 4096;
/// Parts of a tenure's time to live after which an answer is overdue: with a sign of life in between, a black hole is
/// noticed within a quarter of it (H6).
const RESPONSE_PARTS: u32 = 8;
/// Parts of a tenure's time to live between signs of life of a quiet connection, and at most a second.
const PING_PARTS: u32 = 10;
const PING_INTERVAL_MAX: Duration = Duration::from_secs(1);

/// Who waits longer than this for a first grant has made a mistake: the defaults of `limits.ttl_max` and `limits.rate_per_max`,
/// an hour, are not for strict.
const LONGEST_TENURE_MAX: Duration = Duration::from_secs(11 * 60);

/// See the module.
pub(crate) struct RedisLink {
    handle: RedisHandle,
    events: mpsc::Receiver<StoreEvent>,
    gathered: Vec<Call>,
    metrics: StoreMetrics,
    proven_strict: Arc<OnceLock<()>>,
}

impl RedisLink {
    /// Starts to connect; the store is away until the first news says otherwise.
    pub(crate) fn start(
        config: &Config,
        identity: &Identity,
        metrics: StoreMetrics,
    ) -> Result<RedisLink, String> {
        let (events, told) = mpsc::channel(EVENTS_MAX);
        let started = RedisStore::start(adapter_config(config)?, identity.incarnation, events);
        let handle = started.map_err(|error| error.to_string())?;
        let proven_strict = identity.proven_strict.clone();
        Ok(RedisLink { handle, events: told, gathered: Vec::new(), metrics, proven_strict })
    }

    /// Takes user, password and certificates as they are now; the rest of the settings is fixed for a life. The connection
    /// stays.
    pub(super) fn reload(&mut self, config: &Config) {
        self.handle.renew(access(config));
    }

    pub(super) fn send(&mut self, call: Call) {
        self.gathered.push(call);
    }

    pub(super) fn list(&self, prefix: String, answer: oneshot::Sender<Result<Listing, String>>) {
        self.handle.list(prefix, answer);
    }

    pub(super) fn depart(&mut self) {
        if !self.gathered.is_empty() {
            self.handle.send(std::mem::take(&mut self.gathered));
        }
    }

    pub(super) async fn news(&mut self) -> Input {
        loop {
            let event = self.events.recv().await;
            let event = event.expect("the adapter runs as long as its handle, which is ours");
            if let Some(input) = self.hear(event) {
                return input;
            }
        }
    }

    pub(super) fn try_news(&mut self) -> Option<Input> {
        loop {
            let event = self.events.try_recv().ok()?;
            if let Some(input) = self.hear(event) {
                return Some(input);
            }
        }
    }

    /// What the engine has to know of it.
    fn hear(&self, event: StoreEvent) -> Option<Input> {
        match event {
            StoreEvent::Up { at } => {
                tracing::info!("store_up");
                Some(Input::StoreUp { at })
            }
            StoreEvent::Down { reason } => {
                tracing::warn!(reason, "store_down; trying again");
                Some(Input::StoreDown)
            }
            StoreEvent::Subscribed => Some(Input::Subscribed),
            StoreEvent::Answer { call, outcome } => Some(Input::Store { call, outcome }),
            StoreEvent::Push(push) => Some(Input::Pushed(push)),
            StoreEvent::Strict(Ok(())) => {
                tracing::info!("guarantee: grants are strict from here on");
                // It may have been before.
                let _ = self.proven_strict.set(());
                None
            }
            StoreEvent::Strict(Err(why)) => {
                tracing::warn!(why, "guarantee: grants say bounded, though redis.guarantee is strict");
                None
            }
            StoreEvent::Warning(warning) => {
                tracing::warn!("{warning}");
                None
            }
            StoreEvent::Renewed(Ok(())) => {
                tracing::info!("the store takes the credentials that are configured now");
                None
            }
            StoreEvent::Renewed(Err(reason)) => {
                tracing::error!(
                    reason,
                    "the store does not take the new credentials; a connection that stands goes on without them"
                );
                None
            }
            StoreEvent::Pipeline { calls, requests, took } => {
                self.metrics.batch_size.observe(calls as f64);
                self.metrics.commands.inc_by(requests as u64);
                self.metrics.roundtrip.observe(took.as_secs_f64());
                None
            }
        }
    }
}

/// Whether the adapter takes these settings. Connects to nothing.
pub(super) fn check(config: &Config) -> Result<(), String> {
    adapter_config(config)?.check().map_err(|error| error.to_string())
}

/// Looks at the Redis that these settings name, for a guarantee that they ask for in vain, too.
pub(crate) async fn survey(config: &Config) -> Result<Survey, String> {
    let strict = longest_tenure(config).filter(|_| config.redis.mode != RedisMode::Cluster);
    let adapter = RedisConfig { strict, ..adapter_config(&bounded(config))? };
    let mut survey = sidelock_store::redis::survey(&adapter).await;
    if let Err(why) = strict_tenure(config) {
        survey.findings.push(Finding::fail("settings", why, "until then no sidecar starts with them"));
    }
    let addresses: Vec<_> = config.redis.url.iter().map(ToString::to_string).collect();
    let address = addresses.join(", ");
    for finding in survey.findings.iter_mut().filter(|finding| finding.check == "redis") {
        finding.says = format!("{address} {}", finding.says);
    }
    Ok(survey)
}

fn adapter_config(config: &Config) -> Result<RedisConfig, String> {
    let redis = &config.redis;
    let mode = match redis.mode {
        RedisMode::Single => Mode::Single,
        RedisMode::Sentinel => Mode::Sentinel(Sentinel {
            service: redis.service.clone(),
            credentials: Credentials {
                party: Party::Sentinels,
                username: redis.sentinel_username.clone(),
                password_file: redis.sentinel_password_file.clone(),
            },
        }),
        RedisMode::Cluster => Mode::Cluster,
    };
    Ok(RedisConfig {
        urls: redis.url.iter().map(|url| url.expose().to_owned()).collect(),
        mode,
        access: access(config),
        strict: strict_tenure(config)?,
        prefix: redis.prefix.clone(),
        namespace: config.namespace.clone(),
        response_timeout: config.tenure.ttl / RESPONSE_PARTS,
        ping_interval: (config.tenure.ttl / PING_PARTS).min(PING_INTERVAL_MAX),
        ..RedisConfig::new("")
    })
}

/// The same settings without the wish for more.
fn bounded(config: &Config) -> Config {
    let mut config = config.clone();
    config.redis.guarantee = Guarantee::Bounded;
    config
}

/// How long a tenure may live at a time, if anybody can wait for so long.
fn strict_tenure(config: &Config) -> Result<Option<Duration>, String> {
    match longest_tenure(config) {
        Some(_) if config.redis.mode == RedisMode::Cluster => {
            Err("redis.guarantee: there is no strict for a cluster yet; use \"bounded\"".into())
        }
        Some(longest) if longest > LONGEST_TENURE_MAX => Err(format!(
            "redis.guarantee: with strict, nothing is granted for as long as the longest lease after each loss of data and at the first start, which would be {longest:.0?}; set limits.ttl_max and limits.rate_per_max to what clients need, at most 10m"
        )),
        longest => Ok(longest),
    }
}

/// What is read anew for each connection.
fn access(config: &Config) -> Access {
    let redis = &config.redis;
    let (username, password_file) = (redis.username.clone(), redis.password_file.clone());
    Access {
        credentials: Credentials { party: Party::Server, username, password_file },
        tls: TlsFiles {
            ca_file: redis.ca_file.clone(),
            cert_file: redis.cert_file.clone(),
            key_file: redis.key_file.clone(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Url;

    fn config(url: &[&str]) -> Config {
        let mut config = Config::default();
        config.redis.url = url.iter().map(|url| Url::from(*url)).collect();
        config
    }

    #[test]
    fn files_that_can_not_be_used_are_said_before_a_start() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            std::fs::write(dir.path().join(name), text).unwrap();
            Some(dir.path().join(name))
        };
        let refused = |url: &str, change: &dyn Fn(&mut Config)| {
            let mut config = config(&[url]);
            change(&mut config);
            check(&config).unwrap_err()
        };
        let absent = dir.path().join("absent");
        let said = refused("redis://h", &|c| c.redis.password_file = Some(absent.clone()));
        assert!(said.starts_with("redis.password_file: ") && said.contains("absent"), "{said}");
        let said = refused("redis://h", &|c| c.redis.ca_file = Some(absent.clone()));
        assert!(said.contains("write rediss://"), "{said}");
        let said = refused("rediss://h", &|c| c.redis.ca_file = file("ca", "none"));
        assert!(said.starts_with("redis.ca_file: ") && said.contains("no certificate"), "{said}");
        let said = refused("rediss://h", &|c| c.redis.cert_file = file("cert", "none"));
        assert!(said.contains("redis.key_file"), "{said}");
        assert!(refused("rediss://h/#insecure", &|_| {}).contains("redis.ca_file"));
    }

    #[test]
    fn settings_of_the_connection_follow_from_those_of_tenures() {
        let mut config = config(&["redis://:hunter2@h"]);
        config.tenure.ttl = Duration::from_secs(10);
        let adapter = adapter_config(&config).unwrap();
        assert_eq!(adapter.response_timeout, Duration::from_millis(1250));
        assert_eq!(adapter.ping_interval, Duration::from_secs(1));
        assert!(!format!("{adapter:?} {config:?}").contains("hunter2"));
    }

    #[test]
    fn sentinels_are_many_and_have_credentials_of_their_own() {
        let mut config = config(&["redis://a:26379", "redis://:at-b@b:26379"]);
        config.redis.mode = RedisMode::Sentinel;
        assert_eq!(check(&config), Ok(()));
        config.redis.sentinel_password_file = Some("/nowhere/password".into());
        let said = check(&config).unwrap_err();
        assert!(said.starts_with("redis.sentinel_password_file: /nowhere/password"), "{said}");
        config.redis.url.clear();
        assert!(check(&config).unwrap_err().contains("redis.url: those of the sentinels"));
    }

    #[test]
    fn a_cluster_is_some_nodes() {
        let mut config = config(&["redis://a:7000", "redis://b:7000"]);
        config.redis.mode = RedisMode::Cluster;
        assert_eq!(check(&config), Ok(()));
        config.redis.url.clear();
        assert!(check(&config).unwrap_err().contains("redis.url: those of some nodes"));
    }

    #[test]
    fn what_this_version_can_not_do_is_said_by_name() {
        let refused = |change: fn(&mut Config)| {
            let mut config = config(&["redis://h"]);
            change(&mut config);
            adapter_config(&config).unwrap_err()
        };
        let strict = refused(|c| c.redis.guarantee = Guarantee::Strict);
        assert!(strict.contains("limits.ttl_max") && strict.contains("limits.rate_per_max"), "{strict}");
        let sharded =
            refused(|c| (c.redis.guarantee, c.redis.mode) = (Guarantee::Strict, RedisMode::Cluster));
        assert!(sharded.contains("cluster"), "{sharded}");
        assert!(check(&config(&["redis://h", "redis://i"])).unwrap_err().contains("redis.url: exactly one"));
        assert_eq!(check(&config(&["redis://h"])), Ok(()));
    }
}
