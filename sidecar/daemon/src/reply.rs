//! The way out: what the engine says becomes what clients read.
//!
//! Owns the translation, the only place that sees engine and wire types on the way out, and the one match that gives each
//! refusal its row in the error table. Must not know connections.

use crate::outlet::Told;
use crate::problem::Problem;
use sidelock_engine::declaration::Party;
use sidelock_engine::store::Version;
use sidelock_engine::{
    self as engine, Cycle, Grant, LostReason, Notice, Refusal, Reply, RequestId, StoreTime, Time, WHOLE,
};
use sidelock_wire::{self as wire, CYCLE_EDGES_MAX, Code, CycleEdge, Detail, ToClient};
use std::time::Duration;

/// When to try again after a refusal that may pass, unless something better is known: queues move in less, stores come
/// back in about as much.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The frame for a message to a session.
pub(crate) fn frame(told: Told) -> ToClient<'static> {
    match told {
        Told::Reply { request: RequestId(request), reply } => answer(request, reply),
        Told::Notice(notice) => push(notice),
    }
}

fn answer(request: u64, reply: Reply) -> ToClient<'static> {
    match reply {
        Reply::Granted(grant) => ToClient::Granted(granted(request, &grant)),
        Reply::GrantedAll(grants) => {
            let leases = grants.iter().map(|(RequestId(number), grant)| granted(*number, grant)).collect();
            ToClient::GrantedAll { request, leases }
        }
        Reply::Renewed { deadline, cap, fence } | Reply::Downgraded { deadline, cap, fence } => {
            ToClient::Renewed(wire::Renewed { request, fence, deadline_ns: deadline.0, cap_ns: nanos(cap) })
        }
        Reply::Released => ToClient::Released { request },
        Reply::Done(success) => ToClient::Done(wire::Done {
            request,
            finished_at_ms: unix_ms(success.finished_at),
            result: success.result.to_vec().into(),
        }),
        Reply::Finished(_) => ToClient::Finished { request },
        Reply::Cancelled => ToClient::Cancelled { request },
        // Orders come through the operators' door, which speaks no frames.
        Reply::Unlocked(_) => {
            refused(request, Problem::new(Code::Internal, "no frame orders a forced unlock"))
        }
        Reply::Register(current) => {
            ToClient::RegisterValue { request, current: current.map_or(wire::Current::Absent, value) }
        }
        Reply::Unchanged => ToClient::RegisterValue { request, current: wire::Current::Unchanged },
        Reply::Written(etag) => ToClient::RegisterWritten { request, etag: Some(etag.to_string().into()) },
        Reply::Deleted => ToClient::RegisterWritten { request, etag: None },
        Reply::Refused(refusal) => refused(request, problem(&refusal)),
    }
}

/// A refusal under the number of its request.
pub(crate) fn refused(request: u64, problem: Problem) -> ToClient<'static> {
    ToClient::Refused(wire::Refused {
        request,
        code: problem.code,
        message: problem.message,
        detail: problem.detail,
        register: problem.register.map(|version| version_of(*version)),
    })
}

fn value(version: Version) -> wire::Current<'static> {
    wire::Current::Value(version_of(version))
}

fn version_of(version: Version) -> wire::Version<'static> {
    wire::Version { etag: version.etag.to_string().into(), value: version.value.to_vec().into() }
}

fn granted(request: u64, grant: &Grant) -> wire::Granted {
    wire::Granted {
        request,
        fence: grant.fence,
        deadline_ns: grant.deadline.0,
        cap_ns: nanos(grant.cap),
        secret: grant.secret.map(|secret| wire::Secret(secret.0)),
    }
}

fn push(notice: Notice) -> ToClient<'static> {
    match notice {
        Notice::Queued { request, ahead } => ToClient::Queued { request: request.0, ahead },
        Notice::Extended { until, except } => ToClient::Extended {
            until_ns: until.0,
            except: except.into_iter().map(|request| request.0).collect(),
        },
        Notice::AtRisk { request } => ToClient::AtRisk { request: request.0 },
        Notice::Lost { request, reason } => {
            ToClient::Lost { request: request.0, reason: lost_reason(reason) }
        }
        Notice::Draining => ToClient::Draining,
    }
}

