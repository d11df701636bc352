//! `policy replay`: what a policy would have done with requests on record.
//!
//! Owns what is counted of it. How it is shown: `told.rs`. What is a difference: the policy crate.

use super::record::{self, Gaps, Line, Unreadable};
use super::say_what_can_be;
use super::subject::{SubjectArgs, host};
use super::told::page;
use crate::failure::Failure;
use crate::output::Output;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use sidelock_policy::model::{Operation, Verdict};
use sidelock_policy::{Counting, Difference, Effect, Recorded, Replay, Replayed, Ruling};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Exit code with `--exit-code`, if anything would have been different.
const DIFFERENT: u8 = 1;
/// Differences, unreadable lines and keys that are shown if not all are wanted.
const SHOWN: usize = 10;

/// Arguments of `policy replay`.
#[derive(Args, Debug)]
pub(crate) struct ReplayArgs {
    #[command(flatten)]
    subject: SubjectArgs,
    /// Files that a sidecar wrote (`policy_log`); - is standard input
    #[arg(value_name = "LOG.ndjson", required = true)]
    files: Vec<PathBuf>,
    /// Patterns over keys that it is asked about, as `match` in the settings [default: all keys]
    #[arg(long = "match", value_name = "PATTERN")]
    matches: Vec<String>,
    /// Operations that it is asked about, as `ops` in the settings
    #[arg(long, value_name = "OPERATION", value_parser = super::asked::word::<Operation>, value_delimiter = ',', default_value = "acquire,once")]
    ops: Vec<Operation>,
    /// Which counters it sees
    #[arg(long, value_enum, default_value = "anew")]
    counters: Counters,
    /// Show all differences, not only the first ten
    #[arg(long)]
    all: bool,
    /// Exit 1 if anything would have been different, or a line can not be read
    #[arg(long)]
    exit_code: bool,
    #[command(flatten)]
    output: Output,
}

/// Which counters a policy sees.
#[derive(ValueEnum, Clone, Copy, Debug)]
enum Counters {
    /// From 0 along the record: a request counts if this policy lets it pass and no other denied it
    Anew,
    /// Those that the policy of its name saw
    Recorded,
}

/// What it means.
pub(crate) const AFTER_HELP: &str = "\
The record:  policy_log = \"/var/log/sidelock/requests.ndjson\"      # in the settings; works without a policy, too
One of them: sed -n 17p requests.ndjson >one.json && sidelock policy run my-acl.wasm --request one.json

A difference is a request that was admitted and would be denied, that the policy of the same name denied and would be
admitted, or that would be changed otherwise. Whoever was denied by another policy stays denied.";

/// What is counted.
#[derive(Default)]
pub(crate) struct Tally {
    requests: u64,
    not_asked: u64,
    denied_by_another: u64,
    /// `allow`, `edit`, `abstain`.
    said: BTreeMap<&'static str, u64>,
    /// By reason code.
    denied: BTreeMap<String, u64>,
    /// By limit.
    faults: BTreeMap<&'static str, u64>,
    newly: BTreeMap<&'static str, u64>,
    differences: Vec<Value>,
    keys_denied: BTreeMap<String, u64>,
    gaps: Gaps,
    unreadable: Vec<Unreadable>,
    /// First and last, milliseconds since 1970.
    span: Option<(u64, u64)>,
}

/// Asks, and sums up.
pub(crate) fn replay(args: &ReplayArgs) -> Result<u8, Failure> {
    let texts = record::read(&args.files)?;
    let (lines, unreadable) = record::lines(&texts);
    let mut settings = args.subject.settings()?;
    settings.operations.clone_from(&args.ops);
    settings.matches.clone_from(&args.matches);
    let policy = settings.name.clone();
    let counting = match args.counters {
        Counters::Anew => Counting::Anew,
        Counters::Recorded => Counting::Recorded,
    };
    let replay = Replay::new(args.subject.load(&host()?, settings)?, policy.clone(), counting);
    let mut tally = Tally { unreadable, ..Tally::default() };
    for line in &lines {
        match line.read() {
            Ok(recorded) => tally.take(line, &recorded, &replay.ask(&recorded)),
            Err(unreadable) => tally.unreadable.push(unreadable),
        }
    }
    if tally.requests == 0 {
        let why = tally
            .unreadable
            .first()
            .map_or(String::new(), |first| format!(" ({}: {})", first.place, first.why));
        return Err(Failure::usage(format!("there is no request on record in what was given{why}")));
    }
    let differs = !tally.differences.is_empty() || !tally.unreadable.is_empty();
    // Who reads only the beginning of it goes by the code all the same.
    say_what_can_be(&args.output.text(&tally.answer(&policy, counting, args.all), page))?;
    Ok(if args.exit_code && differs { DIFFERENT } else { 0 })
}

