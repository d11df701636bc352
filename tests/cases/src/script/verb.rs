//! What actors can do: each verb with its arguments, its options and what may come of it.
//!
//! Owns the vocabulary of steps; a word that does not stand here is an error in a case. Must not know what a verb means:
//! that is a player's business.

/// A thing that an actor does.
#[derive(Debug)]
pub struct Verb {
    /// Its word.
    pub name: &'static str,
    /// Arguments, in their order. A list takes all that is left.
    pub arguments: &'static [&'static str],
    /// Options: `name=value`, or a bare `name` for a flag.
    pub options: &'static [&'static str],
    /// What may come of it, besides an error.
    pub answers: &'static [&'static str],
    /// Whether it waits in the sidecar's queue, where it can be seen.
    pub queues: bool,
}

/// What a value is, by the name of its argument or option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// There or not.
    Flag,
    /// `250ms`, `2s`, `1m`.
    Span,
    /// A whole number.
    Number,
    /// One word, or `size:N` for so many bytes of it.
    Text,
    /// A key, which gets the case's prefix; `size:N` for one of so many bytes, `empty` for none.
    Key,
    /// All keys that are left.
    Keys,
    /// A name that gets the case's prefix.
    Owner,
    /// Another actor.
    Actor,
    /// A lease by the name that a step before gave it.
    Lease,
    /// A version by the name that a step before gave it, or `absent`.
    Etag,
    /// Something at a path that is no sidecar: `absent`, `file`, `redis`.
    Place,
    /// One of a few words that the sidecar knows.
    Word,
}

impl Kind {
    /// Of the argument or option of this name.
    pub fn of(name: &str) -> Kind {
        match name {
            "shared" | "write" | "reentrant" | "session" | "if_absent" => Kind::Flag,
            "wait" | "ttl" | "max_hold" | "per" | "default_wait" => Kind::Span,
            "limit" | "permits" | "priority" | "times" => Kind::Number,
            "key" => Kind::Key,
            "keys" => Kind::Keys,
            "owner" => Kind::Owner,
            "child" => Kind::Actor,
            "lease" | "fenced" => Kind::Lease,
            "if_match" | "after" => Kind::Etag,
            "socket" => Kind::Place,
            "require_scope" | "align" => Kind::Word,
            _ => Kind::Text,
        }
    }
}

const ACQUIRE: &[&str] = &[
    "shared",
    "write",
    "limit",
    "permits",
    "per",
    "wait",
    "ttl",
    "max_hold",
    "priority",
    "reentrant",
    "session",
];
const SEVERAL: &[&str] = &["shared", "wait", "ttl", "max_hold", "priority"];
const ONCE: &[&str] = &["per", "align", "wait", "ttl", "max_hold", "session"];

const fn verb(
    name: &'static str,
    arguments: &'static [&'static str],
    options: &'static [&'static str],
    answers: &'static [&'static str],
) -> Verb {
    Verb { name, arguments, options, answers, queues: false }
}

const fn queues(verb: Verb) -> Verb {
    Verb { queues: true, ..verb }
}

/// All of them.
pub(super) const VERBS: &[Verb] = &[
    verb("connect", &[], &["socket", "require_scope", "default_wait"], &["ok"]),
    verb("close", &[], &[], &["ok"]),
    verb("owner", &["owner"], &[], &["ok"]),
    verb("spawn", &["child"], &[], &["ok"]),
    verb("cancel", &[], &[], &["cancelled"]),
    queues(verb("acquire", &["key"], ACQUIRE, &["lease"])),
    verb("try", &["key"], ACQUIRE, &["lease", "none"]),
    queues(verb("lock_all", &["keys"], SEVERAL, &["lease"])),
    verb("try_all", &["keys"], SEVERAL, &["lease", "none"]),
    verb("run", &["key"], ACQUIRE, &["ok"]),
    verb("storm", &["key"], &["times"], &["ok"]),
    verb("drop", &["lease"], &[], &["ok"]),
    verb("release", &["lease"], &[], &["ok"]),
    verb("renew", &["lease"], &["ttl"], &["ok"]),
    queues(verb("upgrade", &["lease"], &["wait"], &["lease"])),
    verb("downgrade", &["lease"], &[], &["ok"]),
    verb("valid", &["lease"], &[], &["yes", "no"]),
    verb("lost", &["lease"], &[], &["lost"]),
    queues(verb("once", &["key"], ONCE, &["turn", "done"])),
    verb("try_once", &["key"], ONCE, &["turn", "done", "none"]),
    verb("finish", &["lease", "result"], &[], &["ok"]),
    verb("get", &["key"], &["fenced"], &["value"]),
    verb("put", &["key", "value"], &["if_match", "if_absent", "fenced"], &["etag"]),
    verb("delete", &["key"], &["if_match", "fenced"], &["ok"]),
    verb("watch", &["key"], &["after"], &["value", "absent"]),
];

/// What an answer says besides its word, in the order in which a step writes it. The last of some is a name that the step
/// gives: of a lease, a turn or a version.
pub fn said(answer: &str) -> &'static [&'static str] {
    match answer {
        "lease" | "turn" => &["as"],
        "done" => &["result"],
        "value" => &["value", "etag"],
        "etag" => &["etag"],
        "lost" => &["reason"],
        _ => &[],
    }
}

/// What an error may be asked for besides its code.
pub(super) const ERROR_FIELDS: &[&str] =
    &["reason", "limit", "current", "etag", "cycle", "retry_after", "policy", "reason_code"];

/// The verb of this name.
pub(super) fn find(name: &str) -> Option<&'static Verb> {
    VERBS.iter().find(|verb| verb.name == name)
}

/// `250ms`, `2s`, `1m`, `1h`, in milliseconds.
pub fn milliseconds(text: &str) -> Option<u64> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit())?;
    let unit = match &text[digits..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    text[..digits].parse::<u64>().ok()?.checked_mul(unit)
}
