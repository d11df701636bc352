//! Reentrancy: an owner asks again, with leave, for the key that it holds (P16).
//!
//! Owns the handles of a lease beyond its first. A handle is one more name of the same lease, with the same fence, told at
//! once whoever waits: who holds waits for nobody. Its life is the lease's: its own `ttl`, `max_hold` and `wait` mean
//! nothing. The lease ends when its last handle is released, or for all of them at once. Must not know how a lease is
//! granted, nor what else ends it.

use crate::effect::{Grant, Path, Refusal, Reply};
use crate::ended::{EndedName, Ending};
use crate::engine::Engine;
use crate::input::{Acquire, LeaseName, Life};
use crate::lease::Lease;
use crate::model::{LeaseSecret, Mode, RequestId, SessionId, Space, Time};
use crate::mutant::Mutant;
use crate::owners::OwnerId;
use crate::session::Slot;
use std::time::Duration;
use thin_vec::ThinVec;

/// Handles of one lease beyond its first. Who enters so often without leaving has lost count.
pub const INNER_HANDLES_MAX: u32 = 1024;

/// A name of a lease: the acquire that got it, and for a timed one its secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Handle {
    pub(crate) session: SessionId,
    pub(crate) request: RequestId,
    pub(crate) secret: Option<LeaseSecret>,
}

impl Handle {
    fn of(acquire: &Acquire) -> Handle {
        let secret = match acquire.life {
            Life::Timed { secret, .. } => Some(secret),
            Life::Session { .. } => None,
        };
        Handle { session: acquire.session, request: acquire.request, secret }
    }

    /// What its request number stands for in its session.
    pub(crate) fn slot(&self, lease: usize) -> Slot {
        if self.secret.is_some() { Slot::Timed(lease) } else { Slot::Held(lease) }
    }

    fn is(&self, speaker: SessionId, name: LeaseName) -> bool {
        match name {
            LeaseName::Session(request) => (self.session, self.request) == (speaker, request),
            LeaseName::Timed(secret) => self.secret == Some(secret),
        }
    }
}

impl Engine {
    /// An acquire that may be nested: whether its owner holds the key, and so got a handle. If not, it is an acquire like
    /// any other.
    pub(crate) fn reenter(&mut self, now: Time, acquire: &Acquire) -> Result<bool, Refusal> {
        // Also where a sidecar is going: it lets holders finish what they do, and this takes nothing more.
        self.admit_number(acquire.session, acquire.request)?;
        if acquire.key.space() != Space::Lock {
            return Err(Refusal::BadRequest("`reentrant`: only a lock is held more than once by one owner"));
        }
        let owner = self.owner_of(acquire)?;
        let Some(index) = owner.and_then(|owner| self.lease_to_reenter(&owner, acquire)) else {
            return Ok(false);
        };
        let handle = Handle::of(acquire);
        self.admit_handle(index, handle, acquire.mode)?;
        self.add_handle(index, handle);
        let grant = self.handle_granted(now, index, handle);
        self.reply(handle.session, handle.request, Reply::Granted(grant));
        Ok(true)
    }

    /// Whether this acquire would be one more handle of a lease that its owner has.
    pub fn reenters(&self, acquire: &Acquire) -> bool {
        let owner = self.owner_of(acquire).ok().flatten().filter(|_| acquire.reentrant);
        owner.is_some_and(|owner| self.lease_to_reenter(&owner, acquire).is_some())
    }

    /// The lease of the key that the owner has: the oldest, should it have several shares. Permits add up, they are not
    /// entered again.
    fn lease_to_reenter(&self, owner: &OwnerId, acquire: &Acquire) -> Option<usize> {
        let owner = self.owners.find(owner)?;
        let resource = self.resource_of(&acquire.key)?;
        let is_lock = |mode| !matches!(mode, Mode::Permits { .. });
        let own = self.held_there(owner, resource);
        // What a group has merely reserved is no lease yet.
        let own = own.filter(|&lease| self.leases[lease].group().is_none());
        let own = own.filter(|&lease| is_lock(acquire.mode) && is_lock(self.leases[lease].mode));
        own.min_by_key(|&lease| self.leases[lease].fence)
    }

