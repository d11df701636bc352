//! Keys that begin with `prefix` are for one app alone.

use exports::sidelock::policy::{admission, settings};
use serde::Deserialize;
use sidelock::policy::types::{Decision, Denial, Request, Verdict};
use std::sync::OnceLock;

wit_bindgen::generate!({ path: "wit", world: "policy" });

struct Policy;
export!(Policy);

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    prefix: String,
    app: String,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { prefix: "private/".into(), app: "owner".into() }
    }
}

fn parse(json: &str) -> Result<Settings, String> {
    let json = &mut serde_json::Deserializer::from_str(json);
    serde_path_to_error::deserialize(json).map_err(|error| error.to_string())
}

/// An instance lives for one decision: what `configure` leaves here, `admit` finds, and nobody after it.
static SETTINGS: OnceLock<Settings> = OnceLock::new();

impl settings::Guest for Policy {
    fn validate(json: String) -> Result<(), String> {
        parse(&json).map(|_| ())
    }

    fn configure(json: String) -> Result<Vec<String>, String> {
        let settings = parse(&json)?;
        SETTINGS.get_or_init(|| settings);
        // The counters that we want: none.
        Ok(Vec::new())
    }
}

impl admission::Guest for Policy {
    fn admit(request: Request) -> Decision {
        let settings = SETTINGS.get().expect("configure comes first");
        let private = request.keys.iter().find(|key| key.starts_with(&settings.prefix));
        let verdict = match private {
            None => Verdict::Abstain,
            Some(_) if request.peer.app == settings.app => Verdict::Allow,
            Some(key) => Verdict::Deny(Denial {
                reason_code: "private".into(),
                message: format!("{key:?} is for the app {:?}", settings.app),
                retry_after_ms: None,
            }),
        };
        // The answer depends on nothing that changes: the sidecar may give it again for a minute without asking.
        Decision { verdict, count: Vec::new(), cache_ms: 60_000 }
    }
}
