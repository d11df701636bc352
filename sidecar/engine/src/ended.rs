//! What became of leases that are no more.
//!
//! Owns a bounded memory, so that holders hear why a lease is gone and not merely that it is unknown (S4).

use crate::effect::LostReason;
use crate::model::{LeaseSecret, RequestId, SessionId};
use std::collections::{HashMap, VecDeque};

/// Ended leases remembered, so that their holders hear why they are gone and not merely that they are unknown.
const ENDED_MAX: usize = 16_384;

/// The memory; the oldest are forgotten.
#[derive(Default)]
pub(crate) struct Ended {
    by_name: HashMap<EndedName, Ending>,
    order: VecDeque<EndedName>,
}

/// How clients name a lease that is over.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum EndedName {
    Session(SessionId, RequestId),
    Timed(LeaseSecret),
}

/// Whose it was and how it ended.
#[derive(Clone, Copy)]
pub(crate) struct Ending {
    pub(crate) uid: u32,
    /// `None`: its holder released it.
    pub(crate) lost: Option<LostReason>,
}

impl Ended {
    pub(crate) fn recall(&self, name: EndedName) -> Option<Ending> {
        self.by_name.get(&name).copied()
    }

    pub(crate) fn remember(&mut self, name: EndedName, ending: Ending) {
        if self.by_name.insert(name, ending).is_none() {
            self.order.push_back(name);
            if self.order.len() > ENDED_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.by_name.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_are_forgotten() {
        let mut ended = Ended::default();
        for request in 0..=ENDED_MAX as u64 {
            ended.remember(
                EndedName::Session(SessionId(1), RequestId(request)),
                Ending { uid: 0, lost: None },
            );
        }
        assert!(ended.recall(EndedName::Session(SessionId(1), RequestId(0))).is_none());
        assert!(ended.recall(EndedName::Session(SessionId(1), RequestId(1))).is_some());
        assert_eq!(ended.by_name.len(), ENDED_MAX);
    }
}
