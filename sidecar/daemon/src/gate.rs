//! The way in: what a client asks for becomes something the engine can trust, or a [`Problem`].
//!
//! Owns every check of names, limits and ranges, and what a key's class adds. The only place that sees wire and engine
//! types on the way in, and the only one that can make an [`Admitted`], which is all the driver accepts. Must not know
//! connections: both doors bring the same requests here.

mod registers;

use crate::config::{Class, Deadlock, Limits, format_duration};
use crate::identity::{Identity, draw};
use crate::metrics::Metrics;
use crate::problem::Problem;
use crate::rules::{InForce, Rules};
use sidelock_engine::store::{Order, REASON_BYTES_MAX};
use sidelock_engine::{
    self as engine, Input, Key, KeyError, LeaseSecret, OWNER_BYTES_MAX, Owner, PERMITS_LIMIT_MAX,
    PRIORITY_MAX, RequestId, SessionId, Space,
};
use sidelock_wire::{self as wire, Code};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Shortest window of a once key: durations travel as whole milliseconds.
const ONCE_PER_MIN: Duration = Duration::from_millis(1);

/// A request that passed the gate.
#[derive(Debug)]
pub(crate) struct Admitted(Input, Meta);

/// Names and values that a client added to its request, for policies to read.
pub(crate) type Meta = Vec<(Arc<str>, Arc<str>)>;

impl Admitted {
    /// What the engine is told, and what the policies are told besides.
    pub(crate) fn into_parts(self) -> (Input, Meta) {
        (self.0, self.1)
    }

    fn from(input: Input) -> Admitted {
        Admitted(input, Meta::new())
    }

    /// With what the client added.
    pub(crate) fn with_meta(self, meta: Meta) -> Admitted {
        Admitted(self.0, meta)
    }
}

/// See the module. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Gate {
    in_force: InForce,
    identity: Rc<Identity>,
    metrics: Rc<Metrics>,
}

impl Gate {
    pub(crate) fn new(in_force: InForce, identity: Rc<Identity>, metrics: Rc<Metrics>) -> Gate {
        Gate { in_force, identity, metrics }
    }

    /// Limits and classes of this moment.
    pub(crate) fn rules(&self) -> Rc<Rules> {
        self.in_force.now()
    }

    /// What this sidecar is.
    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Whether its locks reach as far as the client demands.
    pub(crate) fn reaches(&self, required: Option<wire::Scope>) -> Result<(), Problem> {
        match required {
            Some(required) if required > self.identity.scope => Err(Problem::new(
                Code::ScopeTooSmall,
                format!(
                    "locks of scope {required} are demanded; this sidecar's reach {}",
                    self.identity.scope
                ),
            )),
            _ => Ok(()),
        }
    }

    /// A text as a key.
    pub(crate) fn key(&self, bytes: &[u8]) -> Result<Key, Problem> {
        admit_key(Space::Lock, bytes, &self.in_force.now().limits)
    }

    /// A request for a lease. A wait that is not said is the class's `default_wait`, else for ever. A timed lease's
    /// secret is drawn here.
    pub(crate) fn acquire(&self, session: SessionId, ask: &wire::Acquire<'_>) -> Result<Admitted, Problem> {
        let checked = self.check_acquire(session, ask);
        self.counted("acquire", checked)
    }

    fn check_acquire(&self, session: SessionId, ask: &wire::Acquire<'_>) -> Result<Input, Problem> {
        let rules = self.in_force.now();
        let once = ask.once.map(|window| admit_window(window, &rules.limits)).transpose()?;
        let space = if once.is_some() { Space::Once } else { Space::Lock };
        let key = admit_key(space, ask.key, &rules.limits)?;
        let class = rules.class_of(key.as_str());
        let mode = admit_mode(ask.mode, class)?;
        if once.is_some() && mode != engine::Mode::Exclusive {
            return Err(Problem::field("mode", "a turn of a once key is exclusive"));
        }
        let life = admit_life(ask.life, &rules.limits)?;
        if ask.max_hold == Some(Duration::ZERO) {
            return Err(Problem::field("max_hold", "has to be longer than 0"));
        }
        if !(-PRIORITY_MAX..=PRIORITY_MAX).contains(&ask.priority) {
            return Err(Problem::field(
                "priority",
                format_args!("-{PRIORITY_MAX} to {PRIORITY_MAX} are allowed"),
            ));
        }
        let owner = ask.owner.map(admit_owner).transpose()?;
        if ask.reentrant {
            admit_reentrant(owner.as_ref(), &key, mode)?;
        }
        Ok(Input::Acquire(engine::Acquire {
            session,
            request: RequestId(ask.request),
            mode,
            wait: ask.wait.or(class.and_then(|class| class.default_wait)),
            life,
            max_hold: [ask.max_hold, class.and_then(|class| class.max_hold)].into_iter().flatten().min(),
            per: ask.per.map(|per| admit_per(per, mode, &rules.limits)).transpose()?,
            owner,
            reentrant: ask.reentrant,
            find_deadlocks: class.is_none_or(|class| class.deadlock == Deadlock::Detect),
            priority: ask.priority,
            notify_queued: ask.notify_queued,
            once: once.map(Box::new),
            key,
        }))
    }

