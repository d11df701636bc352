//! The nouns that messages in both directions share.
//!
//! Owns their meaning and their numbers on the wire. They mirror the engine's model without knowing it: the daemon
//! translates.

use crate::cycle::CycleEdge;
use std::fmt;
use std::time::Duration;

/// Oldest version of the protocol that this crate speaks.
pub const VERSION_MIN: u16 = 1;
/// Newest version of the protocol that this crate speaks.
pub const VERSION_MAX: u16 = 1;
/// Feature bits that this crate understands. None is defined in version 1.
pub const FEATURES: u64 = 0;
/// The number of a release whose success nobody waits to hear of: only its refusal is answered.
pub const NOBODY: u64 = u64::MAX;

/// An unguessable 128-bit value that is a right: to a timed lease, or to resume a session. `Debug` does not show it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Secret(pub u128);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// How much of a key a request wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// All of a lock key.
    Exclusive,
    /// One share of a lock key.
    Shared,
    /// `permits` of at most `limit` units of a semaphore key.
    Permits {
        /// Units wanted.
        permits: u32,
        /// Units that exist.
        limit: u32,
    },
}

/// What keeps a lease alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Life {
    /// The session. With a `ttl` it must be renewed within it besides.
    Session {
        /// Lost so long after the grant or the last renewal.
        ttl: Option<Duration>,
    },
    /// Nothing but renewals: it outlives the connection and is known by the secret that the grant carries.
    Timed {
        /// Lost so long after the grant or the last renewal.
        ttl: Duration,
    },
}

/// Which lease a client speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LeaseName {
    /// The one that this acquire of the speaking session got.
    Session(u64),
    /// The timed one with this secret.
    Timed(Secret),
}

/// A session that the client had before: the sidecar had cut its connection, not the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resume {
    /// Its id, from the welcome.
    pub session: u64,
    /// Its secret, from the welcome.
    pub secret: Secret,
}

/// How far a sidecar's locks reach. Ordered: a greater one includes the lesser.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// One process: the embedded sidecar.
    Process,
    /// One host: a sidecar on the memory store.
    Host,
    /// All sidecars that share the store.
    Fleet,
}

/// What holds through a loss of the store's data. Ordered: a greater one promises more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Guarantee {
    /// Nothing to lose: the store lives and dies with the sidecar.
    Local,
    /// Leases of before and after may overlap for as long as a lease lasts; fences stay ordered.
    Bounded,
    /// No grant until every lease of before has run out.
    Strict,
}

/// For how long a once key is done once it was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    /// Its length. Travels as whole milliseconds, rounded up.
    pub per: Duration,
    /// Where it begins.
    pub align: Align,
}

/// Where a window begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Align {
    /// With the grant of the turn that succeeds.
    Rolling,
    /// At whole multiples of its length since 1970-01-01T00:00:00Z.
    Utc,
}

/// Why a lease was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LostReason {
    /// Its `ttl` passed without a renewal.
    Expired,
    /// Its `max_hold` passed.
    MaxHold,
    /// The store did not confirm it in time, or no longer knows it.
    Store,
    /// Its session gave no sign of life in time, or was cut off and did not come back.
    Session,
    /// An operator took it.
    Forced,
    /// The sidecar that granted it is no more.
    SidecarRestarted,
    /// A reason that this version does not know.
    Other,
}

/// What a refusal says beside its code and message. All of it is optional.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Detail {
    /// The limit that was hit, or is in force; `u32::MAX`: the key is in use as a lock.
    pub limit: Option<u32>,
    /// When to try again; of a used-up rate, when as many units are back as were asked for.
    pub retry_after: Option<Duration>,
    /// Why the lease was lost.
    pub reason: Option<LostReason>,
    /// The ring of waits that the request was chosen to break, at most [`crate::CYCLE_EDGES_MAX`] edges; else empty.
    pub cycle: Vec<CycleEdge>,
    /// The policy that said no.
    pub denial: Option<Box<Denial>>,
}

