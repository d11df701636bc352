//! `policy inspect`: what a component is, and what it costs.
//!
//! Owns how that is shown.

use super::subject::{SubjectArgs, host};
use crate::failure::Failure;
use crate::output::Output;
use clap::Args;
use serde_json::{Value, json};
use sidelock_policy::cases::{Suite, embedded};
use sidelock_policy::{Inspection, World};

/// Arguments of `policy inspect`.
#[derive(Args, Debug)]
pub(crate) struct InspectArgs {
    #[command(flatten)]
    subject: SubjectArgs,
    #[command(flatten)]
    output: Output,
}

/// Compiles it, makes an instance, and tells what was found.
pub(crate) fn inspect(args: &InspectArgs) -> Result<(), Failure> {
    let host = host()?;
    let found = args.subject.compile(&host)?.fits(&args.subject.settings()?);
    let file = args.subject.file().display();
    let found = found.map_err(|unfit| args.subject.unfit(format_args!("{file}: {unfit}"), &unfit))?;
    let suites = embedded(&args.subject.bytes()?);
    let cases: usize = suites
        .iter()
        .filter_map(|(name, text)| Suite::parse(name, text).ok())
        .map(|suite| suite.cases.len())
        .sum();
    args.output.write(&answer(&found, cases), table)
}

fn answer(found: &Inspection, cases: usize) -> Value {
    json!({
        "name": &*found.name,
        "world": match found.world { World::Policy => "policy", World::Observer => "observer" },
        "sha256": found.sha256.to_string(),
        "bytes": found.bytes,
        "machine_code_bytes": found.machine_code,
        "compiled_in_ms": found.compiled_in.as_secs_f64() * 1e3,
        "instance_in_us": found.fresh.as_secs_f64() * 1e6,
        "instance_memory_bytes": found.memory,
        "imports": found.imports,
        "cases": cases,
    })
}

fn table(answer: &Value) -> String {
    let text = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
    let kib = |name: &str| format!("{} KiB", answer[name].as_u64().unwrap_or(0).div_ceil(1024));
    let number = |name: &str| answer[name].as_f64().unwrap_or(0.0);
    let imports = answer["imports"].as_array().map(Vec::as_slice).unwrap_or_default();
    let imports = imports.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" ");
    let lines = [
        ("name", text("name")),
        ("world", text("world")),
        ("sha256", text("sha256")),
        ("size", kib("bytes")),
        ("machine code", format!("{}, for all instances together", kib("machine_code_bytes"))),
        ("compiled in", format!("{:.1} ms", number("compiled_in_ms"))),
        ("instance in", format!("{:.1} µs", number("instance_in_us"))),
        ("memory", format!("{} an instance", kib("instance_memory_bytes"))),
        ("imports", if imports.is_empty() { "nothing".to_owned() } else { imports }),
        ("own cases", answer["cases"].to_string()),
    ];
    lines.iter().map(|(name, value)| format!("{name:<14}{value}\n")).collect()
}
