//! `policy`, where it is not built in: says so.

use crate::failure::Failure;
use clap::Args;

/// Arguments of `policy`: any.
#[derive(Args, Debug)]
pub(crate) struct PolicyArgs {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    _rest: Vec<String>,
}

/// Does nothing.
pub(crate) fn policy(_: &PolicyArgs) -> Result<u8, Failure> {
    Err(Failure::usage("policies: not built in; this binary was built without the feature `policy`"))
}
