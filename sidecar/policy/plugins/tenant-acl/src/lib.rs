//! tenant-acl: who may lock what, by the beginning of the key.
//!
//! The longest prefix that a key begins with decides. A request for several keys needs all of them.

use exports::sidelock::policy::{admission, settings};
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use sidelock::policy::types::{Decision, Denial, Peer, Request, Verdict};
use std::sync::OnceLock;

wit_bindgen::generate!({ path: "../../wit", world: "policy" });

struct TenantAcl;
export!(TenantAcl);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    rules: Vec<Rule>,
    /// What becomes of keys that no rule is about.
    #[serde(default)]
    others: Others,
}

/// Whose keys with this prefix are: who is in all lists that are there.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    prefix: String,
    #[serde(default, deserialize_with = "some")]
    apps: Vec<String>,
    #[serde(default, deserialize_with = "some")]
    uids: Vec<u32>,
    #[serde(default, deserialize_with = "some")]
    gids: Vec<u32>,
}

/// A list that is there has somebody in it: one that was emptied would let everybody in.
fn some<'de, D: Deserializer<'de>, T: Deserialize<'de>>(json: D) -> Result<Vec<T>, D::Error> {
    let list = Vec::deserialize(json)?;
    match list.is_empty() {
        true => Err(D::Error::custom("is empty; leave it out to let everybody in")),
        false => Ok(list),
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "snake_case")]
enum Others {
    #[default]
    Deny,
    Allow,
}

impl Rule {
    fn fits(&self, peer: &Peer) -> bool {
        (self.apps.is_empty() || self.apps.contains(&peer.app))
            && (self.uids.is_empty() || self.uids.contains(&peer.uid))
            && (self.gids.is_empty() || self.gids.contains(&peer.gid))
    }
}

impl Settings {
    fn parse(json: &str) -> Result<Settings, String> {
        let json = &mut serde_json::Deserializer::from_str(json);
        let settings: Settings = serde_path_to_error::deserialize(json).map_err(|error| error.to_string())?;
        if settings.rules.is_empty() {
            return Err("rules: there is none, so nobody could lock anything".into());
        }
        for (n, rule) in settings.rules.iter().enumerate() {
            if rule.prefix.is_empty() {
                return Err(format!("rules[{n}].prefix: is empty; `others` says what becomes of all other keys"));
            }
            if settings.rules[..n].iter().any(|earlier| earlier.prefix == rule.prefix) {
                return Err(format!("rules[{n}].prefix: {:?} has a rule already", rule.prefix));
            }
        }
        Ok(settings)
    }

    /// Why `peer` may not have `key`; none if they may.
    fn refuse(&self, key: &str, peer: &Peer) -> Option<Denial> {
        let of_key = self.rules.iter().filter(|rule| key.starts_with(&rule.prefix));
        let (reason_code, message) = match of_key.max_by_key(|rule| rule.prefix.len()) {
            Some(rule) if rule.fits(peer) => return None,
            Some(rule) => {
                ("not_yours", format!("keys below {:?} are not for app {:?} with uid {}", rule.prefix, peer.app, peer.uid))
            }
            None => match self.others {
                Others::Allow => return None,
                Others::Deny => ("unclaimed", format!("no rule is about {key:?}")),
            },
        };
        Some(Denial { reason_code: reason_code.into(), message, retry_after_ms: None })
    }
}

static SETTINGS: OnceLock<Settings> = OnceLock::new();

impl settings::Guest for TenantAcl {
    fn validate(json: String) -> Result<(), String> {
        Settings::parse(&json).map(|_| ())
    }

    fn configure(json: String) -> Result<Vec<String>, String> {
        SETTINGS.get_or_init(|| Settings::parse(&json).expect("validate found them good"));
        Ok(Vec::new())
    }
}

impl admission::Guest for TenantAcl {
    fn admit(request: Request) -> Decision {
        let settings = SETTINGS.get().expect("configure comes first");
        let refused = request.keys.iter().find_map(|key| settings.refuse(key, &request.peer));
        Decision {
            verdict: refused.map_or(Verdict::Allow, Verdict::Deny),
            count: Vec::new(),
            // It depends on the keys and on who asks, which are part of the question.
            cache_ms: 60_000,
        }
    }
}
