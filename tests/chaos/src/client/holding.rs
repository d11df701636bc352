//! What a task does with a session lease, and what it may claim of it afterwards.
//!
//! Owns that no window is written down longer than the SDK vouched for it: a grant is stamped after it was read and before
//! `is_valid` said yes; a loss is stamped with the last instant at which it still did, unless the deadline told has passed,
//! which ends the window anyway.

use super::worker::Worker;
use crate::wish::{End, Life, Wish};
use sidelock_client::Lease;
use sidelock_sim::checker::history::{Answer, At, Event, Req, Sent};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// A holder looks at its lease so often.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A lease in the hands of a task.
struct Held<'a> {
    worker: &'a mut Worker,
    lease: Lease,
    of: Req,
    /// The deadline that the history knows.
    told: At,
    /// When the SDK last said that it is valid.
    valid_at: At,
}

impl Worker {
    /// Holds it, writes under it, and gives it back.
    pub(super) async fn hold(&mut self, wish: &Wish, of: Req, lease: Lease) {
        let clock = self.clock();
        let (fence, at, deadline) = (lease.fence(), clock.now(), clock.when(lease.deadline()));
        // Lost before it was seen: no window, but a fence that nobody else may have.
        let told = if lease.is_valid() { deadline } else { At(0) };
        self.note(at, Event::Answered { of, answer: Answer::Granted { fence, deadline: told } });
        let mut held = Held { worker: self, lease, of, told, valid_at: at };
        held.use_it(wish).await;
        held.end(wish.end).await;
    }
}

impl Held<'_> {
    async fn use_it(&mut self, wish: &Wish) {
        let fence = self.lease.fence();
        let reads = wish.is_exclusive() && (wish.reckless || self.look());
        let base = if reads { self.read(wish.key, fence) } else { None };
        match wish.life {
            Life::Ttl(ttl) if wish.renews => {
                self.stay(wish.hold / 2, wish.reckless).await;
                self.renew(ttl).await;
                self.stay(wish.hold / 2, wish.reckless).await;
            }
            _ => self.stay(wish.hold, wish.reckless).await,
        }
        if let Some(base) = base
            && (wish.reckless || self.look())
        {
            let written = self.worker.desk.write(wish.key, fence, base);
            written.expect("the register is there as long as its clients");
        }
    }

    fn read(&mut self, key: u32, fence: u64) -> Option<u32> {
        self.worker.desk.read(key, fence).expect("the register is there as long as its clients")
    }

    /// Whether it is valid; if so, what the history claims follows.
    fn look(&mut self) -> bool {
        let clock = self.worker.clock();
        let (at, until) = (clock.now(), clock.when(self.lease.deadline()));
        if !self.lease.is_valid() {
            return false;
        }
        assert!(at < self.worker.clock().when(self.lease.deadline()), "nothing is valid after its deadline");
        if until != self.told {
            self.claim(at, until);
        }
        self.valid_at = at;
        true
    }

    fn claim(&mut self, at: At, until: At) {
        self.worker.note(at, Event::Extended { lease: self.of, until });
        self.told = until;
    }

    /// Holds it for so long, until it is lost, or until it is time to go; the reckless do not mind a loss.
    async fn stay(&mut self, span: Duration, reckless: bool) {
        let end = Instant::now() + span;
        while (self.look() || reckless) && Instant::now() < end && !self.worker.is_told_to_stop() {
            sleep_until(end.min(Instant::now() + LOOK_EVERY)).await;
        }
    }

    /// The sidecar may shorten the lease before its answer is read, so no more is claimed until then.
    async fn renew(&mut self, ttl: Duration) {
        let at = self.worker.clock().now();
        if at + ttl < self.told {
            self.claim(at, at + ttl);
        }
        let of = self.worker.sent(Sent::Renew { lease: self.of });
        match self.lease.renew(ttl).await {
            Ok(()) => {
                self.look();
                self.worker.answered(of, Answer::Renewed { deadline: self.told });
            }
            Err(error) => self.worker.refused(of, &error),
        }
    }

    async fn end(mut self, how: End) {
        let now = self.worker.clock().now();
        let is_orphan = !self.worker.diary.borrow().is_of(self.of, self.worker.life());
        if !self.look() || is_orphan {
            let at = if is_orphan || self.told <= now { now } else { self.valid_at };
            self.worker.note(at, Event::LostSeen { lease: self.of });
        }
        let of = self.worker.sent(Sent::Release { lease: self.of });
        match how {
            End::Drop => {
                drop(self.lease);
                self.worker.unheard(of);
            }
            End::Release => match self.lease.release().await {
                Ok(()) => self.worker.answered(of, Answer::Released),
                Err(error) => self.worker.refused(of, &error),
            },
        }
    }
}
