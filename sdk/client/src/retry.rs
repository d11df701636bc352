//! Trying again: what may pass is tried a few times, later and later; what will not is told at once.
//!
//! Owns the pauses. Which errors may pass is the errors' own knowledge ([`Error::remedy`]).

use crate::error::{Error, Remedy, Result};
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;
use tokio::time::Instant;

/// How an operation is tried again.
///
/// The operation begins anew each time, so it has to be one that may: take the locks inside of it, and guard what it writes
/// with their fences. What can not pass (a wrong request, a policy's no, an outcome that is not known) is returned at once,
/// and so is success.
///
/// ```no_run
/// # async fn f(sl: sidelock_client::Client) -> sidelock_client::Result<()> {
/// use sidelock_client::Retry;
/// use std::time::Duration;
/// let retry = Retry::new().attempts(4).deadline(Duration::from_secs(20));
/// let fence = retry
///     .run(|| async {
///         let lease = sl.lock("orders/42").wait(Duration::from_secs(1)).await?;
///         // … change order 42 …
///         Ok(lease.fence())
///     })
///     .await?;
/// # drop(fence); Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[must_use = "it does nothing until it runs something"]
pub struct Retry {
    attempts: u32,
    delay: Duration,
    delay_max: Duration,
    factor: f64,
    jitter: f64,
    deadline: Option<Duration>,
}

impl Default for Retry {
    fn default() -> Retry {
        Retry::new()
    }
}

impl Retry {
    /// Five attempts; pauses of 100 ms, 200 ms and so on up to 10 s, each shortened by up to a half at random; no deadline.
    pub fn new() -> Retry {
        Retry {
            attempts: 5,
            delay: Duration::from_millis(100),
            delay_max: Duration::from_secs(10),
            factor: 2.0,
            jitter: 0.5,
            deadline: None,
        }
    }

    /// Tries so often at most, the first time included; 0 counts as 1.
    pub fn attempts(mut self, attempts: u32) -> Retry {
        self.attempts = attempts.max(1);
        self
    }

    /// Waits so long before the second attempt. A sidecar that knows when to come back is believed if that is later.
    pub fn delay(mut self, delay: Duration) -> Retry {
        self.delay = delay;
        self
    }

    /// Never waits longer than this between two attempts, unless the sidecar says so.
    pub fn delay_max(mut self, delay_max: Duration) -> Retry {
        self.delay_max = delay_max;
        self
    }

    /// Every pause is so many times the one before; below 1 counts as 1.
    pub fn factor(mut self, factor: f64) -> Retry {
        self.factor = if factor > 1.0 { factor } else { 1.0 };
        self
    }

    /// Shortens every pause by up to this part of it, 0 to 1, at random: callers that failed together do not come back
    /// together.
    pub fn jitter(mut self, jitter: f64) -> Retry {
        self.jitter = if jitter > 0.0 { jitter.min(1.0) } else { 0.0 };
        self
    }

    /// Begins no attempt later than this after the first. An attempt under way is not cut off: give it a wait.
    pub fn deadline(mut self, deadline: Duration) -> Retry {
        self.deadline = Some(deadline);
        self
    }

    /// Runs `operation` until it succeeds, fails for good, or was tried often or long enough.
    ///
    /// # Errors
    /// That of the last attempt.
    pub async fn run<T, F, Fut>(&self, mut operation: F) -> Result<T>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<T>>,
    {
        let start = Instant::now();
        let mut attempt = 1;
        loop {
            let error = match operation().await {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            match self.pause(attempt, &error, start.elapsed()) {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return Err(error),
            }
            attempt += 1;
        }
    }

    /// The same for programs without async: pauses block the thread.
    ///
    /// # Errors
    /// That of the last attempt.
    pub fn run_blocking<T>(&self, mut operation: impl FnMut() -> Result<T>) -> Result<T> {
        let start = std::time::Instant::now();
        let mut attempt = 1;
        loop {
            let error = match operation() {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            match self.pause(attempt, &error, start.elapsed()) {
                Some(pause) => std::thread::sleep(pause),
                None => return Err(error),
            }
            attempt += 1;
        }
    }

    /// How long to wait after the attempt of this number, if there is to be another one.
    fn pause(&self, attempt: u32, error: &Error, elapsed: Duration) -> Option<Duration> {
        if attempt >= self.attempts {
            return None;
        }
        let told = match error.remedy() {
            Remedy::Never => return None,
            Remedy::Now | Remedy::Reconnect => Duration::ZERO,
            Remedy::After(pause) => pause,
        };
        let pause = self.backoff(attempt, random()).max(told);
        match self.deadline {
            Some(deadline) if elapsed.saturating_add(pause) > deadline => None,
            _ => Some(pause),
        }
    }

    /// The pause after the attempt of this number; `random` is from 0 to 1.
    fn backoff(&self, attempt: u32, random: f64) -> Duration {
        // Finite, so that no pause stays none.
        let growth = self.factor.powi(i32::try_from(attempt - 1).unwrap_or(i32::MAX)).min(f64::MAX);
        let grown = Duration::try_from_secs_f64(self.delay.as_secs_f64() * growth);
        let pause = grown.unwrap_or(self.delay_max).min(self.delay_max);
        let shorter = Duration::try_from_secs_f64(pause.as_secs_f64() * self.jitter * random);
        pause.saturating_sub(shorter.unwrap_or(pause))
    }
}

/// Any number from 0 to 1: the standard library's hashers are seeded at random, which is random enough to spread callers.
fn random() -> f64 {
    RandomState::new().hash_one(0) as f64 / u64::MAX as f64
}

#[cfg(test)]
#[path = "tests/retry.rs"]
mod tests;
