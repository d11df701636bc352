//! From flags, environment and file to one [`Config`].
//!
//! Owns the order in which they win and what is said about mistakes. Knows names of settings, not their meaning.

use super::Config;
use crate::spelling::nearest;
use serde::Deserialize;
use std::path::PathBuf;
use toml::{Table, Value};

/// Where settings come from, weakest first: file, environment, flags.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// A TOML file.
    pub file: Option<PathBuf>,
    /// The environment; of it, what begins with `SIDELOCK_`.
    pub environment: Vec<(String, String)>,
    /// Settings by their dotted name (`redis.url`), as the command line had them. A list's name may repeat.
    pub flags: Vec<(&'static str, String)>,
}

/// Settings, and what is doubtful about them.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// Sentences for the log; nothing that keeps the sidecar from starting.
    pub warnings: Vec<String>,
}

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can not be read.
    #[error("can not read the configuration {path}: {error}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A setting is unknown or has a wrong value.
    #[error("{origin}: {message}")]
    Wrong {
        /// The file, the variable or the flag.
        origin: String,
        /// What is wrong and what is allowed.
        message: String,
    },
}

/// How a setting's text becomes a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Number,
    Texts,
    Numbers,
}

/// Every setting that flags and environment can name. Classes are for files.
const SETTINGS: [(&str, Kind); 39] = [
    ("store", Kind::Text),
    ("namespace", Kind::Text),
    ("socket", Kind::Text),
    ("admin_socket", Kind::Text),
    ("allow_uid", Kind::Numbers),
    ("allow_gid", Kind::Numbers),
    ("probe_listen", Kind::Text),
    ("drain_grace", Kind::Text),
    ("policy_cache", Kind::Text),
    ("policy_log", Kind::Text),
    ("redis.url", Kind::Texts),
    ("redis.mode", Kind::Text),
    ("redis.service", Kind::Text),
    ("redis.sentinel_username", Kind::Text),
    ("redis.sentinel_password_file", Kind::Text),
    ("redis.prefix", Kind::Text),
    ("redis.username", Kind::Text),
    ("redis.password_file", Kind::Text),
    ("redis.ca_file", Kind::Text),
    ("redis.cert_file", Kind::Text),
    ("redis.key_file", Kind::Text),
    ("redis.guarantee", Kind::Text),
    ("tenure.ttl", Kind::Text),
    ("tenure.retention", Kind::Text),
    ("tenure.handoffs_max", Kind::Number),
    ("tenure.handoff_time_max", Kind::Text),
    ("limits.key_bytes_max", Kind::Number),
    ("limits.frame_bytes_max", Kind::Number),
    ("limits.value_bytes_max", Kind::Number),
    ("limits.keys_per_request_max", Kind::Number),
    ("limits.ttl_min", Kind::Text),
    ("limits.ttl_max", Kind::Text),
    ("limits.rate_per_max", Kind::Text),
    ("limits.once_per_max", Kind::Text),
    ("limits.http_wait_max", Kind::Text),
    ("limits.sessions_max", Kind::Number),
    ("limits.in_flight_per_session_max", Kind::Number),
    ("limits.waiters_per_key_max", Kind::Number),
    ("limits.outbound_bytes_max", Kind::Number),
];

/// Reads and merges all sources. The same path serves `serve`, `config check`, `config print` and SIGHUP.
pub fn load(sources: &Sources) -> Result<Loaded, ConfigError> {
    let mut settings = match &sources.file {
        Some(path) => read_file(path)?,
        None => Table::new(),
    };
    let strangers = strangers(&sources.environment)?;
    for (name, kind) in SETTINGS {
        let variable = variable_of(name);
        // Empty is unset, as for the clients: templates write what they have no value for.
        let given = sources.environment.iter().filter(|(_, value)| !value.is_empty());
        let given = given.filter(|(key, _)| setting_of(key) == variable);
        let given: Vec<&str> = given.map(|(_, value)| value.as_str()).collect();
        if given.windows(2).any(|pair| pair[0] != pair[1]) {
            let message = format!("it and {REDIS_SHORT} say different things; give one of them");
            return Err(wrong(variable, &message));
        }
        set(&mut settings, name, kind, given.into_iter().take(1), &variable)?;
        let flag = format!("flag for `{name}`");
        let given = sources.flags.iter().filter(|(key, _)| *key == name);
        set(&mut settings, name, kind, given.map(|(_, value)| value.as_str()), &flag)?;
    }
    add_policies(&mut settings, sources);
    let origin = || "configuration".to_owned();
    let config =
        Config::deserialize(Value::Table(settings)).map_err(|error| wrong(origin(), &error.to_string()))?;
    config.validate().map_err(|message| wrong(origin(), &message))?;
    let mut warnings = warnings(&config);
    warnings.extend(strangers);
    Ok(Loaded { config, warnings })
}

/// A policy that is only named by its file, after those that the configuration says more about.
fn add_policies(settings: &mut Table, sources: &Sources) {
    let variable = sources.environment.iter().filter(|(name, _)| name == POLICY_FILES);
    let variable = variable.flat_map(|(_, files)| files.split(',')).filter(|file| !file.is_empty());
    let flags = sources.flags.iter().filter(|(name, _)| *name == "policy").map(|(_, file)| file.as_str());
    let policy =
        |file: &str| Value::Table(Table::from_iter([("path".to_owned(), Value::String(file.into()))]));
    let policies: Vec<Value> = variable.chain(flags).map(policy).collect();
    if policies.is_empty() {
        return;
    }
    let all = settings.entry("policy").or_insert_with(|| Value::Array(Vec::new()));
    // Anything but a list is refused with the rest.
    if let Some(all) = all.as_array_mut() {
        all.extend(policies);
    }
}

