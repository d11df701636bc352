//! `/v1/once/{key}`: a turn, or what somebody else's turn left; and `/v1/leases/{id}/result`, its finish.
//!
//! Owns the body, the answers and how results are written. Must not know who gets the turn: it is acquired as any lease.

use super::acquire::{self, Wish};
use super::base64::base64;
use super::body::{Fields, Span, TTL_DEFAULT};
use super::call::Caller;
use super::lease::{Lease, of_this_life, unexpected};
use super::path::LeaseId;
use super::problem::ProblemDocument;
use super::repeat;
use super::response::{Answer, json};
use crate::reply::unix_ms;
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use sidelock_engine::store::Success;
use sidelock_engine::{LeaseSecret, Reply, Space};
use sidelock_wire::{Align, LeaseName, Life, Scope, Window};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// What `POST /v1/once/{key}` takes.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
pub(crate) struct OnceBody {
    /// How long it stays done, at most 366d: that of the turn that succeeds counts. Required.
    #[schema(value_type = String, example = "24h")]
    pub(crate) per: Option<Span>,
    /// `rolling`: the window begins with the grant of the turn. `utc`: it is one of those that follow each other since
    /// 1970-01-01T00:00:00Z, so that `24h` ends at midnight UTC. Default rolling.
    #[schema(value_type = Option<String>)]
    pub(crate) align: Option<AlignName>,
    /// How long to wait for whoever has the turn, at most 10m. Default 0s: one try.
    #[schema(value_type = Option<String>, example = "5m")]
    pub(crate) wait: Option<Span>,
    /// How long the turn lives without a renewal. Default 30s.
    #[schema(value_type = Option<String>, example = "1m")]
    pub(crate) ttl: Option<Span>,
    /// The turn is lost this long after its grant, whatever renews it. Default: never.
    #[schema(value_type = Option<String>, example = "10m")]
    pub(crate) max_hold: Option<Span>,
    /// The sequential actor that asks, for the search for deadlocks.
    pub(crate) owner: Option<String>,
    /// Ahead of lower ones; one point is worth a second of waiting. From -100 to 100, default 0.
    pub(crate) priority: Option<i32>,
    /// Words of the asker's own: policies see them, and nobody else.
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    pub(crate) meta: Option<BTreeMap<String, String>>,
}

impl Fields for OnceBody {
    const NAMES: &'static [&'static str] =
        &["per", "align", "wait", "ttl", "max_hold", "owner", "priority", "meta"];
}

/// Where a window begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum AlignName {
    Rolling,
    Utc,
}

/// A turn, or why there is none to be had.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Once {
    /// The turn is the asker's: do it, then PUT the result to `/v1/leases/{id}/result`. DELETE the lease to give it back.
    Won {
        /// True.
        won: bool,
        /// The turn.
        lease: Lease,
    },
    /// Somebody did it.
    Done {
        /// False.
        won: bool,
        /// What they left, in base 64.
        result_base64: String,
        /// When, in milliseconds since the Unix epoch, by the store's clock.
        finished_at: u64,
        /// When the next one may run, in the same measure.
        window_end: u64,
    },
}

/// A turn that succeeded.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Finished {
    /// When, in milliseconds since the Unix epoch, by the store's clock.
    finished_at: u64,
    /// When the next one may run, in the same measure.
    window_end: u64,
    /// Where it is kept: `primary`, the store's primary, which has not waited for its replicas; `memory`, this sidecar.
    durability: &'static str,
}

impl TryFrom<OnceBody> for Wish {
    type Error = ProblemDocument;

    fn try_from(body: OnceBody) -> Result<Wish, ProblemDocument> {
        let missing = "is missing; say how long it stays done, as in {\"per\":\"24h\"}";
        let per = body.per.ok_or_else(|| ProblemDocument::bad_field("per", missing))?.0;
        let align = match body.align {
            None | Some(AlignName::Rolling) => Align::Rolling,
            Some(AlignName::Utc) => Align::Utc,
        };
        Ok(Wish {
            meta: acquire::admit_meta(body.meta)?,
            wait: body.wait,
            ttl: body.ttl,
            max_hold: body.max_hold,
            owner: body.owner,
            priority: body.priority.unwrap_or(0),
            once: Some(Window { per, align }),
            ..Wish::default()
        })
    }
}

/// Why an acquire brought no lease.
enum NoTurn {
    Done(Success),
    /// The turn that this request already had.
    Over(ProblemDocument),
    Problem(ProblemDocument),
}

impl From<repeat::Over> for NoTurn {
    fn from(over: repeat::Over) -> NoTurn {
        NoTurn::Over(over.0)
    }
}

impl From<ProblemDocument> for NoTurn {
    fn from(problem: ProblemDocument) -> NoTurn {
        NoTurn::Problem(problem)
    }
}

/// `POST`: the turn, as a timed lease, or what is done.
pub(crate) async fn enter(
    caller: &Caller,
    key: &[u8],
    wish: &Wish,
    repeats: Option<repeat::Ticket>,
) -> Result<Answer, ProblemDocument> {
    let turn = match repeats {
        Some(ticket) => {
            let repeated = repeat::once(caller, ticket, || turn(caller, key, wish)).await;
            match repeated {
                // Where it succeeded, that is the answer to who asks again.
                Err(NoTurn::Over(problem)) => {
                    Err(left(caller, key).await?.map_or(NoTurn::Problem(problem), NoTurn::Done))
                }
                other => other,
            }
        }
        None => turn(caller, key, wish).await.map(|(_, lease)| lease),
    };
    let once = match turn {
        Ok(lease) => Once::Won { won: true, lease },
        Err(NoTurn::Problem(problem) | NoTurn::Over(problem)) => return Err(problem),
        Err(NoTurn::Done(success)) => Once::Done {
            won: false,
            result_base64: base64(&success.result),
            finished_at: unix_ms(success.finished_at),
            window_end: unix_ms(success.window_end),
        },
    };
    Ok(json(StatusCode::OK, &once))
}

/// What somebody's turn left, as far as it is known here.
async fn left(caller: &Caller, key: &[u8]) -> Result<Option<Success>, ProblemDocument> {
    let key = caller.door.gate.key(key)?.in_space(Space::Once);
    caller.door.handle.done(key).await.ok_or_else(ProblemDocument::shutting_down)
}

async fn turn(caller: &Caller, key: &[u8], wish: &Wish) -> Result<(LeaseSecret, Lease), NoTurn> {
    let life = Life::Timed { ttl: wish.ttl.map_or(TTL_DEFAULT, |ttl| ttl.0) };
    let call = acquire::ask(caller, key, wish, life, false)?;
    match call.answer().await? {
        Reply::Done(success) => Err(NoTurn::Done(success)),
        granted => Ok(acquire::timed_lease(caller, granted)?),
    }
}

/// `PUT`: the turn succeeded, and the body is what it leaves.
pub(crate) async fn finish(caller: &Caller, id: LeaseId, result: &[u8]) -> Result<Answer, ProblemDocument> {
    of_this_life(caller, id)?;
    let call = caller.call();
    let gate = &caller.door.gate;
    call.send(gate.finish(call.session(), call.request(), LeaseName::Timed(id.secret), result)?);
    match call.answer().await? {
        Reply::Finished(success) => {
            let finished = Finished {
                finished_at: unix_ms(success.finished_at),
                window_end: unix_ms(success.window_end),
                durability: if gate.identity().scope == Scope::Fleet { "primary" } else { "memory" },
            };
            Ok(json(StatusCode::OK, &finished))
        }
        other => Err(unexpected(&other)),
    }
}
