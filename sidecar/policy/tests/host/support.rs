//! A host, a folder for components, and the usual request.

use crate::guest::Guest;
use sidelock_policy::model::{Operation, Request};
use sidelock_policy::{Bounds, Chain, Fault, Host, NotLoaded, Outcome, Settings};
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use tempfile::TempDir;

static HOST: LazyLock<Host> = LazyLock::new(|| Host::new(None).unwrap());

/// One host for all tests: what it has room for is enough.
pub(crate) fn host() -> &'static Host {
    &HOST
}

/// A folder with components in it.
pub(crate) struct Shelf(TempDir);

impl Shelf {
    pub(crate) fn new() -> Shelf {
        Shelf(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(format!("{name}.wasm"))
    }

    /// Puts a component there, and has the settings that name it.
    pub(crate) fn put(&self, name: &str, component: &[u8]) -> Settings {
        std::fs::write(self.path(name), component).unwrap();
        Settings::at(self.path(name))
    }
}

/// The chain of these.
pub(crate) fn load(settings: Vec<Settings>) -> Result<Arc<Chain>, NotLoaded> {
    Chain::load(host(), settings, Bounds::default(), None)
}

/// A chain of one guest, with the settings as `change` makes them.
pub(crate) fn alone(guest: &Guest, change: impl FnOnce(&mut Settings)) -> Arc<Chain> {
    let shelf = Shelf::new();
    let mut settings = shelf.put("guest", &guest.policy());
    change(&mut settings);
    load(vec![settings]).unwrap()
}

/// A lock that anybody could ask for.
pub(crate) fn request(key: &str) -> Request {
    Request {
        operation: Operation::Acquire,
        keys: vec![key.into()],
        wait_ms: Some(5_000),
        ..Request::default()
    }
}

/// Decides, however long it takes.
pub(crate) fn decide(chain: &Arc<Chain>, request: Request) -> Outcome {
    *chain.decide(request).wait().unwrap()
}

/// The fault that a request met.
pub(crate) fn fault(outcome: &Outcome) -> Fault {
    let denied = outcome.denied.as_ref().unwrap_or_else(|| panic!("not denied: {outcome:?}"));
    denied.fault.clone().unwrap_or_else(|| panic!("no fault: {outcome:?}"))
}
