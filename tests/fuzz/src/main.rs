//! `fuzz TARGET|all [--seconds N] [--seed N] [--round N]`: fuzzes for as long as wanted.
//!
//! Prints the seed first. With `--round` it runs that one round, to replay a failure.

use sidelock_fuzz::{Inputs, TARGETS, Target};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const USAGE: &str = "usage: fuzz TARGET|all [--seconds N] [--seed N] [--round N]";

struct Order {
    targets: Vec<Target>,
    time: Duration,
    seed: u64,
    round: Option<u64>,
}

fn order(mut words: impl Iterator<Item = String>) -> Option<Order> {
    let name = words.next()?;
    let targets: Vec<Target> = TARGETS.into_iter().filter(|t| name == "all" || name == t.name).collect();
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut order =
        Order { targets, time: Duration::from_secs(10), seed: clock.as_nanos() as u64, round: None };
    while let Some(word) = words.next() {
        let number: u64 = words.next()?.parse().ok()?;
        match word.as_str() {
            "--seconds" => order.time = Duration::from_secs(number),
            "--seed" => order.seed = number,
            "--round" => order.round = Some(number),
            _ => return None,
        }
    }
    Some(order).filter(|order| !order.targets.is_empty())
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool")]
fn main() -> ExitCode {
    let Some(order) = order(std::env::args().skip(1)) else {
        let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        eprintln!("{USAGE}; targets: {}", names.join(", "));
        return ExitCode::from(2);
    };
    for target in &order.targets {
        println!("{}: seed {}", target.name, order.seed);
        let started = Instant::now();
        let mut rounds = 0;
        for (round, input) in Inputs::new(target, order.seed, order.round.unwrap_or(0)) {
            if std::panic::catch_unwind(|| (target.check)(&input)).is_err() {
                eprintln!("failed; replay: fuzz {} --seed {} --round {round}", target.name, order.seed);
                return ExitCode::FAILURE;
            }
            rounds += 1;
            if order.round.is_some() || started.elapsed() >= order.time {
                break;
            }
        }
        println!(
            "{}: {rounds} rounds in {:.1} s, nothing found",
            target.name,
            started.elapsed().as_secs_f64()
        );
    }
    ExitCode::SUCCESS
}
