//! How long a sidecar may go on serving its own waiters while another sidecar waits.
//!
//! Owns the bounds of L2: the budget once it knows, and how soon it must know. Histories without the store's queue pass.

use super::book::Book;
use super::history::{At, Bounds, Event, Req};
use super::{Findings, Rule, slot};

/// What one holder did while one entry waited.
#[derive(Clone, Copy)]
struct Overtaker {
    sidecar: u32,
    /// Grants since it knew.
    grants: u32,
    /// Its first grant after which it must have been in contact with the store.
    first_use: Option<At>,
}

/// A sidecar that waits in the store's queue.
struct Entry {
    sidecar: u32,
    ask: u64,
    since: At,
    until: At,
    offered: bool,
    overtakers: Vec<Overtaker>,
}

/// A sidecar that holds, or did.
#[derive(Clone, Copy, Default)]
struct Holder {
    /// Since when it knows that others wait.
    learned: Option<At>,
    /// Grants under its tenure.
    grants: u32,
}

/// One key.
#[derive(Default)]
struct KeyQueue {
    entries: Vec<Entry>,
    /// Per sidecar.
    holders: Vec<Holder>,
}

/// The rules on overtaking.
#[derive(Default)]
pub(super) struct Overtaking {
    keys: Vec<KeyQueue>,
}

impl Overtaking {
    pub(super) fn see(&mut self, at: At, event: &Event, book: &Book, bounds: &Bounds, found: &mut Findings) {
        match *event {
            Event::Entered { sidecar, key, ask, until, .. } => self.entered(at, key, sidecar, ask, until),
            Event::Left { sidecar, key } => {
                slot(&mut self.keys, key).entries.retain(|entry| entry.sidecar != sidecar);
            }
            Event::Offered { sidecar, key, ask } => {
                for entry in &mut slot(&mut self.keys, key).entries {
                    entry.offered |= entry.sidecar == sidecar && entry.ask == ask;
                }
            }
            Event::Seated { sidecar, key, .. } => {
                let queue = slot(&mut self.keys, key);
                queue.entries.retain(|entry| entry.sidecar != sidecar);
                for entry in &mut queue.entries {
                    entry.overtakers.retain(|overtaker| overtaker.sidecar != sidecar);
                }
            }
            Event::Installed { sidecar, key } | Event::Returned { sidecar, key } => {
                *slot(&mut slot(&mut self.keys, key).holders, sidecar) = Holder::default();
            }
            Event::Learned { sidecar, key, contended } => {
                let holder = slot(&mut slot(&mut self.keys, key).holders, sidecar);
                holder.learned = contended.then(|| holder.learned.unwrap_or(at));
            }
            Event::Flushed => self.keys.iter_mut().for_each(|queue| queue.entries.clear()),
            Event::Evicted { key } => slot(&mut self.keys, key).entries.clear(),
            Event::Issued { lease, .. } => self.granted(at, lease, book, bounds, found),
            _ => {}
        }
    }

    fn entered(&mut self, at: At, key: u32, sidecar: u32, ask: u64, until: At) {
        let entries = &mut slot(&mut self.keys, key).entries;
        let same = |entry: &&mut Entry| entry.sidecar == sidecar && entry.ask == ask && !entry.offered;
        match entries.iter_mut().find(same) {
            Some(entry) => entry.until = until,
            None => {
                entries.retain(|entry| entry.sidecar != sidecar);
                entries.push(Entry {
                    sidecar,
                    ask,
                    since: at,
                    until,
                    offered: false,
                    overtakers: Vec::new(),
                });
            }
        }
    }

