//! Ending an async operation from the other side.
//!
//! Owns the token. Not every language drops the Rust future when its own is cancelled (Swift does not), so cancelling is
//! said explicitly and heard here.

use crate::error::{Failure, Result};
use crate::runtime::Guest;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Notify;

/// Cancels what it was given to, once: an operation of this client that still waits, or begins later. A cancelled wait
/// leaves the queue, and gives back a grant that raced that.
#[derive(Debug, Default, uniffi::Object)]
pub struct Cancel {
    /// Beside the notification, for whoever begins to listen after it.
    cancelled: AtomicBool,
    told: Notify,
}

#[uniffi::export]
impl Cancel {
    /// A token for one operation.
    #[uniffi::constructor]
    pub fn new() -> Arc<Cancel> {
        Arc::default()
    }

    /// Ends the operation with [`Failure::Stopped`], if it is not over. From any thread, any number of times.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
        self.told.notify_waiters();
    }
}

impl Cancel {
    async fn cancelled(&self) {
        let told = self.told.notified();
        let mut told = std::pin::pin!(told);
        // Before the look at the flag, so that no cancel falls in between.
        told.as_mut().enable();
        if !self.cancelled.load(Ordering::Acquire) {
            told.await;
        }
    }
}

/// Runs an operation of the SDK for the caller's event loop, until it is done or cancelled.
pub(crate) async fn run<T>(
    cancel: Option<Arc<Cancel>>,
    operation: impl Future<Output = Result<T>>,
) -> Result<T> {
    let operation = Guest::new(operation)?;
    let Some(cancel) = cancel else { return operation.await };
    tokio::select! {
        // First, so that what is cancelled before it begins does not begin.
        biased;
        () = cancel.cancelled() => Err(Failure::Stopped),
        outcome = operation => outcome,
    }
}
