//! Exclusion, from the holder's point of view: [grant received, min(last deadline told, release sent, lost or EOF seen)).
//!
//! Owns S2, and its sidecar-side half: a sidecar decides the end of one lease before it grants a conflicting one. Must
//! not know how leases come about.

use super::book::Book;
use super::history::{Answer, At, Bounds, Event, Req, Sent};
use super::{Findings, Rule, slot};

/// A lease that a client holds.
#[derive(Clone, Copy, Debug)]
struct Window {
    lease: Req,
    fence: u64,
    units: u32,
    limit: u32,
    deadline: At,
    timed: bool,
    /// The client saw EOF; the lease is its again if it resumes.
    asleep: bool,
}

/// A lease that a sidecar counts as live.
#[derive(Clone, Copy, Debug)]
struct Live {
    lease: Req,
    sidecar: u32,
    units: u32,
    limit: u32,
}

/// The rule on windows.
#[derive(Default)]
pub(super) struct Windows {
    /// Per key.
    open: Vec<Vec<Window>>,
    /// Per key.
    live: Vec<Vec<Live>>,
}

impl Windows {
    pub(super) fn see(&mut self, at: At, event: &Event, book: &Book, bounds: &Bounds, found: &mut Findings) {
        match *event {
            Event::Answered { of, answer } => match answer {
                Answer::Granted { fence, deadline } => {
                    self.open(at, (of, fence), deadline, book, bounds, found);
                }
                Answer::Renewed { deadline } => {
                    if let Some(Sent::Renew { lease }) = book.request(of).map(|request| request.what) {
                        self.extend(at, lease, deadline, book, bounds, found);
                    }
                }
                _ => {}
            },
            Event::Extended { lease, until } => self.extend(at, lease, until, book, bounds, found),
            Event::Sent { of, what: Sent::Release { lease } | Sent::Finish { lease } }
                if book.entitled(of, lease) =>
            {
                self.close(lease, book)
            }
            Event::Sent { of, what: Sent::Downgrade { lease } } if book.entitled(of, lease) => {
                self.downgrade(lease, book)
            }
            Event::Sent { of: lease, what: Sent::Cancel } | Event::LostSeen { lease } => {
                self.close(lease, book)
            }
            Event::HungUp { session } => self.each(session, |window| window.timed),
            Event::EofSeen { session } => self.each(session, |window| {
                window.asleep |= !window.timed;
                true
            }),
            Event::Resumed { session } => self.resumed(at, session, book, bounds, found),
            Event::Issued { lease, .. } => self.issued(lease, book, found),
            Event::Shared { lease } => self.shared(lease, book),
            Event::Done { lease, .. } => {
                if let Some((acquire, _)) = book.acquire(lease) {
                    slot(&mut self.live, acquire.key).retain(|live| live.lease != lease);
                }
            }
            _ => {}
        }
    }

    /// Keeps those windows of a session for which `keep` says so.
    fn each(&mut self, session: u32, mut keep: impl FnMut(&mut Window) -> bool) {
        for windows in &mut self.open {
            windows.retain_mut(|window| window.lease.session != session || keep(window));
        }
    }

    fn close(&mut self, lease: Req, book: &Book) {
        if let Some((acquire, _)) = book.acquire(lease) {
            slot(&mut self.open, acquire.key).retain(|window| window.lease != lease);
        }
    }

    /// From its sending on the client relies on a share alone.
    fn downgrade(&mut self, lease: Req, book: &Book) {
        if let Some((acquire, _)) = book.acquire(lease) {
            for window in slot(&mut self.open, acquire.key).iter_mut().filter(|window| window.lease == lease)
            {
                window.units = 1;
            }
        }
    }

    fn shared(&mut self, lease: Req, book: &Book) {
        let Some((acquire, sidecar)) = book.acquire(lease) else {
            return;
        };
        let live = slot(&mut self.live, acquire.key);
        live.retain(|live| live.lease != lease);
        live.push(Live { lease, sidecar, units: 1, limit: acquire.limit });
    }