/// Which policy said no, and its reason as a word to decide on. For people it is the refusal's message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// The policy's name in the sidecar's settings.
    pub policy: Box<str>,
    /// The reason, a word of that policy's choice.
    pub reason_code: Box<str>,
}

impl Mode {
    /// The word used in protocols and output.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Exclusive => "exclusive",
            Mode::Shared => "shared",
            Mode::Permits { .. } => "permits",
        }
    }
}

impl Window {
    /// Of this length, from the grant of the turn that succeeds.
    pub fn rolling(per: Duration) -> Window {
        Window { per, align: Align::Rolling }
    }

    /// One of those that follow each other since 1970-01-01T00:00:00Z: a day ends at midnight UTC.
    pub fn utc(per: Duration) -> Window {
        Window { per, align: Align::Utc }
    }
}

impl Align {
    const NAMES: [(Align, &'static str); 2] = [(Align::Rolling, "rolling"), (Align::Utc, "utc")];

    /// The word used in protocols and output.
    pub fn name(self) -> &'static str {
        Self::NAMES[usize::from(self.number())].1
    }

    /// The alignment of this name.
    pub fn from_name(name: &str) -> Option<Align> {
        Self::NAMES.iter().find(|(_, known)| *known == name).map(|(align, _)| *align)
    }

    pub(crate) fn number(self) -> u8 {
        self as u8
    }

    pub(crate) fn from_number(number: u8) -> Option<Align> {
        Self::NAMES.get(usize::from(number)).map(|(align, _)| *align)
    }
}

impl Scope {
    const NAMES: [(Scope, &'static str); 3] =
        [(Scope::Process, "process"), (Scope::Host, "host"), (Scope::Fleet, "fleet")];

    /// The word used in protocols and output.
    pub fn name(self) -> &'static str {
        Self::NAMES[usize::from(self.number())].1
    }

    /// The scope of this name, as in `SIDELOCK_REQUIRE_SCOPE`.
    pub fn from_name(name: &str) -> Option<Scope> {
        Self::NAMES.iter().find(|(_, known)| *known == name).map(|(scope, _)| *scope)
    }

    pub(crate) fn number(self) -> u8 {
        self as u8
    }

    pub(crate) fn from_number(number: u8) -> Option<Scope> {
        Self::NAMES.get(usize::from(number)).map(|(scope, _)| *scope)
    }
}

impl Guarantee {
    const NAMES: [(Guarantee, &'static str); 3] =
        [(Guarantee::Local, "local"), (Guarantee::Bounded, "bounded"), (Guarantee::Strict, "strict")];

    /// The word used in protocols and output.
    pub fn name(self) -> &'static str {
        Self::NAMES[usize::from(self.number())].1
    }

    pub(crate) fn number(self) -> u8 {
        self as u8
    }

    pub(crate) fn from_number(number: u8) -> Option<Guarantee> {
        Self::NAMES.get(usize::from(number)).map(|(guarantee, _)| *guarantee)
    }
}

impl LostReason {
    /// In the order of the numbers on the wire, from zero.
    const NAMES: [(LostReason, &'static str); 7] = [
        (LostReason::Other, "other"),
        (LostReason::Expired, "expired"),
        (LostReason::MaxHold, "max_hold"),
        (LostReason::Store, "store"),
        (LostReason::Session, "session"),
        (LostReason::Forced, "forced"),
        (LostReason::SidecarRestarted, "sidecar_restarted"),
    ];

    /// The word used in protocols and output.
    pub fn name(self) -> &'static str {
        Self::NAMES[usize::from(self.number())].1
    }

    pub(crate) fn number(self) -> u8 {
        let place = Self::NAMES.iter().position(|(reason, _)| *reason == self);
        place.expect("the list has every reason") as u8
    }

    /// A number that a later version added is [`LostReason::Other`]: lost is lost.
    pub(crate) fn from_number(number: u8) -> LostReason {
        Self::NAMES.get(usize::from(number)).map_or(LostReason::Other, |(reason, _)| *reason)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Guarantee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for LostReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
