//! What is known to be done: successes of once keys whose window is open.
//!
//! Owns a bounded memory. Must not know where a success was learned. Forgetting costs a question to the store, and a
//! store that lost its data loses nothing by what is remembered here.

use crate::model::{Key, Time};
use crate::store::Success;
use std::collections::{HashMap, VecDeque};

/// Successes remembered. One without a result costs about 300 bytes.
pub(crate) const KNOWN_MAX: usize = 16_384;
/// Bytes of results remembered.
pub(crate) const KNOWN_BYTES_MAX: usize = 8 << 20;

/// The memory; the oldest are forgotten.
#[derive(Default)]
pub(crate) struct Known {
    by_key: HashMap<Key, Entry>,
    /// The order of learning; an entry whose number is not that of its key was replaced.
    order: VecDeque<(u64, Key)>,
    learned: u64,
    bytes: usize,
}

struct Entry {
    number: u64,
    success: Success,
    /// The window is surely open until then, by our clock.
    until: Time,
}

impl Known {
    /// As [`Known::get`], for who only looks.
    pub(crate) fn peek(&self, now: Time, key: &Key) -> Option<&Success> {
        self.by_key.get(key).filter(|entry| now < entry.until).map(|entry| &entry.success)
    }

    pub(crate) fn get(&mut self, now: Time, key: &Key) -> Option<Success> {
        match self.by_key.get(key)? {
            entry if now < entry.until => Some(entry.success.clone()),
            _ => {
                self.forget(key);
                None
            }
        }
    }

    pub(crate) fn learn(&mut self, now: Time, key: &Key, success: &Success, until: Time) {
        if until <= now {
            return;
        }
        self.forget(key);
        self.learned += 1;
        self.bytes += success.result.len();
        let entry = Entry { number: self.learned, success: success.clone(), until };
        self.by_key.insert(key.clone(), entry);
        self.order.push_back((self.learned, key.clone()));
        self.make_room(now);
    }

    fn forget(&mut self, key: &Key) {
        if let Some(entry) = self.by_key.remove(key) {
            self.bytes -= entry.success.result.len();
        }
    }

    /// Drops the oldest while they are over or there are too many, and what was replaced with them.
    fn make_room(&mut self, now: Time) {
        while let Some((number, key)) = self.order.front() {
            let standing = self.by_key.get(key).filter(|entry| entry.number == *number);
            let too_many = self.order.len() > KNOWN_MAX || self.bytes > KNOWN_BYTES_MAX;
            match standing {
                Some(entry) if now < entry.until && !too_many => return,
                Some(_) => {
                    let key = key.clone();
                    self.forget(&key);
                }
                None => {}
            }
            self.order.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Space, StoreTime};

    const OPEN: Time = Time(1_000);

    fn key(number: usize) -> Key {
        Key::of(Space::Once, &number.to_string()).expect("a number is a key")
    }

    fn success(bytes: usize) -> Success {
        let result = vec![0; bytes].into();
        Success { finished_at: StoreTime(1), window_end: StoreTime(9), result }
    }

    #[test]
    fn what_is_done_is_known_until_its_window_may_be_over() {
        let mut known = Known::default();
        known.learn(Time(1), &key(1), &success(5), OPEN);
        assert_eq!(known.get(Time(999), &key(1)), Some(success(5)));
        assert_eq!(known.get(OPEN, &key(1)), None);
        assert_eq!((known.by_key.len(), known.bytes), (0, 0));
        known.learn(OPEN, &key(1), &success(5), OPEN);
        assert!(known.by_key.is_empty(), "what is over is not learned");
    }

    #[test]
    fn the_oldest_are_forgotten_by_count_and_by_bytes() {
        let mut known = Known::default();
        for number in 0..=KNOWN_MAX {
            known.learn(Time(1), &key(number), &success(0), OPEN);
        }
        assert_eq!((known.by_key.len(), known.order.len()), (KNOWN_MAX, KNOWN_MAX));
        assert!(known.get(Time(1), &key(0)).is_none() && known.get(Time(1), &key(1)).is_some());
        let mut known = Known::default();
        for number in 0..=KNOWN_BYTES_MAX / 65_536 {
            known.learn(Time(1), &key(number), &success(65_536), OPEN);
        }
        assert_eq!(known.bytes, KNOWN_BYTES_MAX);
        assert!(known.get(Time(1), &key(0)).is_none() && known.get(Time(1), &key(1)).is_some());
    }

    #[test]
    fn a_key_that_is_done_again_and_again_is_remembered_once() {
        let mut known = Known::default();
        for round in 0..1_000 {
            known.learn(Time(round), &key(1), &success(7), Time(round + 1));
        }
        assert_eq!((known.by_key.len(), known.order.len(), known.bytes), (1, 1, 7));
    }
}
