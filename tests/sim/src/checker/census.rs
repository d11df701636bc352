//! What deadlocks a history had, counted: a run without long ones, or without permits in them, proves nothing about those.
//!
//! Owns the counters. Must not judge.

use super::history::Req;
use super::knot::{Hold, Picture};

/// A lock's limit.
const LOCK: u32 = u32::MAX;

/// Deadlocks by kind. One is counted by whoever closes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// By the number of their owners, from 1; the last counts all that are longer.
    pub lengths: [u64; 7],
    /// Semaphores are in it.
    pub permits: u64,
    /// Somebody would fit, and waits only behind somebody else.
    pub queued: u64,
    /// Somebody in it gives a share for all of the key.
    pub upgrades: u64,
    /// Somebody in it has one of several keys, not yet all, and another one wants that.
    pub several: u64,
    /// Somebody in it follows the turn of another.
    pub followers: u64,
    /// Its owners are in more than one sidecar.
    pub across: u64,
    /// A circle of "waits for whoever holds" that is no deadlock: somebody else's units would do.
    pub near_misses: u64,
    /// Victims that were justified.
    pub victims: u64,
}

impl Census {
    /// What must not be rare, by name.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let [one, two, three, four, five, six, _] = self.lengths;
        [
            ("deadlock of one owner", one),
            ("deadlock of two", two),
            ("deadlock of three", three),
            ("deadlock of four", four),
            ("deadlock of five", five),
            ("deadlock of six", six),
            ("deadlock with permits", self.permits),
            ("deadlock through a waiter ahead", self.queued),
            ("deadlock with an upgrade", self.upgrades),
            ("deadlock with a lock_all", self.several),
            ("deadlock with a once follower", self.followers),
            ("deadlock across sidecars", self.across),
            ("circle of permits that is no deadlock", self.near_misses),
            ("victim", self.victims),
        ]
        .into_iter()
    }

    /// This one came to wait.
    pub(super) fn arrived(&mut self, picture: &Picture, of: Req) {
        let Some(owner) = picture.find(of) else { return };
        if !picture.may_be_stuck(owner) {
            self.near_misses += u64::from(picture.goes_in_circles(owner));
            return;
        }
        let Some(knot) = picture.possible_knot(owner, picture.everybody()) else { return };
        self.lengths[knot.len().min(self.lengths.len()) - 1] += 1;
        let waits = || knot.owners().map(|owner| &picture.waits[owner]);
        self.permits += u64::from(waits().any(|wait| wait.limit != LOCK));
        self.queued += u64::from(knot.owners().any(|owner| picture.fits(owner, knot)));
        self.upgrades += u64::from(waits().any(|wait| wait.upgrades));
        let is_wanted = |hold: &Hold| {
            knot.owners().any(|other| other != hold.owner && picture.waits[other].key == hold.key)
        };
        let mut reserved = picture.holds.iter().filter(|hold| hold.reserved && knot.has(hold.owner));
        self.several += u64::from(reserved.any(is_wanted));
        let follows = |hold: &Hold| {
            let mut others = knot.owners().filter(|&other| other != hold.owner);
            others.any(|other| picture.waits[other].turn && picture.waits[other].key == hold.key)
        };
        let mut holds = picture.holds.iter().filter(|hold| knot.has(hold.owner));
        self.followers += u64::from(holds.any(follows));
        self.across += u64::from(waits().any(|wait| wait.sidecar != picture.waits[owner].sidecar));
    }
}

impl std::ops::AddAssign for Census {
    fn add_assign(&mut self, other: Census) {
        for (mine, theirs) in self.lengths.iter_mut().zip(other.lengths) {
            *mine += theirs;
        }
        self.permits += other.permits;
        self.queued += other.queued;
        self.upgrades += other.upgrades;
        self.several += other.several;
        self.followers += other.followers;
        self.across += other.across;
        self.near_misses += other.near_misses;
        self.victims += other.victims;
    }
}
