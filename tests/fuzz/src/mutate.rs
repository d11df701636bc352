//! Valid bytes, damaged.
//!
//! Owns the ways of damage: flipped, replaced, inserted, removed, repeated and spliced bytes, words of the target's
//! language, and numbers at the edges of their ranges, binary or as text, where lengths and counts go wrong.

/// Most bytes of an input: past the frame limit, so that it is hit.
const INPUT_BYTES_MAX: usize = 140_000;

/// Numbers that parsers stumble over.
const EDGES: [u64; 10] =
    [0, 1, 0x7f, 0x80, 0xff, 0xffff, 0x7fff_ffff, 0xffff_ffff, u64::MAX / 8 + 1, u64::MAX];

/// The mutations of one round.
pub(crate) struct Mutator {
    state: u64,
}

impl Mutator {
    pub(crate) fn new(seed: u64, round: u64) -> Mutator {
        // Neighbouring seeds and rounds must not begin alike: one step of splitmix64 for each.
        let mut mutator = Mutator { state: seed };
        mutator.state = mutator.number() ^ round;
        mutator
    }

    /// Splitmix64 (Steele, Lea and Flood 2014).
    fn number(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `end`, which is not zero.
    fn below(&mut self, end: usize) -> usize {
        (self.number() % end as u64) as usize
    }

    /// One of the seeds, damaged in a few places.
    pub(crate) fn mutate(&mut self, seeds: &[Vec<u8>], words: &[&str]) -> Vec<u8> {
        let mut bytes = seeds[self.below(seeds.len())].clone();
        for _ in 0..=self.below(4) {
            // Half of the damage to a text is in its own words.
            match words.is_empty() || self.below(2) == 0 {
                true => self.damage(&mut bytes, seeds),
                false => self.reword(&mut bytes, words),
            }
        }
        bytes.truncate(INPUT_BYTES_MAX);
        bytes
    }

    fn damage(&mut self, bytes: &mut Vec<u8>, seeds: &[Vec<u8>]) {
        let at = self.below(bytes.len() + 1);
        let rest = bytes.len() - at;
        match self.below(8) {
            0 if rest > 0 => bytes[at] ^= 1 << self.below(8),
            1 if rest > 0 => bytes[at] = self.number() as u8,
            2 => bytes.insert(at, self.number() as u8),
            3 => bytes.truncate(at),
            4 => self.edge(&mut bytes[at..]),
            5 => {
                let end = at + self.below(rest.min(64) + 1);
                let part = bytes[at..end].to_vec();
                let times = [1, 2, 100, 3000][self.below(4)];
                bytes.splice(at..at, part.repeat(times));
            }
            6 => {
                let end = at + self.below(rest.min(64) + 1);
                drop(bytes.drain(at..end));
            }
            _ => {
                let other = &seeds[self.below(seeds.len())];
                let from = self.below(other.len() + 1);
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
        }
    }

    /// A word instead of the one that stands there, or between others; or another number instead of one in digits.
    fn reword(&mut self, bytes: &mut Vec<u8>, words: &[&str]) {
        let at = self.below(bytes.len() + 1);
        let same_kind = |kind: fn(&u8) -> bool| bytes[at..].iter().take_while(|byte| kind(byte)).count();
        let word = words[self.below(words.len())].as_bytes();
        match self.below(3) {
            0 => drop(bytes.splice(at..at, word.iter().copied())),
            1 => {
                let end = at + same_kind(u8::is_ascii_alphanumeric);
                drop(bytes.splice(at..end, word.iter().copied()));
            }
            _ => {
                let Some(start) = bytes[at..].iter().position(u8::is_ascii_digit).map(|skip| at + skip)
                else {
                    return;
                };
                let digits = bytes[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
                let number = match self.below(2) {
                    0 => EDGES[self.below(EDGES.len())],
                    _ => self.number() % 100,
                };
                drop(bytes.splice(start..start + digits, number.to_string().into_bytes()));
            }
        }
    }

    /// A number at the edge of a range, in a width that protocols use, over what was there.
    fn edge(&mut self, bytes: &mut [u8]) {
        let number = EDGES[self.below(EDGES.len())].to_le_bytes();
        let width = [1, 2, 4, 8][self.below(4)].min(bytes.len());
        bytes[..width].copy_from_slice(&number[..width]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_replays_and_its_neighbours_differ() {
        let seeds = vec![vec![7; 100]];
        let input = |seed, round| Mutator::new(seed, round).mutate(&seeds, &["word"]);
        assert_eq!(input(1, 5), input(1, 5));
        assert_ne!(input(1, 5), input(1, 6));
        assert_ne!(input(1, 5), input(2, 5));
    }
}
