//! What a frame connection has yet to write, in order, and how much of it there may be.
//!
//! Owns the bytes that wait, their bound, and two kinds of messages that are not bytes before their turn comes. `extended`
//! is state (P6): only the latest waits, and however many there were, they alone cut nobody off; it becomes bytes like
//! others, which count, when all before it is written, or when a message comes that has to be read after it. An answer
//! that carries a value, which may be large and which many may wait for at a time, is deferred where its bytes would
//! exceed the bound: a stampede whose followers all get the same result is no reader that does not read. The value is
//! shared until then. Must not know sockets.
//!
//! What the bounds count. `outbound_bytes_max`: encoded bytes that nobody has read, but for the one deferred answer that is
//! being written; beyond it the reader is cut off. [`VALUES_BOUND`] times as much: bytes of values in deferred answers,
//! each value once however many answers share it; beyond it, the answer is replaced by `too_many`, which waits its turn as
//! cheaply as a shared value does: nobody is cut off for having asked. How many answers may be deferred is for the door to say; beyond that the reader is cut off.

use crate::outlet::{Overflow, Told};
use crate::problem::Problem;
use crate::reply;
use sidelock_engine::{Notice, Refusal, Reply, RequestId};
use sidelock_wire::{Code, ToClient};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Memory for answers that a session keeps while it has none to write: a batch of some tens.
const KEPT_BYTES_MAX: usize = 2 * 1024;
/// Written bytes that stay in front of unwritten ones at least: moving the rest for fewer is not worth it.
const WRITTEN_BYTES_MIN: usize = 4 * 1024;
/// What a frame has around its value: numbers, an ETag, what a refusal says.
const AROUND_VALUE_MAX: usize = 512;
/// Values that wait in deferred answers, as a multiple of the bytes that may wait: see the module.
const VALUES_BOUND: usize = 16;

/// See the module.
pub(crate) struct Outbound {
    bytes: Vec<u8>,
    /// Before this all is written.
    written: usize,
    /// What is to be read after the bytes. While there is any, the bytes are those of a deferred answer, and count for
    /// nothing, or what was encoded before the first of them.
    deferred: VecDeque<Deferred>,
    /// The values among it.
    values: Values,
    /// Bytes that wait behind deferred answers.
    bytes_behind: usize,
    /// The latest `extended`, until there is room for it.
    extended: Option<ToClient<'static>>,
    bytes_max: usize,
    deferred_max: usize,
}

/// An answer that is not encoded before all that comes before it is written.
struct Deferred {
    /// `None`: it is what is being written.
    answer: Option<Answer>,
    /// Messages that are to be read after it, encoded.
    then: Vec<u8>,
}

enum Answer {
    /// What a session is told, with a value.
    Carries(Told),
    /// That there is no room for the value that this request asked for.
    NoRoom(RequestId),
}

/// What the deferred answers keep in memory: an address of each value, and how many of them share it.
#[derive(Default)]
struct Values {
    shared: HashMap<usize, u32>,
    bytes: usize,
}

impl Values {
    fn address(value: &Arc<[u8]>) -> usize {
        value.as_ptr() as usize
    }

    /// What one more would cost.
    fn cost(&self, value: &Arc<[u8]>) -> usize {
        if self.shared.contains_key(&Values::address(value)) { 0 } else { value.len() }
    }

    fn add(&mut self, value: &Arc<[u8]>) {
        self.bytes += self.cost(value);
        *self.shared.entry(Values::address(value)).or_default() += 1;
    }

    fn remove(&mut self, value: &Arc<[u8]>) {
        let address = Values::address(value);
        let Some(sharers) = self.shared.get_mut(&address) else { return };
        *sharers -= 1;
        if *sharers == 0 {
            self.shared.remove(&address);
            self.bytes -= value.len();
        }
        // A burst's memory is not kept, see `start_over`.
        if self.shared.is_empty() {
            *self = Values::default();
        }
    }
}

impl Outbound {
    /// For a reader who may leave `bytes_max` bytes unread, and `answers_max` answers whose values exceed that.
    pub(crate) fn new(bytes_max: usize, answers_max: usize) -> Outbound {
        Outbound {
            bytes: Vec::new(),
            written: 0,
            deferred: VecDeque::new(),
            values: Values::default(),
            bytes_behind: 0,
            extended: None,
            bytes_max,
            deferred_max: answers_max,
        }
    }

