//! Every target for a bounded number of rounds, the same ones each time. Longer: `cargo run -p sidelock-fuzz -- all`.

use sidelock_fuzz::{Hunt, target};

const SEED: u64 = 1;

/// Hunts in a target; what is wrong if it did not get to all of `places`.
fn hunt(name: &str, rounds: u64, places: &[&str]) {
    let mut hunt = Hunt::new(target(name).expect("a target of that name"), SEED);
    while hunt.rounds() < rounds {
        if let Err(failure) = hunt.round() {
            panic!("replay: fuzz {name} --file {}", failure.file.display());
        }
    }
    let missed: Vec<_> = places.iter().filter(|place| !hunt.marks().contains_key(**place)).collect();
    assert!(missed.is_empty(), "{name} never led to {missed:?}, only to {:#?}", hunt.marks());
}

#[test]
fn frames() {
    hunt("frames", 10_000, &["no error", "5 frames"]);
}

#[test]
fn messages() {
    hunt("messages", 20_000, &["to sidecar 0x2 understood", "to client 0x42 understood"]);
}

#[test]
fn records() {
    hunt("records", 20_000, &["[0, 0, 0, 0]", "[2, 3, 1, 0]", "[2, 3, 1, 2]"]);
}

#[test]
fn replies() {
    let answers = [
        "Granted",
        "Queued",
        "Renewed",
        "LimitMismatch",
        "Withdrawn",
        "push 1",
        "push 6",
        "a declaration of 1 and 1",
        "sent again",
    ];
    let refusals = ["not applied: OOM", "not applied: MISCONF", "not applied: Corrupt", "unknown: ERR"];
    hunt("replies", 20_000, &[&answers[..], &refusals].concat());
}

#[test]
fn config() {
    let wrong = ["did you mean", "missing field", "duplicate key", "not text"];
    let right =
        ["accepted", "tenure.ttl is set", "class is set", "redis.url is set", "limits.sessions_max is set"];
    hunt("config", 2_000, &[&wrong[..], &right].concat());
}

#[test]
fn words() {
    hunt(
        "words",
        20_000,
        &["duration in ms", "duration in d", "3 of 6 pieces: true", "3 of 6 pieces: false"],
    );
}

#[test]
fn http() {
    let served = ["200 application/json", "200 application/x-ndjson", "200 text/event-stream", "204 "];
    let wrong = [
        "400 bad_request ttl",
        "404 not_found ",
        "405 bad_request ",
        "413 too_large key",
        "415 bad_request ",
    ];
    let not_now = ["409 held ", "409 wait_timeout ", "400 of hyper"];
    hunt("http", 5_000, &[&served[..], &wrong, &not_now].concat());
}

#[test]
fn stateful() {
    let granted = ["granted exclusive by Handoff", "granted shared by Retained", "granted permits by Store"];
    let refused = ["refused: Held", "refused: LimitMismatch", "refused: QueueFull", "refused: TooMany"];
    let later = [
        "renewed",
        "released",
        "cancelled",
        "extended",
        "at risk",
        "lost by store",
        "lost by session",
        "resumed",
    ];
    hunt("stateful", 20_000, &[&granted[..], &refused, &later].concat());
}