/// As clients read the store's clock.
pub(crate) fn unix_ms(time: StoreTime) -> u64 {
    time.0 / 1_000
}

fn nanos(time: Option<Time>) -> Option<u64> {
    time.map(|time| time.0)
}

/// Why a lease was lost, in the doors' words.
pub(crate) fn lost_reason(reason: LostReason) -> wire::LostReason {
    match reason {
        LostReason::Expired => wire::LostReason::Expired,
        LostReason::MaxHold => wire::LostReason::MaxHold,
        LostReason::Store => wire::LostReason::Store,
        LostReason::Session => wire::LostReason::Session,
        LostReason::Forced => wire::LostReason::Forced,
        LostReason::SidecarRestarted => wire::LostReason::SidecarRestarted,
    }
}

/// The row of the error table for a refusal.
pub(crate) fn code(refusal: &Refusal) -> Code {
    match refusal {
        Refusal::Held | Refusal::UsedUp { waited: false, .. } => Code::Held,
        Refusal::WaitTimeout | Refusal::UsedUp { waited: true, .. } => Code::WaitTimeout,
        Refusal::QueueFull { .. } | Refusal::QueueFullByPolicy { .. } => Code::QueueFull,
        Refusal::TooMany { .. } | Refusal::TooDeep { .. } => Code::TooMany,
        Refusal::LimitMismatch { .. } => Code::LimitMismatch,
        Refusal::LeaseLost(_) => Code::LeaseLost,
        Refusal::NotHeld => Code::NotHeld,
        Refusal::NotFound => Code::NotFound,
        Refusal::BadRequest(_) => Code::BadRequest,
        Refusal::NotUpgradable(_) => Code::NotUpgradable,
        Refusal::UpgradeConflict { .. } => Code::Deadlock,
        Refusal::StoreUnavailable | Refusal::Quarantined { .. } => Code::StoreUnavailable,
        Refusal::Deadlock(_) => Code::Deadlock,
        Refusal::Draining => Code::Draining,
        Refusal::Absent => Code::NotFound,
        Refusal::Exists(_) | Refusal::Conflict(_) => Code::Conflict,
        Refusal::StaleFence => Code::StaleFence,
        Refusal::TurnClosed => Code::TurnClosed,
        Refusal::OutcomeUnknown => Code::OutcomeUnknown,
        Refusal::Denied(_) => Code::Denied,
    }
}