    /// Takes what a session is told.
    pub(crate) fn deliver(&mut self, told: Told) -> Result<(), Overflow> {
        if matches!(told, Told::Notice(Notice::Extended { .. })) {
            self.extended = Some(reply::frame(told));
            return Ok(());
        }
        match value(&told) {
            Some((request, value)) => self.answer(request, &value.clone(), told),
            None => self.append(&reply::frame(told)),
        }
    }

    /// Takes a message whose bytes count.
    pub(crate) fn append(&mut self, message: &ToClient<'_>) -> Result<(), Overflow> {
        let extended = self.extended.take();
        self.encode([extended.as_ref(), Some(message)]);
        self.within_bounds()
    }

    /// Whether no more waits than may.
    pub(crate) fn within_bounds(&self) -> Result<(), Overflow> {
        let fits = self.counted() <= self.bytes_max && self.deferred.len() <= self.deferred_max;
        if fits { Ok(()) } else { Err(Overflow) }
    }

    /// Takes an answer that carries a value.
    fn answer(&mut self, request: RequestId, value: &Arc<[u8]>, told: Told) -> Result<(), Overflow> {
        let extended = self.extended.take();
        self.encode([extended.as_ref(), None]);
        let bytes = self.counted() + value.len() + AROUND_VALUE_MAX;
        if self.deferred.is_empty() && bytes <= self.bytes_max {
            return self.append(&reply::frame(told));
        }
        // One is always taken: a small bound is no reason never to answer.
        let fits = self.values.bytes == 0 || self.values.bytes + self.values.cost(value) <= self.values_max();
        let answer = if fits {
            self.values.add(value);
            Answer::Carries(told)
        } else {
            Answer::NoRoom(request)
        };
        self.deferred.push_back(Deferred { answer: Some(answer), then: Vec::new() });
        self.within_bounds()
    }

    /// What is to be written now; `None`: nothing is left.
    pub(crate) fn next(&mut self) -> Option<&[u8]> {
        while self.waiting() == 0 {
            self.start_over();
            if let Some(first) = self.deferred.front_mut() {
                match first.answer.take() {
                    Some(Answer::Carries(told)) => {
                        if let Some((_, value)) = value(&told) {
                            self.values.remove(value);
                        }
                        reply::frame(told).encode(&mut self.bytes);
                    }
                    Some(Answer::NoRoom(request)) => {
                        reply::refused(request.0, unread_values(self.values_max())).encode(&mut self.bytes);
                    }
                    None => self.go_on_behind(),
                }
            } else {
                self.extended.take()?.encode(&mut self.bytes);
            }
        }
        Some(&self.bytes[self.written..])
    }

    /// So many bytes of [`Outbound::next`] are written.
    pub(crate) fn written(&mut self, count: usize) {
        self.written += count;
    }

    /// Bytes that wait for the socket.
    pub(crate) fn waiting(&self) -> usize {
        self.bytes.len() - self.written
    }

    /// Whether anything is left to be written.
    #[cfg(test)]
    pub(crate) fn has_any(&self) -> bool {
        self.waiting() > 0 || !self.deferred.is_empty() || self.extended.is_some()
    }

    /// The first deferred answer is written: what was to be read after it follows.
    fn go_on_behind(&mut self) {
        if let Some(done) = self.deferred.pop_front() {
            self.bytes_behind -= done.then.len();
            self.bytes = done.then;
        }
    }

    /// How many bytes of values may wait.
    fn values_max(&self) -> usize {
        self.bytes_max * VALUES_BOUND
    }

    /// Bytes that count against the bound.
    fn counted(&self) -> usize {
        let writes_deferred = self.deferred.front().is_some_and(|first| first.answer.is_none());
        let waiting = if writes_deferred { 0 } else { self.waiting() };
        waiting + self.bytes_behind
    }

