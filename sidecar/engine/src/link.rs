//! What the engine knows of the store as a whole: up or down, its clock, its distance, the calls under way.
//!
//! Owns call ids, the estimate of the store's clock, the fence floor and the round-trip estimate. Must not know keys.

use crate::engine::give_room_back;
use crate::model::{StoreTime, Time};
use crate::store::{CallId, FENCE_LEAD_MAX_US};
use foldhash::fast::RandomState;
use std::collections::HashMap;
use std::time::Duration;

/// Between two alarms about the store's clock.
const ALARM_EVERY: Duration = Duration::from_secs(60);
/// Ends of quarantines as near as this to each other are those of one, told by answers that travelled differently.
const QUARANTINE_SAME: Duration = Duration::from_millis(500);

/// What a call was for, so that its answer finds its way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(crate) kind: SentKind,
    /// The resource; it is not forgotten while a call is under way.
    pub(crate) resource: usize,
    /// The ask or tenure it names.
    pub(crate) seq: u64,
    /// Boottime just before it was sent: deadlines count from here (P4).
    pub(crate) at: Time,
}

/// Kinds of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SentKind {
    Ask,
    Renew,
    Debt,
    Tell,
    /// About owners, and no resource.
    Patrol,
    Force,
    /// An operation on a register, which `seq` numbers; there is no resource.
    Register,
    /// A look at a watched register, which `seq` numbers; there is no resource.
    Watch,
}

/// The link.
#[derive(Default)]
pub(crate) struct Link {
    up: bool,
    next_call: u64,
    calls: HashMap<CallId, Sent, RandomState>,
    /// A store time, and the boottimes when we heard it and when we asked.
    clock: Option<(StoreTime, Time, Time)>,
    /// The highest store time seen.
    seen: StoreTime,
    /// Above all that may have been reserved (P1): the same, with the fence lead since the store may have been another one.
    floor: u64,
    /// When it was last said that the store's clock went back.
    alarmed: Option<Time>,
    round_trip: Duration,
    /// The store grants nothing before, as it said last (P20).
    quarantined_until: Time,
    /// When the wall clock was last seen to run ahead: what was sent before proves nothing any more (H9).
    stepped: Time,
}

impl Link {
    pub(crate) fn is_up(&self) -> bool {
        self.up
    }

    /// Connected (again), or one more node of a cluster is. The store may have lost everything meanwhile, so the floor steps
    /// over all that could have been reserved before: one lead beyond the store's time (P1). A clock that went back may have
    /// reserved a lead beyond the floor each time; where it goes on, a floor that rose with each connection would only run
    /// ahead of it, and our fences with it ahead of others'.
    pub(crate) fn went_up(&mut self, now: Time, at: StoreTime) {
        let lead = FENCE_LEAD_MAX_US + 2;
        let went_back = at.0 + lead < self.seen.0;
        self.floor = match (self.floor, went_back) {
            (0, _) => 0,
            (floor, true) => floor + lead,
            (floor, false) => floor.max(self.seen.0 + lead),
        };
        self.up = true;
        self.clock = Some((at, now, now));
        self.saw(at);
    }

    fn saw(&mut self, at: StoreTime) {
        self.seen = self.seen.max(at);
        self.floor = self.floor.max(at.0);
    }

    /// The store grants nothing before `until`. True: that is news.
    pub(crate) fn learn_quarantine(&mut self, until: Time) -> bool {
        let is_news = until > self.quarantined_until + QUARANTINE_SAME;
        self.quarantined_until = self.quarantined_until.max(until);
        is_news
    }

    pub(crate) fn clock_stepped(&mut self, now: Time) {
        self.stepped = now;
    }

    /// Whether deadlines may be counted from this sending.
    pub(crate) fn is_proof(&self, sent: Time) -> bool {
        sent >= self.stepped
    }

    pub(crate) fn went_down(&mut self) {
        self.up = false;
    }

    /// Books a call; its answer is due once.
    pub(crate) fn send(&mut self, sent: Sent) -> CallId {
        let id = CallId(self.next_call);
        self.next_call += 1;
        self.calls.insert(id, sent);
        id
    }

    /// The answer came: what was it for?
    pub(crate) fn take(&mut self, id: CallId) -> Option<Sent> {
        self.calls.remove(&id)
    }

