//! The oracle for deadlocks on hand-made pictures, and the rules on hand-made histories.

use super::history::*;
use super::knot::{Hold, Order, Picture, Set, Wait as Blocked};
use super::tests::exclusive;
pub(super) use super::tests::{LOCK, req};
use super::{Rule, judge};
use std::time::Duration;

/// A picture in the making: owners are numbered as they are added.
#[derive(Default)]
struct Scene(Picture);

impl Scene {
    /// The next owner holds these, and waits for units of a key, behind these owners.
    fn owner(mut self, holds: &[(u32, u32)], wants: (u32, u32, u32), behind: &[usize]) -> Scene {
        let owner = self.0.waits.len();
        for &(key, units) in holds {
            self.0.holds.push(Hold { owner, key, units, reserved: false });
        }
        let (key, units, limit) = wants;
        let ahead = behind.iter().fold(Set::EMPTY, |set, &other| set.with(other));
        let of = req(u32::try_from(owner).unwrap(), 0);
        self.0.waits.push(Blocked {
            of,
            sidecar: 0,
            key,
            units,
            limit,
            upgrades: false,
            turn: false,
            ahead: [ahead; 3],
        });
        self
    }

    fn stuck(&self) -> Vec<usize> {
        self.0.stuck(self.0.everybody(), Order::Sure).owners().collect()
    }

    fn knot(&self, owner: usize) -> Option<Vec<usize>> {
        let knot = self.0.knot(owner, self.0.everybody(), Order::Sure);
        knot.map(|knot| knot.owners().collect())
    }
}

#[test]
fn circles_of_exclusive_locks_are_knots_whatever_their_length() {
    for length in 1..=6_u32 {
        let scene = (0..length).fold(Scene::default(), |scene, owner| {
            scene.owner(&[(owner, LOCK)], ((owner + 1) % length, LOCK, LOCK), &[])
        });
        let all: Vec<usize> = (0..length as usize).collect();
        assert_eq!(scene.stuck(), all);
        assert!(all.iter().all(|&owner| scene.knot(owner).as_ref() == Some(&all)));
    }
}

#[test]
fn a_chain_is_no_deadlock() {
    let scene = Scene::default().owner(&[(0, LOCK)], (1, LOCK, LOCK), &[]);
    let scene = scene.owner(&[(1, LOCK)], (2, LOCK, LOCK), &[]);
    assert_eq!(scene.stuck(), [0_usize; 0]);
}

#[test]
fn who_waits_behind_a_deadlock_is_stuck_and_still_no_part_of_it() {
    let scene = Scene::default().owner(&[(0, LOCK)], (1, LOCK, LOCK), &[]);
    let scene = scene.owner(&[(1, LOCK)], (0, LOCK, LOCK), &[]);
    // It is behind owner 1 for key 0, and holds what nobody of the two wants.
    let scene = scene.owner(&[(2, LOCK)], (0, LOCK, LOCK), &[1]);
    assert_eq!(scene.stuck(), [0, 1, 2]);
    assert_eq!(scene.knot(2), None);
    assert_eq!(scene.knot(1), Some(vec![0, 1]));
}

#[test]
fn who_is_in_a_circle_only_as_a_detour_is_no_part_of_it() {
    // 0 waits for 2, 2 for 0, and behind 1, who waits for 0 as well: 2 → 1 → 0 → 2 is a circle that 1 does not matter to.
    let scene = Scene::default().owner(&[(0, LOCK)], (1, LOCK, LOCK), &[]);
    let scene = scene.owner(&[], (0, LOCK, LOCK), &[]).owner(&[(1, LOCK)], (0, LOCK, LOCK), &[1]);
    assert_eq!((scene.stuck(), scene.knot(1)), (vec![0, 1, 2], None));
    assert_eq!(scene.knot(0), Some(vec![0, 2]));
}

