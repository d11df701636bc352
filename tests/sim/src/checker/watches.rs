//! Who watches a register hears of its changes.
//!
//! Owns that, and the time it may take with every push lost. What a watch is told is there is judged with all reads.

use super::book::Book;
use super::history::{At, Bounds, Event, Req, Sent};
use super::value::{Act, Asked, Version};
use super::{Findings, Rule, slot};
use std::time::Duration;

/// A watched register is looked at so often.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// One register.
#[derive(Default)]
struct Register {
    current: Option<Version>,
    changed_at: At,
    /// Those who watch it, and what each knows.
    open: Vec<(Req, Option<Version>)>,
}

/// The rule on watches.
#[derive(Default)]
pub(super) struct Watches {
    registers: Vec<Register>,
}

impl Watches {
    pub(super) fn see(&mut self, at: At, event: &Event, book: &Book, bounds: &Bounds, found: &mut Findings) {
        match *event {
            Event::Sent { of, what: Sent::Register(Asked { register, act: Act::Watch { known }, .. }) } => {
                slot(&mut self.registers, register).open.push((of, known));
            }
            Event::Stored(stored) => {
                let register = slot(&mut self.registers, stored.register);
                register.changes(at, stored.value.map(|_| stored.version), book, bounds, found);
            }
            Event::Flushed => {
                self.registers
                    .iter_mut()
                    .for_each(|register| register.changes(at, None, book, bounds, found));
            }
            Event::Watched { of, .. } | Event::Declined { of, .. } => {
                let unchanged = matches!(event, Event::Watched { unchanged: true, .. });
                for register in &mut self.registers {
                    register.answers(at, of, unchanged, book, bounds, found);
                }
            }
            Event::HungUp { session } | Event::EofSeen { session } | Event::CutOff { session } => {
                self.close(|of| of.session == session);
            }
            Event::Crashed { sidecar } => {
                self.close(|of| book.session(of.session).is_none_or(|session| session.sidecar == sidecar));
            }
            Event::Rest(_) => {
                self.registers.iter().for_each(|register| register.judge(at, None, book, bounds, found));
            }
            _ => {}
        }
    }

    /// Nobody is left to hear.
    fn close(&mut self, which: impl Fn(Req) -> bool) {
        self.registers.iter_mut().for_each(|register| register.open.retain(|(of, _)| !which(*of)));
    }
}

impl Register {
    fn changes(
        &mut self,
        at: At,
        version: Option<Version>,
        book: &Book,
        bounds: &Bounds,
        found: &mut Findings,
    ) {
        if version != self.current {
            self.judge(at, None, book, bounds, found);
            (self.current, self.changed_at) = (version, at);
        }
    }

    fn answers(
        &mut self,
        at: At,
        of: Req,
        unchanged: bool,
        book: &Book,
        bounds: &Bounds,
        found: &mut Findings,
    ) {
        let Some(place) = self.open.iter().position(|(open, _)| *open == of) else { return };
        self.judge(at, Some(of), book, bounds, found);
        let (_, known) = self.open.swap_remove(place);
        let sent_at = book.request(of).map(|request| request.sent_at).unwrap_or_default();
        // Whoever looked since it came saw that, whatever went wrong.
        if unchanged && known != self.current && self.changed_at <= sent_at {
            found.add(Rule::Unheard, || {
                format!(
                    "{of} knew {known:?} and was told that nothing changed, but {:?} is there",
                    self.current
                )
            });
        }
    }

    /// Whoever has watched for so long knows what is there.
    fn told_by(&self, of: Req, book: &Book, bounds: &Bounds) -> At {
        let sent_at = book.request(of).map(|request| request.sent_at).unwrap_or_default();
        let from = self.changed_at.max(sent_at).max(book.calm_since(bounds));
        from + LOOK_EVERY + 2 * bounds.round_trip + 2 * bounds.slack
    }

    /// Has this watch, or each, been told in time that something else is there?
    fn judge(&self, at: At, only: Option<Req>, book: &Book, bounds: &Bounds, found: &mut Findings) {
        for (of, known) in self.open.iter().filter(|(of, _)| only.is_none_or(|only| only == *of)) {
            let by = self.told_by(*of, book, bounds);
            if *known != self.current && at > by {
                let current = self.current;
                found.add(Rule::Unheard, || {
                    format!("{of} knows {known:?} and was to be told of {current:?} by {by}")
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Tale, req};
    use super::super::value::{Stored, Value};
    use super::*;

    const WATCH: Req = req(0, 0);

    fn version(number: u64) -> Version {
        Version { number, sidecar: 0, seq: number }
    }

    /// Somebody watches what is there from millisecond 20 on, and another writes at 100.
    fn watched() -> Tale {
        let mut tale = Tale::new();
        let put = |base| Sent::Register(Asked { register: 0, under: None, act: Act::Put { base } });
        let stored = |number, by| {
            let value = Some(Value { count: number, by });
            Event::Stored(Stored { register: 0, version: version(number), value, fence: None })
        };
        tale.add(5, Event::Sent { of: req(1, 0), what: put(None) }).add(10, stored(1, req(1, 0)));
        let act = Act::Watch { known: Some(version(1)) };
        let watch = Sent::Register(Asked { register: 0, under: None, act });
        tale.add(20, Event::Sent { of: WATCH, what: watch });
        tale.add(90, Event::Sent { of: req(1, 1), what: put(Some(version(1))) });
        tale.add(100, stored(2, req(1, 1)));
        tale
    }

    fn told(at: u64, unchanged: bool) -> bool {
        let mut tale = watched();
        tale.add(at, Event::Watched { of: WATCH, unchanged });
        tale.rules().contains(&Rule::Unheard)
    }

    #[test]
    fn a_change_is_told_within_a_look() {
        assert!(!told(1_000, false) && !told(1_150, false) && told(1_300, false));
        let away = Event::Disturbed { sidecar: 0, until: At(1_000_000_000) };
        let mut tale = watched();
        tale.add(150, away).add(3_000, Event::Watched { of: WATCH, unchanged: false });
        assert!(!tale.rules().contains(&Rule::Unheard));
    }

    #[test]
    fn nobody_is_told_that_nothing_changed_who_should_have_seen_it() {
        assert!(!told(900, true) && told(1_300, true));
        // Before it came: no disturbance excuses that.
        let mut tale = watched();
        tale.add(110, Event::Disturbed { sidecar: 0, until: At(60_000_000_000) });
        let act = Act::Watch { known: Some(version(1)) };
        let late = Sent::Register(Asked { register: 0, under: None, act });
        tale.add(120, Event::Sent { of: req(0, 1), what: late });
        tale.add(130, Event::Watched { of: req(0, 1), unchanged: true }).breaks(Rule::Unheard);
    }

    #[test]
    fn who_is_gone_is_told_nothing() {
        let mut tale = watched();
        tale.add(200, Event::HungUp { session: 0 }).add(5_000, Event::Watched { of: WATCH, unchanged: true });
        assert!(!tale.rules().contains(&Rule::Unheard));
    }
}
