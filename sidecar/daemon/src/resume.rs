//! Sessions that the sidecar cut off and that may come back (P6).
//!
//! Owns their secrets, for as long as a lease of theirs can last. Must not know leases: the engine keeps those.

use crate::identity::draw;
use sidelock_engine::{SessionId, Time};
use sidelock_wire::{Resume, Secret};
use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

/// See the module.
#[derive(Debug)]
pub(crate) struct Resumable {
    /// A lease that nobody extends is over after this.
    keep: Duration,
    sessions: RefCell<HashMap<SessionId, Entry>>,
}

#[derive(Debug)]
struct Entry {
    secret: Secret,
    uid: u32,
    since: Time,
}

impl Resumable {
    /// Remembers for `keep`: the tenures' time to live.
    pub(crate) fn new(keep: Duration) -> Resumable {
        Resumable { keep, sessions: RefCell::default() }
    }

    /// A new session's secret.
    pub(crate) fn secret(&self) -> Secret {
        Secret(draw())
    }

    /// A session was cut off at `now`.
    pub(crate) fn keep(&self, now: Time, session: SessionId, secret: Secret, uid: u32) {
        let mut sessions = self.sessions.borrow_mut();
        sessions.retain(|_, entry| now.since(entry.since) < self.keep);
        sessions.insert(session, Entry { secret, uid, since: now });
    }

    /// Takes a session out if `wanted` is one, its secret is right and the user is the same. Works once.
    pub(crate) fn take(&self, now: Time, wanted: Resume, uid: u32) -> Option<SessionId> {
        let session = SessionId(wanted.session);
        let mut sessions = self.sessions.borrow_mut();
        let entry = sessions.get(&session)?;
        let right = entry.secret == wanted.secret && entry.uid == uid && now.since(entry.since) < self.keep;
        right.then(|| {
            sessions.remove(&session);
            session
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_secret_and_user_resume_and_only_once_and_in_time() {
        let resumable = Resumable::new(Duration::from_secs(10));
        let secret = resumable.secret();
        let (start, soon, late) = (Time(0), Time(1_000_000_000), Time(10_000_000_000));
        let resume = |secret| Resume { session: 7, secret };
        resumable.keep(start, SessionId(7), secret, 1000);
        assert_eq!(resumable.take(soon, resume(resumable.secret()), 1000), None, "a wrong secret");
        assert_eq!(resumable.take(soon, resume(secret), 1001), None, "another user");
        assert_eq!(resumable.take(soon, resume(secret), 1000), Some(SessionId(7)));
        assert_eq!(resumable.take(soon, resume(secret), 1000), None, "twice");
        resumable.keep(start, SessionId(7), secret, 1000);
        assert_eq!(resumable.take(late, resume(secret), 1000), None, "too late");
        resumable.keep(late, SessionId(8), secret, 1000);
        assert_eq!(resumable.sessions.borrow().len(), 1, "what is over is forgotten");
    }
}
