//! The keys in use in the whole fleet: what `ls --fleet` shows.
//!
//! Owns the JSON, made of what the store knows of all sidecars and of what this one knows of its own clients, and how many
//! such questions there are at a time. Of other sidecars only they themselves know who their clients are, how many of them
//! wait, and whether a tenure is merely kept at hand (P10).

use super::call::Caller;
use super::problem::ProblemDocument;
use super::response::{Answer, json};
use super::views::{KeyState, Listing};
use crate::clock::boottime;
use crate::problem::Problem;
use crate::reply;
use hyper::StatusCode;
use serde::Serialize;
use sidelock_engine::store::{Peeked, PeekedEntry};
use sidelock_engine::view::KeyView;
use sidelock_engine::{Incarnation, Key, Mode, Refusal, WHOLE};
use sidelock_store::listing::{Cut, KEYS_LISTED_MAX, NAMES_SCANNED_MAX};
use sidelock_wire::Code;
use std::cell::Cell;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Listings of the fleet that one sidecar makes at a time.
const QUESTIONS_MAX: u32 = 2;

/// What `GET /v1/locks` answers.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only the document names both in one")]
pub(crate) enum AnyListing {
    /// Without `fleet`.
    Here(Listing),
    /// With `fleet=1`.
    Fleet(FleetListing),
}

/// What `GET /v1/locks?fleet=1` answers.
#[derive(Serialize, ToSchema)]
pub(crate) struct FleetListing {
    /// The sidecar that looked.
    sidecar: String,
    /// The keys in use, in the order of their bytes.
    keys: Vec<FleetKey>,
    /// There may be more; `why_truncated` says what ended the listing.
    truncated: bool,
    /// `keys`: so many are listed as are listed at most, ask with a longer prefix; `names`: the store has more names than are
    /// looked through at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    why_truncated: Option<&'static str>,
    /// The limit that ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<usize>,
}

/// A key in use somewhere.
#[derive(Serialize, ToSchema)]
struct FleetKey {
    /// The key.
    key: String,
    /// What it names: `lock` (a semaphore and a rate are locks too) or `once`.
    space: &'static str,
    /// Units of a semaphore; null for a lock.
    limit: Option<u32>,
    /// Sidecars that have it.
    holders: Vec<FleetHolder>,
    /// Sidecars that wait for it in the store, in order.
    queue: Vec<FleetWaiter>,
    /// Requests that wait, at least: those of this sidecar, and one for each other sidecar in the queue.
    waiting: usize,
    /// What this sidecar knows of its own clients, if any of them has to do with it.
    here: Option<KeyState>,
}

/// A sidecar that has units of a key.
#[derive(Serialize, ToSchema)]
struct FleetHolder {
    /// Its incarnation.
    sidecar: String,
    /// `exclusive`, `shared` or `permits`.
    mode: &'static str,
    /// How many permits.
    #[serde(skip_serializing_if = "Option::is_none")]
    permits: Option<u32>,
    /// Seconds until it loses them, unless they are renewed.
    expires_in: f64,
    /// It is kept for the next request there, and nobody uses it. Absent: only that sidecar knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    idle: Option<bool>,
}

/// A sidecar in the store's queue.
#[derive(Serialize, ToSchema)]
struct FleetWaiter {
    /// Its incarnation.
    sidecar: String,
    /// It is its turn.
    offered: bool,
}

/// The questions under way.
#[derive(Default)]
pub(crate) struct Questions(Cell<u32>);

/// One of them.
struct Question<'a>(&'a Questions);

impl Questions {
    fn begin(&self) -> Result<Question<'_>, ProblemDocument> {
        if self.0.get() >= QUESTIONS_MAX {
            let what =
                format!("{QUESTIONS_MAX} listings of the fleet are under way already; wait for one of them");
            return Err(Problem::new(Code::TooMany, what).limited(QUESTIONS_MAX).into());
        }
        self.0.set(self.0.get() + 1);
        Ok(Question(self))
    }
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        self.0.0.set(self.0.0.get() - 1);
    }
}

