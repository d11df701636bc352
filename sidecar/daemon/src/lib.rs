//! The sidecar as a library: doors, sessions, driver, config, metrics, drain.
//!
//! Read the files in the order of the road of a request: `socket` accepts, `frames` (or `http`) decodes, `gate` admits,
//! `handle` posts, `driver` lets the engine decide, `store_link` carries its calls, `reply` translates the answer, and the
//! session's `outlet` writes it. All of it runs on one thread; the others are for what may take long: slow policies, the log, files.

#![cfg_attr(
    not(feature = "http"),
    allow(dead_code, reason = "counts, probes and looks are for the HTTP door to show")
)]

pub mod addressee;
mod clock;
pub mod config;
mod driver;
mod elsewhere;
mod embedded;
mod examine;
mod frame_outlet;
mod frames;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod gate;
mod handle;
mod health;
mod holders;
#[cfg(feature = "http")]
mod http;
mod listener;
mod memory;
mod metrics;
mod notify;
mod observe;
mod outbound;
mod outlet;
mod peer;
mod identity;
#[cfg_attr(not(feature = "policy"), path = "policies_absent.rs")]
mod policies;
mod problem;
mod reply;
mod resume;
mod rules;
mod rulings;
mod serve;
mod sidecar;
mod socket;
mod spelling;
mod store_link;
mod batches;
#[cfg(feature = "http")]
mod wall;
mod watch;

pub use clock::boottime;
pub use embedded::{Embedded, embedded};
pub use examine::{Examination, examine_socket, examine_store};
pub use identity::Identity;
pub use listener::SocketError;
pub use serve::{ServeError, Started, check, serve};
pub use sidelock_store::finding::{Finding, Verdict};
#[cfg(feature = "http")]
pub use wall::rfc3339;