#[test]
fn a_circle_of_permits_is_no_deadlock_while_somebody_else_can_give_enough() {
    // 0 and 1 hold one of three each and want one more each; the third is somebody else's, who does not wait.
    let scene = Scene::default().owner(&[(0, 1)], (0, 1, 3), &[]).owner(&[(0, 1)], (0, 1, 3), &[0]);
    assert_eq!(scene.stuck(), [0_usize; 0]);
    assert!(scene.0.goes_in_circles(0));
    // With two more each, nobody else can help.
    let scene = Scene::default().owner(&[(0, 1)], (0, 2, 3), &[]).owner(&[(0, 1)], (0, 2, 3), &[0]);
    assert_eq!((scene.stuck(), scene.knot(0)), (vec![0, 1], Some(vec![0, 1])));
}

#[test]
fn all_who_hold_too_many_permits_are_needed() {
    // 0 wants all of key 0; 1, 2 and 3 hold one of three, and wait for what 0 holds.
    let scene = Scene::default().owner(&[(1, LOCK)], (0, 3, 3), &[]);
    let holder = |scene: Scene| scene.owner(&[(0, 1)], (1, 1, LOCK), &[]);
    let scene = holder(holder(holder(scene)));
    assert_eq!(scene.stuck(), [0, 1, 2, 3]);
    // Any one of the three would do to keep 0 from its three units.
    assert_eq!(scene.knot(1), Some(vec![0, 1]));
    assert_eq!(scene.knot(3), Some(vec![0, 3]));
}

#[test]
fn a_reader_behind_a_writer_waits_for_it() {
    // 0 reads key 0 and waits for key 1, which 1 has. 1 wants to read key 0, behind the writer 2.
    let reader = Scene::default().owner(&[(0, 1)], (1, LOCK, LOCK), &[]);
    let reader = reader.owner(&[(1, LOCK)], (0, 1, LOCK), &[2]);
    let scene = reader.owner(&[], (0, LOCK, LOCK), &[]);
    assert_eq!((scene.stuck(), scene.knot(2)), (vec![0, 1, 2], Some(vec![0, 1, 2])));
    // Without the writer between them they share.
    let scene = Scene::default().owner(&[(0, 1)], (1, LOCK, LOCK), &[]);
    assert_eq!(scene.owner(&[(1, LOCK)], (0, 1, LOCK), &[]).stuck(), [0_usize; 0]);
}

#[test]
fn what_is_reserved_on_the_way_to_several_keys_is_held() {
    // 0 has keys 0 and 1 of the three that it takes at once; 1 holds the third and wants the first.
    let scene = Scene::default().owner(&[(0, LOCK), (1, LOCK)], (2, LOCK, LOCK), &[]);
    let scene = scene.owner(&[(2, LOCK)], (0, LOCK, LOCK), &[]);
    assert_eq!(scene.knot(0), Some(vec![0, 1]));
}

#[test]
fn two_circles_with_one_owner_in_common_are_two_knots() {
    // 0 reads nothing, wants key 0 whole, which 1 and 2 read; both wait for key 1, which 0 has.
    let scene = Scene::default().owner(&[(1, LOCK)], (0, LOCK, LOCK), &[]);
    let scene = scene.owner(&[(0, 1)], (1, LOCK, LOCK), &[]).owner(&[(0, 1)], (1, LOCK, LOCK), &[1]);
    assert_eq!(scene.knot(1), Some(vec![0, 1]));
    assert_eq!(scene.knot(2), Some(vec![0, 2]));
}

/// A history in the making, told by sidecars alone; times are in milliseconds. Sessions 0 to 3 are on sidecar 0, the
/// others on sidecar 1; a session has one owner.
pub(super) struct Tale(pub(super) History);

impl Tale {
    pub(super) fn new() -> Tale {
        let bounds = Bounds { slack: Duration::ZERO, ..Bounds::default() };
        let mut tale = Tale(History { bounds, records: Vec::new() });
        for session in 0..8 {
            tale.add(0, Event::Opened { session, sidecar: session / 4, uid: 1 });
        }
        tale
    }

    pub(super) fn add(&mut self, at: u64, event: Event) -> &mut Tale {
        self.0.records.push(Record { at: At(at * 1_000_000), event });
        self
    }

