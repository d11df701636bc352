//! Crowds: what one request costs beside a hundred thousand others. Bounds are far above what is needed here, and far below what
//! walking the crowd again for each of its members would take.

mod world;

use sidelock_engine::{
    Acquire, Config, Incarnation, Input, LeaseName, Mode, Owner, Release, Reply, RequestId, SessionId,
    SessionOpened, WHOLE,
};
use std::time::Duration;
use world::{SESSION, World, acquire, granted, key};

/// Members of a crowd.
const CROWD: u64 = 40_000;
/// For whatever happens to a whole crowd at once, with whatever else is in the processor's caches.
const MOMENT: Duration = Duration::from_millis(500);

fn crowded() -> Config {
    Config {
        waiters_per_key_max: u32::MAX,
        in_flight_per_session_max: u32::MAX,
        contact_every: None,
        ..Config::new(Incarnation(1))
    }
}

/// What it takes of the processor: that a busy machine gives it to others meanwhile, is not the engine's cost.
fn took(what: impl FnOnce()) -> Duration {
    let begun = processor_time();
    what();
    let ended = processor_time();
    assert!(!ended.is_zero(), "this kernel does not count it");
    ended - begun
}

/// What this thread has used of the processor, in steps of the kernel's tick.
fn processor_time() -> Duration {
    let counted = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux counts it");
    let used = counted.split(' ').next().and_then(|nanos| nanos.parse::<u64>().ok());
    Duration::from_nanos(used.expect("it stands first"))
}

fn by(owner: u64, number: u64, key: &str) -> Acquire {
    Acquire { owner: Some(Owner(owner.to_string().into())), ..acquire(number, key) }
}

fn hold(world: &mut World, acquire: Acquire, units: u32) {
    world.input(Input::Acquire(acquire));
    let ask = world.calls.pop_front().expect("the engine asks");
    world.answer(&ask, granted(units));
}

/// One holds the key, and all others wait for it.
fn waited_for() -> World {
    let mut world = World::new(crowded());
    hold(&mut world, Acquire { owner: None, ..acquire(0, "k") }, WHOLE);
    for number in 1..CROWD {
        world.input(Input::Acquire(Acquire { owner: None, ..acquire(number, "k") }));
    }
    world
}

/// Everybody waits for the holder, who begins to wait: whether for one of them, is to be found out.
#[test]
fn a_holder_that_begins_to_wait_walks_its_crowd_once() {
    let mut world = World::new(crowded());
    hold(&mut world, by(0, 0, "k"), WHOLE);
    hold(&mut world, by(1, 1, "other"), WHOLE);
    for number in 2..CROWD {
        world.input(Input::Acquire(by(number, number, "k")));
    }
    let took = took(|| world.input(Input::Acquire(by(0, CROWD, "other"))));
    assert!(took < MOMENT, "{took:?}");
}

/// A thread that guards a table has a lease for each row.
#[test]
fn an_owner_of_many_leases_takes_and_returns_each_in_no_time() {
    let mut world = World::new(crowded());
    let took = took(|| {
        for number in 0..CROWD {
            hold(&mut world, by(0, number, &number.to_string()), WHOLE);
        }
        for number in (0..CROWD).rev() {
            let (request, lease) = (RequestId(CROWD + number), LeaseName::Session(RequestId(number)));
            world.input(Input::Release(Release { session: SESSION, request, lease }));
        }
    });
    assert!(took < MOMENT * 2, "{took:?}");
}

/// The patient are many, and those who only try come one after the other.
#[test]
fn a_try_does_not_walk_those_who_wait() {
    let mut world = waited_for();
    world.replies.clear();
    let took = took(|| {
        for number in CROWD..CROWD + 2_000 {
            let wait = Some(Duration::ZERO);
            world.input(Input::Acquire(Acquire { owner: None, wait, ..acquire(number, "k") }));
        }
    });
    assert_eq!(world.replies.len(), 2_000);
    assert!(took < MOMENT, "{took:?}");
}

