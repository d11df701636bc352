//! The contract between the engine and a store: what a sidecar may ask, and what the store may answer.
//!
//! Owns the shape and the meaning of the operations (the rules P1–P3, P7, P9 of ARCHITECTURE.md stand beside each
//! field). Must not know how a store keeps or moves them. A store holds one record per key and decides each
//! operation in one atomic step on its own clock.
//!
//! A **record** holds `last` (the highest fence ever reserved), the limit, the tenures, the queue of asks (some of them
//! *offered*) and, per incarnation, `done_upto`. Every operation that reads the record begins with *settle*: tenures,
//! offers and entries that are due are dropped; then, from the head of the queue, entries that fit are offered for
//! [`OFFER_TTL`], stopping at the first that does not fit (no bypass). Used units are, per incarnation, the greater of its
//! tenure's and its offer's, so that neither taking an offer up nor letting it lapse binds more than was counted. A record
//! with nothing in it is deleted; `last` needs no keeping (P1).

mod once;
mod push;
mod register;
mod strict;

pub use once::{Finish, RESULT_KEPT_MIN, Success};
pub use push::{Declare, Inquire, KEYS_ASKED_BYTES_MAX, KEYS_ASKED_MAX, Push, Tell, Wake};
pub(crate) use push::{keys_of, put_keys};
pub use register::{ABSENT_TTL, Bound, Condition, Known, ReadRegister, Version, Watch, WriteRegister};
pub use strict::Reassert;

use crate::model::{AskId, Etag, Fence, FenceRange, Incarnation, Key, Space, StoreTime};
use std::sync::Arc;
use std::time::Duration;

/// How long an offer stands before the next in the queue gets it (P3).
pub const OFFER_TTL: Duration = Duration::from_secs(2);
/// No reserved fence runs further ahead of the store's clock than this many microseconds, plus two (P1).
pub const FENCE_LEAD_MAX_US: u64 = 100_000;
/// Most fences one tenure reserves at a time (P1).
pub const FENCE_RANGE_MAX: u64 = 4096;
/// Tenures, and entries, that a look at a record shows at most: the first ones.
pub const PEEKED_MAX: usize = 256;
/// An ask older than this when it reaches the store is refused as `TooLate` (P7).
pub const REFUSE_AFTER: Duration = Duration::from_secs(2);
/// A floor further ahead of the store's clock than this is refused: the clock was set back by more than a day (P1).
pub const CLOCK_REGRESSION_MAX: Duration = Duration::from_secs(86_400);

/// Most bytes of the reason of a forced unlock: a sentence and a ticket's address. It stands in the record.
pub const REASON_BYTES_MAX: usize = 256;

/// Names one sending of one operation; its answer carries it back. Never reused in an incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// One operation on its way to the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Carried back by the answer.
    pub id: CallId,
    /// What to do.
    pub op: Op,
}

/// What a sidecar may ask of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Enter the queue, refresh the place in it, take up an offer, or repeat a granted ask: all the same operation.
    Ask(Ask),
    /// Extend a tenure and, if wanted, reserve more fences for it.
    Renew(Renew),
    /// Put back a tenure that the store forgot (P20).
    Reassert(Reassert),
    /// Give a tenure back, whole or in part.
    Return(Return),
    /// Leave the queue; undo the ask whatever became of it.
    Withdraw(Withdraw),
    /// Tell another sidecar that its recall can not be obeyed now.
    Tell(Tell),
    /// Ask another sidecar who holds a key there, and who waits; or several keys.
    Inquire(Inquire),
    /// Tell a sidecar that inquired.
    Declare(Box<Declare>),
    /// Write down what owners of this sidecar wait for and hold, for others to read (P15).
    Publish(Publish),
    /// Read what another sidecar wrote down.
    ReadBoard {
        /// Where: a key of [`crate::Space::Board`].
        board: Key,
    },
    /// Look at a record: who holds, who waits, in which order. Changes nothing, not even what is due.
    Peek {
        /// Which.
        key: Key,
    },
    /// Take the key from everybody, by order of a person.
    Force(Force),
    /// Look at a register.
    ReadRegister(ReadRegister),
    /// Write a register, or delete it.
    WriteRegister(WriteRegister),
    /// A turn of a once key succeeded: nobody runs again until its window ends (P18).
    Finish(Box<Finish>),
}