    /// Another key in place of the one asked for, by order of a policy: what that key's class says holds.
    #[cfg(feature = "policy")]
    pub(crate) fn rename(&self, ask: &mut engine::Acquire, key: Key) {
        let rules = self.in_force.now();
        let class = rules.class_of(key.as_str());
        ask.find_deadlocks = class.is_none_or(|class| class.deadlock == Deadlock::Detect);
        if let (engine::Mode::Permits { permits, limit }, Some(of_class)) =
            (&mut ask.mode, class.and_then(|class| class.limit))
        {
            *limit = of_class;
            *permits = (*permits).min(of_class);
        }
        ask.key = key;
    }

    /// Makes a longest hold one that the key's class allows.
    #[cfg(feature = "policy")]
    pub(crate) fn bound_hold(&self, max_hold: &mut Option<Duration>, key: &Key) {
        let rules = self.in_force.now();
        let of_class = rules.class_of(key.as_str()).and_then(|class| class.max_hold);
        *max_hold = [*max_hold, of_class].into_iter().flatten().min();
    }

    /// A request for leases of several keys, all or nothing: each as [`Gate::acquire`] would take it, in the order of
    /// their bytes and none twice (P19). What the classes of the keys say holds for all: the least of it.
    pub(crate) fn acquire_all(
        &self,
        session: SessionId,
        ask: &wire::AcquireAll<'_>,
    ) -> Result<Admitted, Problem> {
        let checked = self.check_acquire_all(session, ask);
        self.counted("acquire", checked)
    }

    fn check_acquire_all(&self, session: SessionId, ask: &wire::AcquireAll<'_>) -> Result<Input, Problem> {
        let max = self.in_force.now().limits.keys_per_request_max;
        let count = ask.others.len() + 1;
        if count > max as usize {
            let message = format!("`keys`: are {count}; 1 to {max} (keys_per_request_max) are allowed");
            let problem = Problem::new(Code::TooLarge, message).limited(max);
            return Err(Problem { field: Some("keys"), ..problem });
        }
        if matches!(ask.first.mode, wire::Mode::Permits { .. }) {
            return Err(Problem::field("mode", "several keys are exclusive or shared, not permits"));
        }
        if ask.first.once.is_some() {
            return Err(Problem::field("once", "turns are taken one by one"));
        }
        if ask.first.reentrant {
            return Err(Problem::field("reentrant", "locks are entered again one by one"));
        }
        let first = (ask.first.request, ask.first.key);
        let mut members = Vec::with_capacity(count);
        for (request, key) in std::iter::once(first).chain(ask.others.iter().copied()) {
            let acquire = wire::Acquire { request, key, ..ask.first.clone() };
            let Input::Acquire(member) = self.check_acquire(session, &acquire)? else { continue };
            members.push(member);
        }
        let mut wish = members[0].clone();
        for member in &members {
            wish.wait = ask.first.wait.or([wish.wait, member.wait].into_iter().flatten().min());
            wish.max_hold = [wish.max_hold, member.max_hold].into_iter().flatten().min();
            wish.find_deadlocks &= member.find_deadlocks;
        }
        // Stable: of one that is there twice the first stays.
        members.sort_by(|a, b| a.key.cmp(&b.key));
        members.dedup_by(|later, earlier| later.key == earlier.key);
        let secrets = members.iter().filter_map(|member| match member.life {
            engine::Life::Timed { secret, .. } => Some(secret),
            engine::Life::Session { .. } => None,
        });
        let secrets = secrets.collect();
        let keys = members.into_iter().map(|member| (member.request, member.key)).collect();
        Ok(Input::AcquireAll(engine::AcquireAll { wish, keys, secrets }))
    }

    /// The client no longer wants what it asked for.
    pub(crate) fn cancel(&self, session: SessionId, request: u64) -> Admitted {
        let request = RequestId(request);
        Admitted::from(Input::Cancel { session, request })
    }

