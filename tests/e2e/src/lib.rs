//! The rig of the end-to-end tests and benchmarks: real processes, real sockets, a real Redis.
//!
//! Owns starting, watching and stopping what a test needs, and knows when something is ready by an event it saw, never
//! by sleeping. Must not know any rule of locking: tests state the rules. Everything started here dies with the test,
//! however the test ends, and every file lives in a folder that goes with it.
//!
//! These tests measure how long things take: run them one at a time (`--test-threads=1`, as `tests/run` does).

pub mod certificates;
pub mod cluster;
pub mod doctor;
pub mod fake_redis;
pub mod frames;
pub mod http;
pub mod process;
pub mod redis;
pub mod road;
pub mod sentinel;
pub mod sidecar;
pub mod steady;

use std::time::Duration;

/// How long the rig waits for an event that must come, before it calls the test failed. Far above anything measured,
/// so that a slow machine is not a broken program.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A folder for sockets, logs and data of one test. Its path is short: a socket's name has at most 107 bytes.
pub fn folder() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("sl-").tempdir_in("/tmp").expect("/tmp takes a folder")
}
