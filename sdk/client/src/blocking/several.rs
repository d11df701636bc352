//! Several keys at once, for programs without async; see [`crate::RequestAll`] for what is promised.

use super::{Client, Thread};
use crate::LostReason;
use crate::error::Result;
use std::sync::Arc;
use std::time::Duration;

/// A request for several keys; see [`crate::RequestAll`].
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until it is acquired"]
pub struct RequestAll {
    request: crate::RequestAll,
    thread: Arc<Thread>,
}

/// Leases of several keys; see [`crate::LeaseAll`]. Dropping this gives them back, without waiting for the answers.
#[derive(Debug)]
#[must_use = "leases that are dropped are released at once"]
pub struct LeaseAll {
    leases: crate::LeaseAll,
    thread: Arc<Thread>,
}

impl Client {
    /// See [`crate::Client::lock_all`].
    pub fn lock_all<K: AsRef<str>>(&self, keys: impl IntoIterator<Item = K>) -> RequestAll {
        RequestAll { request: self.client.lock_all(keys), thread: self.thread.clone() }
    }
}

impl RequestAll {
    /// See [`crate::RequestAll::shared`].
    pub fn shared(self) -> RequestAll {
        RequestAll { request: self.request.shared(), ..self }
    }

    /// See [`crate::RequestAll::wait`].
    pub fn wait(self, wait: Duration) -> RequestAll {
        RequestAll { request: self.request.wait(wait), ..self }
    }

    /// See [`crate::RequestAll::wait_forever`].
    pub fn wait_forever(self) -> RequestAll {
        RequestAll { request: self.request.wait_forever(), ..self }
    }

    /// See [`crate::RequestAll::ttl`].
    pub fn ttl(self, ttl: Duration) -> RequestAll {
        RequestAll { request: self.request.ttl(ttl), ..self }
    }

    /// See [`crate::RequestAll::max_hold`].
    pub fn max_hold(self, max_hold: Duration) -> RequestAll {
        RequestAll { request: self.request.max_hold(max_hold), ..self }
    }

    /// See [`crate::RequestAll::priority`].
    pub fn priority(self, priority: i32) -> RequestAll {
        RequestAll { request: self.request.priority(priority), ..self }
    }

    /// See [`crate::RequestAll::owner`].
    pub fn owner(self, owner: impl AsRef<str>) -> RequestAll {
        RequestAll { request: self.request.owner(owner), ..self }
    }

    /// See [`crate::RequestAll::acquire`].
    ///
    /// # Errors
    /// As there.
    pub fn acquire(&self) -> Result<LeaseAll> {
        let leases = self.thread.wait(self.request.acquire())?;
        Ok(LeaseAll { leases, thread: self.thread.clone() })
    }

    /// See [`crate::RequestAll::try_acquire`].
    ///
    /// # Errors
    /// As there.
    pub fn try_acquire(&self) -> Result<Option<LeaseAll>> {
        let leases = self.thread.wait(self.request.try_acquire())?;
        Ok(leases.map(|leases| LeaseAll { leases, thread: self.thread.clone() }))
    }
}

impl LeaseAll {
    /// See [`crate::LeaseAll::keys`].
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.leases.keys()
    }

    /// See [`crate::LeaseAll::fences`].
    pub fn fences(&self) -> impl Iterator<Item = (&str, u64)> {
        self.leases.fences()
    }

    /// See [`crate::LeaseAll::fence`].
    pub fn fence(&self, key: &str) -> Option<u64> {
        self.leases.fence(key)
    }

    /// See [`crate::LeaseAll::deadline`].
    pub fn deadline(&self) -> Duration {
        self.leases.deadline()
    }

    /// See [`crate::LeaseAll::is_valid`].
    pub fn is_valid(&self) -> bool {
        self.leases.is_valid()
    }

    /// See [`crate::LeaseAll::renew`].
    ///
    /// # Errors
    /// As there.
    pub fn renew(&self, ttl: Duration) -> Result<()> {
        self.thread.wait(self.leases.renew(ttl))
    }

    /// See [`crate::LeaseAll::lost`]: blocks until then.
    pub fn lost(&self) -> LostReason {
        self.thread.wait(self.leases.lost())
    }

    /// See [`crate::LeaseAll::release`].
    ///
    /// # Errors
    /// As there.
    pub fn release(self) -> Result<()> {
        let LeaseAll { leases, thread } = self;
        thread.wait(leases.release())
    }
}
