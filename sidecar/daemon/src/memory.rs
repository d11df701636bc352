//! Giving memory back to the system when a crowd is gone (H16).
//!
//! Owns when that is worth the time it takes. Must not know what the memory was used for.
//!
//! What is freed stays with the process: the C library returns only what lies at the end of its heap, and something that
//! still lives nearly always lies there. How large the process is tells of a crowd that came and went between two looks,
//! too.

use crate::handle::Handle;
use sidelock_engine::view::Counts;
use std::time::Duration;
use tokio::time::sleep;

/// How often we look.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What a sidecar needs that serves nobody; less than that is not worth a walk through the heap.
const OWN_BYTES: u64 = 8 << 20;
/// What things cost, roughly and rather too much: a key with its lease, a waiter, a connection.
const KEY_BYTES: u64 = 1_400;
const WAITER_BYTES: u64 = 300;
const SESSION_BYTES: u64 = 9_000;

/// Looks at the sizes until the task is dropped, and gives memory back when the process is twice as large as what it
/// serves explains.
pub(crate) async fn give_back(handle: Handle) {
    // What stayed after the last time is no reason to try again.
    let mut stayed = 0;
    loop {
        sleep(LOOK_EVERY).await;
        let Some(counts) = handle.counts().await else { return };
        let Some(resident) = resident_bytes() else { return };
        if is_worth_it(resident, stayed, explained_bytes(&counts)) {
            trim();
            stayed = resident_bytes().unwrap_or(resident);
        }
        stayed = stayed.min(resident);
    }
}

fn explained_bytes(counts: &Counts) -> u64 {
    let cost = |count: usize, bytes| count as u64 * bytes;
    let things = cost(counts.keys, KEY_BYTES) + cost(counts.waiters, WAITER_BYTES);
    OWN_BYTES + things + cost(counts.sessions, SESSION_BYTES)
}

fn is_worth_it(resident: u64, stayed: u64, explained: u64) -> bool {
    resident > 2 * explained && resident - stayed > OWN_BYTES
}

/// Memory that the process has, if the system tells (proc(5)).
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kib * 1024)
}

/// Returns all whole pages that are free.
#[cfg(target_env = "gnu")]
fn trim() {
    // SAFETY: it takes no pointer, and what is in use stays as it is (malloc_trim(3)).
    unsafe { libc::malloc_trim(0) };
}

/// Other C libraries return memory by themselves, or have no such call.
#[cfg(not(target_env = "gnu"))]
fn trim() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_larger_than_what_it_serves_is_worth_it_once() {
        let (crowd, nobody) = (400 << 20, OWN_BYTES);
        assert!(is_worth_it(crowd, 0, nobody), "the crowd is gone");
        assert!(!is_worth_it(crowd, crowd, nobody), "but what stayed the last time will stay");
        assert!(is_worth_it(2 * crowd, crowd, nobody), "another crowd is gone");
        assert!(!is_worth_it(crowd, 0, crowd / 2), "it is still there");
        assert!(!is_worth_it(2 * OWN_BYTES, 0, nobody), "too little");
    }

    #[test]
    fn the_system_tells_how_large_we_are() {
        assert!(resident_bytes().expect("there is /proc") > 1 << 20);
    }
}
