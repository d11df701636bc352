//! What holds until an instant is over at it, and what counts up to one still counts at it: every comparison with the clock,
//! one microsecond before and at the very instant.
//!
//! The clock stands still for an operation and is where the case puts it: the memory store is told the time anyway, and
//! the script runs as the same program on a clock of its own (`redis/stopped.rs`).

use crate::subject::{A, B, C, TTL};
use sidelock_engine::store::{
    ABSENT_TTL, Ask, Bound, CLOCK_REGRESSION_MAX, Condition, Finish, Force, Known, OFFER_TTL, Op, Order,
    Publish, Push, RESULT_KEPT_MIN, ReadRegister, Renew, Reply, Return, Success, Wake, Watch, Withdraw,
    WriteRegister,
};
use sidelock_engine::{Align, AskId, Etag, Incarnation, Key, Space, StoreTime, WHOLE, Window};
use sidelock_store::Memory;
use std::time::Duration;

/// A store on a clock that stands where it is put.
pub(crate) trait Stopped {
    /// One operation at this instant.
    fn apply(&mut self, now: StoreTime, op: &Op) -> (Reply, Vec<Wake>);
    fn flush(&mut self);
}

impl Stopped for Memory {
    fn apply(&mut self, now: StoreTime, op: &Op) -> (Reply, Vec<Wake>) {
        Memory::apply(self, now, op)
    }

    fn flush(&mut self) {
        Memory::flush(self);
    }
}

type Case = (&'static str, fn(&mut At<'_>));

pub(crate) const CASES: &[Case] = crate::cases![
    a_tenure_holds_until_its_end,
    a_tenure_is_renewed_until_its_end,
    a_place_in_the_queue_lapses,
    an_offer_lapses,
    what_is_refused_after_an_instant_still_runs_at_it,
    a_tombstone_counts_as_long_as_the_ask_could,
    a_floor_may_be_a_day_ahead,
    what_was_taken_is_remembered_until_its_deadline,
    a_window_is_open_until_its_end,
    who_waited_before_a_finish_hears_of_it_after_the_window,
    a_success_is_kept_for_a_minute,
    a_utc_window_begins_at_its_multiple,
    a_grant_is_never_later_than_its_finish,
    a_write_is_known_as_long_as_copies_of_it_may_come,
    a_watch_ends,
    a_watch_is_refreshed_when_half_of_it_is_over,
    a_register_without_a_value_is_forgotten,
    a_lease_binds_until_its_tenure_ends,
];

/// Long enough that nothing of it ends in a case that is about something else.
const LONG: Duration = Duration::from_secs(3_600);
const START: StoreTime = StoreTime(1_700_000_000_000_000);

/// A store, and words for what is done to it.
pub(crate) struct At<'a>(pub(crate) &'a mut dyn Stopped);

fn just_before(instant: StoreTime) -> StoreTime {
    StoreTime(instant.0 - 1)
}

fn just_after(instant: StoreTime) -> StoreTime {
    StoreTime(instant.0 + 1)
}

fn lock() -> Key {
    Key::new("a").unwrap()
}

fn register() -> Key {
    lock().in_space(Space::Register)
}

fn id(incarnation: Incarnation, seq: u64) -> AskId {
    AskId { incarnation, seq }
}

/// For all of the lock, for long, with no bound that matters.
fn ask(incarnation: Incarnation, seq: u64) -> Ask {
    Ask {
        key: lock(),
        id: id(incarnation, seq),
        units: WHOLE,
        limit: WHOLE,
        ttl: LONG,
        entry_ttl: LONG,
        floor: 0,
        refuse_after: START + LONG,
        give_back: None,
        upgrade: false,
        waiting_since: None,
    }
}

/// For a turn, by one who waits since then.
fn turn(incarnation: Incarnation, seq: u64, since: StoreTime) -> Ask {
    Ask { key: lock().in_space(Space::Once), waiting_since: Some(since), ..ask(incarnation, seq) }
}