/// A refusal with all that is to be said about it.
pub(crate) fn problem(refusal: &Refusal) -> Problem {
    let code = code(refusal);
    let mut detail = Detail { retry_after: code.retry_after().then_some(RETRY_AFTER), ..Detail::default() };
    let what = match refusal {
        Refusal::QueueFull { limit } => {
            detail.limit = Some(*limit);
            format!("the key has {limit} waiters already (waiters_per_key_max)")
        }
        Refusal::QueueFullByPolicy { limit } => {
            detail.limit = Some(*limit);
            format!("the key has {limit} waiters already, and a policy lets no more wait (max_waiters)")
        }
        Refusal::TooMany { limit } => {
            detail.limit = Some(*limit);
            format!("the session has {limit} waiting requests already (in_flight_per_session_max)")
        }
        Refusal::TooDeep { limit } => {
            detail.limit = Some(*limit);
            format!(
                "the owner holds this lock {limit} times beyond the first already: release what is not needed"
            )
        }
        Refusal::LimitMismatch { limit: WHOLE } => {
            detail.limit = Some(WHOLE);
            "the key is in use as a lock, not as a semaphore".into()
        }
        Refusal::LimitMismatch { limit } => {
            detail.limit = Some(*limit);
            let permits = if *limit == 1 { "permit" } else { "permits" };
            format!("the key is in use as a semaphore of {limit} {permits}")
        }
        Refusal::LeaseLost(reason) => {
            detail.reason = Some(lost_reason(*reason));
            format!("the lease is gone ({})", reason.name())
        }
        Refusal::BadRequest(what) => (*what).to_owned(),
        Refusal::NotUpgradable(what) => (*what).to_owned(),
        Refusal::UpgradeConflict { upgrader, who, ring } => {
            detail.cycle = ring.as_deref().map(edges).unwrap_or_default();
            let who = who.as_deref().map_or(String::new(), |who| format!("{}, ", named(who)));
            format!(
                "another shared lease of this key is being upgraded ({who}sidecar {upgrader:.8}), and each would wait for the other's share"
            )
        }
        Refusal::UsedUp { permits, limit, free_in, .. } => {
            detail.retry_after = Some(*free_in);
            detail.limit = Some(*limit);
            used_up(*permits, *limit, *free_in)
        }
        Refusal::Held => "somebody holds it".into(),
        Refusal::WaitTimeout => "the wait is over and somebody still holds it".into(),
        Refusal::NotHeld => "the lease is somebody else's".into(),
        Refusal::NotFound => "there is no such lease".into(),
        Refusal::StoreUnavailable => "the store is away".into(),
        Refusal::Quarantined { left } => {
            detail.retry_after = Some(*left);
            return Problem { code, message: quarantined(*left).into(), field: None, detail, register: None };
        }
        Refusal::Deadlock(cycle) => {
            detail.cycle = edges(cycle);
            let next = detail.cycle.iter().cycle().skip(1);
            let waits: Vec<String> =
                detail.cycle.iter().zip(next).map(|(edge, next)| format!("{edge} {}", next.owner)).collect();
            format!("a deadlock: {}", waits.join("; "))
        }
        Refusal::OutcomeUnknown => "the store was asked and did not answer".into(),
        Refusal::Absent => return Problem::new(code, "the register has no value; put one"),
        Refusal::Exists(_) => "the register has a value already".into(),
        Refusal::Conflict(Some(_)) => "the register has another version".into(),
        Refusal::Conflict(None) => "the register has no value".into(),
        Refusal::StaleFence => "the lease that this was bound to no longer stands".into(),
        // The advice begins with why.
        Refusal::TurnClosed => return Problem::new(code, code.advice()),
        Refusal::Draining => "the request was not carried out".into(),
        Refusal::Denied(denial) => {
            let engine::Denial { policy, reason_code, message, retry_after } = &**denial;
            let no = wire::Denial { policy: (&**policy).into(), reason_code: (&**reason_code).into() };
            (detail.denial, detail.retry_after) = (Some(Box::new(no)), *retry_after);
            format!("policy {policy}: {message}")
        }
    };
    let message = match refusal {
        // It says what is wrong with what; the general advice would send people looking for a field.
        Refusal::BadRequest(_) => what.into(),
        _ => format!("{what}; {}", code.advice()).into(),
    };
    let register = match refusal {
        Refusal::Exists(current) => Some(current.clone()),
        Refusal::Conflict(current) => current.clone(),
        _ => None,
    };
    Problem { code, message, field: None, detail, register }
}

/// Who that is, for people.
fn named(who: &Party) -> String {
    let app = if who.app.is_empty() { "a client" } else { &who.app };
    let owner = who.owner.as_ref().map_or(String::new(), |owner| format!(", owner {}", owner.0));
    format!("{app}, uid {}{owner}", who.uid)
}

/// Nothing helps but to wait.
fn quarantined(left: Duration) -> String {
    let left = Duration::from_millis(u64::try_from(left.as_millis()).unwrap_or(u64::MAX));
    format!(
        "Redis lost its data, or may have, and with redis.guarantee strict nothing is granted until all earlier leases have run out: in {left:?}; a request with a wait keeps its place"
    )
}

