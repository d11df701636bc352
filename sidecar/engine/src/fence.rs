//! Fence tokens inside one tenure (P1).
//!
//! Owns the range and what is left of it. Must not know how a range is reserved: that is the store's rule.

use crate::model::{Fence, FenceRange};

/// The tokens of one tenure, and the last one handed out for the key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fences {
    next: Fence,
    range: FenceRange,
    issued: Fence,
}

impl Fences {
    /// Tokens of a fresh range, above everything issued before for the key.
    pub(crate) fn new(range: FenceRange, issued_before: Fence) -> Fences {
        Fences { next: range.first.max(issued_before + 1), range, issued: issued_before }
    }

    /// A later reservation of the same tenure. An older one that arrives late changes nothing.
    pub(crate) fn top_up(&mut self, range: FenceRange) {
        if range.last > self.range.last {
            self.next = self.next.max(range.first);
            self.range = range;
        }
    }

    /// Hands out the next token. No token left, no grant.
    pub(crate) fn issue(&mut self) -> Option<Fence> {
        if self.next > self.range.last {
            return None;
        }
        let fence = self.next;
        assert!(fence > self.issued, "a fence must rise: {fence} after {}", self.issued);
        self.next += 1;
        self.issued = fence;
        Some(fence)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.next > self.range.last
    }

    /// Half of the range or more is used: time to reserve more, before somebody has to wait for it.
    pub(crate) fn is_low(&self) -> bool {
        let left = (self.range.last + 1).saturating_sub(self.next);
        left * 2 <= self.range.last + 1 - self.range.first
    }

    /// What was reserved last.
    pub(crate) fn range(&self) -> FenceRange {
        self.range
    }

    /// The highest token handed out for the key, 0 if none.
    pub(crate) fn issued(&self) -> Fence {
        self.issued
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: Fence, last: Fence) -> FenceRange {
        FenceRange { first, last }
    }

    #[test]
    fn tokens_rise_and_end() {
        let mut fences = Fences::new(range(10, 11), 0);
        assert_eq!([fences.issue(), fences.issue(), fences.issue()], [Some(10), Some(11), None]);
        assert_eq!(fences.issued(), 11);
    }

    #[test]
    fn a_range_that_reaches_below_what_was_issued_is_cut() {
        let mut fences = Fences::new(range(10, 12), 11);
        assert_eq!([fences.issue(), fences.issue()], [Some(12), None]);
    }

    #[test]
    fn an_old_top_up_is_ignored() {
        let mut fences = Fences::new(range(10, 20), 0);
        fences.top_up(range(30, 40));
        fences.top_up(range(21, 29));
        assert_eq!(fences.issue(), Some(30));
    }

    #[test]
    fn low_is_half() {
        let mut fences = Fences::new(range(1, 4), 0);
        fences.issue();
        assert!(!fences.is_low());
        fences.issue();
        assert!(fences.is_low());
    }
}
