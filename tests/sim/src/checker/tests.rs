//! Hand-made histories: bad ones, each rejected by the right rule, and good ones that nobody may reject.

use super::history::*;
use super::{Rule, check};
use std::time::Duration;

pub(super) const LOCK: u32 = u32::MAX;

fn ms(ms: u64) -> At {
    At(ms * 1_000_000)
}

pub(super) const fn req(session: u32, request: u32) -> Req {
    Req { session, request }
}

/// A history in the making; times are in milliseconds.
pub(super) struct Tale(History);

impl Tale {
    /// Two sidecars, three sessions: 0 and 1 on the first as uid 1, 2 on the second as uid 2.
    pub(super) fn new() -> Tale {
        let mut tale = Tale(History::default());
        for (session, sidecar, uid) in [(0, 0, 1), (1, 0, 1), (2, 1, 2)] {
            tale.add(0, Event::Opened { session, sidecar, uid });
        }
        tale
    }

    pub(super) fn add(&mut self, at: u64, event: Event) -> &mut Tale {
        self.0.records.push(Record { at: ms(at), event });
        self
    }

    pub(super) fn ask(&mut self, at: u64, of: Req, acquire: Acquire) -> &mut Tale {
        self.add(at, Event::Sent { of, what: Sent::Acquire(acquire) })
    }

    /// Asks for key 0, exclusively and for ever.
    pub(super) fn acquire(&mut self, at: u64, of: Req) -> &mut Tale {
        self.ask(at, of, exclusive())
    }

    fn granted(&mut self, at: u64, of: Req, fence: u64, deadline: u64) -> &mut Tale {
        let answer = Answer::Granted { fence, deadline: ms(deadline) };
        self.add(at, Event::Answered { of, answer })
    }

    pub(super) fn issued(&mut self, at: u64, lease: Req, fence: u64, deadline: u64) -> &mut Tale {
        self.add(at, Event::Issued { lease, fence, deadline: ms(deadline) })
    }

    /// Session 0 asks for key 0 and gets it at 10 with token 100 until 10 000.
    fn first_holder(&mut self) -> &mut Tale {
        self.acquire(5, req(0, 0)).granted(10, req(0, 0), 100, 10_000)
    }

    fn release(&mut self, at: u64, of: Req, lease: Req) -> &mut Tale {
        self.add(at, Event::Sent { of, what: Sent::Release { lease } })
            .add(at + 1, Event::Answered { of, answer: Answer::Released })
    }

    fn rest(&mut self, at: u64) -> &mut Tale {
        self.add(at, Event::Rest(Rest::default()))
    }

    pub(super) fn rules(&self) -> Vec<Rule> {
        check(&self.0).into_iter().map(|violation| violation.rule).collect()
    }

    pub(super) fn breaks(&self, rule: Rule) {
        let found = check(&self.0);
        assert!(found.iter().any(|violation| violation.rule == rule), "wanted {rule}, found {found:?}");
    }

    pub(super) fn is_good(&self) {
        assert_eq!(check(&self.0), []);
    }
}

pub(super) fn exclusive() -> Acquire {
    let wait = Wait::Forever;
    let (priority, timed, owner, per, watched, upgrades, group) = (0, false, None, None, true, None, None);
    let (turn, max_hold) = (false, None);
    Acquire {
        key: 0,
        units: LOCK,
        limit: LOCK,
        wait,
        priority,
        timed,
        owner,
        per,
        max_hold,
        turn,
        watched,
        upgrades,
        group,
    }
}

fn shared() -> Acquire {
    Acquire { units: 1, ..exclusive() }
}

pub(super) fn permits(units: u32) -> Acquire {
    Acquire { units, limit: 4, ..exclusive() }
}

#[test]
fn a_plain_handover_is_good() {
    let mut tale = Tale::new();
    tale.first_holder().acquire(20, req(2, 0)).release(30, req(0, 1), req(0, 0));
    tale.granted(35, req(2, 0), 101, 10_000).release(40, req(2, 1), req(2, 0)).rest(50).is_good();
}

#[test]
fn two_exclusive_holders_overlap() {
    let mut tale = Tale::new();
    tale.first_holder().acquire(20, req(2, 0)).granted(30, req(2, 0), 101, 10_000);
    tale.breaks(Rule::Exclusion);
}

#[test]
fn a_window_ends_at_its_last_told_deadline() {
    let mut tale = Tale::new();
    tale.first_holder().add(50, Event::Extended { lease: req(0, 0), until: ms(20_000) });
    tale.acquire(60, req(2, 0)).granted(15_000, req(2, 0), 101, 30_000).breaks(Rule::Exclusion);
    let mut tale = Tale::new();
    tale.first_holder().acquire(60, req(2, 0)).granted(10_000, req(2, 0), 101, 30_000).is_good();
}

