//! Every target for a bounded number of rounds, the same ones each time. Longer: `cargo run -p sidelock-fuzz -- all`.

use sidelock_fuzz::{Inputs, TARGETS};

/// A few seconds on a slow machine.
const ROUNDS: usize = 20_000;
const SEED: u64 = 1;

fn fuzz(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target of that name");
    for (round, input) in Inputs::new(target, SEED, 0).take(ROUNDS) {
        let outcome = std::panic::catch_unwind(|| (target.check)(&input));
        assert!(outcome.is_ok(), "replay: fuzz {name} --seed {SEED} --round {round}");
    }
}

#[test]
fn frames() {
    fuzz("frames");
}

#[test]
fn messages() {
    fuzz("messages");
}

#[test]
fn records() {
    fuzz("records");
}

/// A harness that only makes garbage finds nothing: a good part of its inputs must be understood.
#[test]
fn mutations_get_past_the_first_check() {
    let target = TARGETS.iter().find(|target| target.name == "messages").expect("there");
    let understood = Inputs::new(target, SEED, 1000)
        .take(2000)
        .filter(|(_, input)| matches!(sidelock_wire::ToClient::decode(input), Ok(Some(_))))
        .count();
    assert!((100..1900).contains(&understood), "{understood} of 2000");
}
