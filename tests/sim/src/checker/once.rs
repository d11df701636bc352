//! Once per window: one success per window, by the turn that stands, and its result for everybody who waited.
//!
//! Owns P18, by what the store counted and what clients were told. That turns exclude each other is S2, as for any key.

use super::book::Book;
use super::bounds::RATES_DIFFER_MAX;
use super::history::{Answer, At, Bounds, Event, Req, Sent};
use super::{Findings, Rule, slot};
use std::time::Duration;

/// Instants of the store are rounded when a recorder turns them into true time.
const ROUNDING: Duration = Duration::from_micros(2);

/// A success, as the store counted it.
#[derive(Clone, Copy)]
struct Success {
    by: Req,
    at: At,
    /// When its window ends.
    until: At,
}

/// A tenure of the key, as the store has it.
struct Tenure {
    sidecar: u32,
    until: At,
}

/// One once key.
#[derive(Default)]
struct KeyState {
    /// All of them: who waited long ago may hear of one now.
    successes: Vec<Success>,
    /// The window that is closed, unless the store has forgotten it.
    closed: Option<Success>,
    tenures: Vec<Tenure>,
    /// The last turn that was granted.
    last_issued: Option<(Req, u64)>,
}

impl KeyState {
    /// The store has forgotten it.
    fn forget(&mut self) {
        self.tenures.clear();
        self.closed = None;
    }
}

/// The rules on once keys.
#[derive(Default)]
pub(super) struct Once {
    keys: Vec<KeyState>,
}

impl Once {
    pub(super) fn see(&mut self, at: At, event: &Event, book: &Book, bounds: &Bounds, found: &mut Findings) {
        match *event {
            Event::Seated { sidecar, key, .. } => {
                slot(&mut self.keys, key).tenures.push(Tenure { sidecar, until: at });
            }
            Event::Confirmed { sidecar, key, until } => {
                let mut tenures = slot(&mut self.keys, key).tenures.iter_mut();
                if let Some(tenure) = tenures.rfind(|tenure| tenure.sidecar == sidecar) {
                    tenure.until = until;
                }
            }
            Event::Returned { sidecar, key } => {
                let tenures = &mut slot(&mut self.keys, key).tenures;
                if let Some(index) = tenures.iter().position(|tenure| tenure.sidecar == sidecar) {
                    tenures.remove(index);
                }
            }
            Event::Flushed => self.keys.iter_mut().for_each(KeyState::forget),
            Event::Evicted { key } => slot(&mut self.keys, key).forget(),
            Event::Succeeded { sidecar, key, fence, by, until } => {
                let success = Success { by, at, until };
                if bounds.clocks_agree {
                    self.counted(key, sidecar, fence, success, found);
                }
                let state = slot(&mut self.keys, key);
                state.successes.push(success);
                state.closed = Some(success);
            }
            Event::Issued { lease, fence, .. } => self.issued(at, lease, fence, book, bounds, found),
            Event::Answered { of, answer: Answer::Done { by } } => self.told(at, of, by, book, bounds, found),
            Event::Answered { of, answer: Answer::Finished } => self.acknowledged(of, book, found),
            _ => {}
        }
    }

    /// The store counts a success: of the turn that stands, and the first of its window.
    fn counted(&self, key: u32, sidecar: u32, fence: u64, success: Success, found: &mut Findings) {
        let Some(state) = self.keys.get(key as usize) else {
            return;
        };
        let Success { by, at, .. } = success;
        if let Some(before) = state.closed.filter(|before| at + ROUNDING < before.until) {
            found.add(Rule::OnceTwice, || {
                format!("key {key}: {by} succeeded, though {} had until {}", before.by, before.until)
            });
        }
        let stands = |tenure: &Tenure| tenure.sidecar == sidecar && at <= tenure.until + ROUNDING;
        if !state.tenures.iter().any(stands) {
            found.add(Rule::TurnPassedOn, || {
                format!(
                    "key {key}: {by} succeeded, but its sidecar {sidecar} had no turn at the store any more"
                )
            });
        }
        if let Some((next, _)) = state.last_issued.filter(|(_, later)| fence < *later) {
            found.add(Rule::TurnPassedOn, || {
                format!("key {key}: {by} succeeded after the turn was granted to {next}")
            });
        }
    }

    /// A turn is granted.
    fn issued(&mut self, at: At, lease: Req, fence: u64, book: &Book, bounds: &Bounds, found: &mut Findings) {
        let Some((acquire, sidecar)) = book.acquire(lease) else {
            return;
        };
        let state = slot(&mut self.keys, acquire.key);
        state.last_issued = Some((lease, fence));
        // A sidecar that has not heard that its turn was taken, or that its clock stood still, may pass it on; and one
        // that has a turn of before the store's data were lost (S6).
        let deaf = book.was_forced(lease, fence) || book.sidecar(sidecar).froze_at.is_some();
        let amnesia = book.flushed_at.is_some_and(|flushed| at <= flushed + bounds.longest);
        if deaf || amnesia || !bounds.clocks_agree {
            return;
        }
        if let Some(before) = state.closed.filter(|before| at + ROUNDING < before.until) {
            found.add(Rule::OnceTwice, || {
                format!(
                    "key {}: {lease} got a turn, though {} had succeeded at {} until {}",
                    acquire.key, before.by, before.at, before.until
                )
            });
        }
    }