    fn open(
        &mut self,
        at: At,
        (lease, fence): (Req, u64),
        deadline: At,
        book: &Book,
        bounds: &Bounds,
        found: &mut Findings,
    ) {
        let Some((acquire, _)) = book.acquire(lease) else {
            return;
        };
        let cancelled = book.request(lease).is_some_and(|request| request.cancels > 0);
        if cancelled || deadline <= at {
            return;
        }
        if let Some(share) = acquire.upgrades {
            self.close(share, book);
        }
        let window = Window {
            lease,
            fence,
            units: acquire.units,
            limit: acquire.limit,
            deadline,
            timed: acquire.timed,
            asleep: false,
        };
        // A grant that was on its way when the host's clock stood still is read after it, and proves no more than one that was read.
        if !book.predates_freeze(lease) {
            self.conflicts(at, &window, acquire.key, book, bounds, found);
        }
        slot(&mut self.open, acquire.key).push(window);
    }

    fn extend(&mut self, at: At, lease: Req, until: At, book: &Book, bounds: &Bounds, found: &mut Findings) {
        let Some((acquire, _)) = book.acquire(lease) else {
            return;
        };
        let windows = slot(&mut self.open, acquire.key);
        let Some(index) = windows.iter().position(|window| window.lease == lease) else {
            return;
        };
        let lapsed = windows[index].deadline <= at;
        windows[index].deadline = until;
        if lapsed && until > at {
            let window = windows.swap_remove(index);
            self.conflicts(at, &window, acquire.key, book, bounds, found);
            slot(&mut self.open, acquire.key).push(window);
        }
    }

    fn resumed(&mut self, at: At, session: u32, book: &Book, bounds: &Bounds, found: &mut Findings) {
        for key in 0..self.open.len() {
            let mine = |window: &Window| window.lease.session == session && window.asleep;
            while let Some(index) = self.open[key].iter().position(mine) {
                let window = Window { asleep: false, ..self.open[key].swap_remove(index) };
                if window.deadline > at {
                    let number = u32::try_from(key).expect("keys are numbered in 32 bits");
                    self.conflicts(at, &window, number, book, bounds, found);
                    self.open[key].push(window);
                }
            }
        }
    }

    /// A window opens: does it fit beside the others on its key?
    fn conflicts(
        &mut self,
        at: At,
        new: &Window,
        key: u32,
        book: &Book,
        bounds: &Bounds,
        found: &mut Findings,
    ) {
        let windows = slot(&mut self.open, key);
        windows.retain(|window| window.deadline > at);
        // What stood when the store lost its data, on both sides, is judged no more: all that came after excludes each other.
        let amnesia = book.has_amnesia(at, bounds);
        let forgotten = |window: &Window| amnesia && !book.remembers(key, window.fence);
        // Those may overlap too those that an operator took from a holder who has not heard (P19).
        let forced = |window: &Window| book.was_forced(window.lease, window.fence);
        if forgotten(new) || !bounds.clocks_agree || forced(new) {
            return;
        }
        let rivals = windows.iter().filter(|window| {
            !window.asleep && !book.predates_freeze(window.lease) && !forced(window) && !forgotten(window)
        });
        let taken: u64 = rivals.clone().map(|window| u64::from(window.units)).sum();
        let other_limit = rivals.clone().any(|window| window.limit != new.limit);
        if taken + u64::from(new.units) > u64::from(new.limit) || other_limit {
            found.add(Rule::Exclusion, || {
                let held: Vec<_> = rivals
                    .map(|window| {
                        format!("{} ({} units until {})", window.lease, window.units, window.deadline)
                    })
                    .collect();
                format!(
                    "key {key}: {} holds {} of {} units beside {}",
                    new.lease,
                    new.units,
                    new.limit,
                    held.join(", ")
                )
            });
        }
    }

