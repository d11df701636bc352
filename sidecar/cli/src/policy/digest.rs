//! `policy digest`: the name by which a component can be pinned.

use crate::failure::Failure;
use crate::output::say;
use clap::Args;
use sidelock_policy::Digest;
use std::path::PathBuf;

/// Arguments of `policy digest`.
#[derive(Args, Debug)]
pub(crate) struct DigestArgs {
    /// The component
    #[arg(value_name = "FILE.wasm")]
    file: PathBuf,
}

/// Where the answer belongs.
pub(crate) const AFTER_HELP: &str = "\
In the settings:  [[policy]]
                  path = \"my-acl.wasm\"
                  sha256 = \"…\"            # any other file is refused";

/// Prints it, as `sha256sum` does.
pub(crate) fn digest(args: &DigestArgs) -> Result<(), Failure> {
    let bytes = super::read_component(&args.file)?;
    say(&format!("{}  {}\n", Digest::of(&bytes), args.file.display()))
}
