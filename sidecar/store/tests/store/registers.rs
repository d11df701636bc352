//! Registers (P17): versions, conditions, writes that arrive twice, fences, watchers.

use crate::cases;
use crate::subject::*;
use sidelock_engine::store::{
    Bound, Condition, Force, Known, Op, Order, Push, REFUSE_AFTER, ReadRegister, Reply, Return, Version,
    Wake, Watch, WriteRegister,
};
use sidelock_engine::{Etag, Incarnation, Key, Space, StoreTime};

pub(crate) const CASES: &[Case] = cases![
    what_was_written_is_read,
    versions_rise_and_do_not_repeat_after_a_deletion_or_a_loss,
    a_condition_that_fails_changes_nothing_and_tells_what_is_there,
    a_write_runs_once_however_often_it_comes,
    a_repeated_write_is_known_after_another_sidecar_wrote,
    a_write_that_is_overtaken_by_its_own_sidecar_does_not_come_back,
    a_write_that_comes_too_late_does_nothing,
    nothing_is_let_through_because_it_is_written_over_its_own,
    a_reader_who_knows_is_told_so,
    watchers_of_other_sidecars_hear_of_writes_until_their_time_is_over,
    a_fenced_operation_needs_its_tenure,
    a_later_fence_shuts_earlier_ones_out,
    a_fenced_read_of_nothing_shuts_earlier_fences_out,
    a_failed_condition_shuts_earlier_fences_out_too,
    a_lease_of_before_a_top_up_still_writes,
    an_expired_tenure_writes_nothing,
    who_holds_after_a_force_writes_and_the_victim_does_not,
    a_register_and_a_lock_of_one_name_do_not_meet,
    values_are_bytes,
];

fn register() -> Key {
    key().in_space(Space::Register)
}

pub(crate) fn read() -> ReadRegister {
    ReadRegister { key: register(), known: Known::Nothing, watch: None, bound: None }
}

pub(crate) fn write(
    store: &mut dyn Subject,
    incarnation: Incarnation,
    seq: u64,
    value: Option<&[u8]>,
) -> WriteRegister {
    WriteRegister {
        key: register(),
        id: id(incarnation, seq),
        condition: Condition::Any,
        value: value.map(Into::into),
        refuse_after: store.now() + REFUSE_AFTER,
        bound: None,
    }
}

fn put(store: &mut dyn Subject, incarnation: Incarnation, seq: u64, value: &[u8]) -> Etag {
    let write = write(store, incarnation, seq, Some(value));
    written(&do_write(store, &write))
}

fn do_write(store: &mut dyn Subject, write: &WriteRegister) -> Done {
    store.apply(&Op::WriteRegister(write.clone()))
}

#[track_caller]
fn written(done: &Done) -> Etag {
    match done.reply {
        Reply::Written(etag) => etag,
        ref other => panic!("not written: {other:?}"),
    }
}

fn do_read(store: &mut dyn Subject, read: ReadRegister) -> Reply {
    store.apply(&Op::ReadRegister(read)).reply
}

fn current(store: &mut dyn Subject) -> Option<Version> {
    match do_read(store, read()) {
        Reply::Register(current) => current,
        other => panic!("no register: {other:?}"),
    }
}

fn version(etag: Etag, value: &[u8]) -> Option<Version> {
    Some(Version { etag, value: value.into() })
}

fn bound(incarnation: Incarnation, seq: u64, fence: u64) -> Option<Bound> {
    Some(Bound { tenure: id(incarnation, seq), fence })
}

fn what_was_written_is_read(store: &mut dyn Subject) {
    assert_eq!(current(store), None);
    let first = put(store, A, 1, b"one");
    assert_eq!(first.writer, id(A, 1));
    assert_eq!(current(store), version(first, b"one"));
    let second = put(store, B, 1, b"two");
    assert_eq!(current(store), version(second, b"two"));
    let deletion = write(store, A, 2, None);
    written(&do_write(store, &deletion));
    assert_eq!(current(store), None);
    let again = write(store, A, 3, None);
    assert_eq!(do_write(store, &again).reply, Reply::Register(None), "there was nothing to delete");
}

fn versions_rise_and_do_not_repeat_after_a_deletion_or_a_loss(store: &mut dyn Subject) {
    let mut last = 0;
    for seq in 1..20 {
        let value = (seq % 3 > 0).then_some(&b"x"[..]);
        let write = write(store, A, seq, value);
        if let Reply::Written(etag) = do_write(store, &write).reply {
            assert!(etag.number > last, "{etag}");
            last = etag.number;
        }
    }
    store.flush();
    let done = write(store, A, 20, Some(b"x"));
    let done = do_write(store, &done);
    assert!(written(&done).number > last && written(&done).number >= done.at.0);
}