    /// An owner begins to wait for units of a key.
    fn asks(&mut self, at: u64, of: Req, key: u32, units: u32, limit: u32) -> &mut Tale {
        let acquire = Acquire { key, units, limit, owner: Some(0), ..exclusive() };
        self.add(at, Event::Sent { of, what: Sent::Acquire(acquire) }).add(at, Event::Arrived { of })
    }

    /// An owner gets a lock.
    pub(super) fn gets(&mut self, at: u64, lease: Req, key: u32) -> &mut Tale {
        self.takes(at, lease, key, LOCK, LOCK)
    }

    fn takes(&mut self, at: u64, lease: Req, key: u32, units: u32, limit: u32) -> &mut Tale {
        self.asks(at, lease, key, units, limit);
        self.add(at, Event::Issued { lease, fence: at, deadline: At(u64::MAX) })
    }

    /// An owner waits for a lock.
    pub(super) fn waits(&mut self, at: u64, of: Req, key: u32) -> &mut Tale {
        self.asks(at, of, key, LOCK, LOCK)
    }

    /// An owner asks for all of what it has this share of.
    fn upgrades(&mut self, at: u64, of: Req, share: Req, key: u32) -> &mut Tale {
        self.waits(at, of, key);
        for record in &mut self.0.records {
            if let Event::Sent { of: sent, what: Sent::Acquire(acquire) } = &mut record.event
                && *sent == of
            {
                acquire.upgrades = Some(share);
            }
        }
        self
    }

    pub(super) fn aborts(&mut self, at: u64, of: Req) -> &mut Tale {
        self.add(at, Event::Declined { of, why: Refused::Deadlock }).add(at, Event::Dropped { of })
    }

    pub(super) fn releases(&mut self, at: u64, lease: Req) -> &mut Tale {
        self.add(at, Event::Done { lease, lost: false })
    }

    /// Sessions 0 and 4 hold keys 0 and 1 and want each other's from 100 on.
    fn two_in_a_circle() -> Tale {
        let mut tale = Tale::new();
        tale.gets(10, req(0, 0), 0).gets(10, req(4, 0), 1).waits(20, req(0, 1), 1).waits(100, req(4, 1), 0);
        tale
    }

    /// Time goes by.
    pub(super) fn until(&mut self, at: u64) -> &mut Tale {
        self.add(at, Event::Learned { sidecar: 0, key: 7, contended: false })
    }

    /// The rules on deadlocks that it breaks.
    pub(super) fn rules(&self) -> Vec<Rule> {
        let rules = [Rule::FalseVictim, Rule::SecondVictim, Rule::Undetected];
        let found = judge(&self.0).violations.into_iter().map(|violation| violation.rule);
        found.filter(|rule| rules.contains(rule)).collect()
    }
}

#[test]
fn a_deadlock_that_gets_its_victim_in_time_is_good() {
    let mut tale = Tale::two_in_a_circle();
    tale.until(2_050).aborts(2_060, req(4, 1)).releases(2_061, req(4, 0)).until(9_000);
    assert_eq!(tale.rules(), []);
    let census = judge(&tale.0).census;
    assert_eq!((census.lengths, census.across, census.victims), ([0, 1, 0, 0, 0, 0, 0], 1, 1));
}

#[test]
fn a_deadlock_that_stands_for_more_than_two_seconds_is_missed_and_said_once() {
    let mut tale = Tale::two_in_a_circle();
    assert_eq!(tale.until(2_100).rules(), []);
    assert_eq!(tale.until(2_200).until(2_500).until(9_000).rules(), [Rule::Undetected]);
}