    /// What a crowd's calls needed goes back when they are answered (H16).
    pub(crate) fn give_room_back(&mut self) {
        give_room_back(&mut self.calls);
    }

    pub(crate) fn calls(&self) -> usize {
        self.calls.len()
    }

    /// An answer tells the store's time and how far it is. True: that clock went back, and somebody has to hear of it. A cluster
    /// has many clocks: as far apart as a fence may lead they do no harm, and where they are further apart every other answer
    /// shows it.
    pub(crate) fn observe(&mut self, now: Time, sent: Time, at: StoreTime) -> bool {
        let regressed = at.0 + FENCE_LEAD_MAX_US + 2 < self.seen.0;
        let alarm = regressed && self.alarmed.is_none_or(|alarmed| now.since(alarmed) >= ALARM_EVERY);
        if alarm {
            self.alarmed = Some(now);
        }
        self.clock = Some((at, now, sent));
        self.saw(at);
        let sample = now.since(sent);
        self.round_trip = if self.round_trip.is_zero() { sample } else { (self.round_trip * 7 + sample) / 8 };
        alarm
    }

    /// The store's clock as we would guess it: behind, if anything, by what the last answer travelled.
    pub(crate) fn store_time(&self, now: Time) -> StoreTime {
        match self.clock {
            Some((at, heard, _)) => at + now.since(heard),
            None => StoreTime(0),
        }
    }

    /// The latest that the store's clock can show now.
    pub(crate) fn store_time_at_most(&self, now: Time) -> StoreTime {
        match self.clock {
            Some((at, _, asked)) => at + now.since(asked),
            None => StoreTime(0),
        }
    }

    pub(crate) fn floor(&self) -> u64 {
        self.floor
    }

    pub(crate) fn round_trip(&self) -> Duration {
        self.round_trip
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reconnection_lifts_the_floor_over_everything_that_could_have_been_reserved() {
        let mut link = Link::default();
        link.went_up(Time(1), StoreTime(1_000_000));
        assert_eq!(link.floor(), 1_000_000);
        link.went_down();
        link.went_up(Time(2), StoreTime(500_000));
        assert_eq!(link.floor(), 1_000_000 + FENCE_LEAD_MAX_US + 2);
    }

    /// A link that flaps, or the nodes of a cluster that come back one after another.
    #[test]
    fn connections_one_after_another_do_not_lift_it_further_while_the_clock_goes_on() {
        let mut link = Link::default();
        for micros in 0..1_000 {
            link.went_up(Time(1), StoreTime(1_000_000 + micros % 8));
        }
        assert_eq!(link.floor(), 1_000_007 + FENCE_LEAD_MAX_US + 2);
        for _ in 0..2 {
            link.went_up(Time(2), StoreTime(500_000));
        }
        assert_eq!(link.floor(), 1_000_007 + 3 * (FENCE_LEAD_MAX_US + 2), "another store each time");
    }

    #[test]
    fn a_clock_that_went_back_is_told_once_a_minute_and_a_reconnection_is_no_such_thing() {
        let mut link = Link::default();
        let lead = FENCE_LEAD_MAX_US + 2;
        let second = |number: u64| Time(number * 1_000_000_000);
        link.went_up(second(0), StoreTime(1_000_000));
        link.went_up(second(0), StoreTime(1_000_000));
        link.went_up(second(0), StoreTime(1_000_000));
        assert!(
            !link.observe(second(1), second(1), StoreTime(1_000_000 - lead)),
            "as far apart as clocks may be"
        );
        assert!(link.observe(second(2), second(2), StoreTime(1_000_000 - lead - 1)));
        assert!(!link.observe(second(3), second(3), StoreTime(1_000_000)));
        assert!(!link.observe(second(4), second(4), StoreTime(500_000)), "it was told just now");
        assert!(link.observe(second(62), second(62), StoreTime(500_000)));
    }

    #[test]
    fn the_clock_runs_on_between_answers() {
        let mut link = Link::default();
        link.went_up(Time(0), StoreTime(10));
        assert_eq!(link.store_time(Time(5_000)), StoreTime(15));
        link.observe(Time(9_000), Time(6_000), StoreTime(20));
        assert_eq!(link.store_time(Time(10_000)), StoreTime(21));
        assert_eq!(link.store_time_at_most(Time(10_000)), StoreTime(24));
    }
}
