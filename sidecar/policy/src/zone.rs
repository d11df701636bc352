//! What a clock on the wall shows, in a policy's time zone.
//!
//! Owns the zones, with rules that are built in: the same request is decided alike on every machine. Reads no clock.

use crate::model::Clock;
use jiff::Timestamp;
use jiff::tz::TimeZone;

const MINUTES_PER_DAY: i64 = 24 * 60;
/// 1970-01-01 was a Thursday.
const WEEKDAY_OF_EPOCH: i64 = 3;

/// A time zone of the IANA database.
#[derive(Clone, Debug)]
pub(crate) struct Zone(TimeZone);

impl Zone {
    /// By its name: `Europe/Berlin`, `UTC`.
    pub(crate) fn named(name: &str) -> Result<Zone, String> {
        TimeZone::get(name).map(Zone).map_err(|_| {
            format!(
                "`{name}` is no time zone; write a name of the IANA database, such as Europe/Berlin or UTC"
            )
        })
    }

    /// The clock at this moment. Beyond the year 9999 it shows UTC.
    pub(crate) fn clock(&self, unix_ms: u64) -> Clock {
        let moment = i64::try_from(unix_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
        let offset = moment.map_or(0, |moment| i64::from(self.0.to_offset(moment).seconds()).div_euclid(60));
        let minutes = i64::try_from(unix_ms / 60_000).unwrap_or(i64::MAX / 2) + offset;
        let days = minutes.div_euclid(MINUTES_PER_DAY);
        Clock {
            unix_ms,
            utc_offset_minutes: i16::try_from(offset).unwrap_or(0),
            weekday: u8::try_from((days + WEEKDAY_OF_EPOCH).rem_euclid(7)).unwrap_or(0),
            minute_of_day: u16::try_from(minutes.rem_euclid(MINUTES_PER_DAY)).unwrap_or(0),
        }
    }
}

/// A moment as people write it: RFC 3339, with an offset or a zone (`2026-11-26T23:00:00Z`, `2026-11-26T23:00[Europe/Berlin]`).
/// In milliseconds since 1970.
pub fn parse_moment(text: &str) -> Result<u64, String> {
    let wrong =
        || format!("`{text}` is no moment; write 2026-11-26T23:00:00Z or 2026-11-26T23:00[Europe/Berlin]");
    let moment = text
        .parse::<Timestamp>()
        .or_else(|_| text.parse::<jiff::Zoned>().map(|moment| moment.timestamp()))
        .map_err(|_| wrong())?;
    u64::try_from(moment.as_millisecond()).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shows(zone: &str, moment: &str) -> (i16, u8, u16) {
        let clock = Zone::named(zone).unwrap().clock(parse_moment(moment).unwrap());
        (clock.utc_offset_minutes, clock.weekday, clock.minute_of_day)
    }

    #[test]
    fn a_zone_shows_its_own_day_and_minute() {
        assert_eq!(shows("UTC", "1970-01-01T00:00:00Z"), (0, 3, 0));
        assert_eq!(shows("UTC", "2026-11-26T23:59:59Z"), (0, 3, 1439));
        // A day ahead.
        assert_eq!(shows("Asia/Kolkata", "2026-11-26T23:59:59Z"), (330, 4, 329));
        assert_eq!(shows("America/New_York", "2026-11-27T03:00:00Z"), (-300, 3, 1320));
        assert_eq!(shows("America/St_Johns", "1970-01-01T00:00:00Z"), (-210, 2, 1230));
    }

    #[test]
    fn summer_time_begins_and_ends_to_the_minute() {
        assert_eq!(shows("Europe/Berlin", "2026-03-29T00:59:59Z"), (60, 6, 119));
        assert_eq!(shows("Europe/Berlin", "2026-03-29T01:00:00Z"), (120, 6, 180));
        assert_eq!(shows("Europe/Berlin", "2026-10-25T00:59:59Z"), (120, 6, 179));
        assert_eq!(shows("Europe/Berlin", "2026-10-25T01:00:00Z"), (60, 6, 120));
    }

    #[test]
    fn no_moment_is_beyond_a_zone() {
        for moment in [0, u64::MAX, i64::MAX as u64, 253_402_300_800_000] {
            let clock = Zone::named("Europe/Berlin").unwrap().clock(moment);
            assert!(clock.weekday < 7 && clock.minute_of_day < 1440, "{clock:?}");
        }
    }

    #[test]
    fn what_is_no_zone_and_no_moment_is_told() {
        assert!(Zone::named("Mars/Olympus").unwrap_err().contains("Europe/Berlin"));
        assert_eq!(parse_moment("2026-11-26T23:00[Europe/Berlin]"), parse_moment("2026-11-26T22:00:00Z"));
        assert!(parse_moment("yesterday").is_err() && parse_moment("1960-01-01T00:00:00Z").is_err());
    }
}
