//! The rules on deadlocks on hand-made histories of turns, and of those who follow them.

use super::deadlock_tests::{Tale, req};
use super::history::*;
use super::{Rule, judge};

impl Tale {
    /// Key 0 is a once key.
    fn once(mut self) -> Tale {
        for record in &mut self.0.records {
            if let Event::Sent { what: Sent::Acquire(acquire), .. } = &mut record.event {
                acquire.turn = acquire.key == 0;
            }
        }
        self
    }

    /// Session 0 has the turn and wants key 1; session 4 has that, and follows the turn from 100 on.
    fn runner_and_follower() -> Tale {
        let mut tale = Tale::new();
        tale.gets(10, req(0, 0), 0).gets(10, req(4, 0), 1).waits(20, req(0, 1), 1).waits(100, req(4, 1), 0);
        tale.once()
    }
}

#[test]
fn a_follower_waits_for_the_one_who_runs() {
    assert_eq!(Tale::runner_and_follower().until(2_000).rules(), []);
    assert_eq!(Tale::runner_and_follower().until(2_200).rules(), [Rule::Undetected]);
    for victim in [req(0, 1), req(4, 1)] {
        let mut tale = Tale::runner_and_follower();
        tale.aborts(1_000, victim).until(9_000);
        assert_eq!(tale.rules(), []);
        let census = judge(&tale.0).census;
        assert_eq!((census.lengths[1], census.followers, census.victims), (1, 1, 1));
    }
}

#[test]
fn a_deadlock_beside_a_turn_is_not_counted_as_one_with_a_follower() {
    let mut tale = Tale::new();
    tale.gets(10, req(0, 0), 1).gets(10, req(4, 0), 2).gets(10, req(0, 1), 0);
    tale.waits(20, req(0, 2), 2).waits(30, req(4, 1), 1).aborts(1_000, req(4, 1));
    let census = judge(&tale.once().0).census;
    assert_eq!((census.lengths[1], census.followers), (1, 0));
}

#[test]
fn who_hears_that_it_is_done_waits_no_more() {
    let mut tale = Tale::runner_and_follower();
    tale.releases(500, req(0, 0)).add(510, Event::Dropped { of: req(4, 1) }).until(9_000);
    assert_eq!(tale.rules(), []);
    tale.aborts(9_001, req(0, 1));
    assert_eq!(tale.rules(), [Rule::FalseVictim]);
}

#[test]
fn a_turn_whose_finish_is_under_way_binds_nobody() {
    // Session 0 does not wait to hear that it counts.
    let mut tale = Tale::new();
    tale.gets(10, req(0, 0), 0).gets(10, req(4, 0), 1).waits(20, req(4, 1), 0);
    tale.add(30, Event::Sent { of: req(0, 1), what: Sent::Finish { lease: req(0, 0) } });
    tale.waits(31, req(0, 2), 1);
    let mut tale = tale.once();
    assert_eq!(tale.until(9_000).rules(), []);
    tale.aborts(9_001, req(0, 2));
    assert_eq!(tale.rules(), [Rule::FalseVictim]);
}

#[test]
fn a_runner_who_waits_for_nobody_frees_its_followers() {
    let followers = || {
        let mut tale = Tale::new();
        tale.gets(10, req(0, 0), 0).gets(10, req(4, 0), 1).waits(20, req(4, 1), 0).waits(30, req(5, 0), 1);
        tale.once()
    };
    assert_eq!(followers().until(9_000).rules(), []);
    assert_eq!(followers().aborts(1_000, req(4, 1)).rules(), [Rule::FalseVictim]);
}
