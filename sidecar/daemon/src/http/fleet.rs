//! The keys in use in the whole fleet: what `ls --fleet` shows.
//!
//! Owns the JSON, made of what the store knows of all sidecars and of what each of them says of its own clients, and how many
//! such questions there are at a time. Of a sidecar that does not answer only the store's knowledge is shown.

use super::call::Caller;
use super::parties::{Said, permits};
use super::problem::ProblemDocument;
use super::response::{Answer, json};
use super::views::{KeyState, Listing, SHOWN_MAX};
use crate::clock::boottime;
use crate::elsewhere::elsewhere;
use crate::problem::Problem;
use crate::reply;
use hyper::StatusCode;
use serde::Serialize;
use sidelock_engine::store::Peeked;
use sidelock_engine::survey::{Around, Survey};
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
    /// Requests that wait: as many as each sidecar says, and at least one of each in the queue that says nothing.
    waiting: u64,
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
    #[serde(flatten)]
    said: Said,
}

/// A sidecar in the store's queue.
#[derive(Serialize, ToSchema)]
struct FleetWaiter {
    /// Its incarnation.
    sidecar: String,
    /// It is its turn.
    offered: bool,
    #[serde(flatten)]
    said: Said,
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
    let views = door.handle.list(prefix, KEYS_LISTED_MAX + 1, SHOWN_MAX).await;
    let views = views.ok_or_else(ProblemDocument::shutting_down)?;
    let listing = match listed {
        Some(Ok(listing)) => listing,
        Some(Err(why)) => {
            let what = format!("the store can not be listed: {why}");
            return Err(ProblemDocument::new(Code::StoreUnavailable, &what));
        }
        None => return Err(reply::problem(&Refusal::StoreUnavailable).into()),
    };
    let mut records = listing.keys;
    for view in &views {
        records.entry(view.key.clone()).or_default();
    }
    let cut = if records.len() > KEYS_LISTED_MAX { Some(Cut::Keys) } else { listing.cut };
    let records: BTreeMap<Key, Peeked> = records.into_iter().take(KEYS_LISTED_MAX).collect();
    let survey = door.handle.survey(Around::Listed(records)).await;
    let survey = survey.ok_or_else(ProblemDocument::shutting_down)?;
    let (why_truncated, limit) = match cut {
        None => (None, None),
        Some(Cut::Keys) => (Some("keys"), Some(KEYS_LISTED_MAX)),
        Some(Cut::Names) => (Some("names"), Some(NAMES_SCANNED_MAX)),
    };
    let mut views: BTreeMap<Key, KeyView> = views.into_iter().map(|view| (view.key.clone(), view)).collect();
    let keys = survey.records.keys().map(|key| FleetKey::new(&survey, key, views.remove(key)));
    let listing = FleetListing {
        sidecar: survey.sidecar.to_string(),
        keys: keys.collect(),
        truncated: cut.is_some(),
        why_truncated,
        limit,
    };
    Ok(json(StatusCode::OK, &listing))
}

impl FleetKey {
    fn new(survey: &Survey, key: &Key, view: Option<KeyView>) -> FleetKey {
        let (me, record) = (survey.sidecar, &survey.records[key]);
        let known = !record.tenures.is_empty() || !record.queue.is_empty();
        let limit = if known { record.limit } else { view.as_ref().map_or(WHOLE, |view| view.limit) };
        let declaration = |sidecar| survey.declarations.get(key).and_then(|said| said.get(&sidecar));
        let said = |sidecar| Said::new(sidecar, declaration(sidecar), survey.at);
        let holder = |sidecar: Incarnation, units, expires_in| {
            let mode = Mode::of(limit, units);
            let (mode, permits) = (mode.name(), permits(mode));
            FleetHolder { sidecar: sidecar.to_string(), mode, permits, expires_in, said: said(sidecar) }
        };
        let mut holders: Vec<FleetHolder> = record
            .tenures
            .iter()
            .map(|held| holder(held.id.incarnation, held.units, held.remaining.as_secs_f64()))
            .collect();
        // On the memory store this sidecar is the only one; elsewhere its record was looked at a moment before.
        let tenure = view.as_ref().and_then(|view| view.tenure.as_ref());
        if let Some(tenure) = tenure.filter(|_| record.tenures.iter().all(|held| held.id.incarnation != me)) {
            holders.push(holder(me, tenure.units, tenure.deadline.since(boottime()).as_secs_f64()));
        }
        let queue = record.queue.iter().map(|entry| FleetWaiter {
            sidecar: entry.id.incarnation.to_string(),
            offered: entry.offered,
            said: said(entry.id.incarnation),
        });
        FleetKey {
            key: key.as_str().to_owned(),
            space: key.space().name(),
            limit: (limit != WHOLE).then_some(limit),
            holders,
            queue: queue.collect(),
            waiting: waiting(survey, key, view.as_ref()),
            here: view.map(|view| KeyState::new(me, view, boottime())),
        }
    }
}

/// How many wait, as far as it is known.
fn waiting(survey: &Survey, key: &Key, view: Option<&KeyView>) -> u64 {
    let here = view.map_or(0, |view| (view.waiters.len() + view.waiters_left_out) as u64);
    let there = elsewhere(survey, key).into_iter().map(|other| match other.said {
        Some(declaration) => declaration.waiters.len() as u64 + u64::from(declaration.waiters_left_out),
        None => u64::from(other.entry.is_some()),
    });
    here + there.sum::<u64>()
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
