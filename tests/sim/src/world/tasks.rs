//! What clients do: ask, wait, hold, renew, write under their token, release; and how they misbehave.
//!
//! Owns the life of one task of a client. Must not know how messages travel.

use super::holding::Lease;
use super::hosts::number;
use super::plan::KeyKind;
use super::{Happening, World};
use crate::checker::history::{Acquire as Asked, At, Event, Req, Sent, Wait};
use sidelock_engine::{
    Acquire, Input, LeaseName, LeaseSecret, Life, Mode, Release, Renew, Reply, RequestId, SessionId,
};
use std::time::Duration;

/// The longest time to live that a client asks for.
pub(crate) const TTL_MAX: Duration = Duration::from_secs(12);
/// Secrets remembered for those who try what is not theirs.
const SECRETS_MAX: usize = 16;

/// A task: one sequential user of leases.
#[derive(Default)]
pub(crate) struct Task {
    pub(crate) state: State,
    /// Steps planned for an older one are void.
    pub(crate) generation: u32,
    /// The time to live that its last acquire asked for.
    pub(crate) ttl: Option<Duration>,
    /// It hammers this key until then.
    hot: Option<(usize, At)>,
}

/// Where a task stands.
#[derive(Default)]
pub(crate) enum State {
    /// Nothing asked for.
    #[default]
    Idle,
    /// An acquire is under way.
    Waiting { of: Req, cancelled: bool },
    /// It holds.
    Holding(Lease),
    /// A release is under way.
    Releasing { of: Req },
    /// The finish of a turn is under way.
    Finishing { of: Req, turn: Lease },
}

/// What a task planned to do.
#[derive(Clone, Copy)]
pub(crate) enum Step {
    Begin,
    Cancel,
    Renew,
    /// It makes its lease another: shared, if it is exclusive, and the other way round.
    Change,
    /// It has changed its mind about that.
    CancelChange,
    Finish,
    /// It dies, with the whole client.
    Die,
}

/// A timed lease that somebody may try to steal.
#[derive(Clone, Copy)]
pub(crate) struct Secret {
    lease: Req,
    secret: LeaseSecret,
    uid: u32,
    sidecar: u32,
}

/// The name of a timed lease.
pub(crate) fn secret_of(of: Req) -> LeaseSecret {
    LeaseSecret(u128::from(of.session) << 64 | u128::from(of.request))
}

/// An acquire as the history has it, if it names no owner and is for one key.
pub(crate) fn asked(acquire: &Acquire, key: usize) -> Asked {
    Asked {
        key: number(key),
        units: acquire.mode.units(),
        limit: acquire.mode.limit(),
        wait: match acquire.wait {
            None => Wait::Forever,
            Some(wait) if wait.is_zero() => Wait::Try,
            Some(wait) => Wait::AtMost(wait),
        },
        priority: acquire.priority,
        timed: matches!(acquire.life, Life::Timed { .. }),
        owner: None,
        per: acquire.per,
        max_hold: acquire.max_hold,
        turn: acquire.once.is_some(),
        watched: acquire.find_deadlocks,
        upgrades: None,
        group: None,
    }
}

impl World {
    pub(crate) fn begin_later(&mut self, client: usize, task: usize, mean: Duration) {
        let delay = self.dice.about(mean);
        self.plan_step(client, task, delay, Step::Begin);
    }

    pub(crate) fn plan_step(&mut self, client: usize, task: usize, delay: Duration, step: Step) {
        let generation = self.clients[client].tasks[task].generation;
        self.agenda.put(self.now + delay, Happening::Step { client, task, generation, step });
    }

    /// Everything that a task was about to do is void.
    pub(crate) fn set(&mut self, client: usize, task: usize, state: State) {
        let task = &mut self.clients[client].tasks[task];
        task.generation += 1;
        task.state = state;
    }

    /// Back to nothing, and on to the next request after a while.
    pub(crate) fn forget(&mut self, client: usize, task: usize) {
        self.set(client, task, State::Idle);
        if self.closing {
            return;
        }
        let hot = self.clients[client].tasks[task].hot.is_some_and(|(_, until)| until > self.now);
        let mean = if hot { Duration::from_micros(100) } else { self.plan.habits.think };
        self.begin_later(client, task, mean);
    }

    /// A burst: this client hammers this key for so long.
    pub(crate) fn heat(&mut self, client: usize, key: usize, span: Duration) {
        let until = self.now + span;
        self.clients[client].tasks[0].hot = Some((key, until));
        if matches!(self.clients[client].tasks[0].state, State::Idle) {
            self.forget(client, 0);
        }
    }

    pub(crate) fn hot(&self, client: usize, task: usize) -> Option<usize> {
        let hot = self.clients[client].tasks[task].hot;
        hot.filter(|(_, until)| *until > self.now).map(|(key, _)| key)
    }

