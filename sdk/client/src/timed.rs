//! Timed leases: known by a secret instead of a connection.
//!
//! Owns their names and what their bearer may do. Whoever knows the name, and has the same user id, has the right.

use crate::acquire::forked;
use crate::client::Client;
use crate::command::Command;
use crate::error::{Error, Result};
use crate::lease::{out_of_turn, released};
use crate::slots::Answer;
use sidelock_wire::Secret;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

/// The unguessable name of a timed lease: 32 hexadecimal digits. It *is* the right to renew and release it, so keep it
/// as a password is kept; `Debug` does not show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseId(pub(crate) Secret);

/// The text is no lease's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a lease's name is 32 hexadecimal digits, as `sidelock lock` prints it")]
pub struct NotALeaseId;

/// A lease that lasts for its ttl, whatever becomes of the connection or of this process. Dropping this does nothing.
#[derive(Clone, Debug)]
#[must_use = "nobody else can release it before its ttl is over"]
pub struct TimedLease {
    /// Its name, and the right to it.
    pub id: LeaseId,
    /// What is locked.
    pub key: Arc<str>,
    /// Its fence token; see [`crate::Lease::fence`].
    pub fence: u64,
    /// When it ends unless renewed: a point of `CLOCK_BOOTTIME`, since boot.
    pub deadline: Duration,
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0.0)
    }
}

impl FromStr for LeaseId {
    type Err = NotALeaseId;

    fn from_str(text: &str) -> std::result::Result<LeaseId, NotALeaseId> {
        let well_formed = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = u128::from_str_radix(text, 16).ok().filter(|_| well_formed);
        number.map(|number| LeaseId(Secret(number))).ok_or(NotALeaseId)
    }
}

impl Client {
    /// Makes a timed lease last for `ttl` from now; returns its new deadline, a point of `CLOCK_BOOTTIME` since boot.
    ///
    /// # Errors
    /// [`Error::LeaseLost`] or [`Error::NotFound`] if it is gone, [`Error::NotHeld`] if another user got it.
    pub async fn renew_timed(&self, id: LeaseId, ttl: Duration) -> Result<Duration> {
        let nameless = Arc::from("");
        loop {
            if !self.handle.shared.is_own_process() {
                return Err(forked(&nameless));
            }
            match Command::renew_timed(&self.handle.shared, id.0, ttl).await {
                Answer::Renewed(renewed) => return Ok(Duration::from_nanos(renewed.deadline_ns)),
                Answer::Refused(refused) => return Err(Error::refused(&nameless, refused)),
                Answer::Failed(error) => return Err(error),
                Answer::Interrupted | Answer::Reconnected => {}
                other => return Err(out_of_turn(&nameless, &other)),
            }
        }
    }

    /// Gives a timed lease back.
    ///
    /// # Errors
    /// As [`Client::renew_timed`], and [`Error::OutcomeUnknown`] if the connection broke first.
    pub async fn release_timed(&self, id: LeaseId) -> Result<()> {
        let nameless = Arc::from("");
        if !self.handle.shared.is_own_process() {
            return Err(forked(&nameless));
        }
        loop {
            match Command::release_timed(&self.handle.shared, id.0).await {
                Answer::Reconnected => {}
                answer => return released(&nameless, answer),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_reads_back_and_does_not_show_in_debug() {
        let id = LeaseId(Secret(0x0123_4567_89ab_cdef));
        assert_eq!(id.to_string(), "00000000000000000123456789abcdef");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!(!format!("{id:?}").contains("cdef"));
    }

    #[test]
    fn other_texts_are_no_names() {
        for text in ["", "12", "+0000000000000000123456789abcdef", "g0000000000000000123456789abcdef"] {
            assert_eq!(text.parse::<LeaseId>(), Err(NotALeaseId), "{text}");
        }
    }
}
