//! Deadlocks: nobody is a victim without one, one victim resolves one, and none stands for long.
//!
//! Owns S10 and L4. It draws the true graph of the whole fleet after every change, from what the sidecars decided and from
//! the store's queue, and asks `knot` who is stuck in it. Where the order of two waiters in different sidecars is not
//! certain, it decides for the sidecar both times: who may be ahead counts where a victim is to be justified, only who is
//! surely ahead where one is missed.
//!
//! A victim is justified by an instant, its own abort or one at most [`WITNESS`] before, at which it was needed for a
//! deadlock, with everybody who was made a victim since then taken out of it. Deadlocks that share owners may get their
//! victims in any order: one in which each is needed after those before it is enough. If only the taking out fails, the
//! deadlock had its victim already. Who is stuck *behind* a deadlock is no justified victim: its going helps nobody.
//!
//! A deadlock is missed if it stood for [`Bounds::deadlock_max`] in every picture of that time, all of its members on
//! sidecars that were undisturbed meanwhile. Histories without owners pass; those without the store's queue are judged by
//! holders and local queues alone.

use super::book::Book;
use super::census::Census;
use super::fleet::Fleet;
use super::history::{At, Bounds, Event, Refused, Req};
use super::knot::{Order, Picture, Set, Wait};
use super::{Findings, Rule};
use std::collections::VecDeque;
use std::time::Duration;

/// So old may be what a sidecar knows when it aborts: two looks at every board, and a verdict that waits for the next one.
const WITNESS: Duration = Duration::from_secs(3);
/// Who is stuck for too long on disturbed sidecars is looked at again after this long.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Somebody who is stuck for sure.
struct Standing {
    of: Req,
    since: At,
    /// It was said already.
    told: bool,
}

/// A picture in which somebody was stuck, and how long it was true.
struct Past {
    until: At,
    picture: Picture,
}

/// The rules on deadlocks.
#[derive(Default)]
pub(super) struct Deadlocks {
    fleet: Fleet,
    /// Pictures with somebody stuck in them, youngest last.
    past: VecDeque<Past>,
    /// The youngest of them is still true.
    stands: bool,
    victims: Vec<(At, Req)>,
    standing: Vec<Standing>,
    /// When somebody has been stuck for too long.
    alarm: Option<At>,
    pub(super) census: Census,
}

impl Deadlocks {
    pub(super) fn see(&mut self, at: At, event: &Event, book: &Book, bounds: &Bounds, found: &mut Findings) {
        if self.alarm.is_some_and(|alarm| at > alarm) {
            self.look_for_missed(at, book, bounds, found);
        }
        if let Event::Declined { of, why: Refused::Deadlock } = *event {
            match self.fleet.waiting(of, book) {
                Some(wait) => self.judge_victim(at, wait, found),
                None => found.add(Rule::FalseVictim, || format!("{of} was aborted, but does not wait")),
            }
        }
        if self.fleet.apply(at, event, book) {
            self.redraw(at, event);
            self.standing(at, bounds);
        }
    }

    /// The picture of now, if anybody is stuck in it.
    fn now(&self) -> Option<&Picture> {
        self.past.back().filter(|_| self.stands).map(|past| &past.picture)
    }

    /// Draws the picture of now. Whatever changes can make somebody stuck: who leaves the line leaves another first in it.
    fn redraw(&mut self, at: At, event: &Event) {
        if let Some(last) = self.past.back_mut().filter(|_| self.stands) {
            last.until = at;
        }
        while self.past.front().is_some_and(|past| past.until + WITNESS < at) {
            self.past.pop_front();
        }
        self.stands = false;
        let Some(picture) = self.fleet.draw() else { return };
        if let Event::Arrived { of } | Event::LinedUp { of } = *event {
            self.census.arrived(&picture, of);
        }
        self.stands = picture.anybody_may_be_stuck();
        if self.stands {
            self.past.push_back(Past { until: at, picture });
        }
    }

    /// Notes who is stuck for sure, and since when.
    fn standing(&mut self, at: At, bounds: &Bounds) {
        let Some(picture) = self.past.back().filter(|_| self.stands).map(|past| &past.picture) else {
            self.standing.clear();
            self.alarm = None;
            return;
        };
        let stuck = picture.stuck(picture.everybody(), Order::Sure);
        let is_stuck = |of: Req| stuck.owners().any(|owner| picture.waits[owner].of == of);
        self.standing.retain(|standing| is_stuck(standing.of));
        for owner in stuck.owners() {
            let of = picture.waits[owner].of;
            if self.standing.iter().all(|standing| standing.of != of) {
                self.standing.push(Standing { of, since: at, told: false });
            }
        }
        let untold = self.standing.iter().filter(|standing| !standing.told);
        let due = untold.map(|standing| standing.since + patience(bounds)).min();
        // Who was looked at already is looked at again only for somebody new.
        self.alarm = due.map(|due| due.max(self.alarm.filter(|alarm| *alarm > at).unwrap_or(due)));
    }

