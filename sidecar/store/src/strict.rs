//! What makes a store strict: it notices that it may have lost data, and then grants nothing until all leases of before have
//! run out (P20).
//!
//! Owns the marker, how long a quarantine is, and who goes on in it. Must not know where the marker is kept, nor how a store
//! learns which replication it is. `scripts/strict.lua` and `scripts/reassert.lua` say the same for Redis: change both or none.

use crate::record::{Step, Tenure};
use sidelock_engine::mutant::Mutant;
use sidelock_engine::store::{Ask, Op, Reassert, Renew, Reply};
use sidelock_engine::{AskId, StoreTime};
use std::borrow::Cow;
use std::time::Duration;

/// Beyond all that is counted: rounding and scheduling.
const QUARANTINE_MARGIN: Duration = Duration::from_millis(10);

/// What a strict store must know of those who use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// No tenure lives longer at a time; who asks for more gets so much.
    pub longest: Duration,
    /// For so long a primary may still take writes that another has replaced.
    pub isolation: Duration,
}

impl Terms {
    /// How long nothing is granted after a loss of data, from the first operation on.
    pub fn quarantine(&self) -> Duration {
        self.longest + self.longest / 100 + self.isolation + QUARANTINE_MARGIN
    }

    /// The operation as these terms allow it.
    pub(crate) fn bound<'a>(&self, op: &'a Op) -> Cow<'a, Op> {
        let longest = self.longest;
        match op {
            Op::Ask(ask) if ask.ttl > longest => Cow::Owned(Op::Ask(Ask { ttl: longest, ..ask.clone() })),
            Op::Renew(renew) if renew.ttl > longest => {
                Cow::Owned(Op::Renew(Renew { ttl: longest, ..renew.clone() }))
            }
            Op::Reassert(reassert) if reassert.ttl > longest => {
                Cow::Owned(Op::Reassert(Reassert { ttl: longest, ..reassert.clone() }))
            }
            _ => Cow::Borrowed(op),
        }
    }
}

/// What a store keeps of itself among its data, so that it is gone when they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marker {
    /// The replication that the data belong to: another one begins with every restart and every promotion of a replica.
    pub replication: u64,
    /// When the data were first seen to be another's, or gone.
    pub began: StoreTime,
    /// The widest terms of all who ever used it.
    pub terms: Terms,
}

impl Marker {
    /// What is to be kept from now on, given what is there and which replication this is.
    pub(crate) fn next(
        there: Option<Marker>,
        now: StoreTime,
        replication: u64,
        terms: &Terms,
        mutant: Option<Mutant>,
    ) -> Marker {
        let known = there.map_or(*terms, |marker| marker.terms);
        let terms = Terms {
            longest: known.longest.max(terms.longest),
            isolation: known.isolation.max(terms.isolation),
        };
        let same =
            |marker: &Marker| marker.replication == replication || Mutant::ReplicationIgnored.is(mutant);
        let began = match there {
            Some(marker) if same(&marker) => marker.began,
            None if Mutant::MarkerIgnored.is(mutant) => StoreTime(0),
            _ if Mutant::NoQuarantine.is(mutant) => StoreTime(0),
            _ => now,
        };
        Marker { replication, began, terms }
    }

    /// Until then nothing is granted.
    pub fn ends(&self) -> StoreTime {
        self.began + self.terms.quarantine()
    }

    /// The quarantine, if there is one now.
    pub(crate) fn quarantine(&self, now: StoreTime, mutant: Option<Mutant>) -> Option<Quarantine> {
        let Terms { longest, isolation } = self.terms;
        let ends = match mutant {
            _ if Mutant::QuarantineTooShort.is(mutant) => self.began + longest / 2 + isolation,
            _ if Mutant::IsolationForgotten.is(mutant) => self.began + longest,
            _ => self.ends(),
        };
        let renewals_from = match Mutant::ExtendedTooSoon.is(mutant) {
            true => self.began,
            false => self.began + isolation,
        };
        (now < ends).then_some(Quarantine { ends, renewals_from })
    }
}

/// A time in which nothing is granted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quarantine {
    ends: StoreTime,
    /// Before this an isolated primary may still give away what runs out there: nothing is extended here.
    renewals_from: StoreTime,
}

impl Step<'_> {
    /// The answer to an ask that is in the queue, at this place, and would be granted or wait at any other time.
    pub(crate) fn quarantined(&self, place: usize) -> Option<Reply> {
        let ends = self.quarantine?.ends;
        let ahead = u32::try_from(place).unwrap_or(u32::MAX);
        Some(Reply::Quarantined { ahead, left: self.left(ends) })
    }

    /// What is said instead of extending a tenure.
    pub(crate) fn too_soon_to_extend(&self) -> Option<Reply> {
        let from = self.quarantine?.renewals_from;
        (self.now < from).then(|| Reply::Quarantined { ahead: 0, left: self.left(from) })
    }

    /// There is no such tenure: was it taken, is it over, or was it forgotten?
    pub(crate) fn forgotten_or_gone(&self, tenure: AskId) -> Reply {
        match self.forced_or_gone(tenure) {
            Reply::Gone if self.quarantine.is_some() && !self.is_over(tenure) => Reply::Forgotten,
            reply => reply,
        }
    }

    /// Its incarnation is done with it, or has another one in its stead.
    fn is_over(&self, tenure: AskId) -> bool {
        let me = tenure.incarnation;
        let record = &self.record;
        record.done.iter().any(|done| done.incarnation == me && tenure.seq <= done.seq)
            || record.tenures.iter().any(|other| other.id.incarnation == me && tenure.seq < other.id.seq)
    }

    pub(crate) fn reassert(&mut self, op: &Reassert) -> Reply {
        if self.now > op.refuse_after {
            return Reply::TooLate;
        }
        if let Some(reply) = self.too_soon_to_extend() {
            return reply;
        }
        let Some(i) = self.find(op.tenure).or_else(|| self.put_back(op)) else {
            return self.forced_or_gone(op.tenure);
        };
        let until = self.now + op.ttl;
        let tenure = &mut self.record.tenures[i];
        tenure.units = tenure.units.min(op.units);
        tenure.until = tenure.until.max(until);
        let tenure = *tenure;
        let contended = self.contended(tenure.id.incarnation);
        let origin = tenure.origin;
        Reply::Renewed { remaining: self.remaining(&tenure), origin, range: None, contended }
    }

    /// Puts a tenure in that the record does not have, if that is for this record to believe. Where it stands.
    fn put_back(&mut self, op: &Reassert) -> Option<usize> {
        let me = op.tenure.incarnation;
        if self.quarantine.is_none() || self.forced(me).is_some() || self.is_over(op.tenure) {
            return None;
        }
        let newest = op.range.first > self.record.last;
        let record = &mut *self.record;
        // One that it grew out of.
        record.tenures.retain(|tenure| tenure.id.incarnation != me);
        let taken: u64 = record.tenures.iter().map(|tenure| u64::from(tenure.units)).sum();
        let same_limit = record.limit == op.limit || record.tenures.is_empty();
        let fits = same_limit && taken + u64::from(op.units) <= u64::from(op.limit);
        match (fits, newest) {
            (true, _) => {}
            // What was reserved before it, and does not fit beside it, was over when it began.
            (false, true) => record.tenures.clear(),
            (false, false) => return None,
        }
        record.limit = op.limit;
        record.last = record.last.max(op.range.last);
        // Extended by whoever put it in.
        let Reassert { tenure: id, units, origin, range, .. } = *op;
        record.tenures.push(Tenure { id, units, until: self.now, origin, range });
        Some(record.tenures.len() - 1)
    }
}
