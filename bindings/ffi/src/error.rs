//! What can go wrong, as another language is told: few variants, each with what is needed to decide.
//!
//! Owns the one place where the SDK's errors become these. Texts are the SDK's: they say what to do.

use crate::register::Value;
use crate::wish::{LossReason, in_ms};
use sidelock_client::{self as sdk, Code, Kind};

/// Why there is no lease, or no longer one. `code` is the name of the refusal in every language and protocol, such as
/// `wait_timeout`; `text` is for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, uniffi::Error)]
pub enum Failure {
    /// Not now: the same may succeed later.
    #[error("{text}")]
    Busy {
        /// What is in the way.
        kind: Busy,
        /// Exactly why.
        code: String,
        /// For people: what happened and what to do.
        text: String,
        /// What was asked for; of several keys all, with commas between.
        key: String,
        /// When to try again, in milliseconds, if that is known.
        retry_after_ms: Option<u64>,
        /// The limit that was hit, if it is about one.
        limit: Option<u32>,
    },
    /// The owner waited in a circle: release what it holds and start over.
    #[error("{text}")]
    Deadlock {
        /// For people: what happened and what to do.
        text: String,
        /// What was asked for.
        key: String,
        /// Who waits for whom, all the way round; the refused request is the first.
        cycle: Vec<CycleEdge>,
    },
    /// The lease is gone: stop what it protected.
    #[error("{text}")]
    LeaseLost {
        /// For people: what happened and what to do.
        text: String,
        /// What was locked.
        key: String,
        /// Why.
        reason: LossReason,
    },
    /// What is there does not fit the request: another version of a register, another limit.
    #[error("{text}")]
    Conflict {
        /// Exactly why.
        code: String,
        /// For people: what happened and what to do.
        text: String,
        /// What was asked for.
        key: String,
        /// What a register holds, if a write's condition failed on it.
        current: Option<Box<Value>>,
        /// The limit in force, if it is about one.
        limit: Option<u32>,
    },
    /// No, and asking again changes nothing.
    #[error("{text}")]
    Refused {
        /// Of which kind.
        kind: Refusal,
        /// Exactly why.
        code: String,
        /// For people: what happened and what to do.
        text: String,
        /// What was asked for.
        key: String,
        /// The limit that was exceeded, if it is about one.
        limit: Option<u32>,
        /// When it may be allowed, in milliseconds, if that is known.
        retry_after_ms: Option<u64>,
        /// Whose no it is, if it is a policy's.
        denial: Option<Box<Denial>>,
    },
    /// There is no sidecar to talk to.
    #[error("{text}")]
    Unreachable {
        /// What the sidecar gave as its reason, if it was one that refused.
        code: Option<String>,
        /// For people: what happened, where was looked, and what to do.
        text: String,
    },
    /// Done or not: not known.
    #[error("{text}")]
    OutcomeUnknown {
        /// For people: what happened and what to do.
        text: String,
        /// What was asked for.
        key: String,
    },
    /// Nobody's error: the caller cancelled what waited, or a signal came, and the same call with the same ticket goes on.
    #[error("stopped")]
    Stopped,
}

/// What is in the way for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum Busy {
    /// Somebody else holds it, and the wait is over.
    WaitTimeout,
    /// Too many wait or are held already.
    QueueFull,
    /// The sidecar's store is away, or the sidecar is going.
    StoreUnavailable,
}

/// Why asking again changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum Refusal {
    /// A policy said no.
    Denied,
    /// The lease is somebody else's.
    NotHeld,
    /// There is no such lease, or the register has no value.
    NotFound,
    /// The request can not be right, whatever the state.
    Invalid,
    /// A bug of ours.
    Internal,
}

/// The policy that said no. Why, for people, is the failure's text.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct Denial {
    /// Its name in the sidecar's settings.
    pub policy: String,
    /// Why, as a word of its choice to decide on.
    pub reason_code: String,
}

/// One wait of a deadlock; the owner of the next edge is in its way.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct CycleEdge {
    /// What is waited for.
    pub key: String,
    /// How much of it: `exclusive`, `shared` or `permits`.
    pub mode: String,
    /// Who waits.
    pub owner: String,
    /// What its program calls itself.
    pub app: String,
    /// For how long it has waited, in milliseconds.
    pub waiting_for_ms: u64,
    /// For how long the owner of the next edge has held the key, in milliseconds; absent if it waits for the key too.
    pub held_for_ms: Option<u64>,
}

/// Result of an operation.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

