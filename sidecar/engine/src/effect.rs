//! What the engine wants done. The driver carries effects out in order and adds nothing.
//!
//! Owns the shape of effects and the list of refusals. Must not know how they are written on a wire: `reply` in the
//! daemon translates on the way out.

use crate::cycle::Cycle;
use crate::declaration::Party;
use crate::model::{Etag, Fence, Incarnation, Key, LeaseSecret, Mode, RequestId, SessionId, Time};
use crate::store::{Call, Order, Success, Version};
use crate::survey::Survey;
use std::sync::Arc;
use std::time::Duration;

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Send to the store. All calls of one turn leave as one pipeline, in order.
    Store(Call),
    /// Answer a request. Exactly one per acquire, renew, release, change, finish; one `Cancelled` per cancel besides.
    Reply {
        /// Whose request.
        session: SessionId,
        /// Which.
        request: RequestId,
        /// The answer.
        reply: Reply,
    },
    /// Tell a session something unasked.
    Notice {
        /// Whom.
        session: SessionId,
        /// What.
        notice: Notice,
    },
    /// For watchers, metrics and the log.
    Event(Event),
    /// For whoever keeps a book of everything: what a request for several keys does about one of them. No client and no
    /// watcher hears of a reservation (P19).
    Reservation {
        /// Whose request.
        session: SessionId,
        /// The number of that key's lease, if there will be one.
        request: RequestId,
        /// What.
        step: Reserving,
    },
    /// For the log: a tenure of this sidecar was taken by an operator's order, perhaps one given elsewhere (P19). Its
    /// leases have been told.
    TakenByForce {
        /// The key.
        key: Key,
        /// By whose order.
        order: Order,
    },
    /// The answer to [`crate::Input::Survey`]; exactly one.
    Surveyed {
        /// Whose.
        ticket: u64,
        /// What was seen.
        survey: Box<Survey>,
    },
    /// For the log: the store lost its data, or may have, and grants nothing for so long (P20). Once for each time.
    Quarantined {
        /// How long.
        left: Duration,
    },
    /// The store's clock lies below what it said, or reserved as fences, before (P1). Fences go on above the old ones.
    AlarmStoreClock {
        /// The key where it showed.
        key: Key,
    },
}

/// What a request for several keys does about one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reserving {
    /// It wants this one next, and no other that it may have waited for before.
    Next,
    /// It has it reserved.
    Reserved,
    /// It has it no longer.
    GaveBack,
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// To acquire, and to change from shared to exclusive.
    Granted(Grant),
    /// To acquire several keys: all of them, in the order of the request, each with its number.
    GrantedAll(Vec<(RequestId, Grant)>),
    /// To renew: valid until then.
    Renewed {
        /// The lease's new deadline.
        deadline: Time,
        /// As in [`Grant::cap`]: the renewal moved it.
        cap: Option<Time>,
        /// Its fence, unchanged.
        fence: Fence,
    },
    /// To change, from exclusive to shared: others come in, the rest is as it was.
    Downgraded {
        /// The deadline last told.
        deadline: Time,
        /// As in [`Grant::cap`].
        cap: Option<Time>,
        /// Its fence, unchanged.
        fence: Fence,
    },
    /// To release: it is free. Also for a lease that this session released before.
    Released,
    /// To force: the key is free.
    Unlocked(Unlocked),
    /// To cancel, under the number of the cancelled acquire, which gets no other answer after this.
    Cancelled,
    /// To get: what is there. To a watch: what is there now, or nothing is.
    Register(Option<Version>),
    /// To a watch whose wait is over: what the client knows is still so.
    Unchanged,
    /// To put: done, under this version.
    Written(Etag),
    /// To delete: done.
    Deleted,
    /// To acquire of a once key: somebody did it already, and left this (P18).
    Done(Success),
    /// To finish: the store knows of it, and the turn is over.
    Finished(Success),
    /// To any: no, and why.
    Refused(Refusal),
}

/// What a forced unlock took.
#[derive(Clone, Debug, PartialEq)]
pub struct Unlocked {
    /// Sidecars that had the key; none if it was free.
    pub victims: Vec<Victim>,
}

impl Unlocked {
    /// Until then a holder that has not heard may go on: only the fence keeps it from what it must not write any more.
    pub fn fenced_until(&self) -> Option<Time> {
        self.victims.iter().map(|victim| victim.until).max()
    }
}

