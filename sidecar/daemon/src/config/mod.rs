//! Everything that can be set, as types.
//!
//! Owns names, units, defaults and their validity. [`load`] merges flags, environment and file into one [`Config`];
//! `default.toml` shows the same defaults with a comment each. Must not act on any of it.

mod class;
mod humane;
mod lasting;
mod load;
mod policy;
mod redis;
#[cfg(feature = "schema")]
mod schema;

pub use class::{CLASSES_MAX, Class, Deadlock};
pub(crate) use lasting::kept;
pub use load::{ConfigError, Loaded, Sources, load};
pub use policy::{Enforcement, OnError, Operation, Policy};
pub use redis::{Guarantee, Mode as RedisMode, Redis, Url};
#[cfg(feature = "schema")]
pub use schema::schema;
pub use sidelock_notation::{format_duration, parse_duration};

use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The defaults, commented: what `sidelock config print --default` shows and what a user copies.
pub const DEFAULT_TOML: &str = include_str!("default.toml");

/// Keys of one request: all of their grants are one frame, and clients read none that is larger than the default bound.
const KEYS_PER_REQUEST_MAX: u32 = 1_024;
/// A leap year: what is to happen once in a longer time is no business of a lock.
const ONCE_PER_MAX: Duration = Duration::from_secs(366 * 86_400);

/// All settings of a sidecar.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where tenures live; not said: redis if there is a `redis.url`, else memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<StoreKind>,
    /// Sidecars of one namespace share their locks.
    pub namespace: String,
    /// Where clients connect; not said: the first usable of the well-known places.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket: Option<PathBuf>,
    /// Where operators connect; not said: `admin.sock` beside the socket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin_socket: Option<PathBuf>,
    /// User ids that may connect. With this or `allow_gid` given they are the list; else own uid, root, socket's group.
    pub allow_uid: Vec<u32>,
    /// Group ids whose members may connect.
    pub allow_gid: Vec<u32>,
    /// Address on which health and metrics are served besides, and nothing else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe_listen: Option<SocketAddr>,
    /// How long SIGTERM waits for sessions to finish what they hold.
    #[serde(with = "humane::Span")]
    pub drain_grace: Duration,
    /// How to reach Redis.
    pub redis: Redis,
    /// How tenures behave.
    pub tenure: Tenure,
    /// Bounds. Read anew on SIGHUP.
    pub limits: Limits,
    /// Rules for keys that look alike; the first match wins. Read anew on SIGHUP.
    #[serde(rename = "class", skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<Class>,
    /// Policies, asked in this order. Read anew on SIGHUP, and when a file of theirs changes.
    #[serde(rename = "policy", skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<Policy>,
    /// Where machine code of policies is kept, so that it need not be made again at the next start. Not said: nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_cache: Option<PathBuf>,
    /// Where requests that policies could be asked about are put on record, with what was decided. Not said: nowhere.
    /// Read anew on SIGHUP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_log: Option<PathBuf>,
}

/// Where tenures live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum StoreKind {
    /// In this process: locks reach this host only.
    Memory,
    /// In Redis: locks reach every sidecar that shares it.
    Redis,
}

impl StoreKind {
    /// The word used in configuration and output.
    pub fn name(self) -> &'static str {
        match self {
            StoreKind::Memory => "memory",
            StoreKind::Redis => "redis",
        }
    }
}

/// The `[tenure]` section: what a sidecar holds in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Tenure {
    /// A sidecar's death costs its keys this long.
    #[serde(with = "humane::Span")]
    pub ttl: Duration,
    /// How long an idle tenure is kept for the next local request.
    #[serde(with = "humane::Span")]
    pub retention: Duration,
    /// Local grants to those present once another sidecar waits.
    pub handoffs_max: u32,
    /// … and for how long at most.
    #[serde(with = "humane::Span")]
    pub handoff_time_max: Duration,
}

