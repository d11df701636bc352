//! From an input of the engine to the question that policies are asked, and back.
//!
//! Owns which inputs are put to policies, and what an edit changes in them. Must not ask, nor decide what an answer means.

use crate::gate::Gate;
use crate::identity::Identity;
use sidelock_engine::circumstances::{Circumstances, HELD_KEYS_MAX};
use sidelock_engine::{
    Acquire, AcquireAll, Client, Engine, Event, EventKind, Input, Key, Life, Mode, NewMode, Owner,
    RegisterAct, RequestId, SessionId, Space,
};
use sidelock_policy::model::{self, Load, Operation, Peer, Request};
use std::sync::Arc;
use std::time::Duration;

/// What every question says of the sidecar, written once.
pub(super) struct Whereabouts {
    namespace: Arc<str>,
    sidecar: Arc<str>,
}

impl Whereabouts {
    pub(super) fn of(identity: &Identity) -> Whereabouts {
        let (namespace, sidecar) =
            (identity.namespace.as_str().into(), identity.incarnation.to_string().into());
        Whereabouts { namespace, sidecar }
    }
}

/// What a request is about.
#[derive(Clone, Debug)]
pub(super) struct Matter {
    /// Whose request.
    pub(super) session: SessionId,
    /// Which.
    pub(super) request: RequestId,
    pub(super) operation: Operation,
    pub(super) keys: Vec<Key>,
    pub(super) mode: Mode,
    pub(super) owner: Option<Owner>,
    /// Who asks; not known before the engine is asked.
    pub(super) client: Option<Client>,
}

impl Matter {
    /// Nothing: this is none that policies are asked about.
    pub(super) fn of(input: &Input, engine: &Engine) -> Option<Matter> {
        match input {
            Input::Acquire(ask) => Some(Matter::acquire(ask, vec![ask.key.clone()])),
            Input::AcquireAll(ask) => {
                Some(Matter::acquire(&ask.wish, ask.keys.iter().map(|(_, key)| key.clone()).collect()))
            }
            Input::Renew(ask) => {
                let (key, mode) = engine.key_of(ask.session, ask.lease)?;
                Some(Matter::plain(ask.session, ask.request, Operation::Renew, key, mode))
            }
            Input::Release(ask) => {
                let (key, mode) = engine.key_of(ask.session, ask.lease)?;
                Some(Matter::plain(ask.session, ask.request, Operation::Release, key, mode))
            }
            // To share what one has is nobody's loss; to have all of it is another acquire.
            Input::Change(ask) if ask.to != NewMode::Shared => {
                let (key, _) = engine.key_of(ask.session, ask.lease)?;
                Some(Matter::plain(ask.session, ask.request, Operation::Acquire, key, Mode::Exclusive))
            }
            Input::Force(ask) => {
                let key = ask.key.clone();
                Some(Matter::plain(ask.session, ask.request, Operation::Force, key, Mode::Exclusive))
            }
            Input::Register(ask)
                if matches!(ask.act, RegisterAct::Put { .. } | RegisterAct::Delete { .. }) =>
            {
                let (operation, key) = (Operation::RegisterWrite, ask.key.clone());
                Some(Matter::plain(ask.session, ask.request, operation, key, Mode::Exclusive))
            }
            _ => None,
        }
    }

    fn acquire(ask: &Acquire, keys: Vec<Key>) -> Matter {
        let is_turn = ask.key.space() == Space::Once;
        Matter {
            session: ask.session,
            request: ask.request,
            operation: if is_turn { Operation::Once } else { Operation::Acquire },
            keys,
            mode: ask.mode,
            owner: ask.owner.clone(),
            client: None,
        }
    }

    fn plain(session: SessionId, request: RequestId, operation: Operation, key: Key, mode: Mode) -> Matter {
        Matter { session, request, operation, keys: vec![key], mode, owner: None, client: None }
    }

    /// That a request for a lease ended so, as watchers hear it.
    pub(super) fn ended(&self, kind: EventKind) -> Option<Event> {
        let is_acquire = matches!(self.operation, Operation::Acquire | Operation::Once);
        let key = self.keys.first().filter(|_| is_acquire)?.clone();
        let (mode, session, request, client) = (self.mode, self.session, self.request, self.client.clone());
        Some(Event { kind, key, mode, session, request, client })
    }

