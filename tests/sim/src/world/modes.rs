//! Clients that change the mode of a lease: readers that become writers, and writers that become readers (P16).
//!
//! Owns when they do, and what they make of the answers. Must not know how a lease is held otherwise.

use super::World;
use super::holding::Upgrade;
use super::hosts::number;
use super::plan::KeyKind;
use super::rare::Kind;
use super::tasks::Step;
use crate::checker::history::{Acquire as Asked, Req, Sent, Wait};
use sidelock_engine::{Change, Grant, Input, LeaseSecret, Mode, NewMode, Reply, RequestId, SessionId, WHOLE};
use std::time::Duration;

impl World {
    /// A lease was granted, to be held for so long: some change it meanwhile.
    pub(crate) fn plan_change(&mut self, client: usize, task: usize, hold: Duration) {
        let Some(lease) = self.holding(client, task) else {
            return;
        };
        let habits = &self.plan.habits;
        let likely = match (self.plan.keys[lease.key], lease.mode) {
            (KeyKind::Lock { .. }, Mode::Shared) => habits.upgrades,
            (KeyKind::Lock { .. }, Mode::Exclusive) => habits.downgrades,
            _ => 0.0,
        };
        if self.dice.chance(likely) {
            let delay = self.dice.span(Duration::ZERO, hold);
            self.plan_step(client, task, delay, Step::Change);
        }
    }

    pub(crate) fn change_mode(&mut self, client: usize, task: usize) {
        if !self.clients[client].connected || self.look_at_deadline(client, task) {
            return;
        }
        match self.holding(client, task) {
            Some(lease) if lease.upgrade.is_some() => {}
            Some(lease) if lease.mode == Mode::Shared => self.upgrade(client, task),
            Some(_) => self.downgrade(client, task),
            None => {}
        }
    }

    /// What it read and wrote alone is done; from here on it only reads.
    fn downgrade(&mut self, client: usize, task: usize) {
        let (Some(lease), Some(of)) = (self.holding(client, task), self.next_request(client)) else {
            return;
        };
        self.write_register(&lease);
        self.send(of, Sent::Downgrade { lease: lease.of });
        self.post_change(client, of, lease.name(), NewMode::Shared);
        self.change(client, task, |lease| {
            lease.mode = Mode::Shared;
            lease.base = None;
            // Whether it still may be taken back is not known: a write under its fence that is under way refuses this.
        });
        self.plan_change(client, task, Duration::from_millis(50));
    }

    fn upgrade(&mut self, client: usize, task: usize) {
        let (Some(lease), Some(of)) = (self.holding(client, task), self.next_request(client)) else {
            return;
        };
        let (wait, told) = match () {
            () if self.dice.chance(self.plan.habits.tries) => (Some(Duration::ZERO), Wait::Try),
            () if self.dice.chance(self.plan.habits.patient) => (None, Wait::Forever),
            () => {
                let wait = self.dice.about(Duration::from_millis(1500));
                (Some(wait), Wait::AtMost(wait))
            }
        };
        let asked = Asked {
            key: number(lease.key),
            units: WHOLE,
            limit: WHOLE,
            wait: told,
            priority: 0,
            timed: lease.secret.is_some(),
            owner: None,
            per: None,
            max_hold: None,
            group: None,
            turn: false,
            watched: true,
            upgrades: Some(lease.of),
        };
        let secret = LeaseSecret(u128::from(of.session) << 64 | u128::from(of.request));
        self.send(of, Sent::Acquire(asked));
        self.post_change(client, of, lease.name(), NewMode::Exclusive { wait, secret });
        self.change(client, task, |lease| lease.upgrade = Some(Upgrade { of, cancelled: false }));
        if self.dice.chance(self.plan.habits.cancels) {
            let round_trip = 4 * (self.plan.one_way + self.plan.jitter);
            let delay = self.dice.span(Duration::ZERO, round_trip);
            self.plan_step(client, task, delay, Step::CancelChange);
        }
    }

    fn post_change(&mut self, client: usize, of: Req, lease: sidelock_engine::LeaseName, to: NewMode) {
        let (session, request) = (SessionId(u64::from(of.session)), RequestId(u64::from(of.request)));
        self.post(client, Input::Change(Change { session, request, lease, to }));
    }

    pub(crate) fn cancel_change(&mut self, client: usize, task: usize) {
        let upgrade = self.holding(client, task).and_then(|lease| lease.upgrade);
        let Some(upgrade) = upgrade.filter(|upgrade| !upgrade.cancelled) else {
            return;
        };
        if self.clients[client].connected {
            self.change(client, task, |lease| {
                lease.upgrade = Some(Upgrade { cancelled: true, ..upgrade });
            });
            self.send_cancel(client, upgrade.of);
        }
    }

    /// The share is given for the whole, or it is what it was.
    pub(crate) fn upgrade_answered(&mut self, client: usize, task: usize, of: Req, reply: &Reply) {
        let cancelled = self
            .holding(client, task)
            .and_then(|lease| lease.upgrade)
            .is_some_and(|upgrade| upgrade.cancelled);
        match reply {
            Reply::Granted(_) if cancelled => self.rare.saw(Kind::UpgradeTakenBack),
            Reply::Granted(grant) => self.upgraded(client, task, of, grant),
            // A refusal that the cancel crossed: its own answer is still to come.
            Reply::Refused(_) if cancelled => {}
            _ => self.change(client, task, |lease| lease.upgrade = None),
        }
    }

    fn upgraded(&mut self, client: usize, task: usize, of: Req, grant: &Grant) {
        self.granted(client, task, of, grant);
        self.change(client, task, |lease| lease.upgraded = true);
    }
}
