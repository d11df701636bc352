//! Whether stopped clients really lost something: a lease that ran out while its holder was stopped, with somebody else
//! served meanwhile (S8).
//!
//! Owns reading that out of a history. Whether it was right is the checker's business.

use crate::merge::Stop;
use sidelock_sim::checker::history::{Acquire, Answer, At, Event, History, Record, Req, Sent};
use std::collections::HashMap;

/// An exclusive lease, as far as its holder knows.
#[derive(Clone, Copy, Debug)]
struct Lease {
    key: u32,
    deadline: At,
}

/// Exclusive leases by the acquire that they answer; what is over was removed.
#[derive(Default)]
struct Leases {
    asked: HashMap<Req, Acquire>,
    held: HashMap<Req, Lease>,
}

impl Leases {
    /// The key that was granted by this, if one was.
    fn see(&mut self, event: &Event) -> Option<u32> {
        match *event {
            Event::Sent { of, what: Sent::Acquire(acquire) } => drop(self.asked.insert(of, acquire)),
            Event::Answered { of, answer: Answer::Granted { deadline, .. } } => {
                let acquire = self.asked.get(&of).filter(|acquire| acquire.units == acquire.limit)?;
                self.held.insert(of, Lease { key: acquire.key, deadline });
                return Some(acquire.key);
            }
            Event::Extended { lease, until } => {
                if let Some(lease) = self.held.get_mut(&lease) {
                    lease.deadline = until;
                }
            }
            Event::LostSeen { lease } | Event::Sent { what: Sent::Release { lease }, .. } => {
                self.held.remove(&lease);
            }
            _ => {}
        }
        None
    }
}

/// Whether whoever wrote this holds the key, exclusively.
pub fn holds(diary: &[Record], key: u32, now: At) -> bool {
    let mut leases = Leases::default();
    for record in diary {
        leases.see(&record.event);
    }
    leases.held.values().any(|lease| lease.key == key && lease.deadline > now)
}

/// How many exclusive leases ran out while their holder was stopped, and were followed by a grant to somebody else before
/// it went on.
pub fn count(history: &History, stops: &[Stop]) -> usize {
    stops.iter().map(|stop| count_in(history, stop)).sum()
}

fn count_in(history: &History, Stop { sessions, span }: &Stop) -> usize {
    let mut leases = Leases::default();
    let (before, rest) = history.records.split_at(index_of(history, span.start));
    for record in before {
        leases.see(&record.event);
    }
    let mut slept_on = leases.held.clone();
    slept_on.retain(|of, lease| sessions.contains(&of.session) && lease.deadline > span.start);
    let mut overslept = 0;
    for Record { at, event } in rest.iter().take_while(|record| record.at < span.end) {
        if let Some(key) = leases.see(event) {
            let slept_on_before = slept_on.len();
            slept_on.retain(|_, lease| lease.key != key || lease.deadline > *at);
            overslept += slept_on_before - slept_on.len();
        }
    }
    overslept
}

fn index_of(history: &History, at: At) -> usize {
    history.records.partition_point(|record| record.at < at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sidelock_sim::checker::history::{Bounds, Wait};

    fn acquire(at: u64, session: u32) -> Record {
        let whole = u32::MAX;
        let what = Acquire {
            key: 1,
            units: whole,
            limit: whole,
            wait: Wait::Forever,
            priority: 0,
            timed: false,
            owner: None,
            per: None,
            max_hold: None,
            watched: true,
            upgrades: None,
            group: None,
            turn: false,
        };
        Record {
            at: At(at),
            event: Event::Sent { of: Req { session, request: 0 }, what: Sent::Acquire(what) },
        }
    }

    fn granted(at: u64, session: u32, deadline: u64) -> Record {
        let answer = Answer::Granted { fence: at, deadline: At(deadline) };
        Record { at: At(at), event: Event::Answered { of: Req { session, request: 0 }, answer } }
    }

    fn overslept(next_grant: u64) -> usize {
        let records = vec![acquire(1, 0), acquire(2, 1), granted(3, 0, 10), granted(next_grant, 1, 99)];
        let history = History { bounds: Bounds::default(), records };
        count(&history, &[Stop { sessions: 0..1, span: At(5)..At(20) }])
    }

    #[test]
    fn only_who_is_served_while_the_holder_sleeps_past_its_deadline_counts() {
        assert_eq!(overslept(15), 1);
        assert_eq!(overslept(8), 0, "it was over before: that would be for the checker to find");
        assert_eq!(overslept(25), 0, "the holder was awake again");
    }

    #[test]
    fn a_diary_tells_who_holds() {
        let diary = [acquire(1, 0), granted(3, 0, 10)];
        assert!(holds(&diary, 1, At(5)));
        assert!(!holds(&diary, 1, At(10)) && !holds(&diary, 2, At(5)) && !holds(&diary[..1], 1, At(5)));
    }
}
