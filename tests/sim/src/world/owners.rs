//! Owners: sequential actors who hold one key and ask for the next, which is how deadlocks come about.
//!
//! Owns the life of one owner of a client: a round of acquires, some work, and the release of everything; after any
//! refusal, of a deadlock above all, it lets go of all that it has (or, stubborn, goes on with what it got). Must not
//! know whether it was in a deadlock: that is what the sidecars and the checker have to agree on.

use super::hosts::number;
use super::plan::KeyKind;
use super::reentry::{Handles, outer};
use super::tangle::Tangle;
use super::tasks::asked;
use super::{Happening, World};
use crate::checker::history::{Acquire as Asked, Event, Req, Sent};
use sidelock_engine::{Acquire, Grant, Input, Life, Mode, Owner, Refusal, Reply, RequestId, SessionId, Time};
use std::time::Duration;

/// A sequential actor.
#[derive(Default)]
pub(crate) struct Actor {
    pub(crate) state: State,
    /// Steps planned for an older state are void.
    generation: u32,
    pub(crate) held: Vec<Held>,
    /// Turns that succeeded, by the numbers under which it will hear that this counts.
    pub(crate) finishing: Vec<(Req, Held)>,
    /// What it still wants in this round, last first.
    wants: Vec<Want>,
}

/// What an owner asks for at once.
pub(crate) struct Want {
    /// One key, or several locks in their order.
    pub(crate) keys: Vec<usize>,
    pub(crate) mode: Mode,
}

/// Where an owner stands.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum State {
    #[default]
    Idle,
    /// An acquire is under way.
    Waiting { of: Req, asked: Asked, cancelled: bool },
    /// It asks once more for what it was granted with this acquire.
    Entering { of: Req },
    /// It holds something, and does something between two requests.
    Working,
    /// It has done something once, and waits to hear that this counts.
    Finishing,
}

/// A lease as its owner knows it.
#[derive(Clone, Copy)]
pub(crate) struct Held {
    pub(crate) of: Req,
    pub(crate) handles: Handles,
    pub(crate) asked: Asked,
    deadline: Time,
    cap: Option<Time>,
}

impl Held {
    pub(crate) fn granted(of: Req, asked: Asked, grant: &Grant) -> Held {
        Held { of, handles: Handles::Outer, asked, deadline: grant.deadline, cap: grant.cap }
    }
}

/// What an owner planned to do.
#[derive(Clone, Copy)]
pub(crate) enum Move {
    /// Begin a round.
    Begin,
    /// Ask for the next key of the round.
    Next,
    /// Change its mind about the acquire under way.
    Cancel,
    /// Ask for all of what it has a share of.
    Upgrade,
    /// Give one of two handles back.
    Leave,
    /// Let go of everything.
    Finish,
    /// Its whole client dies.
    Die,
}

impl Actor {
    pub(crate) fn is_idle(&self) -> bool {
        self.state == State::Idle
    }
}

impl World {
    /// Owners begin, where this is a world of theirs.
    pub(crate) fn owners_begin(&mut self, client: usize) {
        let Some(tangle) = self.plan.tangle.clone() else { return };
        for owner in 0..tangle.owners {
            self.clients[client].owners.push(Actor::default());
            self.begin_round_later(client, owner, &tangle);
        }
    }

    fn begin_round_later(&mut self, client: usize, owner: usize, tangle: &Tangle) {
        let delay = match tangle.ring {
            // All at about the same time.
            Some(_) => {
                let every = tangle.every.as_nanos();
                let next = Duration::from_nanos((every - u128::from(self.now.0) % every) as u64);
                next + self.dice.span(Duration::ZERO, Duration::from_millis(50))
            }
            None => self.dice.about(self.plan.habits.think),
        };
        self.plan_move(client, owner, delay, Move::Begin);
    }

    pub(crate) fn plan_move(&mut self, client: usize, owner: usize, delay: Duration, step: Move) {
        let generation = self.clients[client].owners[owner].generation;
        self.agenda.put(self.now + delay, Happening::Moves { client, owner, generation, step });
    }

    pub(crate) fn moves(&mut self, client: usize, owner: usize, generation: u32, step: Move) {
        let Some(tangle) = self.plan.tangle.clone() else { return };
        if self.clients[client].owners[owner].generation != generation {
            return;
        }
        match step {
            Move::Begin => self.begin_round(client, owner, &tangle),
            Move::Next => self.ask_next(client, owner, &tangle),
            Move::Cancel => self.owner_cancels(client, owner),
            Move::Upgrade => self.upgrade_share(client, owner, &tangle),
            Move::Leave => self.leave_all(client, owner),
            Move::Finish => self.work_done(client, owner),
            Move::Die => self.client_dies(client),
        }
    }

