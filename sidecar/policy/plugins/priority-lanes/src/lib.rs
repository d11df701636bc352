//! priority-lanes: who waits in which lane, whatever priority they ask for.
//!
//! The first lane that fits decides. A lane can bound its queue, so that what is unimportant gives way early.

use exports::sidelock::policy::{admission, settings};
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use sidelock::policy::types::{Decision, Edits, Operation, Request, Verdict};
use std::sync::OnceLock;

wit_bindgen::generate!({ path: "../../wit", world: "policy" });

struct PriorityLanes;
export!(PriorityLanes);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    lanes: Vec<Lane>,
}

/// What of `prefix`, `apps` and `uids` is there must fit; a lane with none of them is for everybody.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Lane {
    name: String,
    #[serde(default)]
    prefix: String,
    #[serde(default, deserialize_with = "some")]
    apps: Vec<String>,
    #[serde(default, deserialize_with = "some")]
    uids: Vec<u32>,
    priority: i32,
    max_waiters: Option<u32>,
}

/// A list that is there has somebody in it: one that was emptied would let everybody in.
fn some<'de, D: Deserializer<'de>, T: Deserialize<'de>>(json: D) -> Result<Vec<T>, D::Error> {
    let list = Vec::deserialize(json)?;
    match list.is_empty() {
        true => Err(D::Error::custom("is empty; leave it out to let everybody in")),
        false => Ok(list),
    }
}

impl Lane {
    fn fits(&self, request: &Request) -> bool {
        request.keys.iter().all(|key| key.starts_with(&self.prefix))
            && (self.apps.is_empty() || self.apps.contains(&request.peer.app))
            && (self.uids.is_empty() || self.uids.contains(&request.peer.uid))
    }

    fn is_for_everybody(&self) -> bool {
        self.prefix.is_empty() && self.apps.is_empty() && self.uids.is_empty()
    }
}

impl Settings {
    fn parse(json: &str) -> Result<Settings, String> {
        let json = &mut serde_json::Deserializer::from_str(json);
        let settings: Settings = serde_path_to_error::deserialize(json).map_err(|error| error.to_string())?;
        let lanes = &settings.lanes;
        if lanes.is_empty() {
            return Err("lanes: there is none".into());
        }
        for (n, lane) in lanes.iter().enumerate() {
            if !(-100..=100).contains(&lane.priority) {
                return Err(format!("lanes[{n}].priority: {} is not between -100 and 100", lane.priority));
            }
            if lane.is_for_everybody() && n + 1 < lanes.len() {
                let (name, next) = (&lane.name, &lanes[n + 1].name);
                return Err(format!("lanes[{n}]: {name:?} is for everybody, so nobody would come to {next:?}"));
            }
        }
        Ok(settings)
    }
}

static SETTINGS: OnceLock<Settings> = OnceLock::new();

impl settings::Guest for PriorityLanes {
    fn validate(json: String) -> Result<(), String> {
        Settings::parse(&json).map(|_| ())
    }

    fn configure(json: String) -> Result<Vec<String>, String> {
        SETTINGS.get_or_init(|| Settings::parse(&json).expect("validate found them good"));
        Ok(Vec::new())
    }
}

impl admission::Guest for PriorityLanes {
    fn admit(request: Request) -> Decision {
        let settings = SETTINGS.get().expect("configure comes first");
        // Who renews, say, waits in no queue.
        let queues = matches!(request.operation, Operation::Acquire | Operation::Once);
        let lane = settings.lanes.iter().find(|lane| queues && lane.fits(&request));
        let verdict = lane.map_or(Verdict::Abstain, |lane| {
            Verdict::Edit(Edits {
                key: None,
                ttl_ms: None,
                max_hold_ms: None,
                wait_ms: None,
                priority: Some(lane.priority),
                max_waiters: lane.max_waiters,
            })
        });
        // It depends on the keys and on who asks, which are part of the question.
        Decision { verdict, count: Vec::new(), cache_ms: 60_000 }
    }
}