    fn admit_handle(&self, index: usize, handle: Handle, mode: Mode) -> Result<(), Refusal> {
        let lease = &self.leases[index];
        if (lease.mode, mode) == (Mode::Shared, Mode::Exclusive) {
            let what = "its owner has a share of the key: upgrade that lease instead of asking for all of it";
            return Err(Refusal::NotUpgradable(what));
        }
        let lives_alike = match handle.secret {
            Some(_) => lease.is_timed(),
            None => !lease.is_timed() && lease.session == handle.session,
        };
        if !lives_alike {
            return Err(Refusal::BadRequest(
                "`reentrant`: the owner's lease lives in another way, timed or with another connection: ask for it again as it was asked for",
            ));
        }
        if handle.secret.is_some_and(|secret| self.timed.contains_key(&secret)) {
            return Err(Refusal::BadRequest("this lease id is in use: draw a random one"));
        }
        match lease.inner_handles().len() < INNER_HANDLES_MAX as usize {
            true => Ok(()),
            false => Err(Refusal::TooDeep { limit: INNER_HANDLES_MAX }),
        }
    }

    fn add_handle(&mut self, index: usize, handle: Handle) {
        let lease = &mut self.leases[index];
        // From here on somebody relies on what it is: an upgrade is not taken back any more.
        lease.take_share();
        lease.terms().inner.push(handle);
        if let Some(secret) = handle.secret {
            self.timed.insert(secret, index);
        }
        if let Some(session) = self.sessions.get_mut(&handle.session) {
            session.enter(handle.request, handle.slot(index));
        }
    }

    /// The lease as it stands, under its new name.
    fn handle_granted(&mut self, now: Time, index: usize, handle: Handle) -> Grant {
        let lease = &mut self.leases[index];
        let r = &self.resources[lease.resource];
        if handle.secret.is_none()
            && let Some(session) = self.sessions.get_mut(&handle.session)
        {
            let confirmed = r.tenure.as_ref().map_or(now, |tenure| tenure.deadline);
            lease.told = lease.told.max(session.tellable(confirmed.min(lease.cap)));
        }
        Grant {
            key: r.key.clone(),
            mode: lease.mode,
            fence: lease.fence,
            deadline: lease.told,
            cap: (lease.cap < Time::MAX).then_some(lease.cap),
            secret: handle.secret,
            path: Path::Retained,
            waited: Duration::ZERO,
        }
    }

    /// One of several handles is given back: the lease stays, by another name if that was its first. `false`: there is no
    /// other, it is the lease that is given back.
    pub(crate) fn drop_handle(&mut self, index: usize, speaker: SessionId, name: LeaseName) -> bool {
        let lease = &mut self.leases[index];
        if lease.inner_handles().is_empty() || Mutant::InnerReleaseFrees.is(self.config.mutant) {
            return false;
        }
        let inner = &mut lease.terms().inner;
        match inner.iter().position(|handle| handle.is(speaker, name)) {
            Some(place) => {
                let (handle, uid) = (inner.remove(place), lease.uid);
                self.forget_handle(handle, Ending { uid, lost: None });
            }
            None => {
                let heir = inner.remove(0);
                // They were granted with the first, and a cancel of another is none of theirs.
                lease.take_others();
                self.rename(index, heir);
            }
        }
        true
    }

    /// Takes one of several handles back before anybody relied on it.
    pub(crate) fn cancel_handle(&mut self, now: Time, index: usize, session: SessionId, request: RequestId) {
        let Lease { session: of, request: first, .. } = self.leases[index];
        if (of, first) == (session, request) {
            self.cancel_others(now, index);
        }
        self.drop_handle(index, session, LeaseName::Session(request));
    }

    /// A name that means no lease any more.
    pub(crate) fn forget_handle(&mut self, handle: Handle, ending: Ending) {
        if let Some(secret) = handle.secret {
            self.timed.remove(&secret);
            self.ended.remember(EndedName::Timed(secret), ending);
        }
        if let Some(session) = self.sessions.get_mut(&handle.session) {
            session.settle(handle.request, None);
        }
    }
}

impl Lease {
    /// Its first handle: the one it is known by.
    pub(crate) fn handle(&self) -> Handle {
        Handle { session: self.session, request: self.request, secret: self.secret() }
    }

    /// All of them.
    pub(crate) fn handles(&self) -> impl Iterator<Item = Handle> + '_ {
        std::iter::once(self.handle()).chain(self.inner_handles().iter().copied())
    }

    /// Takes the inner ones out: the lease is over for all.
    pub(crate) fn take_inner_handles(&mut self) -> ThinVec<Handle> {
        match self.inner_handles().is_empty() {
            true => ThinVec::new(),
            false => std::mem::take(&mut self.terms().inner),
        }
    }
}
