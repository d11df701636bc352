//! What each message of the sidecar does to the requests and leases.
//!
//! Owns that and nothing else: one message in, one change of the table, and whom to wake.

use crate::clock;
use crate::error::Error;
use crate::hold::{End, Hold};
use crate::once::Outcome;
use crate::shared::{Ended, State, Wakes};
use crate::slots::{About, Answer, Slot};
use sidelock_wire::{Current, Granted, LostReason, Refused, Renewed, ToClient, ToSidecar, Version};
use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

impl State {
    /// Takes one message in. An error ends the connection.
    pub(crate) fn dispatch(&mut self, message: ToClient<'_>, wakes: &mut Wakes) -> Result<(), Ended> {
        match message {
            ToClient::Granted(granted) => self.granted(granted, wakes),
            ToClient::GrantedAll { request, leases } => self.granted_all(request, &leases, wakes),
            ToClient::Released { request } => self.answer(request, Answer::Released, wakes),
            ToClient::RegisterValue { request, current } => {
                self.answer(request, Answer::Register(owned(current)), wakes);
            }
            ToClient::RegisterWritten { request, etag } => {
                self.answer(request, Answer::Written(etag.map(Cow::into_owned)), wakes);
            }
            ToClient::Done(done) => {
                let finished_at = UNIX_EPOCH + Duration::from_millis(done.finished_at_ms);
                let outcome = Outcome { result: done.result.into_owned(), finished_at };
                self.answer(done.request, Answer::Done(outcome), wakes);
            }
            ToClient::Finished { request } => self.answer(request, Answer::Finished, wakes),
            ToClient::Holders(holders) => self.answer(holders.request, Answer::Holders(holders), wakes),
            ToClient::Cancelled { request } => self.cancelled(request),
            ToClient::Renewed(renewed) => self.renewed(renewed, wakes),
            ToClient::Refused(refused) => self.refused(refused, wakes),
            ToClient::Extended { until_ns, except } => self.extended(until_ns, &except),
            ToClient::AtRisk { request } => {
                if let Some(Slot::Held(hold) | Slot::Granted(hold)) = self.slots.get_mut(request) {
                    hold.risk();
                }
            }
            ToClient::Lost { request, reason } => self.lost(request, reason, wakes),
            // A sign of life, noted by the link; a hint about a queue that nobody asked for; a hint that a goodbye follows.
            ToClient::Pong { .. } | ToClient::Queued { .. } | ToClient::Draining => {}
            ToClient::Goodbye { code, message } => {
                return Err(Ended::BySidecar(Error::plain(code, Arc::from(""), message)));
            }
            ToClient::Welcome(_) => {
                let twice = "the sidecar welcomed twice; this is a bug in it";
                return Err(Ended::ByUs(Error::unreachable(Vec::new(), twice)));
            }
        }
        Ok(())
    }

    fn granted(&mut self, granted: Granted, wakes: &mut Wakes) {
        match self.slots.get_mut(granted.request) {
            Some(Slot::Waiting { .. }) if granted.secret.is_some() => {
                self.answer(granted.request, Answer::Timed(granted), wakes);
            }
            Some(Slot::Waiting { about, .. }) => {
                let hold = match about.clone() {
                    About::Lease { key, reentrant: true } => self.reentered(&granted, key),
                    about => Hold::new(&granted, about.key()),
                };
                self.grant(hold, wakes);
            }
            // It raced our cancel, whose answer says that the sidecar took it back.
            Some(Slot::Cancelling { .. }) => {}
            // Nobody here knows of it, so nobody would ever release it.
            _ => self.send(&ToSidecar::Cancel { request: granted.request }),
        }
    }

    /// A lease, or one more handle of one that is here already: those share their end.
    fn reentered(&mut self, granted: &Granted, key: Arc<str>) -> Hold {
        let now_ns = clock::boottime_ns();
        match self.slots.with_fence(granted.fence).find(|hold| hold.is_outer_of(granted, &key, now_ns)) {
            Some(outer) => Hold::inner(granted, outer),
            None => Hold::new(granted, key),
        }
    }

    /// A request is a lease from now on, and who waits is woken.
    fn grant(&mut self, hold: Hold, wakes: &mut Wakes) {
        if let Some(Slot::Waiting { waker, .. }) = self.slots.grant(hold.request, Arc::new(hold)) {
            wakes.wakers.push(waker);
        }
    }

