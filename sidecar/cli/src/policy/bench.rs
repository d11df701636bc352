//! `policy bench`: what a policy adds to a request.
//!
//! Owns how that is measured: calls of a chain with nothing but this policy in it, one after another, on this thread. An
//! answer that the policy lets the sidecar repeat is measured by itself (`repeated`).

use super::asked::AskedArgs;
use super::subject::{SubjectArgs, host};
use crate::failure::Failure;
use crate::output::Output;
use clap::Args;
use serde_json::{Value, json};
use sidelock_policy::model::Request;
use sidelock_policy::{Chain, Settings};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Calls before those that are measured: caches are warm then, in the processor and elsewhere.
const WARM_UP: usize = 200;
/// Instances that are prepared at a time, to be taken in one go.
const PREPARED: u32 = 32;
/// How long it may take to prepare them.
const PREPARING_MAX: Duration = Duration::from_secs(10);

/// Arguments of `policy bench`.
#[derive(Args, Debug)]
pub(crate) struct BenchArgs {
    #[command(flatten)]
    subject: SubjectArgs,
    /// How often it is asked
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    calls: u32,
    #[command(flatten)]
    asked: AskedArgs,
    #[command(flatten)]
    output: Output,
}

/// Measures.
pub(crate) fn bench(args: &BenchArgs) -> Result<(), Failure> {
    let host = host()?;
    let mut settings = args.subject.settings()?;
    let request = args.asked.request(&settings)?;
    settings.operations = vec![request.operation];
    let calls = args.calls as usize;
    let load = |settings| args.subject.load(&host, settings);
    let fresh = load(Settings { prepared: Some(0), ..settings.clone() })?;
    let prepared = load(Settings { prepared: Some(PREPARED), ..settings.clone() })?;
    let unmatched = load(Settings { matches: vec!["no/such/key/**".into()], ..settings })?;
    let rows = [
        ("fresh", spans(calls, |number| ask(&fresh, another(&request, number)))),
        ("prepared", prepared_spans(&prepared, &request, calls)?),
        ("repeated", spans(calls, |_| ask(&fresh, request.clone()))),
        ("unmatched", spans(calls, |_| applies(&unmatched, &request))),
    ];
    let answer: Value = rows
        .into_iter()
        .map(|(name, spans)| (name.to_owned(), quantiles(spans)))
        .collect::<serde_json::Map<_, _>>()
        .into();
    args.output.write(&answer, table)
}

/// A request that was not asked before: what was said to another is not repeated.
fn another(request: &Request, number: usize) -> Request {
    let mut request = request.clone();
    request.meta.push(("bench".into(), number.to_string().into()));
    request
}

fn ask(chain: &Arc<Chain>, request: Request) {
    // What it answers is no part of what is measured.
    drop(std::hint::black_box(chain.decide(request).wait()));
}

fn applies(chain: &Chain, request: &Request) {
    std::hint::black_box(chain.applies(request.operation, request.keys.iter().map(|key| &**key)));
}

fn spans(calls: usize, mut call: impl FnMut(usize)) -> Vec<Duration> {
    (0..WARM_UP).for_each(&mut call);
    let mut one = |number| {
        let begun = Instant::now();
        call(number);
        begun.elapsed()
    };
    (WARM_UP..WARM_UP + calls).map(&mut one).collect()
}

/// As many calls as make the lane begin others, then a pause in which it does.
fn prepared_spans(chain: &Arc<Chain>, request: &Request, calls: usize) -> Result<Vec<Duration>, Failure> {
    let mut spans = Vec::with_capacity(calls);
    while spans.len() < calls {
        for _ in 0..until_prepared(chain)? {
            let request = another(request, spans.len());
            let begun = Instant::now();
            ask(chain, request);
            spans.push(begun.elapsed());
        }
    }
    Ok(spans)
}

/// How many calls there are until half of the instances are gone and others are made; waits while those are.
fn until_prepared(chain: &Chain) -> Result<usize, Failure> {
    let begun = Instant::now();
    loop {
        let prepared = chain.inspect().iter().map(|policy| policy.prepared).min();
        match prepared.map(|(wanted, ready)| ready.saturating_sub(wanted / 2)) {
            Some(calls @ 1..) => return Ok(calls),
            _ if begun.elapsed() < PREPARING_MAX => std::thread::sleep(Duration::from_millis(1)),
            _ => {
                let why = format!("{PREPARED} instances were not made in {PREPARING_MAX:?}");
                return Err(Failure::broken(why));
            }
        }
    }
}

fn quantiles(mut spans: Vec<Duration>) -> Value {
    spans.sort_unstable();
    let at = |share: f64| spans[((spans.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e6;
    json!({ "calls": spans.len(), "p50_us": at(0.5), "p99_us": at(0.99), "max_us": at(1.0) })
}

fn table(answer: &Value) -> String {
    let mut text =
        format!("{:<12}{:>10}{:>12}{:>12}{:>12}\n", "instance", "calls", "p50 µs", "p99 µs", "max µs");
    for name in ["fresh", "prepared", "repeated", "unmatched"] {
        let row = &answer[name];
        let number = |of: &str| row[of].as_f64().unwrap_or(0.0);
        text += &format!(
            "{name:<12}{:>10}{:>12.2}{:>12.2}{:>12.2}\n",
            number("calls"),
            number("p50_us"),
            number("p99_us"),
            number("max_us")
        );
    }
    text
}