    /// The question.
    pub(super) fn question(
        &self,
        input: &Input,
        around: Circumstances,
        gid: u32,
        whereabouts: &Whereabouts,
        unix_ms: u64,
        meta: Vec<(Arc<str>, Arc<str>)>,
    ) -> Request {
        let (mode, permits, limit) = match self.mode {
            Mode::Exclusive => (model::Mode::Exclusive, 1, 1),
            Mode::Shared => (model::Mode::Shared, 1, 1),
            Mode::Permits { permits, limit } => (model::Mode::Permits, permits, limit),
        };
        let wish = wish(input);
        let load = around.load;
        Request {
            operation: self.operation,
            keys: self.keys.iter().map(text).collect(),
            mode,
            permits,
            limit,
            ttl_ms: ttl(input).map(ms),
            max_hold_ms: wish.and_then(|wish| wish.max_hold).map(ms),
            wait_ms: wait(input).map(ms),
            per_ms: wish.and_then(|wish| wish.per.or(wish.once.as_ref().map(|once| once.per))).map(ms),
            priority: wish.map_or(0, |wish| wish.priority),
            attempt: 1,
            owner: self.owner.as_ref().map(|owner| owner.0.clone()),
            meta,
            peer: Peer {
                uid: around.uid,
                gid,
                session: self.session.0,
                app: around.app,
                namespace: whereabouts.namespace.clone(),
                sidecar: whereabouts.sidecar.clone(),
            },
            clock: model::Clock { unix_ms, ..model::Clock::default() },
            load: Load {
                held: load.held,
                waiters: load.waiters,
                oldest_wait_ms: ms(load.oldest_wait),
                held_by_session: load.held_by_session,
                held_by_uid: load.held_by_uid,
            },
            held: self.held(input, &around.held),
            counters: Vec::new(),
        }
    }

    /// What policies hear of as held. A lock and a turn of the same name are two keys, and policies know keys by name: of such two
    /// they hear of the one that is asked for. Who upgrades holds the lease, whichever session speaks for it.
    fn held(&self, input: &Input, held: &[Key]) -> Vec<Arc<str>> {
        let is_another = |held: &Key| {
            self.keys.iter().any(|key| key.as_str() == held.as_str() && key.space() != held.space())
        };
        let mut told: Vec<Arc<str>> = held.iter().filter(|held| !is_another(held)).map(text).collect();
        if let (Input::Change(_), [own]) = (input, &self.keys[..])
            && !held.contains(own)
        {
            told.truncate(HELD_KEYS_MAX - 1);
            told.push(text(own));
        }
        told
    }
}

/// Makes of an input what the policies made of the question. `None`: they gave it a key that is none, which the policy crate
/// does not let pass. `told` is for how long yet the holder of a lease that is to be renewed was told that it has it.
pub(super) fn apply(
    mut input: Input,
    asked: &Request,
    said: &Request,
    gate: &Gate,
    told: Duration,
) -> Option<Input> {
    if let Input::Renew(renewal) = &mut input
        && let Some(new) = said.ttl_ms.filter(|_| said.ttl_ms != asked.ttl_ms)
    {
        // Who did not ask for less goes on until then, asleep when the answer comes, say (S2).
        renewal.ttl = Duration::from_millis(new).max(renewal.ttl.min(told));
    }
    if let Some(wish) = wish_mut(&mut input) {
        change(wish, asked, said);
    }
    if said.keys != asked.keys {
        let [key] = &said.keys[..] else { return None };
        match &mut input {
            Input::Acquire(ask) => gate.rename(ask, Key::from_bytes(ask.key.space(), key.as_bytes()).ok()?),
            Input::AcquireAll(AcquireAll { wish, keys, .. }) => {
                let [(_, only)] = &mut keys[..] else { return None };
                gate.rename(wish, Key::from_bytes(only.space(), key.as_bytes()).ok()?);
                only.clone_from(&wish.key);
            }
            // A lease that is to be more than it is has its key.
            _ => {}
        }
    }
    // Whatever a policy says, nobody holds for longer than the classes of its keys do.
    match &mut input {
        Input::Acquire(ask) => gate.bound_hold(&mut ask.max_hold, &ask.key),
        Input::AcquireAll(AcquireAll { wish, keys, .. }) => {
            keys.iter().for_each(|(_, key)| gate.bound_hold(&mut wish.max_hold, key));
        }
        _ => {}
    }
    if matches!(input, Input::Change(_))
        && let Some(wait) = wait_mut(&mut input).filter(|_| said.wait_ms != asked.wait_ms)
    {
        *wait = said.wait_ms.map(Duration::from_millis);
    }
    Some(input)
}

/// What is as it was stays, to the nanosecond.
fn change(wish: &mut Acquire, asked: &Request, said: &Request) {
    if said.ttl_ms != asked.ttl_ms
        && let Some(new) = said.ttl_ms.map(Duration::from_millis)
    {
        match &mut wish.life {
            Life::Session { ttl } => *ttl = Some(new),
            Life::Timed { ttl, .. } => *ttl = new,
        }
    }
    if said.max_hold_ms != asked.max_hold_ms {
        wish.max_hold = said.max_hold_ms.map(Duration::from_millis);
    }
    if said.wait_ms != asked.wait_ms {
        wish.wait = said.wait_ms.map(Duration::from_millis);
    }
    wish.priority = said.priority;
}

/// Whether it stands behind others if it has to wait: who does not want to wait never does, who enters its own lock again does not wait, and who wants all of what it has
/// a share of goes before everybody who does.
pub(super) fn queues(input: &Input, engine: &Engine) -> bool {
    match input {
        _ if wait(input) == Some(Duration::ZERO) => false,
        Input::Acquire(ask) => !engine.reenters(ask),
        Input::Change(_) => false,
        _ => true,
    }
}

/// A request that would have to wait behind others does not.
pub(super) fn try_only(input: &mut Input) {
    if let Some(wait) = wait_mut(input) {
        *wait = Some(Duration::ZERO);
    }
}

