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
    key: Arc<str>,
    /// Until when it lasts, unless `outer` knows.
    own_term: Term,
    /// The handle that the owner had first, if this is one more of the same lease: whatever is told to one of them moves the
    /// end of all.
    outer: Option<Arc<Hold>>,
    /// Permits of a rate, whose time ends the lease: that is no loss.
    of_rate: AtomicBool,
    /// The session it belongs to is no more: it lasts until the deadline told and can not be extended (P5).
    orphaned: AtomicBool,
    at_risk: AtomicBool,
    end: OnceLock<End>,
    ended: Notify,
    /// The numbers of all leases that were granted with it, its own among them; empty for a single one.
    several: Arc<[u64]>,
}

/// Until when a lease lasts.
#[derive(Debug)]
struct Term {
    deadline_ns: AtomicU64,
    /// No extension reaches past this; `u64::MAX`: none set.
    cap_ns: AtomicU64,
    /// A `max_hold` set the cap, not a ttl.
    capped_by_max_hold: AtomicBool,
    /// How many renewals were sent: what an earlier one is answered does not stand if there is a later one.
    renewals: AtomicU64,
}

/// What the sidecar told of a lease's end, before this renewal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told {
    pub(crate) number: u64,
    deadline_ns: u64,
    cap_ns: u64,
}

impl Told {
    /// The same, before a further attempt of this number.
    pub(crate) fn before(self, number: u64) -> Told {
        Told { number, ..self }
    }
}

/// How a lease ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Released,
    Lost(LostReason),
}

impl Hold {
    pub(crate) fn new(granted: &Granted, key: Arc<str>) -> Hold {
        Hold {
            request: granted.request,
            fence: granted.fence,
            key,
            own_term: Term {
                deadline_ns: AtomicU64::new(granted.deadline_ns),
                cap_ns: AtomicU64::new(granted.cap_ns.unwrap_or(u64::MAX)),
                capped_by_max_hold: AtomicBool::new(false),
                renewals: AtomicU64::new(0),
            },
            outer: None,
            of_rate: AtomicBool::new(false),
            orphaned: AtomicBool::new(false),
            at_risk: AtomicBool::new(false),
            end: OnceLock::new(),
            ended: Notify::const_new(),
            several: Arc::default(),
        }
    }

    /// One of several leases of these numbers.
    pub(crate) fn of_several(granted: &Granted, key: Arc<str>, several: Arc<[u64]>) -> Hold {
        Hold { several, ..Hold::new(granted, key) }
    }

    /// One more handle of the lease that `outer` is a handle of.
    pub(crate) fn inner(granted: &Granted, outer: &Arc<Hold>) -> Hold {
        let outer = outer.outer.as_ref().unwrap_or(outer).clone();
        let inner = Hold { outer: Some(outer), ..Hold::new(granted, Arc::default()) };
        let (term, cap_ns) = (inner.term(), granted.cap_ns.unwrap_or(u64::MAX));
        let cap_ns = term.cap_ns.fetch_min(cap_ns, Ordering::Relaxed).min(cap_ns);
        term.deadline_ns.fetch_max(granted.deadline_ns.min(cap_ns), Ordering::AcqRel);
        term.deadline_ns.fetch_min(cap_ns, Ordering::AcqRel);
        inner
    }

    /// Whether the grant is of one more handle of this lease. One that ended here stays as it is, and so does one whose cap has
    /// passed by what was told of it: if the sidecar knows better, that counts for the new handle alone.
    pub(crate) fn is_outer_of(&self, granted: &Granted, key: &str, now_ns: u64) -> bool {
        self.fence == granted.fence
            && self.key() == key
            && !self.is_orphaned()
            && self.end().is_none()
            && self.term().cap_ns.load(Ordering::Relaxed) > now_ns
    }

    /// Whether it is one of several handles, and not the first.
    pub(crate) fn is_inner(&self) -> bool {
        self.outer.is_some()
    }

    fn key(&self) -> &str {
        match &self.outer {
            Some(outer) => &outer.key,
            None => &self.key,
        }
    }

    fn term(&self) -> &Term {
        match &self.outer {
            Some(outer) => &outer.own_term,
            None => &self.own_term,
        }
    }

    pub(crate) fn several(&self) -> &[u64] {
        &self.several
    }

    pub(crate) fn deadline_ns(&self) -> u64 {
        self.term().deadline_ns.load(Ordering::Acquire)
    }

    pub(crate) fn end(&self) -> Option<End> {
        self.end.get().copied()
    }