/// `tenure.ttl` is `SIDELOCK_TENURE_TTL`.
fn variable_of(name: &str) -> String {
    format!("SIDELOCK_{}", name.replace('.', "_").to_uppercase())
}

/// `SIDELOCK_REDIS` is short for `SIDELOCK_REDIS_URL`.
fn setting_of(variable: &str) -> &str {
    if variable == REDIS_SHORT { "SIDELOCK_REDIS_URL" } else { variable }
}

const REDIS_SHORT: &str = "SIDELOCK_REDIS";

/// Files of policies, with commas between.
const POLICY_FILES: &str = "SIDELOCK_POLICY";

/// Variables that belong to other parts of Sidelock: the command line, the clients, the tests.
const OTHERS: [&str; 13] = [
    "SIDELOCK_CONFIG",
    "SIDELOCK_LOG",
    "SIDELOCK_LOG_FORMAT",
    "SIDELOCK_REQUIRE_SCOPE",
    "SIDELOCK_LEASE",
    "SIDELOCK_KEY",
    "SIDELOCK_KEYS",
    "SIDELOCK_FENCE",
    "SIDELOCK_FENCES",
    "SIDELOCK_BIN",
    "SIDELOCK_BLESS",
    REDIS_SHORT,
    POLICY_FILES,
];

/// What to say of variables with our prefix that name nothing. One that is almost a setting is an error: it may be the
/// address of Redis, and a typo must not cost the fleet its locks. Others are not: Kubernetes gives every pod beside a
/// service called `sidelock` a `SIDELOCK_SERVICE_HOST`.
fn strangers(environment: &[(String, String)]) -> Result<Vec<String>, ConfigError> {
    let known: Vec<String> = SETTINGS.iter().map(|(name, _)| variable_of(name)).collect();
    let all = || known.iter().map(String::as_str).chain(OTHERS);
    let mut warnings = Vec::new();
    for (variable, _) in environment.iter().filter(|(name, _)| name.starts_with("SIDELOCK_")) {
        let Some((far, nearest)) = all().map(|name| (strsim::osa_distance(variable, name), name)).min()
        else {
            continue;
        };
        match far {
            0 => {}
            1 | 2 => {
                let message = format!("names no setting; did you mean `{nearest}`?");
                return Err(ConfigError::Wrong { origin: variable.clone(), message });
            }
            _ => warnings.push(format!("the variable {variable} names no setting and is ignored")),
        }
    }
    Ok(warnings)
}

/// The file on its own must be right: its mistakes are told with line and column.
fn read_file(path: &PathBuf) -> Result<Table, ConfigError> {
    let text =
        std::fs::read_to_string(path).map_err(|error| ConfigError::File { path: path.clone(), error })?;
    let checked: Result<Config, _> = toml::from_str(&text);
    checked
        .and_then(|_| toml::from_str(&text))
        .map_err(|error| wrong(path.display().to_string(), &error.to_string()))
}

fn set<'a>(
    settings: &mut Table,
    name: &str,
    kind: Kind,
    given: impl Iterator<Item = &'a str>,
    origin: &str,
) -> Result<(), ConfigError> {
    let mut values = Vec::new();
    for text in given {
        match kind {
            Kind::Text | Kind::Number => values = vec![value(kind, text, origin)?],
            Kind::Texts | Kind::Numbers => {
                for part in text.split(',').filter(|part| !part.is_empty()) {
                    values.push(value(kind, part.trim(), origin)?);
                }
            }
        }
    }
    let Some(last) = values.last().cloned() else { return Ok(()) };
    let value = match kind {
        Kind::Text | Kind::Number => last,
        Kind::Texts | Kind::Numbers => Value::Array(values),
    };
    match name.split_once('.') {
        None => settings.insert(name.into(), value),
        Some((section, name)) => settings
            .entry(section)
            .or_insert_with(|| Value::Table(Table::new()))
            .as_table_mut()
            .and_then(|section| section.insert(name.into(), value)),
    };
    Ok(())
}

fn value(kind: Kind, text: &str, origin: &str) -> Result<Value, ConfigError> {
    match kind {
        Kind::Text | Kind::Texts => Ok(Value::String(text.into())),
        Kind::Number | Kind::Numbers => text
            .parse()
            .map(Value::Integer)
            .map_err(|_| wrong(origin.into(), &format!("`{text}` is no whole number"))),
    }
}

fn wrong(origin: String, message: &str) -> ConfigError {
    let message = match suggestion(message) {
        Some(name) => format!("{}\ndid you mean `{name}`?", message.trim_end()),
        None => message.trim_end().to_owned(),
    };
    ConfigError::Wrong { origin, message }
}

/// serde's message names the unknown key first and then all that are allowed, each in backticks.
fn suggestion(message: &str) -> Option<&str> {
    let (_, rest) =
        message.split_once("unknown field `").or_else(|| message.split_once("unknown variant `"))?;
    let mut quoted = rest.split('`').step_by(2);
    let unknown = quoted.next()?;
    nearest(unknown, &quoted.collect::<Vec<_>>())
}

fn warnings(config: &Config) -> Vec<String> {
    let with_password = config.redis.url.iter().filter(|url| url.has_password());
    with_password
        .map(|url| {
            format!("the password in {url} can be read by others; put it into a file: redis.password_file")
        })
        .collect()
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
