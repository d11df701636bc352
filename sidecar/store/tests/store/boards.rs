//! Boards, and looks at records: what changes nothing.

use crate::cases;
use crate::subject::{
    A, AFTER_BRIEF, AFTER_SHORT, B, BRIEF, C, Case, Done, SHORT, Subject, TTL, ask, id, key, permits, ret,
};
use sidelock_engine::board::board_key;
use sidelock_engine::store::{Op, PEEKED_MAX, Peeked, Publish, REFUSE_AFTER, Reply};
use sidelock_engine::{Incarnation, StoreTime, WHOLE};
use std::time::Duration;

pub(crate) const CASES: &[Case] = cases![
    a_board_is_read_until_it_is_forgotten,
    an_older_board_never_follows_a_newer_one,
    a_board_that_comes_too_late_is_not_written,
    a_board_that_was_taken_down_does_not_come_back,
    boards_are_apart,
    a_peek_shows_who_holds_and_who_waits_in_order,
    a_peek_offers_nothing_and_does_not_show_what_is_due,
    a_peek_at_a_crowd_shows_the_first,
];

fn publish(store: &mut dyn Subject, owner: Incarnation, version: u64, body: &[u8]) -> Publish {
    let refuse_after = store.now() + REFUSE_AFTER;
    Publish { board: board_key(owner), version, body: body.into(), ttl: Duration::from_secs(3), refuse_after }
}

impl dyn Subject + '_ {
    fn publish(&mut self, publish: Publish) {
        self.apply(&Op::Publish(publish)).quietly(Reply::Published);
    }

    #[track_caller]
    fn reads(&mut self, owner: Incarnation, body: Option<&[u8]>) {
        let read = self.apply(&Op::ReadBoard { board: board_key(owner) });
        read.quietly(Reply::Board(body.map(Into::into)));
    }

    fn peek(&mut self) -> Peeked {
        self.peek_at().1
    }

    /// What there is to be seen, and when it was looked at.
    fn peek_at(&mut self) -> (StoreTime, Peeked) {
        let Done { at, reply: Reply::Record(peeked), wakes } = self.apply(&Op::Peek { key: key() }) else {
            panic!("no record");
        };
        assert!(wakes.is_empty());
        (at, peeked)
    }
}

fn a_board_is_read_until_it_is_forgotten(store: &mut dyn Subject) {
    store.reads(A, None);
    let board = publish(store, A, 1, b"one");
    store.publish(board.clone());
    store.reads(A, Some(b"one"));
    store.publish(Publish { version: 2, body: [].as_slice().into(), ..board.clone() });
    store.reads(A, None);
    store.publish(Publish { version: 3, ttl: BRIEF, ..board });
    store.reads(A, Some(b"one"));
    store.wait(AFTER_BRIEF);
    store.reads(A, None);
}

fn an_older_board_never_follows_a_newer_one(store: &mut dyn Subject) {
    for (version, body) in [(2, &b"two"[..]), (1, b"one"), (2, b"again"), (1, b"")] {
        let board = publish(store, A, version, body);
        store.publish(board);
        store.reads(A, Some(b"two"));
    }
    let board = publish(store, A, 3, b"three");
    store.publish(board);
    store.reads(A, Some(b"three"));
}

fn a_board_that_comes_too_late_is_not_written(store: &mut dyn Subject) {
    let board = publish(store, A, 1, b"one");
    let refuse_after = store.now() + SHORT;
    store.wait(AFTER_SHORT);
    store.apply(&Op::Publish(Publish { refuse_after, ..board })).quietly(Reply::TooLate);
    store.reads(A, None);
}

fn a_board_that_was_taken_down_does_not_come_back(store: &mut dyn Subject) {
    let board = publish(store, A, 1, b"one");
    store.publish(board.clone());
    store.publish(Publish { version: 2, body: [].as_slice().into(), ..board.clone() });
    store.publish(board);
    store.reads(A, None);
}

fn boards_are_apart(store: &mut dyn Subject) {
    let board = publish(store, A, 1, b"a");
    store.publish(board);
    let board = publish(store, B, 1, b"b");
    store.publish(board);
    store.reads(A, Some(b"a"));
    store.reads(B, Some(b"b"));
    store.reads(C, None);
    store.flush();
    store.reads(A, None);
}

fn a_peek_shows_who_holds_and_who_waits_in_order(store: &mut dyn Subject) {
    assert_eq!(store.peek(), Peeked::default());
    let held = store.take(A, 1, 3, 4);
    held.granted();
    store.take(B, 7, 2, 4).queued();
    store.take(C, 9, 1, 4).queued();
    let (at, peeked) = store.peek_at();
    assert_eq!(peeked.limit, 4);
    assert_eq!(peeked.tenures.iter().map(|held| (held.id, held.units)).collect::<Vec<_>>(), [(id(A, 1), 3)]);
    let left = Duration::from_millis(u64::try_from((TTL - at.since(held.at)).as_millis()).unwrap());
    assert_eq!(peeked.tenures[0].remaining, left, "rounded down to milliseconds");
    let waiting: Vec<_> = peeked.queue.iter().map(|entry| (entry.id, entry.units, entry.offered)).collect();
    assert_eq!(waiting, [(id(B, 7), 2, false), (id(C, 9), 1, false)]);
    store.give(ret(A, 1));
    let offered: Vec<_> = store.peek().queue.iter().map(|entry| entry.offered).collect();
    assert_eq!(offered, [true, true]);
}

fn a_peek_offers_nothing_and_does_not_show_what_is_due(store: &mut dyn Subject) {
    let brief = sidelock_engine::store::Ask { ttl: BRIEF, ..ask(store, A, 1) };
    store.ask(brief).granted();
    store.lock(B, 1).queued();
    store.wait(AFTER_BRIEF);
    let peeked = store.peek();
    assert!(peeked.tenures.is_empty() && !peeked.queue[0].offered);
    store.lock(B, 1).granted();
}

fn a_peek_at_a_crowd_shows_the_first(store: &mut dyn Subject) {
    store.lock(A, 1).granted();
    let crowd = PEEKED_MAX as u128 + 5;
    for sidecar in 1..=crowd {
        let ask = permits(store, Incarnation(sidecar), 1, 1, WHOLE);
        store.ask(ask).queued();
    }
    let peeked = store.peek();
    assert_eq!(peeked.queue.len(), PEEKED_MAX);
    assert_eq!(peeked.queue[PEEKED_MAX - 1].id, id(Incarnation(PEEKED_MAX as u128), 1));
}
