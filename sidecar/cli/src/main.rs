//! The lock sidecar: `serve`, and the operator's verbs.
//!
//! Owns the list of verbs and that every failure ends in one line and an exit code. Each verb has a file of its own.

mod config;
mod door;
mod drain;
mod failure;
mod output;
mod ready;
mod run;
mod serve;
mod show;
mod socket;
mod span;
mod table;
mod timed;
mod watch;
mod wish;

use clap::{Parser, Subcommand};
use failure::Failure;
use std::process::ExitCode;

/// Locks next to the app: a sidecar that locks fairly, on one host or across a fleet
#[derive(Parser)]
#[command(name = "sidelock", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Start the sidecar; without flags on the memory store, whose locks reach this host only
    #[command(after_help = serve::AFTER_HELP)]
    Serve(serve::ServeArgs),
    /// Check, print or describe settings
    Config(config::ConfigArgs),
    #[command(flatten)]
    Speaking(Speaking),
}

/// The verbs that speak to a sidecar.
#[derive(Subcommand)]
enum Speaking {
    /// Hold a key around a command
    Run(run::RunArgs),
    /// Take a lease and print it: eval "$(sidelock lock KEY)"
    Lock(timed::LockArgs),
    /// Give a lease back
    Unlock(timed::UnlockArgs),
    /// Let a lease live for so long from now
    Renew(timed::RenewArgs),
    /// List the keys in use
    Ls(show::LsArgs),
    /// Show who holds a key, who waits, and why
    Why(show::WhyArgs),
    /// Show what happens, as it happens
    Watch(watch::WatchArgs),
    /// Wait until the sidecar takes requests
    Wait(ready::WaitArgs),
    /// Exit 0 if the sidecar takes requests
    Healthcheck(ready::HealthArgs),
    /// Let the sidecar finish and end
    Drain(drain::DrainArgs),
}

fn main() -> ExitCode {
    let code = match Cli::parse().verb {
        // It makes its own runtime, on which everything of the sidecar runs.
        Verb::Serve(args) => done(serve::serve(&args)),
        Verb::Config(args) => done(config::config(&args)),
        Verb::Speaking(verb) => speak(verb),
    };
    ExitCode::from(code.unwrap_or_else(|failure| {
        output::tell(&failure);
        failure.exit_code()
    }))
}

#[tokio::main(flavor = "current_thread")]
async fn speak(verb: Speaking) -> Result<u8, Failure> {
    match verb {
        Speaking::Run(args) => run::run(args).await,
        Speaking::Lock(args) => done(timed::lock(args).await),
        Speaking::Unlock(args) => done(timed::unlock(args).await),
        Speaking::Renew(args) => done(timed::renew(args).await),
        Speaking::Ls(args) => done(show::ls(args).await),
        Speaking::Why(args) => done(show::why(args).await),
        Speaking::Watch(args) => done(watch::watch(args).await),
        Speaking::Wait(args) => done(ready::until(args).await),
        Speaking::Healthcheck(args) => done(ready::check(args).await),
        Speaking::Drain(args) => done(drain::drain(args).await),
    }
}

fn done(outcome: Result<(), Failure>) -> Result<u8, Failure> {
    outcome.map(|()| 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flocks_spellings_are_understood() {
        for line in [
            "run k -- true",
            "run -n k -- true",
            "run -w 2.5 k -- true",
            "run -s k -- true",
            "run -x k -- true",
            "run -e k -- true",
            "run k -c true",
            "run -n -E 9 k -- true",
            "run --wait forever --on-lost kill --grace 5s k -- true",
            "run --permits 2 --limit 3 k -- true",
        ] {
            let words = std::iter::once("sidelock").chain(line.split(' '));
            assert!(Cli::try_parse_from(words).is_ok(), "{line}");
        }
    }

    #[test]
    fn contradictions_are_refused() {
        for line in [
            "run k -c true -- true",
            "run -s -x k -- true",
            "run -s --limit 2 k -- true",
            "run --permits 2 k -- true",
            "run -n -w 5 k -- true",
            "lock k --ttl soon",
            "nonsense",
        ] {
            let words = std::iter::once("sidelock").chain(line.split(' '));
            assert!(Cli::try_parse_from(words).is_err(), "{line}");
        }
    }
}