/// What policies leave of a wait, if it is as long: to ask the store for a free key takes some, too.
const WAIT_LEFT_MIN: Duration = Duration::from_millis(100);

/// The time that a request waited for policies is part of the wait that it asked for. It stays a wait: who has used it up
/// has waited, and is told so.
pub(super) fn has_waited(input: &mut Input, span: Duration) {
    if let Some(Some(wait)) = wait_mut(input) {
        *wait = wait.saturating_sub(span).max(WAIT_LEFT_MIN.min(*wait));
    }
}

/// How long it may wait, if it can.
fn wait_mut(input: &mut Input) -> Option<&mut Option<Duration>> {
    match input {
        Input::Change(ask) => match &mut ask.to {
            NewMode::Exclusive { wait, .. } => Some(wait),
            NewMode::Shared => None,
        },
        _ => wish_mut(input).map(|wish| &mut wish.wait),
    }
}

fn wish(input: &Input) -> Option<&Acquire> {
    match input {
        Input::Acquire(ask) => Some(ask),
        Input::AcquireAll(ask) => Some(&ask.wish),
        _ => None,
    }
}

fn wish_mut(input: &mut Input) -> Option<&mut Acquire> {
    match input {
        Input::Acquire(ask) => Some(ask),
        Input::AcquireAll(ask) => Some(&mut ask.wish),
        _ => None,
    }
}

fn ttl(input: &Input) -> Option<Duration> {
    match (input, wish(input).map(|wish| wish.life)) {
        (Input::Renew(renewal), _) => Some(renewal.ttl),
        (_, Some(Life::Timed { ttl, .. })) => Some(ttl),
        (_, Some(Life::Session { ttl })) => ttl,
        _ => None,
    }
}

/// What does not wait, waits not at all.
fn wait(input: &Input) -> Option<Duration> {
    match (input, wish(input)) {
        (_, Some(wish)) => wish.wait,
        (Input::Change(ask), _) => match ask.to {
            NewMode::Exclusive { wait, .. } => wait,
            NewMode::Shared => Some(Duration::ZERO),
        },
        _ => Some(Duration::ZERO),
    }
}

fn text(key: &Key) -> Arc<str> {
    key.as_str().into()
}

fn ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sidelock_engine::{Change, LeaseName, LeaseSecret};

    fn acquire(wait: Option<Duration>) -> Acquire {
        Acquire {
            session: SessionId(1),
            request: RequestId(1),
            key: Key::new("k").unwrap(),
            mode: Mode::Exclusive,
            wait,
            life: Life::Session { ttl: None },
            max_hold: None,
            per: None,
            owner: None,
            reentrant: false,
            find_deadlocks: false,
            priority: 0,
            notify_queued: false,
            once: None,
        }
    }

    #[test]
    fn the_time_with_policies_is_part_of_the_wait() {
        let second = Duration::from_secs(1);
        let brief = Some(Duration::from_millis(40));
        for (asked, left) in [
            (None, None),
            (Some(3 * second), Some(2 * second)),
            (Some(second), Some(WAIT_LEFT_MIN)),
            (Some(second / 2), Some(WAIT_LEFT_MIN)),
            (Some(second + WAIT_LEFT_MIN / 2), Some(WAIT_LEFT_MIN)),
            (brief, brief),
            (Some(Duration::ZERO), Some(Duration::ZERO)),
        ] {
            let mut input = Input::Acquire(acquire(asked));
            has_waited(&mut input, second);
            assert_eq!(wait(&input), left);
        }
    }

    fn upgrade() -> Input {
        let to = NewMode::Exclusive { wait: None, secret: LeaseSecret(1) };
        let lease = LeaseName::Session(RequestId(1));
        Input::Change(Change { session: SessionId(1), request: RequestId(2), lease, to })
    }

    #[test]
    fn what_is_held_is_what_is_asked_for_or_has_another_name() {
        let key = |space, text| Key::of(space, text).expect("a short text is a key");
        let (lock, turn, other) = (key(Space::Lock, "k"), key(Space::Once, "k"), key(Space::Once, "other"));
        let told = |input: &Input, held: &[Key]| {
            let matter = Matter::acquire(&acquire(None), vec![lock.clone()]);
            matter.held(input, held).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let asked = Input::Acquire(acquire(None));
        assert_eq!(told(&asked, &[turn.clone(), other.clone()]), ["other"], "a turn is no lock");
        assert_eq!(told(&asked, &[lock.clone(), other.clone()]), ["k", "other"]);
        assert_eq!(told(&upgrade(), &[other]), ["other", "k"], "another session got it");
        assert_eq!(told(&upgrade(), std::slice::from_ref(&lock)), ["k"]);
        assert_eq!(told(&upgrade(), &vec![turn; 300]), ["k"]);
    }

    #[test]
    fn an_upgrade_that_may_not_queue_is_a_try_as_well() {
        for mut input in [Input::Acquire(acquire(None)), upgrade()] {
            try_only(&mut input);
            assert_eq!(wait(&input), Some(Duration::ZERO));
        }
    }
}
