//! What a policy may know of a request beyond what it says.

mod world;

use sidelock_engine::circumstances::{Circumstances, Load};
use sidelock_engine::{
    Acquire, Config, Incarnation, Input, LeaseName, Owner, Release, RequestId, SessionId, WHOLE,
};
use std::time::Duration;
use world::{SESSION, World, acquire, granted, key};

/// A policy sees what the one who asks holds, and how busy the key is, as it is now.
#[test]
fn a_request_finds_what_is_held_and_who_waits() {
    let mut world = World::new(Config::new(Incarnation(1)));
    let owner = Owner("o".into());
    let asked = |world: &World, owner| {
        world.engine.circumstances(world.now, SESSION, owner, [&key("k")]).expect("the session is there")
    };
    assert_eq!(asked(&world, None).load, Load::default());
    for (number, text, name) in [(1, "k", Some("o")), (2, "l", None)] {
        let owner = name.map(|name: &str| Owner(name.into()));
        world.input(Input::Acquire(Acquire { owner, ..acquire(number, text) }));
        let ask = world.calls.pop_front().expect("the engine asks");
        world.answer(&ask, granted(WHOLE));
        world.now = world.now + Duration::from_millis(1);
    }
    world.input(Input::Acquire(Acquire { owner: None, ..acquire(3, "k") }));
    world.now = world.now + Duration::from_millis(20);
    let seen = asked(&world, Some(&owner));
    let (held, waiters, oldest_wait) = (1, 1, Duration::from_millis(20));
    let load = Load { held, waiters, oldest_wait, held_by_session: 2, held_by_uid: 2 };
    let expected = Circumstances { uid: 1, app: "test".into(), load, held: vec![key("k")] };
    assert_eq!(seen, expected, "an owner's name finds what was got under it");
    assert_eq!(asked(&world, None).held, [key("k"), key("l")], "nobody's finds the session's");
    let nobody = Owner("else".into());
    assert_eq!(asked(&world, Some(&nobody)).held, []);
    for number in [1, 2] {
        let lease = LeaseName::Session(RequestId(number));
        let release = Release { session: SESSION, request: RequestId(10 + number), lease };
        world.input(Input::Release(release));
    }
    let seen = asked(&world, None);
    assert_eq!((seen.held, seen.load.held_by_uid), (vec![key("k")], 1), "who waited has it now");
    assert!(world.engine.circumstances(world.now, SessionId(2), None, [&key("k")]).is_none());
}