    /// Everything that an owner was about to do is void.
    pub(crate) fn owner_becomes(&mut self, client: usize, owner: usize, state: State) {
        let actor = &mut self.clients[client].owners[owner];
        actor.generation += 1;
        actor.state = state;
    }

    /// An owner has nothing and wants nothing; the next round begins later.
    pub(crate) fn owner_rests(&mut self, client: usize, owner: usize) {
        self.owner_becomes(client, owner, State::Idle);
        let actor = &mut self.clients[client].owners[owner];
        actor.held.clear();
        actor.wants.clear();
        if let Some(tangle) = self.plan.tangle.clone().filter(|_| !self.closing) {
            self.begin_round_later(client, owner, &tangle);
        }
    }

    /// The connection is gone, and with it all leases.
    pub(crate) fn owners_forget(&mut self, client: usize) {
        for owner in 0..self.clients[client].owners.len() {
            self.clients[client].owners[owner].finishing.clear();
            self.owner_rests(client, owner);
        }
    }

    fn begin_round(&mut self, client: usize, owner: usize, tangle: &Tangle) {
        if self.closing {
            return;
        }
        if !self.clients[client].connected {
            return self.begin_round_later(client, owner, tangle);
        }
        let wants = match tangle.ring {
            Some(length) => {
                let place = client + owner * self.plan.clients;
                // Where owners do not divide evenly, some are left over.
                if place >= length {
                    return;
                }
                let locks = |world: &World| (place..=place + 1).all(|key| world.is_lock(key));
                if place + 1 < length && locks(self) && self.dice.chance(tangle.several) {
                    return self.take_both_later(client, owner, (place, length), tangle.every);
                }
                let one = |key| Want { keys: vec![key], mode: Mode::Exclusive };
                vec![one((place + 1) % length), one(place)]
            }
            None => self.draw_wants(tangle),
        };
        self.clients[client].owners[owner].wants = wants;
        self.ask_next(client, owner, tangle);
    }

    /// It takes both of its keys of a ring at once, when its neighbour has the second: so it has the first reserved when
    /// somebody comes for that.
    fn take_both_later(
        &mut self,
        client: usize,
        owner: usize,
        (place, length): (usize, usize),
        every: Duration,
    ) {
        let both = Want { keys: vec![place, place + 1], mode: Mode::Exclusive };
        self.clients[client].owners[owner].wants = vec![both];
        self.owner_becomes(client, owner, State::Working);
        let begun = Duration::from_nanos((u128::from(self.now.0) % every.as_nanos()) as u64);
        // Whose neighbour does the same comes after it.
        let turn = Duration::from_millis(50) + Duration::from_millis(10) * number(length - place);
        self.plan_move(client, owner, turn.saturating_sub(begun), Move::Next);
    }

    fn draw_wants(&mut self, tangle: &Tangle) -> Vec<Want> {
        let mut keys: Vec<usize> = (0..self.plan.keys.len()).collect();
        let count = 1 + self.dice.below(tangle.keys_max.min(keys.len()));
        let mut wants = Vec::new();
        for _ in 0..count {
            let key = keys.swap_remove(self.dice.below(keys.len()));
            self.want_besides(&mut wants, key, tangle);
        }
        if self.dice.chance(tangle.again) {
            let first = wants[0].keys[0];
            self.want_besides(&mut wants, first, tangle);
        }
        wants.reverse();
        wants
    }

    /// One key more: some locks are asked for together with the one before.
    fn want_besides(&mut self, wants: &mut Vec<Want>, key: usize, tangle: &Tangle) {
        let mode = self.draw_mode(key);
        let joins =
            |want: &&mut Want| self.is_lock(key) && self.is_lock(want.keys[0]) && !want.keys.contains(&key);
        match wants.last_mut().filter(joins) {
            Some(want) if self.dice.chance(tangle.several) => {
                want.keys.push(key);
                want.keys.sort_unstable();
            }
            _ => wants.push(Want { keys: vec![key], mode }),
        }
    }

    fn is_lock(&self, key: usize) -> bool {
        matches!(self.plan.keys[key], KeyKind::Lock { .. })
    }

    fn draw_mode(&mut self, key: usize) -> Mode {
        match self.plan.keys[key] {
            KeyKind::Lock { shared } if self.dice.chance(shared) => Mode::Shared,
            KeyKind::Lock { .. } | KeyKind::Once(_) => Mode::Exclusive,
            KeyKind::Semaphore { limit, .. } => {
                Mode::Permits { permits: 1 + number(self.dice.below(limit as usize)), limit }
            }
        }
    }

