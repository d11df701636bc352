//! What happened in a run, as plain data: who asked, who was told what, what the store decided, when.
//!
//! Owns the vocabulary that the rules are written in. Must not know the engine, the simulator or where the records come
//! from: the simulator writes them from its virtual world, tests on real processes write them from theirs. Every time is
//! *true* time, of one clock that no fault touches; a recorder translates deadlines told on a host's clock.
//!
//! As text a history is JSON lines: the [`Bounds`] first, then one [`Record`] a line.

pub use super::acquire::{Acquire, Wait};
pub use super::answer::{Answer, Refused};
pub use super::bounds::Bounds;
pub use super::rest::Rest;
use super::value;
use serde::{Deserialize, Serialize};
use std::io::{self, BufRead, Write};
use std::time::Duration;

/// An instant of true time, in nanoseconds since the recording began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct At(pub u64);

impl At {
    /// How long `earlier` lies back; zero if it does not.
    pub fn since(self, earlier: At) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl std::ops::Add<Duration> for At {
    type Output = At;
    fn add(self, span: Duration) -> At {
        At(self.0.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl std::fmt::Display for At {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:06}s", self.0 / 1_000_000_000, self.0 / 1_000 % 1_000_000)
    }
}

/// A session's request. Sessions, and the requests of one session, are numbered densely from 0 by the recorder; a
/// session number is never used again, whatever sidecar it was on. A lease is named by the acquire that got it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Req {
    /// The session.
    pub session: u32,
    /// Its request.
    pub request: u32,
}

impl std::fmt::Display for Req {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "session {} request {}", self.session, self.request)
    }
}

/// One thing that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Record {
    /// When.
    pub at: At,
    /// What.
    pub event: Event,
}

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sent {
    /// A lease.
    Acquire(Acquire),
    /// More time for a lease. The request is the renewal's own number.
    Renew {
        /// Which lease.
        lease: Req,
    },
    /// The end of a lease. The request is the release's own number. The client uses the lease no more.
    Release {
        /// Which lease.
        lease: Req,
    },
    /// Others may come in: the client counts an exclusive lease as shared from here on. The request is the downgrade's own.
    Downgrade {
        /// Which lease.
        lease: Req,
    },
    /// The turn of a once key succeeded; what it leaves for others is its own name. The request is the finish's own. The
    /// client does nothing under it any more.
    Finish {
        /// Which turn.
        lease: Req,
    },
    /// Something of a register.
    Register(value::Asked),
    /// No lease after all, under the number of the acquire.
    Cancel,
}