#[test]
fn lost_hang_up_and_eof_end_a_window() {
    let ends = [
        Event::LostSeen { lease: req(0, 0) },
        Event::HungUp { session: 0 },
        Event::EofSeen { session: 0 },
        Event::Sent { of: req(0, 0), what: Sent::Cancel },
    ];
    for end in ends {
        let mut tale = Tale::new();
        tale.first_holder().add(20, end).acquire(20, req(2, 0)).granted(30, req(2, 0), 101, 9_000).is_good();
    }
}

#[test]
fn a_timed_lease_outlives_its_connection() {
    let mut tale = Tale::new();
    tale.ask(5, req(0, 0), Acquire { timed: true, ..exclusive() }).granted(10, req(0, 0), 100, 5_000);
    tale.add(20, Event::HungUp { session: 0 });
    tale.acquire(30, req(2, 0)).granted(40, req(2, 0), 101, 9_000).breaks(Rule::Exclusion);
}

#[test]
fn a_session_that_came_back_holds_again() {
    let mut tale = Tale::new();
    tale.first_holder().add(20, Event::EofSeen { session: 0 }).acquire(20, req(2, 0));
    tale.granted(30, req(2, 0), 101, 9_000).add(40, Event::Resumed { session: 0 }).breaks(Rule::Exclusion);
}

#[test]
fn units_add_up() {
    let mut tale = Tale::new();
    tale.ask(1, req(0, 0), permits(2)).granted(2, req(0, 0), 1, 9_000);
    tale.ask(3, req(2, 0), permits(2)).granted(4, req(2, 0), 2, 9_000).is_good();
    tale.ask(5, req(1, 0), permits(1)).granted(6, req(1, 0), 3, 9_000).breaks(Rule::Exclusion);
}

#[test]
fn readers_share_and_a_writer_does_not() {
    let mut tale = Tale::new();
    tale.ask(1, req(0, 0), shared()).granted(2, req(0, 0), 1, 9_000);
    tale.ask(3, req(2, 0), shared()).granted(4, req(2, 0), 2, 9_000).is_good();
    tale.acquire(5, req(1, 0)).granted(6, req(1, 0), 3, 9_000).breaks(Rule::Exclusion);
}

#[test]
fn after_the_store_lost_its_data_leases_may_overlap_for_a_while_and_no_longer() {
    let overlap = |at| {
        let mut tale = Tale::new();
        tale.first_holder().add(20, Event::Flushed).acquire(25, req(2, 0));
        tale.add(30, Event::Extended { lease: req(0, 0), until: ms(30_000) });
        tale.granted(at, req(2, 0), 101, at + 5_000).rules()
    };
    assert_eq!(overlap(40), []);
    assert!(overlap(15_000).contains(&Rule::Exclusion));
}

#[test]
fn a_sidecar_grants_only_after_it_ended_the_last_lease() {
    let mut tale = Tale::new();
    tale.acquire(1, req(0, 0)).issued(2, req(0, 0), 100, 9_000).acquire(3, req(1, 0));
    tale.issued(4, req(1, 0), 101, 9_000).breaks(Rule::GrantBeforeEnd);
    let mut tale = Tale::new();
    tale.acquire(1, req(0, 0)).issued(2, req(0, 0), 100, 9_000).acquire(3, req(1, 0));
    tale.add(4, Event::Done { lease: req(0, 0), lost: false }).issued(4, req(1, 0), 101, 9_000).is_good();
}

#[test]
fn nobody_is_told_more_than_the_store_confirmed() {
    let mut tale = Tale::new();
    tale.add(1, Event::Reserved { sidecar: 0, key: 0, first: 100, last: 200 });
    tale.add(1, Event::Confirmed { sidecar: 0, key: 0, until: ms(9_000) });
    tale.acquire(2, req(0, 0)).issued(3, req(0, 0), 100, 8_900).is_good();
    tale.add(5, Event::Extended { lease: req(0, 0), until: ms(9_001) }).breaks(Rule::Unconfirmed);
}

#[test]
fn a_dead_tenure_grants_nothing() {
    let mut tale = Tale::new();
    tale.acquire(2, req(0, 0)).issued(3, req(0, 0), 100, 3).breaks(Rule::DeadTenure);
    let mut tale = Tale::new();
    tale.first_holder().add(20, Event::Sent { of: req(0, 1), what: Sent::Renew { lease: req(0, 0) } });
    tale.add(30, Event::Renewed { of: req(0, 1), deadline: ms(29) }).breaks(Rule::DeadTenure);
}