#[test]
fn of_many_keys_the_first_are_listed() {
    let mut world = World::new(crowded());
    for number in [5, 9, 2, 7, 0, 8, 3, 1, 6, 4] {
        hold(&mut world, by(number, number, &format!("k{number}")), WHOLE);
    }
    let names = |limit| {
        let listed = world.engine.list("k", limit, 16);
        listed.iter().map(|view| view.key.as_str().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(3), ["k0", "k1", "k2"]);
    assert_eq!(names(0), Vec::<String>::new());
    assert_eq!(names(usize::MAX).len(), 10);
}

/// Policies are asked about each of those who come, each of those who wait asks why, and the log names who is in the way.
#[test]
fn who_looks_at_a_crowd_does_not_walk_it() {
    let mut world = waited_for();
    world.now = world.now + Duration::from_secs(1);
    let asking = SessionId(2);
    world.input(Input::SessionOpened(SessionOpened {
        session: asking,
        uid: 1,
        app: "test".into(),
        ping_within: None,
        owners_by_uid: false,
    }));
    let (now, key) = (world.now, key("k"));
    let took = took(|| {
        for _ in 0..10_000 {
            let load = world.engine.circumstances(now, asking, None, [&key]).expect("it is open").load;
            assert_eq!((u64::from(load.waiters), load.oldest_wait), (CROWD - 1, Duration::from_secs(1)));
            assert!(world.engine.in_the_way(&key).0.is_some());
        }
        for _ in 0..1_000 {
            let view = world.engine.look(&key, 16).expect("it is known");
            assert_eq!((view.waiters.len() + view.waiters_left_out) as u64, CROWD - 1);
        }
        let keys = world.engine.list("", usize::MAX, 16);
        assert_eq!(keys.iter().map(|key| key.waiters.len()).sum::<usize>(), 16);
    });
    assert!(took < MOMENT, "{took:?}");
}

/// The limiter is used up, which is what it is for.
#[test]
fn a_refused_unit_of_a_rate_does_not_walk_those_that_cool() {
    let mut world = World::new(crowded());
    let session = SessionId(2);
    let opened =
        SessionOpened { session, uid: 1, app: "test".into(), ping_within: None, owners_by_uid: false };
    world.input(Input::SessionOpened(opened));
    let limit = u32::try_from(CROWD).expect("it is small");
    let unit = |number| Acquire {
        session,
        owner: None,
        mode: Mode::Permits { permits: 1, limit },
        per: Some(Duration::from_secs(3_600)),
        wait: Some(Duration::ZERO),
        ..acquire(number, "api")
    };
    let took = took(|| {
        for number in 0..CROWD {
            world.input(Input::Acquire(unit(number)));
            while let Some(call) = world.calls.pop_front() {
                world.answer(&call, granted_for_hours(limit));
            }
            world.now = world.now + Duration::from_micros(10);
            let (request, lease) = (RequestId(CROWD + number), LeaseName::Session(RequestId(number)));
            world.input(Input::Release(Release { session, request, lease }));
        }
        world.replies.clear();
        for number in 3 * CROWD..3 * CROWD + 2_000 {
            world.input(Input::Acquire(unit(number)));
            while let Some(call) = world.calls.pop_front() {
                world.answer(&call, granted_for_hours(limit));
            }
        }
    });
    assert!(world.replies.iter().all(|reply| matches!(reply, Reply::Refused(_))), "all are used up");
    assert!(took < MOMENT * 2, "{took:?}");
}

fn granted_for_hours(units: u32) -> sidelock_engine::store::Reply {
    use sidelock_engine::FenceRange;
    use sidelock_engine::store::{Reply, Tenancy};
    let range = FenceRange { first: 5, last: 4_000_000 };
    Reply::Granted(Tenancy {
        units,
        remaining: Duration::from_secs(8_000),
        origin: range.first,
        range,
        contended: false,
    })
}
