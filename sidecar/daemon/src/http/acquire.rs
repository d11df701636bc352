//! Acquiring: from a body to a lease.
//!
//! Owns this door's defaults (`wait` 0, `ttl` 30s) and its bound of the wait. Must not know how the engine decides.

use super::body::{LockBody, LockMode, LocksBody, SemaphoreBody, Span, TTL_DEFAULT};
use super::call::{Call, Caller};
use super::lease::{Lease, Leases, unexpected};
use super::problem::ProblemDocument;
use super::response::{Answer, json};
use super::{repeat, stream};
use crate::config::format_duration;
use crate::gate::Meta;
use hyper::StatusCode;
use sidelock_engine::{Grant, LeaseSecret, Reply};
use sidelock_wire::{Acquire, AcquireAll, Life, Mode, Window};
use std::collections::BTreeMap;
use std::time::Duration;

/// Bytes of all names and values of `meta`: each request may carry them through every policy.
const META_BYTES_MAX: usize = 4096;

/// What a body asks for, before the gate has seen it.
pub(crate) struct Wish {
    pub(super) mode: Mode,
    pub(super) wait: Option<Span>,
    pub(super) ttl: Option<Span>,
    pub(super) max_hold: Option<Span>,
    pub(super) per: Option<Span>,
    pub(super) owner: Option<String>,
    pub(super) reentrant: bool,
    pub(super) priority: i32,
    pub(super) once: Option<Window>,
    pub(super) meta: Meta,
}

impl Default for Wish {
    fn default() -> Wish {
        Wish {
            mode: Mode::Exclusive,
            wait: None,
            ttl: None,
            max_hold: None,
            per: None,
            owner: None,
            reentrant: false,
            priority: 0,
            once: None,
            meta: Meta::new(),
        }
    }
}

impl TryFrom<LockBody> for Wish {
    type Error = ProblemDocument;

    fn try_from(body: LockBody) -> Result<Wish, ProblemDocument> {
        Ok(Wish {
            meta: admit_meta(body.meta)?,
            mode: match body.mode.unwrap_or(LockMode::Exclusive) {
                LockMode::Exclusive => Mode::Exclusive,
                LockMode::Shared => Mode::Shared,
            },
            wait: body.wait,
            ttl: body.ttl,
            max_hold: body.max_hold,
            owner: body.owner,
            reentrant: body.reentrant.unwrap_or(false),
            priority: body.priority.unwrap_or(0),
            ..Wish::default()
        })
    }
}

impl TryFrom<SemaphoreBody> for Wish {
    type Error = ProblemDocument;

    fn try_from(body: SemaphoreBody) -> Result<Wish, ProblemDocument> {
        // Whether the key's class says how many there are, the gate knows.
        let limit = body.limit.unwrap_or(0);
        Ok(Wish {
            meta: admit_meta(body.meta)?,
            mode: Mode::Permits { permits: body.permits.unwrap_or(1), limit },
            wait: body.wait,
            ttl: body.ttl,
            max_hold: body.max_hold,
            per: body.per,
            owner: body.owner,
            reentrant: body.reentrant.unwrap_or(false),
            priority: body.priority.unwrap_or(0),
            ..Wish::default()
        })
    }
}

/// Words for policies to read.
pub(super) fn admit_meta(meta: Option<BTreeMap<String, String>>) -> Result<Meta, ProblemDocument> {
    let bytes: usize = meta.iter().flatten().map(|(name, value)| name.len() + value.len()).sum();
    match bytes <= META_BYTES_MAX {
        true => Ok(meta.into_iter().flatten().map(|(name, value)| (name.into(), value.into())).collect()),
        false => {
            let what = format!("has {bytes} bytes of names and values; at most {META_BYTES_MAX} are allowed");
            Err(ProblemDocument::bad_field("meta", &what))
        }
    }
}

impl Wish {
    /// The request that the gate judges.
    fn request<'a>(&'a self, key: &'a [u8], wait: Duration, life: Life, streamed: bool) -> Acquire<'a> {
        Acquire {
            request: 0,
            key,
            mode: self.mode,
            wait: Some(wait),
            life,
            max_hold: self.max_hold.map(|span| span.0),
            per: self.per.map(|span| span.0),
            owner: self.owner.as_deref(),
            reentrant: self.reentrant,
            priority: self.priority,
            // A try never queues, whatever the sidecar does behind the scenes to answer it (P10).
            notify_queued: streamed && !wait.is_zero(),
            once: self.once,
        }
    }
}

/// `POST`: a timed lease. With an `Idempotency-Key` a repeated request gets the same one.
pub(crate) async fn timed(
    caller: &Caller,
    key: &[u8],
    wish: &Wish,
    repeats: Option<repeat::Ticket>,
) -> Result<Answer, ProblemDocument> {
    let lease = match repeats {
        Some(ticket) => repeat::once(caller, ticket, || grant(caller, key, wish)).await?,
        None => grant(caller, key, wish).await?.1,
    };
    Ok(json(StatusCode::OK, &lease))
}

