//! Owners that upgrade: they have a share and ask for all of it, keeping the share until they get it (P16).
//!
//! Owns which share that is, and the request. What comes of it is as for any request of an owner.

use super::World;
use super::owners::{Held, State};
use super::reentry::Handles;
use super::tangle::Tangle;
use crate::checker::history::{Acquire as Asked, Sent, Wait};
use sidelock_engine::{Change, Input, LeaseName, LeaseSecret, NewMode, RequestId, SessionId, WHOLE};
use std::time::Duration;

impl World {
    /// A share that its owner has by one name.
    pub(crate) fn share_to_upgrade(&self, client: usize, owner: usize) -> Option<Held> {
        let is_share = |lease: &&Held| (lease.asked.units, lease.asked.limit) == (1, WHOLE);
        let held = self.clients[client].owners[owner].held.iter();
        held.filter(is_share).find(|lease| lease.handles == Handles::Outer).copied()
    }

    pub(crate) fn upgrade_share(&mut self, client: usize, owner: usize, tangle: &Tangle) {
        let Some(share) = self.share_to_upgrade(client, owner).filter(|_| self.clients[client].connected)
        else {
            return self.let_go(client, owner);
        };
        let Some(of) = self.next_request(client) else {
            return self.owner_rests(client, owner);
        };
        // Nobody finds a circle through what is held under no name, or of who wants to hear nothing: it takes patience.
        let held = &self.clients[client].owners[owner].held;
        let is_found = share.asked.watched && held.iter().all(|lease| lease.asked.owner.is_some());
        let wait = match () {
            () if self.dice.chance(tangle.tries) => Some(Duration::ZERO),
            () if !is_found || self.dice.chance(tangle.timeouts) => {
                Some(self.dice.about(Duration::from_millis(800)))
            }
            () => None,
        };
        let asked = Asked {
            units: WHOLE,
            wait: match wait {
                None => Wait::Forever,
                Some(wait) if wait.is_zero() => Wait::Try,
                Some(wait) => Wait::AtMost(wait),
            },
            priority: 0,
            upgrades: Some(share.of),
            group: None,
            ..share.asked
        };
        let session = SessionId(u64::from(of.session));
        let lease = LeaseName::Session(RequestId(u64::from(share.of.request)));
        let to = NewMode::Exclusive { wait, secret: LeaseSecret(0) };
        self.owner_becomes(client, owner, State::Waiting { of, asked, cancelled: false });
        self.send(of, Sent::Acquire(asked));
        let request = RequestId(u64::from(of.request));
        self.post(client, Input::Change(Change { session, request, lease, to }));
    }
}
