//! `stat`: what the sidecar does now, once or line by line.
//!
//! Owns when it is looked at, and how that is shown. What the numbers mean is `look`'s business. Must not change anything.

mod look;
mod openmetrics;

use crate::failure::Failure;
use crate::output::{Output, say, tell};
use crate::socket::Socket;
use crate::span::span;
use crate::table::shown;
use clap::Args;
use look::{Look, PATHS};
use serde_json::Value;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval, sleep};

/// How long rates are measured if it is shown once.
const ONE_LOOK: Duration = Duration::from_millis(500);
/// Lines after which the columns are named again.
const HEADER_EVERY: u64 = 20;
/// Shorter intervals measure the measuring.
const EVERY_MIN: Duration = Duration::from_millis(10);

/// Arguments of `stat`.
#[derive(Args, Debug)]
pub(crate) struct StatArgs {
    /// A line every so often, as vmstat: 1s; goes on through restarts of the sidecar
    #[arg(long, value_name = "SPAN", value_parser = every)]
    every: Option<Duration>,
    /// End after so many lines
    #[arg(long, value_name = "N", requires = "every")]
    count: Option<u64>,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    socket: Socket,
}

fn every(text: &str) -> Result<Duration, String> {
    match span(text)? {
        every if every < EVERY_MIN => Err(format!("at least {EVERY_MIN:?}")),
        every => Ok(every),
    }
}

/// Shows it once, or for as long as it is wanted.
pub(crate) async fn stat(args: StatArgs) -> Result<(), Failure> {
    let first = Look::take(&args.socket).await?;
    match args.every {
        Some(every) => lines(&args, first, every).await,
        None => {
            sleep(ONE_LOOK).await;
            let now = Look::take(&args.socket).await?.since(&first);
            args.output.write(&now, page)
        }
    }
}

/// A line for each interval. A sidecar that goes away is told of, and its successor is followed, unless it refuses us.
async fn lines(args: &StatArgs, mut last: Look, every: Duration) -> Result<(), Failure> {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    let (mut written, mut away) = (0, false);
    while args.count.is_none_or(|count| written < count) {
        ticks.tick().await;
        let look = match Look::take(&args.socket).await {
            Ok(look) => look,
            Err(failure) if !failure.is_passing() => return Err(failure),
            Err(failure) => {
                if !std::mem::replace(&mut away, true) {
                    tell(format_args!("{failure}; waiting for it to come back"));
                }
                continue;
            }
        };
        away = false;
        if !look.same_life(&last) {
            tell("a new sidecar answers; it counts from nothing");
        } else {
            let now = look.since(&last);
            if args.output.is_json() {
                say(&format!("{now}\n"))?;
            } else {
                if written % HEADER_EVERY == 0 {
                    say(&header())?;
                }
                say(&line(&now))?;
            }
            written += 1;
        }
        last = look;
    }
    Ok(())
}

/// Columns of a line: name and width.
const COLUMNS: [(&str, usize); 14] = [
    ("sess", 5),
    ("leases", 6),
    ("wait", 6),
    ("oldest", 7),
    ("grants/s", 8),
    ("handoff", 7),
    ("retain", 6),
    ("store", 5),
    ("waited", 7),
    ("lost/s", 6),
    ("cmd/s", 7),
    ("trip", 7),
    ("batch", 5),
    ("memory", 8),
];

fn columns(cells: [String; COLUMNS.len()]) -> String {
    let padded = cells.iter().zip(COLUMNS).map(|(cell, (_, width))| format!("{cell:>width$}"));
    padded.collect::<Vec<_>>().join(" ") + "\n"
}

fn header() -> String {
    columns(COLUMNS.map(|(name, _)| name.to_owned()))
}

fn line(now: &Value) -> String {
    let last = &now["last"];
    let total = grants_per_second(now);
    let share = |path: &str| percent(last["grants_per_second"][path].as_f64().unwrap_or_default(), total);
    let [handoff, retained, store] = PATHS.map(share);
    columns([
        now["sessions"].to_string(),
        now["leases"].to_string(),
        now["waiters"].to_string(),
        time(&now["oldest_wait"]),
        rate(total),
        handoff,
        retained,
        store,
        time(&last["wait_mean"]),
        rate(last["lost_per_second"].as_f64().unwrap_or_default()),
        if now["store_up"] == true {
            rate(last["store_commands_per_second"].as_f64().unwrap_or_default())
        } else {
            "DOWN".into()
        },
        time(&last["store_roundtrip_mean"]),
        last["store_batch_mean"].as_f64().map_or_else(|| "-".into(), |calls| format!("{calls:.1}")),
        memory(now),
    ])
}

