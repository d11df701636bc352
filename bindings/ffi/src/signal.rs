//! A word that is given once, and heard by whoever listens then or later.

use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Notify;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    /// Beside the notification, for whoever begins to listen after it.
    given: AtomicBool,
    told: Notify,
}

impl Signal {
    /// From any thread, any number of times.
    pub(crate) fn give(&self) {
        self.given.store(true, Ordering::Release);
        self.told.notify_waiters();
    }

    pub(crate) fn is_given(&self) -> bool {
        self.given.load(Ordering::Acquire)
    }

    /// Waits until it is given.
    pub(crate) async fn given(&self) {
        let told = self.told.notified();
        let mut told = std::pin::pin!(told);
        // Before the look at the flag, so that nothing falls in between.
        told.as_mut().enable();
        if !self.is_given() {
            told.await;
        }
    }
}
