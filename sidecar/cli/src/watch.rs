//! `watch`: what happens, as it happens.
//!
//! Owns how events are shown. Must not change anything.

use crate::door::{escaped, lines};
use crate::failure::Failure;
use crate::output::{Output, say};
use crate::socket::Socket;
use crate::table::shown;
use clap::Args;
use serde_json::Value;

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

/// Shows events until the sidecar ends.
pub(crate) async fn watch(args: WatchArgs) -> Result<(), Failure> {
    let path = match &args.prefix {
        Some(prefix) => format!("/v1/watch?prefix={}", escaped(prefix)),
        None => "/v1/watch".to_owned(),
    };
    let mut events = lines(&args.socket, &path).await?;
    while let Some(line) = events.next().await? {
        match args.output.is_json() {
            true => say(&(line + "\n"))?,
            false => say(&sentence(&line))?,
        }
    }
    Ok(())
}

/// An event in one line: when, what, which key, and what goes with it.
fn sentence(line: &str) -> String {
    let Ok(event) = serde_json::from_str::<Value>(line) else {
        return shown(line) + "\n";
    };
    let text = |name: &str| event[name].as_str().map(shown);
    let at = event["at_boottime_ns"].as_u64().unwrap_or_default() as f64 / 1e9;
    let mut words = vec![format!("{at:.6}")];
    words.extend(["event", "key", "mode", "detail"].into_iter().filter_map(text));
    for name in ["fence", "waited", "held", "count", "session"] {
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
        assert_eq!(sentence(line), "1.500000  granted  a  shared  store  fence=7  session=3\n");
    }
}
