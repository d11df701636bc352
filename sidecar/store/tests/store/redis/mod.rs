//! Tests that need a real Redis.

pub(crate) mod server;
pub(crate) mod subject;
mod differential;
mod distance;
mod register_differential;
mod faults;
mod link;
mod listing;
mod sentinels;
pub(crate) mod strict;
mod transport;
mod access;
#[cfg(feature = "fuzz")]
mod stopped;
#[cfg(feature = "fuzz")]
mod strict_stopped;
#[cfg(feature = "fuzz")]
mod versions;
