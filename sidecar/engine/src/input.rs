//! What can happen to the engine. Everything that reaches it is one of these.
//!
//! Owns the shape of inputs. Must not know frames, HTTP or Redis: the gate translates on the way in.

use crate::model::{Key, LeaseSecret, Mode, Owner, RequestId, SessionId, StoreTime, Window};
use crate::store::{CallId, Condition, Known, Order, Outcome, Push};
use crate::survey::Around;
use std::sync::Arc;
use std::time::Duration;

/// One thing that happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// A client connected.
    SessionOpened(SessionOpened),
    /// A sign of life of a session that promised them.
    SessionPinged(SessionId),
    /// A session is over, or its connection is (P6).
    SessionEnded {
        /// Which.
        session: SessionId,
        /// Who hung up.
        by: EndedBy,
    },
    /// The client of a session that the sidecar had cut off came back with the session's secret (P6). Should the session
    /// have ended since the door looked, it begins anew.
    SessionResumed {
        /// Which, and whose.
        session: SessionOpened,
        /// The acquires whose leases the client was told that it still has, when the door looked ([`crate::Engine::held_by`]).
        held: Vec<RequestId>,
    },
    /// A request for a lease.
    Acquire(Acquire),
    /// A request for leases of several keys, all or nothing.
    AcquireAll(AcquireAll),
    /// The client no longer wants the lease of this acquire: it leaves the queue, or a grant that raced the cancel is
    /// returned (L5). Always answered [`crate::Reply::Cancelled`].
    Cancel {
        /// The session of the acquire.
        session: SessionId,
        /// The acquire.
        request: RequestId,
    },
    /// Extend a timed lease, or a session lease that has a `ttl`.
    Renew(Renew),
    /// Give a lease back.
    Release(Release),
    /// Make a lease shared or exclusive.
    Change(Change),
    /// Take a key from whoever holds it (P19). Always answered: [`crate::Reply::Unlocked`], or a refusal.
    Force(Force),
    /// Look at a register, write it, or watch it.
    Register(RegisterRequest),
    /// A turn of a once key succeeded (P18).
    Finish(Finish),
    /// The store can be talked to (again). Sent once it is connected, its clock was read and the inbox is subscribed.
    StoreUp {
        /// The store's clock.
        at: StoreTime,
    },
    /// The store can not be talked to. Every call in flight gets its own outcome besides.
    StoreDown,
    /// The inbox was (re)subscribed: pushes may have been lost until now (H7).
    Subscribed,
    /// The answer to a call; exactly one per call.
    Store {
        /// The call.
        call: CallId,
        /// What became of it.
        outcome: Outcome,
    },
    /// A hint from the store or another sidecar.
    Pushed(Push),
    /// The wall clock ran more than a second ahead of boottime: deadlines are in doubt until the next renewal (H9).
    ClockStepped,
    /// Somebody wants to see who waits for whom, in the fleet.
    Survey {
        /// Carried back by [`crate::Effect::Surveyed`].
        ticket: u64,
        /// Where to look.
        around: Around,
    },
    /// Nothing but time passed.
    Tick,
    /// The sidecar is going: grant nothing more, tell the sessions, give idle tenures back (H26).
    Drain,
}

/// A request about a register.
#[derive(Clone, Debug)]
pub struct RegisterRequest {
    /// Whose.
    pub session: SessionId,
    /// Its number in the session.
    pub request: RequestId,
    /// The register.
    pub key: Key,
    /// Only under this lease: live, exclusive, of the lock with the same text (P17).
    pub lease: Option<LeaseName>,
    /// What is wanted.
    pub act: RegisterAct,
}

/// What is wanted of a register.
#[derive(Clone, Debug)]
pub enum RegisterAct {
    /// Its value and version.
    Get,
    /// Its value and version as soon as they are other than known.
    Watch {
        /// What the client has.
        known: Known,
        /// For how long: `None` for ever, zero looks once.
        wait: Option<Duration>,
    },
    /// A new value.
    Put {
        /// Only if this is so.
        condition: Condition,
        /// The value. Its size was checked by the gate.
        value: Arc<[u8]>,
    },
    /// No value.
    Delete {
        /// Only if this is so.
        condition: Condition,
    },
}

/// A new session.
#[derive(Clone, Debug)]
pub struct SessionOpened {
    /// Its id, new.
    pub session: SessionId,
    /// The peer's user id, from the kernel.
    pub uid: u32,
    /// What the client calls itself; for people to read.
    pub app: Arc<str>,
    /// Without an input of this session for so long its leases are lost; `None`: the connection alone decides.
    pub ping_within: Option<Duration>,
    /// Its owners' names mean the same in all sessions of the user that have this: sessions that last for one request.
    pub owners_by_uid: bool,
}

/// Who ended a session's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndedBy {
    /// The client: it closed, or it died. Its leases are free at once.
    Peer,
    /// The sidecar: its leases stay reserved until the last deadline told, and the session can be resumed.
    Sidecar,
}

