//! A sidecar whose policy is replaced once a second, while it is asked: `reloads DENIES.wasm GRANTS.wasm KEY ROUNDS`.
//!
//! For policies whose making takes a toolchain, so no test of cargo's can: the first component denies a lock of KEY, the second
//! grants it. Fails if a request is lost, or a new version decides later than [`ANEW_WITHIN`] after its file is there.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "its output is what it is for")]

use sidelock_e2e::folder;
use sidelock_e2e::frames::{Peer, try_lock};
use sidelock_e2e::sidecar::Sidecar;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

const GAP: Duration = Duration::from_millis(1);
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
    let (stop, asked, lost) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let mut slowest = Duration::ZERO;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut peer = Peer::greeted(sidecar.socket());
            for request in 1.. {
                if stop.load(Relaxed) {
                    return;
                }
                let answer = peer.acquires(try_lock(request, &format!("{key}/{request}")));
                asked.fetch_add(1, Relaxed);
                // Who takes a whole processor for this measures how many processors there are.
                std::thread::sleep(GAP);
                lost.fetch_add(u64::from(answer != "granted" && answer != "denied"), Relaxed);
            }
        });
        for round in 1..=rounds {
            let (next, expected) = if round % 2 == 1 { (grants, 200) } else { (denies, 403) };
            put(Path::new(next), &policy);
            let begun = Instant::now();
            let status = |number: u32| {
                sidecar.request("POST", &format!("/v1/locks/{key}/{round}/{number}"), "").status
            };
            let decided = (0..).find(|number| begun.elapsed() > ANEW_WITHIN || status(*number) == expected);
            println!("version {round} in force after {:.2?}", begun.elapsed());
            slowest = slowest.max(begun.elapsed());
            assert!(decided.is_some());
            std::thread::sleep(EVERY.saturating_sub(begun.elapsed()));
        }
        stop.store(true, Relaxed);
    });
    let (asked, lost) = (asked.into_inner(), lost.into_inner());
    println!(
        "{rounds} versions, the slowest in force after {slowest:.1?}; {asked} requests meanwhile, {lost} lost"
    );
    match lost == 0 && slowest <= ANEW_WITHIN && asked > 100 {
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
