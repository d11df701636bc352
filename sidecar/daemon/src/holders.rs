//! Who has a key: a question that changes nothing.
//!
//! Owns the answer, made of the leases of this sidecar and of what the store knows of other sidecars, and how many such
//! questions of a connection may be under way. A tenure that another sidecar keeps at hand looks like one that its clients
//! use (P10): only that sidecar could tell.

use crate::clock::boottime;
use crate::frame_outlet::FrameOutlet;
use crate::handle::Handle;
use crate::outlet::Outlet;
use crate::problem::Problem;
use crate::reply;
use sidelock_engine::store::Peeked;
use sidelock_engine::survey::Around;
use sidelock_engine::view::HolderView;
use sidelock_engine::{Incarnation, Key, Mode, Refusal, WHOLE};
use sidelock_wire::{AskHolders, HOLDERS_MAX, Holder, HolderLease, Holders, Scope, ToClient};
use std::rc::Rc;
use tokio::task::spawn_local;

/// The questions of one connection.
pub(crate) struct Questions {
    outlet: Rc<FrameOutlet>,
    /// One more of these for each that is under way.
    under_way: Rc<()>,
}

impl Questions {
    /// None yet. Answers go to `outlet`.
    pub(crate) fn new(outlet: Rc<FrameOutlet>) -> Questions {
        Questions { outlet, under_way: Rc::new(()) }
    }

    /// Finds out; the answer comes later, unless it is a refusal.
    pub(crate) fn ask(&self, handle: &Handle, ask: &AskHolders<'_>) -> Option<ToClient<'static>> {
        let request = ask.request;
        let key = match handle.gate().key(ask.key) {
            Ok(key) => key,
            Err(problem) => return Some(reply::refused(request, problem)),
        };
        let limit = handle.gate().rules().limits.in_flight_per_session_max;
        if Rc::strong_count(&self.under_way) > limit as usize {
            return Some(reply::refused(request, reply::problem(&Refusal::TooMany { limit })));
        }
        let (handle, outlet, mark) = (handle.clone(), self.outlet.clone(), self.under_way.clone());
        spawn_local(async move {
            let answer = match find(&handle, key).await {
                Ok(named) => {
                    let count = u32::try_from(named.len()).unwrap_or(u32::MAX);
                    let named = named.into_iter().take(HOLDERS_MAX).collect();
                    ToClient::Holders(Holders { request, count, named })
                }
                Err(problem) => reply::refused(request, problem),
            };
            drop(mark);
            match outlet.say(&answer) {
                Ok(()) => outlet.flush(),
                // A reader that is too slow loses its connection, as with any answer.
                Err(_) => outlet.close(),
            }
        });
        None
    }
}

/// Leases here, then other sidecars.
async fn find(handle: &Handle, key: Key) -> Result<Vec<Holder>, Problem> {
    let gone = || reply::problem(&Refusal::Draining);
    let survey = handle.survey(Around::Record(key.clone())).await.ok_or_else(gone)?;
    let view = handle.look(&key).await.ok_or_else(gone)?;
    let others = match (survey.records.get(&key), handle.gate().place().scope) {
        (Some(record), _) => others(record, survey.sidecar),
        (None, Scope::Fleet) => return Err(reply::problem(&Refusal::StoreUnavailable)),
        (None, _) => Vec::new(),
    };
    let here = view.into_iter().flat_map(|view| view.holders).map(|holder| lease(holder, survey.sidecar));
    Ok(here.chain(others).collect())
}

fn lease(view: HolderView, sidecar: Incarnation) -> Holder {
    let now = boottime();
    let lease = HolderLease {
        fence: view.fence,
        held_for: now.since(view.since),
        app: view.app,
        owner: view.owner.map(|owner| owner.0.to_string()),
    };
    Holder {
        mode: reply::mode(view.mode),
        sidecar: sidecar.0,
        expires_in: view.deadline.since(now),
        lease: Some(lease),
    }
}

fn others(record: &Peeked, me: Incarnation) -> Vec<Holder> {
    let others = record.tenures.iter().filter(|tenure| tenure.id.incarnation != me).map(|tenure| {
        let mode = match (record.limit, tenure.units) {
            (WHOLE, WHOLE) => Mode::Exclusive,
            (WHOLE, _) => Mode::Shared,
            (limit, permits) => Mode::Permits { permits, limit },
        };
        let sidecar = tenure.id.incarnation.0;
        Holder { mode: reply::mode(mode), sidecar, expires_in: tenure.remaining, lease: None }
    });
    others.collect()
}