#[test]
fn the_share_that_an_upgrade_gives_is_not_in_its_way_but_another_of_its_own_is() {
    // One share of its own, and a reader who waits for nothing.
    let mut tale = Tale::new();
    tale.takes(10, req(0, 0), 0, 1, LOCK).takes(10, req(4, 0), 0, 1, LOCK);
    tale.upgrades(20, req(0, 1), req(0, 0), 0).until(9_000);
    assert_eq!(tale.rules(), []);
    // The reader wants what the upgrader has besides.
    let mut tale = Tale::new();
    tale.takes(10, req(0, 0), 0, 1, LOCK).takes(10, req(4, 0), 0, 1, LOCK).gets(10, req(0, 1), 1);
    tale.upgrades(20, req(0, 2), req(0, 0), 0).waits(30, req(4, 1), 1).until(2_100);
    assert_eq!(tale.rules(), [Rule::Undetected]);
    // Two shares of its own.
    let mut tale = Tale::new();
    tale.takes(10, req(0, 0), 0, 1, LOCK).takes(10, req(0, 1), 0, 1, LOCK);
    tale.upgrades(20, req(0, 2), req(0, 0), 0).until(2_100);
    assert_eq!(tale.rules(), [Rule::Undetected]);
}

#[test]
fn an_upgrade_goes_before_those_who_came_before_it() {
    let mut tale = Tale::new();
    tale.takes(10, req(0, 0), 0, 1, LOCK).takes(10, req(1, 0), 0, 1, LOCK);
    // A writer in line before it is no obstacle: only the other reader is, who waits for nobody.
    tale.waits(20, req(2, 0), 0).upgrades(30, req(0, 1), req(0, 0), 0).until(9_000);
    assert_eq!(tale.rules(), []);
    tale.aborts(9_010, req(0, 1));
    assert_eq!(tale.rules(), [Rule::FalseVictim]);
}

#[test]
fn time_counts_from_the_last_wait() {
    let mut tale = Tale::new();
    tale.gets(10, req(0, 0), 0).gets(10, req(4, 0), 1).gets(10, req(1, 0), 2);
    tale.waits(20, req(0, 1), 1).waits(20, req(4, 1), 2).waits(5_000, req(1, 1), 0).until(7_000);
    assert_eq!(tale.rules(), []);
    assert_eq!(tale.until(7_100).rules(), [Rule::Undetected]);
}

#[test]
fn a_sidecar_that_is_cut_off_finds_nothing_and_is_not_blamed() {
    let mut tale = Tale::two_in_a_circle();
    tale.add(1_000, Event::Disturbed { sidecar: 1, until: At(4_000_000_000) }).until(6_000);
    assert_eq!(tale.rules(), []);
    assert_eq!(tale.until(6_200).rules(), [Rule::Undetected]);
    let mut tale = Tale::two_in_a_circle();
    tale.add(1_000, Event::Crashed { sidecar: 1 }).until(9_000);
    assert_eq!(tale.rules(), []);
}

#[test]
fn a_victim_without_a_deadlock_is_false() {
    let mut tale = Tale::new();
    tale.gets(10, req(0, 0), 0).waits(20, req(4, 0), 0).aborts(500, req(4, 0));
    assert_eq!(tale.rules(), [Rule::FalseVictim]);
    // There was one, but it dissolved long ago.
    let mut tale = Tale::two_in_a_circle();
    tale.releases(1_000, req(0, 0)).aborts(4_200, req(4, 1));
    assert_eq!(tale.rules(), [Rule::FalseVictim]);
    // It dissolved a moment ago.
    let mut tale = Tale::two_in_a_circle();
    tale.releases(1_000, req(0, 0)).aborts(1_500, req(4, 1));
    assert_eq!(tale.rules(), []);
}

#[test]
fn who_has_its_answer_already_is_no_victim() {
    let mut tale = Tale::two_in_a_circle();
    tale.add(900, Event::Dropped { of: req(4, 1) })
        .add(1_000, Event::Declined { of: req(4, 1), why: Refused::Deadlock });
    assert_eq!(tale.rules(), [Rule::FalseVictim]);
}

#[test]
fn who_waits_behind_a_deadlock_is_a_false_victim() {
    let mut tale = Tale::two_in_a_circle();
    tale.waits(200, req(1, 0), 0).aborts(1_000, req(1, 0));
    assert_eq!(tale.rules(), [Rule::FalseVictim]);
}