/// The `[limits]` section. Each has its own refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Bytes of a key.
    pub key_bytes_max: u32,
    /// Bytes of a frame's payload, and of a request body.
    pub frame_bytes_max: u32,
    /// Bytes of a register's value, and of what a turn of a once key leaves.
    pub value_bytes_max: u32,
    /// Keys of one request.
    pub keys_per_request_max: u32,
    /// Shortest time to live that a client may ask for.
    #[serde(with = "humane::Span")]
    pub ttl_min: Duration,
    /// Longest time to live that a client may ask for.
    #[serde(with = "humane::Span")]
    pub ttl_max: Duration,
    /// Longest time after which the units of a rate come back.
    #[serde(with = "humane::Span")]
    pub rate_per_max: Duration,
    /// Longest window of a once key.
    #[serde(with = "humane::Span")]
    pub once_per_max: Duration,
    /// Longest wait over HTTP.
    #[serde(with = "humane::Span")]
    pub http_wait_max: Duration,
    /// Connections.
    pub sessions_max: u32,
    /// Acquires of one session that wait at a time. Fixed at the start.
    pub in_flight_per_session_max: u32,
    /// Waiters of one key. Fixed at the start.
    pub waiters_per_key_max: u32,
    /// Bytes that a session may leave unread before it is cut off; of values it asked for, 16 times as much is kept.
    pub outbound_bytes_max: u32,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            store: None,
            namespace: "default".into(),
            socket: None,
            admin_socket: None,
            allow_uid: Vec::new(),
            allow_gid: Vec::new(),
            probe_listen: None,
            drain_grace: Duration::from_secs(10),
            redis: Redis::default(),
            tenure: Tenure::default(),
            limits: Limits::default(),
            classes: Vec::new(),
            policies: Vec::new(),
            policy_cache: None,
            policy_log: None,
        }
    }
}

impl Default for Tenure {
    fn default() -> Tenure {
        Tenure {
            ttl: Duration::from_secs(10),
            retention: Duration::from_secs(1),
            handoffs_max: 32,
            handoff_time_max: Duration::from_millis(50),
        }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            key_bytes_max: 512,
            frame_bytes_max: 131_072,
            value_bytes_max: 65_536,
            keys_per_request_max: 64,
            ttl_min: Duration::from_millis(100),
            ttl_max: Duration::from_secs(3_600),
            rate_per_max: Duration::from_secs(3_600),
            once_per_max: ONCE_PER_MAX,
            http_wait_max: Duration::from_secs(600),
            sessions_max: 10_000,
            in_flight_per_session_max: 4_096,
            waiters_per_key_max: 100_000,
            outbound_bytes_max: 1_048_576,
        }
    }
}

impl Config {
    /// The store in force.
    pub fn store(&self) -> StoreKind {
        match self.store {
            Some(store) => store,
            None if self.redis.url.is_empty() => StoreKind::Memory,
            None => StoreKind::Redis,
        }
    }

