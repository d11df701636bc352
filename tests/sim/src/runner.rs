//! Runs many worlds, on several threads, and adds up.
//!
//! Owns what makes a campaign pass: every seed's history is accepted, and every rare thing happened often enough. Must
//! not print: that is the binary.

use crate::checker::{self, Violation};
use crate::world::rare::Rare;
use crate::world::{self, Totals};
use sidelock_engine::mutant::Mutant;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// So often must each rare thing happen in [`RARE_SEEDS`] seeds.
pub const RARE_MIN: u64 = 200;
/// Fewer seeds prove nothing about rare things, and are not asked to.
pub const RARE_SEEDS: u64 = 10_000;

/// What one seed showed.
pub struct Verdict {
    /// The seed.
    pub seed: u64,
    /// The same for the same story.
    pub digest: u64,
    /// What was broken.
    pub violations: Vec<Violation>,
    /// How often rare things happened.
    pub rare: Rare,
    /// How much happened.
    pub totals: Totals,
    /// The story, if it was asked for.
    pub story: Vec<String>,
}

/// What many seeds showed.
#[derive(Default)]
pub struct Campaign {
    /// Seeds run.
    pub seeds: u64,
    /// Seeds with violations, the lowest first.
    pub failed: Vec<Verdict>,
    /// How often rare things happened.
    pub rare: Rare,
    /// How much happened.
    pub totals: Totals,
}

impl Campaign {
    /// Rare things that happened too rarely to have been tested, with their counts.
    pub fn neglected(&self) -> Vec<(&'static str, u64)> {
        let enough = |&(_, count): &(_, u64)| count >= RARE_MIN * self.seeds / RARE_SEEDS;
        match self.seeds < RARE_SEEDS {
            true => Vec::new(),
            false => self.rare.counts().filter(|pair| !enough(pair)).collect(),
        }
    }
}

/// Runs one seed.
pub fn judge(seed: u64, mutant: Option<Mutant>, trace: bool) -> Verdict {
    let run = world::run(seed, mutant, trace);
    let mut hasher = DefaultHasher::new();
    run.history.records.hash(&mut hasher);
    Verdict {
        seed,
        digest: hasher.finish(),
        violations: checker::check(&run.history),
        rare: run.rare,
        totals: run.totals,
        story: run.story,
    }
}

/// Runs seeds on several threads. With `stop_at_first` it ends soon after the first failure.
pub fn campaign(
    seeds: std::ops::Range<u64>,
    threads: usize,
    mutant: Option<Mutant>,
    stop_at_first: bool,
) -> Campaign {
    let next = AtomicU64::new(seeds.start);
    let stop = AtomicBool::new(false);
    let sum = Mutex::new(Campaign::default());
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        break;
                    }
                    let verdict = judge(seed, mutant, false);
                    let mut sum = sum.lock().expect("no thread panics while it adds up");
                    sum.seeds += 1;
                    sum.rare.add(&verdict.rare);
                    sum.totals += verdict.totals;
                    if !verdict.violations.is_empty() {
                        sum.failed.push(verdict);
                        stop.fetch_or(stop_at_first, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let mut sum = sum.into_inner().expect("no thread panicked while it added up");
    sum.failed.sort_by_key(|verdict| verdict.seed);
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_tells_the_same_story() {
        for seed in 0..20 {
            let (one, two) = (judge(seed, None, false), judge(seed, None, true));
            assert_eq!(one.digest, two.digest, "seed {seed}");
            assert!(one.story.is_empty() && !two.story.is_empty());
        }
    }

    #[test]
    fn different_seeds_tell_different_stories() {
        assert_ne!(judge(1, None, false).digest, judge(2, None, false).digest);
    }
}
