//! Leaving a policy alone that fails again and again.
//!
//! Owns when. A guest that uses its whole deadline and then fails costs far more than one that answers, and is asked in vain.
//! After [`FAILURES_MAX`] failures in a row it rests, for a moment at first and for longer each time; then one request is put
//! to it, and its answer decides. Must not know what happens to requests meanwhile.

use std::time::{Duration, Instant};

/// Failures in a row before a rest.
pub(crate) const FAILURES_MAX: u32 = 8;
/// The first rest, and the longest. Where calls may take long, a rest is longer than one: a trial would never end before the next.
const REST_MIN: Duration = Duration::from_millis(100);
const REST_MAX: Duration = Duration::from_secs(30);
const REST_CALLS: u32 = 2;

/// See the module.
#[derive(Debug)]
pub(crate) struct Breaker {
    rest_min: Duration,
    failures: u32,
    rest: Option<Rest>,
}

/// That a policy may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leave {
    /// It is awake.
    AsOthers,
    /// It was at rest, and the answer to this one decides whether it stays so.
    Trial,
}

#[derive(Debug)]
struct Rest {
    until: Instant,
    length: Duration,
}

impl Breaker {
    /// Of a policy whose calls may take so long.
    pub(crate) fn of_calls(longest: Duration) -> Breaker {
        Breaker { rest_min: REST_MIN.max(longest * REST_CALLS), failures: 0, rest: None }
    }

    /// Whether the policy may be asked now. If it was at rest, the one that is told yes is the only one until its answer is in,
    /// or until another rest is over: that answer may never come.
    pub(crate) fn may_ask(&mut self, now: Instant) -> Option<Leave> {
        match &mut self.rest {
            None => Some(Leave::AsOthers),
            Some(rest) if now < rest.until => None,
            Some(rest) => {
                rest.until = now + rest.length;
                Some(Leave::Trial)
            }
        }
    }

    /// Whether one that was told yes may ask now, after it waited for its turn: others may have failed meanwhile.
    pub(crate) fn still_may(&self, leave: Leave, now: Instant) -> bool {
        leave == Leave::Trial || !self.rests(now)
    }

    /// It answered.
    pub(crate) fn answered(&mut self) {
        (self.failures, self.rest) = (0, None);
    }

    /// It failed. True if it rests from now on, and did not before.
    pub(crate) fn failed(&mut self, now: Instant) -> bool {
        self.failures = self.failures.saturating_add(1);
        if self.failures < FAILURES_MAX {
            return false;
        }
        let longer = |rest: &Rest| (rest.length * 2).min(REST_MAX.max(self.rest_min));
        let length = self.rest.as_ref().map_or(self.rest_min, longer);
        self.rest.replace(Rest { until: now + length, length }).is_none()
    }

    /// Failures since it last answered.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// Whether it rests.
    pub(crate) fn rests(&self, now: Instant) -> bool {
        self.rest.as_ref().is_some_and(|rest| now < rest.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_in_a_row_bring_rests_that_grow_and_an_answer_ends_them() {
        let mut breaker = Breaker::of_calls(Duration::from_millis(2));
        let mut now = Instant::now();
        for _ in 1..FAILURES_MAX {
            assert!(breaker.may_ask(now).is_some() && !breaker.failed(now));
        }
        breaker.answered();
        for n in 1..=FAILURES_MAX {
            assert!(breaker.may_ask(now).is_some(), "not in a row with those before");
            assert_eq!(breaker.failed(now), n == FAILURES_MAX);
        }
        let mut rest = REST_MIN;
        while rest < REST_MAX * 2 {
            let length = rest.min(REST_MAX);
            assert_eq!(breaker.may_ask(now + length - Duration::from_nanos(1)), None, "{length:?}");
            now += length;
            assert_eq!(breaker.may_ask(now), Some(Leave::Trial), "one is asked after {length:?}");
            assert_eq!(breaker.may_ask(now), None, "and only one");
            assert!(breaker.still_may(Leave::Trial, now) && !breaker.still_may(Leave::AsOthers, now));
            assert!(!breaker.failed(now), "it rested before");
            rest *= 2;
        }
        assert!(breaker.rests(now));
        breaker.answered();
        assert_eq!((breaker.may_ask(now), breaker.failures()), (Some(Leave::AsOthers), 0));
        assert!(!breaker.rests(now));
    }

    #[test]
    fn a_trial_whose_end_is_never_told_is_followed_by_another() {
        let mut breaker = Breaker::of_calls(Duration::from_millis(2));
        let now = Instant::now();
        for _ in 0..FAILURES_MAX {
            breaker.failed(now);
        }
        assert!(breaker.may_ask(now + REST_MIN).is_some() && breaker.may_ask(now + REST_MIN).is_none());
        assert!(breaker.may_ask(now + REST_MIN * 2).is_some());
    }

    #[test]
    fn a_rest_is_longer_than_the_longest_call() {
        let deadline = Duration::from_secs(10);
        let mut breaker = Breaker::of_calls(deadline);
        let now = Instant::now();
        assert!((0..FAILURES_MAX).any(|_| breaker.failed(now)));
        assert!(breaker.rests(now + deadline) && breaker.may_ask(now + deadline).is_none());
        let trial = now + deadline * REST_CALLS;
        assert_eq!(breaker.may_ask(trial), Some(Leave::Trial));
        assert_eq!(breaker.may_ask(trial + deadline), None, "the trial may still be on its way");
    }
}
