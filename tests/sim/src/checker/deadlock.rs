//! Deadlocks: nobody is a victim without one, one victim resolves one, and none stands for long.
//!
//! Owns S10 and L4. It draws the true graph of the whole fleet after every change, from what the sidecars decided and from
//! the store's queue, and asks `knot` who is stuck in it. Where the order of two waiters in different sidecars is not
//! certain, it decides for the sidecar both times: who may be ahead counts where a victim is to be justified, only who is
//! surely ahead where one is missed.
//!
//! A victim is justified by an instant, its own abort or one at most [`WITNESS`] before, at which it was needed for a
//! deadlock, with everybody who was made a victim since then taken out of it. If only that last clause fails, the deadlock
//! had its victim already. Who is stuck *behind* a deadlock is no justified victim: its going helps nobody.
//!
//! A deadlock is missed if it stood for [`Bounds::deadlock_max`] in every picture of that time, all of its members on
//! sidecars that were undisturbed meanwhile. Histories without owners pass; those without the store's queue are judged by
//! holders and local queues alone.

use super::book::Book;
use super::census::Census;
use super::history::{Acquire, At, Bounds, Event, Req};
use super::knot::{Hold, Order, Picture, Set, Wait};
use super::{Findings, Rule, slot};
use std::collections::VecDeque;
use std::time::Duration;

/// So old may be what a sidecar knows when it aborts: two looks at every board, and a verdict that waits for the next one.
const WITNESS: Duration = Duration::from_secs(3);
/// Who is stuck for too long on disturbed sidecars is looked at again after this long.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// What one point of priority is worth.
const PRIORITY_NS: i64 = 1_000_000_000;
/// Clocks differ by a hundredth at most: so much may a second of priority be worth more or less.
const PRIORITY_LEEWAY_NS: i64 = 10_000_000;

/// A session's owner.
type Owner = (u32, u32);

/// A waiter in a sidecar.
#[derive(Clone, Copy)]
struct Waiter {
    of: Req,
    owner: Option<Owner>,
    sidecar: u32,
    units: u32,
    priority: i32,
    /// Arrival less what its priority is worth: who is lower comes first.
    rank: i64,
}

/// A lease.
#[derive(Clone, Copy)]
struct Holder {
    lease: Req,
    owner: Option<Owner>,
    sidecar: u32,
    units: u32,
}

/// A sidecar's place in the store's queue.
#[derive(Clone, Copy)]
struct Entry {
    sidecar: u32,
    ask: u64,
    offered: bool,
}

