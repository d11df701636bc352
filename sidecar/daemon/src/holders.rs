//! Who has a key: a question that changes nothing.
//!
//! Owns the answer, made of the leases of this sidecar and of what the others say that the key's record names, and how many
//! such questions of a connection may be under way. A sidecar that did not say anything is a holder if the record says so,
//! even though it may only keep the key at hand (P10).

use crate::clock::boottime;
use crate::elsewhere::{Held, ago, elsewhere};
use crate::frame_outlet::FrameOutlet;
use crate::handle::Handle;
use crate::outlet::Outlet;
use crate::problem::Problem;
use crate::reply;
use sidelock_engine::declaration::DeclaredHolder;
use sidelock_engine::survey::Around;
use sidelock_engine::view::HolderView;
use sidelock_engine::{Incarnation, Key, Refusal, StoreTime};
use sidelock_wire::{AskHolders, HOLDERS_MAX, Holder, HolderClient, Holders, Scope, ToClient};
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
                Ok((count, named)) => {
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

/// Leases here, then those of other sidecars; and how many there are.
async fn find(handle: &Handle, key: Key) -> Result<(u32, Vec<Holder>), Problem> {
    let gone = || reply::problem(&Refusal::Draining);
    let survey = handle.survey(Around::Alone(key.clone())).await.ok_or_else(gone)?;
    let view = handle.look(&key, HOLDERS_MAX).await.ok_or_else(gone)?;
    if !survey.records.contains_key(&key) && handle.gate().identity().scope == Scope::Fleet {
        return Err(reply::problem(&Refusal::StoreUnavailable));
    }
    let here_left_out = view.as_ref().map_or(0, |view| view.holders_left_out);
    let here = view.into_iter().flat_map(|view| view.holders).map(|holder| lease(holder, survey.sidecar));
    let others = elsewhere(&survey, &key);
    let left_out =
        others.iter().filter_map(|other| other.said).map(|declaration| declaration.holders_left_out);
    let left_out = left_out.fold(0, u32::saturating_add);
    let there = others.iter().flat_map(|other| {
        other.holders().into_iter().map(|held| held_elsewhere(survey.at, other.sidecar, held))
    });
    let named: Vec<Holder> = here.chain(there).collect();
    let count = u32::try_from(named.len() + here_left_out).unwrap_or(u32::MAX).saturating_add(left_out);
    Ok((count, named))
}

fn lease(view: HolderView, sidecar: Incarnation) -> Holder {
    let now = boottime();
    Holder {
        mode: reply::mode(view.mode),
        sidecar: sidecar.0,
        local: true,
        expires_in: view.deadline.since(now),
        fence: Some(view.fence).filter(|_| !view.reserved),
        client: Some(HolderClient {
            uid: view.uid,
            held_for: now.since(view.since),
            app: view.app,
            owner: view.owner.map(|owner| owner.0.to_string()),
        }),
    }
}

fn held_elsewhere(now: StoreTime, sidecar: Incarnation, held: Held<'_>) -> Holder {
    let (mode, expires_in, fence, client) = match held {
        Held::Unknown(mode, remaining) => (mode, remaining, None, None),
        Held::By(mode, DeclaredHolder { who, reserved, fence, until, .. }) => {
            let client = HolderClient {
                uid: who.uid,
                held_for: ago(now, who.since),
                app: who.app.to_string(),
                owner: who.owner.as_ref().map(|owner| owner.0.to_string()),
            };
            (mode, ago(*until, now), Some(*fence).filter(|_| !reserved), Some(client))
        }
    };
    Holder { mode: reply::mode(mode), sidecar: sidecar.0, local: false, expires_in, fence, client }
}
