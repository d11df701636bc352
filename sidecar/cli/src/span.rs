//! Durations on the command line.
//!
//! Owns how they are written: as everywhere else, or as bare seconds the way `flock` and `timeout` take them.

use sidelock_daemon::config::{format_duration, parse_duration};
use std::time::Duration;

/// Longest span of bare seconds that is taken: beyond a year somebody mixed up units.
const SECONDS_MAX: f64 = 366.0 * 86_400.0;

/// How long a verb waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Until it has what it wants.
    Forever,
    /// So long at most; zero is one try.
    For(Duration),
}

/// Reads `500ms 30s 5m 24h 7d`, or bare seconds: `0`, `2.5`.
pub(crate) fn span(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=SECONDS_MAX).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        Ok(_) => Err(format!("{text:?} is no duration; write 500ms 30s 5m 24h 7d")),
        Err(_) => parse_duration(text),
    }
}

/// Reads a duration that says its unit: whoever writes 24 for the length of a window means hours as likely as seconds.
pub(crate) fn window(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(_) => Err(format!("{text:?} has no unit; write {text}s, or 1h 24h 7d")),
        Err(_) => parse_duration(text),
    }
}

/// Reads a duration or `forever`.
pub(crate) fn wait(text: &str) -> Result<Wait, String> {
    match text {
        "forever" => Ok(Wait::Forever),
        text => span(text).map(Wait::For),
    }
}

/// Writes a duration for a request's body.
pub(crate) fn written(span: Duration) -> String {
    format_duration(span)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_units_or_are_seconds() {
        assert_eq!(span("0"), Ok(Duration::ZERO));
        assert_eq!(span("2.5"), Ok(Duration::from_millis(2500)));
        assert_eq!(span("1m30s"), Ok(Duration::from_secs(90)));
        for wrong in ["-1", "NaN", "inf", "1e300", "soon", ""] {
            assert!(span(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn windows_have_units() {
        assert_eq!(window("24h"), Ok(Duration::from_secs(86_400)));
        assert!(window("24").is_err_and(|why| why.contains("no unit")));
    }

    #[test]
    fn a_wait_may_have_no_end() {
        assert_eq!(wait("forever"), Ok(Wait::Forever));
        assert_eq!(wait("5s"), Ok(Wait::For(Duration::from_secs(5))));
    }
}