/// One key.
#[derive(Default)]
struct KeyState {
    limit: u32,
    holders: Vec<Holder>,
    /// In order of arrival.
    waiters: Vec<Waiter>,
    entries: Vec<Entry>,
}

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
    keys: Vec<KeyState>,
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
        if let Event::Aborted { of } = *event {
            self.judge_victim(at, of, found);
        }
        if self.apply(at, event, book) {
            self.redraw(at, event);
            self.standing(at, bounds);
        }
    }

    /// The picture of now, if anybody is stuck in it.
    fn now(&self) -> Option<&Picture> {
        self.past.back().filter(|_| self.stands).map(|past| &past.picture)
    }

    /// Notes what changed. False: nothing that matters.
    fn apply(&mut self, at: At, event: &Event, book: &Book) -> bool {
        match *event {
            Event::Arrived { of } => {
                let Some((acquire, sidecar)) = book.acquire(of) else { return false };
                self.arrived(at, of, &acquire, sidecar);
            }
            Event::Issued { lease, .. } => {
                let Some((acquire, sidecar)) = book.acquire(lease) else { return false };
                let key = slot(&mut self.keys, acquire.key);
                key.waiters.retain(|waiter| waiter.of != lease);
                let owner = owner(lease, &acquire);
                key.holders.push(Holder { lease, owner, sidecar, units: acquire.units });
            }
            Event::Dropped { of } => {
                let Some((acquire, _)) = book.acquire(of) else { return false };
                slot(&mut self.keys, acquire.key).waiters.retain(|waiter| waiter.of != of);
            }
            Event::Done { lease, .. } => {
                let Some((acquire, _)) = book.acquire(lease) else { return false };
                slot(&mut self.keys, acquire.key).holders.retain(|holder| holder.lease != lease);
            }
            Event::Crashed { sidecar } => {
                for key in &mut self.keys {
                    key.waiters.retain(|waiter| waiter.sidecar != sidecar);
                    key.holders.retain(|holder| holder.sidecar != sidecar);
                }
            }
            Event::Entered { sidecar, key, ask, .. } => {
                return slot(&mut self.keys, key).entered(sidecar, ask);
            }
            Event::Left { sidecar, key } | Event::Seated { sidecar, key, .. } => {
                slot(&mut self.keys, key).entries.retain(|entry| entry.sidecar != sidecar);
            }
            Event::Offered { sidecar, key, ask } => {
                let mut entries = slot(&mut self.keys, key).entries.iter_mut();
                match entries.find(|entry| entry.sidecar == sidecar && entry.ask == ask) {
                    Some(entry) => entry.offered = true,
                    None => return false,
                }
            }
            Event::Flushed => self.keys.iter_mut().for_each(|key| key.entries.clear()),
            _ => return false,
        }
        true
    }

    fn arrived(&mut self, at: At, of: Req, acquire: &Acquire, sidecar: u32) {
        let now = i64::try_from(at.0).expect("a run shorter than three centuries");
        let key = slot(&mut self.keys, acquire.key);
        if key.holders.is_empty() && key.waiters.is_empty() {
            key.limit = acquire.limit;
        }
        key.waiters.push(Waiter {
            of,
            owner: owner(of, acquire),
            sidecar,
            units: acquire.units,
            priority: acquire.priority,
            rank: now - i64::from(acquire.priority) * PRIORITY_NS,
        });
    }

    /// Draws the picture of now. Only arrivals and new places in the store's queue can make anybody stuck.
    fn redraw(&mut self, at: At, event: &Event) {
        if let Some(last) = self.past.back_mut().filter(|_| self.stands) {
            last.until = at;
        } else if !matches!(event, Event::Arrived { .. } | Event::Entered { .. }) {
            return;
        }
        while self.past.front().is_some_and(|past| past.until + WITNESS < at) {
            self.past.pop_front();
        }
        self.stands = false;
        let Some(picture) = self.draw() else { return };
        if let Event::Arrived { of } = *event {
            self.census.arrived(&picture, of);
        }
        self.stands = !picture.stuck(picture.everybody(), Order::Possible).is_empty();
        if self.stands {
            self.past.push_back(Past { until: at, picture });
        }
    }

    fn draw(&self) -> Option<Picture> {
        let mut picture = Picture::default();
        let mut owners = Vec::new();
        for (number, key) in (0..).zip(&self.keys) {
            for waiter in &key.waiters {
                if let Some(owner) = waiter.owner
                    && !owners.contains(&owner)
                    && owners.len() < Set::MAX
                {
                    owners.push(owner);
                    let (ahead, perhaps_ahead) = (Set::EMPTY, Set::EMPTY);
                    let Waiter { of, sidecar, units, .. } = *waiter;
                    let limit = key.limit;
                    picture.waits.push(Wait { of, sidecar, key: number, units, limit, ahead, perhaps_ahead });
                }
            }
        }
        for (number, key) in (0..).zip(&self.keys) {
            for holder in &key.holders {
                if let Some(place) = owners.iter().position(|owner| holder.owner == Some(*owner)) {
                    picture.holds.push(Hold { owner: place, key: number, units: holder.units });
                }
            }
        }
        // Without one who holds and waits nobody is stuck.
        if picture.holds.is_empty() {
            return None;
        }
        for one in 0..picture.waits.len() {
            for other in 0..picture.waits.len() {
                let (mine, theirs) = (&picture.waits[one], &picture.waits[other]);
                if one != other && mine.key == theirs.key {
                    let key = &self.keys[mine.key as usize];
                    let (sure, possible) = key.is_ahead(theirs.of, mine.of);
                    let mine = &mut picture.waits[one];
                    mine.ahead = if sure { mine.ahead.with(other) } else { mine.ahead };
                    mine.perhaps_ahead =
                        if possible { mine.perhaps_ahead.with(other) } else { mine.perhaps_ahead };
                }
            }
        }
        Some(picture)
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
        let key = self.keys.iter().position(|key| key.waiters.iter().any(|waiter| waiter.of == of));
        if key.is_none() {
            return found.add(Rule::FalseVictim, || format!("{of} was aborted, but does not wait"));
        }
        let mut had_one = false;
        let mut was_stuck = false;
        let stands = self.stands;
        let from = At(at.0.saturating_sub(WITNESS.as_nanos() as u64));
        for (age, past) in self.past.iter().rev().enumerate() {
            let until = if age == 0 && stands { at } else { past.until };
            let Some(owner) = past.picture.find(of).filter(|_| until >= from) else { continue };
            // Whoever was aborted after this picture was drawn stands in it; whoever was before does not.
            let everybody = past.picture.everybody();
            let others = self.victims.iter().filter_map(|(_, other)| past.picture.find(*other));
            let rest = others.fold(everybody, Set::without);
            if past.picture.knot(owner, rest, Order::Possible).is_some() {
                self.victims.push((at, of));
                return self.census.victims += 1;
            }
            had_one |= past.picture.knot(owner, everybody, Order::Possible).is_some();
            was_stuck |= past.picture.stuck(everybody, Order::Possible).has(owner);
        }
        self.victims.push((at, of));
        match () {
            () if had_one => found.add(Rule::SecondVictim, || {
                format!("{of} was aborted for a deadlock that had a victim already, of {:?}", self.victims)
            }),
            () if was_stuck => found.add(Rule::FalseVictim, || {
                format!("{of} was aborted, but only waits behind a deadlock: its going helps nobody")
            }),
            () => found.add(Rule::FalseVictim, || format!("{of} was aborted, but was in no deadlock")),
        }
    }
}