    fn ask_next(&mut self, client: usize, owner: usize, tangle: &Tangle) {
        if !self.clients[client].connected {
            return self.owner_rests(client, owner);
        }
        let Some(want) = self.clients[client].owners[owner].wants.pop() else {
            return self.let_go(client, owner);
        };
        match want.keys[..] {
            [key] => self.ask_one(client, owner, key, &want, tangle),
            _ => self.owner_asks_all(client, owner, &want, tangle),
        }
        let later = self.dice.about(Duration::from_millis(700));
        if self.dice.chance(tangle.cancels) {
            self.plan_move(client, owner, later, Move::Cancel);
        } else if !self.healed && self.dice.chance(tangle.dies) {
            self.plan_move(client, owner, later, Move::Die);
        }
    }

    fn ask_one(&mut self, client: usize, owner: usize, key: usize, want: &Want, tangle: &Tangle) {
        let Some(of) = self.next_request(client) else {
            return self.owner_rests(client, owner);
        };
        let acquire = self.draw_wish(client, owner, of, want, tangle);
        let asked = Asked { owner: acquire.owner.as_ref().map(|_| number(owner)), ..asked(&acquire, key) };
        self.owner_becomes(client, owner, State::Waiting { of, asked, cancelled: false });
        self.send(of, Sent::Acquire(asked));
        self.post(client, Input::Acquire(acquire));
    }

    /// How an owner asks for what it wants next.
    pub(crate) fn draw_wish(
        &mut self,
        client: usize,
        owner: usize,
        of: Req,
        want: &Want,
        tangle: &Tangle,
    ) -> Acquire {
        // A circle through somebody who says no name, or wants to hear nothing, is nobody's to find: patience has to end it,
        // and what is held under no name has to be the last.
        let is_last = self.clients[client].owners[owner].wants.is_empty();
        let anonymous = is_last && self.dice.chance(tangle.anonymous);
        let watched = !self.dice.chance(tangle.unwatched);
        let wait = match () {
            () if self.dice.chance(tangle.tries) => Some(Duration::ZERO),
            () if anonymous || !watched || self.dice.chance(tangle.timeouts) => {
                Some(self.dice.about(Duration::from_millis(800)))
            }
            () => None,
        };
        let priority = match self.dice.chance(tangle.priority) {
            true => i32::try_from(self.dice.between(0, 6)).expect("a small number") - 3,
            false => 0,
        };
        Acquire {
            session: SessionId(u64::from(of.session)),
            request: RequestId(u64::from(of.request)),
            key: self.keys[want.keys[0]].clone(),
            mode: want.mode,
            wait,
            life: Life::Session { ttl: self.dice.chance(tangle.ends).then_some(Duration::from_secs(3)) },
            max_hold: self.dice.chance(tangle.ends).then_some(Duration::from_secs(2)),
            per: None,
            reentrant: false,
            owner: (!anonymous).then(|| Owner(format!("owner {owner}").into())),
            find_deadlocks: watched,
            priority,
            notify_queued: false,
            once: match self.plan.keys[want.keys[0]] {
                KeyKind::Once(window) => Some(Box::new(window)),
                KeyKind::Lock { .. } | KeyKind::Semaphore { .. } => None,
            },
        }
    }

    fn owner_cancels(&mut self, client: usize, owner: usize) {
        let connected = self.clients[client].connected;
        if let State::Waiting { of, cancelled, .. } = &mut self.clients[client].owners[owner].state {
            *cancelled = true;
            let of = *of;
            if connected {
                self.send_cancel(client, of);
            }
        }
    }

    /// An answer to a request of one of a client's owners.
    pub(crate) fn owner_answered(&mut self, client: usize, of: Req, reply: &Reply) {
        if self.turn_finished(client, of, reply) {
            return;
        }
        let mine = |actor: &Actor| matches!(actor.state, State::Waiting { of: mine, .. } if mine == of);
        let Some(owner) = self.clients[client].owners.iter().position(mine) else {
            return;
        };
        let Some(tangle) = self.plan.tangle.clone() else { return };
        let State::Waiting { asked, cancelled, .. } = self.clients[client].owners[owner].state else {
            return;
        };
        match reply {
            // A grant that raced the cancel is no lease; the acknowledgement is still to come.
            Reply::Granted(_) | Reply::GrantedAll(_) | Reply::Done(_) if cancelled => {}
            Reply::Granted(grant) => self.owner_granted(client, owner, (of, asked), grant, &tangle),
            Reply::GrantedAll(grants) => {
                self.owner_granted_all(client, owner, (of, asked), grants);
                self.owner_goes_on(client, owner, &tangle);
            }
            Reply::Done(_) => self.owner_goes_on(client, owner, &tangle),
            Reply::Refused(Refusal::WaitTimeout | Refusal::Held | Refusal::UsedUp { .. })
            | Reply::Cancelled
                if self.dice.chance(tangle.stubborn) =>
            {
                self.owner_goes_on(client, owner, &tangle);
            }
            _ => self.let_go(client, owner),
        }
    }