/// What can happen. The first group is seen by clients and suffices; the others sharpen the rules where they can be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    // ── clients ──
    /// A session began, on this incarnation of a sidecar (numbered densely from 0), as this user.
    Opened {
        /// The session.
        session: u32,
        /// The incarnation of a sidecar.
        sidecar: u32,
        /// User id.
        uid: u32,
    },
    /// A client sent something.
    Sent {
        /// Its number.
        of: Req,
        /// What.
        what: Sent,
    },
    /// A client read an answer.
    Answered {
        /// To what.
        of: Req,
        /// The answer.
        answer: Answer,
    },
    /// A client read that its lease lasts until then (the sooner of what was told and the lease's cap).
    Extended {
        /// The lease.
        lease: Req,
        /// Its deadline.
        until: At,
    },
    /// A client read that its lease is lost, or found its deadline passed and gave it up.
    LostSeen {
        /// The lease.
        lease: Req,
    },
    /// A client closed its connection or died.
    HungUp {
        /// Its session.
        session: u32,
    },
    /// A client saw its connection closed by the other side.
    EofSeen {
        /// Its session.
        session: u32,
    },
    /// A client came back to the same session and uses its leases again, as far as their deadlines allow.
    Resumed {
        /// Its session.
        session: u32,
    },
    /// The holder read the fenced register of a key, which raises what the register has seen.
    Read {
        /// The key.
        key: u32,
        /// The reader's token.
        fence: u64,
        /// Which write it saw: 0 none, 1 the first …
        version: u32,
    },
    /// A holder, or one who believes to be one, wrote what it computed from what it had read.
    Wrote {
        /// The key.
        key: u32,
        /// The writer's token.
        fence: u64,
        /// The version it had read.
        base: u32,
        /// Whether the register took it.
        accepted: bool,
    },
    // ── sidecars ──
    /// An acquire reached its sidecar.
    Arrived {
        /// The acquire.
        of: Req,
    },
    /// One of several keys that are asked for at once is the next that its sidecar wants for it: it waits for this one and
    /// for no other of them.
    LinedUp {
        /// The acquire.
        of: Req,
    },
    /// A sidecar keeps one of several keys for the time when it has all of them.
    Bound {
        /// The acquire.
        of: Req,
    },
    /// … no longer.
    Unbound {
        /// The acquire.
        of: Req,
    },
    /// A sidecar decided to grant.
    Issued {
        /// The acquire.
        lease: Req,
        /// The token.
        fence: u64,
        /// The deadline told.
        deadline: At,
    },
    /// A sidecar decided to renew.
    Renewed {
        /// The renewal.
        of: Req,
        /// The deadline told.
        deadline: At,
    },
    /// A sidecar decided to answer a watch, other than by a refusal: with what is there, or that nothing changed.
    Watched {
        /// The watch.
        of: Req,
        /// Nothing changed.
        unchanged: bool,
    },
    /// A sidecar took a waiter out of its queue without a grant.
    Dropped {
        /// The acquire.
        of: Req,
    },
    /// A sidecar decided to refuse something. If it waited, `Dropped` follows.
    Declined {
        /// What.
        of: Req,
        /// Why.
        why: Refused,
    },
    /// A sidecar drains: it refuses whoever wants to hold from now on.
    Drains {
        /// The sidecar.
        sidecar: u32,
    },
    /// A sidecar ended a lease.
    Done {
        /// The lease.
        lease: Req,
        /// It was lost, not given back.
        lost: bool,
    },
    /// A sidecar decided that an exclusive lease is shared from now on, or that one which was upgraded is what it was.
    Shared {
        /// The lease.
        lease: Req,
    },
    /// A sidecar declared a lease lost because its tenure is gone: taken by order, or for any other reason.
    Deprived {
        /// The lease.
        lease: Req,
        /// By order.
        forced: bool,
    },
    /// A sidecar closed a session's connection.
    CutOff {
        /// The session.
        session: u32,
    },
    /// A sidecar heard from the store, or by a push, whether others wait for a key it has a tenure of.
    Learned {
        /// The sidecar.
        sidecar: u32,
        /// The key.
        key: u32,
        /// Whether they do.
        contended: bool,
    },
    /// A sidecar learned that an ask of its became a tenure.
    Installed {
        /// The sidecar.
        sidecar: u32,
        /// The key.
        key: u32,
    },
    /// A sidecar died.
    Crashed {
        /// The sidecar.
        sidecar: u32,
    },
    /// Bounds on time do not hold for this sidecar from now until then: it is paused, or its store is away or late.
    Disturbed {
        /// The sidecar.
        sidecar: u32,
        /// Until when.
        until: At,
    },
    /// The same, because its store refuses whatever it would need memory for; what stands goes on.
    AsksRefused {
        /// The sidecar.
        sidecar: u32,
        /// Until when.
        until: At,
    },
    /// A sidecar heard that its connection to the store is gone.
    StoreLost {
        /// The sidecar.
        sidecar: u32,
    },
    /// … that it has one again.
    StoreFound {
        /// The sidecar.
        sidecar: u32,
    },
    /// A host's clock stopped while time went on, which breaks assumption A1 for what was granted before.
    Froze {
        /// The host's sidecar.
        sidecar: u32,
    },
    // ── the store ──
    /// An ask entered the queue, or kept its place, and stays until then unless it asks again.
    Entered {
        /// The asking sidecar.
        sidecar: u32,
        /// The key.
        key: u32,
        /// Number of the ask: another one of the same sidecar is a new place.
        ask: u64,
        /// When the entry lapses.
        until: At,
        /// Its sidecar keeps a share meanwhile, and goes first.
        #[serde(default)]
        upgrade: bool,
    },
    /// The asks of a sidecar left the queue of a key: withdrawn or granted.
    Left {
        /// The sidecar.
        sidecar: u32,
        /// The key.
        key: u32,
    },
    /// An entry was offered what it asks for.
    Offered {
        /// The sidecar.
        sidecar: u32,
        /// The key.
        key: u32,
        /// The ask.
        ask: u64,
    },
    /// A tenure got these fences.
    Reserved {
        /// The sidecar.
        sidecar: u32,
        /// The key.
        key: u32,
        /// The first of them.
        first: u64,
        /// The last of them.
        last: u64,
    },
    /// An ask became a tenure of so many units.
    Seated {
        /// The sidecar.
        sidecar: u32,
        /// The key.
        key: u32,
        /// The ask.
        ask: u64,
        /// Units.
        units: u32,
        /// It had a share before, and went first.
        #[serde(default)]
        upgrade: bool,
    },
    /// A tenure was given back in part.
    Kept {
        /// The sidecar.
        sidecar: u32,
        /// The key.
        key: u32,
        /// Units left.
        units: u32,
    },
    /// A tenure stands until then in the store.
    Confirmed {
        /// The sidecar.
        sidecar: u32,
        /// The key.
        key: u32,
        /// When it lapses there.
        until: At,
    },
    /// A turn of a once key was counted as done: nobody runs again before its window ends.
    Succeeded {
        /// Its sidecar.
        sidecar: u32,
        /// The key.
        key: u32,
        /// Its token.
        fence: u64,
        /// The turn, as the result says.
        by: Req,
        /// When the window ends.
        until: At,
    },
    /// A tenure was given back whole.
    Returned {
        /// The sidecar.
        sidecar: u32,
        /// The key.
        key: u32,
    },
    /// A tenure was taken by an operator's order: until its holders hear, only their fences are held against them (P19).
    Forced {
        /// The sidecar that had it.
        sidecar: u32,
        /// The key.
        key: u32,
        /// The highest fence that was ever reserved for it.
        last: u64,
    },
    /// An offer was taken by an operator's order, which leaves nothing of what stands: its sidecar asks anew (P19).
    OfferTaken {
        /// The key.
        key: u32,
    },
    /// A register changed.
    Stored(value::Stored),
    /// A register was read under a token.
    Looked {
        /// Which.
        register: u32,
        /// The token.
        fence: u64,
    },
    /// The store holds a place or a tenure for a sidecar that has given up asking for it.
    Haunted {
        /// The sidecar.
        sidecar: u32,
        /// The key.
        key: u32,
        /// It knows nothing of the key any more: nothing is under way that will take this away.
        forgotten: bool,
    },
    /// The store lost its data.
    Flushed,
    /// The store lost what it knew of a key, of its leases and of who waits for them.
    Evicted {
        /// The key.
        key: u32,
    },
    // ── the end ──
    /// Everything was healed, every client is gone, the longest tenure has run out: what is left over. The run is over.
    Rest(Rest),
}

