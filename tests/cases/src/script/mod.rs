//! Cases as they are written, and what they mean.
//!
//! Owns the language of the case files (`bindings/cases/README.md` describes it) and every check that needs no sidecar.
//! Must not play anything.

mod names;
mod parse;
#[cfg(test)]
mod tests;
mod verb;

pub use parse::{Mistake, parse};
pub use verb::{Kind, Verb, milliseconds, said};

use std::collections::BTreeSet;
use std::path::Path;

/// The name of what nobody asks for again, and the reason that may be any.
pub const NOBODY: &str = "_";

/// Languages that a case can be impossible in.
pub const LANGUAGES: [&str; 7] = ["rust", "rust-blocking", "http", "python", "asyncio", "swift", "kotlin"];

/// Where tenures live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Store {
    /// In the sidecar.
    Memory,
    /// In a Redis.
    Redis,
}

/// A case.
#[derive(Debug)]
pub struct Case {
    /// Where it stands: file and line.
    pub place: String,
    /// What it is called.
    pub name: String,
    /// What it shows, in a sentence.
    pub shows: String,
    /// Languages that can not express it, and why.
    pub not_in: Vec<(String, String)>,
    /// The one store that it makes sense over.
    pub only: Option<Store>,
    /// Lines of the settings of a sidecar of its own.
    pub settings: Vec<String>,
    /// Actors that share a client.
    pub together: Vec<Vec<String>>,
    /// What happens.
    pub steps: Vec<Step>,
}

/// A line of a case.
#[derive(Debug)]
pub struct Step {
    /// In its file.
    pub line: usize,
    /// As it is written.
    pub text: String,
    /// What it means.
    pub act: Act,
}

/// What happens in a step.
#[derive(Debug)]
pub enum Act {
    /// An actor does something.
    Do {
        /// Who.
        actor: String,
        /// What.
        verb: &'static Verb,
        /// Arguments and options as written, by name.
        values: Vec<(&'static str, Vec<String>)>,
        /// What must come of it; `None`: it has to wait, and a later step says.
        outcome: Option<Outcome>,
    },
    /// What an actor waited for has come.
    Comes {
        /// Who.
        actor: String,
        /// What.
        outcome: Outcome,
    },
    /// The actor's process is killed.
    Kill(String),
    /// An operator takes the key from whoever holds it.
    Force(String),
    /// What happens to the sidecar.
    Sidecar(SidecarAct),
    /// What happens to Redis.
    Redis(RedisAct),
    /// Two fences in order, or the same one.
    Fences {
        /// The lower.
        left: Fence,
        /// Whether both are the same.
        equal: bool,
        /// The higher.
        right: Fence,
    },
    /// So many hold the key and so many wait for it, soon.
    Crowd {
        /// The key.
        key: String,
        /// Those who hold it.
        held: usize,
        /// Those who wait for it.
        waiting: usize,
    },
}

/// The fence of a lease, of one of its keys if it has several.
#[derive(Debug)]
pub struct Fence {
    /// The lease's name.
    pub lease: String,
    /// The key.
    pub key: Option<String>,
}

/// What must come of something.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// `ok`, `lease`, `error`, …
    pub word: String,
    /// What is said besides, by name.
    pub fields: Vec<(String, String)>,
}

impl Outcome {
    /// What is said of this.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// What happens to a sidecar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SidecarAct {
    /// SIGKILL.
    Kill,
    /// SIGTERM, and it has ended.
    Stop,
    /// There is one again.
    Start,
}

/// What happens to a Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedisAct {
    /// It is gone with its data, and the sidecar knows.
    Down,
    /// There is one again, and the sidecar is connected.
    Up,
}

impl Case {
    /// Actors whose process is killed: each has a process of its own.
    pub fn killed(&self) -> BTreeSet<&str> {
        let killed = self.steps.iter().filter_map(|step| match &step.act {
            Act::Kill(actor) => Some(actor.as_str()),
            _ => None,
        });
        killed.collect()
    }

    /// Whether it needs a sidecar that no other case uses.
    pub fn needs_own_sidecar(&self) -> bool {
        let of_its_own = |step: &Step| matches!(step.act, Act::Sidecar(_) | Act::Redis(_));
        !self.settings.is_empty() || self.steps.iter().any(of_its_own)
    }

    /// Why it can not be played in this language, if so.
    pub fn why_not_in(&self, language: &str) -> Option<&str> {
        self.not_in.iter().find(|(known, _)| known == language).map(|(_, reason)| reason.as_str())
    }
}

/// Reads all case files of a folder, in the order of their names.
///
/// # Errors
/// Every mistake in them.
pub fn read(folder: &Path) -> Result<Vec<Case>, Vec<Mistake>> {
    let mut files: Vec<_> = match std::fs::read_dir(folder) {
        Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
        Err(error) => return Err(vec![Mistake(format!("{}: {error}", folder.display()))]),
    };
    files.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    files.sort();
    let mut cases: Vec<Case> = Vec::new();
    let mut mistakes = Vec::new();
    for path in files {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match std::fs::read_to_string(&path) {
            Ok(text) => match parse(&name, &text) {
                Ok(read) => cases.extend(read),
                Err(found) => mistakes.extend(found),
            },
            Err(error) => mistakes.push(Mistake(format!("{}: {error}", path.display()))),
        }
    }
    let mut names = BTreeSet::new();
    for case in &cases {
        if !names.insert(&case.name) {
            mistakes.push(Mistake(format!("{}: there are two cases {:?}", case.place, case.name)));
        }
    }
    if mistakes.is_empty() { Ok(cases) } else { Err(mistakes) }
}
