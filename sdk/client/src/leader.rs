//! Leader election: a lease by another name.
//!
//! Owns the words: who has the lock `leader/NAME` leads. Must not know anything that a lock does not.

use crate::client::Client;
use crate::error::Result;
use crate::holder::Holder;
use crate::lease::Lease;
use crate::request::Request;
use sidelock_wire::LostReason;
use std::sync::Arc;
use std::time::Duration;

/// Before the name of what is led: `sidelock run --leader` and every other SDK use the same key.
const PREFIX: &str = "leader/";

/// Between two looks of who looks on: no store tells when a key changes hands.
const LOOK_EVERY: Duration = Duration::from_secs(1);

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
    client: Client,
    name: Arc<str>,
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
        let name: Arc<str> = format!("{PREFIX}{}", name.as_ref()).into();
        Leader { client: self.clone(), request: self.lock(&name), name }
    }
}

impl Leader {
    /// The key of its lock: whoever has that leads.
    pub fn key(&self) -> &str {
        &self.name
    }

    /// Campaigns for so long at most. Without this: the client's `default_wait`.
    pub fn wait(self, wait: Duration) -> Leader {
        Leader { request: self.request.wait(wait), ..self }
    }

    /// Leads for so long at most, so that the turn goes round.
    pub fn max_term(self, max_term: Duration) -> Leader {
        Leader { request: self.request.max_hold(max_term), ..self }
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

/// Who leads, seen from outside. Made by [`Leader::observe`].
#[derive(Clone, Debug)]
#[must_use = "it does nothing until it is asked"]
pub struct Observer {
    client: Client,
    name: Arc<str>,
    /// What was told last, if anything was.
    told: Option<Option<Told>>,
}

/// Which leader was told: the sidecar, and the term if that sidecar said it.
type Told = (u128, Option<u64>);

impl Leader {
    /// Looks on without standing.
    pub fn observe(&self) -> Observer {
        Observer { client: self.client.clone(), name: self.name.clone(), told: None }
    }
}

impl Observer {
    /// Who leads now; `None`: nobody. A leader at a sidecar that does not answer is known by its sidecar only: see
    /// [`Holder::known`].
    ///
    /// # Errors
    /// As [`Client::holders`].
    pub async fn current(&self) -> Result<Option<Holder>> {
        Ok(self.client.holders(&self.name).await?.into_iter().next())
    }

    /// Waits until it is another leader, another term or nobody, and says who: the first time, at once. It looks once a second,
    /// so a term between two looks is not seen. A leader that was told without its name is told again when that is known.
    ///
    /// # Errors
    /// As [`Client::holders`].
    pub async fn changed(&mut self) -> Result<Option<Holder>> {
        loop {
            let leader = self.current().await?;
            let term = leader.as_ref().map(|leader| (leader.sidecar, leader.fence));
            if self.told.is_none_or(|told| is_news(told, term)) {
                self.told = Some(term);
                return Ok(leader);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// A sidecar that does not answer for a while says nothing new of its leader.
fn is_news(told: Option<Told>, now: Option<Told>) -> bool {
    match (told, now) {
        (Some((before, _)), Some((sidecar, None))) => before != sidecar,
        (told, now) => told != now,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_leader_another_term_or_nobody_is_news_and_silence_is_not() {
        let (first, second, unknown) = (Some((1, Some(7))), Some((1, Some(8))), Some((1, None)));
        for (told, now, news) in [
            (None, None, false),
            (None, first, true),
            (first, None, true),
            (first, first, false),
            (first, second, true),
            (first, Some((2, Some(7))), true),
            (first, unknown, false),
            (unknown, unknown, false),
            (unknown, first, true),
            (first, Some((2, None)), true),
            (None, unknown, true),
            (unknown, None, true),
        ] {
            assert_eq!(is_news(told, now), news, "{told:?} then {now:?}");
        }
    }
}
