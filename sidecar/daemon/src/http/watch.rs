//! `/v1/watch`: what happens, as it happens.
//!
//! Owns the events' JSON and the two ways of writing them. Must not know who causes them.

use super::call::Caller;
use super::path::Query;
use super::response::{Answer, Gone, Writer, stream};
use crate::watch::Watch;
use hyper::header::{ACCEPT, HeaderMap};
use serde::Serialize;
use sidelock_engine::{Event, EventKind, Fence};
use std::time::Duration;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use utoipa::ToSchema;

/// One event.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct WatchEvent {
    /// When, in nanoseconds of `CLOCK_BOOTTIME`.
    at_boottime_ns: u64,
    /// What: `queued`, `granted`, `refused`, `cancelled`, `released`, `downgraded`, `lost`, `forced`, `skipped` or `finished`;
    /// or `missed`, with `count` and nothing else: so many events are missing here, since the reader was too slow.
    event: &'static str,
    /// The key.
    key: String,
    /// `exclusive`, `shared` or `permits`.
    mode: &'static str,
    /// Whose session.
    session: u64,
    /// Which acquire of the session.
    request: u64,
    /// The fence token.
    #[serde(skip_serializing_if = "Option::is_none")]
    fence: Option<Fence>,
    /// Seconds that the acquire waited.
    #[serde(skip_serializing_if = "Option::is_none")]
    waited: Option<f64>,
    /// Seconds that the lease was held.
    #[serde(skip_serializing_if = "Option::is_none")]
    held: Option<f64>,
    /// Of a grant: `handoff`, `retained` or `store`. Of a refusal: its code. Of a loss: its reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'static str>,
    /// Of a forced unlock: the user id of who ordered it.
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<u32>,
    /// Of a forced unlock: why, in their words.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// The reader was too slow: so many events are missing here.
#[derive(Serialize)]
struct Missed {
    event: &'static str,
    count: u64,
}

/// How events are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// A line of JSON each.
    Lines,
    /// Server-sent events (the HTML standard's `EventSource`).
    ServerSent,
}

/// `GET`: events from now on, of keys that begin with `prefix`.
pub(crate) fn watch(caller: &Caller, query: &Query, headers: &HeaderMap) -> Answer {
    let format = Format::wanted(headers);
    let prefix = query.get("prefix").unwrap_or_default().to_owned();
    let (writer, answer) = stream(format.media_type());
    tokio::task::spawn_local(tell(caller.door.handle.watch(), writer, format, prefix));
    answer
}

async fn tell(mut events: Receiver<Watch>, writer: Writer, format: Format, prefix: String) {
    loop {
        let event = tokio::select! {
            event = events.recv() => event,
            () = writer.gone() => return,
        };
        let written = match event {
            Ok(watch) if !watch.event.key.as_str().starts_with(&prefix) => Ok(()),
            Ok(watch) => {
                let event = WatchEvent::new(&watch);
                write(&writer, format, event.event, &event).await
            }
            Err(RecvError::Lagged(count)) => {
                write(&writer, format, "missed", &Missed { event: "missed", count }).await
            }
            Err(RecvError::Closed) => return,
        };
        if written == Err(Gone) {
            return;
        }
    }
}

async fn write(writer: &Writer, format: Format, name: &str, event: &impl Serialize) -> Result<(), Gone> {
    let json = serde_json::to_string(event).expect("our own types have string keys");
    match format {
        Format::Lines => writer.write(json + "\n").await,
        Format::ServerSent => writer.write(format!("event: {name}\ndata: {json}\n\n")).await,
    }
}

impl Format {
    fn wanted(headers: &HeaderMap) -> Format {
        let accepts = |media_type: &str| {
            headers
                .get_all(ACCEPT)
                .iter()
                .filter_map(|value| value.to_str().ok())
                .any(|value| value.contains(media_type))
        };
        if accepts("text/event-stream") { Format::ServerSent } else { Format::Lines }
    }

    fn media_type(self) -> &'static str {
        match self {
            Format::Lines => "application/x-ndjson",
            Format::ServerSent => "text/event-stream",
        }
    }
}

impl WatchEvent {
    fn new(watch: &Watch) -> WatchEvent {
        let Event { kind, key, mode, session, request, client: _ } = &*watch.event;
        let seconds = |span: &Duration| Some(span.as_secs_f64());
        let base = WatchEvent {
            at_boottime_ns: watch.at.0,
            event: "",
            key: key.as_str().to_owned(),
            mode: mode.name(),
            session: session.0,
            request: request.0,
            fence: None,
            waited: None,
            held: None,
            detail: None,
            by: None,
            reason: None,
        };
        match kind {
            EventKind::Queued => WatchEvent { event: "queued", ..base },
            EventKind::Granted { fence, path, waited } => {
                let detail = Some(path.name());
                WatchEvent { event: "granted", fence: Some(*fence), waited: seconds(waited), detail, ..base }
            }
            EventKind::Refused { refusal, waited } => {
                let detail = Some(crate::reply::code(refusal).name());
                WatchEvent { event: "refused", waited: seconds(waited), detail, ..base }
            }
            EventKind::Cancelled { waited } => {
                WatchEvent { event: "cancelled", waited: seconds(waited), ..base }
            }
            EventKind::Released { fence, held } => {
                WatchEvent { event: "released", fence: Some(*fence), held: seconds(held), ..base }
            }
            EventKind::Downgraded { fence } => {
                WatchEvent { event: "downgraded", fence: Some(*fence), ..base }
            }
            EventKind::Forced { order, .. } => {
                let reason = Some(order.reason.to_string());
                WatchEvent { event: "forced", by: Some(order.by), reason, ..base }
            }
            EventKind::Skipped { waited } => WatchEvent { event: "skipped", waited: seconds(waited), ..base },
            EventKind::Finished { fence, held } => {
                WatchEvent { event: "finished", fence: Some(*fence), held: seconds(held), ..base }
            }
            EventKind::Lost { fence, held, reason } => {
                let detail = Some(reason.name());
                WatchEvent { event: "lost", fence: Some(*fence), held: seconds(held), detail, ..base }
            }
        }
    }
}
