//! Runs many worlds, on several threads, and adds up.
//!
//! Owns what makes a campaign pass: every seed's history is accepted, and every rare thing happened often enough. Must
//! not print: that is the binary.

use crate::checker::census::Census;
use crate::checker::{self, Violation};
use crate::world::rare::Rare;
use crate::world::{self, Kind, Totals};
use sidelock_engine::mutant::Mutant;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::ops::ControlFlow;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// So often must each rare thing happen in [`RARE_SEEDS`] seeds.
pub const RARE_MIN: u64 = 200;
/// Fewer seeds prove nothing about rare things, and are not asked to.
pub const RARE_SEEDS: u64 = 10_000;

/// Deliberate bugs that only owners suffer from.
const IN_TANGLES: [Mutant; 12] = [
    Mutant::InnerReleaseFrees,
    Mutant::DeadlocksIgnored,
    Mutant::AheadIgnored,
    Mutant::AnyHolderBlocks,
    Mutant::DetourTold,
    Mutant::FollowersIgnored,
    Mutant::FinishingBinds,
    Mutant::ReservationsIgnored,
    Mutant::BoardsUnverified,
    Mutant::BoardOnce,
    Mutant::VictimByChance,
    Mutant::KeptUnsaid,
];

/// Deliberate bugs that show where the store is strict.
const IN_STRICT: [Mutant; 9] = [
    Mutant::UnprovenReasserts,
    Mutant::NoQuarantine,
    Mutant::QuarantineTooShort,
    Mutant::IsolationForgotten,
    Mutant::MarkerIgnored,
    Mutant::ReplicationIgnored,
    Mutant::RenewalsUnchecked,
    Mutant::ExtendedTooSoon,
    Mutant::QuarantineReserves,
];

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
    /// What deadlocks there were.
    pub census: Census,
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
    /// What deadlocks there were.
    pub census: Census,
    /// How much happened.
    pub totals: Totals,
}

impl Campaign {
    /// What is counted in worlds of this kind.
    pub fn counts(&self, kind: Kind) -> Vec<(&'static str, u64)> {
        match kind {
            Kind::Fleet => self.rare.counts().collect(),
            Kind::Tangle => self.census.counts().collect(),
            Kind::Strict => self.rare.strict_counts().collect(),
        }
    }

    /// Rare things that happened too rarely to have been tested, with their counts.
    pub fn neglected(&self, kind: Kind) -> Vec<(&'static str, u64)> {
        let enough = |&(_, count): &(_, u64)| count >= RARE_MIN * self.seeds / RARE_SEEDS;
        match self.seeds < RARE_SEEDS {
            true => Vec::new(),
            false => self.counts(kind).into_iter().filter(|pair| !enough(pair)).collect(),
        }
    }
}

/// Runs one seed.
pub fn judge(kind: Kind, seed: u64, mutant: Option<Mutant>, trace: bool) -> Verdict {
    let run = world::run(kind, seed, mutant, trace);
    let judgement = checker::judge(&run.history);
    let mut hasher = DefaultHasher::new();
    run.history.records.hash(&mut hasher);
    Verdict {
        seed,
        digest: hasher.finish(),
        violations: judgement.violations,
        census: judgement.census,
        rare: run.rare,
        totals: run.totals,
        story: run.story,
    }
}

/// The kind of worlds in which a deliberate bug can show.
pub fn kind_for(mutant: Mutant) -> Kind {
    match () {
        () if IN_TANGLES.contains(&mutant) => Kind::Tangle,
        () if IN_STRICT.contains(&mutant) => Kind::Strict,
        () => Kind::Fleet,
    }
}

/// Runs seeds on several threads. Every failure is told as soon as it is found, one at a time; `Break` ends soon after it.
pub fn campaign(
    kind: Kind,
    seeds: std::ops::Range<u64>,
    threads: usize,
    mutant: Option<Mutant>,
    tell: impl FnMut(&Verdict) -> ControlFlow<()> + Send,
) -> Campaign {
    let next = AtomicU64::new(seeds.start);
    let stop = AtomicBool::new(false);
    let sum = Mutex::new((Campaign::default(), tell));
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        break;
                    }
                    let verdict = judge(kind, seed, mutant, false);
                    let (sum, tell) = &mut *sum.lock().expect("no thread panics while it adds up");
                    sum.seeds += 1;
                    sum.rare.add(&verdict.rare);
                    sum.census += verdict.census;
                    sum.totals += verdict.totals;
                    if !verdict.violations.is_empty() {
                        stop.fetch_or(tell(&verdict).is_break(), Ordering::Relaxed);
                        sum.failed.push(verdict);
                    }
                }
            });
        }
    });
    let (mut sum, _) = sum.into_inner().expect("no thread panicked while it added up");
    sum.failed.sort_by_key(|verdict| verdict.seed);
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_tells_the_same_story() {
        for (kind, seed) in (0..20).flat_map(|seed| [(Kind::Fleet, seed), (Kind::Tangle, seed)]) {
            let (one, two) = (judge(kind, seed, None, false), judge(kind, seed, None, true));
            assert_eq!(one.digest, two.digest, "seed {seed} of {kind:?}");
            assert!(one.story.is_empty() && !two.story.is_empty());
        }
    }

    #[test]
    fn different_seeds_tell_different_stories() {
        let digest = |kind, seed| judge(kind, seed, None, false).digest;
        assert_ne!(digest(Kind::Fleet, 1), digest(Kind::Fleet, 2));
        assert_ne!(digest(Kind::Fleet, 1), digest(Kind::Tangle, 1));
    }
}
