//! Durations as people write them: `500ms 30s 5m 24h 7d`.
//!
//! Owns reading and writing them. Knows no setting.

use std::time::Duration;

/// Units, largest first, in milliseconds.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Reads a duration: digits, then a unit; several may follow one another (`1m30s`).
pub fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no duration; write a number and a unit: 500ms 30s 5m 24h 7d");
    let mut rest = text.trim();
    let mut total: u64 = 0;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let count: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let (_, millis) = UNITS.iter().find(|(name, _)| *name == &rest[..unit]).ok_or_else(wrong)?;
        rest = &rest[unit..];
        total = count.checked_mul(*millis).and_then(|span| total.checked_add(span)).ok_or_else(wrong)?;
    }
    Ok(Duration::from_millis(total))
}

/// Writes a duration in the largest unit that divides it; below a millisecond it is cut.
pub fn format(span: Duration) -> String {
    let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let (unit, size) =
        UNITS.iter().find(|(_, size)| millis != 0 && millis.is_multiple_of(*size)).unwrap_or(&("s", 1_000));
    format!("{}{unit}", millis / size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_read_and_written_back() {
        for (text, millis) in [
            ("500ms", 500),
            ("30s", 30_000),
            ("5m", 300_000),
            ("24h", 86_400_000),
            ("7d", 604_800_000),
            ("0s", 0),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        assert_eq!(parse("1m30s"), Ok(Duration::from_secs(90)));
        for text in ["500ms", "30s", "5m", "7d", "0s", "90s"] {
            assert_eq!(format(parse(text).unwrap()), text);
        }
        assert_eq!(format(parse("24h").unwrap()), "1d");
    }

    #[test]
    fn nonsense_is_told_with_the_remedy() {
        for text in ["", "5", "s", "5 s", "-5s", "5y", "99999999999999999999d", "1.5s", "9999999999999999d"] {
            let error = parse(text).expect_err(text);
            assert!(error.contains("500ms 30s"), "{error}");
        }
    }
}
