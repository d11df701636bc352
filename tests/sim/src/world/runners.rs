//! Owners that do a thing once: they have its turn while they ask for more, or follow somebody else's.
//!
//! Owns how their turns end. A turn is asked for as any key is, and who hears that it is done goes on without it.

use super::World;
use super::owners::{Move, State};
use super::turns::SUCCEED;
use crate::checker::history::Req;
use sidelock_engine::{LeaseName, Reply, RequestId};
use std::time::Duration;

impl World {
    /// An owner has done what it wanted all its keys for. It lets go of them; most of its turns succeeded, and it waits to
    /// hear that this counts, or does not and begins anew.
    pub(crate) fn work_done(&mut self, client: usize, owner: usize) {
        if !self.clients[client].connected {
            return self.let_go(client, owner);
        }
        let held = std::mem::take(&mut self.clients[client].owners[owner].held);
        let (turns, others): (Vec<_>, Vec<_>) =
            held.into_iter().partition(|lease| lease.asked.turn && self.dice.chance(SUCCEED));
        for lease in others {
            self.give_up(client, lease);
        }
        let mut finishing = Vec::new();
        for turn in turns {
            let name = LeaseName::Session(RequestId(u64::from(turn.of.request)));
            finishing.extend(self.post_finish(client, turn.of, name).map(|of| (of, turn)));
        }
        let hasty = self.plan.tangle.as_ref().map_or(0.0, |tangle| tangle.hasty);
        let waits = !finishing.is_empty() && (self.closing || !self.dice.chance(hasty));
        let goes_on = !finishing.is_empty() && !waits;
        self.clients[client].owners[owner].finishing.extend(finishing);
        match waits {
            true => self.owner_becomes(client, owner, State::Finishing),
            false => self.owner_rests(client, owner),
        }
        if goes_on {
            self.plan_move(client, owner, Duration::ZERO, Move::Begin);
        }
    }

    /// An answer: whether it is to a finish of an owner. What does not count is given back.
    pub(crate) fn turn_finished(&mut self, client: usize, of: Req, reply: &Reply) -> bool {
        let owners = &mut self.clients[client].owners;
        let place = |finishing: &[(Req, _)]| finishing.iter().position(|(finish, _)| *finish == of);
        let found = (0..owners.len()).find_map(|owner| Some((owner, place(&owners[owner].finishing)?)));
        let Some((owner, place)) = found else { return false };
        let (_, turn) = owners[owner].finishing.swap_remove(place);
        let was_last = owners[owner].finishing.is_empty() && owners[owner].state == State::Finishing;
        if let Reply::Refused(_) = reply {
            self.give_up(client, turn);
        }
        if was_last {
            self.owner_rests(client, owner);
        }
        true
    }
}
