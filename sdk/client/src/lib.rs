//! Sidelock's Rust SDK: locks, semaphores, readers/writer locks and registers from the sidecar next to this program.
//!
//! ```no_run
//! # async fn f() -> sidelock_client::Result<()> {
//! use std::time::Duration;
//! let sl = sidelock_client::Client::connect_default().await?;
//! let lease = sl.lock("orders/42").wait(Duration::from_secs(5)).await?;
//! // … change order 42, and tell its store `lease.fence()` …
//! lease.release().await?;
//! # Ok(()) }
//! ```
//!
//! Owns the manners of the SDK: one connection shared by any number of tasks, requests that follow the future they are
//! awaited by, leases that tell the truth. Knows the frames (`sidelock-wire`) and nothing of how the sidecar works.
//!
//! The road of a request: [`Request`] → `acquire` (its future) → `shared` (table and outbox) → `link` (the connection) →
//! `dispatch` (what an answer changes) → [`Lease`].

mod acquire;
pub mod blocking;
mod client;
mod clock;
mod command;
mod discover;
mod dispatch;
mod error;
mod fork;
mod handshake;
mod hold;
mod holder;
mod leader;
mod lease;
mod once;
mod link;
mod owner;
mod mode;
mod register;
mod request;
mod retry;
mod safe_key;
mod several;
mod shared;
mod slots;
mod timed;

pub use client::{Builder, Client, Sidecar};
pub use discover::socket_path;
pub use error::{Error, Refusal, Remedy, Result};
pub use fork::ProcessMark;
pub use holder::Holder;
pub use leader::{Leader, Leadership, Observer};
pub use lease::{Lease, LeaseView, Releasing};
pub use mode::{Upgrade, Upgrading};
pub use once::{Entered, Entering, Once, Outcome, Turn};
pub use owner::owner;
pub use register::{Answering, Delete, Etag, Fencing, Get, Put, Register, Value, Watch};
pub use request::{Acquiring, Rate, Request, RwLock, Semaphore};
pub use retry::Retry;
pub use safe_key::safe_key;
pub use several::{AcquiringAll, LeaseAll, RequestAll};
pub use sidelock_wire::{Align, Code, CycleEdge, Denial, Guarantee, Kind, LostReason, Mode, Scope, Window};
pub use timed::{LeaseId, NotALeaseId, TimedLease};

#[cfg(test)]
mod tests;