fn write(incarnation: Incarnation, seq: u64, value: Option<&[u8]>) -> WriteRegister {
    let (condition, value) = (Condition::Any, value.map(Into::into));
    let refuse_after = START + LONG;
    WriteRegister { key: register(), id: id(incarnation, seq), condition, value, refuse_after, bound: None }
}

fn read() -> ReadRegister {
    ReadRegister { key: register(), known: Known::Nothing, watch: None, bound: None }
}

impl At<'_> {
    fn reply(&mut self, now: StoreTime, op: Op) -> Reply {
        self.0.apply(now, &op).0
    }

    fn ask(&mut self, now: StoreTime, ask: Ask) -> Reply {
        self.reply(now, Op::Ask(ask))
    }

    fn is_granted(&mut self, now: StoreTime, ask: Ask) -> bool {
        match self.ask(now, ask) {
            Reply::Granted(_) => true,
            Reply::Queued(_) => false,
            other => panic!("neither granted nor queued: {other:?}"),
        }
    }

    /// Holders and entries, as a look shows them.
    fn peek(&mut self, now: StoreTime) -> (usize, usize) {
        match self.reply(now, Op::Peek { key: lock() }) {
            Reply::Record(record) => (record.tenures.len(), record.queue.len()),
            other => panic!("no record: {other:?}"),
        }
    }

    /// A turn is taken and finished then, and this is the success.
    fn finished(&mut self, granted: StoreTime, now: StoreTime, window: Window) -> Success {
        let Reply::Granted(tenancy) = self.ask(now, turn(A, 1, now)) else { panic!("not granted") };
        let finish = Finish {
            key: lock().in_space(Space::Once),
            tenure: id(A, 1),
            fence: tenancy.range.first,
            granted_at: granted,
            window,
            result: [7].into(),
            refuse_after: now,
        };
        match self.reply(now, Op::Finish(Box::new(finish))) {
            Reply::Finished(success) => success,
            other => panic!("not finished: {other:?}"),
        }
    }
}

fn a_tenure_holds_until_its_end(store: &mut At<'_>) {
    let end = START + TTL;
    assert!(store.is_granted(START, Ask { ttl: TTL, ..ask(A, 1) }));
    assert_eq!((store.peek(just_before(end)), store.peek(end)), ((1, 0), (0, 0)));
    assert!(!store.is_granted(just_before(end), ask(B, 1)));
    assert!(store.is_granted(end, ask(B, 1)));
}

fn a_tenure_is_renewed_until_its_end(store: &mut At<'_>) {
    let end = START + TTL;
    let renew = || Op::Renew(Renew { key: lock(), tenure: id(A, 1), ttl: TTL, floor: 0, top_up: false });
    assert!(store.is_granted(START, Ask { ttl: TTL, ..ask(A, 1) }));
    assert!(matches!(store.reply(just_before(end), renew()), Reply::Renewed { .. }));
    let end = just_before(end) + TTL;
    assert_eq!(store.reply(end, renew()), Reply::Gone);
    let back = Return { key: lock(), tenure: id(B, 1), keep: 0, issued: 0, tombstone: None };
    assert!(store.is_granted(end, Ask { ttl: TTL, ..ask(B, 1) }));
    assert_eq!(store.reply(end + TTL, Op::Return(back)), Reply::Gone, "a return at its end finds nothing");
}

fn a_place_in_the_queue_lapses(store: &mut At<'_>) {
    let end = START + TTL;
    assert!(store.is_granted(START, ask(A, 1)));
    assert!(!store.is_granted(START, Ask { entry_ttl: TTL, ..ask(B, 1) }));
    assert_eq!((store.peek(just_before(end)), store.peek(end)), ((1, 1), (1, 0)));
    let ahead = |reply| match reply {
        Reply::Queued(queued) => queued.ahead,
        other => panic!("not queued: {other:?}"),
    };
    assert_eq!(ahead(store.ask(just_before(end), ask(C, 1))), 1);
    assert_eq!(ahead(store.ask(end, ask(C, 1))), 0);
}