#[test]
fn a_lease_of_a_dead_tenure_is_lost_not_released() {
    let ended = |lost| {
        let mut tale = Tale::new();
        tale.add(1, Event::Reserved { sidecar: 0, key: 0, first: 100, last: 200 });
        tale.add(1, Event::Confirmed { sidecar: 0, key: 0, until: ms(9_000) });
        tale.acquire(2, req(0, 0)).issued(3, req(0, 0), 100, 8_900);
        tale.add(9_100, Event::Done { lease: req(0, 0), lost }).rules()
    };
    assert_eq!(ended(true), []);
    assert_eq!(ended(false), [Rule::DeadTenure]);
}

#[test]
fn tokens_are_unique() {
    let mut tale = Tale::new();
    tale.first_holder().release(20, req(0, 1), req(0, 0)).acquire(25, req(2, 0));
    tale.granted(30, req(2, 0), 100, 9_000).breaks(Rule::FenceTwice);
}

#[test]
fn tokens_of_conflicting_leases_rise() {
    let mut tale = Tale::new();
    tale.first_holder().release(20, req(0, 1), req(0, 0)).acquire(25, req(2, 0));
    tale.granted(30, req(2, 0), 99, 9_000).breaks(Rule::FenceOrder);
    let mut tale = Tale::new();
    tale.ask(1, req(0, 0), shared()).granted(2, req(0, 0), 7, 9_000);
    tale.ask(3, req(2, 0), shared()).granted(4, req(2, 0), 5, 9_000).is_good();
}

#[test]
fn where_the_store_clock_went_back_tokens_may_too() {
    let mut tale = Tale::new();
    tale.0.bounds.store_clock_monotone = false;
    tale.first_holder().release(20, req(0, 1), req(0, 0)).acquire(25, req(2, 0));
    tale.granted(30, req(2, 0), 99, 9_000).is_good();
}

#[test]
fn tokens_come_from_the_sidecars_own_and_latest_reservation() {
    let reserved = |sidecar, first, last| Event::Reserved { sidecar, key: 0, first, last };
    let with = |fence| {
        let mut tale = Tale::new();
        tale.add(1, reserved(0, 100, 199)).add(1, reserved(1, 200, 299));
        for sidecar in [0, 1] {
            tale.add(1, Event::Confirmed { sidecar, key: 0, until: ms(9_000) });
        }
        tale.acquire(2, req(0, 0)).issued(3, req(0, 0), fence, 8_000).rules()
    };
    assert_eq!(with(150), []);
    assert_eq!(with(250), [Rule::FenceUnreserved]);
    assert_eq!(with(50), [Rule::FenceUnreserved]);
}

#[test]
fn a_register_that_honours_tokens_loses_nothing() {
    let mut tale = Tale::new();
    tale.add(1, Event::Read { key: 0, fence: 100, version: 0 });
    tale.add(2, Event::Read { key: 0, fence: 101, version: 0 });
    tale.add(3, Event::Wrote { key: 0, fence: 100, base: 0, accepted: false });
    tale.add(4, Event::Wrote { key: 0, fence: 101, base: 0, accepted: true }).is_good();
    // The same token twice: both pass the register, one update is lost.
    tale.add(5, Event::Wrote { key: 0, fence: 101, base: 0, accepted: true }).breaks(Rule::LostUpdate);
}

#[test]
fn every_request_is_answered_once() {
    let mut tale = Tale::new();
    tale.first_holder().granted(11, req(0, 0), 100, 9_000).breaks(Rule::OneAnswer);
    let mut tale = Tale::new();
    tale.acquire(5, req(0, 0)).rest(10).breaks(Rule::OneAnswer);
    let mut tale = Tale::new();
    tale.acquire(5, req(0, 0)).add(6, Event::HungUp { session: 0 }).rest(10).is_good();
    let mut tale = Tale::new();
    tale.granted(5, req(0, 0), 100, 9_000).breaks(Rule::OneAnswer);
    let mut tale = Tale::new();
    let of = req(0, 0);
    tale.acquire(5, of).add(6, Event::Answered { of, answer: Answer::Released }).breaks(Rule::OneAnswer);
}

#[test]
fn a_cancelled_request_is_never_granted() {
    let cancelled = Event::Answered { of: req(0, 0), answer: Answer::Cancelled };
    let cancel = Event::Sent { of: req(0, 0), what: Sent::Cancel };
    let mut tale = Tale::new();
    tale.acquire(5, req(0, 0)).add(6, cancel).add(7, cancelled).granted(8, req(0, 0), 100, 9_000);
    tale.breaks(Rule::GrantAfterCancel);
    let mut tale = Tale::new();
    tale.acquire(5, req(0, 0)).add(6, cancel).granted(7, req(0, 0), 100, 9_000).add(8, cancelled);
    tale.acquire(9, req(2, 0)).granted(10, req(2, 0), 101, 9_000).is_good();
}

