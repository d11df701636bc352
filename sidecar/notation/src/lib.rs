//! How operators write things down: patterns over keys, durations.
//!
//! Owns both notations, so that a class of keys and a policy read them alike. Knows nobody of ours.

mod glob;
mod span;

pub use glob::glob;
pub use span::{format as format_duration, parse as parse_duration};