    /// The same within one sidecar, by its own account.
    fn issued(&mut self, lease: Req, book: &Book, found: &mut Findings) {
        let Some((acquire, sidecar)) = book.acquire(lease) else {
            return;
        };
        let live = slot(&mut self.live, acquire.key);
        let beside = live.iter().filter(|live| live.sidecar == sidecar);
        let taken: u64 = beside.clone().map(|live| u64::from(live.units)).sum();
        let other_limit = beside.clone().any(|live| live.limit != acquire.limit);
        if taken + u64::from(acquire.units) > u64::from(acquire.limit) || other_limit {
            found.add(Rule::GrantBeforeEnd, || {
                let held: Vec<_> = beside.map(|live| live.lease.to_string()).collect();
                format!("key {}: {lease} was granted beside {}", acquire.key, held.join(", "))
            });
        }
        live.push(Live { lease, sidecar, units: acquire.units, limit: acquire.limit });
    }
}

#[cfg(test)]
mod tests {
    use super::super::history::{Acquire, History, Record};
    use super::super::tests::exclusive;
    use super::*;

    /// Two sidecars grant one lock, one after the other at the store; their clients read of it at these milliseconds.
    fn twice(strict: bool, flushed: bool, frozen: Option<u64>, read: [u64; 2]) -> Vec<Rule> {
        let acquire = Acquire { watched: false, ..exclusive() };
        let mut records = Vec::new();
        let mut add = |ms: u64, event| records.push(Record { at: At(ms * 1_000_000), event });
        for (session, at, read) in [(0, 0, read[0]), (1, 20, read[1])] {
            let of = Req { session, request: 0 };
            let (fence, deadline) = (100 + at, At(9_000_000_000));
            add(at, Event::Opened { session, sidecar: session, uid: 1 });
            add(at, Event::Sent { of, what: Sent::Acquire(acquire) });
            add(at + 1, Event::Issued { lease: of, fence, deadline });
            add(read, Event::Answered { of, answer: Answer::Granted { fence, deadline } });
            if flushed {
                add(at + 10, Event::Flushed);
            }
        }
        frozen.into_iter().for_each(|at| add(at, Event::Froze { sidecar: 0 }));
        records.sort_by_key(|record| record.at);
        let bounds = Bounds { strict, ..Bounds::default() };
        super::super::check(&History { bounds, records })
            .into_iter()
            .map(|violation| violation.rule)
            .collect()
    }

    /// As [`twice`], the store having lost its data before: it knows of the tenures of which fences are reserved.
    fn after_a_loss(reserved: [bool; 2]) -> Vec<Rule> {
        let acquire = Acquire { watched: false, ..exclusive() };
        let mut records = Vec::new();
        let mut add = |ms: u64, event| records.push(Record { at: At(ms * 1_000_000), event });
        add(0, Event::Flushed);
        for (session, at) in [(0, 10), (1, 20)] {
            let of = Req { session, request: 0 };
            let (fence, deadline) = (100 + at, At(9_000_000_000));
            add(at, Event::Opened { session, sidecar: session, uid: 1 });
            add(at, Event::Sent { of, what: Sent::Acquire(acquire) });
            if reserved[session as usize] {
                add(at, Event::Reserved { sidecar: session, key: 0, first: fence, last: fence + 5 });
            }
            add(at + 1, Event::Answered { of, answer: Answer::Granted { fence, deadline } });
        }
        let found = super::super::check(&History { bounds: Bounds::default(), records });
        found.into_iter().map(|violation| violation.rule).filter(|rule| *rule == Rule::Exclusion).collect()
    }

    #[test]
    fn a_loss_of_data_excuses_what_stood_then_and_nothing_that_came_after() {
        assert_eq!(after_a_loss([false, true]), []);
        assert_eq!(after_a_loss([false, false]), []);
        assert_eq!(after_a_loss([true, true]), [Rule::Exclusion]);
    }

    #[test]
    fn a_loss_of_data_excuses_an_overlap_unless_the_store_is_strict() {
        assert_eq!(twice(false, true, None, [2, 22]), []);
        assert_eq!(twice(true, true, None, [2, 22]), [Rule::Exclusion]);
    }

    #[test]
    fn a_clock_that_stood_still_excuses_what_was_granted_before_it_whenever_it_is_read() {
        assert_eq!(twice(true, false, Some(5), [2, 22]), []);
        assert_eq!(twice(true, false, Some(5), [40, 22]), []);
        assert_eq!(twice(true, false, None, [40, 22]), [Rule::Exclusion, Rule::FenceOrder]);
    }
}