    /// Puts messages behind all others.
    fn encode(&mut self, messages: [Option<&ToClient<'_>>; 2]) {
        if self.waiting() == 0 {
            self.start_over();
        } else {
            self.forget_written();
        }
        let Some(last) = self.deferred.back_mut() else {
            messages.into_iter().flatten().for_each(|message| message.encode(&mut self.bytes));
            return;
        };
        let before = last.then.len();
        messages.into_iter().flatten().for_each(|message| message.encode(&mut last.then));
        self.bytes_behind += last.then.len() - before;
    }

    /// All is written. A burst's memory is not kept for a session that may stay silent for hours.
    fn start_over(&mut self) {
        if self.bytes.capacity() > KEPT_BYTES_MAX {
            self.bytes = Vec::new();
        }
        self.bytes.clear();
        self.written = 0;
    }

    /// Gives written bytes back while others wait: a reader who is always a little behind would have us keep all that it
    /// ever read. Only when they are at least half, so that no byte is moved more often than once per byte written.
    fn forget_written(&mut self) {
        if self.written >= WRITTEN_BYTES_MIN && self.written >= self.bytes.len() / 2 {
            self.bytes.drain(..self.written);
            self.written = 0;
        }
    }
}

/// The value that a message carries, if it is one that carries any, and what it answers.
fn value(told: &Told) -> Option<(RequestId, &Arc<[u8]>)> {
    let Told::Reply { request, reply } = told else { return None };
    let value = match reply {
        Reply::Done(success) => &success.result,
        Reply::Register(Some(version)) => &version.value,
        Reply::Refused(Refusal::Exists(version) | Refusal::Conflict(Some(version))) => &version.value,
        _ => return None,
    };
    Some((*request, value))
}

/// Nothing was changed for an answer that carries a value, so all that was asked can be asked again.
fn unread_values(limit: usize) -> Problem {
    let what = format!(
        "the connection leaves {limit} bytes of values unread already ({VALUES_BOUND} times outbound_bytes_max); read them, then ask again; {}",
        Code::TooMany.advice()
    );
    let mut problem = Problem::new(Code::TooMany, what).limited(u32::try_from(limit).unwrap_or(u32::MAX));
    problem.detail.retry_after = Some(reply::RETRY_AFTER);
    problem
}

#[cfg(test)]
mod tests {
    use super::*;
    use sidelock_engine::store::Success;
    use sidelock_engine::{LostReason, RequestId, StoreTime, Time};
    use sidelock_wire::{Decoder, FRAME_BYTES_MAX};
    use std::sync::Arc;

    const BYTES_MAX: usize = 4096;
    const ANSWERS_MAX: usize = 100;

    fn outbound() -> Outbound {
        Outbound::new(BYTES_MAX, ANSWERS_MAX)
    }

    fn lost(request: u64) -> Told {
        Told::Notice(Notice::Lost { request: RequestId(request), reason: LostReason::Store })
    }

    fn extended(until: u64) -> Told {
        Told::Notice(Notice::Extended { until: Time(until), except: Vec::new() })
    }

    fn done(request: u64, result: &Arc<[u8]>) -> Told {
        let (finished_at, window_end) = (StoreTime(0), StoreTime(1));
        let success = Success { finished_at, window_end, result: result.clone() };
        Told::Reply { request: RequestId(request), reply: Reply::Done(success) }
    }

    /// Has all of it read, so many bytes at a time; what it was.
    fn read(out: &mut Outbound, step: usize) -> Vec<(&'static str, u64)> {
        let mut decoder = Decoder::new(FRAME_BYTES_MAX);
        while let Some(bytes) = out.next() {
            let count = bytes.len().min(step);
            decoder.space().extend_from_slice(&bytes[..count]);
            out.written(count);
        }
        let mut heard = Vec::new();
        while let Some(payload) = decoder.next_frame().unwrap() {
            heard.push(match ToClient::decode(payload).unwrap().unwrap() {
                ToClient::Done(done) => ("done", done.request),
                ToClient::Lost { request, .. } => ("lost", request),
                ToClient::Extended { until_ns, .. } => ("extended", until_ns),
                ToClient::Refused(refused) => (refused.code.name(), refused.request),
                other => panic!("{other:?}"),
            });
        }
        heard
    }

    #[test]
    fn deferred_answers_are_read_in_order_with_what_came_between() {
        let large: Arc<[u8]> = vec![7; 65_536].into();
        let small: Arc<[u8]> = Arc::new([]);
        for step in [1_000, 100_000] {
            let mut out = outbound();
            out.deliver(lost(1)).unwrap();
            out.deliver(done(2, &large)).unwrap();
            out.deliver(extended(3)).unwrap();
            out.deliver(done(4, &small)).unwrap();
            out.deliver(lost(5)).unwrap();
            out.append(&ToClient::Lost { request: 6, reason: sidelock_wire::LostReason::Store }).unwrap();
            out.deliver(done(7, &large)).unwrap();
            out.deliver(extended(8)).unwrap();
            let expected = [
                ("lost", 1),
                ("done", 2),
                ("extended", 3),
                ("done", 4),
                ("lost", 5),
                ("lost", 6),
                ("done", 7),
                ("extended", 8),
            ];
            assert_eq!(read(&mut out, step), expected);
            assert_eq!((out.counted(), out.bytes_behind), (0, 0), "and nothing is left over");
            assert!(out.bytes.capacity() <= KEPT_BYTES_MAX, "{}", out.bytes.capacity());
        }
    }

