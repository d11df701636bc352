//! Policies on the road of a request: between the gate, which checks it, and the engine, which decides it.
//!
//! Owns which set of policies is in force ([`Policies`]), and a desk where requests are put to them ([`Desk`]). Must not
//! know wasm, nor any policy's rules: the policy crate does. Without the feature `policy` there is `policies_absent.rs`.

mod counts;
mod desk;
mod load;
mod log_file;
mod matter;
mod observed;
mod recorder;

pub(crate) use counts::Counts;
pub(crate) use desk::{Decision, Desk, Judged};
pub(crate) use load::{start, watch};

use crate::identity::Identity;
use crate::metrics::Metrics;
use crate::rulings::{Loaded, Ruling, Rulings};
use matter::Whereabouts;
use recorder::Record;
use sidelock_engine::{Event, Key};
use sidelock_policy::{Chain, Inspection};
use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// What each observer may take for the rest when the sidecar ends.
const LAST_WORDS: Duration = Duration::from_secs(1);

impl From<Inspection> for Loaded {
    fn from(seen: Inspection) -> Loaded {
        Loaded {
            name: seen.name.to_string(),
            sha256: seen.sha256.to_string(),
            bytes: seen.bytes,
            machine_code: seen.machine_code,
            memory: seen.memory,
            fresh: seen.fresh,
            prepared: seen.prepared.1,
            rests: seen.rests,
        }
    }
}

/// The policies in force, and what they decided lately. Lives on the sidecar's thread.
pub(crate) struct Policies {
    chain: RefCell<Option<Arc<Chain>>>,
    rulings: RefCell<Rulings>,
    metrics: Rc<Metrics>,
    whereabouts: Whereabouts,
    /// Whether there are observers among them.
    observed: Cell<bool>,
    /// Why the newest settings are not in force, if they are not.
    trouble: RefCell<Option<String>>,
    record: Record,
}

impl Policies {
    /// None so far.
    pub(crate) fn new(metrics: Rc<Metrics>, identity: &Identity) -> Policies {
        let record = Record::new(metrics.policies().not_recorded());
        Policies {
            chain: RefCell::default(),
            rulings: RefCell::default(),
            metrics,
            whereabouts: Whereabouts::of(identity),
            observed: Cell::new(false),
            trouble: RefCell::default(),
            record,
        }
    }

    /// From now on, these. Requests under way end under those before.
    fn replace(&self, chain: Option<Arc<Chain>>) {
        self.observed.set(chain.as_ref().is_some_and(|chain| chain.has_observers()));
        if let Some(old) = self.chain.replace(chain) {
            // To take prepared instances and machine code apart takes milliseconds, in which nothing would be granted or renewed.
            tokio::task::spawn_blocking(move || drop(old));
        }
        *self.trouble.borrow_mut() = None;
    }

    /// Those in force stay: new ones can not be.
    fn stay(&self, why: String) {
        *self.trouble.borrow_mut() = Some(why);
    }

    /// None has to be asked if there is none; for the record, an empty one.
    fn chain(&self) -> Option<Arc<Chain>> {
        let chain = self.chain.borrow().clone();
        chain.or_else(|| self.record.is_kept().then(Arc::default))
    }

    /// From now on requests and what is decided are on record there, or nowhere.
    pub(crate) fn keep_record(&self, path: Option<&Path>) -> Result<(), String> {
        self.record.keep_at(path)
    }

    /// Waits for the last lines of the record.
    pub(crate) fn end_record(&self) {
        self.record.end();
    }

    /// Whether any can be loaded.
    pub(crate) const BUILT_IN: bool = true;

    /// What the policies in force are, in their order.
    pub(crate) fn loaded(&self) -> Vec<Loaded> {
        let loaded = |chain: Arc<Chain>| chain.inspect().into_iter().map(Loaded::from).collect();
        self.chain().map(loaded).unwrap_or_default()
    }

    /// Why the newest settings are not in force; nothing if they are.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.trouble.borrow().clone()
    }

    /// What policies did to requests for this key lately, the latest first.
    pub(crate) fn rulings(&self, key: &Key) -> Vec<Ruling> {
        self.rulings.borrow().about(key)
    }

    /// Whether observers are told what happens.
    pub(crate) fn is_observed(&self) -> bool {
        self.observed.get()
    }

    /// Tells the observers what happened, as far as it is their business.
    pub(crate) fn happened(&self, event: &Event) {
        if let Some(chain) =
            self.chain.borrow().as_ref().filter(|chain| chain.is_observed(event.key.as_str()))
        {
            chain.tell(&observed::told(event));
        }
    }

    /// Waits until the observers were told all that happened, or were given enough time: for the end of the sidecar.
    pub(crate) fn flush(&self) {
        if let Some(chain) = self.chain() {
            chain.flush(LAST_WORDS);
        }
    }

    fn ruled(&self, ruling: Ruling) {
        self.rulings.borrow_mut().add(ruling);
    }
}
