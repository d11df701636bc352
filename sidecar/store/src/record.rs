//! What a store knows of one key, and how one operation changes it.
//!
//! Owns the rules P1–P3, P7 and P9 for one record and one atomic step. Must not know other keys, where records are kept
//! or where the clock comes from. `scripts/record.lua` says the same for Redis, function by function and in the same
//! order: change both or none.

use crate::strict::Quarantine;
use sidelock_engine::mutant::Mutant;
use sidelock_engine::store::{
    Ask, CLOCK_REGRESSION_MAX, FENCE_LEAD_MAX_US, FENCE_RANGE_MAX, OFFER_TTL, Op, Order, Push, Queued, Renew,
    Reply, Return, Success, Tenancy, Wake, Withdraw,
};
use sidelock_engine::{AskId, FenceRange, Incarnation, Key, StoreTime};
use smallvec::SmallVec;
use std::time::Duration;
use thin_vec::ThinVec;

/// What a store knows of one key. Most records have one tenure and nothing else, and there is one for every key held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// The highest fence ever reserved; 0 if none was since the store lost its memory of the key (P1).
    pub last: u64,
    /// Units that the key has. Means something only while there is a tenure or an entry.
    pub limit: u32,
    /// Who holds; at most one per incarnation.
    pub tenures: SmallVec<[Tenure; 1]>,
    /// Who waits, head first; at most one per incarnation.
    pub queue: ThinVec<Entry>,
    /// What must not come back (P7); at most one per incarnation.
    pub done: ThinVec<Done>,
    /// What was taken away by force and its sidecar has not shown to know; at most one per incarnation (P19).
    pub forced: ThinVec<Forced>,
    /// The last success of a once key, as long as somebody may want to know of it (P18).
    pub kept: Option<Box<Kept>>,
}

/// A success, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The tenure of the turn.
    pub tenure: AskId,
    /// Its token.
    pub fence: u64,
    /// What the others hear.
    pub success: Success,
}

/// Units held by one sidecar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tenure {
    /// The ask that it grew out of.
    pub id: AskId,
    /// Units held.
    pub units: u32,
    /// It is over at this instant.
    pub until: StoreTime,
    /// The first fence of the first of those tenures that it grew out of: it has stood since without a break.
    pub origin: u64,
    /// The fences it may hand out.
    pub range: FenceRange,
}

/// A place in the queue, or an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The ask.
    pub id: AskId,
    /// Units that its tenure shall have.
    pub units: u32,
    /// Whether the next ask with this id is granted.
    pub offered: bool,
    /// It keeps a share while it waits for all (P16).
    pub upgrade: bool,
    /// The place, or the offer, lapses at this instant.
    pub until: StoreTime,
}

/// Asks of an incarnation up to this seq are over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// Whose asks.
    pub incarnation: Incarnation,
    /// The highest seq that is over (`done_upto`).
    pub seq: u64,
    /// Remembered until after this instant: the last one at which such an ask could be let in.
    pub until: StoreTime,
}

/// A tenure that was taken away (P19).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forced {
    /// The tenure.
    pub id: AskId,
    /// When it would have been over: nobody believes in it after this instant.
    pub until: StoreTime,
    /// By whose order.
    pub order: Order,
}

impl Record {
    fn tenure_of(&self, incarnation: Incarnation) -> Option<&Tenure> {
        self.tenures.iter().find(|tenure| tenure.id.incarnation == incarnation)
    }

    fn entry_of(&self, incarnation: Incarnation) -> Option<usize> {
        self.queue.iter().position(|entry| entry.id.incarnation == incarnation)
    }

    /// Units beyond those of its own tenure that an offer to `incarnation` binds.
    fn surplus(&self, incarnation: Incarnation, units: u32) -> u64 {
        let held = self.tenure_of(incarnation).map_or(0, |tenure| tenure.units);
        u64::from(units.saturating_sub(held))
    }

