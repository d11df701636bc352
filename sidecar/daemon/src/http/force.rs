//! A forced unlock, ordered by an operator.
//!
//! Owns the order's JSON and its answer's. Must not know what is taken from whom: that is the store's decision.

use super::Door;
use super::body::{self, Fields};
use super::lease::unexpected;
use super::problem::ProblemDocument;
use super::response::{Answer, json};
use crate::clock::{boottime, realtime_us};
use crate::handle::Peer;
use crate::outlet::{Inbox, Told};
use crate::reply;
use crate::wall::rfc3339;
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use sidelock_engine::{Reply, Time, Unlocked, Victim, WHOLE};
use std::time::Duration;

/// What the sessions of operators are called.
const APP: &str = "operator";
/// A session of an operator has one request, and this is its number.
const REQUEST: u64 = 1;

/// An order.
#[derive(Default, Deserialize)]
pub(crate) struct ForceBody {
    /// Why, in a sentence: for the log of every sidecar that is concerned, and for whoever watches.
    reason: Option<String>,
}

impl Fields for ForceBody {
    const NAMES: &'static [&'static str] = &["reason"];
}

/// What came of it.
#[derive(Serialize)]
struct ForceAnswer {
    key: String,
    /// Sidecars that had the key; none: it was free.
    victims: Vec<VictimAnswer>,
    /// Until then a holder that has not heard may go on, and only its fence keeps it from what it must not write.
    fenced_until: Option<String>,
    /// The same in seconds from now.
    fenced_for: f64,
}

#[derive(Serialize)]
struct VictimAnswer {
    sidecar: String,
    /// Units of a semaphore, or of readers; absent for all of a lock.
    #[serde(skip_serializing_if = "Option::is_none")]
    units: Option<u32>,
    /// Seconds for which its holders may still believe in their leases.
    expires_in: f64,
}

/// `POST`: nobody holds the key after this, whoever did.
pub(crate) async fn force_unlock(
    door: &Door,
    peer: Peer,
    key: &[u8],
    body: &[u8],
) -> Result<Answer, ProblemDocument> {
    let ForceBody { reason } = body::parse(body)?;
    let reason =
        reason.ok_or_else(|| ProblemDocument::bad_field("reason", "has to be given: why, in a sentence"))?;
    let inbox = Inbox::new();
    let session = door.handle.open(peer, APP, inbox.clone());
    let key = door.gate.key(key)?;
    session.send(door.gate.force(session.id(), REQUEST, key.clone(), peer.uid, &reason)?);
    loop {
        match inbox.recv().await {
            Some(Told::Reply { reply: Reply::Unlocked(unlocked), .. }) => {
                return Ok(json(StatusCode::OK, &ForceAnswer::new(key.as_str(), &unlocked)));
            }
            Some(Told::Reply { reply: Reply::Refused(refusal), .. }) => {
                return Err(reply::problem(&refusal).into());
            }
            Some(Told::Reply { reply, .. }) => return Err(unexpected(&reply)),
            Some(Told::Notice(_)) => {}
            None => return Err(ProblemDocument::shutting_down()),
        }
    }
}

impl ForceAnswer {
    fn new(key: &str, unlocked: &Unlocked) -> ForceAnswer {
        let now = boottime();
        let left = unlocked.fenced_until().map(|until| until.since(now));
        ForceAnswer {
            key: key.to_owned(),
            victims: unlocked.victims.iter().map(|victim| VictimAnswer::new(victim, now)).collect(),
            fenced_until: left.map(|left| rfc3339(Duration::from_micros(realtime_us()) + left)),
            fenced_for: left.unwrap_or_default().as_secs_f64(),
        }
    }
}

impl VictimAnswer {
    fn new(victim: &Victim, now: Time) -> VictimAnswer {
        VictimAnswer {
            sidecar: victim.sidecar.to_string(),
            units: (victim.units != WHOLE).then_some(victim.units),
            expires_in: victim.until.since(now).as_secs_f64(),
        }
    }
}
