//! What things are called in Redis.
//!
//! Owns the escaping that keeps two tenants' names apart whatever they chose. Must not know what is stored there.

use sidelock_engine::{Incarnation, Key, Space};
use std::borrow::Cow;

/// Part of every name: a version of Sidelock that lays its records out in an incompatible way takes the next number.
const LAYOUT: &str = "1";

/// The names of one namespace.
#[derive(Clone, Debug)]
pub(super) struct Names {
    /// `<prefix>:<layout>:<namespace>:`
    root: String,
}

impl Names {
    pub(super) fn new(prefix: &str, namespace: &str) -> Names {
        Names { root: format!("{}:{LAYOUT}:{}:", escape(prefix), escape(namespace)) }
    }

    /// Where the record of a key is. The braces make Redis Cluster keep all that belongs to the key in one slot.
    pub(super) fn record(&self, key: &Key) -> String {
        format!("{}{{{}}}:{}", self.root, escape(key.as_str()), key.space().name())
    }

    /// What a strict store keeps of itself, see `scripts/strict.lua`. No key is empty.
    pub(super) fn marker(&self) -> String {
        format!("{}{{}}:marker", self.root)
    }

    /// Everything of the namespace, as patterns of an ACL: keys, channels.
    pub(super) fn patterns(&self) -> (String, String) {
        let literal = literal(&self.root);
        (format!("{literal}*"), format!("{literal}inbox:*"))
    }

    /// All records of keys that begin with `prefix`, and names of other spaces, as a pattern.
    pub(super) fn records_of(&self, prefix: &str) -> String {
        format!("{}{{{}*}}:*", literal(&self.root), literal(&escape(prefix)))
    }

    /// The key whose record has this name, if it is one of a lock or a turn.
    pub(super) fn key_of(&self, name: &str) -> Option<Key> {
        let (escaped, space) = name.strip_prefix(&self.root)?.strip_prefix('{')?.split_once("}:")?;
        let space = [Space::Lock, Space::Once].into_iter().find(|known| known.name() == space)?;
        Key::of(space, &unescape(escaped)?).ok()
    }

    /// Where a sidecar is told things.
    pub(super) fn inbox(&self, incarnation: Incarnation) -> String {
        format!("{}inbox:{incarnation}", self.root)
    }
}

/// A pattern that only this text matches.
fn literal(text: &str) -> String {
    let special = |c: char| matches!(c, '*' | '?' | '[' | ']' | '\\');
    text.chars().fold(String::new(), |mut text, c| {
        text.extend(special(c).then_some('\\'));
        text.push(c);
        text
    })
}

/// Escapes what separates the parts of a name, and what Redis Cluster reads in it.
fn escape(text: &str) -> Cow<'_, str> {
    let special = |c: char| matches!(c, '{' | '}' | '%' | ':');
    if !text.contains(special) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '{' => escaped.push_str("%7B"),
            '}' => escaped.push_str("%7D"),
            '%' => escaped.push_str("%25"),
            ':' => escaped.push_str("%3A"),
            plain => escaped.push(plain),
        }
    }
    Cow::Owned(escaped)
}

/// Undoes [`escape`]; nothing if it was not escaped by it.
pub(super) fn unescape(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text));
    }
    let mut parts = text.split('%');
    let mut plain = String::from(parts.next()?);
    for part in parts {
        let (code, rest) = part.split_at_checked(2)?;
        plain.push(match code {
            "7B" => '{',
            "7D" => '}',
            "25" => '%',
            "3A" => ':',
            _ => return None,
        });
        plain.push_str(rest);
    }
    Some(Cow::Owned(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_different_tenants_never_meet() {
        let key = |text| Key::new(text).unwrap();
        let record = |prefix, namespace, text| Names::new(prefix, namespace).record(&key(text));
        assert_eq!(record("sl", "default", "orders/42"), "sl:1:default:{orders/42}:lock");
        assert_eq!(record("sl", "a", "b}:lock"), "sl:1:a:{b%7D%3Alock}:lock");
        let once = key("k").in_space(Space::Once);
        assert_eq!(Names::new("sl", "a").record(&once), "sl:1:a:{k}:once");
        assert_ne!(record("sl", "a:{x", "y"), record("sl", "a", "{x:{y"));
        assert_ne!(record("sl", "a", "%3A"), record("sl", "a", ":"));
    }

    #[test]
    fn a_pattern_covers_its_namespace_and_no_other() {
        assert_eq!(
            Names::new("sl", "default").patterns(),
            ("sl:1:default:*".into(), "sl:1:default:inbox:*".into())
        );
        assert_eq!(Names::new("sl", "a*").patterns().0, r"sl:1:a\*:*");
    }

    #[test]
    fn a_record_leads_back_to_its_key() {
        let names = Names::new("sl", "a*");
        for text in ["orders/42", "b}:lock", "%", "ключ:{"] {
            for space in [Space::Lock, Space::Once] {
                let key = Key::of(space, text).unwrap();
                assert_eq!(names.key_of(&names.record(&key)), Some(key));
            }
        }
        let register = Key::of(Space::Register, "k").unwrap();
        assert_eq!(names.key_of(&names.record(&register)), None, "it is no lock");
        let other = Names::new("sl", "b").record(&Key::new("k").unwrap());
        assert_eq!(names.key_of(&other), None, "another namespace");
        assert_eq!(names.records_of("a*:"), r"sl:1:a\*:{a\*%3A*}:*");
        assert_eq!(names.key_of(&names.marker()), None, "it is of no key");
    }

    #[test]
    fn what_was_escaped_comes_back() {
        for text in ["plain", "%", "a:b{c}d%e", "%25", "ключ:%"] {
            assert_eq!(unescape(&escape(text)).as_deref(), Some(text));
        }
        for text in ["%", "%2", "%zz", "a%é"] {
            assert_eq!(unescape(text), None, "{text}");
        }
    }
}
