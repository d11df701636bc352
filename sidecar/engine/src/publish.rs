//! Writing this sidecar's board (P15): who of its owners waits, and what those hold.
//!
//! Owns what goes on the board and when it is written. Must not know what others read off it.
//!
//! A board is written as soon as a named owner has waited a moment for a key that the store has a say in, and again every
//! [`BOARD_EVERY`] as long as that is so. A sidecar whose owners do not wait, or wait for each other only, writes none.

use crate::board::{BOARD_TTL, Board, BoardWait, Holding, Line, board_key};
use crate::engine::Engine;
use crate::link::{Sent, SentKind};
use crate::model::{StoreTime, Time};
use crate::mutant::Mutant;
use crate::owners::OwnerNo;
use crate::store::{CallId, Op, Outcome, Publish, REFUSE_AFTER, Reply};
use crate::tenure::Tenure;
use std::collections::BTreeSet;
use std::time::Duration;

/// From one board to the next.
pub(crate) const BOARD_EVERY: Duration = Duration::from_millis(250);
/// A wait that is shorter is nobody's business: most are.
pub(crate) const BOARD_AFTER: Duration = Duration::from_millis(200);

/// The board at the store.
pub(crate) struct Publication {
    /// When to look whether there is something to write; `MAX` while nobody waits, or an answer is due.
    pub(crate) due: Time,
    /// Boards that the store acknowledged. The next has the number after this, and is not composed before: so a reader who
    /// has seen number n knows that number n + 2 was composed after it looked.
    acknowledged: u64,
    under_way: Option<CallId>,
    /// There may be a board at the store.
    may_be_there: bool,
}

impl Default for Publication {
    fn default() -> Publication {
        Publication { due: Time::MAX, acknowledged: 0, under_way: None, may_be_there: false }
    }
}

impl Engine {
    /// It is time to look: writes the board, or takes it down.
    pub(crate) fn publish_board(&mut self, now: Time) {
        self.patrol.publication.due = self.next_look(now, BOARD_AFTER, BOARD_EVERY);
        if self.patrol.publication.under_way.is_some() || !self.link.is_up() {
            return;
        }
        if self.patrol.publication.may_be_there && Mutant::BoardOnce.is(self.config.mutant) {
            return;
        }
        let version = self.patrol.publication.acknowledged + 1;
        let body = match self.has_waited_at_the_store(now, BOARD_AFTER) {
            true => Board { version, ..self.compose_board(now) }.encode(),
            false if self.patrol.publication.may_be_there => Vec::new(),
            false => return,
        };
        self.patrol.publication.may_be_there = !body.is_empty();
        let op = Publish {
            board: board_key(self.config.incarnation),
            version,
            body: body.into(),
            ttl: BOARD_TTL,
            refuse_after: self.link.store_time(now) + REFUSE_AFTER,
        };
        let call = self.send_for_patrol(now, Op::Publish(op));
        self.patrol.publication.under_way = Some(call);
    }

    /// The answer to a board; true if it was one.
    pub(crate) fn board_answered(&mut self, call: CallId, outcome: &Outcome) -> bool {
        let publication = &mut self.patrol.publication;
        if publication.under_way != Some(call) {
            return false;
        }
        publication.under_way = None;
        publication.acknowledged +=
            u64::from(matches!(outcome, Outcome::Applied { reply: Reply::Published, .. }));
        true
    }

    pub(crate) fn send_for_patrol(&mut self, now: Time, op: Op) -> CallId {
        let id = self.link.send(Sent { kind: SentKind::Patrol, resource: usize::MAX, seq: 0, at: now });
        self.emit_call(id, op);
        id
    }

    /// Whether an owner has waited at least so long for a key that the store has a say in.
    pub(crate) fn has_waited_at_the_store(&self, now: Time, least: Duration) -> bool {
        self.owners.waiting().filter_map(|owner| self.waiter_of(owner)).any(|waiter| {
            let waiter = &self.waiters[waiter];
            now.since(waiter.since) >= least && self.concerns_the_store(waiter.resource)
        })
    }

