//! What a policy is asked, and what it answers: the records of `wit/policy.wit` in Rust.
//!
//! Owns their shape, and their form in JSON and TOML (kebab-case, as in the WIT; what is left out has a default). Each
//! field means what the WIT says of it. Must not know wasmtime beyond the derives that lay the records into a guest's
//! memory; that both agree is checked whenever a component is loaded.

use serde::{Deserialize, Serialize};
use std::sync::Arc;
use wasmtime::component::{ComponentType, Lift, Lower};

/// What a client asks for.
#[derive(
    ComponentType, Lift, Lower, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, Hash,
)]
#[component(enum)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Operation {
    /// A lock, a read-write lock's side, permits.
    #[component(name = "acquire")]
    #[default]
    Acquire,
    /// A timed lease is prolonged.
    #[component(name = "renew")]
    Renew,
    /// A lease is given back.
    #[component(name = "release")]
    Release,
    /// An operator breaks a lease.
    #[component(name = "force")]
    Force,
    /// The turn to run something once per window.
    #[component(name = "once")]
    Once,
    /// A register is written or deleted.
    #[component(name = "register-write")]
    RegisterWrite,
}

/// How much of a key is asked for.
#[derive(
    ComponentType, Lift, Lower, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, Hash,
)]
#[component(enum)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Mode {
    /// All of it.
    #[component(name = "exclusive")]
    #[default]
    Exclusive,
    /// A reader's share.
    #[component(name = "shared")]
    Shared,
    /// `permits` of `limit` units.
    #[component(name = "permits")]
    Permits,
}

/// Who asks.
#[derive(ComponentType, Lift, Lower, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[component(record)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Peer {
    /// User id, from the kernel.
    pub uid: u32,
    /// Group id, from the kernel.
    pub gid: u32,
    /// Number of the connection; 0 for none.
    pub session: u64,
    /// What the client says it is called.
    pub app: Arc<str>,
    /// The sidecar's name space.
    pub namespace: Arc<str>,
    /// The sidecar's name.
    pub sidecar: Arc<str>,
}

/// When it is, in the zone of the policy that is asked.
#[derive(ComponentType, Lift, Lower, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[component(record)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Clock {
    /// Milliseconds since 1970, UTC. All else follows from it: the host fills it in for each policy.
    #[component(name = "unix-ms")]
    pub unix_ms: u64,
    /// Minutes to add to UTC.
    #[component(name = "utc-offset-minutes")]
    pub utc_offset_minutes: i16,
    /// 0 = Monday … 6 = Sunday.
    pub weekday: u8,
    /// 0 … 1439.
    #[component(name = "minute-of-day")]
    pub minute_of_day: u16,
}

/// How busy the keys are at this sidecar.
#[derive(ComponentType, Lift, Lower, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[component(record)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Load {
    /// Leases held on the key.
    pub held: u32,
    /// Requests that wait for it.
    pub waiters: u32,
    /// How long the first in line has been waiting, in milliseconds.
    #[component(name = "oldest-wait-ms")]
    pub oldest_wait_ms: u64,
    /// Leases of the asking session, on all keys.
    #[component(name = "held-by-session")]
    pub held_by_session: u32,
    /// Leases of the asking uid, on all keys.
    #[component(name = "held-by-uid")]
    pub held_by_uid: u32,
}

/// A counter as it stands before the request.
#[derive(ComponentType, Lift, Lower, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[component(record)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Counter {
    /// As the policy named it, without the window.
    pub name: Arc<str>,
    /// Requests counted in the present window.
    pub value: u64,
    /// Until the window ends, in milliseconds.
    #[component(name = "resets-in-ms")]
    pub resets_in_ms: u64,
}

/// One request, with all that a decision may depend on.
#[derive(ComponentType, Lift, Lower, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[component(record)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Request {
    /// What is asked for.
    pub operation: Operation,
    /// The keys, 1 to 64.
    pub keys: Vec<Arc<str>>,
    /// How much of them.
    pub mode: Mode,
    /// Units asked for.
    pub permits: u32,
    /// Units there are.
    pub limit: u32,
    /// Life of a timed lease, in milliseconds.
    #[component(name = "ttl-ms")]
    pub ttl_ms: Option<u64>,
    /// Longest hold, in milliseconds.
    #[component(name = "max-hold-ms")]
    pub max_hold_ms: Option<u64>,
    /// Longest wait, in milliseconds; absent = for ever.
    #[component(name = "wait-ms")]
    pub wait_ms: Option<u64>,
    /// A rate's or a window's length, in milliseconds.
    #[component(name = "per-ms")]
    pub per_ms: Option<u64>,
    /// Higher goes first.
    pub priority: i32,
    /// From 1.
    pub attempt: u32,
    /// The sequential actor that asks.
    pub owner: Option<Arc<str>>,
    /// What the client added.
    pub meta: Vec<(Arc<str>, Arc<str>)>,
    /// Who asks.
    pub peer: Peer,
    /// When. The caller says `unix_ms`, the host the rest.
    pub clock: Clock,
    /// How busy the keys are.
    pub load: Load,
    /// Keys that the owner holds.
    pub held: Vec<Arc<str>>,
    /// The policy's counters: the host's to fill in. What a caller puts here is not looked at, except where a request
    /// is [explained](crate::Chain::explain) with counters of its own.
    pub counters: Vec<Counter>,
}

