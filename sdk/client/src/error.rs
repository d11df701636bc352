//! What can go wrong, as a program decides on it.
//!
//! Owns the SDK's errors; each says in its text what to do. Which refusal becomes which of them is in the one table of
//! codes, [`Code`].

use crate::register::Value;
use sidelock_wire::{Code, CycleEdge, Denial, Detail, Kind, LostReason, Refused};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Why there is no lease, or no longer one.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Somebody else holds it, and the wait is over.
    #[error("{0}")]
    WaitTimeout(Refusal),
    /// Too many wait or are held already: back off.
    #[error("{0}")]
    QueueFull(Refusal),
    /// The owner waited in a circle: release what it holds and start over.
    #[error("{0}")]
    Deadlock(Refusal),
    /// A policy said no.
    #[error("{0}")]
    Denied(Refusal),
    /// The lease is gone: stop what it protected.
    #[error("the lease of {key:?} is lost ({reason}): stop what it protected, acquire again to go on")]
    LeaseLost {
        /// What was locked.
        key: Arc<str>,
        /// Why.
        reason: LostReason,
    },
    /// The lease is somebody else's.
    #[error("{0}")]
    NotHeld(Refusal),
    /// There is no such lease.
    #[error("{0}")]
    NotFound(Refusal),
    /// What is there does not fit the request, such as another limit.
    #[error("{0}")]
    Conflict(Refusal),
    /// The request can not be right, whatever the state: correct it.
    #[error("{0}")]
    Invalid(Refusal),
    /// The sidecar is there, its store is away or it is going: try again.
    #[error("{0}")]
    StoreUnavailable(Refusal),
    /// There is no sidecar to talk to.
    #[error("no sidecar to talk to: {cause}{}", Tried(.tried))]
    SidecarUnreachable {
        /// Paths that were looked at.
        tried: Vec<PathBuf>,
        /// What happened there, and what to do.
        cause: String,
        /// What the sidecar gave as its reason, if it was one that refused.
        code: Option<Code>,
    },
    /// The connection ended before the answer came.
    #[error("{what} of {key:?} was sent but not answered: {advice}")]
    OutcomeUnknown {
        /// What was asked.
        what: &'static str,
        /// About which key.
        key: Arc<str>,
        /// What to make of it.
        advice: &'static str,
    },
    /// A bug of ours.
    #[error("{0}")]
    Internal(Refusal),
}

/// What the sidecar said when it refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Exactly why.
    pub code: Code,
    /// The key that was asked for, or all of them with commas between; empty if none was.
    pub key: Arc<str>,
    /// The same for people.
    pub message: String,
    /// The limit that was hit or is in force, if it is about one.
    pub limit: Option<u32>,
    /// When to try again, if the sidecar knows.
    pub retry_after: Option<Duration>,
    /// Of a deadlock: who waits for whom, all the way round. The refused request is the first; else empty.
    pub cycle: Vec<CycleEdge>,
    /// What a register holds, if a write's condition failed on it; with [`Code::Conflict`] and `None` it holds nothing.
    pub current: Option<Box<Value>>,
    /// The policy that said no, and its reason as a word; only with [`Code::Denied`].
    pub denial: Option<Box<Denial>>,
}

/// What helps against an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Nothing that a repetition could change: correct the request, or look at the state first.
    Never,
    /// Begin anew, at once.
    Now,
    /// Begin anew after this; zero if the sidecar does not know better than the caller.
    After(Duration),
    /// Begin anew once there is a sidecar. The client looks for one by itself.
    Reconnect,
}

