//! The local queue of one key.
//!
//! Owns the order of waiters. Must not know leases or tenures.
//!
//! Waiters are first-in-first-out within a priority, and a waiter gains one priority a second. Both together are one
//! constant per waiter: it counts as having arrived `priority` seconds earlier than it did. The order never changes
//! while they wait, so enqueue, cancel and head are O(log n).

use crate::model::Time;
use std::collections::BTreeMap;
use std::ops::Bound;

const NANOS_PER_PRIORITY: i64 = 1_000_000_000;

/// A waiter's place: compare to know who is first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    rank: i64,
    /// Number of its arrival in this engine; breaks ties, and tells who was there when.
    pub(crate) arrival: u64,
}

impl Place {
    pub(crate) fn new(since: Time, priority: i32, arrival: u64) -> Place {
        let since = i64::try_from(since.0).unwrap_or(i64::MAX);
        Place { rank: since.saturating_sub(i64::from(priority) * NANOS_PER_PRIORITY), arrival }
    }

    /// Ahead of everybody, whatever their priority. There is one such place in a queue at a time.
    pub(crate) fn before_all(arrival: u64) -> Place {
        Place { rank: i64::MIN, arrival }
    }
}

/// Waiters in the order of grant. The first stands apart: most keys never have a second one, and an ordered map keeps
/// room for eleven once it has had one.
#[derive(Default)]
pub(crate) struct Queue {
    first: Option<(Place, usize)>,
    others: BTreeMap<Place, usize>,
    /// Those among them who want an answer now rather than a turn: others need not be walked to find them.
    tries: BTreeMap<Place, usize>,
}

impl Queue {
    pub(crate) fn push(&mut self, place: Place, waiter: usize, is_try: bool) {
        if is_try {
            self.tries.insert(place, waiter);
        }
        match &mut self.first {
            Some((first, _)) if *first < place => drop(self.others.insert(place, waiter)),
            first => {
                if let Some((place, waiter)) = first.replace((place, waiter)) {
                    self.others.insert(place, waiter);
                }
            }
        }
    }

    pub(crate) fn remove(&mut self, place: Place, is_try: bool) {
        let removed = match self.first {
            Some((first, _)) if first == place => {
                self.first = self.others.pop_first();
                true
            }
            _ => self.others.remove(&place).is_some(),
        };
        if is_try {
            self.tries.remove(&place);
        }
        if removed && self.others.is_empty() {
            self.others = BTreeMap::new();
        }
    }

    pub(crate) fn first(&self) -> Option<usize> {
        self.first.map(|(_, waiter)| waiter)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    pub(crate) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.others.len()
    }

    /// How many stand before this place: walks, so only for those who asked to know.
    pub(crate) fn ahead_of(&self, place: Place) -> usize {
        let first = self.first.is_some_and(|(first, _)| first < place);
        usize::from(first) + self.others.range(..place).count()
    }

    /// Whether somebody here wants an answer now rather than a turn.
    pub(crate) fn has_tries(&self) -> bool {
        !self.tries.is_empty()
    }

    /// Who they are, in the order of grant.
    pub(crate) fn tries(&self) -> impl Iterator<Item = usize> + '_ {
        self.tries.values().copied()
    }

    /// Those behind this place, in the order of grant.
    pub(crate) fn behind(&self, place: Place) -> impl Iterator<Item = usize> + '_ {
        // Nobody is ahead of the first.
        self.others.range((Bound::Excluded(place), Bound::Unbounded)).map(|(_, waiter)| *waiter)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.first().into_iter().chain(self.others.values().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn order(waiters: &[(u64, i32)]) -> Vec<usize> {
        let mut queue = Queue::default();
        for (i, &(ms, priority)) in waiters.iter().enumerate() {
            queue.push(Place::new(Time::ZERO + Duration::from_millis(ms), priority, i as u64), i, false);
        }
        queue.iter().collect()
    }

    #[test]
    fn equal_priorities_go_in_order_of_arrival() {
        assert_eq!(order(&[(5, 0), (5, 0), (6, 0)]), [0, 1, 2]);
    }

    #[test]
    fn a_priority_is_worth_a_second_and_no_more() {
        assert_eq!(order(&[(0, 0), (999, 1), (1001, 1)]), [1, 0, 2]);
    }

    #[test]
    fn tries_are_known() {
        let mut queue = Queue::default();
        let place = |arrival| Place::new(Time::ZERO, 0, arrival);
        queue.push(place(7), 3, true);
        queue.push(place(8), 4, false);
        queue.push(place(6), 2, true);
        assert!(queue.has_tries());
        assert_eq!(queue.tries().collect::<Vec<_>>(), [2, 3]);
        queue.remove(place(7), true);
        queue.remove(place(7), true);
        assert_eq!(queue.tries().collect::<Vec<_>>(), [2]);
        queue.remove(place(6), true);
        assert!(!queue.has_tries());
        queue.remove(place(8), false);
        assert!(queue.is_empty());
    }

    #[test]
    fn those_behind_a_place_are_found_without_those_ahead() {
        let mut queue = Queue::default();
        let place = |arrival| Place::new(Time::ZERO, 0, arrival);
        (0..4).for_each(|n| queue.push(place(n), n as usize, false));
        for n in 0..4 {
            assert_eq!(queue.behind(place(n)).collect::<Vec<_>>(), (n as usize + 1..4).collect::<Vec<_>>());
        }
    }
}
