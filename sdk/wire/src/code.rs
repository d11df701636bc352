//! Every way in which Sidelock says no, in one table.
//!
//! Owns what a refusal is called and what it means at each door: frame number, HTTP status, exit code, SDK error. Must
//! not know when a refusal happens: that is the engine's and the doors' business.

use std::fmt;

/// Why a request was refused, or a connection ended. The number is what frames carry and never changes its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u16)]
pub enum Code {
    /// A try met a holder.
    Held = 1,
    /// The wait is over.
    WaitTimeout = 2,
    /// The key has as many waiters as it may have.
    QueueFull = 3,
    /// A policy's quota is used up.
    Quota = 4,
    /// The session has as many waiting requests as it may have, or the sidecar as many sessions.
    TooMany = 5,
    /// The request was chosen to break a deadlock.
    Deadlock = 6,
    /// A policy refused.
    Denied = 7,
    /// The sidecar does not serve this user id.
    PeerRefused = 8,
    /// The lease is gone.
    LeaseLost = 9,
    /// The lease is somebody else's.
    NotHeld = 10,
    /// No such lease or register.
    NotFound = 11,
    /// A condition on a register's version failed.
    Conflict = 12,
    /// A fenced write came with a lease that is no longer the newest.
    StaleFence = 13,
    /// The key is in use with another limit.
    LimitMismatch = 14,
    /// The turn of a `once` is over.
    TurnClosed = 15,
    /// The lease can not be upgraded.
    NotUpgradable = 16,
    /// A frame, body, key or value exceeds its limit.
    TooLarge = 17,
    /// A field is malformed or not allowed.
    BadRequest = 18,
    /// The sidecar's locks do not reach as far as the client demands.
    ScopeTooSmall = 19,
    /// The store is away.
    StoreUnavailable = 20,
    /// The sidecar is going.
    Draining = 21,
    /// It is not known whether the request was carried out.
    OutcomeUnknown = 22,
    /// A bug of ours.
    Internal = 23,
    /// The client's boottime and the sidecar's differ: they are not on one host.
    ClockMismatch = 24,
}

/// The SDK errors that codes fold into: what a program decides on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Somebody else holds it.
    WaitTimeout,
    /// Too much is going on.
    QueueFull,
    /// Two owners waited for each other.
    Deadlock,
    /// Policy.
    Denied,
    /// The lease is gone.
    LeaseLost,
    /// Not yours.
    NotHeld,
    /// Nothing there.
    NotFound,
    /// What is there does not fit.
    Conflict,
    /// The request itself is wrong.
    Invalid,
    /// The store or the sidecar is away for now.
    StoreUnavailable,
    /// There is no sidecar to talk to.
    SidecarUnreachable,
    /// Done or not: unknown.
    OutcomeUnknown,
    /// A bug of ours.
    Internal,
}

/// One code's meaning at every door.
struct Row {
    code: Code,
    name: &'static str,
    http: u16,
    exit: u8,
    retry_after: bool,
    kind: Kind,
    advice: &'static str,
}

const fn row(
    code: Code,
    name: &'static str,
    http: u16,
    exit: u8,
    retry_after: bool,
    kind: Kind,
    advice: &'static str,
) -> Row {
    Row { code, name, http, exit, retry_after, kind, advice }
}

const RETRY: bool = true;
const FINAL: bool = false;

