//! Calls that wait for the next pipeline.
//!
//! Owns which calls go together and in which order (P13). Must not know connections.

use super::pipeline::Message;
use sidelock_engine::store::{Call, Op};
use std::collections::VecDeque;

/// Renewals in one pipeline: what is asked meanwhile never waits behind more (P13).
const RENEWALS_MAX: usize = 256;
/// Calls in one pipeline. Redis works about 5 ms on as many, far less than the response timeout.
const CALLS_MAX: usize = 2048;
/// Calls in one pipeline that may carry, or be answered with, 64 KiB: 8 MiB. Redis hangs up on a connection with an inbox that
/// leaves 32 MiB unread.
const HEAVY_MAX: usize = 128;
/// … before which renewals go by themselves: where the way to Redis is narrow, so many may take longer than an answer is
/// awaited, and then leases are to be renewed at least by the connections that come after it.
const HEAVY_FEW: usize = 8;

/// Messages that wait for a node that is slow. They are hints: what finds no room is not sent, and timers carry on.
const MESSAGES_MAX: usize = 4 * CALLS_MAX;

/// What gathers while pipelines are in flight.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    calls: VecDeque<Call>,
    renewals: VecDeque<Call>,
    /// Calls that say ASKING first: in a pipeline of their own.
    asking: Vec<Call>,
    messages: Vec<Message>,
    /// The last pipeline had renewals alone: now it is the others' turn.
    had_renewals_alone: bool,
}

/// What leaves as one pipeline.
#[derive(Debug, Default)]
pub(super) struct Load {
    pub(super) calls: Vec<Call>,
    pub(super) asking: bool,
    pub(super) messages: Vec<Message>,
}

impl Outbox {
    pub(super) fn extend(&mut self, calls: Vec<Call>) {
        for call in calls {
            match call.op {
                Op::Renew(_) => self.renewals.push_back(call),
                _ => self.calls.push_back(call),
            }
        }
    }

    pub(super) fn extend_asking(&mut self, calls: Vec<Call>) {
        self.asking.extend(calls);
    }

    pub(super) fn extend_messages(&mut self, messages: Vec<Message>) {
        let room = MESSAGES_MAX - self.messages.len();
        self.messages.extend(messages.into_iter().take(room));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.calls.is_empty()
            && self.renewals.is_empty()
            && self.asking.is_empty()
            && self.messages.is_empty()
    }

    /// The next pipeline.
    pub(super) fn load(&mut self) -> Load {
        if !self.asking.is_empty() {
            let few = self.asking.len().min(CALLS_MAX);
            return Load { calls: self.asking.drain(..few).collect(), asking: true, messages: Vec::new() };
        }
        let messages = self.messages.drain(..self.messages.len().min(CALLS_MAX)).collect();
        Load { calls: self.take(), asking: false, messages }
    }

    /// The calls of the next pipeline, in their order, and behind them renewals, however many other calls stay: leases end without
    /// them. Where calls may be long renewals go before them, and alone, but never twice in a row: an ask does not wait for a
    /// fleet's renewals. That turns the order of a renewal and another call on the same key around, either way: a renewal only
    /// extends what stands, so behind the end of a tenure it finds nothing to do, and before a later tenure nothing of it.
    fn take(&mut self) -> Vec<Call> {
        let renewals = self.renewals.len().min(RENEWALS_MAX);
        let heavy = self.calls.iter().take(CALLS_MAX).enumerate().filter(|(_, call)| is_heavy(&call.op));
        let mut heavy = heavy.map(|(place, _)| place);
        let alone = renewals > 0 && !self.had_renewals_alone && heavy.clone().nth(HEAVY_FEW).is_some();
        self.had_renewals_alone = alone;
        if alone {
            return self.renewals.drain(..renewals).collect();
        }
        let calls = heavy.nth(HEAVY_MAX).unwrap_or(self.calls.len().min(CALLS_MAX));
        self.calls.drain(..calls).chain(self.renewals.drain(..renewals)).collect()
    }

    /// All calls, because none of them will be sent.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = Call> + '_ {
        self.calls.drain(..).chain(self.renewals.drain(..)).chain(self.asking.drain(..))
    }
}