#[test]
fn strangers_renew_and_release_nothing() {
    let renew = Event::Sent { of: req(1, 0), what: Sent::Renew { lease: req(0, 0) } };
    let renewed = Event::Answered { of: req(1, 0), answer: Answer::Renewed { deadline: ms(20_000) } };
    let mut tale = Tale::new();
    tale.first_holder().add(20, renew).add(21, renewed).breaks(Rule::Trespass);
    // The bearer of a timed lease's name is no stranger, if it is the same user.
    let mut tale = Tale::new();
    tale.ask(5, req(0, 0), Acquire { timed: true, ..exclusive() }).granted(10, req(0, 0), 100, 10_000);
    tale.add(20, renew).add(21, renewed).is_good();
}

#[test]
fn a_new_incarnation_serves_nothing_of_the_old() {
    let mut tale = Tale::new();
    tale.ask(5, req(0, 0), Acquire { timed: true, ..exclusive() }).granted(10, req(0, 0), 100, 10_000);
    tale.add(20, Event::Crashed { sidecar: 0 }).add(30, Event::Opened { session: 3, sidecar: 2, uid: 1 });
    tale.release(40, req(3, 0), req(0, 0)).breaks(Rule::OldIncarnation);
}

#[test]
fn who_waits_longer_comes_first_unless_priorities_say_otherwise() {
    let second_first = |priority| {
        let mut tale = Tale::new();
        tale.acquire(1, req(0, 0)).add(1, Event::Arrived { of: req(0, 0) });
        tale.ask(500, req(1, 0), Acquire { priority, ..exclusive() });
        tale.add(500, Event::Arrived { of: req(1, 0) }).issued(600, req(1, 0), 100, 9_000).rules()
    };
    assert_eq!(second_first(0), [Rule::LocalOrder]);
    assert_eq!(second_first(1), []);
}

#[test]
fn a_waiter_that_left_is_overtaken_by_nobody() {
    let mut tale = Tale::new();
    tale.acquire(1, req(0, 0)).add(1, Event::Arrived { of: req(0, 0) }).acquire(2, req(1, 0));
    tale.add(2, Event::Arrived { of: req(1, 0) }).add(3, Event::Dropped { of: req(0, 0) });
    tale.issued(4, req(1, 0), 100, 9_000).is_good();
}

pub(super) fn entered(sidecar: u32, until: u64) -> Event {
    Event::Entered { sidecar, key: 0, ask: 1, until: ms(until), upgrade: false }
}

#[test]
fn sidecars_take_their_turns_in_the_order_of_the_store_queue() {
    let seated = Event::Seated { sidecar: 0, key: 0, ask: 1, units: LOCK, upgrade: false };
    let mut tale = Tale::new();
    tale.add(1, entered(1, 3_000)).add(2, entered(0, 3_000)).add(3, seated).breaks(Rule::StoreOrder);
    let mut tale = Tale::new();
    tale.add(1, entered(1, 3_000)).add(3_100, seated).is_good();
    let mut tale = Tale::new();
    tale.add(1, entered(1, 3_000)).add(2, Event::Left { sidecar: 1, key: 0 }).add(3, seated).is_good();
}

#[test]
fn an_offer_is_taken_up_within_a_second() {
    let offer = Event::Offered { sidecar: 1, key: 0, ask: 1 };
    let left = Event::Left { sidecar: 1, key: 0 };
    let mut tale = Tale::new();
    tale.add(1, entered(1, 3_000)).add(10, offer).add(2_010, left).breaks(Rule::Wake);
    let mut tale = Tale::new();
    tale.add(1, entered(1, 3_000)).add(10, offer).add(900, left).is_good();
    let mut tale = Tale::new();
    tale.add(1, entered(1, 3_000))
        .add(10, offer)
        .add(20, Event::Crashed { sidecar: 1 })
        .add(2_010, left)
        .is_good();
}

/// Session 0 holds until 100, session 2 waits since 50 and gets the key at `at`.
fn handover_at(at: u64, meanwhile: Event) -> Tale {
    let mut tale = Tale::new();
    tale.acquire(1, req(0, 0)).add(1, Event::Arrived { of: req(0, 0) }).issued(1, req(0, 0), 100, 60_000);
    tale.acquire(50, req(2, 0)).add(50, Event::Arrived { of: req(2, 0) });
    tale.add(100, Event::Done { lease: req(0, 0), lost: false }).add(101, meanwhile);
    tale.issued(at, req(2, 0), 101, 90_000);
    tale
}

