//! What came of an order, as a line.

use sidelock_cases::line::Line;
use sidelock_client::{Error, Refusal, Value};
use std::io::Write;

/// Says it, whole: the driver reads lines.
pub(crate) fn say(number: &str, answer: &Line) {
    // A driver that has gone wants to hear nothing.
    let _ = writeln!(std::io::stdout().lock(), "{number} {answer}");
}

pub(crate) fn fences<'a>(leases: impl Iterator<Item = (&'a str, u64)>) -> Line {
    let (keys, fences): (Vec<_>, Vec<_>) = leases.map(|(key, fence)| (key, fence.to_string())).unzip();
    Line::new(["lease"]).with_list("keys", keys).with_list("fence", fences)
}

pub(crate) fn value(value: &Value) -> Line {
    Line::new(["value"]).with("value", String::from_utf8_lossy(&value.value)).with("etag", &value.etag)
}

pub(crate) fn absent() -> Line {
    Line::new(["absent"])
}

/// All that a program can decide on.
pub(crate) fn error(error: &Error) -> Line {
    let (kind, refusal) = kind(error);
    let code = error.code().map_or("unreachable", |code| code.name());
    let mut line = Line::new(["error"]).with("kind", kind).with("code", code).with("message", error);
    if let Error::LeaseLost { reason, .. } = error {
        line = line.with("reason", reason.name());
    }
    if let Some(after) = error.retry_after() {
        line = line.with("retry_after", after.as_millis());
    }
    if let Some(limit) = refusal.and_then(|refusal| refusal.limit) {
        line = line.with("limit", limit);
    }
    if let Some(current) = refusal.and_then(|refusal| refusal.current.as_ref()) {
        line = line.with("current", String::from_utf8_lossy(&current.value)).with("etag", &current.etag);
    }
    if let Some(denial) = refusal.and_then(|refusal| refusal.denial.as_ref()) {
        line = line.with("policy", &denial.policy).with("reason_code", &denial.reason_code);
    }
    let cycle = error.cycle();
    if cycle.is_empty() {
        return line;
    }
    line.with_list("cycle_owners", cycle.iter().map(|edge| &edge.owner))
        .with_list("cycle_keys", cycle.iter().map(|edge| &edge.key))
}

fn kind(error: &Error) -> (&'static str, Option<&Refusal>) {
    match error {
        Error::WaitTimeout(refusal) => ("WaitTimeout", Some(refusal)),
        Error::QueueFull(refusal) => ("QueueFull", Some(refusal)),
        Error::Deadlock(refusal) => ("Deadlock", Some(refusal)),
        Error::Denied(refusal) => ("Denied", Some(refusal)),
        Error::LeaseLost { .. } => ("LeaseLost", None),
        Error::NotHeld(refusal) => ("NotHeld", Some(refusal)),
        Error::NotFound(refusal) => ("NotFound", Some(refusal)),
        Error::Conflict(refusal) => ("Conflict", Some(refusal)),
        Error::Invalid(refusal) => ("Invalid", Some(refusal)),
        Error::StoreUnavailable(refusal) => ("StoreUnavailable", Some(refusal)),
        Error::SidecarUnreachable { .. } => ("SidecarUnreachable", None),
        Error::OutcomeUnknown { .. } => ("OutcomeUnknown", None),
        Error::Internal(refusal) => ("Internal", Some(refusal)),
        _ => ("an error that this player does not know", None),
    }
}
