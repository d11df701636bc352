//! `config`: what a sidecar would run with.
//!
//! Owns how settings are shown. They are read by the same code that `serve` reads them with.

use crate::failure::Failure;
use crate::output::{say, tell};
use crate::serve::ServeArgs;
use clap::{Args, Subcommand};
use sidelock_daemon::config::{DEFAULT_TOML, Loaded, load};

/// Arguments of `config`.
#[derive(Args, Debug)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    /// Read flags, environment and file as `serve` would, and say what it would refuse
    Check(ServeArgs),
    /// Print the settings in force, passwords hidden
    Print {
        /// The defaults, with a comment each: a file to start from
        #[arg(long)]
        default: bool,
        #[command(flatten)]
        sources: ServeArgs,
    },
    /// Print the JSON Schema of the settings file, for editors and pipelines
    Schema,
}

/// Checks or prints settings.
pub(crate) fn config(args: &ConfigArgs) -> Result<(), Failure> {
    match &args.what {
        What::Check(sources) => check(sources),
        What::Schema => say(&format!("{:#}\n", sidelock_daemon::config::schema())),
        What::Print { default: true, .. } => say(DEFAULT_TOML),
        What::Print { default: false, sources } => {
            let settings = read(sources)?.config;
            let text = toml::to_string(&settings);
            say(&text
                .map_err(|e| Failure::broken(format!("the settings can not be written as TOML: {e}")))?)
        }
    }
}

/// Reads the settings, and asks what `serve` would make of them.
fn check(sources: &ServeArgs) -> Result<(), Failure> {
    sidelock_daemon::check(&read(sources)?.config).map_err(|error| Failure::usage(error.to_string()))
}

/// Reads the settings; what is doubtful about them is told.
pub(crate) fn read(args: &ServeArgs) -> Result<Loaded, Failure> {
    let loaded = load(&args.sources()).map_err(|error| Failure::usage(error.to_string()))?;
    loaded.warnings.iter().for_each(|warning| tell(format_args!("warning: {warning}")));
    Ok(loaded)
}