/// Whether it may carry, or be answered with, a register's value, a result of a once key or a board.
fn is_heavy(op: &Op) -> bool {
    match op {
        Op::Ask(ask) => ask.waiting_since.is_some(),
        Op::ReadRegister(_)
        | Op::WriteRegister(_)
        | Op::Finish(_)
        | Op::Publish(_)
        | Op::ReadBoard { .. } => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sidelock_engine::store::{CallId, Renew, Tell};
    use sidelock_engine::{AskId, Incarnation, Key, Space};
    use std::time::Duration;

    const ID: AskId = AskId { incarnation: Incarnation(1), seq: 1 };

    fn tell(id: u64) -> Call {
        Call { id: CallId(id), op: Op::Tell(Tell { key: Key::new("k").unwrap(), ask: ID, free_in: None }) }
    }

    fn message() -> Message {
        Message { inbox: b"inbox"[..].into(), push: b"m"[..].into(), again: false }
    }

    fn renewal(id: u64) -> Call {
        let key = Key::new("k").unwrap();
        let renew = Renew { key, tenure: ID, ttl: Duration::from_secs(10), floor: 0, top_up: false };
        Call { id: CallId(id), op: Op::Renew(renew) }
    }

    /// It may be answered with much.
    fn read(id: u64) -> Call {
        let board = Key::new("b").unwrap().in_space(Space::Board);
        Call { id: CallId(id), op: Op::ReadBoard { board } }
    }

    fn ids(calls: Vec<Call>) -> Vec<u64> {
        calls.into_iter().map(|call| call.id.0).collect()
    }

    #[test]
    fn everything_gathered_goes_together_and_renewals_last() {
        let mut outbox = Outbox::default();
        outbox.extend(vec![renewal(1), tell(2), renewal(3), tell(4)]);
        outbox.extend(vec![tell(5)]);
        assert_eq!(ids(outbox.take()), [2, 4, 5, 1, 3]);
        assert!(outbox.is_empty());
    }

    #[test]
    fn calls_that_ask_first_go_alone_and_messages_with_the_others() {
        let mut outbox = Outbox::default();
        outbox.extend(vec![tell(1)]);
        outbox.extend_asking(vec![tell(2)]);
        outbox.extend_messages(vec![message()]);
        let Load { calls, asking, messages } = outbox.load();
        assert_eq!((ids(calls), asking, messages.len()), (vec![2], true, 0));
        let Load { calls, asking, messages } = outbox.load();
        assert_eq!((ids(calls), asking, messages.len()), (vec![1], false, 1));
        assert!(outbox.is_empty());
    }

    #[test]
    fn messages_for_a_node_that_does_not_answer_are_8192_at_most() {
        let mut outbox = Outbox::default();
        for _ in 0..3 {
            outbox.extend_messages(vec![message(); 5_000]);
        }
        let mut messages = 0;
        while !outbox.is_empty() {
            messages += outbox.load().messages.len();
        }
        assert_eq!(messages, 8_192);
    }

    #[test]
    fn a_pipeline_has_at_most_256_renewals() {
        let mut outbox = Outbox::default();
        outbox.extend((0..300).map(renewal).collect());
        assert_eq!(outbox.take().len(), 256);
        outbox.extend(vec![tell(300)]);
        assert_eq!(ids(outbox.take())[0], 300, "an ask does not wait behind the remaining renewals");
        assert!(outbox.is_empty());
    }

    #[test]
    fn a_pipeline_has_at_most_2048_calls_and_renewals_do_not_wait_for_the_rest() {
        let mut outbox = Outbox::default();
        outbox.extend(vec![renewal(9000)]);
        outbox.extend((0..3000).map(tell).collect());
        assert_eq!(ids(outbox.take()), (0..2048).chain([9000]).collect::<Vec<_>>());
        assert_eq!(ids(outbox.take()), (2048..3000).collect::<Vec<_>>());
    }

    #[test]
    fn renewals_that_never_end_keep_no_call_from_leaving() {
        let mut outbox = Outbox::default();
        outbox.extend((0..20).map(read).collect());
        for turn in 0..4 {
            outbox.extend((1_000..1_300).map(renewal).collect());
            let taken = ids(outbox.take());
            assert_eq!(taken[0] < 1_000, turn == 1, "{taken:?}");
        }
    }

    #[test]
    fn a_pipeline_has_at_most_128_calls_that_may_be_long_and_renewals_do_not_wait_for_them() {
        let mut outbox = Outbox::default();
        outbox.extend(vec![tell(0)]);
        outbox.extend((1..=200).map(read).collect());
        outbox.extend(vec![tell(201), renewal(9000)]);
        assert_eq!(ids(outbox.take()), [9000]);
        assert_eq!(ids(outbox.take()), (0..=128).collect::<Vec<_>>());
        assert_eq!(ids(outbox.take()), (129..=201).collect::<Vec<_>>());
        outbox.extend((0..8).map(read).collect());
        outbox.extend(vec![renewal(9000)]);
        assert_eq!(ids(outbox.take()), (0..8).chain([9000]).collect::<Vec<_>>(), "a few are soon over");
        assert!(outbox.is_empty());
    }
}
