//! A file of cases, as types.
//!
//! Owns names and defaults: a case says only what matters to it.

use super::{Expect, Moment, Span};
use crate::model::{Mode, Operation};
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;

/// A file of cases.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suite {
    /// The file's name, without folders and `.case.toml`.
    #[serde(skip)]
    pub name: String,
    /// The policy's settings, for all cases that have none of their own.
    #[serde(default)]
    pub settings: toml::Table,
    /// The policy's zone; UTC if not said.
    #[serde(default = "utc")]
    pub timezone: String,
    /// Tables for `host.lookup`.
    #[serde(default)]
    pub tables: BTreeMap<String, BTreeMap<String, String>>,
    /// The cases, in the order of the file.
    #[serde(default, rename = "case")]
    pub cases: Vec<Case>,
}

/// One question and what is expected of the answer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// What it shows, in words.
    pub name: String,
    /// Settings in place of the file's.
    pub settings: Option<toml::Table>,
    /// When it is; noon of Monday, 5 January 2026 in the policy's zone if not said.
    pub at: Option<Moment>,
    /// What is asked of a policy.
    #[serde(default)]
    pub request: Asked,
    /// What an observer is told.
    #[serde(default)]
    pub events: Vec<Seen>,
    /// What is expected.
    pub expect: Expect,
}

impl Case {
    /// The moment of the case.
    pub fn moment(&self) -> Moment {
        self.at.unwrap_or(Moment::Wall(jiff::civil::datetime(2026, 1, 5, 12, 0, 0, 0)))
    }
}

/// A request; what is not said is as simple as can be: a lock of the key `k` that waits for ever.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields of `record request` in the WIT, which describes them")]
pub struct Asked {
    pub operation: Operation,
    /// One key; in place of `keys`.
    pub key: Option<String>,
    pub keys: Vec<String>,
    /// `permits` if permits or limit are said, else `exclusive`.
    pub mode: Option<Mode>,
    pub permits: Option<u32>,
    pub limit: Option<u32>,
    #[serde(deserialize_with = "finite")]
    pub ttl: Option<Span>,
    #[serde(deserialize_with = "finite")]
    pub max_hold: Option<Span>,
    #[serde(deserialize_with = "finite")]
    pub wait: Option<Span>,
    pub per: Option<Span>,
    pub priority: i32,
    pub attempt: u32,
    pub owner: Option<String>,
    #[serde(deserialize_with = "in_any_order")]
    pub meta: Vec<(String, String)>,
    pub uid: u32,
    pub gid: u32,
    pub session: u64,
    pub app: String,
    pub namespace: String,
    pub sidecar: String,
    pub load: AskedLoad,
    pub held: Vec<String>,
    /// What stands in the counters that the policy wants; 0 if not said.
    pub counters: BTreeMap<String, AskedCounter>,
}

impl Default for Asked {
    fn default() -> Asked {
        Asked {
            operation: Operation::Acquire,
            key: None,
            keys: Vec::new(),
            mode: None,
            permits: None,
            limit: None,
            ttl: None,
            max_hold: None,
            wait: None,
            per: None,
            priority: 0,
            attempt: 1,
            owner: None,
            meta: Vec::new(),
            uid: 1000,
            gid: 1000,
            session: 1,
            app: "app".into(),
            namespace: "default".into(),
            sidecar: "sidecar".into(),
            load: AskedLoad::default(),
            held: Vec::new(),
            counters: BTreeMap::new(),
        }
    }
}

impl Asked {
    /// Adds to `meta`, or says otherwise what stands there.
    pub fn add_meta(&mut self, name: &str, value: &str) {
        match self.meta.iter_mut().find(|(known, _)| known == name) {
            Some((_, said)) => value.clone_into(said),
            None => self.meta.push((name.to_owned(), value.to_owned())),
        }
    }

    /// The keys, however they were said.
    pub fn all_keys(&self) -> Vec<String> {
        match (&self.key, self.keys.as_slice()) {
            (Some(key), rest) => std::iter::once(key).chain(rest).cloned().collect(),
            (None, []) => vec!["k".to_owned()],
            (None, keys) => keys.to_vec(),
        }
    }
}

/// How busy the keys are.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields of `record load` in the WIT, which describes them")]
pub struct AskedLoad {
    pub held: u32,
    pub waiters: u32,
    pub oldest_wait: Option<Span>,
    pub held_by_session: u32,
    pub held_by_uid: u32,
}

/// What stands in a counter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AskedCounter {
    /// How many were counted in the window.
    pub value: u64,
    /// Until the window ends.
    pub resets_in: Option<Span>,
}

/// Written as the value alone, or as a table.
impl<'de> Deserialize<'de> for AskedCounter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<AskedCounter, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Whole {
            value: u64,
            resets_in: Option<Span>,
        }
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a number, or a table of `value` and `resets_in`")]
        enum Either {
            Value(u64),
            Whole(Whole),
        }
        Ok(match Either::deserialize(deserializer)? {
            Either::Value(value) => AskedCounter { value, resets_in: None },
            Either::Whole(whole) => AskedCounter { value: whole.value, resets_in: whole.resets_in },
        })
    }
}