    /// When to look at those who wait again: after a while, or as soon as the next of them has waited for long enough.
    pub(crate) fn next_look(&self, now: Time, least: Duration, every: Duration) -> Time {
        let waiters = self.owners.waiting().filter_map(|owner| self.waiter_of(owner));
        let ripe = waiters.map(|waiter| self.waiters[waiter].since + least);
        let ripe = ripe.map(|at| if at > now { at } else { now + every });
        ripe.min().map_or(Time::MAX, |at| at.min(now + every))
    }

    /// Somebody waits there, or has some of the key. A waiter for permits whom leases of this sidecar keep waiting does not
    /// ask, and others may have what it lacks when those are gone.
    fn concerns_the_store(&self, resource: usize) -> bool {
        let r = &self.resources[resource];
        let all_ours = |tenure: &Tenure| tenure.interest.is_none() && tenure.units >= r.limit;
        r.ask.is_some() || !r.tenure.as_ref().is_some_and(all_ours)
    }

    /// The board as of now. Numbered by whoever writes it.
    pub(crate) fn compose_board(&self, now: Time) -> Board {
        let waiters = self.owners.waiting().filter_map(|owner| self.waiter_of(owner));
        let resources: BTreeSet<usize> = waiters.map(|waiter| self.waiters[waiter].resource).collect();
        let lines = resources.into_iter().map(|resource| self.compose_line(now, resource));
        let mut lines: Vec<Line> = lines.filter(|line| !line.waits.is_empty()).collect();
        // Should there not be room for all: those in which somebody holds something, without whom there is no ring, then those
        // that have waited longest.
        lines.sort_by_key(|line| {
            let nobody_holds = line.waits.iter().all(|wait| wait.holds.is_empty());
            (nobody_holds, line.waits.iter().map(|wait| wait.since).min())
        });
        Board { version: 0, lines }
    }

    fn compose_line(&self, now: Time, resource: usize) -> Line {
        let r = &self.resources[resource];
        let first = r.queue.first();
        // Whether it is the turn of the first, or of those who wait at the store.
        let interest = r.tenure.as_ref().and_then(|tenure| tenure.interest.as_ref());
        let head_goes_first = interest
            .zip(first)
            .map(|(interest, head)| interest.allows(now, self.waiters[head].place.arrival));
        let mut waits: Vec<BoardWait> =
            self.owners_in_line(resource).filter_map(|owner| self.compose_wait(now, owner)).collect();
        // Nobody waits for those who hold nothing, the head and whoever is in line before others aside.
        let matters = waits.iter().rposition(|wait| wait.head || !wait.holds.is_empty());
        waits.truncate(matters.map_or(0, |last| last + 1));
        let ask = r.ask.as_ref().map(|ask| ask.seq);
        let yields = head_goes_first == Some(false) && ask.is_none();
        let keeps = head_goes_first == Some(true) && ask.is_none() && r.idle_units() > 0;
        let keeps = keeps && !Mutant::KeptUnsaid.is(self.config.mutant);
        Line { key: r.key.clone(), limit: r.limit, ask, yields, keeps, waits }
    }

    fn compose_wait(&self, now: Time, owner: OwnerNo) -> Option<BoardWait> {
        let index = self.waiter_of(owner)?;
        let (waiter, actor) = (&self.waiters[index], self.owners.get(owner));
        let holds = self.bound_by(owner).map(|lease| Holding {
            key: self.resources[lease.resource].key.clone(),
            units: lease.mode.units(),
            lease: lease.identity(),
            since: self.store_time_of(now, lease.since),
        });
        Some(BoardWait {
            id: actor.id.to_string().into(),
            name: actor.id.name().0.clone(),
            app: self.app_of(waiter.session),
            uid: waiter.uid,
            wait: waiter.place.arrival,
            units: waiter.mode.units(),
            upgrades: self.is_upgrade(index),
            head: self.resources[waiter.resource].queue.first() == Some(index),
            priority: waiter.priority,
            since: actor.since,
            holds: holds.collect(),
        })
    }

    /// The store's clock, as we would guess it, at an instant that has passed.
    pub(crate) fn store_time_of(&self, now: Time, then: Time) -> StoreTime {
        let ago = u64::try_from(now.since(then).as_micros()).unwrap_or(u64::MAX);
        StoreTime(self.link.store_time(now).0.saturating_sub(ago))
    }
}
