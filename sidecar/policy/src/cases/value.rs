//! Durations and times, as people write them.
//!
//! Owns their spelling. `500ms 30s 5m 24h 7d` and `0`; TOML's dates, with an offset or on the wall clock of a zone.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use std::time::Duration;

/// A span of whole milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(
    /// Milliseconds.
    pub u64,
);

impl Span {
    /// Reads `500ms 30s 5m 24h 7d`, or `0`.
    pub fn parse(text: &str) -> Result<Span, String> {
        match text {
            "0" => Ok(Span(0)),
            text => {
                let span = sidelock_notation::parse_duration(text)?;
                u64::try_from(span.as_millis()).map(Span).map_err(|_| format!("`{text}` is too long"))
            }
        }
    }
}

impl std::fmt::Display for Span {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&sidelock_notation::format_duration(Duration::from_millis(self.0)))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Span, D::Error> {
        Span::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// A moment: a TOML date and time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// With an offset, it is the same everywhere.
    Exact(Timestamp),
    /// Without, it is what the clock on the wall shows in the policy's zone.
    Wall(DateTime),
}

impl Moment {
    /// Reads `2026-03-04T10:00:00Z`, `2026-03-04T10:00:00+01:00`, or `2026-03-04T10:00:00`; a blank may stand for the `T`.
    pub fn parse(text: &str) -> Result<Moment, String> {
        match text.parse::<Timestamp>() {
            Ok(exact) => Ok(Moment::Exact(exact)),
            Err(_) => text.parse::<DateTime>().map(Moment::Wall).map_err(|error| {
                format!("{text:?} is no time such as 2026-03-04T10:00:00Z or 2026-03-04T10:00:00: {error}")
            }),
        }
    }

    /// The moment in `zone`. Where the clock on the wall shows a time twice it is the first, where it skips one the later.
    pub fn in_zone(self, zone: &TimeZone) -> Result<Zoned, String> {
        match self {
            Moment::Exact(at) => Ok(at.to_zoned(zone.clone())),
            Moment::Wall(wall) => wall.to_zoned(zone.clone()).map_err(|error| error.to_string()),
        }
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Moment, D::Error> {
        let at = toml::value::Datetime::deserialize(deserializer)?;
        Moment::parse(&at.to_string()).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_as_everywhere_else_and_nothing_is_0() {
        assert_eq!(Span::parse("24h"), Ok(Span(86_400_000)));
        assert_eq!(Span::parse("0"), Ok(Span(0)));
        assert!(Span::parse("5").is_err() && Span::parse("soon").is_err());
        assert_eq!(Span(90_000).to_string(), sidelock_notation::format_duration(Duration::from_secs(90)));
    }

    #[test]
    fn a_moment_is_the_same_everywhere_or_on_a_wall() {
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        let minute =
            |text: &str| Moment::parse(text).unwrap().in_zone(&berlin).unwrap().timestamp().to_string();
        assert_eq!(minute("2026-07-01T20:45:00Z"), "2026-07-01T20:45:00Z");
        assert_eq!(minute("2026-07-01T20:45:00"), "2026-07-01T18:45:00Z");
        assert_eq!(minute("2026-07-01 20:45:00+00:00"), "2026-07-01T20:45:00Z");
        // On 25 October the clock on the wall shows half past two twice, on 29 March never.
        assert_eq!(minute("2026-10-25T02:30:00"), "2026-10-25T00:30:00Z");
        assert_eq!(minute("2026-03-29T02:30:00"), "2026-03-29T01:30:00Z");
        assert!(Moment::parse("yesterday").is_err() && Moment::parse("2026-13-01T00:00:00").is_err());
    }
}
