//! What tests hold on to: bytes of Redis as the store reads them, without a Redis; and the script as a program on a clock
//! that stands still.
//!
//! Owns nothing and decides nothing: it makes reachable what is private, for `tests/fuzz` and for the tests of exact
//! instants. No release has the feature that compiles this.

use super::codec::{self, Answer};
use super::pipeline::Pipeline;
use super::script::{STRICT_TURN, TURN};
use super::strict;
use crate::strict::Terms;
use redis::Parser;
use sidelock_engine::StoreTime;
use sidelock_engine::store::{Call, CallId, Op, Outcome, Push, Reply};

/// How the script reads the clock, once.
const CLOCK: &str = "redis.call('TIME')";

/// The script.
pub fn program() -> String {
    TURN.into()
}

/// That of a strict store.
pub fn strict_program() -> String {
    STRICT_TURN.into()
}

/// A script on a clock that stands still: behind its arguments stands the instant at which it runs, see [`instant`]. It is the
/// same text for all instants, so that Redis compiles it once.
///
/// # Panics
/// If it does not read the clock exactly once.
pub fn stopped(program: &str) -> String {
    let (before, after) = program.split_once(CLOCK).expect("the script reads the clock");
    assert!(!after.contains(CLOCK), "the script reads the clock twice");
    format!("{before}{{ table.remove(ARGV), table.remove(ARGV) }}{after}")
}

/// An instant as the last arguments of a stopped program, which takes the seconds first.
pub fn instant(now: StoreTime) -> [Vec<u8>; 2] {
    [now.0 % 1_000_000, now.0 / 1_000_000].map(|part| part.to_string().into_bytes())
}

/// An operation as the script's argument.
pub fn argument(op: &Op) -> Vec<u8> {
    codec::argument(op)
}

/// An operation as these terms allow it, and the terms, as the arguments of a strict store's script. However many replicas there
/// are, it runs.
pub fn strict_arguments(terms: &Terms, op: &Op) -> [Vec<u8>; 2] {
    [codec::argument(&terms.bound(op)), strict::argument(terms, None)]
}

/// What the script answered to it; nothing if the record can not be read.
pub fn reply(answer: &[u8]) -> Option<Reply> {
    match codec::answer(answer)? {
        Answer::Reply(reply) => Some(reply),
        Answer::Fault(_) => None,
    }
}

/// Reads a message of the inbox; nothing if it is none of ours.
pub fn push(message: &[u8]) -> Option<Push> {
    codec::push(message)
}

/// What Redis' answers to a pipeline say.
pub struct Answers {
    /// What became of calls.
    pub outcomes: Vec<(CallId, Outcome)>,
    /// Those that did not run and will be sent again.
    pub again: Vec<Call>,
}

/// Reads the answers to a pipeline of these calls. Nothing if `stream` does not have one, as RESP, for each request of it.
pub fn answers(calls: &[Call], again: bool, mut stream: &[u8]) -> Option<Answers> {
    let pipeline = Pipeline { calls: calls.into(), again, ..Pipeline::default() };
    let mut parser = Parser::new();
    let values =
        (0..pipeline.requests()).map(|_| parser.parse_value(&mut stream).ok()).collect::<Option<_>>()?;
    let answered = pipeline.read(values);
    Some(Answers { outcomes: answered.outcomes, again: answered.again })
}