    /// Units bound by tenures and offers: per incarnation, the greater of the two, so that neither taking an offer up
    /// nor letting it lapse can bind more than was counted.
    pub(crate) fn used(&self) -> u64 {
        let held: u64 = self.tenures.iter().map(|tenure| u64::from(tenure.units)).sum();
        let offers = self.queue.iter().filter(|entry| entry.offered);
        held + offers.map(|entry| self.surplus(entry.id.incarnation, entry.units)).sum::<u64>()
    }

    /// Another incarnation whose upgrade is in the queue.
    fn other_upgrader(&self, me: Incarnation) -> Option<Incarnation> {
        let others = self.queue.iter().filter(|entry| entry.id.incarnation != me);
        others.filter(|entry| entry.upgrade).map(|entry| entry.id.incarnation).next()
    }

    /// Somebody else waits and does not fit.
    fn contended(&self, me: Incarnation) -> bool {
        self.queue.iter().any(|entry| !entry.offered && entry.id.incarnation != me)
    }
}

/// One operation on one record at one instant.
pub(crate) struct Step<'a> {
    pub(crate) now: StoreTime,
    pub(crate) key: &'a Key,
    pub(crate) record: &'a mut Record,
    pub(crate) wakes: Vec<Wake>,
    /// Nothing is granted now (P20).
    pub(crate) quarantine: Option<Quarantine>,
    pub(crate) mutant: Option<Mutant>,
}

/// Whether `floor` shows that the store's clock was set back by more than anybody should bridge (P1).
pub(crate) fn clock_regressed(now: StoreTime, op: &Op) -> bool {
    let floor = match op {
        Op::Ask(ask) => ask.floor,
        Op::Renew(renew) => renew.floor,
        _ => return false,
    };
    StoreTime(floor) > now + CLOCK_REGRESSION_MAX
}

