//! Sidelock's Rust SDK as other languages see it.
//!
//! Owns the crossing: which objects there are on the other side, who drives a future (the caller's event loop, or its
//! thread), who wakes it (one runtime thread per process), and what becomes of both in a forked child. Must not know what a
//! language's people like to write: that is the hand-written layer above the generated one. Knows the SDK and nothing below.
//!
//! Every operation is there twice: as an async function, which a token can cancel, and as one that blocks its thread, which
//! a signal interrupts (`blocking`). A grant that reaches nobody is given back, because the future owns it until then.

mod blocking;
mod cancel;
mod client;
mod connection;
mod each_process;
mod error;
mod event_loop;
mod guest;
mod leader;
mod lease;
mod mode;
mod order;
mod own_process;
mod plain;
mod quiet;
mod register;
mod runtime;
mod signal;
mod turn;
mod wish;

pub use blocking::forget;
pub use cancel::Cancel;
pub use client::{Client, Holder, Options, Sidecar};
pub use error::{Busy, CycleEdge, Denial, Failure, Refusal, Result};
pub use leader::{Candidacy, Leader, Observer};
pub use lease::{Fence, Lease, LossListener};
pub use plain::{failed, lease_of};
pub use quiet::quiet;
pub use register::{Condition, Register, Value, Watch};
pub use turn::{Entered, Turn};
pub use wish::{Align, Guarantee, LossReason, Scope, TurnWish, Units, Wish};

uniffi::setup_scaffolding!();

#[cfg(test)]
mod tests;
