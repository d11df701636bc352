//! The component that a verb is about, and the settings that it is given.
//!
//! Owns the flags that say so. Must not know what is done with it.

use super::read_text;
use crate::failure::Failure;
use clap::Args;
use sidelock_policy::cases::Subject;
use sidelock_policy::{Host, Settings};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Which component, and under which settings.
#[derive(Args, Debug)]
pub(crate) struct SubjectArgs {
    /// The component
    #[arg(value_name = "FILE.wasm")]
    file: PathBuf,
    /// Its settings: JSON, or @FILE of JSON or TOML
    #[arg(long, value_name = "JSON|@FILE", default_value = "{}")]
    settings: String,
    /// The zone of its clock
    #[arg(long, default_value = "UTC", value_name = "ZONE")]
    timezone: String,
    /// Processor time that a call may take
    #[arg(long, value_parser = crate::span::span, value_name = "SPAN")]
    deadline: Option<Duration>,
}

impl SubjectArgs {
    /// As the sidecar's settings would say it.
    pub(crate) fn settings(&self) -> Result<Settings, Failure> {
        let mut settings = Settings::at(&self.file);
        settings.settings = match self.settings.strip_prefix('@') {
            Some(file) => from_file(Path::new(file))?,
            None => self.settings.clone(),
        };
        settings.timezone.clone_from(&self.timezone);
        settings.deadline = self.deadline;
        Ok(settings)
    }

    /// Compiled.
    pub(crate) fn compile(&self, host: &Host) -> Result<Subject, Failure> {
        compile(host, &self.file, &self.bytes()?)
    }

    /// The component's bytes.
    pub(crate) fn bytes(&self) -> Result<Vec<u8>, Failure> {
        super::read_component(&self.file)
    }

    /// Where it is.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }
}

/// Compiles a component's bytes.
pub(crate) fn compile(host: &Host, file: &Path, bytes: &[u8]) -> Result<Subject, Failure> {
    Subject::new(host, bytes).map_err(|error| Failure::usage(format!("{} {error}", file.display())))
}

/// What components run on. Nothing is kept of them: these verbs run once.
pub(crate) fn host() -> Result<Host, Failure> {
    Host::new(None).map_err(|error| Failure::broken(error.to_string()))
}

/// JSON as it is; TOML becomes JSON.
fn from_file(file: &Path) -> Result<String, Failure> {
    let text = read_text(file)?;
    if file.extension().is_none_or(|extension| extension != "toml") {
        return Ok(text);
    }
    let table: toml::Table = toml::from_str(&text)
        .map_err(|error| Failure::usage(format!("{}: {}", file.display(), error.to_string().trim_end())))?;
    serde_json::to_string(&table).map_err(|error| Failure::usage(format!("{}: {error}", file.display())))
}