/// An event that an observer is told.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields of `record event` in the WIT, which describes them")]
pub struct Seen {
    #[serde(default)]
    pub seq: u64,
    /// When it happened; the moment of the case if not said.
    pub at: Option<Moment>,
    pub kind: String,
    pub key: String,
    #[serde(default)]
    pub fence: u64,
    #[serde(default = "somebody")]
    pub uid: u32,
    #[serde(default = "some_app")]
    pub app: String,
    pub wait: Option<Span>,
    pub hold: Option<Span>,
    #[serde(default)]
    pub detail: String,
}

impl Suite {
    /// Reads a file of cases. The error says where it is wrong, and is for people.
    pub fn parse(name: &str, text: &str) -> Result<Suite, String> {
        let suite: Suite = toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())?;
        if suite.cases.is_empty() {
            return Err("there is no [[case]] in it".into());
        }
        let mut names: Vec<&str> = suite.cases.iter().map(|case| case.name.as_str()).collect();
        names.sort_unstable();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(format!("two cases are called {:?}", pair[0])),
            None => Ok(Suite { name: name.trim_end_matches(".case.toml").to_owned(), ..suite }),
        }
    }

    /// The settings of `case`, as the policy gets them.
    pub fn settings_of(&self, case: &Case) -> String {
        let settings = case.settings.as_ref().unwrap_or(&self.settings);
        // A table of TOML has no keys that are no texts and no numbers that are none, and so is always JSON.
        serde_json::to_string(settings).unwrap_or_else(|_| "{}".to_owned())
    }
}

/// A span, or `forever`, which is none.
fn finite<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Span>, D::Error> {
    let text = String::deserialize(deserializer)?;
    match text.as_str() {
        "forever" => Ok(None),
        text => Span::parse(text).map(Some).map_err(serde::de::Error::custom),
    }
}

fn in_any_order<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<(String, String)>, D::Error> {
    Ok(BTreeMap::deserialize(deserializer)?.into_iter().collect())
}

fn utc() -> String {
    "UTC".to_owned()
}

fn somebody() -> u32 {
    1000
}

fn some_app() -> String {
    "app".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        Suite::parse("x.case.toml", text).expect_err("it is wrong")
    }

    #[test]
    fn a_case_says_only_what_matters() {
        let suite = Suite::parse("x.case.toml", "[[case]]\nname = 'a'\nexpect = 'allow'").unwrap();
        let asked = &suite.cases[0].request;
        assert_eq!((suite.name.as_str(), suite.timezone.as_str()), ("x", "UTC"));
        assert_eq!(
            (asked.operation, asked.all_keys(), asked.uid),
            (Operation::Acquire, vec!["k".into()], 1000)
        );
    }

    #[test]
    fn settings_of_a_case_stand_in_for_the_files() {
        let text = "settings = {a = 1}\n[[case]]\nname='a'\nexpect='allow'\n[[case]]\nname='b'\nsettings={b=[2.5,'x']}\nexpect='allow'";
        let suite = Suite::parse("x", text).unwrap();
        assert_eq!(suite.settings_of(&suite.cases[0]), r#"{"a":1}"#);
        assert_eq!(suite.settings_of(&suite.cases[1]), r#"{"b":[2.5,"x"]}"#);
    }

    #[test]
    fn a_counter_is_a_number_or_a_table() {
        let text = "[[case]]\nname='a'\nrequest.counters = {a = 7, b = {value = 8, resets_in = '5s'}}\nexpect='allow'";
        let counters = &Suite::parse("x", text).unwrap().cases[0].request.counters;
        assert_eq!(counters["a"], AskedCounter { value: 7, resets_in: None });
        assert_eq!(counters["b"], AskedCounter { value: 8, resets_in: Some(Span(5000)) });
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, words) in [
            ("", "there is no [[case]]"),
            ("[[case]]\nname='a'\nexpect='maybe'", "unknown variant `maybe`"),
            ("[[case]]\nname='a'\nrequest={kee='x'}\nexpect='allow'", "unknown field `kee`"),
            ("[[case]]\nname='a'\nrequest={operation='steal'}\nexpect='allow'", "unknown variant `steal`"),
            ("[[case]]\nname='a'\nrequest={ttl='soon'}\nexpect='allow'", "`soon` is no duration"),
            ("[[case]]\nname='a'\nat='noon'\nexpect='allow'", "noon"),
            ("[[case]]\nname='a'", "missing field `expect`"),
            (
                "[[case]]\nname='a'\nexpect='allow'\n[[case]]\nname='a'\nexpect='allow'",
                "two cases are called \"a\"",
            ),
        ] {
            assert!(error(text).contains(words), "{text}: {}", error(text));
        }
    }
}