    #[test]
    fn a_shared_result_waits_as_often_as_it_may_and_costs_nothing_until_its_turn() {
        let result: Arc<[u8]> = vec![7; 65_536].into();
        let mut out = outbound();
        for request in 0..ANSWERS_MAX as u64 {
            out.deliver(done(request, &result)).expect("as many may wait");
        }
        assert_eq!((out.counted(), out.bytes.capacity()), (0, 0));
        assert_eq!(out.values.bytes, result.len());
        assert_eq!(out.deliver(done(100, &result)), Err(Overflow));
    }

    #[test]
    fn values_of_which_each_is_another_have_a_bound_beyond_which_the_asker_is_told_to_read_first() {
        let mut out = outbound();
        let value = || Arc::from(vec![7; 8 * 1024]);
        let fit = (VALUES_BOUND * BYTES_MAX / (8 * 1024)) as u64;
        for request in 0..fit {
            out.deliver(done(request, &value())).unwrap();
        }
        for request in fit..ANSWERS_MAX as u64 {
            out.deliver(done(request, &value())).expect("nobody is cut off for having asked");
        }
        assert_eq!(
            (out.values.bytes, out.counted()),
            (VALUES_BOUND * BYTES_MAX, 0),
            "nor does a refusal count"
        );
        let heard = read(&mut out, 1_000);
        let told = |request| if request < fit { "done" } else { "too_many" };
        let expected = (0..ANSWERS_MAX as u64).map(|request| (told(request), request));
        assert!(heard.into_iter().eq(expected), "in order");
        assert_eq!((out.values.bytes, out.values.shared.capacity()), (0, 0), "and nothing is left over");
        out.deliver(done(0, &Arc::from(vec![7; 10 * VALUES_BOUND * BYTES_MAX]))).unwrap();
        assert_eq!(out.values.bytes, 10 * VALUES_BOUND * BYTES_MAX, "one is taken however large it is");
    }

    #[test]
    fn what_waits_behind_a_deferred_answer_counts_also_while_that_is_written() {
        let result: Arc<[u8]> = vec![7; 65_536].into();
        for begun in [false, true] {
            let mut out = outbound();
            out.deliver(done(0, &result)).unwrap();
            if begun {
                assert!(out.next().is_some_and(|bytes| bytes.len() > BYTES_MAX));
                out.written(1);
            }
            let mut before = 0;
            while out.deliver(lost(1)).is_ok() {
                before = out.counted();
                assert!(before <= BYTES_MAX);
            }
            assert!(before > BYTES_MAX / 2, "not before it has to");
            assert_eq!(out.append(&ToClient::Draining), Err(Overflow));
        }
    }

    #[test]
    fn an_answer_that_fits_is_encoded_at_once() {
        let mut out = outbound();
        out.deliver(done(1, &vec![7; 1024].into())).unwrap();
        assert!(out.deferred.is_empty() && out.waiting() > 1024);
    }

    #[test]
    fn a_reader_who_is_always_a_little_behind_is_told_all_and_costs_no_more_than_that() {
        const MESSAGES: u64 = 10_000;
        let mut out = outbound();
        let mut read = Vec::new();
        for request in 0..MESSAGES {
            out.append(&reply::frame(lost(request))).unwrap();
            let all_but_one = out.bytes.len() - 1;
            read.extend_from_slice(&out.bytes[out.written..all_but_one]);
            out.written = all_but_one;
            assert!(out.bytes.capacity() <= 4 * WRITTEN_BYTES_MIN, "{} bytes", out.bytes.capacity());
        }
        read.extend_from_slice(&out.bytes[out.written..]);
        let mut decoder = Decoder::new(FRAME_BYTES_MAX);
        decoder.space().extend_from_slice(&read);
        for expected in 0..MESSAGES {
            let payload = decoder.next_frame().unwrap().expect("nothing is missing");
            let message = ToClient::decode(payload).unwrap().unwrap();
            assert!(matches!(message, ToClient::Lost { request, .. } if request == expected), "{message:?}");
        }
    }
}
