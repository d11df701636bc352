//! Timed leases by their id: look, renew, change, release; and how any lease is written.
//!
//! Owns the lease's JSON. Must not know how leases are acquired.

use super::acquire::{admit_wait, granted};
use super::body::{self, ChangeBody, LockMode, RenewBody, TTL_DEFAULT};
use super::call::Caller;
use super::path::LeaseId;
use super::problem::ProblemDocument;
use super::response::{Answer, json, no_content};
use crate::clock::boottime;
use crate::identity::Identity;
use crate::reply;
use hyper::StatusCode;
use serde::Serialize;
use sidelock_engine::{Fence, LeaseSecret, LostReason, Mode, Refusal, Reply, Time};
use sidelock_wire::{Change, Code, LeaseName, Mode as WireMode, Secret};
use utoipa::ToSchema;

/// A lease.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Lease {
    /// A timed lease's id, which is the right to renew and release it: keep it secret. A lease of `stream=1` has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    lease: Option<String>,
    /// The key.
    key: String,
    /// `exclusive`, `shared` or `permits`.
    mode: &'static str,
    /// Units of a semaphore.
    #[serde(skip_serializing_if = "Option::is_none")]
    permits: Option<u32>,
    /// The fence token: strictly rising per key, below 2^53.
    fence: Fence,
    /// Seconds until the deadline, from now.
    expires_in: f64,
    /// The deadline, in nanoseconds of `CLOCK_BOOTTIME`.
    deadline_boottime_ns: u64,
    /// How far the lock reaches: `host` or `fleet`.
    scope: &'static str,
    /// What holds through a loss of the store's data: `local`, `bounded` or `strict`.
    guarantee: &'static str,
}

/// Leases of several keys, all of which were acquired at once.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Leases {
    /// One of each key, in the order of the keys' bytes.
    pub(crate) leases: Vec<Lease>,
}

impl Lease {
    /// A lease as it stands now.
    pub(crate) fn new(
        identity: &Identity,
        secret: Option<LeaseSecret>,
        key: &str,
        mode: Mode,
        fence: Fence,
        deadline: Time,
    ) -> Lease {
        let id = secret.map(|secret| LeaseId::new(Secret(secret.0), identity.incarnation));
        Lease {
            lease: id.map(|id| id.to_string()),
            key: key.to_owned(),
            mode: mode.name(),
            permits: match mode {
                Mode::Permits { permits, .. } => Some(permits),
                Mode::Exclusive | Mode::Shared => None,
            },
            fence,
            expires_in: deadline.since(boottime()).as_secs_f64(),
            deadline_boottime_ns: deadline.0,
            scope: identity.scope.name(),
            guarantee: identity.guarantee().name(),
        }
    }
}

/// `GET`: the lease as it stands.
pub(crate) async fn look(caller: &Caller, id: LeaseId) -> Result<Answer, ProblemDocument> {
    let lease = find(caller, id).await?;
    Ok(json(StatusCode::OK, &lease))
}

/// The lease of this id, if it lives and is the peer's.
pub(crate) async fn find(caller: &Caller, id: LeaseId) -> Result<Lease, ProblemDocument> {
    of_this_life(caller, id)?;
    let secret = LeaseSecret(id.secret.0);
    let found = caller.door.handle.timed(caller.peer.uid, secret).await;
    let (key, holder) =
        found.ok_or_else(ProblemDocument::shutting_down)?.map_err(|refusal| reply::problem(&refusal))?;
    let identity = caller.door.gate.identity();
    Ok(Lease::new(identity, Some(secret), key.as_str(), holder.mode, holder.fence, holder.deadline))
}

/// `PUT`: it lives for `ttl` from now.
pub(crate) async fn renew(caller: &Caller, id: LeaseId, body: &[u8]) -> Result<Answer, ProblemDocument> {
    let body: RenewBody = body::parse(body)?;
    let ttl = body.ttl.map_or(TTL_DEFAULT, |ttl| ttl.0);
    of_this_life(caller, id)?;
    let call = caller.call();
    call.send(caller.door.gate.renew(call.session(), call.request(), LeaseName::Timed(id.secret), ttl)?);
    match call.answer().await? {
        Reply::Renewed { .. } => look(caller, id).await,
        other => Err(unexpected(&other)),
    }
}

/// `POST`: shared instead of exclusive, at once and under the same id; or exclusive instead of shared, under a new one.
pub(crate) async fn change(caller: &Caller, id: LeaseId, body: &[u8]) -> Result<Answer, ProblemDocument> {
    let body: ChangeBody = body::parse(body)?;
    let mode = body
        .mode
        .ok_or_else(|| ProblemDocument::bad_field("mode", "is missing; say \"shared\" or \"exclusive\""))?;
    of_this_life(caller, id)?;
    let key = find(caller, id).await?.key;
    let wait = Some(admit_wait(caller, key.as_bytes(), body.wait)?);
    let mode = match mode {
        LockMode::Exclusive => WireMode::Exclusive,
        LockMode::Shared => WireMode::Shared,
    };
    let call = caller.call();
    let lease = LeaseName::Timed(id.secret);
    let change = Change { request: call.request(), lease, mode, wait };
    // An upgrade whose client leaves is taken back, and the share stays.
    call.acquire(caller.door.gate.change(call.session(), &change)?);
    match call.answer().await? {
        Reply::Downgraded { .. } => look(caller, id).await,
        Reply::Granted(grant) => Ok(json(StatusCode::OK, &granted(caller, &grant)?.1)),
        other => Err(unexpected(&other)),
    }
}

/// `DELETE`: it is free. Saying it twice is no error.
pub(crate) async fn release(caller: &Caller, id: LeaseId) -> Result<Answer, ProblemDocument> {
    of_this_life(caller, id)?;
    let call = caller.call();
    call.send(caller.door.gate.release(call.session(), call.request(), LeaseName::Timed(id.secret)));
    match call.answer().await? {
        Reply::Released => Ok(no_content()),
        other => Err(unexpected(&other)),
    }
}

/// A lease of an earlier life of the sidecar can neither be renewed nor released (P5, S5).
pub(super) fn of_this_life(caller: &Caller, id: LeaseId) -> Result<(), ProblemDocument> {
    match id.is_of(caller.door.gate.identity().incarnation) {
        true => Ok(()),
        false => Err(reply::problem(&Refusal::LeaseLost(LostReason::SidecarRestarted)).into()),
    }
}

/// The engine answered something that does not belong to the question.
pub(crate) fn unexpected(reply: &Reply) -> ProblemDocument {
    tracing::error!(?reply, "an answer that does not fit its request");
    ProblemDocument::new(Code::Internal, "the engine's answer does not fit the request")
}