impl Op {
    /// The key that the operation is about.
    pub fn key(&self) -> &Key {
        match self {
            Op::Ask(op) => &op.key,
            Op::Renew(op) => &op.key,
            Op::Reassert(op) => &op.key,
            Op::Return(op) => &op.key,
            Op::Withdraw(op) => &op.key,
            Op::Tell(op) => &op.key,
            Op::Inquire(op) => &op.key,
            Op::Declare(op) => &op.key,
            Op::Publish(op) => &op.board,
            Op::ReadBoard { board } => board,
            Op::Peek { key } => key,
            Op::Force(op) => &op.key,
            Op::ReadRegister(op) => &op.key,
            Op::WriteRegister(op) => &op.key,
            Op::Finish(op) => &op.key,
        }
    }

    /// The lock whose record the operation looks at besides, in the same step.
    pub fn bound_to(&self) -> Option<Key> {
        let bound = match self {
            Op::ReadRegister(op) => op.bound,
            Op::WriteRegister(op) => op.bound,
            _ => None,
        };
        bound.map(|_| self.key().in_space(Space::Lock))
    }
}

/// Ask for units of a key.
///
/// `floor` too far ahead of the clock → [`Reply::ClockRegressed`], nothing read or written. After settle, in this order:
/// `refuse_after` passed → [`Reply::TooLate`]. `give_back` is applied (and settled). The incarnation's tenure has this very
/// id → [`Reply::Granted`] with its units, its range and its *remaining* time, nothing changed. `id.seq` ≤ the
/// incarnation's `done_upto`, or below the seq of its entry or tenure → [`Reply::Stale`]. A success that is news to the
/// asker ([`Success::answers`]) → [`Reply::Finished`], and the incarnation's entry is gone. Record alive (a tenure or entry of
/// anybody) with another limit → [`Reply::LimitMismatch`], and the other holders are recalled. Otherwise the entry of this
/// incarnation (at most one; a new id replaces an older one at the tail) is entered or refreshed with `units` and
/// `entry_ttl`; an offer whose new units no longer fit is un-offered in place. Settle again: if the entry is offered now, it
/// becomes the incarnation's tenure with this id, full `ttl` (growth never shortens what was confirmed) and a *new* range
/// above `last` → `Granted`; else [`Reply::Queued`], and the other holders are recalled if the entry is new or the head.
///
/// An ask with `upgrade`, of an incarnation that has a tenure, enters ahead of all other entries (P9); while another
/// incarnation's upgrade is in the queue it does not enter at all: [`Reply::UpgradeConflict`], nothing changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The key.
    pub key: Key,
    /// Names the ask, and the tenure it becomes.
    pub id: AskId,
    /// Units the tenure shall have: those under live leases plus those of the local head (P9).
    pub units: u32,
    /// Units the key has; [`crate::model::WHOLE`] for locks.
    pub limit: u32,
    /// The tenure's time to live when granted.
    pub ttl: Duration,
    /// How long the entry stays in the queue without a re-ask.
    pub entry_ttl: Duration,
    /// Every fence must be above this: the highest token of the key and the highest store time this sidecar saw (P1).
    pub floor: u64,
    /// Past this store time the message is void, whatever its sender still wants (P7).
    pub refuse_after: StoreTime,
    /// Units of an older tenure given back in the same step (P9).
    pub give_back: Option<GiveBack>,
    /// One who holds a share wants all and keeps its share while it waits (P16): ahead of every other entry, and one at a
    /// time, or two would wait for each other's share. An entry is an upgrade, or is none, from its entering on.
    pub upgrade: bool,
    /// For a once key: since when the asker waits. What was finished after that is its answer, even if the window is over
    /// meanwhile (P18).
    pub waiting_since: Option<StoreTime>,
}

/// Part of a tenure returned together with an ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GiveBack {
    /// Seq of the tenure (of the asking incarnation). Another id there: nothing is given back.
    pub seq: u64,
    /// Units kept; 0 ends the tenure.
    pub keep: u32,
    /// The highest fence handed out under it, 0 if none. When the tenure ends and its range is the topmost, `last`
    /// goes back to this (never below the range's first token − 1).
    pub issued: u64,
}

