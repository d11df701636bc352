//! Calls that wait for the next pipeline.
//!
//! Owns which calls go together and in which order (P13). Must not know connections.

use sidelock_engine::store::{Call, Op};
use std::collections::VecDeque;

/// Renewals in one pipeline: what is asked meanwhile never waits behind more (P13).
const RENEWALS_MAX: usize = 256;
/// Calls in one pipeline. Redis works about 5 ms on as many, far less than the response timeout.
const CALLS_MAX: usize = 2048;
/// Registers in one pipeline: with values of the largest size, 8 MiB of requests or answers. Redis hangs up on a connection
/// with an inbox that leaves 32 MiB unread.
const REGISTERS_MAX: usize = 128;

/// What gathers while pipelines are in flight.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    calls: VecDeque<Call>,
    renewals: VecDeque<Call>,
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

    pub(super) fn is_empty(&self) -> bool {
        self.calls.is_empty() && self.renewals.is_empty()
    }

    /// The calls of the next pipeline, in their order; renewals behind all others. That may turn the order of a renewal
    /// and a later call on the same key around: a renewal only extends what stands, so it then finds nothing to do.
    pub(super) fn take(&mut self) -> Vec<Call> {
        let of_registers = |call: &Call| matches!(call.op, Op::ReadRegister(_) | Op::WriteRegister(_));
        let is_register =
            self.calls.iter().take(CALLS_MAX).enumerate().filter(|(_, call)| of_registers(call));
        let too_many = is_register.map(|(place, _)| place).nth(REGISTERS_MAX);
        let calls = too_many.unwrap_or(self.calls.len().min(CALLS_MAX));
        let renewals = if calls < self.calls.len() { 0 } else { self.renewals.len().min(RENEWALS_MAX) };
        self.calls.drain(..calls).chain(self.renewals.drain(..renewals)).collect()
    }

    /// Everything, because none of it will be sent.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = Call> + '_ {
        self.calls.drain(..).chain(self.renewals.drain(..))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sidelock_engine::store::{CallId, Renew, Tell};
    use sidelock_engine::{AskId, Incarnation, Key};
    use std::time::Duration;

    const ID: AskId = AskId { incarnation: Incarnation(1), seq: 1 };

    fn tell(id: u64) -> Call {
        Call { id: CallId(id), op: Op::Tell(Tell { key: Key::new("k").unwrap(), ask: ID, free_in: None }) }
    }

    fn renewal(id: u64) -> Call {
        let key = Key::new("k").unwrap();
        let renew = Renew { key, tenure: ID, ttl: Duration::from_secs(10), floor: 0, top_up: false };
        Call { id: CallId(id), op: Op::Renew(renew) }
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
    fn a_pipeline_has_at_most_256_renewals() {
        let mut outbox = Outbox::default();
        outbox.extend((0..300).map(renewal).collect());
        assert_eq!(outbox.take().len(), 256);
        outbox.extend(vec![tell(300)]);
        assert_eq!(ids(outbox.take())[0], 300, "an ask does not wait behind the remaining renewals");
        assert!(outbox.is_empty());
    }

    #[test]
    fn a_pipeline_has_at_most_2048_calls_and_no_renewals_before_the_rest() {
        let mut outbox = Outbox::default();
        outbox.extend(vec![renewal(9000)]);
        outbox.extend((0..3000).map(tell).collect());
        assert_eq!(ids(outbox.take()), (0..2048).collect::<Vec<_>>());
        assert_eq!(ids(outbox.take()).last(), Some(&9000));
    }
}
