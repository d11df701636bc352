//! Figures: how they are taken, printed and summed up.
//!
//! Must not know what is measured.

use sidelock_e2e::frames::{Peer, try_lock};
use sidelock_e2e::process::Process;
use sidelock_e2e::sidecar::Sidecar;
use sidelock_wire::{LeaseName, ToClient, ToSidecar};
use std::fmt::Display;
use std::time::{Duration, Instant};

/// Memory that may be left when a crowd is gone: what the allocator keeps between pieces in use, a quarter of what the crowd
/// took, and a little whatever its size.
const LEFT_PARTS_MAX: u64 = 4;
const LEFT_KIB_MAX: u64 = 4 * 1024;
/// How long that may take: a sidecar looks every second whether it is worth the time.
const COMES_BACK_WITHIN: Duration = Duration::from_secs(5);

/// The sizes of the goals, or those that fit into every test run.
pub(crate) fn sized(full: u64, usual: u64) -> u64 {
    let wanted = std::env::var("SIDELOCK_LOAD");
    if wanted.is_ok_and(|wanted| wanted == "full") { full } else { usual }
}

/// One line for people, and for the table in the README.
#[expect(clippy::print_stdout, reason = "figures are what this test is run for")]
pub(crate) fn measured(what: impl Display, figure: impl Display) {
    println!("measured: {what}: {figure}");
}

/// The sample that so many of a hundred do not exceed.
pub(crate) fn percentile(samples: &mut [Duration], percent: usize) -> Duration {
    assert!(samples.len() >= 100, "{} samples are too few", samples.len());
    samples.sort_unstable();
    samples[samples.len() * percent / 100]
}

/// So many a second.
pub(crate) fn rate(count: u64, took: Duration) -> String {
    format!("{:.0}/s", count as f64 / took.as_secs_f64())
}

/// Memory of a process, before and after.
pub(crate) struct Memory {
    before_kib: u64,
}

impl Memory {
    /// From here on.
    pub(crate) fn before(process: &Process) -> Memory {
        process.forget_resident_peak();
        Memory { before_kib: process.resident_kib() }
    }

    /// What each of `count` things costs now, held against its goal.
    pub(crate) fn each_costs(&self, process: &Process, what: &str, count: u64, bytes_max: u64) {
        within(what, self.each(process, what, count), bytes_max);
    }

    /// What each of `count` things costs now, in bytes.
    pub(crate) fn each(&self, process: &Process, what: &str, count: u64) -> u64 {
        let bytes = (process.resident_kib() - self.before_kib) * 1024 / count;
        measured(format_args!("memory of {what}, {count} of them"), format_args!("{bytes} bytes"));
        bytes
    }

    /// How much more it was at most, in KiB.
    pub(crate) fn most(&self, process: &Process) -> u64 {
        process.resident_peak_kib() - self.before_kib
    }

    /// What is left of a crowd once it is gone; the next crowd is another matter.
    pub(crate) fn comes_back(&self, process: &Process, of_what: &str) {
        let grown = self.most(process);
        let left_max = grown / LEFT_PARTS_MAX + LEFT_KIB_MAX;
        let left = || process.resident_kib().saturating_sub(self.before_kib);
        let start = Instant::now();
        while left() > left_max && start.elapsed() < COMES_BACK_WITHIN {
            std::thread::sleep(Duration::from_millis(50));
        }
        let (left, took) = (left(), start.elapsed());
        measured(
            format_args!("memory left of {of_what}"),
            format_args!(
                "{left} KiB of {grown} that they took, after {took:.1?}; {} before",
                self.before_kib
            ),
        );
        assert!(left <= left_max, "{left} KiB stay of {grown} that {of_what} took");
        process.forget_resident_peak();
    }
}

/// Holds what a thing costs against its goal.
pub(crate) fn within(what: &str, bytes: u64, bytes_max: u64) {
    assert!(bytes <= bytes_max, "{what} costs {bytes} bytes; the goal is {bytes_max}");
}

/// A number of `/v1/info`.
pub(crate) fn count(sidecar: &Sidecar, of: &str) -> u64 {
    let info = sidecar.get("/v1/info").json();
    info[of].as_u64().unwrap_or_else(|| panic!("{of} is counted in {info}"))
}

/// A client that takes and releases a key of its own now and then, and notes how long taking it took.
pub(crate) struct Bystander {
    peer: Peer,
    key: String,
    request: u64,
}

impl Bystander {
    /// Connected.
    pub(crate) fn of(sidecar: &Sidecar, name: &str) -> Bystander {
        Bystander { peer: Peer::greeted(sidecar.socket()), key: format!("bystander/{name}"), request: 0 }
    }

    /// Takes a key, and gives it back.
    pub(crate) fn takes(&mut self, key: &str) -> Duration {
        self.request += 2;
        let start = Instant::now();
        assert_eq!(self.peer.acquires(try_lock(self.request, key)), "granted", "{key} is free");
        let took = start.elapsed();
        let lease = LeaseName::Session(self.request);
        self.peer.say(&ToSidecar::Release { request: self.request + 1, lease });
        let released = |message: &ToClient<'_>| matches!(message, ToClient::Released { .. });
        assert!(self.peer.hears("that it is released", released));
        took
    }

    /// Takes its own key.
    pub(crate) fn takes_its_key(&mut self) -> Duration {
        let key = std::mem::take(&mut self.key);
        let took = self.takes(&key);
        self.key = key;
        took
    }
}