#[test]
fn a_free_key_is_granted_in_time_to_one_who_waits() {
    let nothing = Event::Opened { session: 9, sidecar: 0, uid: 1 };
    handover_at(1_900, nothing).is_good();
    handover_at(2_400, nothing).breaks(Rule::Idle);
    let disturbed = Event::Disturbed { sidecar: 1, until: ms(20_000) };
    handover_at(19_000, disturbed).is_good();
}

#[test]
fn a_dead_sidecar_costs_its_longest_tenure_and_a_second() {
    let crashed = Event::Crashed { sidecar: 0 };
    handover_at(11_000, crashed).is_good();
    handover_at(11_400, crashed).breaks(Rule::Idle);
}

#[test]
fn what_comes_back_after_a_loss_of_data_costs_no_more() {
    let haunted = Event::Haunted { sidecar: 0, key: 0, forgotten: true };
    let flushed = |at| {
        let mut tale = handover_at(at, haunted);
        tale.0.records.insert(0, Record { at: ms(0), event: Event::Flushed });
        tale
    };
    flushed(11_000).is_good();
    flushed(11_400).breaks(Rule::Idle);
}

#[test]
fn a_try_fails_only_where_somebody_holds() {
    let refused = |ends: bool, finishes: Option<u64>| {
        let (mut tale, lease) = (Tale::new(), req(0, 0));
        tale.0.bounds.pushes_arrive = true;
        tale.ask(5_000, lease, Acquire { turn: true, ..exclusive() })
            .add(5_000, Event::Arrived { of: lease });
        tale.issued(5_000, lease, 100, 60_000);
        if let Some(sent) = finishes {
            tale.add(sent, Event::Sent { of: req(0, 1), what: Sent::Finish { lease } });
        }
        if ends {
            tale.add(8_001, Event::Done { lease, lost: true });
        }
        let of = req(2, 0);
        tale.ask(8_010, of, Acquire { wait: Wait::Try, ..exclusive() }).add(8_010, Event::Arrived { of });
        tale.add(8_040, Event::Dropped { of });
        tale.add(8_041, Event::Answered { of, answer: Answer::Refused(Refused::Held) }).rules()
    };
    assert_eq!(refused(false, None), []);
    assert_eq!(refused(true, None), [Rule::TryRefused]);
    // A turn that ran out on its way to its end stays taken until that is known.
    assert_eq!(refused(true, Some(8_000)), []);
    assert_eq!(refused(true, Some(5_900)), [Rule::TryRefused]);
}

#[test]
fn what_a_sidecar_forgot_does_not_come_back() {
    let haunted = Event::Haunted { sidecar: 0, key: 0, forgotten: true };
    let mut tale = Tale::new();
    tale.add(9_000, haunted).breaks(Rule::Ghost);
    let mut tale = Tale::new();
    tale.add(8_000, Event::Flushed).add(9_000, haunted).is_good();
}

#[test]
fn nothing_is_left_over_at_rest() {
    let mut tale = Tale::new();
    tale.add(1, Event::Rest(Rest { tenures: 1, ..Rest::default() })).breaks(Rule::Leftovers);
    let mut tale = Tale::new();
    tale.add(1, Event::Rest(Rest { restless: true, ..Rest::default() })).breaks(Rule::Leftovers);
}

#[test]
fn a_history_that_contradicts_itself_is_the_recorders_fault() {
    let mut tale = Tale::new();
    tale.acquire(5, req(0, 0)).acquire(4, req(1, 0)).breaks(Rule::Recording);
    let mut tale = Tale::new();
    tale.acquire(5, req(0, 0)).acquire(5, req(0, 0)).breaks(Rule::Recording);
    let mut tale = Tale::new();
    tale.acquire(5, req(7, 0)).breaks(Rule::Recording);
}

#[test]
fn a_history_reads_as_it_was_written() {
    let mut tale = Tale::new();
    tale.first_holder().add(20, Event::Flushed).rest(30);
    tale.0.bounds.settle = Duration::from_millis(1_234);
    let mut text = Vec::new();
    tale.0.write(&mut text).expect("memory takes everything");
    let read = History::read(&text[..]).expect("it was written a moment ago");
    assert_eq!((read.bounds, read.records), (tale.0.bounds, tale.0.records.clone()));
    let error = History::read(&b"{}"[..]).expect_err("no bounds in there");
    assert!(error.to_string().contains("line 1"), "{error}");
}