#[test]
fn a_second_victim_is_one_too_many() {
    let mut tale = Tale::two_in_a_circle();
    tale.aborts(1_000, req(4, 1)).aborts(1_100, req(0, 1));
    assert_eq!(tale.rules(), [Rule::SecondVictim]);
}

#[test]
fn two_deadlocks_have_a_victim_each() {
    // 0 wants key 0 whole, which 4 and 5 read; both want key 1, which 0 has.
    let mut tale = Tale::new();
    tale.gets(10, req(0, 0), 1).takes(10, req(4, 0), 0, 1, LOCK).takes(10, req(5, 0), 0, 1, LOCK);
    tale.waits(20, req(0, 1), 0).waits(30, req(4, 1), 1).waits(40, req(5, 1), 1);
    tale.aborts(1_000, req(4, 1)).aborts(1_100, req(5, 1));
    assert_eq!(tale.rules(), []);
    // Two deadlocks, three victims: none would have done with two of them.
    tale.aborts(1_200, req(0, 1));
    assert_eq!(tale.rules(), [Rule::SecondVictim]);
}

#[test]
fn victims_of_deadlocks_that_share_an_owner_may_come_in_any_order() {
    // As above. If 4 is told first, 0 is needed for the deadlock with 5; but 0 was heard first.
    let mut tale = Tale::new();
    tale.gets(10, req(0, 0), 1).takes(10, req(4, 0), 0, 1, LOCK).takes(10, req(5, 0), 0, 1, LOCK);
    tale.waits(20, req(0, 1), 0).waits(30, req(4, 1), 1).waits(40, req(5, 1), 1);
    tale.aborts(1_000, req(0, 1)).aborts(1_001, req(4, 1));
    assert_eq!(tale.rules(), []);
    tale.aborts(1_002, req(5, 1));
    assert_eq!(tale.rules(), [Rule::SecondVictim]);
}

#[test]
fn requests_that_name_no_owner_or_do_not_want_to_be_told_are_in_no_deadlock() {
    let changes: [fn(&mut Acquire); 2] = [|acquire| acquire.owner = None, |acquire| acquire.watched = false];
    for change in changes {
        let mut tale = Tale::two_in_a_circle();
        for record in &mut tale.0.records {
            if let Event::Sent { what: Sent::Acquire(acquire), of: Req { session: 4, .. } } =
                &mut record.event
            {
                change(acquire);
            }
        }
        assert_eq!(tale.until(9_000).rules(), []);
    }
}

/// Session 0 reads key 0 and wants key 1, which session 4 has; session 4 wants to read key 0, and somebody wants to write
/// it: session 5 beside session 4, or session 1 in the other sidecar.
fn reader_and_writer(writer: Req, places: &[u32]) -> Tale {
    let mut tale = Tale::new();
    tale.takes(10, req(0, 0), 0, 1, LOCK).gets(10, req(4, 0), 1).waits(20, req(0, 1), 1);
    tale.waits(30, writer, 0).asks(40, req(4, 1), 0, 1, LOCK);
    for &sidecar in places {
        tale.add(50, Event::Entered { sidecar, key: 0, ask: 1, until: At(u64::MAX), upgrade: false });
    }
    tale
}

#[test]
fn waiters_ahead_in_the_same_sidecar_count() {
    assert_eq!(reader_and_writer(req(5, 0), &[1]).until(9_000).rules(), [Rule::Undetected]);
}

#[test]
fn waiters_ahead_in_another_sidecar_count_where_the_store_has_them_ahead() {
    assert_eq!(reader_and_writer(req(1, 0), &[0, 1]).until(9_000).rules(), [Rule::Undetected]);
    assert_eq!(reader_and_writer(req(1, 0), &[0, 1]).aborts(1_000, req(1, 0)).rules(), []);
    assert_eq!(reader_and_writer(req(1, 0), &[1, 0]).until(9_000).rules(), []);
    assert_eq!(reader_and_writer(req(1, 0), &[1, 0]).aborts(1_000, req(1, 0)).rules(), [Rule::FalseVictim]);
}