/// A sidecar that had units of a key.
#[derive(Clone, Debug, PartialEq)]
pub struct Victim {
    /// Which life of which sidecar.
    pub sidecar: Incarnation,
    /// Units; [`crate::model::WHOLE`] for all of a lock.
    pub units: u32,
    /// Its holders may believe in their leases until then, if they do not hear.
    pub until: Time,
}

/// A new lease.
#[derive(Clone, Debug, PartialEq)]
pub struct Grant {
    /// The key.
    pub key: Key,
    /// The mode.
    pub mode: Mode,
    /// The fence token.
    pub fence: Fence,
    /// Valid until then, unless extended: no later than the store confirmed (P4).
    pub deadline: Time,
    /// No extension reaches past this: `ttl` since the last explicit renewal, or `max_hold`.
    pub cap: Option<Time>,
    /// For a timed lease, its name.
    pub secret: Option<LeaseSecret>,
    /// How it came about.
    pub path: Path,
    /// How long the request waited.
    pub waited: Duration,
}

/// Where a grant came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Path {
    /// From the last holder, inside the tenure.
    Handoff,
    /// From an idle tenure.
    Retained,
    /// From the store.
    Store,
}

impl Path {
    /// The word used in protocols and output.
    pub fn name(self) -> &'static str {
        match self {
            Path::Handoff => "handoff",
            Path::Retained => "retained",
            Path::Store => "store",
        }
    }
}

/// Something a session must know.
#[derive(Clone, Debug, PartialEq)]
pub enum Notice {
    /// The acquire waits; so many local waiters are ahead.
    Queued {
        /// The acquire.
        request: RequestId,
        /// Local waiters ahead.
        ahead: u32,
    },
    /// All session leases of this session are valid until `until` (or their cap, if sooner), except those listed. State,
    /// not an event: a later one replaces an earlier one (P6).
    Extended {
        /// The new deadline.
        until: Time,
        /// Leases whose tenure lags behind: their last told deadline stands.
        except: Vec<RequestId>,
    },
    /// The lease's tenure could not be renewed so far; it will be lost at its deadline unless an extension comes.
    AtRisk {
        /// The lease.
        request: RequestId,
    },
    /// The lease is gone. Nobody else got it before this was sent, unless it was forced.
    Lost {
        /// The lease.
        request: RequestId,
        /// Why.
        reason: LostReason,
    },
    /// The sidecar is about to go: finish what you hold, acquire elsewhere.
    Draining,
}

/// Why a lease was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LostReason {
    /// Its `ttl` passed without a renewal.
    Expired,
    /// Its `max_hold` passed.
    MaxHold,
    /// Its tenure was not confirmed by the store in time, or is gone from there.
    Store,
    /// Its session gave no sign of life in time, or was cut off and did not come back.
    Session,
    /// An operator took it.
    Forced,
    /// An incarnation of the sidecar that is no more granted it.
    SidecarRestarted,
}

impl LostReason {
    /// All of them.
    pub const ALL: [LostReason; 6] = [
        LostReason::Expired,
        LostReason::MaxHold,
        LostReason::Store,
        LostReason::Session,
        LostReason::Forced,
        LostReason::SidecarRestarted,
    ];

    /// The word used in protocols and output.
    pub fn name(self) -> &'static str {
        match self {
            LostReason::Expired => "expired",
            LostReason::MaxHold => "max_hold",
            LostReason::Store => "store",
            LostReason::Session => "session",
            LostReason::Forced => "forced",
            LostReason::SidecarRestarted => "sidecar_restarted",
        }
    }
}

