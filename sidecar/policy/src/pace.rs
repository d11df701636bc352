//! Whether a policy is quick enough to be asked on a thread on which others wait.
//!
//! Owns that judgement. One call that is not done in a moment sends the policy's calls to its lane; there it has to prove itself
//! again, by a number of quick calls in a row that doubles each time it was judged wrongly: so it costs the others less and
//! less. Must not know threads.

use crate::ticker::TICK;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::time::Duration;

/// Quick calls in a row before a policy counts as quick again, at first and at most.
const PROOF_MIN: u32 = 16;
const PROOF_MAX: u32 = 1 << 16;

/// See the module.
#[derive(Debug)]
pub(crate) struct Pace {
    slow: AtomicBool,
    quick_in_a_row: AtomicU32,
    proof: AtomicU32,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            slow: AtomicBool::new(false),
            quick_in_a_row: AtomicU32::new(0),
            proof: AtomicU32::new(PROOF_MIN / 2),
        }
    }
}

impl Pace {
    /// Whether it may be asked where others wait.
    pub(crate) fn is_quick(&self) -> bool {
        !self.slow.load(Relaxed)
    }

    /// A call where others wait was not done in a moment.
    pub(crate) fn too_slow(&self) {
        self.quick_in_a_row.store(0, Relaxed);
        self.proof.store((self.proof.load(Relaxed) * 2).min(PROOF_MAX), Relaxed);
        self.slow.store(true, Relaxed);
    }

    /// A call on the lane took so long.
    pub(crate) fn took(&self, span: Duration) {
        if span >= TICK {
            self.quick_in_a_row.store(0, Relaxed);
        } else if self.quick_in_a_row.fetch_add(1, Relaxed) + 1 >= self.proof.load(Relaxed) {
            self.slow.store(false, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_slow_proves_itself_longer_each_time() {
        let pace = Pace::default();
        assert!(pace.is_quick());
        for proof in [16, 32, 64, 128] {
            pace.too_slow();
            pace.took(Duration::ZERO);
            pace.took(TICK);
            for n in 1..=proof {
                assert!(!pace.is_quick(), "{n} of {proof}");
                pace.took(TICK - Duration::from_nanos(1));
            }
            assert!(pace.is_quick());
        }
        (0..100).for_each(|_| pace.too_slow());
        assert_eq!(pace.proof.load(Relaxed), PROOF_MAX);
    }
}
