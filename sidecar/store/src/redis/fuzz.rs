//! What the fuzz targets hold on to: bytes of Redis as the store reads them, without a Redis.
//!
//! Owns nothing and decides nothing: it makes reachable what is private, for `tests/fuzz`. No release has the feature that
//! compiles this.

use super::codec;
use super::turn::Turn;
use redis::Parser;
use sidelock_engine::store::{Call, CallId, Outcome, Push};

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
    let turn = Turn { calls: calls.into(), reload: false, again };
    let mut parser = Parser::new();
    let values = (0..turn.requests()).map(|_| parser.parse_value(&mut stream).ok()).collect::<Option<_>>()?;
    let answered = turn.read(values);
    Some(Answers { outcomes: answered.outcomes, again: answered.again })
}