/// The table, in the order of the codes' numbers. HTTP never says 408: clients repeat a 408 on their own.
#[rustfmt::skip]
const TABLE: [Row; 24] = [
    row(Code::Held, "held", 409, 3, RETRY, Kind::WaitTimeout, "try again later, or ask with a wait"),
    row(Code::WaitTimeout, "wait_timeout", 409, 124, RETRY, Kind::WaitTimeout, "wait longer, or see `sidelock why KEY` for who holds it"),
    row(Code::QueueFull, "queue_full", 429, 3, RETRY, Kind::QueueFull, "back off; `waiters_per_key_max` bounds the queue"),
    row(Code::Quota, "quota", 429, 3, RETRY, Kind::QueueFull, "back off until the policy's counter resets"),
    row(Code::TooMany, "too_many", 429, 3, RETRY, Kind::QueueFull, "cancel or close something first, or raise the limit the message names"),
    row(Code::Deadlock, "deadlock", 409, 3, FINAL, Kind::Deadlock, "release what you hold, then start over; take keys in one order"),
    row(Code::Denied, "denied", 403, 4, FINAL, Kind::Denied, "the policy that is named decides; ask its owner"),
    row(Code::PeerRefused, "peer_refused", 403, 5, FINAL, Kind::SidecarUnreachable, "start the sidecar with --allow-uid for this user, or join the socket's group"),
    row(Code::LeaseLost, "lease_lost", 410, 6, FINAL, Kind::LeaseLost, "stop what the lease protected; acquire again to go on"),
    row(Code::NotHeld, "not_held", 403, 6, FINAL, Kind::NotHeld, "only who holds a lease can renew or release it"),
    row(Code::NotFound, "not_found", 404, 1, FINAL, Kind::NotFound, "check the id; a lease of an earlier life of the sidecar is gone too"),
    row(Code::Conflict, "conflict", 412, 1, FINAL, Kind::Conflict, "read the current version and decide again"),
    row(Code::StaleFence, "stale_fence", 412, 1, FINAL, Kind::Conflict, "somebody newer wrote; acquire the lock again first"),
    row(Code::LimitMismatch, "limit_mismatch", 409, 1, FINAL, Kind::Conflict, "use the limit in force, or wait until nobody uses the key"),
    row(Code::TurnClosed, "turn_closed", 409, 1, FINAL, Kind::Conflict, "the turn was finished or lost; enter again"),
    row(Code::NotUpgradable, "not_upgradable", 409, 1, FINAL, Kind::Conflict, "release the shared lease and acquire an exclusive one"),
    row(Code::TooLarge, "too_large", 413, 2, FINAL, Kind::Invalid, "send less; the message names the limit"),
    row(Code::BadRequest, "bad_request", 400, 2, FINAL, Kind::Invalid, "correct the field that the message names"),
    row(Code::ScopeTooSmall, "scope_too_small", 400, 2, FINAL, Kind::Invalid, "start the sidecar with --redis, or demand a smaller scope"),
    row(Code::StoreUnavailable, "store_unavailable", 503, 1, RETRY, Kind::StoreUnavailable, "try again; the sidecar reconnects to its store by itself"),
    row(Code::Draining, "draining", 503, 1, RETRY, Kind::StoreUnavailable, "the sidecar is shutting down; acquire again once a new one runs"),
    row(Code::OutcomeUnknown, "outcome_unknown", 504, 1, FINAL, Kind::OutcomeUnknown, "look at the state before you repeat it"),
    row(Code::Internal, "internal", 500, 1, FINAL, Kind::Internal, "this is a bug in Sidelock; please report it with the sidecar's log"),
    row(Code::ClockMismatch, "clock_mismatch", 400, 5, FINAL, Kind::SidecarUnreachable, "client and sidecar must share one host's CLOCK_BOOTTIME, time namespaces included"),
];

impl Code {
    /// All codes, in the order of their numbers.
    pub fn all() -> impl Iterator<Item = Code> {
        TABLE.iter().map(|row| row.code)
    }

    /// The code with this frame number, if this version knows it.
    pub fn from_number(number: u16) -> Option<Code> {
        let row = TABLE.get(usize::from(number).checked_sub(1)?)?;
        Some(row.code)
    }

    /// The code of this name.
    pub fn from_name(name: &str) -> Option<Code> {
        TABLE.iter().find(|row| row.name == name).map(|row| row.code)
    }

    /// What frames carry.
    pub fn number(self) -> u16 {
        self as u16
    }

    /// The word used in JSON, logs and messages: `wait_timeout`.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// Status of the HTTP answer.
    pub fn http_status(self) -> u16 {
        self.row().http
    }

    /// Exit code of the command line tool, before its command started.
    pub fn exit_code(self) -> u8 {
        self.row().exit
    }

    /// Whether the same request may succeed later, unchanged: HTTP sends `Retry-After`.
    pub fn retry_after(self) -> bool {
        self.row().retry_after
    }

    /// The SDK error it becomes.
    pub fn kind(self) -> Kind {
        self.row().kind
    }

    /// What the caller can do now.
    pub fn advice(self) -> &'static str {
        self.row().advice
    }

    fn row(self) -> &'static Row {
        &TABLE[self as usize - 1]
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn each_row_stands_at_its_codes_number() {
        for (index, row) in TABLE.iter().enumerate() {
            assert_eq!(row.code as usize, index + 1, "{}", row.name);
        }
    }

    #[test]
    fn numbers_and_names_lead_back_to_the_code() {
        for code in Code::all() {
            assert_eq!(Code::from_number(code.number()), Some(code));
            assert_eq!(Code::from_name(code.name()), Some(code));
        }
        assert_eq!(Code::from_number(0), None);
        assert_eq!(Code::from_number(TABLE.len() as u16 + 1), None);
        assert_eq!(Code::all().map(Code::name).collect::<HashSet<_>>().len(), TABLE.len());
    }

    /// The published contract, spelled out once more so that an edit of the table is noticed.
    #[test]
    fn status_and_exit_codes_are_the_published_ones() {
        let published = [
            (Code::Held, 409, 3, true),
            (Code::WaitTimeout, 409, 124, true),
            (Code::TooMany, 429, 3, true),
            (Code::Deadlock, 409, 3, false),
            (Code::Denied, 403, 4, false),
            (Code::PeerRefused, 403, 5, false),
            (Code::LeaseLost, 410, 6, false),
            (Code::NotHeld, 403, 6, false),
            (Code::NotFound, 404, 1, false),
            (Code::StaleFence, 412, 1, false),
            (Code::LimitMismatch, 409, 1, false),
            (Code::TooLarge, 413, 2, false),
            (Code::BadRequest, 400, 2, false),
            (Code::StoreUnavailable, 503, 1, true),
            (Code::OutcomeUnknown, 504, 1, false),
            (Code::Internal, 500, 1, false),
        ];
        for (code, http, exit, retry) in published {
            assert_eq!(
                (code.http_status(), code.exit_code(), code.retry_after()),
                (http, exit, retry),
                "{code}"
            );
        }
    }
}