/// Acquires; the secret stands beside the lease for who must find it again.
async fn grant(caller: &Caller, key: &[u8], wish: &Wish) -> Result<(LeaseSecret, Lease), ProblemDocument> {
    let life = Life::Timed { ttl: wish.ttl.map_or(TTL_DEFAULT, |ttl| ttl.0) };
    let call = ask(caller, key, wish, life, false)?;
    timed_lease(caller, call.answer().await?)
}

/// The lease of a grant; the secret stands beside it.
pub(super) fn timed_lease(caller: &Caller, reply: Reply) -> Result<(LeaseSecret, Lease), ProblemDocument> {
    match reply {
        Reply::Granted(grant) => granted(caller, &grant),
        other => Err(unexpected(&other)),
    }
}

/// Several keys, all or nothing.
pub(crate) async fn several(
    caller: &Caller,
    body: LocksBody,
    repeats: Option<repeat::Ticket>,
) -> Result<Answer, ProblemDocument> {
    let LocksBody { keys, wait, ttl, max_hold, mode, owner, priority, meta } = body;
    let lock = LockBody { wait, ttl, max_hold, mode, owner, priority, meta, reentrant: None };
    let wish = Wish::try_from(lock)?;
    let keys = keys.filter(|keys| !keys.is_empty()).ok_or_else(|| {
        ProblemDocument::bad_field("keys", "is missing; name the keys, as in {\"keys\":[\"a\",\"b\"]}")
    })?;
    let leases = match repeats {
        Some(ticket) => repeat::once_all(caller, ticket, || grant_several(caller, &keys, &wish)).await?,
        None => grant_several(caller, &keys, &wish).await?.into_iter().map(|(_, lease)| lease).collect(),
    };
    Ok(json(StatusCode::OK, &Leases { leases }))
}

async fn grant_several(
    caller: &Caller,
    keys: &[String],
    wish: &Wish,
) -> Result<Vec<(LeaseSecret, Lease)>, ProblemDocument> {
    let life = Life::Timed { ttl: wish.ttl.map_or(TTL_DEFAULT, |ttl| ttl.0) };
    // Of more the gate says that they are too many; until then each would be compared with all classes.
    let most = caller.door.gate.rules().limits.keys_per_request_max;
    let wait = keys.iter().take(most as usize).map(|key| admit_wait(caller, key.as_bytes(), wish.wait));
    let wait = wait.collect::<Result<Vec<_>, _>>()?.into_iter().min().unwrap_or_default();
    let call = caller.call();
    let mut first = wish.request(keys[0].as_bytes(), wait, life, false);
    first.request = call.request();
    let others = (call.request() + 1..).zip(keys[1..].iter().map(|key| key.as_bytes())).collect();
    let admitted = caller.door.gate.acquire_all(call.session(), &AcquireAll { first, others })?;
    call.acquire(admitted.with_meta(wish.meta.clone()));
    match call.answer().await? {
        Reply::GrantedAll(grants) => grants.into_iter().map(|(_, grant)| granted(caller, &grant)).collect(),
        other => Err(unexpected(&other)),
    }
}

/// A new timed lease, as it is written.
pub(crate) fn granted(caller: &Caller, grant: &Grant) -> Result<(LeaseSecret, Lease), ProblemDocument> {
    let secret = grant.secret.ok_or_else(|| unexpected(&Reply::Granted(grant.clone())))?;
    let identity = caller.door.gate.identity();
    let key = grant.key.as_str();
    Ok((secret, Lease::new(identity, Some(secret), key, grant.mode, grant.fence, grant.deadline)))
}

/// `POST ?stream=1`: a lease that lives as long as the connection, and its story line by line.
pub(crate) async fn streamed(caller: &Caller, key: &[u8], wish: &Wish) -> Result<Answer, ProblemDocument> {
    let life = Life::Session { ttl: wish.ttl.map(|ttl| ttl.0) };
    let call = ask(caller, key, wish, life, true)?;
    stream::begin(caller, call, wish.per.is_some()).await
}

pub(super) fn ask(
    caller: &Caller,
    key: &[u8],
    wish: &Wish,
    life: Life,
    streamed: bool,
) -> Result<Call, ProblemDocument> {
    let wait = admit_wait(caller, key, wish.wait)?;
    let call = caller.call();
    let mut request = wish.request(key, wait, life, streamed);
    request.request = call.request();
    call.acquire(caller.door.gate.acquire(call.session(), &request)?.with_meta(wish.meta.clone()));
    Ok(call)
}

/// A wait that is not said is the class's; without one it is zero. An HTTP client that waits longer than ten minutes has
/// some proxy or timeout in the way, so the wait is bounded.
pub(crate) fn admit_wait(
    caller: &Caller,
    key: &[u8],
    said: Option<Span>,
) -> Result<Duration, ProblemDocument> {
    let rules = caller.door.gate.rules();
    let max = rules.limits.http_wait_max;
    match said {
        Some(Span(wait)) if wait > max => {
            Err(ProblemDocument::bad_field("wait", &format!("0s to {} are allowed", format_duration(max))))
        }
        Some(Span(wait)) => Ok(wait),
        None => {
            let class = std::str::from_utf8(key).ok().and_then(|key| rules.class_of(key));
            Ok(class.and_then(|class| class.default_wait).unwrap_or_default().min(max))
        }
    }
}
