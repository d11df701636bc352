//! Requests for several keys at once.
//!
//! Owns which requests belong together. In a history each key is a request of its own; the client asks for all of them in
//! one message, in whatever order it names them, and is answered for all of them at once. Tasks ask so for all that they
//! want; owners may hold something already, and ask for more later.

use super::World;
use super::hosts::{number, req};
use super::owners::{Held, State as OwnerState, Want};
use super::plan::KeyKind;
use super::rare::Kind;
use super::tangle::Tangle;
use super::tasks::{State, asked, secret_of};
use crate::checker::history::{Acquire as Asked, Req, Sent};
use sidelock_engine::{Acquire, AcquireAll, Grant, Input, LeaseName, Life, Mode, RequestId};
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
        let Some((first, members)) = self.number_members(client, locks.len()) else { return false };
        let mut wish = self.draw_acquire(first, locks[0], false);
        wish.mode = if self.dice.chance(0.2) { Mode::Shared } else { Mode::Exclusive };
        self.clients[client].tasks[task].ttl = match wish.life {
            Life::Session { ttl } => ttl,
            Life::Timed { ttl, .. } => Some(ttl),
        };
        self.set(client, task, State::Waiting { of: first, cancelled: false });
        let each = asked(&wish, locks[0]);
        self.send_all(client, (first, members), &locks, wish, each);
        self.plan_change_of_mind(client, task);
        true
    }

    /// Numbers for so many keys, and which of them the answer will have.
    fn number_members(&mut self, client: usize, count: usize) -> Option<(Req, Vec<Req>)> {
        let members: Vec<Req> = (0..count).map(|_| self.next_request(client)).collect::<Option<_>>()?;
        Some((members[self.dice.below(count)], members))
    }

    /// Asks for keys, in their order, under these numbers; the history has them as `each`.
    fn send_all(
        &mut self,
        client: usize,
        (first, members): (Req, Vec<Req>),
        locks: &[usize],
        wish: Acquire,
        each: Asked,
    ) {
        for (&of, &key) in members.iter().zip(locks) {
            let asked = Asked { key: number(key), group: Some(first.request), ..each };
            self.send(of, Sent::Acquire(asked));
        }
        // They are named by one digit each: their order is that of their bytes.
        let numbered = members.iter().zip(locks);
        let keys =
            numbered.map(|(of, &key)| (RequestId(of.request.into()), self.keys[key].clone())).collect();
        let secrets = match wish.life {
            Life::Timed { .. } => members.iter().copied().map(secret_of).collect(),
            Life::Session { .. } => Vec::new(),
        };
        self.groups.0.insert(first, members);
        self.post(client, Input::AcquireAll(AcquireAll { wish, keys, secrets }));
    }

    /// An owner asks for several locks at once, whatever it holds.
    pub(crate) fn owner_asks_all(&mut self, client: usize, owner: usize, want: &Want, tangle: &Tangle) {
        let Some((first, members)) = self.number_members(client, want.keys.len()) else {
            return self.owner_rests(client, owner);
        };
        let wish = self.draw_wish(client, owner, first, want, tangle);
        let each = Asked { owner: wish.owner.as_ref().map(|_| number(owner)), ..asked(&wish, want.keys[0]) };
        let each = Asked { group: Some(first.request), ..each };
        self.owner_becomes(client, owner, OwnerState::Waiting { of: first, asked: each, cancelled: false });
        self.send_all(client, (first, members), &want.keys, wish, each);
    }

    /// All keys that an owner asked for are there.
    pub(crate) fn owner_granted_all(
        &mut self,
        client: usize,
        owner: usize,
        (first, each): (Req, Asked),
        grants: &[(RequestId, Grant)],
    ) {
        for (request, grant) in grants {
            let of = Req { request: u32::try_from(request.0).expect("numbered from 0"), ..first };
            let asked = Asked { key: number(self.key_index(&grant.key)), ..each };
            self.clients[client].owners[owner].held.push(Held::granted(of, asked, grant));
        }
    }

    /// All keys are there. The task goes on with the one it is answered under, and needs the others no more.
    pub(crate) fn granted_all(
        &mut self,
        client: usize,
        task: usize,
        first: Req,
        grants: &[(RequestId, Grant)],
    ) {
        if grants.iter().any(|(_, grant)| grant.secret.is_some()) {
            self.rare.saw(Kind::TimedGroup);
        }
        for (request, grant) in grants {
            let of = Req { request: u32::try_from(request.0).expect("numbered from 0"), ..first };
            match of == first {
                true => self.granted(client, task, of, grant),
                false => {
                    let name = grant.secret.map_or(LeaseName::Session(*request), LeaseName::Timed);
                    self.send_release(client, of, name);
                }
            }
        }
    }

    pub(crate) fn members_in(&self, input: &AcquireAll) -> Vec<(Req, usize)> {
        let keys = input.keys.iter();
        keys.map(|(request, key)| (req(input.wish.session, *request), self.key_index(key))).collect()
    }
}
