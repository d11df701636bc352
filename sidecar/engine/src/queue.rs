//! The local queue of one key.
//!
//! Owns the order of waiters. Must not know leases or tenures.
//!
//! Waiters are first-in-first-out within a priority, and a waiter gains one priority a second. Both together are one
//! constant per waiter: it counts as having arrived `priority` seconds earlier than it did. The order never changes
//! while they wait, so enqueue, cancel and head are O(log n).

use crate::model::Time;
use std::collections::BTreeMap;

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
    tries: u32,
}

impl Queue {
    pub(crate) fn push(&mut self, place: Place, waiter: usize, is_try: bool) {
        self.tries += u32::from(is_try);
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
        self.tries -= u32::from(removed && is_try);
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
        self.tries > 0
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
    fn tries_are_counted() {
        let mut queue = Queue::default();
        let place = Place::new(Time::ZERO, 0, 7);
        queue.push(place, 3, true);
        assert!(queue.has_tries());
        queue.remove(place, true);
        queue.remove(place, true);
        assert!(!queue.has_tries() && queue.is_empty());
    }
}