fn an_offer_lapses(store: &mut At<'_>) {
    let end = START + OFFER_TTL;
    assert!(store.is_granted(START, ask(A, 1)));
    assert!(!store.is_granted(START, ask(B, 1)));
    assert!(!store.is_granted(START, ask(C, 1)));
    let back = Return { key: lock(), tenure: id(A, 1), keep: 0, issued: 0, tombstone: None };
    assert_eq!(store.reply(START, Op::Return(back)), Reply::Returned);
    assert!(!store.is_granted(just_before(end), ask(C, 1)), "it is still B's turn");
    assert!(store.is_granted(end, ask(C, 1)));
}

fn what_is_refused_after_an_instant_still_runs_at_it(store: &mut At<'_>) {
    let (late, in_time) = (just_after(START), START);
    let ops: [fn(StoreTime) -> Op; 5] = [
        |refuse_after| Op::Ask(Ask { refuse_after, ..ask(A, 1) }),
        |refuse_after| Op::WriteRegister(WriteRegister { refuse_after, ..write(A, 1, Some(b"v")) }),
        |refuse_after| {
            // Over a value of its own: the short way.
            Op::WriteRegister(WriteRegister { refuse_after, ..write(A, 2, Some(b"w")) })
        },
        |refuse_after| {
            let board = lock().in_space(Space::Board);
            Op::Publish(Publish { board, version: 1, body: Default::default(), ttl: TTL, refuse_after })
        },
        |refuse_after| {
            let order = Order { by: 1, reason: "stuck".into() };
            Op::Force(Force { key: lock(), from: A, order, refuse_after })
        },
    ];
    for op in ops {
        assert_eq!(store.reply(late, op(START)), Reply::TooLate, "{:?}", op(START));
        let done = store.reply(in_time, op(START));
        assert_ne!(done, Reply::TooLate, "{:?}", op(START));
        if let Reply::Granted(_) = done {
            assert_eq!(store.reply(late, Op::Ask(Ask { refuse_after: START, ..ask(B, 1) })), Reply::TooLate);
        }
    }
    let finish = |refuse_after| {
        let (granted_at, window) = (START, Window { per: TTL, align: Align::Rolling });
        let (key, tenure) = (lock().in_space(Space::Once), id(A, 1));
        Op::Finish(Box::new(Finish {
            key,
            tenure,
            fence: 1,
            granted_at,
            window,
            result: [].into(),
            refuse_after,
        }))
    };
    assert_eq!(store.reply(late, finish(START)), Reply::TooLate);
    assert_eq!(store.reply(in_time, finish(START)), Reply::Gone);
    assert!(store.is_granted(START, turn(A, 1, START)));
    assert_eq!(store.reply(late, finish(START)), Reply::TooLate);
    assert!(matches!(store.reply(in_time, finish(START)), Reply::Finished(_)));
}

fn a_tombstone_counts_as_long_as_the_ask_could(store: &mut At<'_>) {
    let end = START + TTL;
    let bury = Withdraw { key: lock(), id: id(A, 1), keep: 0, tombstone: Some(end) };
    store.reply(START, Op::Withdraw(bury));
    assert_eq!(store.ask(end, ask(A, 1)), Reply::Stale);
    assert!(store.is_granted(just_after(end), ask(A, 1)));
}

fn a_floor_may_be_a_day_ahead(store: &mut At<'_>) {
    let most = (START + CLOCK_REGRESSION_MAX).0;
    let renew = |floor| Op::Renew(Renew { key: lock(), tenure: id(A, 1), ttl: TTL, floor, top_up: false });
    assert_eq!(store.ask(START, Ask { floor: most + 1, ..ask(A, 1) }), Reply::ClockRegressed);
    assert!(store.is_granted(START, Ask { floor: most, ..ask(A, 1) }));
    assert_eq!(store.ask(START, Ask { floor: most + 1, ..ask(A, 1) }), Reply::ClockRegressed);
    assert_eq!(store.reply(START, renew(most + 1)), Reply::ClockRegressed);
    assert!(matches!(store.reply(START, renew(most)), Reply::Renewed { .. }));
}