impl From<sdk::Error> for Failure {
    fn from(error: sdk::Error) -> Failure {
        let busy = |kind| Failure::busy(kind, &error);
        let refused = |kind| Failure::refused(kind, &error);
        let (text, key) = (error.to_string(), error.key().to_owned());
        match error.kind() {
            Kind::WaitTimeout => busy(Busy::WaitTimeout),
            Kind::QueueFull => busy(Busy::QueueFull),
            Kind::StoreUnavailable => busy(Busy::StoreUnavailable),
            Kind::Deadlock => {
                Failure::Deadlock { text, key, cycle: error.cycle().iter().map(CycleEdge::from).collect() }
            }
            Kind::LeaseLost => Failure::LeaseLost { text, key, reason: reason(&error) },
            Kind::Conflict => Failure::conflict(&error),
            Kind::Denied => refused(Refusal::Denied),
            Kind::NotHeld => refused(Refusal::NotHeld),
            Kind::NotFound => refused(Refusal::NotFound),
            Kind::Invalid => refused(Refusal::Invalid),
            Kind::Internal => refused(Refusal::Internal),
            Kind::SidecarUnreachable => {
                Failure::Unreachable { code: error.code().map(|code| code.name().to_owned()), text }
            }
            Kind::OutcomeUnknown => Failure::OutcomeUnknown { text, key },
        }
    }
}

impl Failure {
    fn busy(kind: Busy, error: &sdk::Error) -> Failure {
        Failure::Busy {
            kind,
            code: code(error),
            text: error.to_string(),
            key: error.key().to_owned(),
            retry_after_ms: error.retry_after().map(in_ms),
            limit: limit(error),
        }
    }

    fn refused(kind: Refusal, error: &sdk::Error) -> Failure {
        Failure::Refused {
            kind,
            code: code(error),
            text: error.to_string(),
            key: error.key().to_owned(),
            limit: limit(error),
            retry_after_ms: error.retry_after().map(in_ms),
            denial: error
                .refusal()
                .and_then(|refusal| refusal.denial.as_deref())
                .map(|denial| Box::new(denial.into())),
        }
    }

    fn conflict(error: &sdk::Error) -> Failure {
        let refusal = error.refusal();
        Failure::Conflict {
            code: code(error),
            text: error.to_string(),
            key: error.key().to_owned(),
            current: refusal
                .and_then(|refusal| refusal.current.as_deref())
                .map(|value| Box::new(value.into())),
            limit: limit(error),
        }
    }

    /// A request that no sidecar has to see.
    pub(crate) fn invalid(key: &str, text: impl Into<String>) -> Failure {
        let (code, key) = (Code::BadRequest.name().to_owned(), key.to_owned());
        Failure::Refused {
            kind: Refusal::Invalid,
            code,
            text: text.into(),
            key,
            limit: None,
            retry_after_ms: None,
            denial: None,
        }
    }

    /// Of a client that was closed before it connected; of others the SDK says it, in the same words.
    pub(crate) fn closed() -> Failure {
        Failure::invalid("", "this client was closed; make a new one (bad_request)")
    }

    /// A turn that was finished or given back before.
    pub(crate) fn turn_closed(key: &str) -> Failure {
        let text = "the turn was finished or given back before; enter again (turn_closed)".to_owned();
        let (code, key) = (Code::TurnClosed.name().to_owned(), key.to_owned());
        Failure::Conflict { code, text, key, current: None, limit: None }
    }

    /// The system gives no thread, or no descriptors for one.
    pub(crate) fn no_thread(error: &std::io::Error) -> Failure {
        let text = format!("no thread for connections could be started: {error}");
        Failure::Unreachable { code: None, text }
    }

    /// A blocking call on a thread that moves bytes for all: it would wait for itself.
    pub(crate) fn inside_a_callback() -> Failure {
        Failure::invalid(
            "",
            "this blocks, and runs inside a callback of Sidelock's: do it on a thread of your own",
        )
    }

    /// An inherited lease: what it says is not this process's to say.
    pub(crate) fn inherited(key: &str) -> Failure {
        let text = format!(
            "the lease of {key:?} belongs to the process that this one was forked from; acquire one of your own here"
        );
        Failure::LeaseLost { text, key: key.to_owned(), reason: LossReason::Session }
    }

    /// A lease that its holder has given back.
    pub(crate) fn given_back(key: &str) -> Failure {
        let text = format!("the lease of {key:?} was given back before; acquire again to go on");
        Failure::LeaseLost { text, key: key.to_owned(), reason: LossReason::Other }
    }
}

impl From<&sdk::Denial> for Denial {
    fn from(denial: &sdk::Denial) -> Denial {
        Denial { policy: denial.policy.to_string(), reason_code: denial.reason_code.to_string() }
    }
}

impl From<&sdk::CycleEdge> for CycleEdge {
    fn from(edge: &sdk::CycleEdge) -> CycleEdge {
        CycleEdge {
            key: edge.key.clone(),
            mode: edge.mode.name().to_owned(),
            owner: edge.owner.clone(),
            app: edge.app.clone(),
            waiting_for_ms: in_ms(edge.waiting_for),
            held_for_ms: edge.held_for.map(in_ms),
        }
    }
}

/// All of a key, as a lock is: no number that a person would know. The text says that it is a lock.
const WHOLE: u32 = u32::MAX;

fn limit(error: &sdk::Error) -> Option<u32> {
    error.refusal().and_then(|refusal| refusal.limit).filter(|limit| *limit != WHOLE)
}

fn code(error: &sdk::Error) -> String {
    error.code().map_or("", Code::name).to_owned()
}

fn reason(error: &sdk::Error) -> LossReason {
    match error {
        sdk::Error::LeaseLost { reason, .. } => LossReason::from(*reason),
        _ => LossReason::Other,
    }
}