    /// As for one: the lease of the first number is there last, and wakes who waits for all of them.
    fn granted_all(&mut self, request: u64, leases: &[Granted], wakes: &mut Wakes) {
        match self.slots.get_mut(request) {
            Some(Slot::Waiting { .. }) => {}
            Some(Slot::Cancelling { .. }) => return,
            _ => return self.send(&ToSidecar::Cancel { request }),
        }
        let numbers: Arc<[u64]> = leases.iter().map(|granted| granted.request).collect();
        for granted in leases {
            let key = match self.slots.get_mut(granted.request) {
                Some(Slot::Waiting { about, .. }) => about.key(),
                Some(Slot::Member(key)) => key.clone(),
                _ => continue,
            };
            self.grant(Hold::of_several(granted, key, numbers.clone()), wakes);
        }
    }

    fn cancelled(&mut self, request: u64) {
        if let Some(Slot::Cancelling { .. }) = self.slots.get_mut(request) {
            self.slots.remove(request);
        }
    }

    fn renewed(&mut self, renewed: Renewed, wakes: &mut Wakes) {
        if let Some(Slot::Waiting { about: About::Renewal(hold, number), .. }) =
            self.slots.get_mut(renewed.request)
        {
            hold.renewed(*number, renewed.deadline_ns, renewed.cap_ns);
        }
        self.answer(renewed.request, Answer::Renewed(renewed), wakes);
    }

    fn refused(&mut self, refused: Refused<'_>, wakes: &mut Wakes) {
        let Refused { request, code, message, detail, register } = refused;
        let message = Cow::Owned(message.into_owned());
        let register = register.map(owned_version);
        self.answer(request, Answer::Refused(Refused { request, code, message, detail, register }), wakes);
    }

    /// The answer to a request that ends with it.
    fn answer(&mut self, request: u64, answer: Answer, wakes: &mut Wakes) {
        match self.slots.get_mut(request) {
            Some(slot @ Slot::Waiting { .. }) => {
                if let Slot::Waiting { waker, .. } = std::mem::replace(slot, Slot::Answered(answer)) {
                    wakes.wakers.push(waker);
                }
            }
            Some(Slot::Ignored) => {
                self.slots.remove(request);
            }
            // A cancel that crossed it will be answered too; anything else is an answer nobody waits for.
            _ => {}
        }
    }

    fn extended(&mut self, until_ns: u64, except: &[u64]) {
        let except: HashSet<u64> = except.iter().copied().collect();
        for (request, slot) in self.slots.iter_mut() {
            if let Slot::Held(hold) | Slot::Granted(hold) = slot
                && !except.contains(&request)
            {
                hold.extend(until_ns);
            }
        }
    }

    fn lost(&mut self, request: u64, reason: LostReason, wakes: &mut Wakes) {
        if let Some(Slot::Cancelling { share }) = self.slots.get_mut(request)
            && let Some(share) = share.take()
        {
            self.lose_share(&share, reason, wakes);
            return;
        }
        if let Some(Slot::Held(hold) | Slot::Granted(hold)) = self.slots.get_mut(request) {
            hold.finish(End::Lost(reason));
            wakes.ended.push(hold.clone());
            let hold = hold.clone();
            if let Some(Slot::Held(_)) = self.slots.get_mut(request) {
                self.slots.remove(request);
            }
            self.give_back_rest(&hold, reason, wakes);
        }
    }

    /// What it had become for a moment is lost, and it with that.
    pub(crate) fn lose_share(&mut self, share: &Arc<Hold>, reason: LostReason, wakes: &mut Wakes) {
        share.finish(End::Lost(reason));
        wakes.ended.push(share.clone());
        self.slots.remove(share.request);
    }

    /// One of several leases is lost, and all of them with it: what is still there goes back.
    fn give_back_rest(&mut self, lost: &Hold, reason: LostReason, wakes: &mut Wakes) {
        for &number in lost.several().iter().filter(|&&number| number != lost.request) {
            if let Some(Slot::Held(hold) | Slot::Granted(hold)) = self.slots.get_mut(number) {
                hold.finish(End::Lost(reason));
                wakes.ended.push(hold.clone());
                if let Some(Slot::Held(_)) = self.slots.get_mut(number) {
                    self.release_unheard(number);
                }
            }
        }
    }
}

fn owned(current: Current<'_>) -> Current<'static> {
    match current {
        Current::Unchanged => Current::Unchanged,
        Current::Absent => Current::Absent,
        Current::Value(version) => Current::Value(owned_version(version)),
    }
}

fn owned_version(version: Version<'_>) -> Version<'static> {
    let Version { etag, value } = version;
    Version { etag: Cow::Owned(etag.into_owned()), value: Cow::Owned(value.into_owned()) }
}
