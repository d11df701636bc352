//! The Store contract's two implementations: memory and Redis, and their conformance suite.
//!
//! The contract itself, what may be asked and answered, is [`sidelock_engine::store`]. The rules by which a record
//! decides stand twice: in `record.rs` for the memory store, in `scripts/` for Redis. Read the two side by side.
#![forbid(unsafe_code)]

pub mod finding;
pub mod listing;
mod boards;
pub mod record;
mod force;
pub mod strict;
pub mod register;
mod registers;
mod once;
mod forget;
mod memory;
mod encoding;
mod register_encoding;
#[cfg(feature = "redis")]
pub mod redis;

pub use encoding::{RECORD_VERSION, RecordError};
pub use memory::Memory;
