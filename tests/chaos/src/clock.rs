//! The one clock of a recording: `CLOCK_BOOTTIME`, which all processes of a host share.
//!
//! Owns the translation between boottime and the instants of a history.

use rustix::time::{ClockId, clock_gettime};
use sidelock_sim::checker::history::At;
use std::time::{Duration, Instant};

/// Boottime, counted from when the recording began.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin_ns: u64,
}

impl Clock {
    /// A recording that begins now.
    pub fn start() -> Clock {
        Clock { origin_ns: boottime_ns() }
    }

    /// The recording that began at this boottime.
    pub fn since(origin_ns: u64) -> Clock {
        Clock { origin_ns }
    }

    /// The boottime at which it began: what another process needs to know to write the same history.
    pub fn origin_ns(self) -> u64 {
        self.origin_ns
    }

    /// Now.
    pub fn now(self) -> At {
        At(boottime_ns().saturating_sub(self.origin_ns))
    }

    /// When this was.
    pub fn at(self, instant: Instant) -> At {
        At(boottime_ns().saturating_sub(nanoseconds(instant.elapsed())).saturating_sub(self.origin_ns))
    }

    /// When this boottime is, or was.
    pub fn when(self, boottime: Duration) -> At {
        At(nanoseconds(boottime).saturating_sub(self.origin_ns))
    }
}

fn boottime_ns() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    nanoseconds(Duration::try_from(now).expect("boottime is not negative"))
}

fn nanoseconds(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).expect("a few centuries fit")
}
