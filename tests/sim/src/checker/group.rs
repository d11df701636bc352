//! Several keys at once: all of them are granted in one turn of the sidecar, or none.
//!
//! Owns that. Must not know who waits where until then.

use super::book::Book;
use super::history::{At, Event, Req, Sent};
use super::{Findings, Rule};
use std::collections::BTreeMap;

/// A request for several keys.
#[derive(Default)]
struct Group {
    members: u32,
    granted: u32,
    at: At,
}

/// The rule on groups.
#[derive(Default)]
pub(super) struct Groups {
    /// By session and number.
    all: BTreeMap<(u32, u32), Group>,
}

impl Groups {
    pub(super) fn see(&mut self, at: At, event: &Event, book: &Book, found: &mut Findings) {
        match *event {
            Event::Sent { of, what: Sent::Acquire(acquire) } => {
                if let Some(group) = acquire.group {
                    self.all.entry((of.session, group)).or_default().members += 1;
                }
            }
            Event::Issued { lease, .. } => self.issued(at, lease, book, found),
            Event::Rest(_) => {
                for (name, group) in &self.all {
                    if group.granted > 0 && group.granted < group.members {
                        half(*name, group, found);
                    }
                }
            }
            _ => {}
        }
    }

    fn issued(&mut self, at: At, lease: Req, book: &Book, found: &mut Findings) {
        let Some(name) = book.acquire(lease).and_then(|(acquire, _)| acquire.group) else { return };
        let Some(group) = self.all.get_mut(&(lease.session, name)) else { return };
        if group.granted > 0 && group.at != at {
            half((lease.session, name), group, found);
        }
        group.granted += 1;
        group.at = at;
    }
}

fn half((session, request): (u32, u32), group: &Group, found: &mut Findings) {
    found.add(Rule::Group, || {
        format!(
            "session {session} request {request}: {} of {} keys were granted at {}, the others were not",
            group.granted, group.members, group.at
        )
    });
}

#[cfg(test)]
mod tests {
    use super::super::history::Acquire;
    use super::super::tests::{Tale, permits, req};
    use super::*;

    fn member(key: u32) -> Acquire {
        Acquire { key, group: Some(0), ..permits(1) }
    }

    #[test]
    fn all_keys_are_granted_at_once_or_none() {
        let mut tale = Tale::new();
        tale.ask(5, req(0, 0), member(0)).ask(5, req(0, 1), member(1));
        tale.issued(10, req(0, 0), 100, 5_000).issued(10, req(0, 1), 101, 5_000).is_good();
        tale.ask(20, req(1, 0), member(0)).ask(20, req(1, 1), member(1));
        tale.issued(30, req(1, 0), 102, 5_000).issued(31, req(1, 1), 103, 5_000).breaks(Rule::Group);
    }
}
