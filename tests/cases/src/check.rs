//! What an answer has to be.
//!
//! Owns the comparison of an answer with what a case says, and the names that come of it. Holds every error of every
//! language to the same rules: its code is the one that is wanted, its kind or status is that code's, and it speaks to people.

use crate::line::Line;
use crate::script::{NOBODY, Outcome};
use sidelock_wire::Code;
use std::collections::HashMap;

/// Fences stay below (S3).
const FENCE_MAX: u64 = 1 << 53;
/// An error that says what happened and what to do takes more bytes than this.
const MESSAGE_BYTES_MIN: usize = 20;

/// What steps have named so far.
#[derive(Debug, Default)]
pub struct Names {
    /// Fences of each lease, by key.
    pub leases: HashMap<String, Vec<(String, u64)>>,
    /// Versions of registers.
    pub etags: HashMap<String, String>,
}

/// Holds an answer about these keys against what has to come.
///
/// # Errors
/// What is different.
pub fn check(
    outcome: &Outcome,
    answer: &Line,
    keys: &[String],
    prefix: &str,
    names: &mut Names,
) -> Result<(), String> {
    if answer.word(0) != outcome.word {
        return Err(format!("`{answer}` came instead of {}", outcome.word));
    }
    match outcome.word.as_str() {
        "lease" | "turn" => {
            let fences = fences(answer, keys)?;
            names.leases.insert(outcome.get("as").unwrap_or_default().to_owned(), fences);
        }
        "done" => is(
            "result",
            &answer.get("result").unwrap_or_default(),
            &text(outcome.get("result").unwrap_or("")),
        )?,
        "value" => {
            is("value", &answer.get("value").unwrap_or_default(), &text(outcome.get("value").unwrap_or("")))?;
            version(outcome, answer, names)?;
        }
        "etag" => version(outcome, answer, names)?,
        "lost" => match outcome.get("reason").unwrap_or_default() {
            NOBODY if answer.has("reason") => {}
            wanted => is("reason", &answer.get("reason").unwrap_or_default(), wanted)?,
        },
        "error" => error(outcome, answer, prefix, names)?,
        _ => {}
    }
    Ok(())
}

/// A text as a case writes it: itself, `size:N` for so many bytes, `empty` for none.
pub fn text(written: &str) -> String {
    match written.strip_prefix("size:").and_then(|size| size.parse().ok()) {
        Some(size) => "x".repeat(size),
        None if written == "empty" => String::new(),
        None => written.to_owned(),
    }
}

fn is(what: &str, said: &str, wanted: &str) -> Result<(), String> {
    match said == wanted {
        true => Ok(()),
        false => Err(format!("{what} is {said:?}, not {wanted:?}")),
    }
}

/// One fence of each key; a lease of several says its keys, in their order.
fn fences(answer: &Line, keys: &[String]) -> Result<Vec<(String, u64)>, String> {
    let several = answer.list("keys");
    let keys = if several.is_empty() { keys } else { &several };
    let fences: Vec<u64> = answer.list("fence").iter().filter_map(|fence| fence.parse().ok()).collect();
    if fences.len() != keys.len() || fences.iter().any(|fence| !(1..FENCE_MAX).contains(fence)) {
        return Err(format!("`{answer}` has no fence of each of {keys:?}"));
    }
    Ok(keys.iter().cloned().zip(fences).collect())
}

/// A version gets the name that the case gives it, or is the one that has this name.
fn version(outcome: &Outcome, answer: &Line, names: &mut Names) -> Result<(), String> {
    let Some(name) = outcome.get("etag").filter(|name| *name != NOBODY) else { return Ok(()) };
    let etag = answer.get("etag").filter(|etag| !etag.is_empty());
    let etag = etag.ok_or_else(|| format!("`{answer}` has no version"))?;
    match names.etags.get(name) {
        Some(known) => is(&format!("the version {name}"), &etag, known),
        None => {
            names.etags.insert(name.to_owned(), etag);
            Ok(())
        }
    }
}

fn error(outcome: &Outcome, answer: &Line, prefix: &str, names: &mut Names) -> Result<(), String> {
    let said = |name: &str| answer.get(name).unwrap_or_default();
    is("the code", &said("code"), outcome.get("code").unwrap_or_default())?;
    speaks(answer)?;
    for (name, wanted) in &outcome.fields {
        match name.as_str() {
            "etag" => version(outcome, answer, names)?,
            "cycle" => is("the ring", &ring(answer, prefix), wanted)?,
            "retry_after" => match answer.number("retry_after") {
                Some(1..) => {}
                _ => return Err(format!("`{answer}` does not say when to try again")),
            },
            "current" if wanted == "none" => match answer.has("current") {
                false => {}
                true => return Err(format!("there is nothing, but `{answer}` says what")),
            },
            // Not every language's errors have a field for it; every message names it.
            "limit" if !answer.has("limit") && said("message").contains(wanted.as_str()) => {}
            name => is(name, &said(name), wanted)?,
        }
    }
    Ok(())
}