impl Step<'_> {
    /// How every operation begins: drops what is due, offers what that makes free.
    pub(crate) fn settle(&mut self) {
        let now = self.now;
        self.record.tenures.retain(|tenure| tenure.until > now);
        self.record.queue.retain(|entry| entry.until > now);
        self.record.done.retain(|done| done.until >= now);
        self.record.forced.retain(|forced| forced.until > now);
        self.record.kept.take_if(|kept| kept.success.kept_until() <= now);
        self.offer_on();
    }

    /// Offers from the head of the queue what fits, and stops at the first entry that does not (P9).
    pub(crate) fn offer_on(&mut self) {
        // In a quarantine an offer would only lapse, and its place in the queue with it.
        if self.quarantine.is_some() || self.record.queue.iter().all(|entry| entry.offered) {
            return;
        }
        let mut used = self.record.used();
        for i in 0..self.record.queue.len() {
            let entry = self.record.queue[i];
            if entry.offered {
                continue;
            }
            let surplus = self.record.surplus(entry.id.incarnation, entry.units);
            if !self.fits(used, &entry) {
                break;
            }
            used += surplus;
            self.offer(i);
        }
    }

    /// Whether the entry's units are free, given the units in use with the entry's own offer not among them.
    fn fits(&self, used: u64, entry: &Entry) -> bool {
        let own = self.record.tenure_of(entry.id.incarnation).map_or(0, |tenure| tenure.units);
        used - u64::from(own) + u64::from(entry.units) <= u64::from(self.record.limit)
    }

    fn offer(&mut self, i: usize) {
        let entry = &mut self.record.queue[i];
        entry.offered = true;
        entry.until = self.now + OFFER_TTL;
        let push = Push::Offer { key: self.key.clone(), ask: entry.id };
        self.wakes.push(Wake { to: entry.id.incarnation, push });
    }

    pub(crate) fn ask(&mut self, op: &Ask) -> Reply {
        if self.now > op.refuse_after {
            return Reply::TooLate;
        }
        let me = op.id.incarnation;
        if let Some(back) = op.give_back {
            let tenure = AskId { incarnation: me, seq: back.seq };
            if let Some(i) = self.find(tenure) {
                self.keep(i, back.keep, Some(back.issued));
                self.offer_on();
            } else if back.keep == 0 {
                self.acknowledged(tenure);
            }
        }
        if let Some(forced) = self.forced(me).filter(|_| !Mutant::ForceForgetsVictims.is(self.mutant)) {
            return forced;
        }
        if let Some(tenure) = self.record.tenures.iter().find(|tenure| tenure.id == op.id) {
            return Reply::Granted(self.tenancy(tenure));
        }
        if self.overtaken(op.id) {
            return Reply::Stale;
        }
        if let Some(success) = self.already_done(op) {
            return Reply::Finished(success);
        }
        let alive = !self.record.tenures.is_empty() || !self.record.queue.is_empty();
        if alive && self.record.limit != op.limit {
            self.recall(op.id);
            return Reply::LimitMismatch { limit: self.record.limit };
        }
        let enters = self.record.entry_of(me).is_none_or(|i| self.record.queue[i].id != op.id);
        let upgrade = op.upgrade && enters && self.record.tenure_of(me).is_some();
        if let Some(upgrader) = self.record.other_upgrader(me).filter(|_| upgrade) {
            return Reply::UpgradeConflict { upgrader };
        }
        self.record.limit = op.limit;
        let (place, entered) = self.enter(op, upgrade);
        self.offer_on();
        // Of an own offer the reply tells.
        self.wakes.retain(|wake| wake.to != me);
        if Mutant::AskJumpsQueue.is(self.mutant) && !self.record.queue[place].offered {
            let entry = self.record.queue[place];
            self.record.queue[place].offered = self.fits(self.record.used(), &entry);
        }
        if let Some(wait) = self.quarantined(place) {
            return wait;
        }
        if self.record.queue[place].offered {
            return self.take_up(place, op);
        }
        // Whoever enters says so to the holders; after that it is enough that the head repeats it.
        if entered || self.record.queue.iter().position(|entry| !entry.offered) == Some(place) {
            self.recall(op.id);
        }
        self.queued(place)
    }

    /// Done with, or followed by a newer ask of the same incarnation (P7).
    fn overtaken(&self, id: AskId) -> bool {
        let me = id.incarnation;
        let record = &self.record;
        record.done.iter().any(|done| done.incarnation == me && id.seq <= done.seq)
            || record.tenures.iter().any(|tenure| tenure.id.incarnation == me && id.seq < tenure.id.seq)
            || record.queue.iter().any(|entry| entry.id.incarnation == me && id.seq < entry.id.seq)
    }

    /// Puts the ask in the queue, or refreshes its place there: where it stands, and whether it is new.
    fn enter(&mut self, op: &Ask, upgrade: bool) -> (usize, bool) {
        let place =
            Entry { id: op.id, units: op.units, offered: false, upgrade, until: self.now + op.entry_ttl };
        match self.record.entry_of(op.id.incarnation) {
            Some(i) if self.record.queue[i].id == op.id => {
                let place = Entry { upgrade: self.record.queue[i].upgrade, ..place };
                let offer = std::mem::replace(&mut self.record.queue[i], place);
                if offer.offered && self.quarantine.is_none() && self.fits(self.record.used(), &place) {
                    self.record.queue[i] = Entry { units: op.units, ..offer };
                }
                (i, false)
            }
            older => {
                if let Some(i) = older {
                    self.record.queue.remove(i);
                }
                // Ahead of offers too: one that is not taken up but grows would wait for the upgrader's share.
                let i = if upgrade { 0 } else { self.record.queue.len() };
                insert(&mut self.record.queue, i, place);
                (i, true)
            }
        }
    }

    /// The offer becomes the incarnation's tenure, in the place of an older one (P3). What the older one was
    /// confirmed to last is never shortened: leases may stand on it.
    fn take_up(&mut self, place: usize, op: &Ask) -> Reply {
        let entry = self.record.queue.remove(place);
        let range = self.reserve(op.floor);
        let until = self.now + op.ttl;
        let mut tenure = Tenure { id: entry.id, units: entry.units, until, origin: range.first, range };
        let older = self.record.tenures.iter_mut().find(|t| t.id.incarnation == entry.id.incarnation);
        match older {
            Some(older) => {
                tenure.until = tenure.until.max(older.until);
                tenure.origin = older.origin;
                *older = tenure;
            }
            None => self.record.tenures.push(tenure),
        }
        // It may be smaller than the older one.
        self.offer_on();
        Reply::Granted(self.tenancy(&tenure))
    }

    /// New fences, above all that were ever reserved for the key (P1).
    fn reserve(&mut self, floor: u64) -> FenceRange {
        let now = self.now.0;
        let above = (self.record.last + 1).max(floor + 1);
        let range = if self.record.last > 0 {
            let first = above.max(now);
            FenceRange { first, last: (first + FENCE_RANGE_MAX - 1).min(first.max(now + FENCE_LEAD_MAX_US)) }
        } else if Mutant::FenceFromClock.is(self.mutant) {
            let first = above.max(now);
            FenceRange { first, last: first + FENCE_RANGE_MAX - 1 }
        } else {
            // The store may have forgotten ranges that still live: none of them reaches further than this.
            let first = above.max(now + FENCE_LEAD_MAX_US + 2);
            FenceRange { first, last: first }
        };
        self.record.last = range.last;
        range
    }

    /// Tells every other holder that `ask` waits.
    fn recall(&mut self, ask: AskId) {
        for tenure in self.record.tenures.iter().filter(|tenure| tenure.id.incarnation != ask.incarnation) {
            let push = Push::Recall { key: self.key.clone(), ask };
            self.wakes.push(Wake { to: tenure.id.incarnation, push });
        }
    }

    fn queued(&self, place: usize) -> Reply {
        let me = self.record.queue[place].id.incarnation;
        let offers = self.record.queue.iter().filter(|entry| entry.offered);
        let in_the_way = (self.record.tenures.iter().map(|tenure| (tenure.id.incarnation, tenure.until)))
            .chain(offers.map(|entry| (entry.id.incarnation, entry.until)))
            .filter(|(incarnation, _)| *incarnation != me);
        let holder = in_the_way.clone().next().map(|(incarnation, _)| incarnation);
        // Nobody else in the way: the head waits for units of this very sidecar, or for more than there are.
        let until = in_the_way.map(|(_, until)| until).min().unwrap_or(self.record.queue[0].until);
        let ahead = u32::try_from(place).unwrap_or(u32::MAX);
        Reply::Queued(Queued { ahead, retry: self.left(until), holder })
    }

    fn tenancy(&self, tenure: &Tenure) -> Tenancy {
        Tenancy {
            units: tenure.units,
            remaining: self.remaining(tenure),
            origin: tenure.origin,
            range: tenure.range,
            contended: self.contended(tenure.id.incarnation),
        }
    }

    /// Somebody else waits and does not fit. In a quarantine nobody would get what they were given.
    pub(crate) fn contended(&self, me: Incarnation) -> bool {
        self.quarantine.is_none() && self.record.contended(me)
    }

    pub(crate) fn left(&self, until: StoreTime) -> Duration {
        Duration::from_micros(until.0.saturating_sub(self.now.0))
    }

    /// Rounded down to milliseconds (P4).
    pub(crate) fn remaining(&self, tenure: &Tenure) -> Duration {
        Duration::from_millis(tenure.until.0.saturating_sub(self.now.0) / 1000)
    }

    pub(crate) fn renew(&mut self, op: &Renew) -> Reply {
        let checked = !Mutant::RenewalsUnchecked.is(self.mutant);
        if let Some(wait) = self.too_soon_to_extend().filter(|_| checked) {
            return wait;
        }
        let Some(i) = self.find(op.tenure) else {
            return self.forgotten_or_gone(op.tenure);
        };
        // In a quarantine the record may know less than was reserved.
        let may_reserve = self.quarantine.is_none() || Mutant::QuarantineReserves.is(self.mutant);
        let range = (op.top_up && may_reserve).then(|| self.reserve(op.floor));
        let until = self.now + op.ttl;
        let tenure = &mut self.record.tenures[i];
        tenure.until = tenure.until.max(until);
        tenure.range = range.unwrap_or(tenure.range);
        let tenure = *tenure;
        let contended = self.contended(tenure.id.incarnation);
        Reply::Renewed { remaining: self.remaining(&tenure), origin: tenure.origin, range, contended }
    }

    pub(crate) fn give_back(&mut self, op: &Return) -> Reply {
        let Some(i) = self.find(op.tenure) else {
            // Before its own burial.
            let unknown = self.forgotten_or_gone(op.tenure);
            self.bury(op.tenure, op.tombstone);
            self.offer_on();
            if op.keep == 0 {
                self.acknowledged(op.tenure);
            }
            return unknown;
        };
        self.bury(op.tenure, op.tombstone);
        self.keep(i, op.keep, Some(op.issued));
        if Mutant::HalfWrite.is(self.mutant) {
            self.record.queue.clear();
        }
        self.offer_on();
        Reply::Returned
    }

    pub(crate) fn withdraw(&mut self, op: &Withdraw) -> Reply {
        self.bury(op.id, op.tombstone);
        self.record.queue.retain(|entry| entry.id != op.id);
        if op.keep == 0 {
            self.acknowledged(op.id);
        } else if let Some(forced) = self.forced(op.id.incarnation) {
            self.offer_on();
            return forced;
        }
        let kept = match self.record.tenures.iter().position(|tenure| tenure.id == op.id) {
            // Whether a fence was handed out under it is not known: `last` stays.
            Some(i) => self.keep(i, op.keep, None),
            None => None,
        };
        self.offer_on();
        kept.map_or(Reply::Withdrawn, |tenure| Reply::Granted(self.tenancy(&tenure)))
    }

    /// The place of exactly this tenure (P7).
    pub(crate) fn find(&self, id: AskId) -> Option<usize> {
        let loose = Mutant::MatchByIncarnation.is(self.mutant);
        self.record
            .tenures
            .iter()
            .position(|tenure| tenure.id == id || loose && tenure.id.incarnation == id.incarnation)
    }

    /// Shrinks a tenure to `keep` units, or ends it at 0. What is left of it. An ended one gives its unused fences back
    /// if nothing was reserved after them.
    pub(crate) fn keep(&mut self, i: usize, keep: u32, issued: Option<u64>) -> Option<Tenure> {
        let tenure = &mut self.record.tenures[i];
        tenure.units = tenure.units.min(keep);
        if tenure.units > 0 {
            return Some(*tenure);
        }
        let ended = self.record.tenures.remove(i);
        if let Some(issued) = issued
            && ended.range.last == self.record.last
        {
            self.record.last = issued.clamp(ended.range.first - 1, ended.range.last);
        }
        None
    }

    /// Remembers that asks up to this one are over (P7). A copy of it may have come after its tenure ended: nobody waits there.
    pub(crate) fn bury(&mut self, id: AskId, tombstone: Option<StoreTime>) {
        let Some(until) = tombstone else { return };
        self.record.queue.retain(|entry| entry.id != id);
        if until < self.now || Mutant::NoTombstones.is(self.mutant) {
            return;
        }
        match self.record.done.iter_mut().find(|done| done.incarnation == id.incarnation) {
            Some(done) => {
                done.seq = done.seq.max(id.seq);
                done.until = done.until.max(until);
            }
            None => {
                let tail = self.record.done.len();
                insert(&mut self.record.done, tail, Done { incarnation: id.incarnation, seq: id.seq, until });
            }
        }
    }
}

/// Most records have one of a kind; room for four would be most of what a record costs.
pub(crate) fn insert<T>(list: &mut ThinVec<T>, at: usize, item: T) {
    if list.is_empty() {
        list.reserve_exact(1);
    }
    list.insert(at, item);
}

#[cfg(test)]
#[path = "tests/record.rs"]
mod tests;
