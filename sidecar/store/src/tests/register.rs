//! What the conformance suite can not see: what is kept, and for how long.

use super::*;
use crate::memory::Memory;
use sidelock_engine::store::{Op, REFUSE_AFTER};
use sidelock_engine::{Key, Space};
use std::time::Duration;

const NOW: StoreTime = StoreTime(1_700_000_000_000_000);

fn write(incarnation: u128, seq: u64, now: StoreTime) -> WriteRegister {
    WriteRegister {
        key: Key::of(Space::Register, "k").unwrap(),
        id: AskId { incarnation: Incarnation(incarnation), seq },
        condition: Condition::Any,
        value: Some(b"v"[..].into()),
        refuse_after: now + REFUSE_AFTER,
        bound: None,
    }
}

fn step(stored: &Register, now: StoreTime) -> Step<'_> {
    Step::new(now, Some(stored), None, None)
}

#[test]
fn only_writes_of_which_copies_may_come_are_remembered() {
    let mut register = Register::default();
    for seq in 1..10 {
        for incarnation in 1..4 {
            let (_, _, written) = step(&register, NOW).write(&write(incarnation, seq, NOW));
            register = written.expect("it was written");
        }
    }
    let remembered: Vec<u128> = register.done.iter().map(|done| done.etag.writer.incarnation.0).collect();
    assert_eq!(remembered, [1, 2], "one for each other sidecar");
    let later = NOW + REFUSE_AFTER + Duration::from_micros(1);
    let (_, _, written) = step(&register, later).write(&write(3, 10, later));
    assert_eq!(written.expect("it was written").done, []);
}

#[test]
fn a_refresh_of_a_watch_is_written_when_half_of_its_time_is_over() {
    let watch = Watch { incarnation: Incarnation(1), ttl: Duration::from_secs(10) };
    let read = ReadRegister {
        key: Key::of(Space::Register, "k").unwrap(),
        known: Known::Nothing,
        watch: Some(watch),
        bound: None,
    };
    let (_, _, written) = step(&Register::default(), NOW).read(&read);
    let register = written.expect("a new watcher is written");
    let soon = NOW + Duration::from_secs(5);
    assert_eq!(step(&register, soon).read(&read).2, None);
    let later = soon + Duration::from_micros(1);
    let refreshed = step(&register, later).read(&read).2.expect("it is refreshed");
    assert_eq!(refreshed.watchers, [Watcher { incarnation: Incarnation(1), until: later + watch.ttl }]);
    assert_eq!(
        refreshed.until,
        later + watch.ttl,
        "a register without a value lasts as long as its watchers"
    );
}

#[test]
fn a_plain_read_writes_nothing() {
    let (_, _, written) = step(&Register::default(), NOW).write(&write(1, 1, NOW));
    let register = written.expect("it was written");
    let read = ReadRegister {
        key: Key::of(Space::Register, "k").unwrap(),
        known: Known::Nothing,
        watch: None,
        bound: None,
    };
    assert_eq!(step(&register, NOW).read(&read).2, None);
}

/// Redis collects them by their time to live, which the comparison of both stores looks at.
#[test]
fn deleted_registers_leave_nothing_behind() {
    let mut memory = Memory::default();
    memory.apply(NOW, &Op::WriteRegister(write(1, 1, NOW)));
    let deletion = WriteRegister { value: None, ..write(1, 2, NOW) };
    assert!(matches!(memory.apply(NOW, &Op::WriteRegister(deletion)).0, Reply::Written(_)));
    assert_eq!(memory.keys(), 1, "its version is remembered for a while");
    let key = Key::of(Space::Register, "other").unwrap();
    let other = ReadRegister { key, known: Known::Nothing, watch: None, bound: None };
    memory.apply(NOW + ABSENT_TTL, &Op::ReadRegister(other));
    assert_eq!(memory.keys(), 0);
}