    /// Extend a lease, for `ttl` from now.
    pub(crate) fn renew(
        &self,
        session: SessionId,
        request: u64,
        lease: wire::LeaseName,
        ttl: Duration,
    ) -> Result<Admitted, Problem> {
        let renewal = |ttl| {
            let (request, lease) = (RequestId(request), lease_name(lease));
            Input::Renew(engine::Renew { session, request, lease, ttl })
        };
        self.counted("renew", admit_ttl(ttl, &self.in_force.now().limits).map(renewal))
    }

    /// Give a lease back.
    pub(crate) fn release(&self, session: SessionId, request: u64, lease: wire::LeaseName) -> Admitted {
        Admitted::from(Input::Release(engine::Release {
            session,
            request: RequestId(request),
            lease: lease_name(lease),
        }))
    }

    /// Make a lease shared or exclusive. The new name of a timed lease is drawn here.
    pub(crate) fn change(&self, session: SessionId, change: &wire::Change) -> Result<Admitted, Problem> {
        let to = match change.mode {
            wire::Mode::Shared => Ok(engine::NewMode::Shared),
            wire::Mode::Exclusive => {
                Ok(engine::NewMode::Exclusive { wait: change.wait, secret: LeaseSecret(draw()) })
            }
            wire::Mode::Permits { .. } => Err(Problem::field("mode", "shared and exclusive are allowed")),
        };
        let (request, lease) = (RequestId(change.request), lease_name(change.lease));
        self.counted("change", to.map(|to| Input::Change(engine::Change { session, request, lease, to })))
    }

    /// Take a key from whoever holds it, by order of this user.
    pub(crate) fn force(
        &self,
        session: SessionId,
        request: u64,
        key: Key,
        by: u32,
        reason: &str,
    ) -> Result<Admitted, Problem> {
        let order = admit_reason(reason).map(|reason| Order { by, reason });
        let request = RequestId(request);
        self.counted("force", order.map(|order| Input::Force(engine::Force { session, request, key, order })))
    }

    /// A turn succeeded.
    pub(crate) fn finish(
        &self,
        session: SessionId,
        request: u64,
        lease: wire::LeaseName,
        result: &[u8],
    ) -> Result<Admitted, Problem> {
        let max = self.in_force.now().limits.value_bytes_max;
        let finish = |result| {
            let (request, lease) = (RequestId(request), lease_name(lease));
            Input::Finish(engine::Finish { session, request, lease, result })
        };
        self.counted("finish", admit_value("result", result, max).map(finish))
    }

    /// What is refused here never becomes an event, so it is counted here.
    fn counted(&self, op: &'static str, checked: Result<Input, Problem>) -> Result<Admitted, Problem> {
        checked.map(Admitted::from).inspect_err(|problem| self.metrics.bare_request(op, problem.code.name()))
    }

    /// A sign of life.
    pub(crate) fn ping(&self, session: SessionId) -> Admitted {
        Admitted::from(Input::SessionPinged(session))
    }
}

fn admit_key(space: Space, bytes: &[u8], limits: &Limits) -> Result<Key, Problem> {
    let max = limits.key_bytes_max;
    if bytes.len() > max as usize {
        let message = format!("`key`: has {} bytes; 1 to {max} are allowed", bytes.len());
        let problem = Problem::new(Code::TooLarge, message).limited(max);
        return Err(Problem { field: Some("key"), ..problem });
    }
    Key::from_bytes(space, bytes).map_err(|error: KeyError| Problem::field("key", error))
}

/// Opaque bytes, `what` they are to whoever sent them.
fn admit_value(what: &'static str, bytes: &[u8], max: u32) -> Result<Arc<[u8]>, Problem> {
    if bytes.len() > max as usize {
        let message =
            format!("`{what}`: has {} bytes; at most {max} are allowed (value_bytes_max)", bytes.len());
        let problem = Problem::new(Code::TooLarge, message).limited(max);
        return Err(Problem { field: Some(what), ..problem });
    }
    Ok(bytes.into())
}

fn admit_window(window: wire::Window, limits: &Limits) -> Result<engine::Window, Problem> {
    let max = limits.once_per_max;
    if window.per < ONCE_PER_MIN || window.per > max {
        let allowed =
            format_args!("{} to {} are allowed", format_duration(ONCE_PER_MIN), format_duration(max));
        return Err(Problem::field("per", allowed));
    }
    let align = match window.align {
        wire::Align::Rolling => engine::Align::Rolling,
        wire::Align::Utc => engine::Align::Utc,
    };
    Ok(engine::Window { per: window.per, align })
}

