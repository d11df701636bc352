//! Clients that do a thing once per window: they succeed under their turn, or hear who did (P18).
//!
//! Owns which windows they ask for, what they leave as a result, and how they end a turn. Must not know how a turn is
//! waited for: that is as for any lease.

use super::World;
use super::dice::Dice;
use super::holding::Lease;
use super::hosts::{number, sidecar_of};
use super::plan::KeyKind;
use super::tasks::State;
use crate::checker::history::{At, Event, Req, Sent};
use sidelock_engine::{Align, Finish, Input, LeaseName, RequestId, SessionId, Window};
use sidelock_store::record::Kept;
use std::sync::Arc;
use std::time::Duration;

/// How many of those who did it succeed; the others give their turn back undone.
pub(crate) const SUCCEED: f64 = 0.8;

/// Windows of a once key: some are over before their turn is.
pub(crate) fn window(dice: &mut Dice) -> Window {
    let longest = if dice.chance(0.3) { Duration::from_millis(100) } else { Duration::from_secs(6) };
    let align = if dice.chance(0.3) { Align::Utc } else { Align::Rolling };
    Window { per: dice.span(Duration::from_millis(1), longest), align }
}

/// A turn's result is its name.
fn result(of: Req) -> Arc<[u8]> {
    let [session, request] = [of.session, of.request].map(u32::to_be_bytes);
    [session, request].concat().into()
}

/// The turn that left this.
pub(crate) fn turn_of(result: &[u8]) -> Req {
    let name = <[u8; 8]>::try_from(result).expect("a result as made by `result`");
    let name = u64::from_be_bytes(name);
    let half = |half: u64| u32::try_from(half & u64::from(u32::MAX)).expect("a half");
    Req { session: half(name >> 32), request: half(name) }
}

impl World {
    /// The work under a turn is done. True if it was a turn, and was a success.
    pub(crate) fn finish_turn(&mut self, client: usize, task: usize, lease: &Lease) -> bool {
        let is_turn = matches!(self.plan.keys[lease.key], KeyKind::Once(_));
        if !is_turn || !self.dice.chance(SUCCEED) {
            return false;
        }
        let Some(of) = self.send_finish(client, lease) else {
            return false;
        };
        self.set(client, task, State::Finishing { of, turn: *lease });
        true
    }

    /// Some say it twice.
    fn send_finish(&mut self, client: usize, lease: &Lease) -> Option<Req> {
        let first = self.post_finish(client, lease.of, lease.name())?;
        if self.dice.chance(self.plan.habits.replays) {
            self.post_finish(client, lease.of, lease.name());
        }
        Some(first)
    }

    pub(crate) fn post_finish(&mut self, client: usize, turn: Req, name: LeaseName) -> Option<Req> {
        let of = self.next_request(client)?;
        self.send(of, Sent::Finish { lease: turn });
        let (session, request) = (SessionId(u64::from(of.session)), RequestId(u64::from(of.request)));
        let finish = Finish { session, request, lease: name, result: result(turn) };
        self.post(client, Input::Finish(finish));
        Some(of)
    }

    /// The store counted a turn.
    pub(crate) fn observe_success(&mut self, key: usize, kept: &Kept) {
        let until: At = self.store_clock.when(kept.success.window_end);
        self.log.record(Event::Succeeded {
            sidecar: sidecar_of(kept.tenure.incarnation),
            key: number(key),
            fence: kept.fence,
            by: turn_of(&kept.success.result),
            until,
        });
    }
}
