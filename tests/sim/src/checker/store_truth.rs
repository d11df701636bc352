//! What sidecars tell clients, held against what the store decided.
//!
//! Owns P4 (no more time than confirmed), P7 (nothing comes back), S9 (no grant from a dead tenure) and the half of S3 that only the store's side
//! shows: tokens come from reservations, and reservations follow each other. Histories without the store's records pass.

use super::book::Book;
use super::history::{Answer, At, Bounds, Event, Req, Sent};
use super::{Findings, Rule, slot};
use std::time::Duration;

/// Told deadlines are rounded when a recorder turns them into true time.
const ROUNDING: Duration = Duration::from_micros(2);

/// Fences that the store gave to a sidecar.
struct Reservation {
    sidecar: u32,
    first: u64,
    last: u64,
}

/// One key, as the store decided.
#[derive(Default)]
struct KeyTruth {
    /// In the order of the store's decisions.
    reservations: Vec<Reservation>,
    /// Per sidecar: the latest instant that any of its tenures was confirmed to.
    confirmed: Vec<Option<At>>,
}

/// The rules on what the store decided.
#[derive(Default)]
pub(super) struct StoreTruth {
    keys: Vec<KeyTruth>,
}

impl StoreTruth {
    pub(super) fn see(&mut self, at: At, event: &Event, book: &Book, bounds: &Bounds, found: &mut Findings) {
        match *event {
            Event::Reserved { sidecar, key, first, last } => {
                slot(&mut self.keys, key).reservations.push(Reservation { sidecar, first, last })
            }
            Event::Confirmed { sidecar, key, until } => {
                let confirmed = slot(&mut slot(&mut self.keys, key).confirmed, sidecar);
                *confirmed = (*confirmed).max(Some(until));
            }
            Event::Issued { lease, fence, deadline } => {
                if deadline <= at && bounds.clocks_agree {
                    found.add(Rule::DeadTenure, || {
                        format!("{lease} was granted until {deadline}, which is over")
                    });
                }
                self.told(lease, deadline, book, bounds, found);
                self.reserved(lease, fence, book, bounds, found);
            }
            Event::Done { lease, lost: false } => self.released(at, lease, book, bounds, found),
            Event::Renewed { of, deadline } if deadline <= at && bounds.clocks_agree => {
                found.add(Rule::DeadTenure, || {
                    format!("{of} renewed a lease until {deadline}, which is over")
                });
            }
            // What the store knew to be over it forgot with its data.
            Event::Haunted { sidecar, key, forgotten: true }
                if bounds.clocks_agree && !book.lost_data_lately(at, bounds) =>
            {
                found.add(Rule::Ghost, || {
                    format!("key {key}: the store holds something for sidecar {sidecar}, which knows nothing of it")
                });
            }
            Event::Extended { lease, until } => self.told(lease, until, book, bounds, found),
            Event::Answered { of, answer: Answer::Renewed { deadline } } => {
                if let Some(Sent::Renew { lease }) = book.request(of).map(|request| request.what) {
                    self.told(lease, deadline, book, bounds, found);
                }
            }
            _ => {}
        }
    }

    fn told(&mut self, lease: Req, deadline: At, book: &Book, bounds: &Bounds, found: &mut Findings) {
        let Some((acquire, sidecar)) = book.acquire(lease) else {
            return;
        };
        let truth = slot(&mut self.keys, acquire.key);
        if !bounds.clocks_agree || book.sidecar(sidecar).froze_at.is_some() || truth.reservations.is_empty() {
            return;
        }
        let confirmed = slot(&mut truth.confirmed, sidecar).unwrap_or_default();
        if deadline > confirmed + ROUNDING {
            found.add(Rule::Unconfirmed, || {
                format!(
                    "key {}: {lease} was told {deadline}, sidecar {sidecar} was confirmed until {confirmed}",
                    acquire.key
                )
            });
        }
    }

    /// A lease was given back, or its session hung up: before that is looked at, what is over must be declared lost (P8).
    fn released(&mut self, at: At, lease: Req, book: &Book, bounds: &Bounds, found: &mut Findings) {
        let Some((acquire, sidecar)) = book.acquire(lease) else {
            return;
        };
        let truth = slot(&mut self.keys, acquire.key);
        if acquire.per.is_some() {
            // It may have come to the end that it was meant to have.
            return;
        }
        if !bounds.clocks_agree || book.sidecar(sidecar).froze_at.is_some() || truth.reservations.is_empty() {
            return;
        }
        let confirmed = slot(&mut truth.confirmed, sidecar).unwrap_or_default();
        if at > confirmed + ROUNDING {
            found.add(Rule::DeadTenure, || {
                format!("key {}: {lease} was released, but its tenure was over at {confirmed}", acquire.key)
            });
        }
    }

    fn reserved(&mut self, lease: Req, fence: u64, book: &Book, bounds: &Bounds, found: &mut Findings) {
        let Some((acquire, sidecar)) = book.acquire(lease) else {
            return;
        };
        let reservations = &slot(&mut self.keys, acquire.key).reservations;
        if !bounds.store_clock_monotone || reservations.is_empty() {
            return;
        }
        for reservation in reservations.iter().rev() {
            let inside = (reservation.first..=reservation.last).contains(&fence);
            if reservation.sidecar == sidecar && inside {
                return;
            }
            if reservation.first <= fence {
                return found.add(Rule::FenceUnreserved, || {
                    format!(
                        "key {}: sidecar {sidecar} granted {lease} token {fence} although {} to {} was reserved later \
                         for sidecar {}",
                        acquire.key, reservation.first, reservation.last, reservation.sidecar
                    )
                });
            }
        }
        found.add(Rule::FenceUnreserved, || {
            format!("key {}: sidecar {sidecar} granted {lease} unreserved token {fence}", acquire.key)
        });
    }
}
