//! The main job on real input: processes of two sidecars contend for one key, and a plain file tells whether they were
//! alone with it.

use sidelock_e2e::folder;
use sidelock_e2e::process::Process;
use sidelock_e2e::redis::Redis;
use sidelock_e2e::sidecar::Sidecar;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Processes, half of them at each sidecar.
const PROCESSES: usize = 16;
/// Times that each adds one.
const TIMES: u64 = 2_000;

/// Far above the seconds that this takes, so that a slow machine is not a broken program.
const LIMIT: Duration = Duration::from_secs(240);

/// What one process wrote: numbers with their fences.
type Written = Vec<(u64, u64)>;

fn counter(socket: &Path, file: &Path, times: u64) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_counter"));
    command.arg(socket).arg("counter").arg(file).arg(times.to_string());
    let process = Process::spawn(command);
    process.line("that it is ready", |line| line == "ready");
    process
}

fn written(mut process: Process) -> Written {
    let status = process.ended_within(LIMIT);
    let output = process.output();
    assert!(status.success(), "{output}");
    let pair = |line: &str| line.split_once(' ').map(|(number, fence)| (parse(number), parse(fence)));
    output.lines().filter_map(pair).collect()
}

fn parse(text: &str) -> u64 {
    text.parse().expect("a counter writes numbers")
}

/// Runs the processes, with `meanwhile` in the middle of it; everything they wrote.
fn contend(sidecars: [&Sidecar; 2], times: u64, meanwhile: impl FnOnce()) -> Vec<Written> {
    let place = folder();
    let file = place.path().join("counter");
    std::fs::write(&file, "0 0").expect("our folder");
    let mut processes: Vec<_> =
        (0..PROCESSES).map(|index| counter(sidecars[index % 2].socket(), &file, times)).collect();
    processes.iter_mut().for_each(|process| process.say("go"));
    meanwhile();
    let written: Vec<_> = processes.into_iter().map(written).collect();
    let end = std::fs::read_to_string(&file).expect("our file");
    let number = end.split_once(' ').map(|(number, _)| parse(number)).expect("a number and a fence");
    assert_eq!(number, times * PROCESSES as u64, "no increment is lost");
    written
}

/// Numbers and fences in the order of the numbers: every number once, and every fence above the one before.
fn in_order(written: &[Written]) {
    let mut all: Vec<_> = written.iter().flatten().copied().collect();
    all.sort_unstable();
    for (index, pair) in all.windows(2).enumerate() {
        assert_eq!(pair[0].0, index as u64 + 1, "each number is written once");
        assert!(pair[0].1 < pair[1].1, "fences rise: {} after {} at {}", pair[1].1, pair[0].1, pair[1].0);
    }
}

/// Jain's index over what each had when the first was done: until then all of them wanted as much as they could get.
fn fairness(written: &[Written]) -> f64 {
    let first_done =
        written.iter().filter_map(|one| one.last()).map(|last| last.0).min().expect("somebody wrote");
    let shares =
        written.iter().map(|one| one.iter().filter(|(number, _)| *number <= first_done).count() as f64);
    let (sum, squares) =
        shares.fold((0.0, 0.0), |(sum, squares), share| (sum + share, squares + share * share));
    sum * sum / (written.len() as f64 * squares)
}

#[test]
fn no_increment_is_lost_between_two_sidecars_and_shares_are_fair() {
    let redis = Redis::start();
    let (a, b) = (Sidecar::connected_to(&redis), Sidecar::connected_to(&redis));
    let written = contend([&a, &b], TIMES, || {});
    in_order(&written);
    let jain = fairness(&written);
    assert!(jain >= 0.99, "Jain's index is {jain:.4}");
}

#[test]
fn no_increment_is_lost_on_the_memory_store() {
    let sidecar = Sidecar::on_memory();
    let written = contend([&sidecar, &sidecar], TIMES, || {});
    in_order(&written);
    let jain = fairness(&written);
    assert!(jain >= 0.99, "Jain's index is {jain:.4}");
}

#[test]
fn redis_stopped_for_three_seconds_under_contention_costs_no_increment_and_no_lease() {
    let redis = Redis::start();
    let (a, b) = (Sidecar::connected_to(&redis), Sidecar::connected_to(&redis));
    let written = contend([&a, &b], 500, || {
        redis.pause();
        std::thread::sleep(Duration::from_secs(3));
        redis.resume();
    });
    in_order(&written);
    // All leases are given back: the key is there for a try on either side.
    for sidecar in [&a, &b] {
        sidecar.unlock(&sidecar.lock("counter", ""));
    }
}
