//! The sidecar as a library: doors, sessions, driver, config, metrics, drain.
//!
//! Read the files in the order of the road of a request: `socket` accepts, `frames` (or `http`) decodes, `gate` admits,
//! `handle` posts, `driver` lets the engine decide, `store_link` carries its calls, `reply` translates the answer, and the
//! session's `outlet` writes it. Everything runs on one thread.

mod clock;
pub mod config;
mod driver;
mod gate;
mod handle;
mod health;
mod metrics;
mod observe;
mod outlet;
mod place;
mod problem;
mod reply;
mod rules;
mod store_link;
mod watch;

pub use clock::boottime;
pub use gate::{Admitted, Gate};
pub use handle::{Handle, Peer, Session};
pub use health::{Health, Probe};
pub use outlet::{Inbox, Outlet, Overflow, Told};
pub use place::Place;
pub use problem::Problem;
pub use reply::{code as code_of, lost_reason, problem as problem_of};
pub use rules::{InForce, Rules};
pub use watch::Watch;