/// A request for a lease. Already admitted: names, limits and ranges were checked by the gate.
#[derive(Clone, Debug)]
pub struct Acquire {
    /// Whose.
    pub session: SessionId,
    /// Its number in the session; the session lease is known by it.
    pub request: RequestId,
    /// The key.
    pub key: Key,
    /// How much of it.
    pub mode: Mode,
    /// How long to wait: `None` for ever, zero is a try.
    pub wait: Option<Duration>,
    /// How the lease lives.
    pub life: Life,
    /// The lease is lost this long after its grant, whatever keeps it alive.
    pub max_hold: Option<Duration>,
    /// Permits of a rate: the units come back this long after the grant, whatever becomes of the lease, which ends then.
    pub per: Option<Duration>,
    /// On whose behalf.
    pub owner: Option<Owner>,
    /// If its owner holds the key, it is to be one more handle of that lease (P16).
    pub reentrant: bool,
    /// Whether its wait counts where deadlocks are looked for.
    pub find_deadlocks: bool,
    /// Ahead of lower ones; one point is worth a second of waiting. Within ±[`crate::model::PRIORITY_MAX`].
    pub priority: i32,
    /// Send [`crate::Notice::Queued`] if it has to wait.
    pub notify_queued: bool,
    /// For a key of [`crate::Space::Once`], and only there: the lease is a turn, and this is the window that a success
    /// of it would fill (P18). Such an acquire may be answered [`crate::Reply::Done`].
    pub once: Option<Box<Window>>,
}

/// A request for leases of several keys, all or nothing (P19). Admitted as an acquire is.
#[derive(Clone, Debug)]
pub struct AcquireAll {
    /// What is asked of every key. It is answered under this number, which is that of one of the keys.
    pub wish: Acquire,
    /// The keys, in the order of their bytes, none twice, at least one; each with the number that its lease is known by.
    pub keys: Vec<(RequestId, Key)>,
    /// For timed leases, the name of each; else none.
    pub secrets: Vec<LeaseSecret>,
}

/// How a lease lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// Until released, or its session ends. With a `ttl` it must be renewed within it besides.
    Session {
        /// Lost so long after the grant or the last renewal.
        ttl: Option<Duration>,
    },
    /// For `ttl` after grant or renewal, whatever becomes of the connection (P5).
    Timed {
        /// Its name and right, drawn by the door.
        secret: LeaseSecret,
        /// Time to live.
        ttl: Duration,
    },
}

/// Which lease a client speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseName {
    /// The one that this acquire of the speaking session got.
    Session(RequestId),
    /// The timed one with this secret; the speaking session must have the uid it was granted to.
    Timed(LeaseSecret),
}

/// Extend a lease.
#[derive(Clone, Debug)]
pub struct Renew {
    /// Who speaks.
    pub session: SessionId,
    /// Number of this renewal, for its answer.
    pub request: RequestId,
    /// The lease.
    pub lease: LeaseName,
    /// New time to live, from now.
    pub ttl: Duration,
}

/// Give a lease back.
#[derive(Clone, Debug)]
pub struct Release {
    /// Who speaks.
    pub session: SessionId,
    /// Number of this release, for its answer.
    pub request: RequestId,
    /// The lease.
    pub lease: LeaseName,
}

/// Change the mode of a lease (P16).
#[derive(Clone, Debug)]
pub struct Change {
    /// Who speaks.
    pub session: SessionId,
    /// Number of this request, for its answer; the lease that an upgrade gets is known by it.
    pub request: RequestId,
    /// The lease.
    pub lease: LeaseName,
    /// What it shall be.
    pub to: NewMode,
}

/// What a lease shall become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewMode {
    /// From exclusive to shared, at once: the same lease, the same fence.
    Shared,
    /// From shared to exclusive, once all others are gone: another lease, with a fence of its own.
    Exclusive {
        /// How long to wait: `None` for ever, zero is a try.
        wait: Option<Duration>,
        /// The new name of a timed lease, drawn by the door.
        secret: LeaseSecret,
    },
}

/// Take a key from whoever holds it.
#[derive(Clone, Debug)]
pub struct Force {
    /// Who speaks.
    pub session: SessionId,
    /// Number of this order, for its answer.
    pub request: RequestId,
    /// The key, of any space.
    pub key: Key,
    /// By whose order, and why.
    pub order: Order,
}

/// A turn succeeded.
#[derive(Clone, Debug)]
pub struct Finish {
    /// Who speaks.
    pub session: SessionId,
    /// Number of this finish, for its answer.
    pub request: RequestId,
    /// The turn.
    pub lease: LeaseName,
    /// What those get who waited, or come before the window ends. At most [`crate::RESULT_BYTES_MAX`] bytes.
    pub result: Arc<[u8]>,
}
