//! The lock sidecar: `serve`, and the operator's verbs.
//!
//! Owns the list of verbs and that every failure ends in one line and an exit code. Each verb has a file of its own.

mod bundle;
mod child;
mod completions;
mod config;
mod demo;
mod doctor;
mod door;
mod drain;
mod failure;
mod fleet;
mod force;
mod graph;
mod leader;
mod log;
mod output;
mod paint;
#[cfg(feature = "policy")]
mod policy;
#[cfg(not(feature = "policy"))]
#[path = "policy_missing.rs"]
mod policy;
mod ready;
mod register;
mod run;
mod serve;
mod show;
mod socket;
mod span;
mod stat;
mod table;
mod timed;
mod watch;
mod wish;

use clap::{CommandFactory, Parser, Subcommand};
use failure::Failure;
use std::process::ExitCode;

/// Locks next to the app: a sidecar that locks fairly, on one host or across a fleet
#[derive(Parser)]
#[command(name = "sidelock", version, max_term_width = 100, after_help = failure::EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

/// In the order of the help: what serves, what locks, what shows, what an operator does, what helps.
#[derive(Subcommand)]
enum Verb {
    /// Start the sidecar; without flags on the memory store, whose locks reach this host only
    #[command(after_help = serve::AFTER_HELP, display_order = 1)]
    Serve(serve::ServeArgs),
    /// Check, print or describe settings
    #[command(display_order = 14)]
    Config(config::ConfigArgs),
    /// Print what a shell needs to complete these words
    #[command(after_help = completions::AFTER_HELP, display_order = 15)]
    Completions(completions::CompletionsArgs),
    /// Make, try and measure policies in WebAssembly
    #[command(display_order = 13)]
    Policy(policy::PolicyArgs),
    #[command(flatten)]
    Speaking(Speaking),
}

/// The verbs that speak to a sidecar.
#[derive(Subcommand)]
enum Speaking {
    /// Hold a key around a command
    #[command(after_help = run::AFTER_HELP, display_order = 2)]
    Run(run::RunArgs),
    /// Run a command that succeeds at most once per window; the others wait, and skip theirs
    #[command(after_help = run::once::AFTER_HELP, display_order = 2)]
    Once(run::once::OnceArgs),
    /// Take a lease and print it: eval "$(sidelock lock KEY)"
    #[command(display_order = 3)]
    Lock(timed::LockArgs),
    /// Let a lease live for so long from now
    #[command(display_order = 4)]
    Renew(timed::RenewArgs),
    /// Give a lease back
    #[command(display_order = 5)]
    Unlock(timed::UnlockArgs),
    /// Print a register's value
    #[command(display_order = 5)]
    Get(register::GetArgs),
    /// Give a register the value on standard input, and print its version
    #[command(display_order = 5)]
    Put(register::PutArgs),
    /// Take a register's value away
    #[command(display_order = 5)]
    Rm(register::RmArgs),
    /// List the keys in use
    #[command(display_order = 6)]
    Ls(show::LsArgs),
    /// Show who holds a key, who waits, and why
    #[command(display_order = 7)]
    Why(show::WhyArgs),
    /// Show who waits for whom, in the fleet
    #[command(display_order = 7)]
    Graph(graph::GraphArgs),
    /// Show who leads NAME; exit 3 if nobody does
    #[command(display_order = 7)]
    Leader(leader::LeaderArgs),
    /// Show what happens, as it happens, across restarts of the sidecar
    #[command(display_order = 8)]
    Watch(watch::WatchArgs),
    /// Show what the sidecar does now: once, or line by line
    #[command(display_order = 9)]
    Stat(stat::StatArgs),
    /// Wait until the sidecar takes requests
    #[command(display_order = 10)]
    Wait(ready::WaitArgs),
    /// Exit 0 if the sidecar takes requests
    #[command(display_order = 11)]
    Healthcheck(ready::HealthArgs),
    /// Examine sidecar, settings and Redis, and say what to change
    #[command(after_help = doctor::AFTER_HELP, display_order = 12)]
    Doctor(Box<doctor::DoctorArgs>),
    /// Let the sidecar finish and end
    #[command(display_order = 13)]
    Drain(drain::DrainArgs),
    /// Take a key from whoever holds it
    #[command(after_help = force::AFTER_HELP, display_order = 13)]
    ForceUnlock(force::ForceArgs),
    /// Twelve seconds that show what this is: no set-up, nothing left behind
    #[command(display_order = 16)]
    Demo(demo::DemoArgs),
}

fn main() -> ExitCode {
    let code = match Cli::try_parse().unwrap_or_else(|unclear| misspoken(&unclear)).verb {
        // It makes its own runtime, on which everything of the sidecar runs.
        Verb::Serve(args) => done(serve::serve(&args)),
        Verb::Config(args) => done(config::config(&args)),
        Verb::Completions(args) => done(completions::completions(&args, Cli::command())),
        Verb::Policy(args) => policy::policy(&args),
        Verb::Speaking(verb) => speak(verb),
    };
    ExitCode::from(code.unwrap_or_else(|failure| {
        output::tell(&failure);
        failure.exit_code()
    }))
}

/// Help, the version, or what is wrong with the command line: as all our messages, that begins with who says it.
fn misspoken(said: &clap::Error) -> ! {
    if said.use_stderr() {
        let text = said.render().to_string();
        output::tell(text.trim_end().trim_start_matches("error: "));
        std::process::exit(said.exit_code());
    }
    said.exit()
}

#[tokio::main(flavor = "current_thread")]
async fn speak(verb: Speaking) -> Result<u8, Failure> {
    match verb {
        Speaking::Run(args) => run::run(args).await,
        Speaking::Once(args) => run::once::once(args).await,
        Speaking::Lock(args) => done(timed::lock(args).await),
        Speaking::Unlock(args) => done(timed::unlock(args).await),
        Speaking::Renew(args) => done(timed::renew(args).await),
        Speaking::Get(args) => done(register::get(args).await),
        Speaking::Put(args) => done(register::put(args).await),
        Speaking::Rm(args) => done(register::rm(args).await),
        Speaking::Ls(args) => done(show::ls(args).await),
        Speaking::Why(args) => done(show::why(args).await),
        Speaking::Leader(args) => leader::leader(args).await,
        Speaking::Graph(args) => done(graph::graph(args).await),
        Speaking::Watch(args) => done(watch::watch(args).await),
        Speaking::Stat(args) => done(stat::stat(args).await),
        Speaking::Wait(args) => done(ready::until(args).await),
        Speaking::Healthcheck(args) => done(ready::check(args).await),
        Speaking::Doctor(args) => done(doctor::doctor(&args).await),
        Speaking::ForceUnlock(args) => done(force::force(args).await),
        Speaking::Drain(args) => done(drain::drain(args).await),
        Speaking::Demo(args) => demo::demo(args).await,
    }
}

fn done(outcome: Result<(), Failure>) -> Result<u8, Failure> {
    outcome.map(|()| 0)
}

#[cfg(test)]
mod tests {
    use super::*;

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
            "once k --per 24h -- true",
            "once k --per 1h --align utc --wait 5s --max-hold 10m -- true",
            "run --limit 100 --per 1m k -- true",
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
            "run --per 1m k -- true",
            "run -n -w 5 k -- true",
            "once k -- true",
            "once k --per 24h",
            "once k --per 24h --align local -- true",
            "lock k --ttl soon",
            "nonsense",
        ] {
            let words = std::iter::once("sidelock").chain(line.split(' '));
            assert!(Cli::try_parse_from(words).is_err(), "{line}");
        }
    }
}