    fn owner_granted(
        &mut self,
        client: usize,
        owner: usize,
        (of, asked): (Req, Asked),
        grant: &Grant,
        tangle: &Tangle,
    ) {
        let leases = &mut self.clients[client].owners[owner].held;
        leases.retain(|lease| asked.upgrades != Some(lease.of));
        leases.push(Held::granted(of, asked, grant));
        if self.is_lock(self.key_index(&grant.key)) && !self.closing && self.dice.chance(tangle.enters) {
            return self.enter(client, owner, of, grant);
        }
        self.owner_goes_on(client, owner, tangle);
    }

    /// On to the next key, or to the work that all were wanted for.
    pub(crate) fn owner_goes_on(&mut self, client: usize, owner: usize, tangle: &Tangle) {
        self.owner_becomes(client, owner, State::Working);
        if !self.closing
            && self.share_to_upgrade(client, owner).is_some()
            && self.dice.chance(tangle.upgrades)
        {
            let pause = self.dice.about(tangle.between);
            return self.plan_move(client, owner, pause, Move::Upgrade);
        }
        if self.closing || self.clients[client].owners[owner].wants.is_empty() {
            let hold = self.dice.about(self.plan.habits.hold);
            self.plan_move(client, owner, hold / 2, Move::Leave);
            return self.plan_move(client, owner, hold, Move::Finish);
        }
        let pause = match tangle.ring {
            // Until everybody has its first.
            Some(_) => Duration::from_millis(120) + self.dice.span(Duration::ZERO, tangle.between),
            None => self.dice.about(tangle.between),
        };
        self.plan_move(client, owner, pause, Move::Next);
    }

    /// Releases everything. What is lost by now is refused, and nobody minds.
    pub(crate) fn let_go(&mut self, client: usize, owner: usize) {
        let held = std::mem::take(&mut self.clients[client].owners[owner].held);
        if self.clients[client].connected {
            for lease in held {
                self.give_up(client, lease);
            }
        }
        self.owner_rests(client, owner);
    }

    /// The world comes to its end: whoever works is done soon. Who waits is served, or told that it never will be.
    pub(crate) fn owners_finish_soon(&mut self) {
        for client in 0..self.clients.len() {
            for owner in 0..self.clients[client].owners.len() {
                match self.clients[client].owners[owner].state {
                    State::Working => self.plan_move(client, owner, Duration::from_millis(5), Move::Finish),
                    State::Idle | State::Waiting { .. } | State::Entering { .. } | State::Finishing => {}
                }
            }
        }
    }

    /// A lease of an owner is gone: it works on with what is left.
    pub(crate) fn owner_lost(&mut self, client: usize, of: Req) {
        for actor in &mut self.clients[client].owners {
            actor.held.retain(|lease| lease.of != of);
        }
    }

    /// State, not an event: where all leases of the session stand now, except those listed.
    pub(crate) fn owners_extended(&mut self, client: usize, until: Time, except: &[RequestId]) {
        let clock = self.hosts[self.clients[client].host].clock;
        for owner in 0..self.clients[client].owners.len() {
            for place in 0..self.clients[client].owners[owner].held.len() {
                let lease = &mut self.clients[client].owners[owner].held[place];
                let is_its = |request: &RequestId| outer(*request) == u64::from(lease.of.request);
                if !except.iter().any(is_its) {
                    lease.deadline = lease.cap.map_or(until, |cap| until.min(cap));
                    let (lease, until) = (lease.of, clock.when(lease.deadline));
                    self.log.record(Event::Extended { lease, until });
                }
            }
        }
    }

    /// Gives up every lease whose deadline has passed.
    pub(crate) fn owners_look_at_deadlines(&mut self, client: usize) {
        let now = self.boottime(self.clients[client].host);
        for owner in 0..self.clients[client].owners.len() {
            let held = std::mem::take(&mut self.clients[client].owners[owner].held);
            let (over, valid): (Vec<Held>, Vec<Held>) =
                held.into_iter().partition(|lease| lease.deadline <= now);
            self.clients[client].owners[owner].held = valid;
            for lease in over {
                self.log.record(Event::LostSeen { lease: lease.of });
                if self.clients[client].connected {
                    self.give_up(client, lease);
                }
            }
        }
    }
}