    /// What serde can not see: values that make no sense alone or together. Says the field and what is allowed.
    fn validate(&self) -> Result<(), String> {
        let between = |name: &str, value: u64, min: u64, max: u64, unit: &str| {
            if (min..=max).contains(&value) {
                return Ok(());
            }
            Err(format!("`{name}` is {value}{unit}; allowed are {min} to {max}{unit}"))
        };
        let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let (limits, tenure) = (&self.limits, &self.tenure);
        let key_max = sidelock_engine::KEY_BYTES_MAX as u64;
        between("limits.key_bytes_max", limits.key_bytes_max.into(), 1, key_max, "")?;
        between("limits.frame_bytes_max", limits.frame_bytes_max.into(), 1_024, 16 << 20, "")?;
        let keys_max = KEYS_PER_REQUEST_MAX.into();
        between("limits.keys_per_request_max", limits.keys_per_request_max.into(), 1, keys_max, "")?;
        between("limits.sessions_max", limits.sessions_max.into(), 1, 1_000_000, "")?;
        between("limits.in_flight_per_session_max", limits.in_flight_per_session_max.into(), 1, 1 << 20, "")?;
        between("limits.waiters_per_key_max", limits.waiters_per_key_max.into(), 1, 1 << 24, "")?;
        between("limits.outbound_bytes_max", limits.outbound_bytes_max.into(), 4_096, 1 << 30, "")?;
        between("limits.ttl_min", millis(limits.ttl_min), 10, millis(limits.ttl_max), "ms")?;
        between("limits.ttl_max", millis(limits.ttl_max), 10, 3_600_000, "ms")?;
        between("limits.rate_per_max", millis(limits.rate_per_max), 10, 3_600_000, "ms")?;
        let value_max = sidelock_engine::RESULT_BYTES_MAX as u64;
        between("limits.value_bytes_max", limits.value_bytes_max.into(), 1, value_max, "")?;
        between("limits.once_per_max", millis(limits.once_per_max), 1, millis(ONCE_PER_MAX), "ms")?;
        between("tenure.ttl", millis(tenure.ttl), 1_000, 3_600_000, "ms")?;
        between("tenure.retention", millis(tenure.retention), 0, millis(tenure.ttl) / 2, "ms")?;
        between("tenure.handoffs_max", tenure.handoffs_max.into(), 1, 1_000_000, "")?;
        between("class", self.classes.len() as u64, 0, CLASSES_MAX as u64, " classes")?;
        for class in &self.classes {
            let setting = |name: &str| format!("class {}: {name}", class.name);
            let limit_max = sidelock_engine::PERMITS_LIMIT_MAX.into();
            between(&setting("limit"), class.limit.unwrap_or(1).into(), 1, limit_max, "")?;
            if class.max_hold.is_some_and(|max_hold| max_hold.is_zero()) {
                return Err(format!(
                    "`{}` is 0: no lease would outlive its grant; leave it out",
                    setting("max_hold")
                ));
            }
        }
        if self.namespace.is_empty() || self.namespace.len() > 64 {
            return Err("`namespace` has 1 to 64 bytes".into());
        }
        if self.store() == StoreKind::Redis && self.redis.url.is_empty() {
            return Err("`store` is redis but `redis.url` is missing; give --redis redis://HOST:6379".into());
        }
        if self.store == Some(StoreKind::Memory) && !self.redis.url.is_empty() {
            return Err("`store` is memory, but `redis.url` is given; drop one of them".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sidelock_wire::{FRAME_BYTES_MAX, Granted, Secret, ToClient};

    #[test]
    fn the_commented_file_is_the_default() {
        let read: Config = toml::from_str(DEFAULT_TOML).expect("default.toml parses");
        assert_eq!(read, Config::default());
    }

    #[test]
    fn the_engines_defaults_are_the_configs() {
        let engine = sidelock_engine::Config::new(sidelock_engine::Incarnation(1));
        let config = Config::default();
        assert_eq!(engine.tenure_ttl, config.tenure.ttl);
        assert_eq!(engine.retention, config.tenure.retention);
        assert_eq!(engine.handoffs_max, config.tenure.handoffs_max);
        assert_eq!(engine.handoff_time_max, config.tenure.handoff_time_max);
        assert_eq!(engine.waiters_per_key_max, config.limits.waiters_per_key_max);
        assert_eq!(engine.in_flight_per_session_max, config.limits.in_flight_per_session_max);
    }

    #[test]
    fn the_grants_of_one_request_fit_in_a_frame() {
        let secret = Some(Secret(u128::MAX));
        let granted = Granted { request: 1, fence: 1, deadline_ns: 1, cap_ns: Some(1), secret };
        let leases = vec![granted; KEYS_PER_REQUEST_MAX as usize];
        let mut frame = Vec::new();
        ToClient::GrantedAll { request: 1, leases }.encode(&mut frame);
        assert!(frame.len() <= FRAME_BYTES_MAX, "{} bytes", frame.len());
    }

    #[test]
    fn the_defaults_are_valid_and_redis_needs_an_address() {
        assert_eq!(Config::default().validate(), Ok(()));
        assert_eq!(Config::default().store(), StoreKind::Memory);
        let mut config = Config { store: Some(StoreKind::Redis), ..Config::default() };
        assert!(config.validate().unwrap_err().contains("--redis"));
        config.redis.url = vec![Url::from("redis://h")];
        assert_eq!(config.validate(), Ok(()));
    }
}
