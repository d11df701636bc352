//! From boards and records to deadlocks, and what stood between two looks.

use super::*;
use crate::model::{AskId, WHOLE};

const A: Incarnation = Incarnation(1);
const B: Incarnation = Incarnation(2);
const C: Incarnation = Incarnation(3);

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

/// An owner of sidecar `n` that is the head of its queue, the youngest where `n` is the greatest.
fn wait(n: u64, units: u32, holds: &[(&str, u32)]) -> BoardWait {
    let holding = |(name, units): &(&str, u32)| Holding {
        key: key(name),
        units: *units,
        lease: 100 + n,
        since: StoreTime(n),
    };
    BoardWait {
        id: format!("o{n}").into(),
        name: format!("o{n}").into(),
        app: "test".into(),
        uid: 1,
        wait: n,
        units,
        upgrades: false,
        head: true,
        priority: 0,
        since: StoreTime(10 + n),
        holds: holds.iter().map(holding).collect(),
    }
}

fn board(name: &str, ask: Option<u64>, wait: BoardWait) -> Board {
    let line = Line { key: key(name), limit: WHOLE, ask, yields: false, keeps: false, waits: vec![wait] };
    Board { version: 1, lines: vec![line] }
}

/// A record whose queue has these entries.
fn queue(entries: &[(Incarnation, u64, bool)]) -> Peeked {
    let entry = |&(incarnation, seq, offered): &(Incarnation, u64, bool)| PeekedEntry {
        id: AskId { incarnation, seq },
        units: 1,
        offered,
    };
    Peeked { limit: WHOLE, tenures: Vec::new(), queue: entries.iter().map(entry).collect() }
}

/// `o1` of A reads `r` and wants `m`; `o2` of B wants to write `r`; `o3` of C has `m` and wants to read `r`.
fn reader_behind_writer() -> Look {
    let boards = [
        (A, board("m", Some(1), wait(1, WHOLE, &[("r", 1)]))),
        (B, board("r", Some(5), wait(2, WHOLE, &[]))),
        (C, board("r", Some(6), wait(3, 1, &[("m", WHOLE)]))),
    ];
    let records = [(key("r"), queue(&[(B, 5, false), (C, 6, false)])), (key("m"), queue(&[(A, 1, false)]))];
    Look { boards: boards.into(), records: records.into(), at: StoreTime(100) }
}

/// The same, but the reader's sidecar does not ask yet: it lets those go first who are in line.
fn reader_that_yields() -> Look {
    let mut look = reader_behind_writer();
    let line = &mut look.boards.get_mut(&C).unwrap().lines[0];
    (line.ask, line.yields) = (None, true);
    look.records.insert(key("r"), queue(&[(B, 5, false)]));
    look
}

/// The same, but the writer's sidecar has all of `r`, and the writer waits for a reader there.
fn writer_that_keeps() -> Look {
    let mut look = reader_behind_writer();
    let line = &mut look.boards.get_mut(&B).unwrap().lines[0];
    (line.ask, line.keeps) = (None, true);
    look.records.insert(key("r"), queue(&[(C, 6, false)]));
    look
}

#[test]
fn a_reader_behind_a_writer_of_another_sidecar_closes_a_ring() {
    let knots = reader_behind_writer().knots(None);
    assert_eq!(knots.len(), 1);
    assert_eq!(knots[0].victim, (C, 3));
    assert_eq!(knots[0].sidecars, [A, B, C].into());
    assert_eq!(knots[0].keys, [key("m"), key("r")].into());
    let ring: Vec<_> =
        knots[0].cycle.edges.iter().map(|edge| (&*edge.owner, edge.held_for.is_some())).collect();
    assert_eq!(ring, [("o3", false), ("o2", true), ("o1", true)]);
}