    /// How it ended, be it by a deadline that passed and that nobody has noticed yet. `is_alive`: whether its session is.
    pub(crate) fn end_by_now(&self, is_alive: impl Fn() -> bool) -> Option<End> {
        let passed = || clock::until(self.deadline_ns()).is_zero();
        self.end().or_else(|| passed().then(|| End::Lost(self.reason_of_deadline(is_alive()))))
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
        let term = self.term();
        let until_ns = until_ns.min(term.cap_ns.load(Ordering::Relaxed));
        term.deadline_ns.fetch_max(until_ns, Ordering::AcqRel);
        self.at_risk.store(false, Ordering::Relaxed);
    }

    /// The sidecar answered the renewal of this number: exactly this holds now. If another one was sent after it, which may
    /// have shortened the lease, no more than this.
    pub(crate) fn renewed(&self, number: u64, deadline_ns: u64, cap_ns: Option<u64>) {
        let (term, cap_ns) = (self.term(), cap_ns.unwrap_or(u64::MAX));
        if self.renewals() == number {
            term.cap_ns.store(cap_ns, Ordering::Relaxed);
            term.deadline_ns.store(deadline_ns, Ordering::Release);
        } else {
            term.cap_ns.fetch_min(cap_ns, Ordering::Relaxed);
            term.deadline_ns.fetch_min(deadline_ns, Ordering::AcqRel);
        }
    }

    /// How many renewals were sent.
    pub(crate) fn renewals(&self) -> u64 {
        self.term().renewals.load(Ordering::Acquire)
    }

    /// A renewal with `ttl` is about to be sent. Should it shorten the lease, the sidecar may free it before its answer
    /// is read: so the shorter end counts from now on. What was told before is returned.
    pub(crate) fn renewing(&self, ttl: Duration) -> Told {
        let (term, end_ns) = (self.term(), clock::after(clock::boottime_ns(), ttl));
        let number = term.renewals.fetch_add(1, Ordering::AcqRel) + 1;
        let cap_ns = term.cap_ns.fetch_min(end_ns, Ordering::Relaxed);
        Told { number, deadline_ns: term.deadline_ns.fetch_min(end_ns, Ordering::AcqRel), cap_ns }
    }

    /// The sidecar did not renew it and has not changed it: what was told before stands, unless another renewal was sent. Under the
    /// lock of the connection, so that none is meanwhile.
    pub(crate) fn not_renewed(&self, before: Told) {
        if self.renewals() != before.number {
            return;
        }
        let term = self.term();
        term.cap_ns.fetch_max(before.cap_ns, Ordering::Relaxed);
        term.deadline_ns.fetch_max(before.deadline_ns, Ordering::AcqRel);
    }

    /// Whether it is a `max_hold` that ends it, if nothing else does.
    pub(crate) fn capped_by_max_hold(&self, capped: bool) {
        self.term().capped_by_max_hold.store(capped, Ordering::Relaxed);
    }

    /// What caps the share caps the whole that it became.
    pub(crate) fn capped_as(&self, share: &Hold) {
        self.capped_by_max_hold(share.term().capped_by_max_hold.load(Ordering::Relaxed));
    }

    /// Whether it is permits of a rate, whose time ends it.
    pub(crate) fn of_rate(&self, is_so: bool) {
        self.of_rate.store(is_so, Ordering::Relaxed);
    }

    /// Whether that is the end that permits of a rate come to by themselves, and no loss.
    pub(crate) fn ends_as_agreed(&self, end: End) -> bool {
        self.of_rate.load(Ordering::Relaxed) && end == End::Lost(LostReason::Expired)
    }

    /// What a renewal's answer says of its end: a cap before the end that was asked for is a `max_hold`'s.
    pub(crate) fn renewed_until(&self, asked_ns: u64) {
        self.capped_by_max_hold(self.term().cap_ns.load(Ordering::Relaxed) < asked_ns);
    }

