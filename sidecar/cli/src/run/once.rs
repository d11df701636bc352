//! `sidelock once`: a command that succeeds at most once per window.
//!
//! Owns the order of things: first the turn, then the command; success finishes the turn, anything else gives it back.
//! Must not know how the command is looked after: that is `run`'s.

use super::held::Told;
use super::{Care, Signals, protect};
use crate::failure::Failure;
use crate::output::tell;
use crate::socket::Socket;
use crate::span::{Wait, wait, window};
use crate::wish;
use clap::{Args, ValueEnum};
use sidelock_client::{Entered, Turn, Window};
use sidelock_daemon::rfc3339;
use std::ffi::OsString;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Arguments of `once`.
#[derive(Args, Debug)]
pub(crate) struct OnceArgs {
    /// The key
    #[arg(value_name = "KEY")]
    key: String,
    /// The command, after `--`
    #[arg(last = true, required = true, value_name = "CMD")]
    argv: Vec<OsString>,
    /// How long it stays done: 1h, 24h, 7d
    #[arg(long, value_name = "SPAN", value_parser = window)]
    per: Duration,
    /// From when that counts
    #[arg(long, value_enum, default_value = "rolling")]
    align: Align,
    /// How long to wait for whoever is at it: 5s, 0 or forever; bare numbers are seconds
    #[arg(long, short = 'w', value_name = "SPAN", value_parser = wait, default_value = "forever")]
    wait: Wait,
    #[command(flatten)]
    care: Care,
    #[command(flatten)]
    socket: Socket,
}

/// Where a window begins.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
enum Align {
    /// With the start of the command that succeeds
    Rolling,
    /// At multiples of --per since 1970 in UTC: with 24h, at midnight
    Utc,
}

/// What the help says below the options.
pub(crate) const AFTER_HELP: &str = "\
The first runs its command. The others wait until it has succeeded, and then exit 0 without running theirs, as does
everybody until the window ends. If the command fails, is killed, or loses its turn, the next who waits runs: a command
may run again after it failed half-way, and succeeds at most once per window.";

/// Runs the command if it is our turn. The exit code is the command's; 0 if somebody else did it.
pub(crate) async fn once(args: OnceArgs) -> Result<u8, Failure> {
    let client = wish::connect(&args.socket, "sidelock once").await?;
    let window = match args.align {
        Align::Rolling => Window::rolling(args.per),
        Align::Utc => Window::utc(args.per),
    };
    let once = client.once(&args.key, window);
    let once = match args.wait {
        Wait::Forever => once.wait_forever(),
        Wait::For(span) => once.wait(span),
    };
    let once = args.care.max_hold.into_iter().fold(once, |once, span| once.max_hold(span));
    let turn = match once.enter().await? {
        Entered::Won(turn) => turn,
        Entered::Done(outcome) => {
            tell(skipped(&args.key, outcome.finished_at, SystemTime::now()));
            return Ok(0);
        }
    };
    // Before the command exists, so that no signal falls between the two.
    let mut signals = Signals::listen()?;
    let told = Told::one(turn.view().key(), turn.fence());
    let ended = protect(&args.care, &args.argv, &told, turn.lost(), &mut signals).await?;
    match ended.code {
        // A lost turn is somebody else's by now, whatever the command made of it.
        0 if ended.was_held => finish(turn).await,
        code => {
            // Confirmed or not: it is given back at the latest when we are gone.
            let _ = turn.give_back().await;
            Ok(code)
        }
    }
}

/// What the one who skips is told. The time is the store's; its clock may be ahead of ours.
fn skipped(key: &str, finished_at: SystemTime, now: SystemTime) -> String {
    let at = rfc3339(finished_at.duration_since(UNIX_EPOCH).unwrap_or_default());
    let ago = now.duration_since(finished_at).unwrap_or_default().as_secs();
    format!("{key:?} was done at {at}, {ago} s ago: skipped")
}

async fn finish(turn: Turn) -> Result<u8, Failure> {
    match turn.finish(b"").await {
        Ok(()) => Ok(0),
        Err(error) => {
            tell("the command is done, but that is not recorded for certain: somebody may run it again");
            Err(error.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_skips_is_told_when_it_was_done() {
        let at = UNIX_EPOCH + Duration::from_millis(86_400_250);
        let text = skipped("mail", at, at + Duration::from_millis(3_900));
        assert_eq!(text, "\"mail\" was done at 1970-01-02T00:00:00.250Z, 3 s ago: skipped");
        assert!(
            skipped("mail", at, UNIX_EPOCH).ends_with(", 0 s ago: skipped"),
            "the store's clock is ahead"
        );
    }
}
