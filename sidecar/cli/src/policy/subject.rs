//! The component that a verb is about, and the settings that it is given.
//!
//! Owns the flags that say so. Must not know what is done with it.

use super::read_text;
use crate::failure::Failure;
use clap::Args;
use sidelock_policy::cases::Subject;
use sidelock_policy::{Bounds, Chain, Host, NotLoaded, OnError, Settings, Unfit, Why};
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// What a policy is given that is given no settings.
const NO_SETTINGS: &str = "{}";

/// Which component, and under which settings.
#[derive(Args, Debug)]
pub(crate) struct SubjectArgs {
    /// The component
    #[arg(value_name = "FILE.wasm")]
    file: PathBuf,
    /// Its settings: JSON, or @FILE of JSON or TOML
    #[arg(long, value_name = "JSON|@FILE", default_value = NO_SETTINGS)]
    settings: String,
    /// The zone of its clock
    #[arg(long, default_value = "UTC", value_name = "ZONE")]
    timezone: String,
    /// Processor time that a call may take
    #[arg(long, value_parser = crate::span::span, value_name = "SPAN")]
    deadline: Option<Duration>,
    /// What a policy that can not decide means
    #[arg(long, default_value = "deny", value_parser = on_error, value_name = "deny|abstain")]
    on_error: OnError,
    /// It stands in the place of the policy of this name, on a recorded line [default: its own, which is that of its file]
    #[arg(long, value_name = "NAME")]
    instead_of: Option<String>,
}

fn on_error(text: &str) -> Result<OnError, &'static str> {
    match text {
        "deny" => Ok(OnError::Deny),
        "abstain" => Ok(OnError::Abstain),
        _ => Err("deny or abstain"),
    }
}

impl SubjectArgs {
    /// As the sidecar's settings would say it.
    pub(crate) fn settings(&self) -> Result<Settings, Failure> {
        let mut settings = Settings::at(&self.file);
        settings.settings = match self.settings.strip_prefix('@') {
            Some(file) => from_file(Path::new(file))?,
            None => {
                let is_json = serde_json::from_str::<serde_json::Value>(&self.settings);
                is_json.map_err(|error| Failure::usage(format!("--settings is no JSON: {error}")))?;
                self.settings.clone()
            }
        };
        settings.timezone.clone_from(&self.timezone);
        settings.deadline = self.deadline;
        settings.on_error = self.on_error;
        if let Some(name) = &self.instead_of {
            settings.name = name.as_str().into();
        }
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

    /// It does not do, in these words; and how to give it settings, where it has none and wants some.
    pub(crate) fn unfit(&self, words: impl Display, why: &Unfit) -> Failure {
        let hint = match why {
            Unfit::Settings(_) if self.settings == NO_SETTINGS => {
                "; give it settings with --settings JSON, or --settings @FILE"
            }
            _ => "",
        };
        Failure::usage(format!("{words}{hint}"))
    }

    /// Alone in a chain, with these settings. An observer decides nothing, so nobody can ask it.
    pub(crate) fn load(&self, host: &Host, settings: Settings) -> Result<Arc<Chain>, Failure> {
        let chain = Chain::load(host, vec![settings], Bounds::default(), None);
        let chain = chain.map_err(|error| self.not_loaded(&error))?;
        match chain.has_observers() {
            false => Ok(chain),
            true => Err(Failure::usage(format!(
                "{} is an observer and decides nothing; `sidelock policy test` tells it the events of its cases",
                self.file.display()
            ))),
        }
    }

    /// It can not be loaded.
    fn not_loaded(&self, error: &NotLoaded) -> Failure {
        match &error.why {
            Why::Unfit(why) => self.unfit(error, why),
            Why::File { error, .. } => super::unreadable(&self.file, error),
            _ => Failure::usage(error.to_string()),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn with(settings: &str) -> SubjectArgs {
        SubjectArgs {
            file: "lanes.wasm".into(),
            settings: settings.into(),
            timezone: "UTC".into(),
            deadline: None,
            on_error: OnError::Deny,
            instead_of: None,
        }
    }

    #[test]
    fn who_gave_no_settings_where_some_are_needed_is_told_how() {
        let why = Unfit::Settings("missing field `lanes`".into());
        assert!(with(NO_SETTINGS).unfit(&why, &why).to_string().contains("--settings JSON"));
        assert_eq!(with(r#"{"lane":1}"#).unfit(&why, &why).to_string(), why.to_string());
    }

    #[test]
    fn settings_that_are_no_json_are_not_handed_on() {
        let told = with("{lanes}").settings().unwrap_err().to_string();
        assert!(told.starts_with("--settings is no JSON: "), "{told}");
        assert!(with(NO_SETTINGS).settings().is_ok());
    }
}