    /// It ends by then, whatever was told.
    pub(crate) fn shorten(&self, end_ns: u64) {
        self.term().deadline_ns.fetch_min(end_ns, Ordering::AcqRel);
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

    /// Waits until it ends, or its deadline passes without an extension. `is_alive`: whether its session is.
    pub(crate) async fn wait_end(&self, is_alive: impl Fn() -> bool) -> End {
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
                self.finish(End::Lost(self.reason_of_deadline(is_alive())));
                continue;
            }
            tokio::select! {
                () = ended => {}
                () = tokio::time::sleep(left.min(LOOK_AGAIN)) => {}
            }
        }
    }

    /// Why a deadline passes without an extension and without a word from the sidecar.
    fn reason_of_deadline(&self, is_alive: bool) -> LostReason {
        let is_capped = self.term().cap_ns.load(Ordering::Relaxed) <= clock::boottime_ns();
        if self.of_rate.load(Ordering::Relaxed) && is_capped {
            LostReason::Expired
        } else if self.is_orphaned() {
            LostReason::SidecarRestarted
        } else if !is_capped && !is_alive {
            // We were stopped, or our host slept: no sign of life of ours left in time.
            LostReason::Session
        } else if !is_capped {
            LostReason::Store
        } else if self.term().capped_by_max_hold.load(Ordering::Relaxed) {
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
        Hold::new(&Granted { request: 1, fence: 7, deadline_ns, cap_ns, secret: None }, Arc::from("k"))
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
        lease.renewed(1, far, Some(far));
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
    fn of_two_renewals_the_later_one_counts() {
        let now = clock::boottime_ns();
        let after = |seconds| clock::after(now, Duration::from_secs(seconds));
        let lease = hold(after(10), Some(after(10)));
        let long = lease.renewing(Duration::from_secs(60));
        let short = lease.renewing(Duration::from_secs(5));
        lease.renewed(long.number, after(60), Some(after(60)));
        assert!(lease.deadline_ns() < after(6), "the other may have been done already");
        lease.renewed(short.number, after(5), Some(after(5)));
        lease.not_renewed(long);
        assert_eq!(lease.deadline_ns(), after(5), "what was before both is over");
        let longer = lease.renewing(Duration::from_secs(60));
        lease.renewed(longer.number, after(60), None);
        assert_eq!(lease.deadline_ns(), after(60));
    }

    #[test]
    fn all_handles_of_a_lease_have_one_end() {
        let now = clock::boottime_ns();
        let after = |seconds| clock::after(now, Duration::from_secs(seconds));
        let first = Arc::new(hold(after(10), Some(after(10))));
        let mut granted =
            Granted { request: 2, fence: 7, deadline_ns: after(10), cap_ns: Some(after(10)), secret: None };
        assert!(first.is_outer_of(&granted, "k", now) && !first.is_outer_of(&granted, "l", now));
        assert!(!first.is_outer_of(&granted, "k", after(10)), "by its cap it is over");
        let second = Arc::new(Hold::inner(&granted, &first));
        let third = Hold::inner(&granted, &second);
        assert!(second.is_outer_of(&granted, "k", now));
        first.renewed(0, after(20), Some(after(30)));
        assert_eq!([second.deadline_ns(), third.deadline_ns()], [after(20); 2]);
        third.extend(after(40));
        assert_eq!(first.deadline_ns(), after(30), "one cap for all");
        second.renewing(Duration::from_secs(1));
        assert!([&*first, &third].iter().all(|handle| handle.deadline_ns() < after(10)));
        granted = Granted { request: 3, cap_ns: Some(after(5)), ..granted };
        let fourth = Hold::inner(&granted, &first);
        assert_eq!(
            (fourth.term().cap_ns.load(Ordering::Relaxed)).max(after(2)),
            after(2),
            "no later than another is to end it"
        );
        granted.fence = 8;
        assert!(!second.is_outer_of(&granted, "k", now), "another lease");
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
        assert_eq!(lease.wait_end(|| true).await, End::Lost(LostReason::Expired));
        let held_too_long = hold(now, Some(now));
        held_too_long.renewed_until(now + 1);
        assert_eq!(held_too_long.wait_end(|| true).await, End::Lost(LostReason::MaxHold));
    }

    #[test]
    fn permits_of_a_rate_whose_time_is_over_are_no_loss_whatever_became_of_their_sidecar() {
        let now = clock::boottime_ns();
        let permits = hold(now, Some(now));
        permits.of_rate(true);
        permits.orphan();
        assert!(permits.ends_as_agreed(permits.end_by_now(|| true).unwrap()));
        let early = hold(now, Some(u64::MAX));
        early.of_rate(true);
        assert!(!early.ends_as_agreed(early.end_by_now(|| true).unwrap()), "that is not what was agreed");
    }

    #[tokio::test]
    async fn a_deadline_that_passes_in_silence_is_a_loss() {
        let lease = hold(clock::boottime_ns(), None);
        assert_eq!(lease.wait_end(|| true).await, End::Lost(LostReason::Store));
        let overslept = hold(clock::boottime_ns(), None);
        assert_eq!(overslept.wait_end(|| false).await, End::Lost(LostReason::Session));
        let orphan = hold(clock::boottime_ns(), None);
        orphan.orphan();
        assert_eq!(orphan.wait_end(|| true).await, End::Lost(LostReason::SidecarRestarted));
    }
}