/// Result of the SDK's operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// The code of the refusal behind it; `None` if nobody refused.
    pub fn code(&self) -> Option<Code> {
        match self {
            Error::LeaseLost { .. } => Some(Code::LeaseLost),
            Error::OutcomeUnknown { .. } => Some(Code::OutcomeUnknown),
            Error::SidecarUnreachable { code, .. } => *code,
            _ => self.refusal().map(|refusal| refusal.code),
        }
    }

    /// What a program decides on, without what each says besides.
    pub fn kind(&self) -> Kind {
        match self {
            Error::WaitTimeout(_) => Kind::WaitTimeout,
            Error::QueueFull(_) => Kind::QueueFull,
            Error::Deadlock(_) => Kind::Deadlock,
            Error::Denied(_) => Kind::Denied,
            Error::LeaseLost { .. } => Kind::LeaseLost,
            Error::NotHeld(_) => Kind::NotHeld,
            Error::NotFound(_) => Kind::NotFound,
            Error::Conflict(_) => Kind::Conflict,
            Error::Invalid(_) => Kind::Invalid,
            Error::StoreUnavailable(_) => Kind::StoreUnavailable,
            Error::SidecarUnreachable { .. } => Kind::SidecarUnreachable,
            Error::OutcomeUnknown { .. } => Kind::OutcomeUnknown,
            Error::Internal(_) => Kind::Internal,
        }
    }

    /// What the sidecar said, if it refused, and did so in more than a code.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Error::WaitTimeout(refusal)
            | Error::QueueFull(refusal)
            | Error::Deadlock(refusal)
            | Error::Denied(refusal)
            | Error::NotHeld(refusal)
            | Error::NotFound(refusal)
            | Error::Conflict(refusal)
            | Error::Invalid(refusal)
            | Error::StoreUnavailable(refusal)
            | Error::Internal(refusal) => Some(refusal),
            Error::LeaseLost { .. } | Error::OutcomeUnknown { .. } | Error::SidecarUnreachable { .. } => None,
        }
    }

    /// The key that it is about, or all of them with commas between; empty if it is about none.
    pub fn key(&self) -> &str {
        match self {
            Error::LeaseLost { key, .. } | Error::OutcomeUnknown { key, .. } => key,
            Error::SidecarUnreachable { .. } => "",
            _ => self.refusal().map_or("", |refusal| &refusal.key),
        }
    }

    /// Who waits for whom, all the way round, if this is a deadlock; else nothing.
    pub fn cycle(&self) -> &[CycleEdge] {
        if let Error::Deadlock(refusal) = self { &refusal.cycle } else { &[] }
    }

    /// When the same may succeed, if the sidecar knows: when units of a rate are back, when to ask again what a queue or the
    /// store could not take.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Error::WaitTimeout(refusal)
            | Error::QueueFull(refusal)
            | Error::Denied(refusal)
            | Error::StoreUnavailable(refusal) => refusal.retry_after,
            _ => None,
        }
    }

    /// What helps: whether, and when, the same may succeed if it is begun anew. [`crate::Retry`] goes by it.
    ///
    /// Of a lost lease and of a deadlock's victim it says *now*: what was done so far is to be begun anew with a new lease.
    /// So it does of a register that changed meanwhile: read it again, and decide again.
    pub fn remedy(&self) -> Remedy {
        match self {
            Error::WaitTimeout(refusal) | Error::QueueFull(refusal) | Error::StoreUnavailable(refusal) => {
                Remedy::After(refusal.retry_after.unwrap_or_default())
            }
            Error::Deadlock(_) | Error::LeaseLost { .. } => Remedy::Now,
            Error::Conflict(refusal) if refusal.code == Code::Conflict => Remedy::Now,
            Error::SidecarUnreachable { code: None, .. } => Remedy::Reconnect,
            Error::SidecarUnreachable { .. }
            | Error::Denied(_)
            | Error::NotHeld(_)
            | Error::NotFound(_)
            | Error::Conflict(_)
            | Error::Invalid(_)
            | Error::OutcomeUnknown { .. }
            | Error::Internal(_) => Remedy::Never,
        }
    }

    pub(crate) fn unreachable(tried: Vec<PathBuf>, cause: impl fmt::Display) -> Error {
        Error::SidecarUnreachable { tried, cause: cause.to_string(), code: None }
    }

    /// A refusal of a request about `key`.
    pub(crate) fn refused(key: &Arc<str>, refused: Refused<'_>) -> Error {
        let Refused { code, message, detail, register, .. } = refused;
        if code == Code::LeaseLost {
            return Error::LeaseLost { key: key.clone(), reason: detail.reason.unwrap_or(LostReason::Other) };
        }
        let Detail { limit, retry_after, cycle, denial, reason: _ } = detail;
        let (key, message) = (key.clone(), message.into_owned());
        let current = register.as_ref().map(|version| Box::new(Value::of(version)));
        Error::of(Refusal { code, key, message, limit, retry_after, cycle, current, denial })
    }

    /// A refusal that no sidecar pronounced, or one of the connection as a whole.
    pub(crate) fn plain(code: Code, key: Arc<str>, message: impl Into<String>) -> Error {
        Error::of(Refusal {
            code,
            key,
            message: message.into(),
            limit: None,
            retry_after: None,
            cycle: Vec::new(),
            current: None,
            denial: None,
        })
    }

    fn of(refusal: Refusal) -> Error {
        match refusal.code.kind() {
            Kind::WaitTimeout => Error::WaitTimeout(refusal),
            Kind::QueueFull => Error::QueueFull(refusal),
            Kind::Deadlock => Error::Deadlock(refusal),
            Kind::Denied => Error::Denied(refusal),
            Kind::LeaseLost => Error::LeaseLost { key: refusal.key, reason: LostReason::Other },
            Kind::NotHeld => Error::NotHeld(refusal),
            Kind::NotFound => Error::NotFound(refusal),
            Kind::Conflict => Error::Conflict(refusal),
            Kind::Invalid => Error::Invalid(refusal),
            Kind::StoreUnavailable => Error::StoreUnavailable(refusal),
            Kind::SidecarUnreachable => Error::SidecarUnreachable {
                tried: Vec::new(),
                cause: refusal.to_string(),
                code: Some(refusal.code),
            },
            Kind::OutcomeUnknown => Error::OutcomeUnknown {
                what: "a request",
                key: refusal.key,
                advice: Code::OutcomeUnknown.advice(),
            },
            Kind::Internal => Error::Internal(refusal),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.key.is_empty() {
            write!(f, "{:?}: ", self.key)?;
        }
        match self.message.is_empty() {
            true => write!(f, "{}: {}", self.code, self.code.advice()),
            // The sidecar's own message says what to do.
            false => write!(f, "{} ({})", self.message, self.code),
        }
    }
}

/// The end of the sentence: where was looked.
struct Tried<'a>(&'a [PathBuf]);

impl fmt::Display for Tried<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, path) in self.0.iter().enumerate() {
            let before = if place == 0 { "; tried " } else { ", " };
            write!(f, "{before}{}", path.display())?;
        }
        Ok(())
    }
}