fn nothing_is_let_through_because_it_is_written_over_its_own(store: &mut dyn Subject) {
    let etag = put(store, A, 1, b"own");
    let due = store.now();
    let late = WriteRegister { refuse_after: StoreTime(due.0 - 1), ..write(store, A, 2, Some(b"late")) };
    assert_eq!(do_write(store, &late).reply, Reply::TooLate);
    // Its first byte is what says, in an argument without a bound, that there is a value.
    let nobody = bound(Incarnation(1 << 120), 9, 1);
    let leased_by_nobody = WriteRegister { bound: nobody, ..write(store, A, 3, Some(b"under no lease")) };
    assert_eq!(do_write(store, &leased_by_nobody).reply, Reply::StaleFence);
    assert_eq!(current(store), version(etag, b"own"));
}

fn a_condition_that_fails_changes_nothing_and_tells_what_is_there(store: &mut dyn Subject) {
    let refused = |store: &mut dyn Subject, seq, condition, value: Option<&[u8]>| {
        let write = WriteRegister { condition, ..write(store, B, seq, value) };
        let done = do_write(store, &write);
        let Reply::Conflict(current) = done.reply else { panic!("{:?}", done.reply) };
        current
    };
    let stale = Etag { number: 5, writer: id(C, 1) };
    assert_eq!(refused(store, 1, Condition::Present, Some(b"b")), None);
    assert_eq!(refused(store, 2, Condition::Match(stale), None), None);
    let etag = put(store, A, 1, b"a");
    let there = version(etag, b"a");
    assert_eq!(refused(store, 3, Condition::Absent, Some(b"b")), there);
    assert_eq!(refused(store, 4, Condition::Match(stale), Some(b"b")), there);
    assert_eq!(refused(store, 5, Condition::Match(Etag::NEVER), None), there);
    assert_eq!(current(store), there);
    let right = WriteRegister { condition: Condition::Match(etag), ..write(store, B, 6, None) };
    written(&do_write(store, &right));
    assert_eq!(refused(store, 7, Condition::Match(etag), Some(b"b")), None, "its deletion ended the version");
    let fresh = WriteRegister { condition: Condition::Absent, ..write(store, B, 8, Some(b"c")) };
    let etag = written(&do_write(store, &fresh));
    let over = WriteRegister { condition: Condition::Present, ..write(store, B, 9, Some(b"d")) };
    assert!(written(&do_write(store, &over)).number > etag.number);
}

fn a_write_runs_once_however_often_it_comes(store: &mut dyn Subject) {
    let before = put(store, B, 1, b"0");
    let conditional = WriteRegister { condition: Condition::Match(before), ..write(store, A, 1, Some(b"1")) };
    let etag = written(&do_write(store, &conditional));
    assert_eq!(written(&do_write(store, &conditional)), etag, "its own success is no conflict");
    let deletion = write(store, A, 2, None);
    let gone = written(&do_write(store, &deletion));
    assert_eq!(written(&do_write(store, &deletion)), gone);
    assert_eq!(current(store), None);
}

fn a_repeated_write_is_known_after_another_sidecar_wrote(store: &mut dyn Subject) {
    let first = write(store, A, 1, Some(b"a"));
    let etag = written(&do_write(store, &first));
    let second = put(store, B, 1, b"b");
    let third = put(store, C, 1, b"c");
    assert_eq!(written(&do_write(store, &first)), etag);
    assert_eq!(current(store), version(third, b"c"));
    let repeated = WriteRegister { refuse_after: first.refuse_after, ..write(store, B, 1, Some(b"b")) };
    assert_eq!(written(&do_write(store, &repeated)), second);
}

fn a_write_that_is_overtaken_by_its_own_sidecar_does_not_come_back(store: &mut dyn Subject) {
    let late = write(store, A, 1, Some(b"late"));
    let etag = put(store, A, 2, b"a");
    do_write(store, &late).quietly(Reply::Stale);
    assert_eq!(current(store), version(etag, b"a"));
    let etag = put(store, B, 1, b"b");
    do_write(store, &late).quietly(Reply::Stale);
    assert_eq!(current(store), version(etag, b"b"));
}

fn a_write_that_comes_too_late_does_nothing(store: &mut dyn Subject) {
    let etag = put(store, A, 1, b"a");
    let late = WriteRegister { refuse_after: StoreTime(store.now().0 - 1), ..write(store, B, 1, Some(b"b")) };
    do_write(store, &late).quietly(Reply::TooLate);
    assert_eq!(current(store), version(etag, b"a"));
}

