//! Turns of several processes at one key, and whether they were what a lock promises.
//!
//! Owns how a turn is passed on, and the judgement over all of them. Must not know who took them.

use serde_json::{Value, json};

/// One turn: granted, and about to be released, in nanoseconds of boottime. Taken by whoever held it, between the two
/// calls: turns that overlap were not exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Turn {
    pub(super) from: u64,
    pub(super) until: u64,
    pub(super) fence: u64,
}

/// All that were seen.
#[derive(Debug, Default)]
pub(super) struct Turns(Vec<Turn>);

/// What they were like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// One at a time, every fence above the last.
    InOrder,
    /// Two at a time.
    Overlap,
    /// One at a time, and a later one had no higher fence.
    FenceFell,
}

/// Turns as one document.
pub(super) fn written(turns: &[Turn]) -> Value {
    turns.iter().map(|turn| json!([turn.from, turn.until, turn.fence])).collect()
}

impl Turns {
    /// Adds those of a document; `None` if it is none.
    pub(super) fn add(&mut self, document: &Value) -> Option<()> {
        for turn in document.as_array()? {
            let number = |at: usize| turn[at].as_u64();
            self.0.push(Turn { from: number(0)?, until: number(1)?, fence: number(2)? });
        }
        Some(())
    }

    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// Judges all of them in the order in which they began.
    pub(super) fn seen(mut self) -> Seen {
        self.0.sort_unstable();
        let pairs = || self.0.iter().zip(self.0.iter().skip(1));
        if pairs().any(|(one, next)| next.from < one.until) {
            return Seen::Overlap;
        }
        match pairs().all(|(one, next)| one.fence < next.fence) {
            true => Seen::InOrder,
            false => Seen::FenceFell,
        }
    }
}

impl Seen {
    /// In the story's words.
    pub(super) fn words(self) -> &'static str {
        match self {
            Seen::InOrder => "one at a time, every fence above the last",
            Seen::Overlap => "but two of them held it at once: report this",
            Seen::FenceFell => "one at a time, but a fence was NOT above the last: report this",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is seen of runners with these turns.
    fn seen(runners: &[&[(u64, u64, u64)]]) -> Seen {
        let mut turns = Turns::default();
        for runner in runners {
            let own: Vec<_> =
                runner.iter().map(|&(from, until, fence)| Turn { from, until, fence }).collect();
            turns.add(&written(&own)).expect("is what we write");
        }
        assert_eq!(turns.count(), runners.iter().map(|runner| runner.len()).sum::<usize>());
        turns.seen()
    }

    #[test]
    fn turns_are_judged_across_runners() {
        assert_eq!(seen(&[&[(1, 2, 1), (5, 6, 3)], &[(3, 4, 2), (7, 8, 4)]]), Seen::InOrder);
        assert_eq!(seen(&[&[(1, 2, 1), (5, 6, 3)], &[(3, 4, 4)]]), Seen::FenceFell, "each alone rises");
        assert_eq!(seen(&[&[(1, 2, 1)], &[(3, 4, 1)]]), Seen::FenceFell, "the same is not above");
        assert_eq!(seen(&[&[(1, 4, 1)], &[(3, 5, 2)]]), Seen::Overlap);
        assert_eq!(seen(&[&[(1, 2, 1)], &[(2, 3, 2)], &[]]), Seen::InOrder, "one after the other");
    }

    #[test]
    fn what_is_no_turn_is_not_passed_over() {
        for document in [json!(null), json!([[1, 2]]), json!([["a", 2, 3]])] {
            assert_eq!(Turns::default().add(&document), None, "{document}");
        }
    }
}
