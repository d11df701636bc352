//! Policies in WebAssembly: who may lock what, for how long, in which order, when not at all.
//!
//! A policy is a component against `wit/policy.wit`. This crate compiles it, asks it, and owns the rules around it that are the
//! host's: which requests it sees, in which order, with which limits, and what becomes of a request when it can not decide.
//! It knows neither engine nor daemon: who uses it translates.
//!
//! - [`Host`]: wasmtime, set up once.
//! - [`Chain`]: the policies in force. [`Chain::applies`], then [`Chain::decide`]; [`Chain::explain`] for people. And those
//!   that are told afterwards: [`Chain::is_observed`], then [`Chain::tell`].
//! - [`Recorded`]: a request and what was decided, as a line of a file; [`Replay`] asks another policy about it.
//!
//! **Where a call runs.** A fresh instance of a compiled guest costs a few microseconds, less than waking another thread does,
//! so it runs on the caller's thread, for a moment (half a millisecond at most). What is not done then is stopped, thrown away, and
//! begun anew on the policy's own thread with its whole deadline. A call has no effect but its answer, so this can not be
//! noticed; and no call is ever left half-way.

mod answers;
mod bindings;
mod breaker;
mod case;
pub mod cases;
mod chain;
mod code;
mod compiler;
#[cfg(feature = "build")]
mod component;
mod counters;
mod digest;
mod edits;
mod fault;
mod functions;
mod host;
mod inside;
mod inspect;
mod instance;
mod lane;
pub mod model;
mod observer;
mod outcome;
mod pace;
mod plugin;
mod policy;
mod precompiled;
mod record;
mod replay;
mod settings;
mod stock;
mod ticker;
mod voice;
mod zone;

pub use chain::{Chain, Decided, Later, NotLoaded, Why};
pub use code::{NoCode, World};
#[cfg(feature = "build")]
pub use component::{NoComponent, WIT, componentize};
pub use digest::{Digest, NoDigest};
pub use edits::Bounds;
pub use fault::Fault;
pub use host::{Host, NoHost};
pub use inside::{Line, Tables};
pub use inspect::Inspection;
pub use outcome::{Denied, Effect, Outcome, POLICY_FAILED, Step};
pub use plugin::Unfit;
pub use record::{Recorded, RecordedDenial, RecordedStep, Ruling};
pub use replay::{Counting, Difference, Replay, Replayed};
pub use settings::{
    DEADLINE, DEADLINE_MAX, DEADLINE_OF_OBSERVER, Enforcement, MEMORY_BYTES, MEMORY_BYTES_MAX, OnError,
    POLICIES_MAX, Settings,
};
pub use zone::parse_moment;