fn a_reader_who_knows_is_told_so(store: &mut dyn Subject) {
    let knowing = |known| ReadRegister { known, ..read() };
    assert_eq!(do_read(store, knowing(Known::Absent)), Reply::Unchanged);
    let etag = put(store, A, 1, b"a");
    assert_eq!(do_read(store, knowing(Known::Version(etag))), Reply::Unchanged);
    assert_eq!(do_read(store, knowing(Known::Absent)), Reply::Register(version(etag, b"a")));
    let newer = put(store, A, 2, b"a");
    assert_eq!(do_read(store, knowing(Known::Version(etag))), Reply::Register(version(newer, b"a")));
    let deletion = write(store, A, 3, None);
    written(&do_write(store, &deletion));
    assert_eq!(do_read(store, knowing(Known::Version(newer))), Reply::Register(None));
}

fn watchers_of_other_sidecars_hear_of_writes_until_their_time_is_over(store: &mut dyn Subject) {
    let watch = |incarnation, ttl| ReadRegister { watch: Some(Watch { incarnation, ttl }), ..read() };
    let changed = |to| Wake { to, push: Push::Changed { key: register() } };
    assert_eq!(do_read(store, watch(A, TTL)), Reply::Register(None), "also where there is nothing yet");
    assert_eq!(do_read(store, watch(B, BRIEF)), Reply::Register(None));
    let first = write(store, A, 1, Some(b"a"));
    do_write(store, &first).wakes(&[changed(B)]);
    let second = write(store, C, 1, Some(b"c"));
    do_write(store, &second).wakes(&[changed(A), changed(B)]);
    store.wait(AFTER_BRIEF);
    let deletion = write(store, C, 2, None);
    do_write(store, &deletion).wakes(&[changed(A)]);
    do_read(store, watch(B, TTL));
    let again = write(store, C, 3, Some(b"c"));
    do_write(store, &again).wakes(&[changed(A), changed(B)]);
    let conditional = WriteRegister { condition: Condition::Absent, ..write(store, C, 4, Some(b"d")) };
    do_write(store, &conditional).wakes(&[]);
}

fn a_fenced_operation_needs_its_tenure(store: &mut dyn Subject) {
    let fence = store.lock(A, 1).granted().range.first;
    let fenced = WriteRegister { bound: bound(A, 1, fence), ..write(store, A, 2, Some(b"a")) };
    let etag = written(&do_write(store, &fenced));
    let reads = |bound| ReadRegister { bound, ..read() };
    assert_eq!(do_read(store, reads(bound(A, 1, fence))), Reply::Register(version(etag, b"a")));
    for wrong in [bound(A, 9, fence), bound(B, 1, fence), bound(A, 1, fence + 1)] {
        assert_eq!(do_read(store, reads(wrong)), Reply::StaleFence, "{wrong:?}");
        let write = WriteRegister { bound: wrong, ..write(store, B, 1, Some(b"b")) };
        do_write(store, &write).quietly(Reply::StaleFence);
    }
    store.give(ret(A, 1));
    assert_eq!(do_read(store, reads(bound(A, 1, fence))), Reply::StaleFence);
    assert_eq!(written(&do_write(store, &fenced)), etag, "what was done before it ended is done");
    let late = WriteRegister { bound: bound(A, 1, fence), ..write(store, A, 3, Some(b"b")) };
    do_write(store, &late).quietly(Reply::StaleFence);
    assert_eq!(current(store), version(etag, b"a"));
}

/// Three fences of one tenure, in order.
fn three_fences(store: &mut dyn Subject) -> [u64; 3] {
    store.lock(A, 1).granted();
    store.wait(AFTER_SHORT * 4);
    let done = store.renew(sidelock_engine::store::Renew { top_up: true, ..renewal(A, 1) });
    let Reply::Renewed { range: Some(range), .. } = done.reply else { panic!("{:?}", done.reply) };
    assert!(range.last > range.first + 2);
    [range.first, range.first + 1, range.first + 2]
}

