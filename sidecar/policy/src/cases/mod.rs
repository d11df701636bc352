//! What a policy is expected to say to which request: `*.case.toml`.
//!
//! Owns the format of these files, how an answer is judged, how results are written down, and how cases travel inside a
//! component. Must not know where files lie.
//!
//! The format is described for its writers in `sidecar/policy/README.md`.

mod embed;
mod expect;
mod file;
mod judge;
mod junit;
mod subject;
mod value;

pub use embed::{embed, embedded};
pub use expect::{Answer, Edits as ExpectedEdits, Expect};
pub use file::{Asked, AskedCounter, AskedLoad, Case, Seen, Suite};
pub use judge::{Outcome, judge};
pub use junit::{Judged, junit};
pub use subject::Subject;
pub(crate) use subject::self_test;
pub use value::{Moment, Span};