    /// Somebody has been stuck for too long, if the sidecars concerned were undisturbed.
    fn look_for_missed(&mut self, at: At, book: &Book, bounds: &Bounds, found: &mut Findings) {
        let patience = patience(bounds);
        self.alarm = Some(at + LOOK_AGAIN);
        let Some(picture) = self.now() else { return };
        let mut long = Set::EMPTY;
        for standing in self.standing.iter().filter(|standing| !standing.told) {
            if let Some(owner) = picture.find(standing.of) {
                let calm_since = book.sidecar(picture.waits[owner].sidecar).disturbed_until;
                if at > standing.since.max(calm_since) + patience {
                    long = long.with(owner);
                }
            }
        }
        let missed = picture.stuck(long, Order::Sure);
        if missed.is_empty() || !self.stood_throughout(at, missed, picture, patience) {
            return;
        }
        let members: Vec<Req> = missed.owners().map(|owner| picture.waits[owner].of).collect();
        let since = self.standing.iter().filter(|standing| members.contains(&standing.of));
        let since = since.map(|standing| standing.since).max().unwrap_or(at);
        found.add(Rule::Undetected, || {
            format!("a deadlock stands since {since} and has no victim: {}", words(picture, missed))
        });
        for standing in self.standing.iter_mut().filter(|standing| members.contains(&standing.of)) {
            standing.told = true;
        }
    }

    /// Whether these were stuck among themselves in every picture of so long.
    fn stood_throughout(&self, at: At, members: Set, now: &Picture, span: Duration) -> bool {
        self.past.iter().filter(|past| past.until + span > at).all(|past| {
            let mut then = Set::EMPTY;
            for owner in members.owners() {
                match past.picture.find(now.waits[owner].of) {
                    Some(owner) => then = then.with(owner),
                    None => return false,
                }
            }
            past.picture.stuck(then, Order::Sure) == then
        })
    }

    /// A sidecar aborts a waiter: was it needed for a deadlock, and had that no victim yet?
    fn judge_victim(&mut self, at: At, of: Req, found: &mut Findings) {
        let mut had_one = false;
        let mut without_it = None;
        let stands = self.stands;
        let from = At(at.0.saturating_sub(WITNESS.as_nanos() as u64));
        for (age, past) in self.past.iter().rev().enumerate() {
            let until = if age == 0 && stands { at } else { past.until };
            let Some(owner) = past.picture.find(of).filter(|_| until >= from) else { continue };
            // Whoever was aborted after this picture was drawn stands in it; whoever was before does not.
            let others = self.victims.iter().filter_map(|(_, other)| past.picture.find(*other));
            let victims = others.fold(Set::EMPTY.with(owner), Set::with);
            let everybody = past.picture.everybody();
            if past.picture.all_needed(victims, everybody) {
                self.victims.push((at, of));
                return self.census.victims += 1;
            }
            had_one |= past.picture.possible_knot(owner, everybody).is_some();
            if without_it.is_none() && past.picture.may_be_stuck(owner) {
                let rest = past.picture.stuck(everybody.without(owner), Order::Keeping);
                without_it = Some(words(&past.picture, rest));
            }
        }
        self.victims.push((at, of));
        match without_it {
            _ if had_one => found.add(Rule::SecondVictim, || {
                let recent = self.victims.iter().filter(|(then, other)| *then >= from && *other != of);
                let others: Vec<String> = recent.map(|(then, other)| format!("{other} at {then}")).collect();
                format!("{of} was aborted for a deadlock that had a victim already, of {}", others.join(", "))
            }),
            Some(others) => found.add(Rule::FalseVictim, || {
                format!("{of} was aborted, but only waits behind others, whom that does not help: {others}")
            }),
            None => found.add(Rule::FalseVictim, || format!("{of} was aborted, but was in no deadlock")),
        }
    }
}

/// How long a deadlock may stand, on whatever clock its sidecars look at.
fn patience(bounds: &Bounds) -> Duration {
    bounds.deadlock_max.mul_f64(1.01) + bounds.slack
}

/// A deadlock for people.
fn words(picture: &Picture, members: Set) -> String {
    let one = |owner: usize| {
        let Wait { of, sidecar, key, units, .. } = picture.waits[owner];
        let held = picture.holds.iter().filter(|hold| hold.owner == owner);
        let held: Vec<String> = held.map(|hold| format!("{} of key {}", hold.units, hold.key)).collect();
        format!("{of} in sidecar {sidecar} wants {units} of key {key} and holds {}", held.join(" and "))
    };
    members.owners().map(one).collect::<Vec<_>>().join("; ")
}