/// All of it, for a person.
fn page(now: &Value) -> String {
    let last = &now["last"];
    let text = |name: &str| shown(now[name].as_str().unwrap_or("-"));
    let total = grants_per_second(now);
    let count = |path: &str| now["grants"][path].as_u64().unwrap_or_default();
    let all: u64 = PATHS.map(count).iter().sum();
    let shares = PATHS.map(|path| format!("{path} {}", percent(count(path) as f64, all as f64)));
    let up = if now["store_up"] == true { "up" } else { "DOWN: see the sidecar's log" };
    let draining = if now["draining"] == true { ", draining" } else { "" };
    let mut rows = vec![
        (
            "sidecar",
            format!("version {}, up {}, {}{draining}", text("version"), age(&now["uptime"]), memory(now)),
        ),
        (
            "store",
            format!(
                "{} ({up}), scope {}, guarantee {}, namespace {}",
                text("store"),
                text("scope"),
                text("guarantee"),
                text("namespace")
            ),
        ),
        ("sessions", now["sessions"].to_string()),
        ("leases", format!("{} on {} keys", now["leases"], now["keys"])),
        ("waiters", format!("{}, the oldest for {}", now["waiters"], time(&now["oldest_wait"]))),
        ("grants", format!("{}/s now; {all} so far: {}", rate(total), shares.join(", "))),
        ("waited", format!("{} on average now; held {}", time(&last["wait_mean"]), time(&last["hold_mean"]))),
        ("lost", lost(&now["lost"])),
    ];
    if now["store"] == "redis" {
        let batch =
            last["store_batch_mean"].as_f64().map_or_else(|| "-".into(), |calls| format!("{calls:.1}"));
        let commands = rate(last["store_commands_per_second"].as_f64().unwrap_or_default());
        rows.push((
            "redis",
            format!(
                "{commands} commands/s, round trip {}, {batch} operations each",
                time(&last["store_roundtrip_mean"])
            ),
        ));
    }
    rows.iter().map(|(name, value)| format!("{name:<9} {value}\n")).collect()
}

fn grants_per_second(now: &Value) -> f64 {
    PATHS.map(|path| now["last"]["grants_per_second"][path].as_f64().unwrap_or_default()).iter().sum()
}

/// Leases lost so far, by reason.
fn lost(reasons: &Value) -> String {
    let reasons = reasons.as_object().into_iter().flatten().filter(|(_, count)| count.as_u64() > Some(0));
    let reasons: Vec<_> = reasons.map(|(reason, count)| format!("{} {count}", shown(reason))).collect();
    if reasons.is_empty() { "none so far".into() } else { format!("{} so far", reasons.join(", ")) }
}

fn percent(part: f64, whole: f64) -> String {
    if whole > 0.0 { format!("{:.0}%", 100.0 * part / whole) } else { "-".into() }
}

fn rate(per_second: f64) -> String {
    match per_second {
        0.0 => "0".into(),
        slow if slow < 10.0 => format!("{slow:.1}"),
        fast => format!("{fast:.0}"),
    }
}

/// Seconds in the unit that suits them.
fn time(seconds: &Value) -> String {
    match seconds.as_f64() {
        None => "-".into(),
        Some(0.0) => "0".into(),
        Some(span) if span < 0.001 => format!("{:.0}us", span * 1e6),
        Some(span) if span < 1.0 => format!("{:.1}ms", span * 1e3),
        Some(span) if span < 100.0 => format!("{span:.1}s"),
        Some(_) => age(seconds),
    }
}

/// A long time: its two largest units.
fn age(seconds: &Value) -> String {
    let seconds = seconds.as_f64().unwrap_or_default() as u64;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{}s", seconds % 60),
        (0, _, _) => format!("{hours}h{minutes}m"),
        _ => format!("{days}d{hours}h"),
    }
}

fn memory(now: &Value) -> String {
    match now["memory_bytes"].as_f64().unwrap_or_default() / 1_048_576.0 {
        few if few < 100.0 => format!("{few:.1}MiB"),
        some if some < 1024.0 => format!("{some:.0}MiB"),
        many => format!("{:.1}GiB", many / 1024.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn times_have_the_unit_that_suits_them() {
        for (seconds, text) in [
            (0.0, "0"),
            (0.000_05, "50us"),
            (0.0123, "12.3ms"),
            (2.5, "2.5s"),
            (150.0, "2m30s"),
            (7_300.0, "2h1m"),
            (200_000.0, "2d7h"),
        ] {
            assert_eq!(time(&json!(seconds)), text);
        }
        assert_eq!(time(&Value::Null), "-");
    }

    #[test]
    fn every_line_is_as_wide_as_its_header() {
        let mut now = json!({"sessions": 3, "leases": 2, "waiters": 1, "oldest_wait": 0.5, "store_up": true, "memory_bytes": 7_340_032,
            "last": {"grants_per_second": {"handoff": 30.0, "retained": 0.0, "store": 10.0}, "lost_per_second": 0.0,
                     "wait_mean": 0.001, "store_commands_per_second": 12.0, "store_roundtrip_mean": 0.000_1, "store_batch_mean": 1.5}});
        let (header, line) = (header(), line(&now));
        assert_eq!(header.chars().count(), line.chars().count(), "{header}{line}");
        assert!(line.contains(" 75% ") && line.contains("100us") && line.contains("7.0MiB"), "{line}");
        for (mib, text) in [
            (99.97, "100.0MiB"),
            (123.4, "123MiB"),
            (1023.9, "1024MiB"),
            (1536.0, "1.5GiB"),
            (1e5, "97.7GiB"),
        ] {
            now["memory_bytes"] = json!((mib * 1_048_576.0) as u64);
            let line = super::line(&now);
            assert!(line.chars().count() == header.chars().count() && line.contains(text), "{header}{line}");
        }
    }

    #[test]
    fn what_was_lost_is_told_by_reason() {
        assert_eq!(lost(&json!({})), "none so far");
        assert_eq!(lost(&json!({"max_hold": 2, "session": 0, "store": 1})), "max_hold 2, store 1 so far");
    }
}
