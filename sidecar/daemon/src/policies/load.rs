//! Getting policies into force: at the start, when a file changes, when the settings are read anew.
//!
//! Owns translating settings, and noticing that a file is another one. Compiling and self-checks happen on a thread on
//! which nobody waits; what does not pass them changes nothing.

use super::Policies;
use crate::config::{self, Config, Enforcement, OnError, Operation, Policy};
use sidelock_engine::PRIORITY_MAX;
use sidelock_policy::{self as policy, Bounds, Chain, Digest, Host, Settings, model};
use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::sleep;

/// A new file is noticed within this. A ConfigMap changes by a link to another folder, which no watch on the file would see.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// A file that did not change for so long is whole.
const SETTLED_AFTER: Duration = Duration::from_millis(20);
/// Looks at files that change all the time, before they are taken as they are.
const SETTLING_LOOKS_MAX: u32 = 10;

/// When no new version came for so long, memory is given back that only the next one would need.
const REST_AFTER: Duration = Duration::from_secs(300);

/// Of one file: where it is, how long, since when.
type Stamp = [u64; 5];

/// Loads policies, again and again. Makes wasm's machinery when the first is wanted.
pub(crate) struct Loader {
    policies: Rc<Policies>,
    host: Option<Host>,
    config: Config,
    /// The files as they were before they were last read: what changes meanwhile is seen afterwards.
    seen: Vec<Option<Stamp>>,
}

/// Puts the policies of the settings into force, before anybody is served.
pub(crate) async fn start(policies: &Rc<Policies>, config: &Config) -> Result<Loader, String> {
    let mut loader =
        Loader { policies: policies.clone(), host: None, config: config.clone(), seen: Vec::new() };
    loader.seen = loader.stamps();
    loader.load().await?;
    Ok(loader)
}

/// Keeps them as the settings and the files say. `changed` is told when there are new settings, which `settings` gives.
pub(crate) async fn watch(mut loader: Loader, changed: Rc<Notify>, settings: impl Fn() -> Option<Config>) {
    let mut rested = false;
    loop {
        tokio::select! {
            () = changed.notified() => {
                let Some(config) = settings() else { continue };
                loader.config = config;
            }
            () = loader.another_file() => {}
            () = sleep(REST_AFTER), if !rested => {
                loader.rest().await;
                rested = true;
                continue;
            }
        }
        rested = false;
        loader.seen = loader.settled().await;
        if let Err(why) = loader.load().await {
            tracing::error!(%why, "the policies before stay in force");
            loader.policies.metrics.policies().loaded(false);
            loader.policies.stay(why);
        }
    }
}

impl Loader {
    async fn load(&mut self) -> Result<(), String> {
        let Config { policies, policy_cache, limits, .. } = &self.config;
        if policies.is_empty() {
            self.policies.replace(None);
            return Ok(());
        }
        let settings = policies.iter().map(settings).collect::<Result<Vec<_>, _>>()?;
        let bounds = Bounds {
            key_bytes_max: limits.key_bytes_max as usize,
            ttl_ms_min: millis(limits.ttl_min),
            ttl_ms_max: millis(limits.ttl_max),
            priority_max: PRIORITY_MAX,
        };
        let (host, cache, before) = (self.host.clone(), policy_cache.clone(), self.policies.chain());
        let made =
            tokio::task::spawn_blocking(move || make(host, cache, settings, bounds, before.as_deref()));
        let (host, chain) = made.await.map_err(|error| format!("policies: {error}"))??;
        for one in chain.inspect() {
            tracing::info!(policy = &*one.name, sha256 = %one.sha256, fresh = ?one.fresh, memory = one.memory, "policy in force");
        }
        self.host = Some(host);
        self.policies.metrics.policies().loaded(true);
        self.policies.replace(Some(chain));
        Ok(())
    }

    async fn rest(&self) {
        let Some(host) = self.host.clone() else { return };
        // It ends, whatever becomes of it.
        drop(tokio::task::spawn_blocking(move || host.rest()).await);
    }

    /// Until the files are not those that were seen. With no policies nobody looks.
    async fn another_file(&self) {
        if self.seen.is_empty() {
            std::future::pending::<()>().await;
        }
        while self.stamps() == self.seen {
            sleep(LOOK_EVERY).await;
        }
    }

    /// The files, once nobody is writing them, or it was waited for long enough: who writes without end does not keep new
    /// policies away, and half a file is refused.
    async fn settled(&self) -> Vec<Option<Stamp>> {
        let mut seen = self.stamps();
        for _ in 0..SETTLING_LOOKS_MAX {
            sleep(SETTLED_AFTER).await;
            let now = self.stamps();
            if now == seen {
                break;
            }
            seen = now;
        }
        seen
    }

    /// What tells one state of the files from another; none of a file that is not there.
    fn stamps(&self) -> Vec<Option<Stamp>> {
        let stamp = |file: Metadata| {
            [file.dev(), file.ino(), file.len(), file.mtime() as u64, file.mtime_nsec() as u64]
        };
        self.config.policies.iter().map(|policy| std::fs::metadata(&policy.path).ok().map(stamp)).collect()
    }
}

fn make(
    host: Option<Host>,
    cache: Option<PathBuf>,
    settings: Vec<Settings>,
    bounds: Bounds,
    before: Option<&Chain>,
) -> Result<(Host, Arc<Chain>), String> {
    let host = match host {
        Some(host) => host,
        None => Host::new(cache).map_err(|error| error.to_string())?,
    };
    let chain = Chain::load(&host, settings, bounds, before).map_err(|error| error.to_string())?;
    Ok((host, chain))
}

/// What the settings say of a policy, in the policy crate's words.
pub(crate) fn settings(said: &Policy) -> Result<Settings, String> {
    let default = Settings::at(&said.path);
    let sha256 = said.sha256.as_deref().map(str::parse::<Digest>).transpose();
    let json = serde_json::to_string(&said.settings).map_err(|error| error.to_string());
    let wrong = |what: String| format!("policy {}: {what}", said.path.display());
    Ok(Settings {
        name: said.name.as_deref().map_or(default.name, Arc::from),
        path: default.path,
        sha256: sha256.map_err(|error| wrong(format!("`sha256`: {error}")))?,
        matches: said.patterns.clone(),
        operations: said.ops.iter().map(|op| operation(*op)).collect(),
        enforcement: match said.mode {
            Enforcement::Enforce => policy::Enforcement::Enforce,
            Enforcement::Monitor => policy::Enforcement::Monitor,
        },
        on_error: match said.on_error {
            OnError::Deny => policy::OnError::Deny,
            OnError::Abstain => policy::OnError::Abstain,
        },
        deadline: said.deadline,
        memory: said.memory,
        timezone: said.timezone.clone(),
        settings: json.map_err(wrong)?,
        tables: said.tables.iter().map(|(name, rows)| (name.as_str().into(), table(rows))).collect(),
        prepared: said.prepared,
        output: said.output.clone(),
    })
}

fn table(rows: &BTreeMap<String, String>) -> BTreeMap<Arc<str>, Arc<str>> {
    rows.iter().map(|(key, value)| (key.as_str().into(), value.as_str().into())).collect()
}

fn operation(operation: Operation) -> model::Operation {
    match operation {
        config::Operation::Acquire => model::Operation::Acquire,
        config::Operation::Renew => model::Operation::Renew,
        config::Operation::Release => model::Operation::Release,
        config::Operation::Force => model::Operation::Force,
        config::Operation::Once => model::Operation::Once,
        config::Operation::RegisterWrite => model::Operation::RegisterWrite,
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
