//! Policies that do all they can to hurt, in a real sidecar: each is stopped by a limit that has a name, nobody else
//! notices, and what it used is given back.
//!
//! The limits themselves are tested where they are made, with the host; here it is what becomes of everybody else.

#[path = "../../../sidecar/policy/tests/host/guest.rs"]
#[expect(dead_code, reason = "the host's own tests need more of it")]
mod guest;

use guest::{Guest, store, store8};
use sidelock_e2e::folder;
use sidelock_e2e::frames::{Peer, try_lock};
use sidelock_e2e::process::until;
use sidelock_e2e::sidecar::Sidecar;
use sidelock_wire::{LeaseName, ToSidecar};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Windows with hostile calls, at least, each of them after one without: whatever else runs on the machine disturbs some of both,
/// and the medians are compared.
const ROUNDS: usize = 10;
/// How long each window is, and how many requests it has, at least.
const WINDOW: Duration = Duration::from_millis(200);
const SAMPLES: usize = 200;
/// Hostile calls in all those windows, at least: a thousand a second, where nobody else is on the machine.
const DENIED_MIN: u64 = 2_000;
/// What two processors that are busy with three threads make of any wait: the kernel's slice.
const SLICE: Duration = Duration::from_millis(3);
/// What may be left in memory of thousands of hostile calls.
const LEFT_KIB_MAX: u64 = 16 * 1024;

/// Name, which is its key as well; what it does; the limit that stops it.
fn hostile() -> Vec<(&'static str, Guest, &'static str)> {
    let forever = |code: &str| Guest::new().admit(&format!("(loop $again {code} (br $again))"));
    let deep = "(func $deep (param i32) (result i32) (call $deep (i32.add (local.get 0) (i32.const 1))))";
    let text = store8(0, 1) + &store8(8, 1) + &store(12, 0) + &store(16, 4 << 20);
    vec![
        ("loop", forever(""), "deadline"),
        ("host-loop", forever("(call $log (i32.const 0) (i32.const 0) (i32.const 1))"), "deadline"),
        ("memory", forever("(drop (memory.grow (i32.const 1)))"), "memory"),
        (
            "table",
            forever("(drop (table.grow $t (ref.null func) (i32.const 1000)))").with("(table $t 1 funcref)"),
            "table",
        ),
        ("stack", Guest::new().with(deep).admit("(drop (call $deep (i32.const 0)))"), "stack"),
        ("trap", Guest::new().admit("unreachable"), "trap"),
        ("divides", Guest::new().admit("(drop (i32.div_u (i32.const 1) (local.get $i)))"), "trap"),
        (
            "not-a-number",
            Guest::new().admit("(drop (i32.trunc_f64_s (f64.div (f64.const 0) (f64.const 0))))"),
            "trap",
        ),
        ("giant", Guest::new().pages(80).admit(&text), "lists"),
        ("lies", Guest::new().admit(&store8(0, 9)), "answer"),
    ]
}

/// A sidecar with all of them, each asked about its own key.
fn surrounded(folder: &Path) -> Sidecar {
    let mut settings = String::new();
    for (name, guest, _) in hostile() {
        let path = folder.join(format!("{name}.wasm"));
        std::fs::write(&path, guest.policy()).expect("our folder");
        let _ = writeln!(settings, "[[policy]]\npath = \"{}\"\nmatch = [\"{name}\"]", path.display());
    }
    let path = folder.join("denies.wasm");
    std::fs::write(&path, Guest::new().denies("no", "never").policy()).expect("our folder");
    let _ = writeln!(settings, "[[policy]]\npath = \"{}\"\nmatch = [\"denied\"]", path.display());
    Sidecar::configured(&settings, &["--store", "memory"])
}