/// Extend a tenure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renew {
    /// The key.
    pub key: Key,
    /// Exactly this tenure, or [`Reply::Gone`].
    pub tenure: AskId,
    /// New time to live. A renewal never shortens.
    pub ttl: Duration,
    /// As in [`Ask`].
    pub floor: u64,
    /// Reserve a new range above `last`; it replaces the old one in the record.
    pub top_up: bool,
}

/// Give back all but `keep` units of a tenure; settle and offer on in the same step. Another id there: [`Reply::Gone`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Return {
    /// The key.
    pub key: Key,
    /// Exactly this tenure.
    pub tenure: AskId,
    /// Units kept; 0 ends the tenure.
    pub keep: u32,
    /// As in [`GiveBack`].
    pub issued: u64,
    /// Raise the incarnation's `done_upto` to this tenure's seq and remember it until then: set when the ask was sent
    /// more than once or its outcome was unknown (P7). Written even when the answer is `Gone`.
    pub tombstone: Option<StoreTime>,
}

/// Undo an ask: queued → removed; offered → removed and offered on; granted → shrunk to `keep` units (0: ended).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Withdraw {
    /// The key.
    pub key: Key,
    /// The ask.
    pub id: AskId,
    /// Units that an already granted tenure keeps: what live leases stood on before the ask.
    pub keep: u32,
    /// As in [`Return::tombstone`].
    pub tombstone: Option<StoreTime>,
}

/// Write a board. `refuse_after` passed → [`Reply::TooLate`]. One that is not newer than what is there is not written, and
/// the answer is the same: whoever sent it twice has nothing to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// Where: a key of [`crate::Space::Board`], one per incarnation.
    pub board: Key,
    /// Rises with every board that was acknowledged.
    pub version: u64,
    /// What is on it, at most [`crate::board::BOARD_BYTES_MAX`]; nothing: the board is taken down, and no older one
    /// that is still on its way comes back.
    pub body: Arc<[u8]>,
    /// Forgotten after so long.
    pub ttl: Duration,
    /// As in [`Ask`].
    pub refuse_after: StoreTime,
}

/// End every tenure of a key and every offer, whoever has them (P19). `refuse_after` passed → [`Reply::TooLate`].
///
/// `last` stays the highest fence ever *reserved*, so that the next one is above all that the victims may still hand out.
/// Each tenure is remembered as *forced* until its deadline, and `done_upto` is raised to its id, so that no late copy of
/// its ask brings it back. Until its sidecar has shown that it knows, by giving exactly that tenure back whole, whatever
/// it says of the key in that tenure's stead is answered [`Reply::Forced`]: an ask, a renewal, a finish or a return of it
/// or of an older one. Every victim is told by a push, the sender aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Force {
    /// The key.
    pub key: Key,
    /// Who sends it.
    pub from: Incarnation,
    /// By whose order.
    pub order: Order,
    /// As in [`Ask`]. Late, it would take the key from somebody whom nobody meant.
    pub refuse_after: StoreTime,
}

/// Who wanted a key to be taken from its holders, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The user id of who gave it, from the kernel.
    pub by: u32,
    /// In their words; at most [`REASON_BYTES_MAX`] bytes, checked by the gate.
    pub reason: Arc<str>,
}

/// A tenure that was taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Its id: whose it was.
    pub id: AskId,
    /// Units it had.
    pub units: u32,
    /// For how long its holders may still believe in it if they do not hear.
    pub remaining: Duration,
}

/// What became of a call. Exactly one per call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It ran once or more, and this is the answer of the run that was heard.
    Applied {
        /// The store's clock in that run.
        at: StoreTime,
        /// The answer.
        reply: Reply,
    },
    /// It did not run and will not.
    NotApplied(Fault),
    /// It may have run, or may still.
    Unknown(Fault),
}

