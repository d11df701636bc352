//! One client floods, twenty others go on as if nothing were (H15).
//!
//! The quiet ones are measured in turn with and without the flood, many times, and each is judged by its quietest
//! windows: whatever else runs on the machine only ever adds. A flooder takes processor time besides what its sidecar
//! takes, so it gives way to everybody, and there is a control: the same flood against a sidecar that the quiet ones do
//! not use.

use crate::figures::{Bystander, measured, percentile, rate};
use sidelock_e2e::frames::{Peer, try_lock};
use sidelock_e2e::sidecar::Sidecar;
use sidelock_wire::{Acquire, LeaseName, ToSidecar};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Clients that are measured.
const QUIET: usize = 20;
/// Rounds of each kind of flood; each has one window with and one without it, and one of the control.
const ROUNDS: usize = 12;
/// How long each window is, at least.
const WINDOW: Duration = Duration::from_millis(100);
/// Requests of a window, at least.
const SAMPLES: usize = 200;
/// So much longer a quiet client may wait while the flood lasts.
const RATIO_MAX: f64 = 2.0;
/// Pause between two requests of the quiet ones: they are quiet.
const PAUSE: Duration = Duration::from_micros(300);

/// A client that sends as much as the sidecar takes, until it is dropped.
struct Flood {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    flooder: Option<thread::JoinHandle<()>>,
}

impl Flood {
    /// Sends what `make` makes, over and over, and throws the answers away.
    fn of(socket: &Path, make: Make) -> Flood {
        let stop = Arc::new(AtomicBool::new(false));
        let sent = Arc::new(AtomicU64::new(0));
        let (stopped, count, socket) = (stop.clone(), sent.clone(), socket.to_owned());
        let flooder = Some(thread::spawn(move || flood(&socket, make, &stopped, &count)));
        Flood { stop, sent, flooder }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.flooder.take().map(thread::JoinHandle::join);
        assert!(thread::panicking() || matches!(ended, Some(Ok(()))), "the flooder came to its end");
    }
}

/// Appends the next piece of a flood; how many requests it is.
type Make = fn(round: u64, out: &mut Vec<u8>) -> u64;

/// Requests of a piece.
const PIECE: u64 = 256;

fn flood(socket: &Path, make: Make, stop: &AtomicBool, sent: &AtomicU64) {
    let mut piece = Vec::new();
    make(0, &mut piece);
    let mut stream = match piece.first().is_some_and(u8::is_ascii_alphabetic) {
        true => UnixStream::connect(socket).expect("the sidecar listens"),
        false => Peer::greeted(socket).into_stream(),
    };
    let mut reader = stream.try_clone().expect("a socket can be shared");
    give_way();
    let drain = thread::spawn(move || {
        give_way();
        let mut answers = vec![0; 256 * 1024];
        while reader.read(&mut answers).is_ok_and(|count| count > 0) {}
    });
    for round in 0.. {
        piece.clear();
        let count = make(round, &mut piece);
        if stop.load(Ordering::Relaxed) || stream.write_all(&piece).is_err() {
            break;
        }
        sent.fetch_add(count, Ordering::Relaxed);
    }
    let _ = stream.shutdown(std::net::Shutdown::Both);
    drain.join().expect("reading answers can not fail");
}

/// Leaves the processor to whoever wants it: what is measured is how the sidecar shares itself, not how the kernel shares
/// two processors among a sidecar, a flooder and the clients that are measured.
fn give_way() {
    rustix::process::nice(19).expect("a thread can make itself less important");
}

fn pings(_: u64, out: &mut Vec<u8>) -> u64 {
    (0..PIECE).for_each(|_| ToSidecar::Ping.encode(out));
    PIECE
}

fn one_key(round: u64, out: &mut Vec<u8>) -> u64 {
    cycles(round, out, |_| "flood".to_owned());
    PIECE
}

fn many_keys(round: u64, out: &mut Vec<u8>) -> u64 {
    cycles(round, out, |number| format!("flood/{number}"));
    PIECE
}

/// Acquires, each released at once.
fn cycles(round: u64, out: &mut Vec<u8>, key: impl Fn(u64) -> String) {
    for number in 0..PIECE / 2 {
        let request = round * PIECE + number * 2;
        ToSidecar::Acquire(try_lock(request, &key(request))).encode(out);
        ToSidecar::Release { request: request + 1, lease: LeaseName::Session(request) }.encode(out);
    }
}

