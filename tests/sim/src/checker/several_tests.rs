//! The rules on deadlocks on hand-made histories of requests for several keys.

use super::deadlock_tests::{LOCK, Tale, req};
use super::history::*;
use super::{Rule, judge};

impl Tale {
    /// An owner asks for locks in their order, under as many numbers, and for the first of them at once.
    fn asks_all(&mut self, at: u64, first: Req, keys: &[u32]) -> &mut Tale {
        for (number, &key) in (0..).zip(keys) {
            let of = Req { request: first.request + number, ..first };
            let acquire = Acquire {
                key,
                units: LOCK,
                limit: LOCK,
                wait: Wait::Forever,
                priority: 0,
                timed: false,
                owner: Some(0),
                per: None,
                max_hold: None,
                turn: false,
                watched: true,
                upgrades: None,
                group: Some(first.request),
            };
            self.add(at, Event::Sent { of, what: Sent::Acquire(acquire) }).add(at, Event::Arrived { of });
        }
        self.lines_up(at, first)
    }

    fn lines_up(&mut self, at: u64, of: Req) -> &mut Tale {
        self.add(at, Event::LinedUp { of })
    }

    fn reserves(&mut self, at: u64, of: Req) -> &mut Tale {
        self.add(at, Event::Bound { of })
    }

    fn gives_back(&mut self, at: u64, of: Req) -> &mut Tale {
        self.add(at, Event::Unbound { of })
    }

    /// Session 0 asks for keys 0 and 1 and has the first; session 4 has the second, and wants the first from 100 on.
    fn half_of_both() -> Tale {
        let mut tale = Tale::new();
        tale.gets(10, req(4, 0), 1).asks_all(20, req(0, 0), &[0, 1]).reserves(21, req(0, 0));
        tale.lines_up(21, req(0, 1)).waits(100, req(4, 1), 0);
        tale
    }
}

#[test]
fn what_is_reserved_is_held() {
    assert_eq!(Tale::half_of_both().until(2_000).rules(), []);
    assert_eq!(Tale::half_of_both().until(2_200).rules(), [Rule::Undetected]);
    let mut tale = Tale::half_of_both();
    tale.aborts(1_000, req(4, 1)).releases(1_001, req(4, 0)).until(9_000);
    assert_eq!(tale.rules(), []);
    let census = judge(&tale.0).census;
    assert_eq!((census.lengths[1], census.several, census.across), (1, 1, 1));
}

#[test]
fn a_request_for_several_is_the_victim_by_the_number_that_it_is_answered_under() {
    let mut tale = Tale::half_of_both();
    tale.add(1_000, Event::Declined { of: req(0, 0), why: Refused::Deadlock });
    tale.add(1_000, Event::Dropped { of: req(0, 0) }).add(1_000, Event::Dropped { of: req(0, 1) });
    tale.gives_back(1_000, req(0, 0)).until(9_000);
    assert_eq!(tale.rules(), []);
    // It waits no more.
    tale.add(9_001, Event::Declined { of: req(0, 0), why: Refused::Deadlock });
    assert_eq!(tale.rules(), [Rule::FalseVictim]);
}

#[test]
fn what_was_given_back_binds_nobody() {
    let mut tale = Tale::half_of_both();
    tale.gives_back(200, req(0, 0)).until(9_000);
    assert_eq!(tale.rules(), []);
    tale.aborts(9_001, req(4, 1));
    assert_eq!(tale.rules(), [Rule::FalseVictim]);
}

#[test]
fn it_waits_for_one_key_at_a_time() {
    // Session 0 has key 2, which session 4 wants; of keys 0 and 1 it wants the first yet, which somebody has who does not
    // wait; session 4 has the second.
    let between = || {
        let mut tale = Tale::new();
        tale.gets(10, req(0, 0), 2).gets(10, req(4, 0), 1).gets(10, req(1, 0), 0);
        tale.asks_all(20, req(0, 1), &[0, 1]).waits(30, req(4, 1), 2);
        tale
    };
    assert_eq!(between().until(9_000).rules(), []);
    assert_eq!(between().aborts(500, req(4, 1)).rules(), [Rule::FalseVictim]);
    let mut tale = between();
    tale.releases(500, req(1, 0)).reserves(500, req(0, 1)).lines_up(500, req(0, 2)).until(2_400);
    assert_eq!(tale.rules(), []);
    assert_eq!(tale.until(2_600).rules(), [Rule::Undetected]);
    // It lost what it had, and begins again.
    let mut tale = between();
    tale.releases(500, req(1, 0)).reserves(500, req(0, 1)).lines_up(500, req(0, 2));
    tale.gives_back(600, req(0, 1)).gets(600, req(2, 0), 0).lines_up(600, req(0, 1)).until(9_000);
    assert_eq!(tale.rules(), []);
}

#[test]
fn a_lease_takes_the_place_of_its_reservation() {
    let mut tale = Tale::half_of_both();
    tale.add(200, Event::Dropped { of: req(4, 1) }).releases(200, req(4, 0)).reserves(200, req(0, 1));
    for request in 0..2 {
        let (lease, fence) = (req(0, request), 200 + u64::from(request));
        tale.add(200, Event::Issued { lease, fence, deadline: At(u64::MAX) });
    }
    // Nothing is left of it when both are released.
    tale.releases(300, req(0, 0)).releases(300, req(0, 1)).gets(310, req(4, 2), 1);
    tale.waits(320, req(4, 3), 0).waits(330, req(0, 2), 1).until(9_000);
    assert_eq!(tale.rules(), []);
}