impl Default for Request {
    /// Nobody wants nothing, exclusively, for ever, for the first time.
    fn default() -> Request {
        Request {
            operation: Operation::Acquire,
            keys: Vec::new(),
            mode: Mode::Exclusive,
            permits: 1,
            limit: 1,
            ttl_ms: None,
            max_hold_ms: None,
            wait_ms: None,
            per_ms: None,
            priority: 0,
            attempt: 1,
            owner: None,
            meta: Vec::new(),
            peer: Peer::default(),
            clock: Clock::default(),
            load: Load::default(),
            held: Vec::new(),
            counters: Vec::new(),
        }
    }
}

/// Changes to a request; what is absent stays.
#[derive(ComponentType, Lift, Lower, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[component(record)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Edits {
    /// Another key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Arc<str>>,
    /// Another time to live, in milliseconds.
    #[component(name = "ttl-ms")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
    /// Another longest hold, in milliseconds.
    #[component(name = "max-hold-ms")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_hold_ms: Option<u64>,
    /// Another longest wait, in milliseconds.
    #[component(name = "wait-ms")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait_ms: Option<u64>,
    /// Another priority.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
    /// Refuse instead of queueing behind that many.
    #[component(name = "max-waiters")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_waiters: Option<u32>,
}

/// Why a request is denied.
#[derive(ComponentType, Lift, Lower, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[component(record)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Denial {
    /// For programs.
    #[component(name = "reason-code")]
    pub reason_code: String,
    /// For people.
    pub message: String,
    /// When to ask again, in milliseconds from now.
    #[component(name = "retry-after-ms")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

/// What a policy says.
#[derive(ComponentType, Lift, Lower, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[component(variant)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Nothing against it.
    #[component(name = "allow")]
    Allow,
    /// Nothing against it if it is changed.
    #[component(name = "edit")]
    Edit(Edits),
    /// No.
    #[component(name = "deny")]
    Deny(Denial),
    /// Not mine to decide.
    #[component(name = "abstain")]
    Abstain,
}

/// The answer to a request.
#[derive(ComponentType, Lift, Lower, Clone, Debug, PartialEq, Eq)]
#[component(record)]
pub struct Decision {
    /// Yes, yes with changes, no, or not mine.
    pub verdict: Verdict,
    /// Counters to add 1 to.
    pub count: Vec<String>,
    /// How long the answer may be repeated, in milliseconds.
    #[component(name = "cache-ms")]
    pub cache_ms: u32,
}

/// How important a log line is.
#[derive(
    ComponentType, Lift, Lower, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord,
)]
#[component(enum)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Level {
    /// For who develops the policy.
    #[component(name = "debug")]
    Debug,
    /// Worth knowing.
    #[component(name = "info")]
    Info,
    /// Somebody should look.
    #[component(name = "warn")]
    Warn,
    /// Broken.
    #[component(name = "error")]
    Error,
}

/// Something that happened to a key.
#[derive(ComponentType, Lift, Lower, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[component(record)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Event {
    /// Rises by 1; the observer's queue sets it.
    pub seq: u64,
    /// Milliseconds since 1970, UTC.
    #[component(name = "unix-ms")]
    pub unix_ms: u64,
    /// What happened.
    pub kind: Arc<str>,
    /// To which key.
    pub key: Arc<str>,
    /// Fence of the lease, or 0.
    pub fence: u64,
    /// User id of the client.
    pub uid: u32,
    /// What the client says it is called.
    pub app: Arc<str>,
    /// How long it waited, in milliseconds.
    #[component(name = "wait-ms")]
    pub wait_ms: u64,
    /// How long it was held, in milliseconds.
    #[component(name = "hold-ms")]
    pub hold_ms: u64,
    /// The rest, for people.
    pub detail: Arc<str>,
}
