//! What is expected of an answer.
//!
//! Owns how it is written: one word, or a table with one answer and what more is expected of it.

use super::Span;
use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;

/// What is expected of an answer. Exactly one of the first six is said; what is not said of the rest is not looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expect {
    /// The answer.
    pub answer: Answer,
    /// Words that the denial's message has in it.
    pub message: Option<String>,
    /// When to ask again.
    pub retry_after: Option<Span>,
    /// The names that are counted, in order.
    pub count: Option<Vec<String>>,
    /// For how long the answer may be given again.
    pub cache: Option<Span>,
    /// The counters that the policy wants, in order.
    pub counters: Option<Vec<String>>,
    /// Words that a logged line has in it.
    pub log: Option<String>,
}

/// The answer itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Answer {
    /// `allow`.
    #[default]
    Allow,
    /// `abstain`.
    Abstain,
    /// `edit`, with exactly these edits.
    Edit(Edits),
    /// `deny`, with this reason code.
    Deny(String),
    /// The settings are refused, in a sentence with these words.
    BadSettings(String),
    /// The observer writes exactly these lines.
    Lines(Vec<String>),
}

/// Edits that are expected; what is not said must not be edited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields of `record edits` in the WIT, which describes them")]
pub struct Edits {
    pub key: Option<String>,
    pub ttl: Option<Span>,
    pub max_hold: Option<Span>,
    pub wait: Option<Span>,
    pub priority: Option<i32>,
    pub max_waiters: Option<u32>,
}

/// The answers that are a word.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Word {
    Allow,
    Abstain,
}

/// The table, as it is written.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Table {
    allow: bool,
    abstain: bool,
    edit: Option<Edits>,
    deny: Option<String>,
    bad_settings: Option<String>,
    lines: Option<Vec<String>>,
    message: Option<String>,
    retry_after: Option<Span>,
    count: Option<Vec<String>>,
    cache: Option<Span>,
    counters: Option<Vec<String>>,
    log: Option<String>,
}

impl Table {
    fn into_expect(self) -> Result<Expect, &'static str> {
        let mut answers = [
            self.allow.then_some(Answer::Allow),
            self.abstain.then_some(Answer::Abstain),
            self.edit.map(Answer::Edit),
            self.deny.map(Answer::Deny),
            self.bad_settings.map(Answer::BadSettings),
            self.lines.map(Answer::Lines),
        ]
        .into_iter()
        .flatten();
        let (Some(answer), None) = (answers.next(), answers.next()) else {
            return Err("say exactly one of: allow = true, abstain = true, edit, deny, bad_settings, lines");
        };
        if !matches!(answer, Answer::Deny(_)) && (self.message.is_some() || self.retry_after.is_some()) {
            return Err("message and retry_after belong to deny");
        }
        let Table { message, retry_after, count, cache, counters, log, .. } = self;
        Ok(Expect { answer, message, retry_after, count, cache, counters, log })
    }
}

impl<'de> Deserialize<'de> for Expect {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Expect, D::Error> {
        struct WordOrTable;
        impl<'de> Visitor<'de> for WordOrTable {
            type Value = Expect;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"allow\", \"abstain\" or a table")
            }

            fn visit_str<E: Error>(self, word: &str) -> Result<Expect, E> {
                let answer = match Word::deserialize(StrDeserializer::new(word))? {
                    Word::Allow => Answer::Allow,
                    Word::Abstain => Answer::Abstain,
                };
                Ok(Expect { answer, ..Expect::default() })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Expect, A::Error> {
                let table = Table::deserialize(MapAccessDeserializer::new(map))?;
                table.into_expect().map_err(A::Error::custom)
            }
        }
        deserializer.deserialize_any(WordOrTable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Expect, String> {
        #[derive(Deserialize)]
        struct Case {
            expect: Expect,
        }
        toml::from_str::<Case>(text).map(|case| case.expect).map_err(|error| error.to_string())
    }

    #[test]
    fn one_word_or_a_table() {
        assert_eq!(parse("expect = 'abstain'").unwrap().answer, Answer::Abstain);
        let edit = parse("expect = { edit = { wait = '5s' }, cache = '1m' }").unwrap();
        assert_eq!(edit.answer, Answer::Edit(Edits { wait: Some(Span(5000)), ..Edits::default() }));
        assert_eq!(edit.cache, Some(Span(60_000)));
        assert_eq!(parse("expect.lines = []").unwrap().answer, Answer::Lines(Vec::new()));
    }

    #[test]
    fn exactly_one_answer() {
        for text in [
            "expect = {}",
            "expect = { allow = true, deny = 'x' }",
            "expect = { allow = false }",
            "expect = { cache = '1s' }",
        ] {
            assert!(parse(text).unwrap_err().contains("say exactly one of"), "{text}");
        }
        assert!(parse("expect = { allow = true, message = 'x' }").unwrap_err().contains("belong to deny"));
        assert!(
            parse("expect = { deny = 'x', reason = 'y' }").unwrap_err().contains("unknown field `reason`")
        );
        assert!(parse("expect = 7").unwrap_err().contains("or a table"));
    }
}
