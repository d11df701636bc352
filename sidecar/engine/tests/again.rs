//! What is asked again after the store said no, or nothing.

mod world;

use sidelock_engine::store::{Call, Fault, Known, Op, Outcome, Push, ReadRegister, Reply as Answer, Tenancy};
use sidelock_engine::{
    Acquire, Config, FenceRange, Incarnation, Input, LeaseName, LeaseSecret, Life, Mode, Refusal,
    RegisterAct, RegisterRequest, Renew, Reply, RequestId, Space, WHOLE,
};
use std::time::Duration;
use world::{SESSION, World, acquire, granted, key};

const MOMENT: Duration = Duration::from_millis(30);

/// The calls that it sends until `span` is over.
fn sent_within(world: &mut World, span: Duration) -> Vec<Call> {
    let end = world.now + span;
    while world.now < end {
        world.now = world.now + Duration::from_millis(10);
        world.input(Input::Tick);
    }
    world.calls.drain(..).collect()
}

fn fails(world: &mut World, call: &Call) {
    world.input(Input::Store { call: call.id, outcome: Outcome::NotApplied(Fault::Down) });
}

fn look(world: &mut World) -> Call {
    let call = world.calls.pop_front().expect("it looks");
    assert!(matches!(call.op, Op::ReadRegister(ReadRegister { watch: Some(_), .. })), "{call:?}");
    call
}

/// The look after a failed one is due soon. A push that makes it look before that does not keep it from looking ever after.
#[test]
fn a_watched_register_is_looked_at_though_a_look_failed() {
    let mut world = World::new(Config::new(Incarnation(1)));
    let (request, key) = (RequestId(1), key("r").in_space(Space::Register));
    let act = RegisterAct::Watch { known: Known::Absent, wait: Some(Duration::from_secs(30)) };
    let watch = RegisterRequest { session: SESSION, request, key: key.clone(), lease: None, act };
    world.input(Input::Register(watch));
    let first = look(&mut world);
    world.answer(&first, Answer::Unchanged);
    world.input(Input::Pushed(Push::Changed { key: key.clone() }));
    let failed = look(&mut world);
    fails(&mut world, &failed);
    world.now = world.now + MOMENT;
    world.input(Input::Pushed(Push::Changed { key }));
    let second = look(&mut world);
    world.answer(&second, Answer::Unchanged);
    let sent = sent_within(&mut world, Duration::from_secs(2));
    assert_eq!(sent.len(), 1, "it looks once a second, and waits for the answer: {sent:?}");
}

/// Nothing changed, as far as was seen; whether that is still so is not known.
#[test]
fn a_watch_whose_last_look_failed_does_not_say_that_nothing_changed() {
    for (last, unchanged) in [("answered", true), ("failed", false)] {
        let mut world = World::new(Config::new(Incarnation(1)));
        let (request, key) = (RequestId(1), key("r").in_space(Space::Register));
        let act = RegisterAct::Watch { known: Known::Absent, wait: Some(MOMENT * 2) };
        let watch = RegisterRequest { session: SESSION, request, key: key.clone(), lease: None, act };
        world.input(Input::Register(watch));
        let first = look(&mut world);
        world.answer(&first, Answer::Unchanged);
        world.input(Input::Pushed(Push::Changed { key }));
        let again = look(&mut world);
        match last {
            "failed" => fails(&mut world, &again),
            _ => world.answer(&again, Answer::Unchanged),
        }
        sent_within(&mut world, MOMENT * 3);
        match (&world.replies[..], unchanged) {
            ([Reply::Unchanged], true) | ([Reply::Refused(Refusal::StoreUnavailable)], false) => {}
            other => panic!("{last}: {other:?}"),
        }
    }
}

fn renewals(calls: &[Call]) -> Vec<&Call> {
    calls.iter().filter(|call| matches!(call.op, Op::Renew(_))).collect()
}

/// A timed lease needs no renewals, but for the one that its client asks for: that is not given up after one try.
#[test]
fn a_clients_renewal_is_asked_for_until_the_store_takes_it() {
    let mut world = World::new(Config::new(Incarnation(1)));
    let secret = LeaseSecret(7);
    let (ttl, lease) = (Duration::from_secs(5), LeaseName::Timed(secret));
    world.input(Input::Acquire(Acquire { life: Life::Timed { secret, ttl }, ..acquire(1, "k") }));
    let ask = world.calls.pop_front().expect("the engine asks");
    world.answer(&ask, granted(WHOLE));
    world.replies.clear();
    world.now = world.now + Duration::from_secs(1);
    let ttl = Duration::from_secs(20);
    world.input(Input::Renew(Renew { session: SESSION, request: RequestId(2), lease, ttl }));
    let first = world.calls.pop_front().expect("it asks for more time");
    fails(&mut world, &first);
    let sent = sent_within(&mut world, Duration::from_millis(200));
    let [again] = renewals(&sent)[..] else { panic!("once more: {sent:?}") };
    assert_eq!(world.replies, []);
    let remaining = Duration::from_secs(30);
    world.answer(again, Answer::Renewed { remaining, origin: 5, range: None, contended: false });
    assert!(matches!(world.replies[..], [Reply::Renewed { .. }]), "{:?}", world.replies);
}

