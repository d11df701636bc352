//! What an operator says about one policy.
//!
//! Owns the plain values and their defaults. How they are written in a file, the daemon knows.

use crate::digest::Digest;
use crate::inside::Tables;
use crate::model::Operation;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Policies in one chain.
pub const POLICIES_MAX: usize = 32;
/// The largest `memory`: what the allocator has room for in each instance.
pub const MEMORY_BYTES_MAX: u64 = 128 << 20;
/// Linear memory of an instance where nothing is said of it; or twice what the guest begins with, if that is more.
pub const MEMORY_BYTES: u64 = 8 << 20;
/// What a policy may take to decide.
pub const DEADLINE: Duration = Duration::from_millis(2);
/// What an observer may take for a batch of events, for which nobody waits.
pub const DEADLINE_OF_OBSERVER: Duration = Duration::from_millis(100);
/// Instances that may be prepared ahead, and those of all policies together: there is room for as many of their next version.
pub(crate) const PREPARED_MAX: u32 = 128;
pub(crate) const PREPARED_OF_ALL_MAX: usize = 240;
/// Instances prepared ahead where nothing is said of them, of a guest that takes long to begin: a burst of more waits for its
/// policy's lane.
pub(crate) const PREPARED: u32 = 8;
/// … of another, which spares most requests the making: a burst of more has them made on its way.
pub(crate) const PREPARED_CHEAP: u32 = 4;
/// The longest `deadline`.
pub const DEADLINE_MAX: Duration = Duration::from_secs(10);

/// One policy of a chain, or one observer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Its name: in logs, metrics, and in what a denied client is told.
    pub name: Arc<str>,
    /// The component.
    pub path: PathBuf,
    /// The only component that is accepted.
    pub sha256: Option<Digest>,
    /// Patterns over keys; none of them = all keys.
    pub matches: Vec<String>,
    /// Operations that it is asked about.
    pub operations: Vec<Operation>,
    /// Whether its verdicts count.
    pub enforcement: Enforcement,
    /// What a fault means.
    pub on_error: OnError,
    /// Processor time that a call may take; if it is not said, [`DEADLINE`], or [`DEADLINE_OF_OBSERVER`].
    pub deadline: Option<Duration>,
    /// Bytes of linear memory that an instance may have; if it is not said, [`MEMORY_BYTES`] or more.
    pub memory: Option<u64>,
    /// The zone of its clock, by its name in the IANA database.
    pub timezone: String,
    /// Its own settings, as a JSON document.
    pub settings: String,
    /// What it can look up.
    pub tables: Tables,
    /// Instances prepared ahead; if it is not said, 8 of a guest that takes long to begin, 4 of another. With 0, each is made for
    /// its call.
    pub prepared: Option<u32>,
    /// Where an observer's lines go; without it, to the log.
    pub output: Option<PathBuf>,
}

impl Settings {
    /// The defaults, for the component at `path`. It is called as the file is.
    pub fn at(path: impl Into<PathBuf>) -> Settings {
        let path = path.into();
        let name = path.file_stem().map_or("policy".into(), |stem| stem.to_string_lossy().as_ref().into());
        Settings {
            name,
            path,
            sha256: None,
            matches: Vec::new(),
            operations: vec![Operation::Acquire, Operation::Once],
            enforcement: Enforcement::Enforce,
            on_error: OnError::Deny,
            deadline: None,
            memory: None,
            timezone: "UTC".into(),
            settings: "{}".into(),
            tables: Tables::new(),
            prepared: None,
            output: None,
        }
    }

    /// Whether what is said here can be.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.name.is_empty() || self.name.len() > 64 || self.name.contains(char::is_control) {
            return Err("`name`: 1 to 64 bytes in one line".into());
        }
        if self.memory.is_some_and(|bytes| bytes == 0 || bytes > MEMORY_BYTES_MAX) {
            return Err(format!("`memory`: 1 to {MEMORY_BYTES_MAX} bytes"));
        }
        if self.prepared.is_some_and(|prepared| prepared > PREPARED_MAX) {
            return Err(format!("`prepared`: at most {PREPARED_MAX}"));
        }
        if self.deadline.is_some_and(|deadline| deadline.is_zero() || deadline > DEADLINE_MAX) {
            return Err(format!("`deadline`: longer than 0, at most {DEADLINE_MAX:?}"));
        }
        match self.operations.is_empty() {
            true => Err("`ops`: name one at least".into()),
            false => Ok(()),
        }
    }
}

/// Whether a policy's verdicts count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Enforcement {
    /// They do.
    #[default]
    Enforce,
    /// They are told in metrics and traces, and nothing else comes of them: for trying a policy on real requests.
    Monitor,
}

/// What is done when a policy can not decide.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnError {
    /// The request is denied.
    #[default]
    Deny,
    /// As if the policy were not there.
    Abstain,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_told() {
        let said = |change: fn(&mut Settings)| {
            let mut settings = Settings::at("p.wasm");
            change(&mut settings);
            settings.check()
        };
        assert_eq!(said(|settings| settings.prepared = Some(PREPARED_MAX)), Ok(()));
        let error = said(|settings| settings.prepared = Some(PREPARED_MAX + 1));
        assert_eq!(error, Err("`prepared`: at most 128".into()));
    }
}
