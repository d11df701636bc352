//! `policy`: making, trying and measuring policies. Needs no sidecar, but for `policy ls`.
//!
//! Owns the list of these verbs, and how their files are read. Each verb has a file of its own.

mod asked;
mod bench;
mod build;
mod check;
mod digest;
mod inspect;
mod ls;
mod new;
mod project;
mod record;
mod replay;
mod run;
mod subject;
mod test;
mod told;

use crate::failure::Failure;
use clap::{Args, Subcommand};
use std::fs;
use std::path::Path;

/// Arguments of `policy`.
#[derive(Args, Debug)]
pub(crate) struct PolicyArgs {
    #[command(subcommand)]
    verb: Verb,
}

/// In the order in which a policy comes to be.
#[derive(Subcommand, Debug)]
enum Verb {
    /// Make a policy to start from, which builds and passes its own tests
    New(new::NewArgs),
    /// Make a component from source
    #[command(after_help = build::AFTER_HELP)]
    Build(build::BuildArgs),
    /// Say whether a sidecar would take a component with these settings
    Check(check::CheckArgs),
    /// Ask a policy about one request, and explain what it says
    Run(Box<run::RunArgs>),
    /// Ask a policy its cases
    Test(test::TestArgs),
    /// Ask a policy what it would have done with requests on record
    #[command(after_help = replay::AFTER_HELP)]
    Replay(replay::ReplayArgs),
    /// Measure what a policy adds to a request
    Bench(Box<bench::BenchArgs>),
    /// Show what a component is, and what it costs
    Inspect(inspect::InspectArgs),
    /// Print a component's SHA-256, by which it can be pinned
    #[command(after_help = digest::AFTER_HELP)]
    Digest(digest::DigestArgs),
    /// List the policies in force in a sidecar; exit 1 if the newest settings are not
    Ls(ls::LsArgs),
}

/// Does what was asked.
pub(crate) fn policy(args: &PolicyArgs) -> Result<u8, Failure> {
    let done = |outcome: Result<(), Failure>| outcome.map(|()| 0);
    match &args.verb {
        Verb::New(args) => done(new::new(args)),
        Verb::Build(args) => done(build::build(args)),
        Verb::Check(args) => done(check::check(args)),
        Verb::Run(args) => run::run(args),
        Verb::Test(args) => test::test(args),
        Verb::Replay(args) => replay::replay(args),
        Verb::Ls(args) => ls::ls(args),
        Verb::Bench(args) => done(bench::bench(args)),
        Verb::Inspect(args) => done(inspect::inspect(args)),
        Verb::Digest(args) => done(digest::digest(args)),
    }
}

/// A component's bytes.
fn read_component(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|error| unreadable(path, &error))
}

/// Writes to standard output: for whom its exit code says as much. A reader that has gone is none of its business.
fn say_what_can_be(text: &str) -> Result<(), Failure> {
    crate::output::try_say(text).or_else(|error| match error.kind() {
        std::io::ErrorKind::BrokenPipe => Ok(()),
        _ => Err(Failure::broken(format!("can not write the answer: {error}"))),
    })
}

/// A component that can not be read: most likely it has yet to be made.
fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::usage(format!("{} can not be read ({error}); `sidelock policy build` makes it", path.display()))
}

/// A file of text.
fn read_text(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path)
        .map_err(|error| Failure::usage(format!("{} can not be read: {error}", path.display())))
}
