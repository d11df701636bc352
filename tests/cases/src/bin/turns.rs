//! `turns --program NAME=COMMAND…`: programs in different languages take turns on one key, through two sidecars on one Redis.
//!
//! Owns the stage and the verdict: each had all of its turns, they mixed, and the fences rise from turn to turn, in the order
//! in which the programs themselves wrote them into one file. `bindings/turns/README.md` describes a program.

use clap::Parser;
use sidelock_cases::player::Language;
use sidelock_e2e::process::{Process, until};
use sidelock_e2e::redis::Redis;
use sidelock_e2e::sidecar::Sidecar;
use sidelock_e2e::{PATIENCE, folder};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, ExitCode};

/// What they take turns on.
const KEY: &str = "turns";

#[derive(Parser)]
#[command(name = "turns", about = "Programs in different languages take turns on one key")]
struct Args {
    /// A program and its words, separated by spaces: it is called with SOCKET KEY TIMES
    #[arg(long = "program", value_name = "NAME=COMMAND", value_parser = program, required = true)]
    programs: Vec<Language>,
    /// Turns of each
    #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u32).range(2..=10_000))]
    times: u32,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let verdict = take_turns(&args).and_then(|written| judge(&args, &written));
    let (text, code) = match verdict {
        Ok(shown) => {
            (format!("{shown}\n\nturns: {} passed, 0 failed\n", args.programs.len()), ExitCode::SUCCESS)
        }
        Err(why) => (format!("FAILED: {why}\n\nturns: 0 passed, 1 failed\n"), ExitCode::FAILURE),
    };
    // Who does not read it has the exit code.
    let _ = std::io::stdout().write_all(text.as_bytes());
    code
}

/// Lets them begin together; what they wrote, all into one file.
fn take_turns(args: &Args) -> Result<String, String> {
    let redis = Redis::start();
    let sidecars = [Sidecar::connected_to(&redis), Sidecar::connected_to(&redis)];
    let folder = folder();
    let log = folder.path().join("turns");
    let curtain = sidecars[0].lock(KEY, r#"{"ttl":"10m"}"#);
    let programs = args.programs.iter().zip(sidecars.iter().cycle());
    let mut programs: Vec<_> = programs
        .map(|(program, sidecar)| (program, start(program, sidecar.socket(), args.times, &log)))
        .collect();
    until(PATIENCE, "all stand in line", || {
        (sidecars.iter().map(waiting).sum::<usize>() == args.programs.len()).then_some(())
    });
    sidecars[0].unlock(&curtain);
    for (program, process) in &mut programs {
        let code = process.code();
        if code != 0 {
            return Err(format!("{} ended with {code}: {}", program.name, process.output()));
        }
    }
    std::fs::read_to_string(log).map_err(|error| format!("nobody wrote anything: {error}"))
}

/// Its output is appended to the log, as that of all others.
fn start(program: &Language, socket: &Path, times: u32, log: &Path) -> Process {
    let mut command = Command::new("sh");
    command.args(["-c", r#"exec "$@" >>"$LOG""#, &program.name]).env("LOG", log).args(&program.command);
    command.arg(socket).args([KEY, &times.to_string()]);
    Process::spawn(command)
}

/// How many clients of a sidecar stand in line.
fn waiting(sidecar: &Sidecar) -> usize {
    let listed = sidecar.get(&format!("/v1/locks?prefix={KEY}")).json();
    listed["keys"][0]["queue"].as_array().map_or(0, Vec::len)
}

/// What there is to see, if it is as it has to be.
fn judge(args: &Args, written: &str) -> Result<String, String> {
    let mut turns: BTreeMap<&str, u32> = BTreeMap::new();
    let (mut last, mut mixed) = (("nobody", 0), 0);
    for line in written.lines() {
        let turn = line.split_once(' ').and_then(|(name, fence)| Some((name, fence.parse::<u64>().ok()?)));
        let (name, fence) = turn.ok_or_else(|| format!("{line:?} is no turn"))?;
        if fence <= last.1 {
            return Err(format!("the fence {fence} of {name} comes after {} of {}", last.1, last.0));
        }
        mixed += u32::from(name != last.0);
        last = (name, fence);
        *turns.entry(name).or_default() += 1;
    }
    let mut shown = String::new();
    for program in &args.programs {
        let had = turns.get(program.name.as_str()).copied().unwrap_or(0);
        if had != args.times {
            return Err(format!("{} had {had} turns, not {}", program.name, args.times));
        }
        let _ = write!(shown, "{} {had}, ", program.name);
    }
    // First come, first served: all stood in line at the beginning, so each had a turn before any had all of its turns.
    if args.programs.len() > 1 && mixed as usize <= args.programs.len() {
        return Err(format!("they took their turns one language after the other: {mixed} changes"));
    }
    Ok(format!(
        "turns on one key through two sidecars: {shown}{mixed} times another language; the fences rise"
    ))
}

fn program(text: &str) -> Result<Language, String> {
    let (name, command) = text.split_once('=').ok_or("say NAME=COMMAND")?;
    let command: Vec<_> = command.split_whitespace().map(str::to_owned).collect();
    if command.is_empty() {
        return Err("COMMAND is something".to_owned());
    }
    Ok(Language { name: name.to_owned(), command })
}