fn what_was_taken_is_remembered_until_its_deadline(store: &mut At<'_>) {
    let end = START + TTL;
    assert!(store.is_granted(START, Ask { ttl: TTL, ..ask(A, 1) }));
    let order = Order { by: 1, reason: "stuck".into() };
    let force = Force { key: lock(), from: B, order, refuse_after: START };
    assert!(matches!(store.reply(START, Op::Force(force)), Reply::Unlocked(taken) if taken.len() == 1));
    let renew = || Op::Renew(Renew { key: lock(), tenure: id(A, 1), ttl: TTL, floor: 0, top_up: false });
    assert!(matches!(store.reply(just_before(end), renew()), Reply::Forced { seq: 1, .. }));
    assert_eq!(store.reply(end, renew()), Reply::Gone);
}

fn a_window_is_open_until_its_end(store: &mut At<'_>) {
    let success = store.finished(START, START, Window { per: TTL, align: Align::Rolling });
    assert_eq!((success.finished_at, success.window_end), (START, START + TTL));
    let end = START + TTL;
    let after = just_after(START);
    assert_eq!(store.ask(just_before(end), turn(B, 1, after)), Reply::Finished(success));
    assert!(store.is_granted(end, turn(B, 1, after)));
}

fn who_waited_before_a_finish_hears_of_it_after_the_window(store: &mut At<'_>) {
    let success = store.finished(START, START, Window { per: TTL, align: Align::Rolling });
    let later = START + TTL;
    assert_eq!(store.ask(later, turn(B, 1, START)), Reply::Finished(success));
    assert!(store.is_granted(later, turn(B, 2, just_after(START))));
}

fn a_success_is_kept_for_a_minute(store: &mut At<'_>) {
    let success =
        store.finished(START, START, Window { per: Duration::from_millis(1), align: Align::Rolling });
    let end = START + RESULT_KEPT_MIN;
    assert_eq!(store.ask(just_before(end), turn(B, 1, START)), Reply::Finished(success));
    assert!(store.is_granted(end, turn(B, 1, START)));
}

fn a_utc_window_begins_at_its_multiple(store: &mut At<'_>) {
    let window = Window { per: TTL, align: Align::Utc };
    let multiple = StoreTime(START.0.next_multiple_of(10_000_000));
    let success = store.finished(multiple, multiple, window);
    assert_eq!(success.window_end, multiple + TTL);
    store.0.flush();
    let success = store.finished(just_before(multiple), multiple, window);
    assert_eq!(success.window_end, multiple);
}

/// The clock may have gone back in between.
fn a_grant_is_never_later_than_its_finish(store: &mut At<'_>) {
    let success = store.finished(just_after(START), START, Window { per: TTL, align: Align::Rolling });
    assert_eq!(success.window_end, START + TTL);
}

fn a_write_is_known_as_long_as_copies_of_it_may_come(store: &mut At<'_>) {
    let until = START + TTL;
    let first = || Op::WriteRegister(WriteRegister { refuse_after: START + TTL, ..write(A, 1, Some(b"v")) });
    let Reply::Written(etag) = store.reply(START, first()) else { panic!("not written") };
    // Another's write remembers it, at the last instant at which a copy may come.
    assert!(matches!(store.reply(until, Op::WriteRegister(write(B, 1, Some(b"w")))), Reply::Written(_)));
    assert_eq!(store.reply(until, first()), Reply::Written(etag));
    assert_eq!(store.reply(just_after(until), first()), Reply::TooLate);
    store.0.flush();
    store.reply(START, first());
    assert!(matches!(
        store.reply(just_after(until), Op::WriteRegister(write(B, 1, Some(b"w")))),
        Reply::Written(_)
    ));
    assert!(
        matches!(store.reply(until, first()), Reply::Written(again) if again != etag),
        "nothing is known of it any more: it would run"
    );
}