impl Tally {
    fn take(&mut self, line: &Line<'_>, recorded: &Recorded, replayed: &Replayed) {
        self.requests += 1;
        self.gaps.saw(recorded);
        let at = recorded.request.clock.unix_ms;
        self.span = Some(self.span.map_or((at, at), |(first, last)| (first.min(at), last.max(at))));
        self.denied_by_another += u64::from(replayed.denied_by_another);
        match replayed.step.as_ref().map(|step| &step.ruling) {
            None => self.not_asked += 1,
            Some(Ok(Verdict::Allow)) => *self.said.entry("allow").or_default() += 1,
            Some(Ok(Verdict::Edit(_))) => *self.said.entry("edit").or_default() += 1,
            Some(Ok(Verdict::Abstain)) => *self.said.entry("abstain").or_default() += 1,
            Some(Ok(Verdict::Deny(denial))) => {
                *self.denied.entry(denial.reason_code.clone()).or_default() += 1;
                for key in &recorded.request.keys {
                    *self.keys_denied.entry(key.to_string()).or_default() += 1;
                }
            }
            Some(Err(fault)) => *self.faults.entry(fault.limit()).or_default() += 1,
        }
        let Some(difference) = replayed.difference else { return };
        let name = match difference {
            Difference::Denied => "denied",
            Difference::Admitted => "admitted",
            Difference::Edited => "edited",
        };
        *self.newly.entry(name).or_default() += 1;
        self.differences.push(json!({
            "newly": name,
            "line": line.place(),
            "unix_ms": at,
            "operation": recorded.request.operation,
            "keys": recorded.request.keys,
            "app": recorded.request.peer.app,
            "uid": recorded.request.peer.uid,
            "then": then(recorded),
            "now": now(replayed),
        }));
    }

    fn answer(&self, policy: &str, counting: Counting, all: bool) -> Value {
        let shown = if all { usize::MAX } else { SHOWN };
        let mut keys: Vec<_> = self.keys_denied.iter().collect();
        keys.sort_by_key(|(key, count)| (std::cmp::Reverse(**count), *key));
        let keys = keys.iter().take(SHOWN).map(|(key, count)| json!({ "key": key, "denied": count }));
        let unreadable = self.unreadable.iter().take(shown);
        let unreadable = unreadable.map(|line| json!({ "line": line.place, "why": line.why }));
        let said = |name: &str| self.said.get(name).copied().unwrap_or_default();
        let newly = |name: &str| self.newly.get(name).copied().unwrap_or_default();
        json!({
            "policy": policy,
            "counters": match counting { Counting::Anew => "anew", Counting::Recorded => "recorded" },
            "requests": self.requests,
            "first_unix_ms": self.span.map(|(first, _)| first),
            "last_unix_ms": self.span.map(|(_, last)| last),
            "unreadable": { "count": self.unreadable.len(), "lines": unreadable.collect::<Vec<_>>() },
            "missing": self.gaps.missing(),
            "not_asked": self.not_asked,
            "allow": said("allow"),
            "edit": said("edit"),
            "abstain": said("abstain"),
            "deny": self.denied,
            "fault": self.faults,
            "denied_by_another": self.denied_by_another,
            "newly": { "denied": newly("denied"), "admitted": newly("admitted"), "edited": newly("edited") },
            "differences": self.differences.iter().take(shown).collect::<Vec<_>>(),
            "keys_most_denied": keys.collect::<Vec<_>>(),
        })
    }
}

/// What was decided.
fn then(recorded: &Recorded) -> Value {
    match (&recorded.denied, recorded.decided) {
        (Some(denied), _) => json!({ "deny": denied }),
        (None, Ruling::Edited) => {
            let edits = recorded.steps.iter().filter_map(|step| match &step.verdict {
                // One that was only watched changed nothing.
                Some(Verdict::Edit(edits)) if step.effect == Effect::Changed => {
                    Some(json!({ "policy": step.policy, "edit": edits }))
                }
                _ => None,
            });
            json!({ "edit": edits.collect::<Vec<_>>() })
        }
        _ => json!("admit"),
    }
}

/// What this policy says.
fn now(replayed: &Replayed) -> Value {
    match replayed.step.as_ref().map(|step| &step.ruling) {
        None => json!("not asked"),
        Some(Ok(verdict)) => json!(verdict),
        Some(Err(fault)) => json!({ "fault": { "limit": fault.limit(), "message": fault.to_string() } }),
    }
}