    fn granted(&mut self, at: At, lease: Req, book: &Book, bounds: &Bounds, found: &mut Findings) {
        let (Some((acquire, sidecar)), Some(request)) = (book.acquire(lease), book.request(lease)) else {
            return;
        };
        // Who keeps a share and wants all goes first, whoever waits; a group's turn was when it reserved the key.
        if acquire.upgrades.is_some() || acquire.group.is_some() {
            return;
        }
        let queue = slot(&mut self.keys, acquire.key);
        let holder = slot(&mut queue.holders, sidecar);
        // A tenure that came at its sidecar's turn serves somebody, or two slow sidecars would pass it on for ever.
        let first = holder.grants == 0;
        holder.grants += 1;
        let learned = holder.learned.filter(|_| !first);
        for entry in &mut queue.entries {
            if entry.sidecar == sidecar || entry.offered || entry.until <= at {
                continue;
            }
            // Who waits at a strict store that grants nothing does not compete with those whom another one still serves.
            if bounds.strict && book.disturbed_until > entry.since {
                continue;
            }
            let seen = overtaker(&mut entry.overtakers, sidecar);
            let mut say = |rule, text: String| {
                found.add(rule, || {
                    format!(
                        "key {}: {lease} was granted by sidecar {sidecar} while sidecar {} waits since {}, {text}",
                        acquire.key, entry.sidecar, entry.since
                    )
                });
            };
            if let Some(learned) = learned {
                let known = learned.max(entry.since);
                seen.grants += 1;
                if seen.grants > bounds.handoffs_max {
                    say(Rule::Overtaking, format!("known since {known}: {} grants", seen.grants));
                }
                // A host whose clock stood still has not seen that time go by.
                let froze = book.sidecar(sidecar).froze_at.is_some();
                if !froze && at > known + bounds.handoff_time_max + bounds.slack {
                    say(Rule::Overtaking, format!("known since {known}"));
                }
                if request.sent_at > known + bounds.slack {
                    say(Rule::Overtaking, format!("known since {known}, asked for at {}", request.sent_at));
                }
            }
            if book.sidecar(sidecar).disturbed_until > entry.since {
                continue;
            }
            if at >= entry.since + bounds.contact_every + bounds.round_trip {
                let used = *seen.first_use.get_or_insert(at);
                if !first && at > used + bounds.round_trip + bounds.handoff_time_max + bounds.slack {
                    say(Rule::Learning, format!("in use since {used}"));
                }
            }
        }
    }
}

fn overtaker(list: &mut Vec<Overtaker>, sidecar: u32) -> &mut Overtaker {
    let index = list.iter().position(|overtaker| overtaker.sidecar == sidecar);
    let index = index.unwrap_or_else(|| {
        list.push(Overtaker { sidecar, grants: 0, first_use: None });
        list.len() - 1
    });
    &mut list[index]
}

#[cfg(test)]
mod tests {
    use super::super::history::{Acquire, Event};
    use super::super::tests::{LOCK, Tale, entered, exclusive, req};
    use super::*;

    /// Sidecar 0 serves session 0 every `every` ms from 0 on, up to `until`, while sidecar 1 waits since 5.
    fn busy_holder(every: u64, until: u64, learned: Option<u64>) -> Tale {
        let mut tale = Tale::new();
        let mut number = 0;
        for at in 0..until {
            if at == 5 {
                tale.add(at, entered(1, 60_000));
            }
            if learned == Some(at) {
                tale.add(at, Event::Learned { sidecar: 0, key: 0, contended: true });
            }
            if at % every == 0 {
                let lease = req(0, number);
                number += 1;
                tale.acquire(at, lease)
                    .issued(at, lease, 100 + at, at + 9_000)
                    .add(at, Event::Done { lease, lost: false });
            }
        }
        tale
    }

    #[test]
    fn the_overtaking_budget_ends_by_count_and_by_time() {
        assert!(busy_holder(1, 60, Some(6)).rules().contains(&Rule::Overtaking), "more than 32 grants");
        assert!(busy_holder(30, 120, Some(6)).rules().contains(&Rule::Overtaking), "more than 50 ms");
        assert_eq!(busy_holder(5, 25, Some(6)).rules(), []);
    }

    #[test]
    fn a_busy_holder_learns_in_time_that_another_waits() {
        assert!(busy_holder(10, 400, None).rules().contains(&Rule::Learning));
        assert_eq!(busy_holder(10, 120, None).rules(), []);
    }

    #[test]
    fn a_tenure_that_came_at_its_turn_serves_somebody_however_long_that_takes() {
        let shared = Acquire { units: 1, ..exclusive() };
        let serve = |tale: &mut Tale, at, number| {
            let lease = req(0, number);
            tale.ask(at, lease, shared).issued(at, lease, 100 + at, at + 9_000);
            tale.add(at, Event::Done { lease, lost: false });
        };
        let mut tale = Tale::new();
        tale.add(3, entered(0, 60_000)).add(5, entered(1, 60_000));
        tale.add(210, Event::Seated { sidecar: 0, key: 0, ask: 1, units: LOCK, upgrade: false });
        // Under the tenure that it had.
        serve(&mut tale, 215, 1);
        tale.add(220, Event::Installed { sidecar: 0, key: 0 });
        tale.add(220, Event::Learned { sidecar: 0, key: 0, contended: true });
        serve(&mut tale, 700, 2);
        tale.is_good();
        serve(&mut tale, 701, 3);
        tale.breaks(Rule::Learning);
    }
}
