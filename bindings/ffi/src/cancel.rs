//! Ending an async operation from the other side.
//!
//! Owns the token. Not every language drops the Rust future when its own is cancelled (Swift does not), so cancelling is
//! said explicitly and heard here.

use crate::error::{Failure, Result};
use crate::guest::Guest;
use crate::signal::Signal;
use std::future::Future;
use std::sync::Arc;

/// Cancels what it was given to, once: an operation of this client that still waits, or begins later. A cancelled wait
/// leaves the queue, and gives back a grant that raced that.
#[derive(Debug, Default, uniffi::Object)]
pub struct Cancel(Signal);

#[uniffi::export]
impl Cancel {
    /// A token for one operation.
    #[uniffi::constructor]
    pub fn new() -> Arc<Cancel> {
        Arc::default()
    }

    /// Ends the operation with [`Failure::Stopped`], if it is not over. From any thread, any number of times.
    pub fn cancel(&self) {
        self.0.give();
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
        () = cancel.0.given() => Err(Failure::Stopped),
        outcome = operation => outcome,
    }
}
