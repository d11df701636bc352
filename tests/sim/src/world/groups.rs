//! Requests for several keys at once.
//!
//! Owns which requests belong together. In a history each key is a request of its own; the client asks for all of them in
//! one message, in whatever order it names them, and is answered for all of them at once.

use super::World;
use super::hosts::{number, req};
use super::plan::KeyKind;
use super::tasks::State;
use crate::checker::history::{Acquire as Asked, Req, Sent, Wait};
use sidelock_engine::{AcquireAll, Grant, Input, LeaseName, Life, Mode, RequestId};
use std::collections::BTreeMap;

/// Most keys of one request.
const KEYS_MAX: usize = 3;

/// Requests for several keys, by the number that they are answered under.
#[derive(Default)]
pub(crate) struct Groups(BTreeMap<Req, Vec<Req>>);

impl Groups {
    /// All requests that are answered together with this one.
    pub(crate) fn members(&self, of: Req) -> Vec<Req> {
        self.0.get(&of).cloned().unwrap_or_else(|| vec![of])
    }
}

impl World {
    /// Asks for two or three locks at once; false if there are none.
    pub(crate) fn ask_all(&mut self, client: usize, task: usize) -> bool {
        let is_lock = |key: &usize| matches!(self.plan.keys[*key], KeyKind::Lock { .. });
        let mut locks: Vec<usize> = (0..self.plan.keys.len()).filter(is_lock).collect();
        if locks.len() < 2 {
            return false;
        }
        while locks.len() > KEYS_MAX || (locks.len() > 2 && self.dice.chance(0.5)) {
            let out = self.dice.below(locks.len());
            locks.remove(out);
        }
        let members: Option<Vec<Req>> = locks.iter().map(|_| self.next_request(client)).collect();
        let Some(members) = members else { return false };
        let first = members[self.dice.below(members.len())];
        let mut wish = self.draw_acquire(first, locks[0], false);
        if let Life::Timed { ttl, .. } = wish.life {
            wish.life = Life::Session { ttl: Some(ttl) };
        }
        wish.mode = if self.dice.chance(0.2) { Mode::Shared } else { Mode::Exclusive };
        for (&of, &key) in members.iter().zip(&locks) {
            let asked = Asked {
                key: number(key),
                units: wish.mode.units(),
                limit: wish.mode.limit(),
                wait: match wish.wait {
                    None => Wait::Forever,
                    Some(wait) if wait.is_zero() => Wait::Try,
                    Some(wait) => Wait::AtMost(wait),
                },
                priority: wish.priority,
                timed: false,
                owner: None,
                per: None,
                watched: wish.find_deadlocks,
                upgrades: None,
                group: Some(first.request),
            };
            self.send(of, Sent::Acquire(asked));
        }
        // They are named by one digit each: their order is that of their bytes.
        let numbered = members.iter().zip(&locks);
        let keys =
            numbered.map(|(of, &key)| (RequestId(of.request.into()), self.keys[key].clone())).collect();
        self.clients[client].tasks[task].ttl = match wish.life {
            Life::Session { ttl } => ttl,
            Life::Timed { .. } => None,
        };
        self.groups.0.insert(first, members);
        self.set(client, task, State::Waiting { of: first, cancelled: false });
        self.post(client, Input::AcquireAll(AcquireAll { wish, keys, secrets: Vec::new() }));
        self.plan_change_of_mind(client, task);
        true
    }

    /// All keys are there. The task goes on with the one it is answered under, and needs the others no more.
    pub(crate) fn granted_all(
        &mut self,
        client: usize,
        task: usize,
        first: Req,
        grants: &[(RequestId, Grant)],
    ) {
        for (request, grant) in grants {
            let of = Req { request: u32::try_from(request.0).expect("numbered from 0"), ..first };
            match of == first {
                true => self.granted(client, task, of, grant),
                false => drop(self.send_release(client, of, LeaseName::Session(*request))),
            }
        }
    }

    pub(crate) fn members_in(&self, input: &AcquireAll) -> Vec<(Req, usize)> {
        let keys = input.keys.iter();
        keys.map(|(request, key)| (req(input.wish.session, *request), self.key_index(key))).collect()
    }
}
