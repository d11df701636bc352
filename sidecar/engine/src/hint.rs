//! Hints: what the store and other sidecars push.
//!
//! Owns what each hint makes this sidecar do. A hint makes it ask, give back or refuse a try; it never installs anything
//! (P3), and any number of them may be lost.

use crate::engine::Engine;
use crate::link::{Sent, SentKind};
use crate::model::{AskId, FenceRange, Time};
use crate::mutant::Mutant;
use crate::store::{FENCE_RANGE_MAX, Op, Push, Tell, Tenancy};

impl Engine {
    /// A hint. It makes us ask, or give back; it never installs anything (P3).
    pub(crate) fn pushed(&mut self, now: Time, push: Push) {
        match push {
            Push::Offer { key, ask: offered } => {
                let Some(resource) = self.resource_of(&key) else {
                    return;
                };
                if self.resources[resource].ask.as_ref().is_none_or(|ask| ask.seq != offered.seq) {
                    return;
                }
                if Mutant::PushInstalls.is(self.config.mutant) {
                    self.install_from_push(now, resource, offered.seq);
                } else {
                    self.send_ask(now, resource);
                }
                self.serve(now, resource);
            }
            Push::Recall { key, ask } => {
                let Some(resource) = self.resource_of(&key) else {
                    return;
                };
                self.recalled(now, resource, ask);
            }
            Push::Inquired { key, more, inquiry } => self.inquired(now, key, &more, inquiry),
            Push::Declared(declare) => self.declared(now, &declare),
            Push::Changed { key } => self.register_changed(now, &key),
            Push::Busy { key, ask: busy, free_in } => {
                let Some(resource) = self.resource_of(&key) else {
                    return;
                };
                if let Some(ask) = self.resources[resource].ask.as_mut().filter(|ask| ask.seq == busy.seq) {
                    ask.note_free(now, free_in);
                    self.refuse_tries(now, resource, false);
                    self.serve(now, resource);
                }
            }
            // What it says has happened and can not be undone, so nothing need be asked first.
            Push::Forced { key, tenure: taken } => {
                let Some(resource) = self.resource_of(&key) else {
                    return;
                };
                let r = &self.resources[resource];
                let stands = r.tenure.as_ref().is_some_and(|tenure| tenure.seq <= taken.seq);
                // Its grant is still on its way to us.
                let will_stand = r.ask.as_ref().is_some_and(|ask| ask.seq <= taken.seq);
                if stands || will_stand {
                    self.tenure_taken(now, resource, taken.seq);
                    self.serve(now, resource);
                }
            }
        }
    }

    fn recalled(&mut self, now: Time, resource: usize, by: AskId) {
        if self.resources[resource].tenure.is_none() {
            if let Some(ask) = &mut self.resources[resource].ask {
                ask.recalled = true;
            }
            return;
        }
        self.learn_interest(now, resource);
        let before = self.resources[resource].tenure.as_ref().map(|tenure| tenure.units);
        self.serve(now, resource);
        let r = &self.resources[resource];
        // What went back may be all that is wanted.
        let kept_all = r.tenure.as_ref().map(|tenure| tenure.units) == before;
        if kept_all && r.tenure.is_some() && !r.live.is_empty() && self.link.is_up() {
            let free_in = self.next_unit_in(now, resource);
            let op = Tell { key: r.key.clone(), ask: by, free_in };
            self.send(resource, Sent { kind: SentKind::Tell, resource, seq: 0, at: now }, Op::Tell(op));
        }
    }

    /// The seeded bug [`Mutant::PushInstalls`].
    fn install_from_push(&mut self, now: Time, resource: usize, seq: u64) {
        let first = self.link.store_time(now).0.max(self.floor(resource) + 1);
        let tenancy = Tenancy {
            units: self.resources[resource].ask.as_ref().map_or(0, |ask| ask.units),
            remaining: self.tenure_ttl(),
            origin: first,
            range: FenceRange { first, last: first + FENCE_RANGE_MAX - 1 },
            contended: false,
        };
        self.resources[resource].ask = None;
        self.install(now, resource, seq, now, tenancy);
    }
}