/// Kind or status are the code's, and there is a message.
fn speaks(answer: &Line) -> Result<(), String> {
    let (kind, status) = (answer.get("kind"), answer.number("status"));
    let right = match Code::from_name(&answer.get("code").unwrap_or_default()) {
        Some(code) => {
            kind.as_ref().is_none_or(|kind| *kind == format!("{:?}", code.kind()))
                && status.is_none_or(|status| status == u64::from(code.http_status()))
                && (kind.is_some() || status.is_some())
        }
        // Nobody refused: there was nobody.
        None => kind.is_none_or(|kind| kind == "SidecarUnreachable") && status.is_none(),
    };
    if !right {
        return Err(format!("`{answer}` is another kind of error than its code"));
    }
    match answer.get("message").unwrap_or_default().len() >= MESSAGE_BYTES_MIN {
        true => Ok(()),
        false => Err(format!("`{answer}` does not say what to do")),
    }
}

/// `ann:k1,bob:k2`, as a case writes it.
fn ring(answer: &Line, prefix: &str) -> String {
    let (owners, keys) = (answer.list("cycle_owners"), answer.list("cycle_keys"));
    let bare = |name: &str| name.strip_prefix(prefix).unwrap_or(name).trim_start_matches('/').to_owned();
    let edges = owners.iter().zip(&keys).map(|(owner, key)| format!("{}:{}", bare(owner), bare(key)));
    edges.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(word: &str, fields: &[(&str, &str)]) -> Outcome {
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Outcome { word: word.to_owned(), fields }
    }

    fn judged(outcome: &Outcome, answer: &str, names: &mut Names) -> Result<(), String> {
        check(outcome, &Line::parse(answer), &["c/k".to_owned()], "c", names)
    }

    #[test]
    fn a_lease_has_a_fence() {
        let (mut names, lease) = (Names::default(), outcome("lease", &[("as", "x")]));
        judged(&lease, "lease fence=7", &mut names).expect("has one");
        assert_eq!(names.leases["x"], [("c/k".to_owned(), 7)]);
        for bad in ["lease", "lease fence=0", "lease fence=9007199254740992", "lease fence=1,2", "none", ""] {
            judged(&lease, bad, &mut names).expect_err(bad);
        }
    }

    #[test]
    fn a_version_is_the_one_of_its_name() {
        let (mut names, value) = (Names::default(), outcome("value", &[("value", "5"), ("etag", "e")]));
        judged(&value, "value value=5 etag=a-1", &mut names).expect("gets the name");
        judged(&value, "value value=5 etag=a-1", &mut names).expect("has the name");
        for bad in ["value value=5 etag=a-2", "value value=6 etag=a-1", "value value=5"] {
            judged(&value, bad, &mut names).expect_err(bad);
        }
    }

    #[test]
    fn an_error_has_its_codes_kind_or_status_and_speaks() {
        let held = outcome("error", &[("code", "held"), ("retry_after", "yes")]);
        let names = &mut Names::default();
        let message = "message=somebody%20has%20it,%20try%20later";
        judged(&held, &format!("error code=held kind=WaitTimeout retry_after=1000 {message}"), names)
            .expect("right");
        judged(&held, &format!("error code=held status=409 retry_after=1000 {message}"), names)
            .expect("right");
        for bad in [
            format!("error code=wait_timeout kind=WaitTimeout retry_after=1000 {message}"),
            format!("error code=held kind=Conflict retry_after=1000 {message}"),
            format!("error code=held status=410 retry_after=1000 {message}"),
            format!("error code=held retry_after=1000 {message}"),
            format!("error code=held kind=WaitTimeout {message}"),
            "error code=held kind=WaitTimeout retry_after=1000 message=no".to_owned(),
        ] {
            judged(&held, &bad, names).expect_err(&bad);
        }
        let nobody = outcome("error", &[("code", "unreachable")]);
        judged(&nobody, &format!("error code=unreachable kind=SidecarUnreachable {message}"), names)
            .expect("right");
        judged(&nobody, &format!("error code=unreachable kind=Internal {message}"), names)
            .expect_err("another kind");
    }

    #[test]
    fn a_ring_is_named_without_the_prefix() {
        let ring = outcome("error", &[("code", "deadlock"), ("cycle", "ann:a,bob:b")]);
        let said = "error code=deadlock kind=Deadlock message=ann%20waits%20for%20bob%20and%20bob cycle_keys=c/a,c/b";
        judged(&ring, &format!("{said} cycle_owners=c/ann,c/bob"), &mut Names::default()).expect("the ring");
        judged(&ring, &format!("{said} cycle_owners=c/bob,c/ann"), &mut Names::default())
            .expect_err("turned round");
    }
}
