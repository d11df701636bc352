//! What a task does with a timed lease: it lasts for what was told, whatever becomes of this process or its sidecar.
//!
//! Owns that the history never claims more than was told.

use super::worker::Worker;
use crate::wish::{End, Wish};
use sidelock_client::TimedLease;
use sidelock_sim::checker::history::{Answer, At, Event, Req, Sent};
use std::time::Duration;
use tokio::time::sleep;

impl Worker {
    /// Holds it, writes under it, and gives it back or lets it run out.
    pub(super) async fn hold_timed(&mut self, wish: &Wish, of: Req, lease: &TimedLease, ttl: Duration) {
        let deadline = self.clock().when(lease.deadline);
        self.answered(of, Answer::Granted { fence: lease.fence, deadline });
        let gone = "the register is there as long as its clients";
        let mut told = deadline;
        let base = match wish.is_exclusive() && (wish.reckless || self.is_before(told)) {
            true => self.desk.read(wish.key, lease.fence).expect(gone),
            false => None,
        };
        sleep(wish.hold).await;
        if wish.renews {
            told = self.renew_timed(of, lease, ttl, told).await;
        }
        if let Some(base) = base
            && (wish.reckless || self.is_before(told))
        {
            self.desk.write(wish.key, lease.fence, base).expect(gone);
        }
        if wish.end == End::Release {
            let sent = self.sent(Sent::Release { lease: of });
            match self.client.release_timed(lease.id).await {
                Ok(()) => self.answered(sent, Answer::Released),
                Err(error) => self.refused(sent, &error),
            }
        }
    }

    /// The sidecar may shorten the lease before its answer is read, so no more is claimed until then.
    async fn renew_timed(&mut self, lease: Req, known: &TimedLease, ttl: Duration, told: At) -> At {
        let at = self.clock().now();
        let until = told.min(at + ttl);
        self.note(at, Event::Extended { lease, until });
        let sent = self.sent(Sent::Renew { lease });
        match self.client.renew_timed(known.id, ttl).await {
            Ok(deadline) => {
                let deadline = self.clock().when(deadline);
                self.answered(sent, Answer::Renewed { deadline });
                deadline
            }
            Err(error) => {
                self.refused(sent, &error);
                until
            }
        }
    }

    fn is_before(&self, deadline: At) -> bool {
        self.clock().now() < deadline
    }
}
