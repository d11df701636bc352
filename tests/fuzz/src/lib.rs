//! Fuzzing of what reads bytes from strangers.
//!
//! Owns the targets and a small mutator that starts from valid bytes, so that inputs get past the first check. It needs
//! no special compiler: a bounded number of rounds runs with every test run, and `fuzz TARGET --seconds 3600` for as long
//! as wanted. A round is known by its target, seed and number, and replays from them alone.

mod frames;
mod mutate;
mod records;

use mutate::Mutator;

/// One thing that reads bytes.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name on the command line.
    pub name: &'static str,
    /// Valid inputs to start from.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Reads an input and panics if anything does not hold.
    pub check: fn(&[u8]),
}

/// All targets.
pub const TARGETS: [Target; 3] = [
    Target { name: "frames", seeds: frames::streams, check: frames::check_stream },
    Target { name: "messages", seeds: frames::payloads, check: frames::check_payload },
    Target { name: "records", seeds: records::seeds, check: records::check },
];

/// The inputs of a target: its seeds as they are, then mutations of them without end.
pub struct Inputs {
    seeds: Vec<Vec<u8>>,
    seed: u64,
    round: u64,
}

impl Inputs {
    /// The inputs of `target` that follow from `seed`, from `round` on.
    pub fn new(target: &Target, seed: u64, round: u64) -> Inputs {
        Inputs { seeds: (target.seeds)(), seed, round }
    }
}

impl Iterator for Inputs {
    type Item = (u64, Vec<u8>);

    fn next(&mut self) -> Option<(u64, Vec<u8>)> {
        let round = self.round;
        self.round += 1;
        let input = match self.seeds.get(round as usize) {
            Some(valid) => valid.clone(),
            None => Mutator::new(self.seed, round).mutate(&self.seeds),
        };
        Some((round, input))
    }
}
