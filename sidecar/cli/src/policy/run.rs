//! `policy run`: what a policy says to one request, and why.
//!
//! Owns how a decision is explained.

use super::asked::AskedArgs;
use super::subject::{SubjectArgs, host};
use crate::failure::Failure;
use crate::output::Output;
use clap::Args;
use serde_json::{Value, json};
use sidelock_policy::model::{Level, Verdict};
use sidelock_policy::{Outcome, Step};

/// What a denied request ends with, here as in all verbs that ask a sidecar.
const EXIT_DENIED: u8 = 4;

/// Arguments of `policy run`.
#[derive(Args, Debug)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    subject: SubjectArgs,
    #[command(flatten)]
    asked: AskedArgs,
    #[command(flatten)]
    output: Output,
}

/// Asks, and explains; exit 4 if it denies.
pub(crate) fn run(args: &RunArgs) -> Result<u8, Failure> {
    let mut settings = args.subject.settings()?;
    // Whoever asks about an operation wants an answer about it.
    let request = args.asked.request(&settings)?;
    settings.operations = vec![request.operation];
    let chain = args.subject.load(&host()?, settings)?;
    let wanted = chain.inspect().into_iter().flat_map(|policy| policy.counters).collect::<Vec<_>>();
    args.asked.counters_are_among(&wanted)?;
    let outcome = chain.explain(request);
    args.output.write(&answer(&outcome), table)?;
    Ok(if outcome.denied.is_some() { EXIT_DENIED } else { 0 })
}

fn answer(outcome: &Outcome) -> Value {
    json!({
        "admitted": outcome.denied.is_none(),
        "steps": outcome.steps.iter().map(step).collect::<Vec<_>>(),
        "request": serde_json::to_value(&outcome.request).unwrap_or_default(),
    })
}

fn step(step: &Step) -> Value {
    let (verdict, rest) = match &step.ruling {
        Ok(Verdict::Allow) => ("allow", Value::Null),
        Ok(Verdict::Abstain) => ("abstain", Value::Null),
        Ok(Verdict::Edit(edits)) => ("edit", serde_json::to_value(edits).unwrap_or_default()),
        Ok(Verdict::Deny(denial)) => ("deny", serde_json::to_value(denial).unwrap_or_default()),
        Err(fault) => ("fault", json!({ "limit": fault.limit(), "message": fault.to_string() })),
    };
    let level = |level: Level| format!("{level:?}").to_lowercase();
    let log = step.lines.iter().map(|line| format!("{}: {}", level(line.level), line.text));
    json!({
        "policy": &*step.policy,
        "verdict": verdict,
        "details": rest,
        "took_us": step.took.as_secs_f64() * 1e6,
        "log": log.collect::<Vec<_>>(),
    })
}

fn table(answer: &Value) -> String {
    let mut text = String::new();
    for step in answer["steps"].as_array().map(Vec::as_slice).unwrap_or_default() {
        let (policy, verdict) =
            (step["policy"].as_str().unwrap_or_default(), step["verdict"].as_str().unwrap_or_default());
        let took = step["took_us"].as_f64().unwrap_or(0.0);
        text += &format!("{policy}: {verdict}   ({took:.0} µs)\n");
        let details = step["details"].as_object().into_iter().flatten();
        details.for_each(|(name, value)| text += &format!("    {name}: {}\n", plain(value)));
        let log = step["log"].as_array().into_iter().flatten().filter_map(Value::as_str);
        log.for_each(|line| text += &format!("    log {line}\n"));
    }
    text + if answer["admitted"] == true { "admitted\n" } else { "denied\n" }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