/// The store's answer to an operation that ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// To ask, and to a withdraw that kept a granted tenure: this tenure stands.
    Granted(Tenancy),
    /// To ask: in the queue.
    Queued(Queued),
    /// To ask and write: done with, or overtaken by a newer one of the same incarnation.
    Stale,
    /// To ask, reassert, publish, force, write and finish: `refuse_after` had passed.
    TooLate,
    /// To ask: the key is in use with another limit.
    LimitMismatch {
        /// The limit in force.
        limit: u32,
    },
    /// To ask with `upgrade`: another sidecar's upgrade is in the queue, and waits for the units of this one.
    UpgradeConflict {
        /// Whose.
        upgrader: Incarnation,
    },
    /// To ask and renew: the floor lies more than [`CLOCK_REGRESSION_MAX`] ahead of the store's clock. Nothing written.
    ClockRegressed,
    /// To renew and reassert: extended.
    Renewed {
        /// Time left, rounded down.
        remaining: Duration,
        /// As in [`Tenancy`].
        origin: Fence,
        /// The new range, if one was asked for, and reserved.
        range: Option<FenceRange>,
        /// Others wait for this key and do not fit.
        contended: bool,
    },
    /// To renew, reassert, return and finish: no such tenure (any more).
    Gone,
    /// To ask, renew and reassert: the store lost its data, or may have, and grants nothing for a while (P20). An ask keeps
    /// its place in the queue.
    Quarantined {
        /// To an ask: entries ahead.
        ahead: u32,
        /// Asking again makes sense after this.
        left: Duration,
    },
    /// To renew and return: no such tenure, but the store has lost its data and can be told of it: [`Reassert`].
    Forgotten,
    /// To return: done.
    Returned,
    /// To withdraw: nothing of the ask is left.
    Withdrawn,
    /// To tell, inquire and declare: published, whoever hears it.
    Told,
    /// To publish.
    Published,
    /// To reading a board: what is on it, if there is one.
    Board(Option<Arc<[u8]>>),
    /// To peek.
    Record(Peeked),
    /// To ask, renew, return and withdraw: the tenure with this seq was taken away, or one that grew out of it.
    Forced {
        /// Seq of the tenure.
        seq: u64,
        /// By whose order.
        order: Order,
    },
    /// To force: these are gone.
    Unlocked(Vec<Taken>),
    /// To read: this is there, or nothing is. To a deletion: nothing was.
    Register(Option<Version>),
    /// To read: what is there is known to the reader.
    Unchanged,
    /// To write: done, under this version.
    Written(Etag),
    /// To write: the condition failed; this is there, or nothing is.
    Conflict(Option<Version>),
    /// To read and write: the lease it is bound to does not stand, or a later one was here before.
    StaleFence,
    /// To ask: the once key was done. To finish: it is now, by this very turn.
    Finished(Success),
}

/// What a record says, without what is due; at most [`PEEKED_MAX`] of each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peeked {
    /// Units that the key has; means something only while anybody holds or waits.
    pub limit: u32,
    /// Who holds.
    pub tenures: Vec<PeekedTenure>,
    /// Who waits, head first.
    pub queue: Vec<PeekedEntry>,
}

/// Units held by a sidecar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeekedTenure {
    /// Whose.
    pub id: AskId,
    /// How many.
    pub units: u32,
    /// Time left, rounded down to milliseconds.
    pub remaining: Duration,
}

/// A sidecar's place in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeekedEntry {
    /// Whose.
    pub id: AskId,
    /// Units that its tenure shall have.
    pub units: u32,
    /// It is its turn, if it asks.
    pub offered: bool,
}

/// A tenure as the store sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tenancy {
    /// Units held.
    pub units: u32,
    /// Time left, rounded down to milliseconds (P4: an idempotent repeat gets the *remaining* time).
    pub remaining: Duration,
    /// The first fence of what it has been since without a break: where this rises, what stood before had ended, and others
    /// may have had the key in between. It stays where a tenure grows or gets more fences.
    pub origin: Fence,
    /// Reserved fences.
    pub range: FenceRange,
    /// Others wait for this key.
    pub contended: bool,
}

/// A place in the store's queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queued {
    /// Entries ahead.
    pub ahead: u32,
    /// Until the earliest deadline among tenures and offers in the way: when the head should ask again.
    pub retry: Duration,
    /// One sidecar in the way, for the log and for `why`.
    pub holder: Option<Incarnation>,
}

/// Why a call was not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No connection, or it broke, or the answer did not come in time.
    Down,
    /// The store answered that it can not serve now: LOADING, BUSY, READONLY, MASTERDOWN, NOREPLICAS, MISCONF, OOM…
    Unready(String),
    /// The record can not be read: somebody edited it, or a newer version wrote it.
    Corrupt(String),
}