/// A class's limit overrides what the asker says, so that an operator can change it in one place. Who relies on that says 0,
/// or nothing.
fn admit_mode(mode: wire::Mode, class: Option<&Class>) -> Result<engine::Mode, Problem> {
    let (permits, asked) = match mode {
        wire::Mode::Exclusive => return Ok(engine::Mode::Exclusive),
        wire::Mode::Shared => return Ok(engine::Mode::Shared),
        wire::Mode::Permits { permits, limit } => (permits, limit),
    };
    let limit = class.and_then(|class| class.limit).unwrap_or(asked);
    if limit == 0 {
        let what = format_args!(
            "say how many units there are, 1 to {PERMITS_LIMIT_MAX}; only a key whose [[class]] has a limit does without"
        );
        return Err(Problem::field("limit", what));
    }
    if !(1..=PERMITS_LIMIT_MAX).contains(&limit) {
        return Err(Problem::field("limit", format_args!("1 to {PERMITS_LIMIT_MAX} are allowed")));
    }
    if !(1..=limit).contains(&permits) {
        return Err(
            Problem::field("permits", format_args!("1 to {limit} (the limit) are allowed")).limited(limit)
        );
    }
    Ok(engine::Mode::Permits { permits, limit })
}

/// Only permits come back by the clock. The store keeps a rate's units for as long as a timed lease's: so the same bounds
/// apply, by names of their own.
fn admit_per(per: Duration, mode: engine::Mode, limits: &Limits) -> Result<Duration, Problem> {
    if !matches!(mode, engine::Mode::Permits { .. }) {
        return Err(Problem::field("per", "is for permits; a lock comes back with its release"));
    }
    let (min, max) = (limits.ttl_min, limits.rate_per_max);
    if (min..=max).contains(&per) {
        return Ok(per);
    }
    let allowed = format!("{} (ttl_min) to {} (rate_per_max)", format_duration(min), format_duration(max));
    Err(Problem::field("per", format_args!("{allowed} are allowed")))
}

/// Only somebody with a name can hold the key already, and only a lock is held again: permits add up.
fn admit_reentrant(owner: Option<&Owner>, key: &Key, mode: engine::Mode) -> Result<(), Problem> {
    match mode {
        engine::Mode::Permits { .. } => {
            Err(Problem::field("reentrant", "is for locks; permits that an owner asks for again add up"))
        }
        _ if key.space() != Space::Lock => {
            Err(Problem::field("reentrant", "is for locks; a turn comes once"))
        }
        _ if owner.is_none() => Err(Problem::field("owner", "say who may hold the key already")),
        _ => Ok(()),
    }
}

fn admit_life(life: wire::Life, limits: &Limits) -> Result<engine::Life, Problem> {
    match life {
        wire::Life::Session { ttl } => {
            Ok(engine::Life::Session { ttl: ttl.map(|ttl| admit_ttl(ttl, limits)).transpose()? })
        }
        wire::Life::Timed { ttl } => {
            Ok(engine::Life::Timed { secret: LeaseSecret(draw()), ttl: admit_ttl(ttl, limits)? })
        }
    }
}

fn admit_ttl(ttl: Duration, limits: &Limits) -> Result<Duration, Problem> {
    let (min, max) = (limits.ttl_min, limits.ttl_max);
    if (min..=max).contains(&ttl) {
        return Ok(ttl);
    }
    Err(Problem::field(
        "ttl",
        format_args!("{} to {} are allowed", format_duration(min), format_duration(max)),
    ))
}

fn admit_owner(owner: &str) -> Result<Owner, Problem> {
    if owner.is_empty() || owner.len() > OWNER_BYTES_MAX {
        return Err(Problem::field("owner", format_args!("1 to {OWNER_BYTES_MAX} bytes are allowed")));
    }
    Ok(Owner(Arc::from(owner)))
}

fn admit_reason(reason: &str) -> Result<Arc<str>, Problem> {
    let plain = !reason.trim().is_empty() && !reason.contains(char::is_control);
    match plain && reason.len() <= REASON_BYTES_MAX {
        true => Ok(Arc::from(reason)),
        false => Err(Problem::field(
            "reason",
            format_args!("1 to {REASON_BYTES_MAX} bytes of text in one line are allowed"),
        )),
    }
}

fn lease_name(lease: wire::LeaseName) -> engine::LeaseName {
    match lease {
        wire::LeaseName::Session(request) => engine::LeaseName::Session(RequestId(request)),
        wire::LeaseName::Timed(secret) => engine::LeaseName::Timed(LeaseSecret(secret.0)),
    }
}

#[cfg(test)]
#[path = "gate_tests.rs"]
mod tests;
