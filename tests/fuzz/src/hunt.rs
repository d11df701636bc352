//! The hunt: seeds as they are, then mutations of them, and of whatever led somewhere new, without end.
//!
//! Owns what is kept as a seed and why, and what becomes of an input that fails. Must not know any target.

use crate::corpus;
use crate::mutate::Mutator;
use crate::{Marks, Target};
use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// Seeds that a hunt finds for itself, at most: each makes the others rarer.
const FOUND_MAX: usize = 2_000;
/// A longer input is no good seed, whatever it leads to.
const FOUND_BYTES_MAX: usize = 8_192;

/// A hunt in one target. The same seed gives the same inputs, as far as the target's check depends on nothing else.
pub struct Hunt {
    target: Target,
    seed: u64,
    rounds: u64,
    seeds: Vec<Vec<u8>>,
    given: usize,
    /// How often inputs led to each place.
    marks: BTreeMap<String, u64>,
    combinations: HashSet<u64>,
}

/// An input that shows that something does not hold. The panic itself has been printed.
#[derive(Debug)]
pub struct Failure {
    /// The input, in a file.
    pub file: PathBuf,
}

impl Hunt {
    /// A hunt that begins with the target's seeds and its corpus.
    pub fn new(target: Target, seed: u64) -> Hunt {
        let seeds = [(target.seeds)(), corpus::inputs(target.name)].concat();
        let given = seeds.len();
        Hunt { target, seed, rounds: 0, seeds, given, marks: BTreeMap::new(), combinations: HashSet::new() }
    }

    /// One more input. True if it led somewhere that none had led to before.
    ///
    /// # Errors
    /// The check panicked.
    pub fn round(&mut self) -> Result<bool, Failure> {
        let round = self.rounds;
        self.rounds += 1;
        let given = usize::try_from(round).ok().filter(|round| *round < self.given);
        let input = match given {
            Some(index) => self.seeds[index].clone(),
            None => Mutator::new(self.seed, round).mutate(&self.seeds, self.target.words),
        };
        let marks = self.check(&input)?;
        let is_new = self.learn(&marks);
        let found = self.seeds.len() - self.given;
        if given.is_none() && is_new && found < FOUND_MAX && input.len() <= FOUND_BYTES_MAX {
            self.seeds.push(input);
        }
        Ok(is_new)
    }

    fn check(&self, input: &[u8]) -> Result<Marks, Failure> {
        let mut marks = Marks::default();
        catch_unwind(AssertUnwindSafe(|| (self.target.check)(input, &mut marks)))
            .map_err(|_| Failure { file: self.write_down(input) })?;
        Ok(marks)
    }

    fn write_down(&self, input: &[u8]) -> PathBuf {
        let name = format!("fuzz-{}-{:x}-{}", self.target.name, self.seed, self.rounds);
        let file = std::env::temp_dir().join(name);
        fs::write(&file, input).expect("the folder for temporary files can be written");
        file
    }

    fn learn(&mut self, marks: &Marks) -> bool {
        for mark in marks.iter() {
            *self.marks.entry(mark.to_owned()).or_default() += 1;
        }
        self.combinations.insert(marks.fingerprint())
    }

    /// Inputs so far.
    pub fn rounds(&self) -> u64 {
        self.rounds
    }

    /// Where they led, and how many of them each time.
    pub fn marks(&self) -> &BTreeMap<String, u64> {
        &self.marks
    }

    /// Writes into `folder` the smallest set of short inputs that this hunt knows to lead everywhere it has been: for each
    /// place the shortest input that leads there, unless one that was chosen before leads there too.
    ///
    /// # Errors
    /// The folder can not be written.
    pub fn write_seeds(&self, folder: &Path) -> std::io::Result<usize> {
        fs::create_dir_all(folder)?;
        let mut by_length: Vec<&Vec<u8>> = self.seeds.iter().collect();
        by_length.sort_by_key(|seed| seed.len());
        let mut covered = Marks::default();
        let mut written = 0;
        for seed in by_length {
            let Ok(marks) = self.check(seed) else { continue };
            if marks.iter().all(|mark| covered.has(mark)) {
                continue;
            }
            marks.iter().for_each(|mark| covered.saw(mark));
            written += 1;
            fs::write(folder.join(format!("{written:04}")), seed)?;
        }
        Ok(written)
    }
}
