//! What the SDK knows of one lease: shared by the lease, its views and the connection.
//!
//! Owns the answer to "is it still mine". Read without a lock on any thread; written by the connection alone, except
//! that its holder may end it.

use crate::clock;
use sidelock_wire::{Granted, LostReason};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::Notify;

/// A lease as last told.
#[derive(Debug)]
pub(crate) struct Hold {
    /// The acquire that got it: its name in the session.
    pub(crate) request: u64,
    pub(crate) fence: u64,
    deadline_ns: AtomicU64,
    /// No extension reaches past this; `u64::MAX`: none set.
    cap_ns: AtomicU64,
    /// A `max_hold` set the cap, not a ttl.
    capped_by_max_hold: AtomicBool,
    /// The session it belongs to is no more: it lasts until the deadline told and can not be extended (P5).
    orphaned: AtomicBool,
    at_risk: AtomicBool,
    end: OnceLock<End>,
    ended: Notify,
    /// The numbers of all leases that were granted with it, its own among them; empty for a single one.
    several: Arc<[u64]>,
}

/// What the sidecar told of a lease's end, at some moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told {
    deadline_ns: u64,
    cap_ns: u64,
}

/// How a lease ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Released,
    Lost(LostReason),
}

impl Hold {
    pub(crate) fn new(granted: &Granted) -> Hold {
        Hold {
            request: granted.request,
            fence: granted.fence,
            deadline_ns: AtomicU64::new(granted.deadline_ns),
            cap_ns: AtomicU64::new(granted.cap_ns.unwrap_or(u64::MAX)),
            capped_by_max_hold: AtomicBool::new(false),
            orphaned: AtomicBool::new(false),
            at_risk: AtomicBool::new(false),
            end: OnceLock::new(),
            ended: Notify::const_new(),
            several: Arc::default(),
        }
    }

    /// One of several leases of these numbers.
    pub(crate) fn of_several(granted: &Granted, several: Arc<[u64]>) -> Hold {
        Hold { several, ..Hold::new(granted) }
    }

    pub(crate) fn several(&self) -> &[u64] {
        &self.several
    }

    pub(crate) fn deadline_ns(&self) -> u64 {
        self.deadline_ns.load(Ordering::Acquire)
    }

    pub(crate) fn end(&self) -> Option<End> {
        self.end.get().copied()
    }

    pub(crate) fn is_orphaned(&self) -> bool {
        self.orphaned.load(Ordering::Acquire)
    }

    pub(crate) fn is_at_risk(&self) -> bool {
        self.at_risk.load(Ordering::Relaxed)
    }

    /// The sidecar extends all leases of its session to `until_ns`: this one, unless it is an earlier session's, as far as its
    /// cap allows. Never shortens.
    pub(crate) fn extend(&self, until_ns: u64) {
        if self.is_orphaned() {
            return;
        }
        let until_ns = until_ns.min(self.cap_ns.load(Ordering::Relaxed));
        self.deadline_ns.fetch_max(until_ns, Ordering::AcqRel);
        self.at_risk.store(false, Ordering::Relaxed);
    }

    /// The sidecar answered a renewal: exactly this holds now.
    pub(crate) fn renewed(&self, deadline_ns: u64, cap_ns: Option<u64>) {
        self.cap_ns.store(cap_ns.unwrap_or(u64::MAX), Ordering::Relaxed);
        self.deadline_ns.store(deadline_ns, Ordering::Release);
    }

    /// A renewal with `ttl` is about to be sent. Should it shorten the lease, the sidecar may free it before its answer
    /// is read: so the shorter end counts from now on. What was told before is returned.
    pub(crate) fn renewing(&self, ttl: Duration) -> Told {
        let end_ns = clock::after(clock::boottime_ns(), ttl);
        let cap_ns = self.cap_ns.fetch_min(end_ns, Ordering::Relaxed);
        Told { deadline_ns: self.deadline_ns.fetch_min(end_ns, Ordering::AcqRel), cap_ns }
    }

    /// The sidecar did not renew it and has not changed it: what was told before stands.
    pub(crate) fn not_renewed(&self, before: Told) {
        self.cap_ns.fetch_max(before.cap_ns, Ordering::Relaxed);
        self.deadline_ns.fetch_max(before.deadline_ns, Ordering::AcqRel);
    }

    /// Whether it is a `max_hold` that ends it, if nothing else does.
    pub(crate) fn capped_by_max_hold(&self, capped: bool) {
        self.capped_by_max_hold.store(capped, Ordering::Relaxed);
    }

    /// What caps the share caps the whole that it became.
    pub(crate) fn capped_as(&self, share: &Hold) {
        self.capped_by_max_hold(share.capped_by_max_hold.load(Ordering::Relaxed));
    }

    /// What a renewal's answer says of its end: a cap before the end that was asked for is a `max_hold`'s.
    pub(crate) fn renewed_until(&self, asked_ns: u64) {
        self.capped_by_max_hold(self.cap_ns.load(Ordering::Relaxed) < asked_ns);
    }

