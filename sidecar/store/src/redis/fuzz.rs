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

/// Reads what Redis answered to a pipeline of these calls: what became of each that is settled, and those that will be
/// sent again. Nothing if `stream` does not have an answer, as RESP, for each request of the pipeline.
pub fn answers(
    calls: &[Call],
    again: bool,
    mut stream: &[u8],
) -> Option<(Vec<(CallId, Outcome)>, Vec<Call>)> {
    let turn = Turn { calls: calls.into(), reload: false, again };
    let mut parser = Parser::new();
    let values = (0..turn.requests()).map(|_| parser.parse_value(&mut stream).ok()).collect::<Option<_>>()?;
    let answered = turn.read(values);
    Some((answered.outcomes, answered.again))
}