/// Why a request was refused. Values, not failures: each has a row in the error table of the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A try met a holder.
    Held,
    /// The wait is over.
    WaitTimeout,
    /// A try met, or a wait ended with, units of a rate that only time brings back.
    UsedUp {
        /// What was asked for.
        permits: u32,
        /// Of how many.
        limit: u32,
        /// They are back after this, as far as is known here: if nobody is granted them first.
        free_in: Duration,
        /// It was a wait that ended.
        waited: bool,
    },
    /// The key has as many waiters as it may have.
    QueueFull {
        /// `waiters_per_key_max`.
        limit: u32,
    },
    /// The key has as many waiters as a policy lets wait. The engine refuses nobody so: who drives it asks policies.
    QueueFullByPolicy {
        /// `max_waiters` of its edit.
        limit: u32,
    },
    /// The session has as many waiting acquires as it may have.
    TooMany {
        /// `in_flight_per_session_max`.
        limit: u32,
    },
    /// The owner entered its lease as often as it may.
    TooDeep {
        /// [`crate::INNER_HANDLES_MAX`].
        limit: u32,
    },
    /// The key is in use with another limit.
    LimitMismatch {
        /// The limit in force; [`crate::model::WHOLE`]: it is in use as a lock.
        limit: u32,
    },
    /// The lease is gone.
    LeaseLost(LostReason),
    /// Somebody else's lease.
    NotHeld,
    /// No such lease.
    NotFound,
    /// The request makes no sense here: renewing a lease that has no `ttl`, a number used twice.
    BadRequest(&'static str),
    /// The lease is none that the change makes sense for.
    NotUpgradable(&'static str),
    /// Another lease of the key is being upgraded, and waits for the share of this one as this one would for its.
    UpgradeConflict {
        /// The sidecar of the other.
        upgrader: Incarnation,
        /// Who the other is; nothing if its sidecar did not say so in time.
        who: Option<Arc<Party>>,
        /// The two who would wait for each other, if both are owners.
        ring: Option<Arc<Cycle>>,
    },
    /// Its owner waits in a ring, and is the one of it that is told.
    Deadlock(Arc<Cycle>),
    /// The store is away, or did not come back within the wait.
    StoreUnavailable,
    /// The store lost its data, or may have, and grants nothing until all leases of before have run out (P20).
    Quarantined {
        /// So long.
        left: Duration,
    },
    /// The turn was finished or given back before, or its finish is under way.
    TurnClosed,
    /// The sidecar is going.
    Draining,
    /// The register has no value.
    Absent,
    /// A write was to be the first, and this is there.
    Exists(Box<Version>),
    /// Any other condition of a write failed: this is there, or nothing is.
    Conflict(Option<Box<Version>>),
    /// The lease that the operation is bound to does not stand, or a later one was here before.
    StaleFence,
    /// It was sent to the store, and whether it was carried out is not known.
    OutcomeUnknown,
    /// A policy said no. The engine asks none: who drives it does, before a request reaches it.
    Denied(Box<Denial>),
}

/// A policy's no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// The policy's name.
    pub policy: Arc<str>,
    /// Why, as a word of its choice.
    pub reason_code: Arc<str>,
    /// Why, for people.
    pub message: Arc<str>,
    /// When it may be worth asking again.
    pub retry_after: Option<Duration>,
}

/// What happened, for watchers, metrics and the log. Never carries a secret.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// What.
    pub kind: EventKind,
    /// The key.
    pub key: Key,
    /// The mode.
    pub mode: Mode,
    /// Whose lease or request.
    pub session: SessionId,
    /// The acquire.
    pub request: RequestId,
    /// Who that is, where somebody wants to know ([`Engine::name_clients`](crate::Engine::name_clients)) and the session is not
    /// over: a timed lease may outlive it.
    pub client: Option<Client>,
}

/// Who has a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// The process's user id, from the kernel.
    pub uid: u32,
    /// What it calls itself.
    pub app: Arc<str>,
}

/// Kinds of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// An acquire has to wait.
    Queued,
    /// An acquire was granted.
    Granted {
        /// The token.
        fence: Fence,
        /// How.
        path: Path,
        /// After how long.
        waited: Duration,
    },
    /// An acquire was refused.
    Refused {
        /// Why.
        refusal: Refusal,
        /// After how long.
        waited: Duration,
    },
    /// An acquire was cancelled, or its session ended while it waited.
    Cancelled {
        /// After how long.
        waited: Duration,
    },
    /// A lease was released.
    Released {
        /// Its token.
        fence: Fence,
        /// How long it was held.
        held: Duration,
    },
    /// An exclusive lease is shared from now on.
    Downgraded {
        /// Its token.
        fence: Fence,
    },
    /// An operator took the key from its holders; session and request are the order's own.
    Forced {
        /// Sidecars that had it.
        victims: usize,
        /// By whose order.
        order: Order,
    },
    /// A lease was lost.
    Lost {
        /// Its token.
        fence: Fence,
        /// How long it was held.
        held: Duration,
        /// Why.
        reason: LostReason,
    },
    /// An acquire of a once key was answered with what another turn left.
    Skipped {
        /// After how long.
        waited: Duration,
    },
    /// A turn of a once key succeeded.
    Finished {
        /// Its token.
        fence: Fence,
        /// How long it was held.
        held: Duration,
    },
}
