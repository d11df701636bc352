//! Fence tokens: unique, rising, and good for what they are made for.
//!
//! Owns S3 as clients see it: tokens of grants, and a resource that honours them. What the store reserved for whom is
//! `store_truth.rs`.

use super::book::Book;
use super::history::{Acquire, Answer, At, Bounds, Event, Req};
use super::{Findings, Rule, slot};
use std::collections::HashMap;

/// The highest token granted for so many units.
#[derive(Clone, Copy)]
struct Highest {
    units: u32,
    fence: u64,
}

/// A resource that refuses older tokens than it has seen.
#[derive(Default)]
struct Register {
    seen: u64,
    version: u32,
}

/// One key's tokens.
#[derive(Default)]
struct KeyFences {
    owners: HashMap<u64, Req>,
    highest: Vec<Highest>,
    register: Register,
}

/// The rules on tokens.
#[derive(Default)]
pub(super) struct Fences {
    keys: Vec<KeyFences>,
}

impl Fences {
    pub(super) fn see(&mut self, at: At, event: &Event, book: &Book, bounds: &Bounds, found: &mut Findings) {
        match *event {
            Event::Issued { lease, fence, .. } if bounds.store_clock_monotone => {
                self.unique(lease, fence, book, found);
            }
            Event::Answered { of: lease, answer: Answer::Granted { fence, deadline } }
                if bounds.store_clock_monotone =>
            {
                self.unique(lease, fence, book, found);
                let gone = book.request(lease).is_none_or(|request| request.cancels > 0)
                    || book.predates_freeze(lease)
                    || book.was_forced(lease, fence);
                if bounds.clocks_agree && deadline > at && !gone {
                    self.rising(at, lease, fence, book, bounds, found);
                }
            }
            Event::Read { key, fence, version } => {
                let register = &mut slot(&mut self.keys, key).register;
                if version != register.version && fence >= register.seen {
                    found.add(Rule::Recording, || format!("register {key} read stale version {version}"));
                }
                register.seen = register.seen.max(fence);
            }
            Event::Wrote { key, fence, base, accepted } => {
                self.wrote(key, fence, base, accepted, bounds, found)
            }
            _ => {}
        }
    }

    fn unique(&mut self, lease: Req, fence: u64, book: &Book, found: &mut Findings) {
        let Some((acquire, _)) = book.acquire(lease) else {
            return;
        };
        let owners = &mut slot(&mut self.keys, acquire.key).owners;
        let owner = *owners.entry(fence).or_insert(lease);
        if owner != lease {
            found.add(Rule::FenceTwice, || {
                format!("key {}: {lease} got token {fence}, which {owner} had got", acquire.key)
            });
        }
    }

    /// A lease is received: its token is above those of all leases received before with which it conflicts.
    fn rising(&mut self, at: At, lease: Req, fence: u64, book: &Book, bounds: &Bounds, found: &mut Findings) {
        let Some((acquire, _)) = book.acquire(lease) else {
            return;
        };
        let amnesia = book.has_amnesia(at, bounds);
        let highest = &mut slot(&mut self.keys, acquire.key).highest;
        let above =
            highest.iter().find(|other| conflict(&acquire, other.units) && other.fence >= fence && !amnesia);
        if let Some(above) = above {
            let above = above.fence;
            found.add(Rule::FenceOrder, || {
                format!("key {}: {lease} got token {fence} after {above} was granted", acquire.key)
            });
        }
        let mine = Highest { units: acquire.units, fence };
        match highest.iter_mut().find(|other| other.units == acquire.units) {
            Some(other) if other.fence < fence => *other = mine,
            Some(_) => {}
            None => highest.push(mine),
        }
    }

    fn wrote(
        &mut self,
        key: u32,
        fence: u64,
        base: u32,
        accepted: bool,
        bounds: &Bounds,
        found: &mut Findings,
    ) {
        let register = &mut slot(&mut self.keys, key).register;
        if accepted != (fence >= register.seen) {
            found.add(Rule::Recording, || {
                format!("register {key}: token {fence}, seen {}, accepted {accepted}", register.seen)
            });
        }
        if !accepted {
            return;
        }
        if base != register.version && bounds.store_clock_monotone {
            found.add(Rule::LostUpdate, || {
                format!("key {key}: token {fence} overwrote version {}, had read {base}", register.version)
            });
        }
        register.seen = register.seen.max(fence);
        register.version += 1;
    }
}

fn conflict(acquire: &Acquire, units: u32) -> bool {
    u64::from(acquire.units) + u64::from(units) > u64::from(acquire.limit)
}