fn a_later_fence_shuts_earlier_ones_out(store: &mut dyn Subject) {
    let [first, second, third] = three_fences(store);
    let at = |store: &mut dyn Subject, seq, fence| {
        let write = WriteRegister { bound: bound(A, 1, fence), ..write(store, A, seq, Some(b"x")) };
        do_write(store, &write).reply
    };
    assert!(matches!(at(store, 2, second), Reply::Written(_)));
    assert_eq!(at(store, 3, first), Reply::StaleFence);
    assert!(matches!(at(store, 4, second), Reply::Written(_)), "the same one may go on");
    // Who has only read shuts earlier ones out too: they would overwrite what it has read.
    do_read(store, ReadRegister { bound: bound(A, 1, third), ..read() });
    assert_eq!(at(store, 5, second), Reply::StaleFence);
    let unfenced = write(store, B, 1, Some(b"y"));
    written(&do_write(store, &unfenced));
    assert_eq!(at(store, 6, second), Reply::StaleFence, "a write without a fence forgets none");
    let deletion = write(store, B, 2, None);
    written(&do_write(store, &deletion));
    assert_eq!(at(store, 7, second), Reply::StaleFence, "nor does a deletion");
}

fn a_fenced_read_of_nothing_shuts_earlier_fences_out(store: &mut dyn Subject) {
    let [first, second, _] = three_fences(store);
    let reads = ReadRegister { bound: bound(A, 1, second), ..read() };
    assert_eq!(do_read(store, reads), Reply::Register(None));
    let write = WriteRegister { bound: bound(A, 1, first), ..write(store, A, 2, Some(b"x")) };
    do_write(store, &write).quietly(Reply::StaleFence);
}

fn a_failed_condition_shuts_earlier_fences_out_too(store: &mut dyn Subject) {
    let [first, second, _] = three_fences(store);
    let etag = put(store, B, 1, b"b");
    let condition = Condition::Absent;
    let refused = WriteRegister { condition, bound: bound(A, 1, second), ..write(store, A, 2, Some(b"x")) };
    assert_eq!(do_write(store, &refused).reply, Reply::Conflict(version(etag, b"b")));
    let write = WriteRegister { bound: bound(A, 1, first), ..write(store, A, 3, Some(b"x")) };
    do_write(store, &write).quietly(Reply::StaleFence);
    assert_eq!(current(store), version(etag, b"b"));
}

fn a_lease_of_before_a_top_up_still_writes(store: &mut dyn Subject) {
    let before = store.lock(A, 1).granted().range.first;
    store.renew(sidelock_engine::store::Renew { top_up: true, ..renewal(A, 1) });
    let write = WriteRegister { bound: bound(A, 1, before), ..write(store, A, 2, Some(b"x")) };
    written(&do_write(store, &write));
}

fn an_expired_tenure_writes_nothing(store: &mut dyn Subject) {
    let ask = ask(store, A, 1);
    let fence = store.ask(sidelock_engine::store::Ask { ttl: SHORT, ..ask }).granted().range.first;
    store.wait(AFTER_SHORT);
    let write = WriteRegister { bound: bound(A, 1, fence), ..write(store, A, 2, Some(b"x")) };
    do_write(store, &write).quietly(Reply::StaleFence);
    assert_eq!(current(store), None);
}

fn who_holds_after_a_force_writes_and_the_victim_does_not(store: &mut dyn Subject) {
    let taken = store.lock(A, 1).granted().range.first;
    let refuse_after = store.now() + REFUSE_AFTER;
    let order = Order { by: 0, reason: "stuck".into() };
    store.apply(&Op::Force(Force { key: key(), from: B, order, refuse_after }));
    // The victim does not know yet, so what was taken is still in the record.
    let fence = store.lock(B, 1).granted().range.first;
    let fenced = WriteRegister { bound: bound(B, 1, fence), ..write(store, B, 2, Some(b"b")) };
    let etag = written(&do_write(store, &fenced));
    let late = WriteRegister { bound: bound(A, 1, taken), ..write(store, A, 2, Some(b"a")) };
    do_write(store, &late).quietly(Reply::StaleFence);
    assert_eq!(current(store), version(etag, b"b"));
}

fn a_register_and_a_lock_of_one_name_do_not_meet(store: &mut dyn Subject) {
    let etag = put(store, A, 1, b"a");
    store.lock(B, 1).granted();
    assert_eq!(current(store), version(etag, b"a"));
    store.give(Return { ..ret(B, 1) });
    assert_eq!(current(store), version(etag, b"a"));
}

fn values_are_bytes(store: &mut dyn Subject) {
    let every: Vec<u8> = (0..=255u8).cycle().take(65_536).collect();
    for (seq, value) in [&b""[..], b"\0", "ключ".as_bytes(), &every].into_iter().enumerate() {
        let etag = put(store, A, seq as u64 + 1, value);
        assert_eq!(current(store), version(etag, value));
    }
}