/// Waits for ever, of which thousands are under way and all others are refused.
fn waits(round: u64, out: &mut Vec<u8>) -> u64 {
    for number in 0..PIECE {
        let ask = Acquire { wait: None, ..try_lock(round * PIECE + number, "flood") };
        ToSidecar::Acquire(ask).encode(out);
    }
    PIECE
}

fn http(_: u64, out: &mut Vec<u8>) -> u64 {
    const REQUEST: &[u8] = b"POST /v1/locks/flood HTTP/1.1\r\nHost: s\r\nContent-Length: 0\r\n\r\n";
    (0..PIECE / 16).for_each(|_| out.extend_from_slice(REQUEST));
    PIECE / 16
}

/// The quiet ones, one request at a time.
struct Quiet(Vec<Bystander>);

impl Quiet {
    fn of(sidecar: &Sidecar) -> Quiet {
        Quiet((0..QUIET).map(|number| Bystander::of(sidecar, &format!("quiet/{number}"))).collect())
    }

    /// How long they wait, in one window: half of them no longer than the first, 99 of a hundred than the second.
    fn wait(&mut self) -> (Duration, Duration) {
        let mut samples = Vec::new();
        let start = Instant::now();
        for client in (0..QUIET).cycle() {
            if start.elapsed() > WINDOW && samples.len() >= SAMPLES {
                break;
            }
            samples.push(self.0[client].takes_its_key());
            thread::sleep(PAUSE);
        }
        (percentile(&mut samples, 50), percentile(&mut samples, 99))
    }
}

/// What quiet clients waited in all windows of one kind.
#[derive(Default)]
struct Waits {
    p50: Vec<Duration>,
    p99: Vec<Duration>,
}

impl Waits {
    fn add(&mut self, (p50, p99): (Duration, Duration)) {
        self.p50.push(p50);
        self.p99.push(p99);
    }

    /// Of the quietest quarter of the windows, in microseconds: p50 and p99.
    fn quiet(&mut self) -> (f64, f64) {
        let quarter = |waits: &mut Vec<Duration>| {
            waits.sort_unstable();
            waits[waits.len() / 4].as_secs_f64() * 1e6
        };
        (quarter(&mut self.p50), quarter(&mut self.p99))
    }
}

/// How much longer the quiet ones wait at their 99th percentile while this flood lasts.
fn slowed_by(what: &str, make: Make) -> f64 {
    let (sidecar, other) = (Sidecar::on_memory(), Sidecar::on_memory());
    let mut quiet = Quiet::of(&sidecar);
    let (mut calm, mut flooded, mut control) = (Waits::default(), Waits::default(), Waits::default());
    let (mut sent, mut took) = (0, Duration::ZERO);
    quiet.wait();
    for _ in 0..ROUNDS {
        calm.add(quiet.wait());
        let start = Instant::now();
        let flood = Flood::of(sidecar.socket(), make);
        flooded.add(quiet.wait());
        sent += flood.sent.load(Ordering::Relaxed);
        took += start.elapsed();
        drop(flood);
        let _flood = Flood::of(other.socket(), make);
        control.add(quiet.wait());
    }
    let (calm, flooded, control) = (calm.quiet(), flooded.quiet(), control.quiet());
    // The flooder's own share of the processors is in the control too.
    let ratio = flooded.1 / calm.1.max(control.1);
    measured(
        format_args!("{QUIET} quiet clients beside a flood of {what} ({})", rate(sent, took)),
        format_args!(
            "p50 {:.0} µs, p99 {:.0} µs; without {:.0} and {:.0}; with the flood elsewhere {:.0} and {:.0}: {ratio:.1} times",
            flooded.0, flooded.1, calm.0, calm.1, control.0, control.1
        ),
    );
    ratio
}

#[test]
fn a_flooding_client_does_not_double_the_wait_of_quiet_ones() {
    let kinds: [(&str, Make); 5] = [
        ("pings", pings),
        ("one key", one_key),
        ("HTTP requests", http),
        ("waits", waits),
        ("many keys", many_keys),
    ];
    let ratios = kinds.map(|(what, make)| (what, slowed_by(what, make)));
    for (what, ratio) in ratios {
        assert!(ratio <= RATIO_MAX, "beside a flood of {what} quiet clients wait {ratio:.1} times as long");
    }
}