    /// It ends by then, whatever was told.
    pub(crate) fn shorten(&self, end_ns: u64) {
        self.deadline_ns.fetch_min(end_ns, Ordering::AcqRel);
    }

    pub(crate) fn orphan(&self) {
        self.orphaned.store(true, Ordering::Release);
    }

    pub(crate) fn risk(&self) {
        self.at_risk.store(true, Ordering::Relaxed);
    }

    /// Ends it, unless it has ended. Who waits is told by [`Hold::tell`], outside of any lock.
    pub(crate) fn finish(&self, end: End) {
        // Losing the race means that it ended in another way first, and that stands.
        let _ = self.end.set(end);
    }

    pub(crate) fn tell(&self) {
        self.ended.notify_waiters();
    }

    /// Waits until it ends, or its deadline passes without an extension.
    pub(crate) async fn wait_end(&self) -> End {
        /// A sleep does not count suspend, the deadline does: so long after waking up at most, it is noticed.
        const LOOK_AGAIN: Duration = Duration::from_secs(1);
        loop {
            let ended = self.ended.notified();
            let mut ended = std::pin::pin!(ended);
            ended.as_mut().enable();
            if let Some(end) = self.end() {
                return end;
            }
            let left = clock::until(self.deadline_ns());
            if left.is_zero() {
                self.finish(End::Lost(self.reason_of_deadline()));
                continue;
            }
            tokio::select! {
                () = ended => {}
                () = tokio::time::sleep(left.min(LOOK_AGAIN)) => {}
            }
        }
    }

    /// Why a deadline passes without an extension and without a word from the sidecar.
    pub(crate) fn reason_of_deadline(&self) -> LostReason {
        if self.is_orphaned() {
            LostReason::SidecarRestarted
        } else if clock::boottime_ns() < self.cap_ns.load(Ordering::Relaxed) {
            LostReason::Store
        } else if self.capped_by_max_hold.load(Ordering::Relaxed) {
            LostReason::MaxHold
        } else {
            LostReason::Expired
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold(deadline_ns: u64, cap_ns: Option<u64>) -> Hold {
        Hold::new(&Granted { request: 1, fence: 7, deadline_ns, cap_ns, secret: None })
    }

    #[test]
    fn an_extension_stops_at_the_cap_and_never_shortens() {
        let capped = hold(100, Some(150));
        capped.extend(200);
        assert_eq!(capped.deadline_ns(), 150);
        let free = hold(100, None);
        free.extend(90);
        assert_eq!(free.deadline_ns(), 100);
        free.extend(200);
        assert_eq!(free.deadline_ns(), 200);
    }

    #[test]
    fn an_orphan_is_not_extended_with_the_leases_of_another_session() {
        let orphan = hold(100, None);
        orphan.orphan();
        orphan.extend(200);
        assert_eq!(orphan.deadline_ns(), 100);
    }

    #[test]
    fn a_renewal_that_shortens_counts_from_its_sending() {
        let far = clock::after(clock::boottime_ns(), Duration::from_secs(3600));
        let lease = hold(far, Some(far));
        lease.renewing(Duration::from_secs(1));
        assert!(lease.deadline_ns() < far);
        lease.extend(far);
        assert!(lease.deadline_ns() < far, "an extension between sending and answer must not lift it");
        lease.renewed(far, Some(far));
        assert_eq!(lease.deadline_ns(), far);
    }

    #[test]
    fn a_renewal_that_is_refused_leaves_it_as_it_was() {
        let far = clock::after(clock::boottime_ns(), Duration::from_secs(3600));
        let lease = hold(far, None);
        let before = lease.renewing(Duration::from_secs(1));
        lease.not_renewed(before);
        assert_eq!(lease.deadline_ns(), far);
        lease.extend(far + 1);
        assert_eq!(lease.deadline_ns(), far + 1, "and no cap is left");
    }

    #[test]
    fn the_first_end_stands() {
        let lease = hold(100, None);
        lease.finish(End::Lost(LostReason::Forced));
        lease.finish(End::Released);
        assert_eq!(lease.end(), Some(End::Lost(LostReason::Forced)));
    }

    #[tokio::test]
    async fn what_capped_it_is_what_ends_it() {
        let now = clock::boottime_ns();
        let lease = hold(now, Some(now));
        lease.renewed_until(now);
        assert_eq!(lease.wait_end().await, End::Lost(LostReason::Expired));
        let held_too_long = hold(now, Some(now));
        held_too_long.renewed_until(now + 1);
        assert_eq!(held_too_long.wait_end().await, End::Lost(LostReason::MaxHold));
    }

    #[tokio::test]
    async fn a_deadline_that_passes_in_silence_is_a_loss() {
        let lease = hold(clock::boottime_ns(), None);
        assert_eq!(lease.wait_end().await, End::Lost(LostReason::Store));
        let orphan = hold(clock::boottime_ns(), None);
        orphan.orphan();
        assert_eq!(orphan.wait_end().await, End::Lost(LostReason::SidecarRestarted));
    }
}