    pub(crate) fn do_step(&mut self, client: usize, task: usize, step: Step) {
        match step {
            Step::Begin => self.ask(client, task),
            Step::Cancel => self.cancel(client, task),
            Step::Renew => self.renew(client, task),
            Step::Change => self.change_mode(client, task),
            Step::CancelChange => self.cancel_change(client, task),
            Step::Finish => self.finish(client, task),
            Step::Die => self.client_dies(client),
        }
    }

    fn ask(&mut self, client: usize, task: usize) {
        if self.closing {
            return;
        }
        if !self.clients[client].connected {
            return self.begin_later(client, task, Duration::from_millis(300));
        }
        if self.dice.chance(self.plan.habits.trespasses) {
            self.trespass(client);
        }
        let hot = self.hot(client, task);
        let several = hot.is_none() && self.dice.chance(self.plan.habits.several);
        if several && self.ask_all(client, task) {
            return;
        }
        let key = hot.unwrap_or_else(|| self.dice.below(self.plan.keys.len()));
        let Some(of) = self.next_request(client) else {
            return;
        };
        let acquire = self.draw_acquire(of, key, hot.is_some());
        let asked = asked(&acquire, key);
        if let Life::Timed { secret, .. } = acquire.life {
            let (uid, sidecar) = (self.clients[client].uid, self.sessions[of.session as usize].sidecar);
            if self.secrets.len() == SECRETS_MAX {
                self.secrets.remove(0);
            }
            self.secrets.push(Secret { lease: of, secret, uid, sidecar });
        }
        self.clients[client].tasks[task].ttl = match acquire.life {
            Life::Session { ttl } => ttl,
            Life::Timed { ttl, .. } => Some(ttl),
        };
        self.set(client, task, State::Waiting { of, cancelled: false });
        self.send(of, Sent::Acquire(asked));
        self.post(client, Input::Acquire(acquire));
        self.plan_change_of_mind(client, task);
    }

    /// Some cancel, at once or later; some die.
    pub(crate) fn plan_change_of_mind(&mut self, client: usize, task: usize) {
        let round_trip = 4 * (self.plan.one_way + self.plan.jitter);
        let soon = self.dice.span(Duration::ZERO, round_trip);
        let later = self.dice.about(Duration::from_millis(500));
        if self.dice.chance(self.plan.habits.cancels) {
            let delay = if self.dice.chance(0.6) { soon } else { later };
            self.plan_step(client, task, delay, Step::Cancel);
        } else if !self.healed && self.dice.chance(self.plan.habits.dies) {
            let delay = if self.dice.chance(0.6) { soon } else { later };
            self.plan_step(client, task, delay, Step::Die);
        }
    }

    pub(crate) fn draw_acquire(&mut self, of: Req, key: usize, hot: bool) -> Acquire {
        let habits = self.plan.habits.clone();
        let mode = match self.plan.keys[key] {
            KeyKind::Lock { shared } if self.dice.chance(shared) => Mode::Shared,
            KeyKind::Lock { .. } | KeyKind::Once(_) => Mode::Exclusive,
            KeyKind::Semaphore { limit, per } => {
                let most = if per.is_some() { limit.div_ceil(2) } else { limit };
                let other = per.is_none() && self.dice.chance(habits.other_limit);
                let limit = limit + u32::from(other);
                Mode::Permits { permits: 1 + number(self.dice.below(most as usize)), limit }
            }
        };
        // Some take permits of the same key for as long as they need them.
        let per = match self.plan.keys[key] {
            KeyKind::Semaphore { per: Some(per), .. } if self.dice.chance(0.8) => Some(per),
            _ => None,
        };
        let once = match self.plan.keys[key] {
            KeyKind::Once(window) => Some(Box::new(window)),
            _ => None,
        };
        let wait = match () {
            () if hot => Some(Duration::from_secs(20)),
            () if self.dice.chance(habits.tries) => Some(Duration::ZERO),
            () if self.dice.chance(habits.patient) => None,
            () => Some(self.dice.about(Duration::from_millis(1500))),
        };
        let short = self.dice.chance(0.7);
        let longest = if short { Duration::from_secs(3) } else { TTL_MAX };
        let ttl = self.dice.span(Duration::from_millis(200), longest);
        let life = match () {
            () if hot => Life::Session { ttl: None },
            () if self.dice.chance(habits.timed) => Life::Timed { secret: secret_of(of), ttl },
            () => Life::Session { ttl: self.dice.chance(habits.ttl).then_some(ttl) },
        };
        let max_hold = self.dice.chance(habits.max_hold).then(|| self.dice.about(Duration::from_millis(800)));
        let priority = match self.dice.chance(habits.priority) {
            true => i32::try_from(self.dice.between(0, 6)).expect("a small number") - 3,
            false => 0,
        };
        Acquire {
            session: SessionId(u64::from(of.session)),
            request: RequestId(u64::from(of.request)),
            key: self.keys[key].clone(),
            mode,
            wait,
            life,
            max_hold: max_hold.map(|span| span + Duration::from_millis(1)),
            per,
            owner: None,
            reentrant: false,
            find_deadlocks: true,
            priority,
            notify_queued: self.dice.chance(0.2),
            once,
        }
    }

