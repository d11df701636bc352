//! What things are called in Redis.
//!
//! Owns the escaping that keeps two tenants' names apart whatever they chose. Must not know what is stored there.

use sidelock_engine::{Incarnation, Key};
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

    /// Everything of the namespace, as patterns of an ACL: keys, channels.
    pub(super) fn patterns(&self) -> (String, String) {
        let special = |c: char| matches!(c, '*' | '?' | '[' | ']' | '\\');
        let literal: String = self.root.chars().fold(String::new(), |mut text, c| {
            text.extend(special(c).then_some('\\'));
            text.push(c);
            text
        });
        (format!("{literal}*"), format!("{literal}inbox:*"))
    }

    /// Where a sidecar is told things.
    pub(super) fn inbox(&self, incarnation: Incarnation) -> String {
        format!("{}inbox:{incarnation}", self.root)
    }
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
    use sidelock_engine::Space;

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
    fn what_was_escaped_comes_back() {
        for text in ["plain", "%", "a:b{c}d%e", "%25", "ключ:%"] {
            assert_eq!(unescape(&escape(text)).as_deref(), Some(text));
        }
        for text in ["%", "%2", "%zz", "a%é"] {
            assert_eq!(unescape(text), None, "{text}");
        }
    }
}
