//! Policies: what an operator says of each in `[[policy]]`.
//!
//! Owns how it is written. Must not know what a policy is: whether the file is one shows when it is loaded.

use super::humane::MaybeSpan;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// One policy of the chain. They are asked in the order of the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Its name, as answers and metrics show it; not said: the file's, without its ending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The component. Watched: a new one replaces the old when it has passed its own checks.
    pub path: PathBuf,
    /// The only component that is accepted, by its SHA-256 in hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Patterns over keys, as in `[[class]]`; none: all keys.
    #[serde(rename = "match", default, skip_serializing_if = "Vec::is_empty")]
    pub patterns: Vec<String>,
    /// Operations that it is asked about.
    #[serde(default = "asked_about")]
    pub ops: Vec<Operation>,
    /// Whether what it says counts.
    #[serde(default)]
    pub mode: Enforcement,
    /// What becomes of a request when it can not decide.
    #[serde(default)]
    pub on_error: OnError,
    /// Processor time of one call; not said: 2 ms for a policy, 100 ms for an observer.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "MaybeSpan")]
    pub deadline: Option<Duration>,
    /// Linear memory of one instance, in bytes, or as a text such as `8MiB`; not said: 8 MiB, or twice what the guest begins
    /// with if that is more.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "write_bytes",
        deserialize_with = "read_bytes"
    )]
    pub memory: Option<u64>,
    /// The zone of its clock, by its name in the IANA database.
    #[serde(default = "utc")]
    pub timezone: String,
    /// Instances prepared ahead; not said: 8 of a guest that takes long to begin, 4 of another. With 0, each is made for its call.
    /// At most 128, and 240 of all policies together; who says nothing has what is left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prepared: Option<u32>,
    /// Tables that it can look things up in.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tables: BTreeMap<String, BTreeMap<String, String>>,
    /// Of an observer: the file that its lines are appended to; not said: the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<PathBuf>,
    /// Its own settings, which it checks itself.
    #[serde(default, skip_serializing_if = "toml::Table::is_empty")]
    #[cfg_attr(feature = "schema", schemars(with = "BTreeMap<String, serde_json::Value>"))]
    pub settings: toml::Table,
}

/// What a client can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// Locks and permits.
    Acquire,
    /// A timed lease is prolonged.
    Renew,
    /// A lease is given back: a no is recorded, and changes nothing.
    Release,
    /// An operator takes a key from its holders.
    Force,
    /// A turn of a once key.
    Once,
    /// A register is written or deleted.
    RegisterWrite,
}

/// Whether what a policy says counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Enforcement {
    /// It does.
    #[default]
    Enforce,
    /// It is counted in metrics, and nothing else comes of it.
    Monitor,
}

/// What becomes of a request when a policy can not decide.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum OnError {
    /// It is denied.
    #[default]
    Deny,
    /// As if there were no such policy.
    Abstain,
}

fn asked_about() -> Vec<Operation> {
    vec![Operation::Acquire, Operation::Once]
}

fn utc() -> String {
    "UTC".into()
}

const BYTE_UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

fn write_bytes<S: Serializer>(bytes: &Option<u64>, to: S) -> Result<S::Ok, S::Error> {
    let Some(bytes) = bytes else { return to.serialize_none() };
    match BYTE_UNITS.iter().find(|(_, size)| *bytes > 0 && bytes.is_multiple_of(*size)) {
        Some((unit, size)) => to.serialize_str(&format!("{}{unit}", bytes / size)),
        None => to.serialize_u64(*bytes),
    }
}

fn read_bytes<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Number(u64),
        Text(String),
    }
    let text = match Written::deserialize(from)? {
        Written::Number(bytes) => return Ok(Some(bytes)),
        Written::Text(text) => text,
    };
    let in_unit =
        |(unit, size): &(&str, u64)| text.strip_suffix(unit)?.trim().parse::<u64>().ok()?.checked_mul(*size);
    let wrong =
        || D::Error::custom(format!("`{text}` is no size; write a number of bytes, or 64KiB 8MiB 1GiB"));
    BYTE_UNITS.iter().find_map(in_unit).map(Some).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_read_as_it_is_written() {
        let policy: Policy = toml::from_str(
            "path = \"a.wasm\"\nmatch = [\"pay/**\"]\nops = [\"acquire\", \"register-write\"]\nmemory = \"64KiB\"\ndeadline = \"5ms\"\n[settings]\nmax = 3\n[tables.t]\na = \"b\"",
        )
        .unwrap();
        assert_eq!((policy.memory, policy.deadline), (Some(65_536), Some(Duration::from_millis(5))));
        assert_eq!(policy.ops, [Operation::Acquire, Operation::RegisterWrite]);
        assert_eq!(policy.settings["max"].as_integer(), Some(3));
        let again: Policy = toml::from_str(&toml::to_string(&policy).unwrap()).unwrap();
        assert_eq!(again, policy);
        let wrong = toml::from_str::<Policy>("path = \"a\"\nmemory = \"8 megs\"").unwrap_err();
        assert!(wrong.to_string().contains("8MiB"), "{wrong}");
        assert!(toml::from_str::<Policy>("path = \"a\"\nops = [\"aquire\"]").is_err());
    }
}