/// How long a deadlock may stand, on whatever clock its sidecars look at.
fn patience(bounds: &Bounds) -> Duration {
    bounds.deadlock_max.mul_f64(1.01) + bounds.slack
}

fn owner(of: Req, acquire: &Acquire) -> Option<Owner> {
    acquire.owner.map(|owner| (of.session, owner))
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

impl KeyState {
    /// A place in the store's queue was entered or kept. False: it was kept.
    fn entered(&mut self, sidecar: u32, ask: u64) -> bool {
        match self.entries.iter_mut().find(|entry| entry.sidecar == sidecar && entry.ask == ask) {
            Some(entry) => std::mem::take(&mut entry.offered),
            None => {
                self.entries.retain(|entry| entry.sidecar != sidecar);
                self.entries.push(Entry { sidecar, ask, offered: false });
                true
            }
        }
    }

    /// Whether `first` is surely, or possibly, ahead of `second` in the order of grant.
    fn is_ahead(&self, first: Req, second: Req) -> (bool, bool) {
        let place = |of: Req| self.waiters.iter().position(|waiter| waiter.of == of);
        let (Some(one), Some(two)) = (place(first), place(second)) else {
            return (false, false);
        };
        let (a, b) = (&self.waiters[one], &self.waiters[two]);
        if a.sidecar == b.sidecar {
            let leeway = i64::from((a.priority - b.priority).abs()) * PRIORITY_LEEWAY_NS;
            let tie = a.rank == b.rank && one < two;
            return (a.rank + leeway < b.rank || tie, a.rank < b.rank + leeway || tie);
        }
        let entry = |sidecar| self.entries.iter().position(|entry| entry.sidecar == sidecar);
        // A sidecar without a place in the store's queue holds up its own waiters and nobody else's.
        let Some(mine) = entry(a.sidecar).filter(|&place| !self.entries[place].offered) else {
            return (false, false);
        };
        match entry(b.sidecar) {
            None => (false, true),
            Some(theirs) if mine > theirs || self.entries[theirs].offered => (false, false),
            // A sidecar's place is its first waiter's. Who is behind may inherit it, or be served without it.
            Some(_) => (self.is_first(a) && self.is_first(b), true),
        }
    }

    fn is_first(&self, waiter: &Waiter) -> bool {
        let mut others = self.waiters.iter().filter(|other| other.sidecar == waiter.sidecar);
        others.all(|other| other.of == waiter.of || self.is_ahead(waiter.of, other.of).0)
    }
}