#[test]
fn an_order_that_hangs_on_a_clock_is_decided_for_the_sidecar() {
    // The writer came a second and five milliseconds before the reader, who has a point of priority: who is ahead depends
    // on whose second.
    let tale = |priority| {
        let mut tale = Tale::new();
        tale.takes(10, req(0, 0), 0, 1, LOCK).gets(10, req(4, 0), 1).waits(20, req(0, 1), 1);
        tale.waits(30, req(5, 0), 0).asks(1_035, req(4, 1), 0, 1, LOCK);
        for record in &mut tale.0.records {
            if let Event::Sent { what: Sent::Acquire(acquire), of: Req { session: 4, request: 1 } } =
                &mut record.event
            {
                acquire.priority = priority;
            }
        }
        tale
    };
    assert_eq!(tale(0).until(9_000).rules(), [Rule::Undetected]);
    assert_eq!(tale(1).until(9_000).rules(), []);
    assert_eq!(tale(1).aborts(1_500, req(4, 1)).rules(), []);
    assert_eq!(tale(2).aborts(1_500, req(4, 1)).rules(), [Rule::FalseVictim]);
}

#[test]
fn an_uncertain_order_is_decided_for_the_sidecar() {
    // The writer has a place, the reader's sidecar none yet: it may be served without, or come behind.
    assert_eq!(reader_and_writer(req(1, 0), &[0]).until(9_000).rules(), []);
    assert_eq!(reader_and_writer(req(1, 0), &[0]).aborts(1_000, req(1, 0)).rules(), []);
}

#[test]
fn a_sidecar_that_knows_of_a_waiter_elsewhere_serves_nobody_before_it() {
    let mut tale = reader_and_writer(req(1, 0), &[0]);
    tale.add(60, Event::Learned { sidecar: 1, key: 0, contended: true });
    assert_eq!(tale.until(9_000).rules(), [Rule::Undetected]);
    let mut tale = reader_and_writer(req(1, 0), &[0]);
    tale.add(60, Event::Learned { sidecar: 1, key: 0, contended: true });
    tale.add(70, Event::Learned { sidecar: 1, key: 0, contended: false });
    assert_eq!(tale.until(9_000).rules(), []);
}

#[test]
fn units_that_a_sidecar_keeps_for_its_first_waiter_are_as_good_as_gone() {
    // The writer's sidecar, which is also the first reader's, has taken the whole key for it already.
    let mut tale = reader_and_writer(req(1, 0), &[]);
    tale.add(45, Event::Seated { sidecar: 0, key: 0, ask: 1, units: LOCK, upgrade: false });
    tale.add(50, Event::Entered { sidecar: 1, key: 0, ask: 1, until: At(u64::MAX), upgrade: false });
    assert_eq!(Tale(tale.0.clone()).until(9_000).rules(), []);
    assert_eq!(Tale(tale.0.clone()).aborts(1_000, req(1, 0)).rules(), []);
    tale.add(60, Event::Learned { sidecar: 0, key: 0, contended: true });
    assert_eq!(Tale(tale.0.clone()).until(9_000).rules(), [Rule::Undetected]);
    tale.add(70, Event::Kept { sidecar: 0, key: 0, units: 1 });
    assert_eq!(tale.until(9_000).rules(), []);
}

#[test]
fn who_leaves_the_line_can_leave_others_stuck() {
    // The reader's sidecar was ahead, for somebody who gives up.
    let mut tale = reader_and_writer(req(1, 0), &[1, 0]);
    tale.add(60, Event::Left { sidecar: 1, key: 0 });
    assert_eq!(tale.aborts(1_000, req(4, 1)).rules(), []);
}

#[test]
fn an_offer_is_no_wait() {
    let mut tale = reader_and_writer(req(1, 0), &[0, 1]);
    tale.add(60, Event::Offered { sidecar: 0, key: 0, ask: 1 });
    assert_eq!(tale.until(9_000).rules(), []);
}