/// `GET /v1/locks?fleet=1`: the keys in use at any sidecar.
pub(crate) async fn list(caller: &Caller, prefix: &str) -> Result<Answer, ProblemDocument> {
    let door = &caller.door;
    let _question = door.fleet.begin()?;
    let listed = door.handle.list_fleet(prefix).await;
    let views = door.handle.list(prefix, KEYS_LISTED_MAX + 1).await;
    let views = views.ok_or_else(ProblemDocument::shutting_down)?;
    let listing = match listed {
        Some(Ok(listing)) => listing,
        Some(Err(why)) => {
            let what = format!("the store can not be listed: {why}");
            return Err(ProblemDocument::new(Code::StoreUnavailable, &what));
        }
        None => return Err(reply::problem(&Refusal::StoreUnavailable).into()),
    };
    let me = door.gate.place().incarnation;
    let records = listing.keys.into_iter().map(|(key, record)| (key, (record, None)));
    let mut keys: BTreeMap<Key, (Peeked, Option<KeyView>)> = records.collect();
    for view in views {
        let key = view.key.clone();
        keys.entry(key).or_default().1 = Some(view);
    }
    let cut = if keys.len() > KEYS_LISTED_MAX { Some(Cut::Keys) } else { listing.cut };
    let keys = keys.into_iter().take(KEYS_LISTED_MAX);
    let (why_truncated, limit) = match cut {
        None => (None, None),
        Some(Cut::Keys) => (Some("keys"), Some(KEYS_LISTED_MAX)),
        Some(Cut::Names) => (Some("names"), Some(NAMES_SCANNED_MAX)),
    };
    let listing = FleetListing {
        sidecar: me.to_string(),
        keys: keys.map(|(key, (record, view))| FleetKey::new(me, &key, &record, view)).collect(),
        truncated: cut.is_some(),
        why_truncated,
        limit,
    };
    Ok(json(StatusCode::OK, &listing))
}

impl FleetKey {
    fn new(me: Incarnation, key: &Key, record: &Peeked, view: Option<KeyView>) -> FleetKey {
        let known = !record.tenures.is_empty() || !record.queue.is_empty();
        let limit = if known { record.limit } else { view.as_ref().map_or(WHOLE, |view| view.limit) };
        let tenure = view.as_ref().and_then(|view| view.tenure.as_ref());
        let mut holders: Vec<FleetHolder> = record
            .tenures
            .iter()
            .map(|held| {
                let idle = tenure.filter(|tenure| tenure.id == held.id).map(|tenure| tenure.idle);
                FleetHolder::new(held.id.incarnation, limit, held.units, held.remaining.as_secs_f64(), idle)
            })
            .collect();
        // On the memory store this sidecar is the only one; elsewhere its record was looked at a moment before.
        if let Some(tenure) = tenure.filter(|_| holders.iter().all(|holder| holder.sidecar != me.to_string()))
        {
            let left = tenure.deadline.since(boottime()).as_secs_f64();
            holders.push(FleetHolder::new(me, limit, tenure.units, left, Some(tenure.idle)));
        }
        let others = record.queue.iter().filter(|entry| entry.id.incarnation != me).count();
        let queue = record.queue.iter().map(FleetWaiter::new).collect();
        FleetKey {
            key: key.as_str().to_owned(),
            space: key.space().name(),
            limit: (limit != WHOLE).then_some(limit),
            holders,
            queue,
            waiting: others + view.as_ref().map_or(0, |view| view.waiters.len()),
            here: view.map(|view| KeyState::new(view, boottime())),
        }
    }
}

impl FleetHolder {
    fn new(sidecar: Incarnation, limit: u32, units: u32, expires_in: f64, idle: Option<bool>) -> FleetHolder {
        let mode = match (limit, units) {
            (WHOLE, WHOLE) => Mode::Exclusive,
            (WHOLE, _) => Mode::Shared,
            (limit, permits) => Mode::Permits { permits, limit },
        };
        let permits = if let Mode::Permits { permits, .. } = mode { Some(permits) } else { None };
        FleetHolder { sidecar: sidecar.to_string(), mode: mode.name(), permits, expires_in, idle }
    }
}

impl FleetWaiter {
    fn new(entry: &PeekedEntry) -> FleetWaiter {
        FleetWaiter { sidecar: entry.id.incarnation.to_string(), offered: entry.offered }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_questions_are_answered_at_a_time_and_the_next_is_told() {
        let questions = Questions::default();
        let under_way: Vec<_> = (0..QUESTIONS_MAX).map(|_| questions.begin().ok()).collect();
        assert!(under_way.iter().all(Option::is_some));
        let refused = questions.begin().err().map(|problem| serde_json::to_value(problem).unwrap());
        let refused = refused.expect("one too many");
        assert_eq!((&refused["code"], &refused["limit"]), (&"too_many".into(), &QUESTIONS_MAX.into()));
        drop(under_way);
        assert!(questions.begin().is_ok());
    }
}
