//! Giving memory back to the system when a crowd is gone (H16).
//!
//! Owns how large the process is, and when giving back is worth the time it takes. Must not know what the memory was used
//! for.
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
const KEY_BYTES: u64 = 800;
const WAITER_BYTES: u64 = 300;
const SESSION_BYTES: u64 = 9_000;

/// Looks at the sizes until the task is dropped, and gives memory back when the process is twice as large as what it
/// serves explains.
pub(crate) async fn give_back(handle: Handle) {
    let mut last = Last::default();
    loop {
        sleep(LOOK_EVERY).await;
        let Some(counts) = handle.counts().await else { return };
        let Some(resident) = resident_bytes() else { return };
        let served = served_bytes(&counts);
        last.stayed = last.stayed.min(resident);
        if last.leaves_something(resident, served) {
            trim();
            last = Last { stayed: resident_bytes().unwrap_or(resident), served };
        }
    }
}

/// What we serve needs about so much.
fn served_bytes(counts: &Counts) -> u64 {
    let cost = |count: usize, bytes| count as u64 * bytes;
    let keys = cost(counts.keys, KEY_BYTES);
    keys + cost(counts.waiters, WAITER_BYTES) + cost(counts.sessions, SESSION_BYTES)
}

/// The last time that memory was given back.
#[derive(Default)]
struct Last {
    /// What stayed with the process nevertheless.
    stayed: u64,
    /// What was served then.
    served: u64,
}

impl Last {
    /// Whether doing it again is worth it. What stayed will stay, unless it belonged to what has gone since: a crowd that
    /// is just leaving has the memory of all of it until the last one is gone.
    fn leaves_something(&self, resident: u64, served: u64) -> bool {
        let is_large = resident > 2 * (OWN_BYTES + served);
        is_large && (resident.saturating_sub(self.stayed) > OWN_BYTES || served < self.served / 2)
    }
}

/// Memory that the process has, if the system tells (proc_pid_status(5)).
pub(crate) fn resident_bytes() -> Option<u64> {
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
        let crowd = 400 << 20;
        let first = Last::default();
        assert!(first.leaves_something(crowd, 0), "the crowd is gone");
        assert!(!first.leaves_something(crowd, crowd / 2), "it is still there");
        assert!(!first.leaves_something(2 * OWN_BYTES, 0), "too little");
        let last = Last { stayed: crowd, served: 0 };
        assert!(!last.leaves_something(crowd, 0), "what stayed the last time will stay");
        assert!(last.leaves_something(2 * crowd, 0), "another crowd is gone");
        assert!(!last.leaves_something(crowd / 2, 0), "it shrank by itself");
    }

    #[test]
    fn what_stayed_while_a_crowd_was_leaving_is_worth_another_time_when_it_is_gone() {
        let crowd = 400 << 20;
        let last = Last { stayed: crowd, served: crowd / 10 };
        assert!(!last.leaves_something(crowd, crowd / 10), "nobody has left since");
        assert!(last.leaves_something(crowd, 0));
    }

    #[test]
    fn the_system_tells_how_large_we_are() {
        assert!(resident_bytes().expect("there is /proc") > 1 << 20);
    }
}