/// Only time brings units back, and this much of it.
fn used_up(permits: u32, limit: u32, free_in: Duration) -> String {
    // Rounded up: whoever goes by it is not early.
    let free_in =
        Duration::from_millis(u64::try_from(free_in.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX));
    match (permits, limit) {
        (1, 1) => format!("the one unit of the rate is used; it is free in {free_in:?}"),
        (1, _) => format!("all {limit} units of the rate are used; the next is free in {free_in:?}"),
        _ => format!(
            "of {limit} units of the rate fewer than {permits} are left; so many are free in {free_in:?}"
        ),
    }
}

/// A mode, as clients read it.
pub(crate) fn mode(mode: engine::Mode) -> wire::Mode {
    match mode {
        engine::Mode::Exclusive => wire::Mode::Exclusive,
        engine::Mode::Shared => wire::Mode::Shared,
        engine::Mode::Permits { permits, limit } => wire::Mode::Permits { permits, limit },
    }
}

/// The ring of a deadlock, as clients read it.
fn edges(cycle: &Cycle) -> Vec<CycleEdge> {
    let edge = |edge: &engine::Edge| CycleEdge {
        key: edge.key.as_str().to_owned(),
        mode: mode(edge.mode),
        owner: edge.owner.as_ref().to_owned(),
        app: edge.app.as_ref().to_owned(),
        sidecar: edge.sidecar.0,
        waiting_for: edge.waiting_for,
        held_for: edge.held_for,
    };
    cycle.edges.iter().take(CYCLE_EDGES_MAX).map(edge).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_carries_its_numbers_and_what_to_do() {
        let told = problem(&Refusal::LimitMismatch { limit: 5 });
        assert_eq!((told.code, told.detail.limit), (Code::LimitMismatch, Some(5)));
        assert!(told.message.contains("5 permits") && told.message.contains(Code::LimitMismatch.advice()));
        let told = problem(&Refusal::LeaseLost(LostReason::MaxHold));
        assert_eq!(told.detail.reason, Some(wire::LostReason::MaxHold));
        assert_eq!(problem(&Refusal::StoreUnavailable).detail.retry_after, Some(RETRY_AFTER));
        assert_eq!(problem(&Refusal::NotHeld).detail.retry_after, None);
        let draining = problem(&Refusal::Draining).message;
        assert_eq!(draining.matches("shutting down").count(), 1, "{draining}");
    }

    /// Who goes by it is not early.
    #[test]
    fn when_a_unit_is_back_is_told_in_milliseconds_rounded_up() {
        let (second, bit) = (Duration::from_secs(1), Duration::from_nanos(1));
        for (free_in, told) in [(second - bit, "1s"), (second, "1s"), (second + bit, "1.001s"), (bit, "1ms")]
        {
            for permits in 1..=2 {
                let refusal = Refusal::UsedUp { permits, limit: 9, free_in, waited: false };
                let message = problem(&refusal).message;
                assert!(message.contains(&format!("free in {told};")), "{free_in:?}: {message}");
            }
        }
    }

    #[test]
    fn who_upgrades_first_is_named_as_far_as_it_is_known() {
        let upgrader = engine::Incarnation(0xbeef << 112);
        let told = |who| problem(&Refusal::UpgradeConflict { upgrader, who, ring: None }).message;
        assert!(told(None).contains("being upgraded (sidecar beef0000)"), "{}", told(None));
        let owner = Some(engine::Owner("task 3".into()));
        let who = Party { app: "billing".into(), uid: 7, owner, units: 1, since: StoreTime(0) };
        let anonymous = Party { app: "".into(), owner: None, ..who.clone() };
        for (who, named) in [
            (who, "(billing, uid 7, owner task 3, sidecar beef0000)"),
            (anonymous, "(a client, uid 7, sidecar beef0000)"),
        ] {
            let message = told(Some(who.into()));
            assert!(message.contains(named), "{message}");
        }
    }

    /// Both crates name the reasons: the words must agree.
    #[test]
    fn reasons_have_one_name() {
        for reason in [
            LostReason::Expired,
            LostReason::MaxHold,
            LostReason::Store,
            LostReason::Session,
            LostReason::Forced,
            LostReason::SidecarRestarted,
        ] {
            assert_eq!(lost_reason(reason).name(), reason.name());
        }
    }
}
