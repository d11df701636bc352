//! A sidecar whose policy is replaced once a second, while it is asked: `reloads DENIES.wasm GRANTS.wasm KEY ROUNDS`.
//!
//! For policies whose making takes a toolchain, so no test of cargo's can: the first component denies a lock of KEY, the second
//! grants it. Fails if a request is lost, or a new version decides later than [`ANEW_WITHIN`] after its file is there.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "its output is what it is for")]

use sidelock_e2e::folder;
use sidelock_e2e::sidecar::Sidecar;
use sidelock_e2e::steady::{Asked, Asking};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

const GAP: Duration = Duration::from_millis(1);
const PROBES: Duration = Duration::from_millis(5);
const EVERY: Duration = Duration::from_secs(1);
const ANEW_WITHIN: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [denies, grants, key, rounds] = arguments.as_slice() else {
        eprintln!("usage: reloads DENIES.wasm GRANTS.wasm KEY ROUNDS");
        return ExitCode::from(2);
    };
    let rounds: usize = rounds.parse().expect("ROUNDS is a number");
    let folder = folder();
    let policy = folder.path().join("policy.wasm");
    put(Path::new(denies), &policy);
    let settings = format!("[[policy]]\npath = \"{}\"\n", policy.display());
    let sidecar = Sidecar::configured(&settings, &["--store", "memory"]);
    let mut slowest = Duration::ZERO;
    let asking = Asking::begin(sidecar.socket(), key, GAP);
    for round in 1..=rounds {
        let (next, expected) = if round % 2 == 1 { (grants, 200) } else { (denies, 403) };
        put(Path::new(next), &policy);
        let begun = Instant::now();
        let path = |number: u32| format!("/v1/locks/{key}/{round}/{number}");
        let is_asked = |number: u32| sidecar.request("POST", &path(number), "").status == expected;
        // Whoever asks without a pause keeps the processors from who compiles.
        let pauses = |number| {
            std::thread::sleep(PROBES);
            number
        };
        let _ = (0..).map(pauses).any(|number| is_asked(number) || begun.elapsed() > ANEW_WITHIN);
        println!("version {round} in force after {:.2?}", begun.elapsed());
        slowest = slowest.max(begun.elapsed());
        std::thread::sleep(EVERY.saturating_sub(begun.elapsed()));
    }
    let Asked { requests, lost } = asking.end();
    println!("{rounds} versions, the slowest in force after {slowest:.1?}; {requests} requests, {lost} lost");
    match lost == 0 && slowest <= ANEW_WITHIN && requests > 100 {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// As programs do it who want nobody to read half a file.
fn put(component: &Path, policy: &Path) {
    let new = policy.with_extension("new");
    std::fs::copy(component, &new).expect("the component is there");
    std::fs::rename(new, policy).expect("our folder");
}
