//! The wait graph of a whole fleet, as it truly is: what the sidecars decided, and the store's queue between them.
//!
//! Owns the translation of a history into pictures. Must not know who is stuck in one: that is `knot`.

use super::book::Book;
use super::history::{Acquire, At, Event, Req, Sent};
use super::knot::{Hold, Picture, Set, Wait};
use super::line::{Holder, Line, Owner, Waiter};
use super::slot;

/// Every key.
#[derive(Default)]
pub(super) struct Fleet {
    keys: Vec<Line>,
}

impl Fleet {
    /// What waits of a request: itself, or the one of several that it waits for now.
    pub(super) fn waiting(&self, of: Req, book: &Book) -> Option<Req> {
        let mut waits = self.keys.iter().flat_map(|line| &line.waiters).map(|waiter| waiter.of);
        waits.find(|&wait| wait == of || group_of(wait, book) == Some(of))
    }

    /// Notes what changed. False: nothing that matters.
    pub(super) fn apply(&mut self, at: At, event: &Event, book: &Book) -> bool {
        match *event {
            Event::Arrived { of } => {
                // One of several waits when its time has come.
                return group_of(of, book).is_none() && self.arrived(at, of, book);
            }
            Event::LinedUp { of } => {
                let Some(group) = group_of(of, book) else { return false };
                for line in &mut self.keys {
                    line.waiters.retain(|waiter| group_of(waiter.of, book) != Some(group));
                }
                return self.arrived(at, of, book);
            }
            Event::Bound { of } => return self.holds(of, book, true),
            Event::Unbound { of } => {
                let Some((acquire, _)) = book.acquire(of) else { return false };
                slot(&mut self.keys, acquire.key).holders.retain(|holder| holder.lease != of);
            }
            Event::Issued { lease, .. } => return self.holds(lease, book, false),
            // From here on its turn ends whatever its owner does.
            Event::Sent { what: Sent::Finish { lease }, .. } => {
                let Some((acquire, _)) = book.acquire(lease) else { return false };
                let mut holders = slot(&mut self.keys, acquire.key).holders.iter_mut();
                return holders
                    .find(|holder| holder.lease == lease)
                    .is_some_and(|turn| turn.owner.take().is_some());
            }
            Event::Dropped { of } => {
                let Some((acquire, _)) = book.acquire(of) else { return false };
                slot(&mut self.keys, acquire.key).waiters.retain(|waiter| waiter.of != of);
            }
            Event::Done { lease, .. } => {
                let Some((acquire, _)) = book.acquire(lease) else { return false };
                slot(&mut self.keys, acquire.key).holders.retain(|holder| holder.lease != lease);
            }
            Event::Crashed { sidecar } => self.keys.iter_mut().for_each(|line| line.crashed(sidecar)),
            Event::Flushed => self.keys.iter_mut().for_each(Line::flushed),
            Event::Evicted { key } => self.line(key).flushed(),
            Event::Entered { sidecar, key, ask, upgrade, .. } => {
                return self.line(key).entered(sidecar, ask, upgrade);
            }
            Event::Offered { sidecar, key, ask } => return self.line(key).offered(sidecar, ask),
            Event::Left { sidecar, key } => self.line(key).left(sidecar),
            Event::Seated { sidecar, key, units, .. } => {
                self.line(key).left(sidecar);
                self.line(key).has(sidecar, units);
            }
            Event::Kept { sidecar, key, units } => self.line(key).has(sidecar, units),
            Event::Learned { sidecar, key, contended } => return self.line(key).learned(sidecar, contended),
            Event::Installed { sidecar, key } => return self.line(key).learned(sidecar, false),
            Event::Returned { sidecar, key } => {
                self.line(key).learned(sidecar, false);
                self.line(key).has(sidecar, 0);
            }
            _ => return false,
        }
        true
    }

    /// A request begins to wait.
    fn arrived(&mut self, at: At, of: Req, book: &Book) -> bool {
        let Some((acquire, sidecar)) = book.acquire(of) else { return false };
        let owner = owner(of, &acquire).filter(|_| acquire.watched);
        slot(&mut self.keys, acquire.key).arrived(at, of, owner, &acquire, sidecar);
        true
    }

    /// A request has what it waited for.
    fn holds(&mut self, lease: Req, book: &Book, reserved: bool) -> bool {
        let Some((acquire, sidecar)) = book.acquire(lease) else { return false };
        let line = slot(&mut self.keys, acquire.key);
        line.waiters.retain(|waiter| waiter.of != lease);
        line.holders.retain(|holder| holder.lease != lease);
        // What comes back by the clock comes back whatever its owner does.
        let owner = owner(lease, &acquire).filter(|_| acquire.per.is_none());
        line.holders.push(Holder { lease, owner, sidecar, units: acquire.units, reserved });
        true
    }

    fn line(&mut self, key: u32) -> &mut Line {
        slot(&mut self.keys, key)
    }

    /// The picture of now. None: nobody in it holds anything, and so nobody is stuck.
    pub(super) fn draw(&self) -> Option<Picture> {
        let mut picture = Picture::default();
        let mut owners: Vec<Owner> = Vec::new();
        for (number, line) in (0..).zip(&self.keys) {
            for waiter in &line.waiters {
                let Some(owner) = waiter.owner.filter(|owner| !owners.contains(owner)) else { continue };
                if owners.len() < Set::MAX {
                    owners.push(owner);
                    picture.waits.push(wait(number, line.limit, waiter));
                }
            }
        }
        for (number, line) in (0..).zip(&self.keys) {
            for holder in &line.holders {
                if let Some(place) = owners.iter().position(|owner| holder.owner == Some(*owner)) {
                    let Holder { units, reserved, .. } = *holder;
                    picture.holds.push(Hold { owner: place, key: number, units, reserved });
                }
            }
        }
        if picture.holds.is_empty() {
            return None;
        }
        for one in 0..picture.waits.len() {
            for other in (0..picture.waits.len()).filter(|&other| other != one) {
                let (mine, theirs) = (&picture.waits[one], &picture.waits[other]);
                if mine.key == theirs.key {
                    let known = self.keys[mine.key as usize].is_ahead(theirs.of, mine.of);
                    for (ahead, is_ahead) in picture.waits[one].ahead.iter_mut().zip(known) {
                        *ahead = if is_ahead { ahead.with(other) } else { *ahead };
                    }
                }
            }
        }
        Some(picture)
    }
}

fn owner(of: Req, acquire: &Acquire) -> Option<Owner> {
    acquire.owner.map(|owner| (of.session, owner))
}

/// The request for several keys that this one is of.
fn group_of(of: Req, book: &Book) -> Option<Req> {
    let (acquire, _) = book.acquire(of)?;
    acquire.group.map(|request| Req { request, ..of })
}

fn wait(key: u32, limit: u32, waiter: &Waiter) -> Wait {
    let Waiter { of, sidecar, units, upgrades, turn, .. } = *waiter;
    Wait { of, sidecar, key, units, limit, upgrades, turn, ahead: [Set::EMPTY; 3] }
}
