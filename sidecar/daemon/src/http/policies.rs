//! Policies, as an operator sees them over this door.
//!
//! Owns the shape of `/v1/policies`, and of what `why` says about policies. Must not know what a policy decides.

use super::call::Caller;
use super::problem::ProblemDocument;
use super::response::{Answer, json};
use crate::policies::Policies;
use crate::rulings::{Loaded, Ruled, Ruling};
use hyper::StatusCode;
use serde::Serialize;
use sidelock_engine::Time;
use utoipa::ToSchema;

/// The policies in force: what `GET /v1/policies` answers.
#[derive(Serialize, ToSchema)]
pub(crate) struct PolicyListing {
    /// Whether this build can load any.
    built_in: bool,
    /// In the order in which they are asked.
    policies: Vec<PolicyState>,
    /// Why the newest settings or files are not in force, but those before; absent if they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<String>,
}

/// A policy in force.
#[derive(Serialize, ToSchema)]
struct PolicyState {
    /// Its name.
    name: String,
    /// SHA-256 of its file.
    sha256: String,
    /// Bytes of its file.
    bytes: usize,
    /// Bytes of its machine code, which all of its instances share.
    machine_code: usize,
    /// Bytes of linear memory of one instance.
    memory: u64,
    /// Seconds that a fresh instance takes.
    fresh: f64,
    /// Instances that are ready.
    prepared: usize,
    /// It failed too often, and is left alone for a while.
    rests: bool,
}

/// What policies did to a request for the key.
#[derive(Serialize, ToSchema)]
pub(super) struct RulingDocument {
    /// `denied` or `changed`.
    ruling: &'static str,
    /// By which policies.
    policies: Vec<String>,
    /// The reason, as a word.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason_code: Option<String>,
    /// The reason, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    /// The process's user id, from the kernel.
    uid: u32,
    /// What the client calls itself.
    app: String,
    /// Seconds since.
    ago: f64,
}

/// `GET /v1/policies`: what is in force.
pub(crate) fn list(caller: &Caller) -> Result<Answer, ProblemDocument> {
    let policies = caller.door.handle.policies();
    let listing = PolicyListing {
        built_in: Policies::BUILT_IN,
        policies: policies.loaded().into_iter().map(PolicyState::from).collect(),
        trouble: policies.trouble(),
    };
    Ok(json(StatusCode::OK, &listing))
}

impl From<Loaded> for PolicyState {
    fn from(loaded: Loaded) -> PolicyState {
        let Loaded { name, sha256, bytes, machine_code, memory, fresh, prepared, rests } = loaded;
        PolicyState { name, sha256, bytes, machine_code, memory, fresh: fresh.as_secs_f64(), prepared, rests }
    }
}

impl RulingDocument {
    pub(super) fn new(ruling: Ruling, now: Time) -> RulingDocument {
        let Ruling { at, key: _, uid, app, ruled } = ruling;
        let base = RulingDocument {
            ruling: "changed",
            policies: Vec::new(),
            reason_code: None,
            message: None,
            uid,
            app: app.to_string(),
            ago: now.since(at).as_secs_f64(),
        };
        match ruled {
            Ruled::Changed(by) => {
                RulingDocument { policies: by.iter().map(ToString::to_string).collect(), ..base }
            }
            Ruled::Denied(denial) => RulingDocument {
                ruling: "denied",
                policies: vec![denial.policy.to_string()],
                reason_code: Some(denial.reason_code.to_string()),
                message: Some(denial.message.to_string()),
                ..base
            },
        }
    }
}