fn a_watch_ends(store: &mut At<'_>) {
    let end = START + TTL;
    let watch = ReadRegister { watch: Some(Watch { incarnation: B, ttl: TTL }), ..read() };
    store.reply(START, Op::ReadRegister(watch));
    let told = [Wake { to: B, push: Push::Changed { key: register() } }];
    let (_, wakes) = store.0.apply(just_before(end), &Op::WriteRegister(write(A, 1, Some(b"v"))));
    assert_eq!(wakes, told);
    let (_, wakes) = store.0.apply(end, &Op::WriteRegister(write(A, 2, Some(b"v"))));
    assert_eq!(wakes, []);
}

/// A refresh costs a write; one that is not needed leaves the watch as it was, so that it ends when it would have.
fn a_watch_is_refreshed_when_half_of_it_is_over(store: &mut At<'_>) {
    let half = START + TTL / 2;
    for (again, is_refreshed) in [(half, false), (just_after(half), true)] {
        store.0.flush();
        store.reply(START, Op::WriteRegister(write(A, 1, Some(b"v"))));
        for now in [START, again] {
            let watch = ReadRegister { watch: Some(Watch { incarnation: B, ttl: TTL }), ..read() };
            store.reply(now, Op::ReadRegister(watch));
        }
        let (_, wakes) = store.0.apply(START + TTL, &Op::WriteRegister(write(A, 2, Some(b"w"))));
        assert_eq!(
            !wakes.is_empty(),
            is_refreshed,
            "watched again {:?} after the first time",
            again.since(START)
        );
    }
}

/// What is to be seen of it is the fence that it remembers.
fn a_register_without_a_value_is_forgotten(store: &mut At<'_>) {
    let Reply::Granted(tenancy) = store.ask(START, ask(A, 1)) else { panic!("not granted") };
    let Reply::Renewed { range: Some(range), .. } = store
        .reply(START, Op::Renew(Renew { key: lock(), tenure: id(A, 1), ttl: LONG, floor: 0, top_up: true }))
    else {
        panic!("no fences")
    };
    let under = |fence| {
        let bound = Some(Bound { tenure: id(A, 1), fence });
        Op::ReadRegister(ReadRegister { bound, ..read() })
    };
    let end = START + ABSENT_TTL;
    assert_eq!(store.reply(START, under(range.last + 1)), Reply::StaleFence);
    assert_eq!(store.reply(START, under(range.last)), Reply::Register(None));
    assert_eq!(store.reply(just_before(end), under(tenancy.range.first)), Reply::StaleFence);
    assert_eq!(store.reply(end, under(tenancy.range.first)), Reply::Register(None));
}

fn a_lease_binds_until_its_tenure_ends(store: &mut At<'_>) {
    let end = START + TTL;
    let Reply::Granted(tenancy) = store.ask(START, Ask { ttl: TTL, ..ask(A, 1) }) else {
        panic!("not granted")
    };
    let bound = Some(Bound { tenure: id(A, 1), fence: tenancy.range.first });
    let under = |seq| Op::WriteRegister(WriteRegister { bound, ..write(A, seq, Some(b"v")) });
    assert!(matches!(store.reply(just_before(end), under(1)), Reply::Written(_)));
    assert_eq!(store.reply(end, under(2)), Reply::StaleFence);
    let etag = Etag { number: just_before(end).0, writer: id(A, 1) };
    assert!(
        matches!(store.reply(end, Op::ReadRegister(read())), Reply::Register(Some(there)) if there.etag == etag)
    );
}

#[test]
fn memory_decides_each_at_its_instant() {
    for (name, case) in CASES {
        println!("{name}");
        case(&mut At(&mut Memory::default()));
    }
}
