//! `policy check`: whether a sidecar would take this component with these settings.
//!
//! Owns nothing but the words: it does what a sidecar does before it takes a policy.

use super::subject::{SubjectArgs, host};
use crate::failure::Failure;
use crate::output::say;
use clap::Args;
use sidelock_policy::cases::embedded;

/// Arguments of `policy check`.
#[derive(Args, Debug)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    subject: SubjectArgs,
}

/// Compiles it, lets it look at its settings, and asks it its own cases.
pub(crate) fn check(args: &CheckArgs) -> Result<(), Failure> {
    let host = host()?;
    let file = args.subject.file().display();
    let wrong = |why: String| Failure::usage(format!("{file}: {why}"));
    let subject = args.subject.compile(&host)?;
    let fits = subject.fits(&args.subject.settings()?);
    fits.map_err(|unfit| args.subject.unfit(format_args!("{file}: {unfit}"), &unfit))?;
    let bytes = args.subject.bytes()?;
    subject.self_test(&bytes).map_err(wrong)?;
    let tests = match embedded(&bytes).len() {
        0 => "it brings no tests of its own",
        _ => "it passes its own tests",
    };
    say(&format!("{file}: good; {tests}\n"))
}
