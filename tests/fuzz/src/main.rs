//! `fuzz TARGET|all [--seconds N] [--seed N] [--grow FOLDER] [--file FILE] [--places]`: fuzzes for as long as wanted.
//!
//! `--seconds` is for each target. Prints the seed first. With `--file` it checks that one input, to replay a failure; with
//! `--places` it says where inputs led; with `--grow` it writes seeds that it found.

use sidelock_fuzz::{Hunt, Marks, TARGETS, Target};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const USAGE: &str =
    "usage: fuzz TARGET|all [--seconds N] [--seed N] [--grow FOLDER] [--file FILE] [--places]";

struct Order {
    targets: Vec<Target>,
    time: Duration,
    seed: u64,
    /// Where seeds that were found are written, if anywhere.
    grow: Option<PathBuf>,
    file: Option<PathBuf>,
    /// Print everything that inputs led to.
    places: bool,
}

fn order(mut words: impl Iterator<Item = String>) -> Option<Order> {
    let name = words.next()?;
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut order = Order {
        targets: TARGETS.into_iter().filter(|t| name == "all" || name == t.name).collect(),
        time: Duration::from_secs(10),
        seed: clock.as_nanos() as u64,
        grow: None,
        file: None,
        places: false,
    };
    while let Some(word) = words.next() {
        if word == "--places" {
            order.places = true;
            continue;
        }
        let value = words.next()?;
        match word.as_str() {
            "--seconds" => order.time = Duration::from_secs(value.parse().ok()?),
            "--seed" => order.seed = value.parse().ok()?,
            "--grow" => order.grow = Some(value.into()),
            "--file" => order.file = Some(value.into()),
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
    if let Some(file) = &order.file {
        let input = std::fs::read(file).expect("the input can be read");
        let mut marks = Marks::default();
        order.targets.iter().for_each(|target| (target.check)(&input, &mut marks));
        marks.iter().for_each(|mark| println!("{mark}"));
        return ExitCode::SUCCESS;
    }
    let found_nothing = order.targets.iter().filter(|target| hunt(**target, &order)).count();
    match found_nothing == order.targets.len() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// True if nothing was found.
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool")]
fn hunt(target: Target, order: &Order) -> bool {
    println!("{}: seed {}", target.name, order.seed);
    let started = Instant::now();
    let mut hunt = Hunt::new(target, order.seed);
    while started.elapsed() < order.time {
        if let Err(failure) = hunt.round() {
            eprintln!("failed; replay: fuzz {} --file {}", target.name, failure.file.display());
            return false;
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    let (rounds, places) = (hunt.rounds(), hunt.marks().len());
    println!("{}: {rounds} rounds in {seconds:.1} s to {places} places, nothing found", target.name);
    if order.places {
        hunt.marks().iter().for_each(|(mark, count)| println!("{count:>10} {mark}"));
    }
    if let Some(folder) = &order.grow {
        let written = hunt.write_seeds(&folder.join(target.name)).expect("the folder can be written");
        println!("{}: {written} seeds written", target.name);
    }
    true
}