    /// A client is told that it is done: by a turn that was counted, and whose window or result was its to hear of.
    fn told(&self, at: At, of: Req, by: Req, book: &Book, bounds: &Bounds, found: &mut Findings) {
        let (Some((acquire, _)), Some(request)) = (book.acquire(of), book.request(of)) else {
            return;
        };
        let state = self.keys.get(acquire.key as usize);
        let mut successes = state.into_iter().flat_map(|state| &state.successes);
        // How long it has waited is counted by its sidecar, whose clock may run otherwise than the store's (A1).
        let leeway = ROUNDING + at.since(request.sent_at).mul_f64(RATES_DIFFER_MAX);
        let concerned = |success: &Success| {
            !bounds.clocks_agree || request.sent_at <= success.until.max(success.at) + leeway
        };
        if !successes.any(|success| success.by == by && concerned(success)) {
            found.add(Rule::ForeignResult, || {
                format!("key {}: {of} was told that {by} did it, who did not, or long before", acquire.key)
            });
        }
    }

    /// A client is told that its turn counts: the store must have counted it.
    fn acknowledged(&self, of: Req, book: &Book, found: &mut Findings) {
        let Some(Sent::Finish { lease }) = book.request(of).map(|request| request.what) else {
            return;
        };
        let Some((acquire, _)) = book.acquire(lease) else {
            return;
        };
        let state = self.keys.get(acquire.key as usize);
        let mut successes = state.into_iter().flat_map(|state| &state.successes);
        if !successes.any(|success| success.by == lease) {
            found.add(Rule::ForeignResult, || {
                format!("key {}: {lease} was told that it counts, but it was not counted", acquire.key)
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::history::{Acquire, Wait};
    use super::super::tests::{Tale, permits, req};
    use super::*;

    fn turn() -> Acquire {
        Acquire { units: u32::MAX, limit: u32::MAX, wait: Wait::Forever, ..permits(1) }
    }

    fn seated(tale: &mut Tale, at: u64, sidecar: u32, first: u64) {
        tale.add(at, Event::Seated { sidecar, key: 0, ask: first, units: u32::MAX, upgrade: false });
        tale.add(at, Event::Reserved { sidecar, key: 0, first, last: first + 9 });
        tale.add(at, Event::Confirmed { sidecar, key: 0, until: At(10_000_000_000) });
    }

    fn success(sidecar: u32, fence: u64, by: Req) -> Event {
        Event::Succeeded { sidecar, key: 0, fence, by, until: At(1_000_000_000) }
    }

    /// Session 0 got the turn at 10 ms and sends its finish at 20 ms.
    fn about_to_finish() -> Tale {
        let mut tale = Tale::new();
        tale.ask(5, req(0, 0), turn());
        seated(&mut tale, 8, 0, 100);
        tale.issued(10, req(0, 0), 100, 9_000);
        tale.add(20, Event::Sent { of: req(0, 1), what: Sent::Finish { lease: req(0, 0) } });
        tale
    }

    /// The store counts it at 30 ms, until 1 s.
    fn finished() -> Tale {
        let mut tale = about_to_finish();
        tale.ask(25, req(2, 0), turn());
        tale.add(30, success(0, 100, req(0, 0))).add(30, Event::Returned { sidecar: 0, key: 0 });
        tale.add(35, Event::Answered { of: req(0, 1), answer: Answer::Finished });
        tale.add(35, Event::Done { lease: req(0, 0), lost: false });
        tale
    }

    fn done(of: Req, by: Req) -> Event {
        Event::Answered { of, answer: Answer::Done { by } }
    }

    #[test]
    fn a_follower_hears_of_the_winner_and_the_next_window_is_anothers() {
        let mut tale = finished();
        tale.add(40, done(req(2, 0), req(0, 0))).ask(50, req(2, 1), turn());
        seated(&mut tale, 1_001, 1, 200);
        tale.issued(1_002, req(2, 1), 200, 9_000).is_good();
    }

    #[test]
    fn a_window_that_is_closed_stays_closed_unless_the_store_forgets() {
        let again = |tale: &mut Tale| {
            seated(tale, 900, 1, 200);
            tale.issued(901, req(2, 0), 200, 9_000);
        };
        let mut tale = finished();
        again(&mut tale);
        tale.breaks(Rule::OnceTwice);
        let mut tale = finished();
        tale.add(50, Event::Flushed);
        again(&mut tale);
        tale.add(905, success(1, 200, req(2, 0))).is_good();
        let mut tale = finished();
        seated(&mut tale, 40, 1, 200);
        tale.add(50, success(1, 200, req(2, 0))).breaks(Rule::OnceTwice);
    }

    #[test]
    fn a_turn_that_went_to_another_does_not_succeed() {
        let mut tale = about_to_finish();
        tale.ask(22, req(1, 0), turn()).add(23, Event::Done { lease: req(0, 0), lost: false });
        tale.issued(23, req(1, 0), 101, 9_000).add(30, success(0, 100, req(0, 0)));
        tale.breaks(Rule::TurnPassedOn);
        let mut tale = about_to_finish();
        tale.add(25, Event::Returned { sidecar: 0, key: 0 }).add(30, success(0, 100, req(0, 0)));
        tale.breaks(Rule::TurnPassedOn);
    }

    #[test]
    fn results_are_the_winners() {
        let mut tale = finished();
        tale.add(40, done(req(2, 0), req(1, 0))).breaks(Rule::ForeignResult);
        // Whoever came after the window was closed is no follower of it.
        let mut tale = finished();
        tale.ask(1_001, req(2, 1), turn()).add(1_002, done(req(2, 1), req(0, 0))).breaks(Rule::ForeignResult);
        let mut tale = about_to_finish();
        let answer = Answer::Finished;
        tale.add(35, Event::Answered { of: req(0, 1), answer }).breaks(Rule::ForeignResult);
    }
}
