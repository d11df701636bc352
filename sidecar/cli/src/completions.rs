//! `completions`: what a shell needs to complete our words.
//!
//! Owns nothing but the argument: the words are the command line's own.

use crate::failure::Failure;
use crate::output::say;
use clap::{Args, Command};
use clap_complete::Shell;

/// Arguments of `completions`.
#[derive(Args, Debug)]
pub(crate) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Where the answer belongs.
pub(crate) const AFTER_HELP: &str = "\
For this session:  source <(sidelock completions bash)
For good:          sidelock completions bash > ~/.local/share/bash-completion/completions/sidelock
                   sidelock completions zsh  > \"${fpath[1]}/_sidelock\"
                   sidelock completions fish > ~/.config/fish/completions/sidelock.fish";

/// Prints the script for a shell.
pub(crate) fn completions(args: &CompletionsArgs, mut command: Command) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "sidelock", &mut script);
    say(&String::from_utf8_lossy(&script))
}