    pub(crate) fn send(&mut self, of: Req, what: Sent) {
        self.log.record(Event::Sent { of, what });
    }

    fn cancel(&mut self, client: usize, task: usize) {
        let State::Waiting { of, cancelled } = &mut self.clients[client].tasks[task].state else {
            return;
        };
        *cancelled = true;
        let of = *of;
        if !self.clients[client].connected {
            return;
        }
        self.send_cancel(client, of);
        if !self.healed && self.dice.chance(0.3) {
            let delay = self.dice.span(Duration::ZERO, Duration::from_micros(800));
            self.plan_step(client, task, delay, Step::Die);
        }
    }

    pub(crate) fn send_cancel(&mut self, client: usize, of: Req) {
        for member in self.groups.members(of) {
            self.send(member, Sent::Cancel);
        }
        self.post(
            client,
            Input::Cancel {
                session: SessionId(u64::from(of.session)),
                request: RequestId(u64::from(of.request)),
            },
        );
    }

    /// Tries to renew or release what is not the client's to touch.
    fn trespass(&mut self, client: usize) {
        let uid = self.clients[client].uid;
        let Some(own) = self.clients[client].session else {
            return;
        };
        let sidecar = self.sessions[own as usize].sidecar;
        let foreign = |secret: &&Secret| secret.uid != uid || secret.sidecar != sidecar;
        let strangers: Vec<Secret> = self.secrets.iter().filter(foreign).copied().collect();
        if strangers.is_empty() {
            return;
        }
        let Secret { lease, secret, .. } = strangers[self.dice.below(strangers.len())];
        let name = LeaseName::Timed(secret);
        match self.dice.chance(0.5) {
            true => self.send_renew(client, lease, name, Duration::from_secs(1)),
            false => self.send_release(client, lease, name),
        };
    }

    pub(crate) fn send_renew(
        &mut self,
        client: usize,
        lease: Req,
        name: LeaseName,
        ttl: Duration,
    ) -> Option<Req> {
        let of = self.next_request(client)?;
        self.send(of, Sent::Renew { lease });
        let renew = Renew {
            session: SessionId(u64::from(of.session)),
            request: RequestId(u64::from(of.request)),
            lease: name,
            ttl,
        };
        self.post(client, Input::Renew(renew));
        Some(of)
    }

    pub(crate) fn send_release(&mut self, client: usize, lease: Req, name: LeaseName) -> Option<Req> {
        let of = self.next_request(client)?;
        self.send(of, Sent::Release { lease });
        let release = Release {
            session: SessionId(u64::from(of.session)),
            request: RequestId(u64::from(of.request)),
            lease: name,
        };
        self.post(client, Input::Release(release));
        Some(of)
    }

    pub(crate) fn answered(&mut self, client: usize, of: Req, reply: Reply) {
        for task in 0..self.clients[client].tasks.len() {
            match (&self.clients[client].tasks[task].state, &reply) {
                (State::Holding(lease), _) if lease.upgrades_by(of) => {
                    self.upgrade_answered(client, task, of, &reply);
                }
                // A grant that raced the cancel is no lease; the acknowledgement is still to come.
                (State::Waiting { of: mine, cancelled: true }, Reply::Granted(_) | Reply::GrantedAll(_))
                    if *mine == of => {}
                (State::Waiting { of: mine, .. }, Reply::GrantedAll(grants)) if *mine == of => {
                    self.granted_all(client, task, of, grants);
                }
                (State::Waiting { of: mine, .. }, Reply::Granted(grant)) if *mine == of => {
                    self.granted(client, task, of, grant);
                }
                (State::Finishing { of: mine, turn }, Reply::Refused(_)) if *mine == of => {
                    let turn = *turn;
                    self.give_back(client, task, &turn);
                }
                (State::Finishing { of: mine, .. }, _) if *mine == of => self.forget(client, task),
                (State::Waiting { of: mine, .. } | State::Releasing { of: mine }, _) if *mine == of => {
                    self.forget(client, task);
                }
                (State::Holding(lease), Reply::Renewed { deadline, cap, .. })
                    if lease.renewal == Some(of) =>
                {
                    self.renewed(client, task, *deadline, *cap);
                }
                _ => {}
            }
        }
    }
}