/// A run: what may be assumed, and what happened, in the order of time.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// What may be assumed.
    pub bounds: Bounds,
    /// What happened.
    pub records: Vec<Record>,
}

impl History {
    /// Reads JSON lines.
    ///
    /// # Errors
    /// `InvalidData` with the line's number if a line is not what it should be; the reader's own errors.
    pub fn read(from: impl BufRead) -> io::Result<History> {
        let bad = |n: usize, e: serde_json::Error| {
            io::Error::new(io::ErrorKind::InvalidData, format!("history line {}: {e}", n + 1))
        };
        let mut lines = from.lines().enumerate();
        let Some((n, first)) = lines.next() else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the history is empty"));
        };
        let bounds = serde_json::from_str(&first?).map_err(|e| bad(n, e))?;
        let records = lines
            .map(|(n, line)| serde_json::from_str(&line?).map_err(|e| bad(n, e)))
            .collect::<io::Result<_>>()?;
        Ok(History { bounds, records })
    }

    /// Writes JSON lines.
    ///
    /// # Errors
    /// The writer's own.
    pub fn write(&self, mut to: impl Write) -> io::Result<()> {
        serde_json::to_writer(&mut to, &self.bounds)?;
        writeln!(to)?;
        for record in &self.records {
            serde_json::to_writer(&mut to, record)?;
            writeln!(to)?;
        }
        Ok(())
    }
}
