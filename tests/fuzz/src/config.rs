//! Settings: a file, and after it the environment, each variable behind a zero byte.
//!
//! What must hold: no panic; a mistake is a typed error that says where it is; and what is accepted prints as settings
//! that are read as the same.

use crate::Marks;
use sidelock_daemon::config::{Config, ConfigError, DEFAULT_TOML, Sources, load};
use std::path::PathBuf;
use tempfile::TempDir;
use toml::{Table, Value};

/// Names of settings, and values that some of them take.
pub(crate) const WORDS: &[&str] = &[
    "store",
    "\"memory\"",
    "\"redis\"",
    "namespace",
    "allow_uid",
    "[redis]",
    "url",
    "redis://user:secret@host:6379/0",
    "\"cluster\"",
    "guarantee",
    "[tenure]",
    "ttl",
    "retention",
    "[limits]",
    "ttl_max",
    "[[class]]",
    "name",
    "match",
    "limit",
    "max_hold",
    "\"1m30s\"",
    "\"0s\"",
    " = ",
    "[",
    "{}",
    "\"\"",
    "\n",
    "\0SIDELOCK_REDIS=",
    "\0SIDELOCK_LIMITS_TTL_MIN=",
    "\0SIDELOCK_ALLOW_GID=1,2",
];

/// Settings that need each other.
const FLEET: &str = r#"
store = "redis"
socket = "/run/sidelock/sidelock.sock"
probe_listen = "[::1]:9464"
[redis]
url = ["redis://10.0.0.1:6379/0", "unix:///run/redis.sock"]
mode = "sentinel"
guarantee = "strict"
username = "u"
[tenure]
ttl = "1m30s"
[[class]]
name = "payments"
match = "pay/**"
limit = 10
default_wait = "5s"
max_hold = "1m"
deadlock = "detect"
[[class]]
name = "rest"
match = "**"
"#;

const FROM_ENVIRONMENT: &str = "drain_grace = \"1s\"\0SIDELOCK_REDIS=redis://h\0SIDELOCK_TENURE_TTL=20s\0SIDELOCK_ALLOW_UID=1,2\
    \0SIDELOCK_SERVICE_HOST=10.0.0.1\0SIDELOCK_LIMITS_SESSIONS_MAX=5\0PATH=/bin";

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let uncommented: String = DEFAULT_TOML
        .lines()
        .map(|line| line.strip_prefix('#').filter(|setting| !setting.starts_with(' ')).unwrap_or(line))
        .flat_map(|line| [line, "\n"])
        .collect();
    let seeds = ["", DEFAULT_TOML, &uncommented, FLEET, FROM_ENVIRONMENT];
    seeds.iter().map(|text| text.as_bytes().to_vec()).collect()
}

thread_local! {
    static FOLDER: TempDir = tempfile::tempdir().expect("the folder for temporary files can be written");
}

/// A file with this in it.
fn file(text: &[u8]) -> Option<PathBuf> {
    let path = FOLDER.with(|folder| folder.path().join("sidelock.toml"));
    std::fs::write(&path, text).expect("our folder can be written");
    Some(path)
}

pub(crate) fn check(bytes: &[u8], marks: &mut Marks) {
    let mut parts = bytes.split(|byte| *byte == 0);
    let text = parts.next().unwrap_or_default();
    let environment: Vec<(String, String)> = parts
        .filter_map(|part| std::str::from_utf8(part).ok()?.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let sources = Sources { file: file(text), environment, flags: Vec::new() };
    match load(&sources) {
        Ok(loaded) => {
            marks.saw("accepted");
            loaded.warnings.iter().for_each(|warning| marks.saw(first_words(warning)));
            mark_differences(&loaded.config, marks);
            says_the_same_again(&loaded.config);
        }
        Err(ConfigError::File { .. }) => marks.saw("not text"),
        Err(ConfigError::Wrong { origin, message }) => {
            marks.saw(first_words(message.lines().last().unwrap_or_default()));
            assert!(!origin.is_empty() && !message.is_empty());
            assert!(
                says_where(text, &sources, &origin, &message),
                "it does not say where: {origin}: {message}"
            );
        }
    }
}

/// Which settings are not the default ones.
fn mark_differences(config: &Config, marks: &mut Marks) {
    let table = |config: &Config| Table::try_from(config).expect("settings are a table");
    let (ours, defaults) = (table(config), table(&Config::default()));
    for (name, value) in &ours {
        let before = defaults.get(name);
        match (value, before) {
            (value, Some(before)) if value == before => {}
            (Value::Table(section), Some(Value::Table(before))) => section
                .iter()
                .filter(|(setting, value)| before.get(*setting) != Some(*value))
                .for_each(|(setting, _)| marks.saw(format!("{name}.{setting} is set"))),
            _ => marks.saw(format!("{name} is set")),
        }
    }
}

/// Passwords are printed as stars, and so can not come back.
fn says_the_same_again(config: &Config) {
    if config.redis.url.iter().any(|url| url.has_password()) {
        return;
    }
    let printed = toml::to_string(config).expect("settings can be printed");
    let again = load(&Sources { file: file(printed.as_bytes()), ..Sources::default() });
    match again {
        Ok(again) => assert_eq!(again.config, *config, "printed as\n{printed}"),
        Err(error) => panic!("printed as\n{printed}\nand then {error}"),
    }
}

/// A line of the file, a variable, or the name of a setting.
fn says_where(text: &[u8], sources: &Sources, origin: &str, message: &str) -> bool {
    let said = format!("{origin}: {message}");
    let of_text = || std::str::from_utf8(text).ok().and_then(|text| text.parse::<Table>().ok());
    let names = |table: Table| table.keys().any(|name| said.contains(name.as_str()));
    said.contains(" at line ")
        || sources.environment.iter().any(|(variable, _)| said.contains(variable.as_str()))
        || message.contains('`')
        || of_text().is_some_and(names)
}

/// What kind of sentence it is, without what is quoted in it.
fn first_words(text: &str) -> String {
    text.split(' ')
        .take(3)
        .filter(|word| word.bytes().all(|b| b.is_ascii_alphabetic()))
        .collect::<Vec<_>>()
        .join(" ")
}
