//! The Redis store's connection, as the driver sees it.
//!
//! Owns gathering the calls of a turn, and what is logged and counted about the connection. Must not know Redis: the
//! store crate's adapter does.

use crate::config::{Config, Guarantee, RedisMode};
use crate::metrics::StoreMetrics;
use sidelock_engine::store::Call;
use sidelock_engine::{Incarnation, Input};
use sidelock_store::finding::Finding;
use sidelock_store::listing::Listing;
use sidelock_store::redis::{RedisConfig, RedisHandle, RedisStore, StoreEvent, Survey};
use std::future::poll_fn;
use std::task::Poll;
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

/// See the module.
pub(crate) struct RedisLink {
    handle: RedisHandle,
    events: mpsc::Receiver<StoreEvent>,
    gathered: Vec<Call>,
    metrics: StoreMetrics,
    incarnation: Incarnation,
    /// User and password in use.
    credentials: Credentials,
    /// Connections with older credentials, until each call that left on them has its outcome.
    leaving: Vec<mpsc::Receiver<StoreEvent>>,
}

type Credentials = (Option<String>, Option<String>);

impl RedisLink {
    /// Starts to connect; the store is away until the first news says otherwise.
    pub(crate) fn start(
        config: &Config,
        incarnation: Incarnation,
        metrics: StoreMetrics,
    ) -> Result<RedisLink, String> {
        let settings = adapter_config(config)?;
        let credentials = (settings.username.clone(), settings.password.clone());
        let (handle, events) = connect(settings, incarnation)?;
        let (gathered, leaving) = (Vec::new(), Vec::new());
        Ok(RedisLink { handle, events, gathered, metrics, incarnation, credentials, leaving })
    }

    /// Connects anew if user or password changed; the rest of the settings is fixed for a life. What the engine has to
    /// know: until the new connection stands, the store is away.
    pub(super) fn reload(&mut self, config: &Config) -> Result<Option<Input>, String> {
        let settings = adapter_config(config)?;
        let credentials = (settings.username.clone(), settings.password.clone());
        if credentials == self.credentials {
            return Ok(None);
        }
        let (handle, events) = connect(settings, self.incarnation)?;
        tracing::info!("connecting to the store with new credentials");
        self.depart();
        self.leaving.push(std::mem::replace(&mut self.events, events));
        (self.handle, self.credentials) = (handle, credentials);
        Ok(Some(Input::StoreDown))
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
            let event = tokio::select! {
                event = self.events.recv() => event.expect("the adapter runs as long as its handle, which is ours"),
                answer = last_answer(&mut self.leaving), if !self.leaving.is_empty() => return answer,
            };
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
            StoreEvent::Warning(warning) => {
                tracing::warn!("{warning}");
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
    adapter_config(config)?.check().map_err(|error| format!("redis.url: {error}"))
}

/// Looks at the Redis that these settings name.
pub(crate) async fn survey(config: &Config) -> Result<Survey, String> {
    let mut survey = sidelock_store::redis::survey(&adapter_config(config)?).await;
    let address = config.redis.url.first().map(ToString::to_string).unwrap_or_default();
    for finding in survey.findings.iter_mut().filter(|finding| finding.check == "redis") {
        finding.says = format!("{address} {}", finding.says);
    }
    // The only one that this version has; the adapter refuses others.
    survey.findings.push(Finding::ok(
        "guarantee",
        "bounded: if Redis loses data, holders of before and after may overlap for at most one lease; fences tell them apart",
    ));
    Ok(survey)
}

fn connect(
    settings: RedisConfig,
    incarnation: Incarnation,
) -> Result<(RedisHandle, mpsc::Receiver<StoreEvent>), String> {
    let (events, told) = mpsc::channel(EVENTS_MAX);
    let started = RedisStore::start(settings, incarnation, events);
    Ok((started.map_err(|error| format!("redis.url: {error}"))?, told))
}

/// The next outcome from a connection that was given up. What else it says is no longer true.
async fn last_answer(leaving: &mut Vec<mpsc::Receiver<StoreEvent>>) -> Input {
    poll_fn(|context| {
        let mut answer = None;
        leaving.retain_mut(|events| {
            loop {
                if answer.is_some() {
                    return true;
                }
                match events.poll_recv(context) {
                    Poll::Ready(Some(StoreEvent::Answer { call, outcome })) => {
                        answer = Some(Input::Store { call, outcome });
                    }
                    Poll::Ready(Some(_)) => {}
                    Poll::Ready(None) => return false,
                    Poll::Pending => return true,
                }
            }
        });
        answer.map_or(Poll::Pending, Poll::Ready)
    })
    .await
}

fn adapter_config(config: &Config) -> Result<RedisConfig, String> {
    let redis = &config.redis;
    let [url] = redis.url.as_slice() else {
        return Err("redis.url: exactly one address is needed in mode single".into());
    };
    if redis.mode != RedisMode::Single {
        return Err("redis.mode: this version speaks to a single server only; use \"single\"".into());
    }
    if redis.guarantee != Guarantee::Bounded {
        return Err("redis.guarantee: this version promises \"bounded\" only".into());
    }
    if redis.ca_file.is_some() || redis.cert_file.is_some() || redis.key_file.is_some() {
        return Err("redis.ca_file, cert_file and key_file: TLS is not built into this version".into());
    }
    let password = match &redis.password_file {
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| format!("redis.password_file: {}: {error}", path.display()))?;
            Some(text.lines().next().unwrap_or_default().to_owned())
        }
        None => None,
    };
    Ok(RedisConfig {
        username: redis.username.clone(),
        password,
        prefix: redis.prefix.clone(),
        namespace: config.namespace.clone(),
        response_timeout: config.tenure.ttl / RESPONSE_PARTS,
        ping_interval: (config.tenure.ttl / PING_PARTS).min(PING_INTERVAL_MAX),
        ..RedisConfig::new(url.expose())
    })
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
    fn the_password_comes_from_the_first_line_of_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(&["redis://h"]);
        config.redis.password_file = Some(dir.path().join("password"));
        let error = adapter_config(&config).unwrap_err();
        assert!(error.contains("password_file"), "{error}");
        std::fs::write(dir.path().join("password"), "hunter2\n# rotated in May\n").unwrap();
        let adapter = adapter_config(&config).unwrap();
        assert_eq!(adapter.password.as_deref(), Some("hunter2"));
        assert!(!format!("{adapter:?} {config:?}").contains("hunter2"));
        assert_eq!(adapter.response_timeout, Duration::from_millis(1250));
    }

    #[test]
    fn what_this_version_can_not_do_is_said_by_name() {
        let refused = |change: fn(&mut Config)| {
            let mut config = config(&["redis://h"]);
            change(&mut config);
            adapter_config(&config).unwrap_err()
        };
        assert!(refused(|c| c.redis.mode = RedisMode::Cluster).contains("redis.mode"));
        assert!(refused(|c| c.redis.guarantee = Guarantee::Strict).contains("redis.guarantee"));
        assert!(refused(|c| c.redis.ca_file = Some("x".into())).contains("redis.ca_file"));
        assert!(refused(|c| c.redis.url.push(Url::from("redis://i"))).contains("redis.url"));
        assert!(check(&config(&["rediss://h"])).unwrap_err().contains("TLS"));
        assert_eq!(check(&config(&["redis://h"])), Ok(()));
    }
}
