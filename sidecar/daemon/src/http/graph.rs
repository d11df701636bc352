//! Who waits for whom, in the fleet: what `graph` and `why` show beside this sidecar's own keys.
//!
//! Owns the JSON of a look at the fleet. Must not change anything. A sidecar that holds or waits and did not say who of
//! its clients does is listed as one that did not say: it may be dead.

use super::call::Caller;
use super::pages::in_space;
use super::parties::{Said, permits, seconds};
use super::path::Query;
use super::problem::ProblemDocument;
use super::response::{Answer, json};
use hyper::StatusCode;
use serde::Serialize;
use sidelock_engine::board::{BoardWait, Holding, Line};
use sidelock_engine::survey::{Around, Survey};
use sidelock_engine::{Incarnation, Key, StoreTime, WHOLE};
use utoipa::ToSchema;

/// What `GET /v1/graph` answers.
#[derive(Serialize, ToSchema)]
pub(crate) struct Graph {
    /// The sidecar that looked.
    sidecar: String,
    /// Named owners that wait.
    waits: Vec<GraphWait>,
    /// Who of them waits for whom.
    edges: Vec<GraphEdge>,
    /// What the store knows of the keys; nothing on the memory store, which has one sidecar.
    keys: Vec<GraphKey>,
    /// The store is away: what others hold and wait for may be missing.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    store_away: bool,
}

/// A named owner that waits.
#[derive(Serialize, ToSchema)]
struct GraphWait {
    /// Its sidecar's incarnation.
    sidecar: String,
    /// The owner.
    owner: String,
    /// What its client calls itself.
    app: String,
    /// Its user.
    uid: u32,
    /// What it waits for.
    key: String,
    /// `exclusive`, `shared` or `permits`.
    mode: &'static str,
    /// How many permits.
    #[serde(skip_serializing_if = "Option::is_none")]
    permits: Option<u32>,
    /// Ahead of lower ones.
    priority: i32,
    /// For how many seconds.
    waiting_for: f64,
    /// What it holds meanwhile.
    holds: Vec<GraphHolding>,
}

/// A lease of an owner that waits.
#[derive(Serialize, ToSchema)]
struct GraphHolding {
    /// The key.
    key: String,
    /// For how many seconds.
    held_for: f64,
}

/// An owner waits for another.
#[derive(Serialize, ToSchema)]
struct GraphEdge {
    /// Place of the one that waits among `waits`.
    from: usize,
    /// Place of the one that it waits for.
    to: usize,
    /// For which key.
    key: String,
    /// `held`: the other holds it; `ahead`: it waits for it too, and comes first.
    why: &'static str,
}

/// A key in the store.
#[derive(Serialize, ToSchema)]
struct GraphKey {
    /// The key.
    key: String,
    /// What it names: `lock` or `once`.
    space: &'static str,
    /// Units of a semaphore; null for a lock.
    limit: Option<u32>,
    /// Sidecars that hold it.
    holders: Vec<GraphSidecar>,
    /// Sidecars that wait for it, in order.
    queue: Vec<GraphSidecar>,
}

/// A sidecar that holds a key or waits for it.
#[derive(Serialize, ToSchema)]
struct GraphSidecar {
    /// Its incarnation.
    sidecar: String,
    /// Units of the key; null: all of a lock.
    units: Option<u32>,
    /// Seconds until it loses what it holds, unless it is renewed.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_in: Option<f64>,
    /// It is its turn.
    #[serde(skip_serializing_if = "Option::is_none")]
    offered: Option<bool>,
    #[serde(flatten)]
    said: Said,
}

/// `GET /v1/graph`: who waits for whom, around a key or around whatever owners of this sidecar wait for.
pub(crate) async fn graph(caller: &Caller, query: &Query) -> Result<Answer, ProblemDocument> {
    let key =
        query.get("key").map(|key| in_space(caller.door.gate.key(key.as_bytes())?, query)).transpose()?;
    let survey = caller
        .door
        .handle
        .survey(key.map_or(Around::Waits, Around::Key))
        .await
        .ok_or_else(ProblemDocument::shutting_down)?;
    Ok(json(StatusCode::OK, &Graph::new(&survey)))
}

impl Graph {
    fn new(survey: &Survey) -> Graph {
        let waits = || {
            survey.boards.iter().flat_map(|(sidecar, board)| {
                let lines = board.lines.iter();
                lines.flat_map(move |line| line.waits.iter().map(move |wait| (*sidecar, line, wait)))
            })
        };
        let place =
            |of: (Incarnation, u64)| waits().position(|(sidecar, _, wait)| (sidecar, wait.wait) == of);
        let edges = survey.edges.iter().filter_map(|edge| {
            let why = if edge.ahead { "ahead" } else { "held" };
            Some(GraphEdge { from: place(edge.from)?, to: place(edge.to)?, key: edge.key.to_string(), why })
        });
        Graph {
            sidecar: survey.sidecar.to_string(),
            waits: waits()
                .map(|(sidecar, line, wait)| GraphWait::new(survey.at, sidecar, line, wait))
                .collect(),
            edges: edges.collect(),
            keys: survey.records.keys().map(|key| GraphKey::new(survey, key)).collect(),
            store_away: survey.store_away,
        }
    }
}

impl GraphWait {
    fn new(now: StoreTime, sidecar: Incarnation, line: &Line, wait: &BoardWait) -> GraphWait {
        let mode = line.mode(wait.units);
        let holding = |holding: &Holding| GraphHolding {
            key: holding.key.to_string(),
            held_for: seconds(now, holding.since),
        };
        GraphWait {
            sidecar: sidecar.to_string(),
            owner: wait.name.to_string(),
            app: wait.app.to_string(),
            uid: wait.uid,
            key: line.key.to_string(),
            mode: mode.name(),
            permits: permits(mode),
            priority: wait.priority,
            waiting_for: seconds(now, wait.since),
            holds: wait.holds.iter().map(holding).collect(),
        }
    }
}

impl GraphKey {
    fn new(survey: &Survey, key: &Key) -> GraphKey {
        let record = &survey.records[key];
        let holders = record.tenures.iter().map(|held| GraphSidecar {
            expires_in: Some(held.remaining.as_secs_f64()),
            ..GraphSidecar::new(survey, key, held.id.incarnation, held.units)
        });
        let queue = record.queue.iter().map(|entry| GraphSidecar {
            offered: Some(entry.offered),
            ..GraphSidecar::new(survey, key, entry.id.incarnation, entry.units)
        });
        let holders: Vec<GraphSidecar> = holders.collect();
        let queue: Vec<GraphSidecar> = queue.collect();
        let in_use = !holders.is_empty() || !queue.is_empty();
        let limit = Some(record.limit).filter(|limit| in_use && *limit != WHOLE);
        GraphKey { key: key.to_string(), space: key.space().name(), limit, holders, queue }
    }
}

impl GraphSidecar {
    fn new(survey: &Survey, key: &Key, incarnation: Incarnation, units: u32) -> GraphSidecar {
        let asked = survey.declarations.get(key);
        let mut said = Said::new(incarnation, asked.and_then(|said| said.get(&incarnation)), survey.at);
        if asked.is_none() {
            said.known = survey.boards.contains_key(&incarnation);
        }
        GraphSidecar {
            sidecar: incarnation.to_string(),
            units: (units != WHOLE).then_some(units),
            expires_in: None,
            offered: None,
            said,
        }
    }
}