fn permits(number: u64, permits: u32) -> Acquire {
    Acquire { mode: Mode::Permits { permits, limit: 6 }, owner: None, ..acquire(number, "k") }
}

/// The holders with the other limit have a moment to go. Two copies of an ask that were under way together are not that.
#[test]
fn a_limit_mismatch_counts_when_idle_holders_have_had_time_to_go() {
    let mut world = World::new(Config::new(Incarnation(1)));
    world.input(Input::Acquire(permits(1, 1)));
    let first = world.calls.pop_front().expect("the engine asks");
    world.input(Input::Acquire(permits(2, 2)));
    world.input(Input::Cancel { session: SESSION, request: RequestId(1) });
    let second = world.calls.pop_front().expect("for another number of units");
    assert!(matches!((&first.op, &second.op), (Op::Ask(one), Op::Ask(two)) if one.id == two.id));
    world.replies.clear();
    world.answer(&first, Answer::LimitMismatch { limit: 9 });
    world.answer(&second, Answer::LimitMismatch { limit: 9 });
    assert_eq!(world.replies, []);
    let sent = sent_within(&mut world, Duration::from_millis(500));
    let [third] = &sent[..] else { panic!("it asks once more: {sent:?}") };
    world.answer(third, Answer::LimitMismatch { limit: 9 });
    assert!(
        matches!(world.replies[..], [Reply::Refused(Refusal::LimitMismatch { limit: 9 })]),
        "{:?}",
        world.replies
    );
    let withdrawn = world
        .calls
        .iter()
        .any(|call| matches!(&call.op, Op::Withdraw(withdraw) if withdraw.tombstone.is_some()));
    assert!(withdrawn, "copies of it may still run (P7): {:?}", world.calls);
}

/// What was granted before a crowd came does not live as long as what is granted beside it (P13).
#[test]
fn a_tenure_is_renewed_in_its_own_time() {
    let config = Config { in_flight_per_session_max: u32::MAX, ..Config::new(Incarnation(1)) };
    let third = config.tenure_ttl / 3;
    let mut world = World::new(Config { tenure_ttl_max: Duration::from_secs(60), ..config });
    world.input(Input::Acquire(Acquire { owner: None, ..acquire(0, "early") }));
    let early = world.calls.pop_front().expect("the engine asks");
    for number in 1..=300_000_u64 {
        world.input(Input::Acquire(Acquire { owner: None, ..acquire(number, &number.to_string()) }));
        let ask = world.calls.pop_front().expect("the engine asks");
        let range = FenceRange { first: 5, last: 4_000 };
        let remaining = Duration::from_secs(40);
        world.answer(
            &ask,
            Answer::Granted(Tenancy {
                units: WHOLE,
                remaining,
                origin: range.first,
                range,
                contended: false,
            }),
        );
    }
    world.answer(&early, granted(WHOLE));
    world.calls.clear();
    world.now = world.now + third * 2;
    world.input(Input::Tick);
    let is_early = |call: &&Call| matches!(&call.op, Op::Renew(renew) if renew.key == key("early"));
    assert!(world.calls.iter().any(|call| is_early(&call)), "of 10 s, it has 3 left");
}

/// However long the tenures of this sidecar live.
#[test]
fn a_try_waits_for_a_silent_store_for_a_few_seconds() {
    for (tenure_ttl, patience) in [(10, 2_500), (3_600, 5_000)] {
        let tenure_ttl = Duration::from_secs(tenure_ttl);
        let mut world = World::new(Config { tenure_ttl, ..Config::new(Incarnation(1)) });
        world.input(Input::Acquire(Acquire { wait: Some(Duration::ZERO), owner: None, ..acquire(1, "k") }));
        let begun = world.now;
        while world.replies.is_empty() {
            world.now = world.now + Duration::from_millis(10);
            world.input(Input::Tick);
        }
        let waited = world.now.since(begun).as_millis();
        assert!(
            (patience - 10..=patience + 20).contains(&waited),
            "{waited} ms, tenures live for {tenure_ttl:?}"
        );
    }
}
