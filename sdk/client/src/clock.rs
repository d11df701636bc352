//! The clock that leases end by: `CLOCK_BOOTTIME`, which counts suspend and which all processes of a host share.

use std::time::Duration;

/// Now, in nanoseconds of `CLOCK_BOOTTIME`.
pub(crate) fn boottime_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    // Neither is ever negative: the clock starts at boot.
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// `span` after `instant`; the end of time if it lies beyond.
pub(crate) fn after(instant: u64, span: Duration) -> u64 {
    instant.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX))
}

/// From now until `instant`; zero if it has passed.
pub(crate) fn until(instant: u64) -> Duration {
    Duration::from_nanos(instant.saturating_sub(boottime_ns()))
}
