//! From an event of the engine to what observers are told.
//!
//! Owns the words. Must not know who observes.

use crate::clock::realtime_us;
use crate::reply;
use sidelock_engine::{Client, Event, EventKind, Fence, Refusal};
use sidelock_policy::model;
use std::sync::Arc;
use std::time::Duration;

/// The user id of nobody, where a timed lease ends after its session.
const NOBODY: u32 = u32::MAX;

/// The event, now.
pub(super) fn told(event: &Event) -> model::Event {
    let Words { kind, fence, waited, held, detail } = words(&event.kind);
    let client = event.client.clone().unwrap_or_else(|| Client { uid: NOBODY, app: "".into() });
    let ms = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    model::Event {
        seq: 0,
        unix_ms: realtime_us() / 1_000,
        kind: kind.into(),
        key: event.key.as_str().into(),
        fence,
        uid: client.uid,
        app: client.app,
        wait_ms: ms(waited),
        hold_ms: ms(held),
        detail,
    }
}

#[derive(Default)]
struct Words {
    kind: &'static str,
    fence: Fence,
    waited: Duration,
    held: Duration,
    detail: Arc<str>,
}

fn words(kind: &EventKind) -> Words {
    let base = Words::default();
    match kind {
        EventKind::Queued => Words { kind: "queued", ..base },
        EventKind::Granted { fence, path, waited } => {
            let detail = path.name().into();
            Words { kind: "granted", fence: *fence, waited: *waited, detail, ..base }
        }
        EventKind::Refused { refusal: Refusal::Denied(denial), waited } => {
            let detail = format!("{}: {}: {}", denial.policy, denial.reason_code, denial.message);
            Words { kind: "denied", waited: *waited, detail: detail.into(), ..base }
        }
        EventKind::Refused { refusal, waited } => {
            Words { kind: "refused", waited: *waited, detail: reply::code(refusal).name().into(), ..base }
        }
        EventKind::Cancelled { waited } => Words { kind: "cancelled", waited: *waited, ..base },
        EventKind::Released { fence, held } => Words { kind: "released", fence: *fence, held: *held, ..base },
        EventKind::Downgraded { fence } => Words { kind: "downgraded", fence: *fence, ..base },
        EventKind::Forced { order, .. } => {
            let detail = format!("by user {}: {}", order.by, order.reason);
            Words { kind: "forced", detail: detail.into(), ..base }
        }
        EventKind::Skipped { waited } => Words { kind: "skipped", waited: *waited, ..base },
        EventKind::Finished { fence, held } => Words { kind: "finished", fence: *fence, held: *held, ..base },
        EventKind::Lost { fence, held, reason } => {
            Words { kind: "lost", fence: *fence, held: *held, detail: reason.name().into(), ..base }
        }
    }
}
