//! Leader election: a lease by another name.
//!
//! Owns the words: who has the lock `leader/NAME` leads. Must not know anything that a lock does not.

use crate::client::Client;
use crate::error::Result;
use crate::lease::Lease;
use crate::request::Request;
use sidelock_wire::LostReason;
use std::time::Duration;

/// Before the name of what is led: `sidelock run --leader` and every other SDK use the same key.
const PREFIX: &str = "leader/";

/// An election in which this program may stand. Made by [`Client::leader`].
///
/// ```no_run
/// # async fn f(sl: sidelock_client::Client) -> sidelock_client::Result<()> {
/// loop {
///     let leadership = sl.leader("scheduler").campaign().await?;
///     tokio::select! {
///         () = lead(leadership.term()) => return leadership.resign().await,
///         reason = leadership.lost() => eprintln!("no longer the leader ({reason}); standing again"),
///     }
/// }
/// # }
/// # async fn lead(term: u64) {}
/// ```
#[derive(Clone, Debug)]
#[must_use = "it does nothing until it campaigns"]
pub struct Leader {
    request: Request,
}

/// Being the leader, until it is given up or lost. Dropping it resigns.
#[derive(Debug)]
#[must_use = "a leadership that is dropped is resigned at once"]
pub struct Leadership {
    lease: Lease,
}

impl Client {
    /// The election of who leads `name`: its lock is `leader/NAME`.
    pub fn leader(&self, name: impl AsRef<str>) -> Leader {
        Leader { request: self.lock(format!("{PREFIX}{}", name.as_ref())) }
    }
}

impl Leader {
    /// Campaigns for so long at most. Without this: the client's `default_wait`.
    pub fn wait(self, wait: Duration) -> Leader {
        Leader { request: self.request.wait(wait) }
    }

    /// Leads for so long at most, so that the turn goes round.
    pub fn max_term(self, max_term: Duration) -> Leader {
        Leader { request: self.request.max_hold(max_term) }
    }

    /// Waits to be elected: in the order of arrival. Dropping the future withdraws.
    ///
    /// # Errors
    /// As [`Request::acquire`].
    pub async fn campaign(&self) -> Result<Leadership> {
        Ok(Leadership { lease: self.request.acquire().await? })
    }

    /// Leads if nobody else does, or stops within the wait that was said; else `None`.
    ///
    /// # Errors
    /// As [`Request::try_acquire`].
    pub async fn try_campaign(&self) -> Result<Option<Leadership>> {
        Ok(self.request.try_acquire().await?.map(|lease| Leadership { lease }))
    }
}

impl Leadership {
    /// Rises with every leader of this name: give it along with whatever is ordered, and let nobody obey a lower one than it
    /// has seen. It is the lease's fence.
    pub fn term(&self) -> u64 {
        self.lease.fence()
    }

    /// Whether it stands, as far as this host's clock can tell. A look, no question to anybody.
    pub fn is_valid(&self) -> bool {
        self.lease.is_valid()
    }

    /// Waits until it is lost, and says why. Step down then: somebody else may lead already.
    pub async fn lost(&self) -> LostReason {
        self.lease.lost().await
    }

    /// Steps down; the next candidate leads.
    ///
    /// # Errors
    /// As [`Lease::release`].
    pub async fn resign(self) -> Result<()> {
        self.lease.release().await
    }
}
