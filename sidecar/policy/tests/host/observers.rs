//! Those that are told afterwards.

use crate::guest::Guest;
use crate::support::{Shelf, host, load};
use sidelock_policy::model::Event;
use sidelock_policy::{Bounds, Chain, Settings, World};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(30);
/// The first rest of one that fails.
const REST: Duration = Duration::from_millis(100);

/// Emits the key of each event. An event has 80 bytes, its number at 0, its key at 24.
fn audit() -> Guest {
    Guest::new().admit(
        "(loop $again (if (i32.lt_u (local.get $i) (local.get $len)) (then
           (call $emit (i32.load offset=24 (local.get $events)) (i32.load offset=28 (local.get $events)))
           (local.set $events (i32.add (local.get $events) (i32.const 80)))
           (local.set $i (i32.add (local.get $i) (i32.const 1)))
           (br $again))))",
    )
}

fn event(key: &str) -> Event {
    Event { kind: "granted".into(), key: key.into(), ..Event::default() }
}

fn observing(shelf: &Shelf, guest: &Guest, change: impl FnOnce(&mut Settings)) -> Arc<Chain> {
    let mut settings = shelf.put("audit", &guest.observer());
    change(&mut settings);
    load(vec![settings]).unwrap()
}

fn lines(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

#[test]
fn all_events_are_told_in_order_and_what_is_emitted_is_written() {
    let shelf = Shelf::new();
    let log = shelf.path("log");
    let chain = observing(&shelf, &audit(), |settings| {
        settings.output = Some(log.clone());
        settings.matches = vec!["pay/**".into()];
    });
    assert_eq!(chain.inspect()[0].world, World::Observer);
    assert!(chain.is_observed("pay/1") && !chain.is_observed("ship/1"));
    for n in 0..1_000 {
        chain.tell(&event(&format!("pay/{n}")));
        chain.tell(&event("ship/1"));
    }
    chain.flush(LONG);
    let expected: Vec<_> = (0..1_000).map(|n| format!("pay/{n}")).collect();
    assert_eq!(lines(&log), expected);
    // Rotated away: the next lines begin a new file.
    std::fs::rename(&log, shelf.path("log.1")).unwrap();
    chain.tell(&event("pay/two\nlines"));
    chain.flush(LONG);
    assert_eq!(lines(&log), ["pay/two lines"]);
}

#[test]
fn nobody_waits_for_an_observer_that_is_too_slow() {
    let shelf = Shelf::new();
    let chain = observing(&shelf, &Guest::new().admit("(loop $again (br $again))"), |_| {});
    for n in 0..20_000 {
        chain.tell(&event(&format!("k{n}")));
    }
    assert!(chain.inspect()[0].left_out >= 20_000 - 4_096 - 256, "{:?}", chain.inspect());
}

#[test]
fn an_observer_that_fails_is_left_alone() {
    let shelf = Shelf::new();
    let chain = observing(&shelf, &Guest::new().admit("unreachable"), |_| {});
    let mut told = 0;
    loop {
        let begun = Instant::now();
        chain.tell(&event("k"));
        chain.flush(LONG);
        told += 1;
        if chain.inspect()[0].rests {
            break;
        }
        // It rests from the eighth on. Who looks when a rest is over tells it of one more, and the next rest is longer.
        assert!(told < 8 || told < 30 && begun.elapsed() >= REST, "{:?}", chain.inspect());
    }
    let left_out = chain.inspect()[0].left_out;
    assert!(left_out == told && told >= 8, "{left_out} of {told}");
    // Without another event, too.
    let begun = Instant::now();
    while chain.inspect()[0].rests {
        assert!(begun.elapsed() < LONG, "a rest is over by itself");
        std::thread::yield_now();
    }
}

/// What was taken is told, also where the end comes while all the room is taken.
#[test]
fn a_full_queue_is_told_before_the_end() {
    let shelf = Shelf::new();
    let log = shelf.path("log");
    let chain = observing(&shelf, &audit(), |settings| settings.output = Some(log.clone()));
    let (begun, mut all) = (Instant::now(), 0);
    while chain.inspect()[0].left_out == 0 {
        assert!(begun.elapsed() < LONG, "it is told faster than anybody can tell");
        (0..1_000).for_each(|n| chain.tell(&event(&format!("k{n}"))));
        all += 1_000;
    }
    chain.flush(LONG);
    let (told, left_out) = (lines(&log).len() as u64, chain.inspect()[0].left_out);
    assert_eq!(told + left_out, all, "{told} told, {left_out} left out");
}

#[test]
fn an_observer_that_stays_the_same_goes_on_and_one_that_is_gone_is_told_the_rest() {
    let shelf = Shelf::new();
    let log = shelf.path("log");
    let chain = observing(&shelf, &audit(), |settings| settings.output = Some(log.clone()));
    chain.tell(&event("a"));
    let settings = Settings { output: Some(log.clone()), ..Settings::at(shelf.path("audit")) };
    let same = Chain::load(host(), vec![settings], Bounds::default(), Some(&chain)).unwrap();
    drop(chain);
    same.tell(&event("b"));
    same.flush(LONG);
    assert_eq!(lines(&log), ["a", "b"], "one queue");
    same.tell(&event("c"));
    drop(same);
    let begun = Instant::now();
    while lines(&log).len() < 3 {
        assert!(begun.elapsed() < LONG, "{:?}", lines(&log));
        std::thread::yield_now();
    }
    assert_eq!(lines(&log), ["a", "b", "c"]);
}
