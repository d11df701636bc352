//! `watch`: what happens, as it happens.
//!
//! Owns how events are shown. Must not change anything.

use crate::door::{Lines, escaped, in_time, lines};
use crate::failure::Failure;
use crate::output::{Output, say, tell};
use crate::socket::Socket;
use crate::table::shown;
use clap::Args;
use serde_json::Value;
use sidelock_daemon::{boottime, rfc3339};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::sleep;

/// Between two looks for a sidecar that went away. There is no event for a socket that does not exist yet.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Arguments of `watch`.
#[derive(Args, Debug)]
pub(crate) struct WatchArgs {
    /// Only keys that begin with this
    prefix: Option<String>,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    socket: Socket,
}

/// Shows events for as long as somebody reads them. A sidecar that ends is told of, and its successor is followed: who
/// watches wants to see what happens across a restart, too.
pub(crate) async fn watch(args: WatchArgs) -> Result<(), Failure> {
    let path = match &args.prefix {
        Some(prefix) => format!("/v1/watch?prefix={}", escaped(prefix)),
        None => "/v1/watch".to_owned(),
    };
    let mut events = in_time(lines(&args.socket, &path)).await?;
    loop {
        show(&mut events, args.output).await?;
        tell("the sidecar ended; waiting for the next one");
        events = successor(&args.socket, &path).await?;
        tell("a sidecar answers again; what happened in between is missing");
    }
}

/// Shows events until the sidecar ends, however it does.
async fn show(events: &mut Lines, output: Output) -> Result<(), Failure> {
    while let Ok(Some(line)) = events.next().await {
        match output.is_json() {
            true => say(&(line + "\n"))?,
            false => say(&sentence(&line, wall))?,
        }
    }
    Ok(())
}

/// The events of the next sidecar at this socket. One that refuses is a failure.
async fn successor(socket: &Socket, path: &str) -> Result<Lines, Failure> {
    loop {
        sleep(LOOK_EVERY).await;
        match in_time(lines(socket, path)).await {
            Err(failure) if failure.is_passing() => {}
            known => return known,
        }
    }
}

/// What the wall's clock showed at that instant, in nanoseconds since the boot, as it goes now: as the log has it.
fn wall(at_ns: u64) -> String {
    let ago = Duration::from_nanos(boottime().0.saturating_sub(at_ns));
    let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(ago);
    rfc3339(at)
}

/// An event in one line: when, what, which key, and what goes with it.
fn sentence(line: &str, wall: impl Fn(u64) -> String) -> String {
    let Ok(event) = serde_json::from_str::<Value>(line) else {
        return shown(line) + "\n";
    };
    let text = |name: &str| event[name].as_str().map(shown);
    let mut words = vec![wall(event["at_boottime_ns"].as_u64().unwrap_or_default())];
    words.extend(["event", "key", "mode", "detail", "reason"].into_iter().filter_map(text));
    for name in ["fence", "waited", "held", "count", "by", "session"] {
        if !event[name].is_null() {
            words.push(format!("{name}={}", event[name]));
        }
    }
    words.join("  ") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line() {
        let line = r#"{"at_boottime_ns":1500000000,"event":"granted","key":"a","mode":"shared","session":3,"fence":7,"detail":"store"}"#;
        let wall = |at_ns: u64| format!("at {at_ns}");
        assert_eq!(sentence(line, wall), "at 1500000000  granted  a  shared  store  fence=7  session=3\n");
        assert!(super::wall(boottime().0).starts_with("20"), "{}", super::wall(boottime().0));
    }
}
