//! Answers to those who only look: keys, the sidecar itself, health, metrics.
//!
//! Owns their JSON and texts. Must not change anything.

use super::call::Caller;
use super::path::{Probe, Query};
use super::problem::ProblemDocument;
use super::response::{Answer, json, with_type};
use super::views::{KeyLook, LIST_MAX, Listing, SHOWN_MAX};
use super::{Door, fleet};
use crate::clock::boottime;
use crate::health;
use hyper::StatusCode;
use serde::Serialize;
use sidelock_engine::survey::Around;
use sidelock_engine::{Key, Space};
use utoipa::ToSchema;

/// What `GET /v1/info` answers.
#[derive(Serialize, ToSchema)]
pub(crate) struct Info {
    /// The sidecar's version.
    version: &'static str,
    /// Its life: leases of another one can not be renewed.
    incarnation: String,
    /// `memory` or `redis`.
    store: &'static str,
    /// Whether the store can be talked to.
    store_up: bool,
    /// How far its locks reach: `host` or `fleet`.
    scope: &'static str,
    /// What holds through a loss of the store's data: `local`, `bounded` or `strict`.
    guarantee: &'static str,
    /// The part of the store that it works in.
    namespace: String,
    /// Whether it is about to go.
    draining: bool,
    /// Its `CLOCK_BOOTTIME`, in nanoseconds: a client whose own differs is on another host.
    boottime_ns: u64,
    /// Open sessions.
    sessions: usize,
    /// Live leases.
    leases: usize,
    /// Acquires that wait.
    waiters: usize,
    /// Keys in use.
    keys: usize,
}

/// `GET /v1/locks`: the keys in use.
pub(crate) async fn list(caller: &Caller, query: &Query) -> Result<Answer, ProblemDocument> {
    let prefix = query.get("prefix").unwrap_or_default();
    match query.get("fleet") {
        None => {}
        Some("1") => return fleet::list(caller, prefix).await,
        Some(_) => return Err(ProblemDocument::bad_field("fleet", "is 1, or left out")),
    }
    let views = caller.door.handle.list(prefix, LIST_MAX + 1, SHOWN_MAX).await;
    let views = views.ok_or_else(ProblemDocument::shutting_down)?;
    let me = caller.door.gate.identity().incarnation;
    Ok(json(StatusCode::OK, &Listing::new(me, views, boottime())))
}

/// `GET /v1/locks/{key}`: one key, as a lock or as what is done once, and why it is not free.
pub(crate) async fn look(caller: &Caller, key: &[u8], query: &Query) -> Result<Answer, ProblemDocument> {
    let key = in_space(caller.door.gate.key(key)?, query)?;
    let handle = &caller.door.handle;
    let survey =
        handle.survey(Around::Alone(key.clone())).await.ok_or_else(ProblemDocument::shutting_down)?;
    let view = handle.look(&key, shown(query)?).await.ok_or_else(ProblemDocument::shutting_down)?;
    let scope = caller.door.gate.identity().scope;
    let rulings = handle.policies().rulings(&key);
    Ok(json(StatusCode::OK, &KeyLook::new(&key, view, &survey, scope).with_rulings(rulings)))
}

/// How many holders and waiters are wanted.
fn shown(query: &Query) -> Result<usize, ProblemDocument> {
    let Some(text) = query.get("shown") else { return Ok(SHOWN_MAX) };
    let number = text.parse().ok().filter(|number| *number <= SHOWN_MAX);
    number.ok_or_else(|| ProblemDocument::bad_field("shown", &format!("is a number from 0 to {SHOWN_MAX}")))
}

/// The key in the space that a look asks for: as a lock, or as what is done once.
pub(super) fn in_space(key: Key, query: &Query) -> Result<Key, ProblemDocument> {
    match query.get("space") {
        None | Some("lock") => Ok(key),
        Some("once") => Ok(key.in_space(Space::Once)),
        Some(_) => Err(ProblemDocument::bad_field("space", "is `lock` or `once`")),
    }
}

/// `GET /v1/info`: who answers here.
pub(crate) async fn info(caller: &Caller) -> Result<Answer, ProblemDocument> {
    let door = &caller.door;
    let counts = door.handle.counts().await.ok_or_else(ProblemDocument::shutting_down)?;
    let identity = door.gate.identity();
    Ok(json(
        StatusCode::OK,
        &Info {
            version: env!("CARGO_PKG_VERSION"),
            incarnation: identity.incarnation.to_string(),
            store: identity.store.name(),
            store_up: door.handle.health().store_up(),
            scope: identity.scope.name(),
            guarantee: identity.guarantee().name(),
            namespace: identity.namespace.clone(),
            draining: door.handle.health().draining(),
            boottime_ns: boottime().0,
            sessions: counts.sessions,
            leases: counts.leases,
            waiters: counts.waiters,
            keys: counts.keys,
        },
    ))
}

/// Health and metrics.
pub(crate) async fn probe(door: &Door, probe: Probe) -> Result<Answer, ProblemDocument> {
    let question = match probe {
        Probe::Live => health::Probe::Live,
        Probe::Ready => health::Probe::Ready,
        Probe::ReadyStore => health::Probe::ReadyStore,
        Probe::Startup => health::Probe::Startup,
        Probe::Metrics => return metrics(door).await,
    };
    let (fine, word) = door.handle.health().probe(question);
    let status = if fine { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok(with_type(status, "text/plain; charset=utf-8", format!("{word}\n").into()))
}

async fn metrics(door: &Door) -> Result<Answer, ProblemDocument> {
    let (counts, oldest_waiter) = door.handle.gauges().await.ok_or_else(ProblemDocument::shutting_down)?;
    let page = door.metrics.page(boottime(), &counts, oldest_waiter, door.handle.health().store_up());
    let media_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(with_type(StatusCode::OK, media_type, page.into()))
}