#[test]
fn each_is_stopped_by_a_limit_that_has_a_name() {
    let folder = folder();
    let sidecar = surrounded(folder.path());
    let mut peer = Peer::greeted(sidecar.socket());
    for (request, (name, _, limit)) in (1..).zip(hostile()) {
        let (code, message) = peer.answer(try_lock(request, name));
        let says = format!("policy {name} could not decide ({limit})");
        assert!(code == "denied" && message.contains(&says), "{name}: {code}: {message}");
    }
    let metrics = sidecar.get("/metrics").body;
    for (name, _, limit) in hostile() {
        let counted = format!("sidelock_policy_errors_total{{policy=\"{name}\",limit=\"{limit}\"}} 1");
        assert!(metrics.contains(&counted), "{counted} is missing in {metrics}");
    }
    assert_eq!(peer.acquires(try_lock(100, "free")), "granted");
}

#[test]
fn others_do_not_notice_and_memory_returns() {
    let folder = folder();
    let sidecar = surrounded(folder.path());
    let mut quiet = Quiet::of(&sidecar);
    let first = quiet.p99();
    let before = sidecar.resident_kib();
    let (begun, denied) = (Instant::now(), AtomicU64::new(0));
    let (mut calm, mut beset) = (Vec::new(), Vec::new());
    while beset.len() < ROUNDS || denied.load(Relaxed) <= DENIED_MIN {
        assert!(
            beset.len() < ROUNDS * 3,
            "{denied:?} of {DENIED_MIN} hostile calls in {:?}",
            begun.elapsed()
        );
        calm.push(quiet.p99());
        beset.push(beside_hostile_calls(&sidecar, &denied, || quiet.p99()));
    }
    let (calm, beset) = (median(&mut calm), median(&mut beset));
    println!("measured: p99 {calm:?} calm, {beset:?} beside {denied:?} hostile calls");
    assert!(beset <= (calm * 2).max(SLICE), "p99 {beset:?}, {calm:?} when calm");
    // What hostile calls leave behind would be in all windows after the first.
    assert!(calm <= (first * 2).max(SLICE), "p99 {calm:?} between hostile calls, {first:?} before");
    until(Duration::from_secs(5), "memory is given back", || {
        (sidecar.resident_kib() <= before + LEFT_KIB_MAX).then_some(())
    });
}

/// What is measured while somebody asks for everything hostile.
fn beside_hostile_calls(
    sidecar: &Sidecar,
    denied: &AtomicU64,
    measure: impl FnOnce() -> Duration,
) -> Duration {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _stop = Stop(&stop);
        scope.spawn(|| beset(sidecar, &stop, denied));
        measure()
    })
}

/// Ends the hostile calls, also if what is measured fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// Asks for everything hostile, and what is denied, as fast as it can; from where it was stopped before.
fn beset(sidecar: &Sidecar, stop: &AtomicBool, denied: &AtomicU64) {
    let names: Vec<_> = hostile().iter().map(|(name, ..)| *name).chain(["denied"; 20]).collect();
    let mut peer = Peer::greeted(sidecar.socket());
    let next = denied.load(Relaxed) as usize % names.len();
    for (request, name) in (1..).zip(names.iter().cycle().skip(next)) {
        if stop.load(Relaxed) {
            return;
        }
        assert_eq!(peer.acquires(try_lock(request, name)), "denied", "{name}");
        denied.fetch_add(1, Relaxed);
    }
}

/// A client that takes a lock and gives it back, over and over.
struct Quiet {
    peer: Peer,
    request: u64,
}

impl Quiet {
    fn of(sidecar: &Sidecar) -> Quiet {
        Quiet { peer: Peer::greeted(sidecar.socket()), request: 0 }
    }

    /// What 99 of 100 of its grants take at most, in one window.
    fn p99(&mut self) -> Duration {
        let (begun, mut spans) = (Instant::now(), Vec::new());
        while begun.elapsed() < WINDOW || spans.len() < SAMPLES {
            self.request += 2;
            let (request, start) = (self.request, Instant::now());
            assert_eq!(self.peer.acquires(try_lock(request, "free")), "granted");
            spans.push(start.elapsed());
            let lease = LeaseName::Session(request);
            self.peer.say(&ToSidecar::Release { request: request + 1, lease });
        }
        spans.sort_unstable();
        spans[spans.len() * 99 / 100]
    }
}

fn median(spans: &mut [Duration]) -> Duration {
    spans.sort_unstable();
    spans[spans.len() / 2]
}