#[test]
fn only_an_order_that_is_known_binds() {
    let with = |record: Peeked| {
        let mut look = reader_behind_writer();
        look.records.insert(key("r"), record);
        look.knots(None).len()
    };
    assert_eq!(with(queue(&[(C, 6, false), (B, 5, false)])), 0, "the reader is first");
    assert_eq!(with(queue(&[(B, 5, true), (C, 6, false)])), 0, "it is the writer's turn");
    assert_eq!(with(queue(&[(B, 4, false), (C, 6, false)])), 0, "that is another ask");
    assert_eq!(with(queue(&[(C, 6, false)])), 0, "the writer is not in line");
    let mut no_head = reader_behind_writer();
    no_head.boards.get_mut(&B).unwrap().lines[0].waits[0].head = false;
    assert_eq!(no_head.knots(None).len(), 0, "somebody without a name is the first of its queue");
    assert_eq!(reader_that_yields().knots(None).len(), 1, "it yields to who is in line");
}

#[test]
fn who_waits_at_the_store_waits_for_whose_turn_has_come_already() {
    let mut look = writer_that_keeps();
    assert_eq!(look.knots(None).len(), 1);
    look.boards.get_mut(&B).unwrap().lines[0].keeps = false;
    assert_eq!(look.knots(None).len(), 0);
}

#[test]
fn what_did_not_stand_is_not_there() {
    let seen = reader_behind_writer();
    assert_eq!(seen.standing(&seen).knots(None).len(), 1);
    let changes: [fn(&mut Look); 6] = [
        |look| look.boards.get_mut(&A).unwrap().lines[0].waits[0].wait += 10,
        |look| look.boards.get_mut(&C).unwrap().lines[0].waits[0].holds[0].lease += 10,
        |look| look.boards.get_mut(&B).unwrap().lines[0].ask = Some(7),
        |look| drop(look.boards.remove(&B)),
        |look| look.records.get_mut(&key("r")).unwrap().queue.reverse(),
        |look| look.records.get_mut(&key("r")).unwrap().queue[0].offered = true,
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut other = reader_behind_writer();
        change(&mut other);
        assert_eq!(seen.standing(&other).knots(None).len(), 0, "change {number}");
        assert_eq!(other.standing(&seen).knots(None).len(), 0, "change {number}, the other way round");
    }
}

/// Who became the head, began to yield or to keep between two looks was ahead of nobody at the first.
#[test]
fn who_is_ahead_at_one_of_two_looks_is_ahead_of_nobody() {
    type Change = fn(&mut Look);
    let changes: [(fn() -> Look, Change); 3] = [
        (reader_behind_writer, |look| look.boards.get_mut(&B).unwrap().lines[0].waits[0].head = false),
        (reader_that_yields, |look| look.boards.get_mut(&C).unwrap().lines[0].yields = false),
        (writer_that_keeps, |look| look.boards.get_mut(&B).unwrap().lines[0].keeps = false),
    ];
    for (number, (stands, change)) in changes.into_iter().enumerate() {
        let (seen, mut other) = (stands(), stands());
        change(&mut other);
        assert_eq!(seen.standing(&seen).knots(None).len(), 1, "change {number}");
        assert_eq!(seen.standing(&other).knots(None).len(), 0, "change {number}, later");
        assert_eq!(other.standing(&seen).knots(None).len(), 0, "change {number}, before");
    }
}

#[test]
fn a_walk_sees_what_leads_on_and_nothing_else() {
    let mut look = reader_behind_writer();
    look.boards.insert(Incarnation(4), board("elsewhere", Some(1), wait(4, WHOLE, &[("nothing", WHOLE)])));
    assert_eq!(look.keys_to_see([key("m")]), [key("m"), key("r")].into());
    assert_eq!(look.sidecars_to_see(), [A, B, C].into());
}

#[test]
fn what_is_left_without_a_victim_is_found_in_the_same_look() {
    let mut look = reader_behind_writer();
    // Another reader of `r` that wants `m` too is the youngest; without it the first three are still stuck.
    look.boards.insert(Incarnation(4), board("m", None, wait(4, WHOLE, &[("r", 1)])));
    let victims: Vec<_> = look.knots(None).iter().map(|knot| knot.victim).collect();
    assert_eq!(victims, [(Incarnation(4), 4), (C, 3)]);
}
