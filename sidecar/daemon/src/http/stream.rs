//! `?stream=1`: a lease for as long as the connection lasts, told line by line.
//!
//! Owns the events and their JSON. Must not know how leases are decided; the connection's end is the lease's end.

use super::call::{Call, Caller};
use super::lease::Lease;
use super::problem::ProblemDocument;
use super::response::{Answer, Gone, Writer, stream};
use crate::clock::boottime;
use crate::outlet::Told;
use crate::reply;
use serde::Serialize;
use sidelock_engine::{Grant, Notice, Reply, RequestId, Time};
use std::future::pending;
use tokio::time::sleep;
use utoipa::ToSchema;

/// One line of the answer.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum StreamEvent {
    /// It has to wait.
    Queued {
        /// Waiters of this sidecar ahead of it.
        ahead: u32,
    },
    /// It is held from here on.
    Granted(Lease),
    /// It is held for longer than was last told.
    Extended {
        /// Seconds until the deadline, from now.
        expires_in: f64,
        /// The deadline, in nanoseconds of `CLOCK_BOOTTIME`.
        deadline_boottime_ns: u64,
    },
    /// It could not be extended so far, and ends at its deadline unless an extension comes.
    AtRisk,
    /// It is gone: the last line.
    Lost {
        /// `expired`, `max_hold`, `store`, `session`, `forced` or `sidecar_restarted`.
        reason: &'static str,
    },
    /// The sidecar is about to go: finish, acquire elsewhere.
    Draining,
    /// It was not granted after all: the last line.
    Refused(ProblemDocument),
}

/// Waits for the first thing to tell: a refusal is still an answer of its own, with its own status.
/// `is_rate`: its units come back by the clock, and then it is over without a word.
pub(crate) async fn begin(caller: &Caller, call: Call, is_rate: bool) -> Result<Answer, ProblemDocument> {
    let first = loop {
        match call.next().await.ok_or_else(ProblemDocument::shutting_down)? {
            Told::Reply { reply: Reply::Refused(refusal), .. } => return Err(reply::problem(&refusal).into()),
            Told::Notice(Notice::Draining | Notice::Extended { .. }) => {}
            told => break told,
        }
    };
    let (writer, answer) = stream("application/x-ndjson");
    tokio::task::spawn_local(tell(caller.clone(), call, writer, first, is_rate));
    Ok(answer)
}

/// Tells until the lease or the connection is gone. Whichever side hung up decides what becomes of the lease (P6).
async fn tell(caller: Caller, call: Call, writer: Writer, first: Told, is_rate: bool) {
    let mut story = Story { caller: &caller, is_rate, granted: None };
    let told = story.write(&writer, first).await;
    let ended = match told {
        Ok(false) => go_on(&mut story, &call, &writer).await,
        Ok(true) => Ended::Told,
        Err(Gone) => Ended::Gone,
    };
    match ended {
        Ended::Gone if !caller.line.peer_left() => call.cut_off(),
        // The sidecar ended the session: a reader that stalls must not keep the connection either.
        Ended::CutOff => caller.line.hang_up(),
        Ended::Gone | Ended::Told => {}
    }
}

/// How a story ends.
enum Ended {
    /// The last line was written, or there is no more to tell.
    Told,
    /// The connection is gone.
    Gone,
    /// The driver ended the session.
    CutOff,
}

async fn go_on(story: &mut Story<'_>, call: &Call, writer: &Writer) -> Ended {
    loop {
        let told = tokio::select! {
            biased;
            told = call.next() => told,
            () = writer.gone() => return Ended::Gone,
            () = story.over() => return Ended::Told,
        };
        let Some(told) = told else { return Ended::CutOff };
        match story.write(writer, told).await {
            Ok(true) => return Ended::Told,
            Ok(false) => {}
            Err(Gone) => return Ended::Gone,
        }
    }
}

/// What has been told so far.
struct Story<'a> {
    caller: &'a Caller,
    is_rate: bool,
    granted: Option<Bounds>,
}

/// What limits an extension.
struct Bounds {
    request: RequestId,
    cap: Time,
}

impl Story<'_> {
    /// Until there is nothing to come.
    async fn over(&self) {
        match &self.granted {
            Some(Bounds { cap, .. }) if self.is_rate => sleep(cap.since(boottime())).await,
            _ => pending().await,
        }
    }

    /// Writes what is told, if it is for the reader; true after the last line.
    async fn write(&mut self, writer: &Writer, told: Told) -> Result<bool, Gone> {
        let Some(event) = self.event(told) else { return Ok(false) };
        let mut line = serde_json::to_vec(&event).expect("our own types have string keys");
        line.push(b'\n');
        writer.write(line).await?;
        Ok(matches!(event, StreamEvent::Lost { .. } | StreamEvent::Refused(_)))
    }

    fn event(&mut self, told: Told) -> Option<StreamEvent> {
        Some(match told {
            Told::Reply { request, reply: Reply::Granted(grant) } => self.granted(request, &grant),
            Told::Reply { reply: Reply::Refused(refusal), .. } => {
                StreamEvent::Refused(reply::problem(&refusal).into())
            }
            Told::Reply { .. } => return None,
            Told::Notice(Notice::Queued { ahead, .. }) => StreamEvent::Queued { ahead },
            Told::Notice(Notice::Extended { until, except }) => self.extended(until, &except)?,
            Told::Notice(Notice::AtRisk { .. }) => StreamEvent::AtRisk,
            Told::Notice(Notice::Lost { reason, .. }) => StreamEvent::Lost { reason: reason.name() },
            Told::Notice(Notice::Draining) => StreamEvent::Draining,
        })
    }

    fn granted(&mut self, request: RequestId, grant: &Grant) -> StreamEvent {
        self.granted = Some(Bounds { request, cap: grant.cap.unwrap_or(Time::MAX) });
        let identity = self.caller.door.gate.identity();
        StreamEvent::Granted(Lease::new(
            identity,
            None,
            grant.key.as_str(),
            grant.mode,
            grant.fence,
            grant.deadline,
        ))
    }

    fn extended(&self, until: Time, except: &[RequestId]) -> Option<StreamEvent> {
        let bounds = self.granted.as_ref().filter(|bounds| !except.contains(&bounds.request))?;
        let deadline = until.min(bounds.cap);
        Some(StreamEvent::Extended {
            expires_in: deadline.since(boottime()).as_secs_f64(),
            deadline_boottime_ns: deadline.0,
        })
    }
}
