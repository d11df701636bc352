//! Owners that enter what they hold: a handle more, and later a handle less, in any order.
//!
//! Owns the numbers of inner handles. The history knows the lease alone: it begins with its outer handle's grant and ends
//! when the client gives the last handle back. So an inner handle's number says whose it is, and whatever a sidecar says of
//! it is written down as said of the lease.

use super::World;
use super::hosts::req;
use super::owners::{Held, State};
use crate::checker::history::Req;
use sidelock_engine::{
    Acquire, Event, EventKind, Grant, Input, LeaseName, Life, Mode, Owner, Release, Reply, RequestId,
    SessionId,
};
use std::time::Duration;

/// Numbers of inner handles: this, and the number of the lease's acquire.
const INNER: u64 = 1 << 24;

/// What a handle's number is a number of.
pub(crate) fn outer(request: RequestId) -> u64 {
    if is_inner(request) { request.0 ^ INNER } else { request.0 }
}

/// Whether this is the number of an inner handle.
pub(crate) fn is_inner(request: RequestId) -> bool {
    request != RequestId::NOBODY && request.0 & INNER != 0
}

/// The handles of a lease that its owner has not given back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Handles {
    #[default]
    Outer,
    Both,
    /// The outer one was given back first.
    Inner,
}

impl World {
    /// An owner asks again for what it was just granted.
    pub(crate) fn enter(&mut self, client: usize, owner: usize, of: Req, grant: &Grant) {
        self.entered.insert(of, grant.fence);
        self.owner_becomes(client, owner, State::Entering { of });
        let shared = grant.mode == Mode::Shared || self.dice.chance(0.3);
        let acquire = Acquire {
            session: SessionId(u64::from(of.session)),
            request: RequestId(INNER | u64::from(of.request)),
            key: grant.key.clone(),
            mode: if shared { Mode::Shared } else { Mode::Exclusive },
            wait: Some(Duration::ZERO),
            life: Life::Session { ttl: None },
            max_hold: None,
            per: None,
            owner: Some(Owner(format!("owner {owner}").into())),
            reentrant: true,
            find_deadlocks: true,
            priority: 0,
            notify_queued: false,
            once: None,
        };
        self.post(client, Input::Acquire(acquire));
    }

    /// The answer to that. If the lease was lost meanwhile it can be another lease, which nobody wants.
    pub(crate) fn entered(&mut self, client: usize, of: Req, reply: &Reply) {
        let fence = self.entered.get(&of).copied();
        let same = matches!(reply, Reply::Granted(grant) if Some(grant.fence) == fence);
        let entering = |state: State| state == State::Entering { of };
        let owner = self.clients[client].owners.iter().position(|owner| entering(owner.state));
        let held = owner.filter(|_| same).is_some_and(|owner| {
            let held = &mut self.clients[client].owners[owner].held;
            let lease = held.iter_mut().find(|lease| lease.of == of);
            lease.map(|lease| lease.handles = Handles::Both).is_some()
        });
        if held {
            self.totals.entered += 1;
        } else if let Reply::Granted(_) = reply {
            self.leave(client, of, RequestId(INNER | u64::from(of.request)));
        }
        if let Some(owner) = owner
            && let Some(tangle) = self.plan.tangle.clone()
        {
            self.owner_goes_on(client, owner, &tangle);
        }
    }

    /// Gives one of two handles back, of every lease that has them.
    pub(crate) fn leave_all(&mut self, client: usize, owner: usize) {
        for place in 0..self.clients[client].owners[owner].held.len() {
            let lease = self.clients[client].owners[owner].held[place];
            self.clients[client].owners[owner].held[place].handles = self.leave_one(client, lease);
        }
    }

    /// Gives one of two handles back; what is left.
    fn leave_one(&mut self, client: usize, lease: Held) -> Handles {
        if lease.handles != Handles::Both || !self.clients[client].connected {
            return lease.handles;
        }
        let outer_first = self.dice.chance(0.5);
        let (left, rest) = if outer_first { (0, Handles::Inner) } else { (INNER, Handles::Outer) };
        self.leave(client, lease.of, RequestId(left | u64::from(lease.of.request)));
        rest
    }

    /// Gives all handles back, and with them the lease.
    pub(crate) fn give_up(&mut self, client: usize, lease: Held) {
        let inner = if self.leave_one(client, lease) == Handles::Inner { INNER } else { 0 };
        let name = LeaseName::Session(RequestId(inner | u64::from(lease.of.request)));
        self.send_release(client, lease.of, name);
    }

    /// A release that nobody hears of.
    fn leave(&mut self, client: usize, of: Req, handle: RequestId) {
        let session = SessionId(u64::from(of.session));
        let lease = LeaseName::Session(handle);
        self.post(client, Input::Release(Release { session, request: RequestId::NOBODY, lease }));
    }

    /// Whether what a sidecar did concerns the lease that an inner handle is one of, and no other that it got by accident.
    pub(crate) fn is_of_lease(&self, event: &Event) -> bool {
        if !is_inner(event.request) {
            return true;
        }
        match event.kind {
            EventKind::Released { fence, .. } | EventKind::Lost { fence, .. } => {
                self.entered.get(&req(event.session, event.request)) == Some(&fence)
            }
            _ => false,
        }
    }
}
