//! The policies of a sidecar, in their order.
//!
//! Owns one set of them: loaded as a whole, replaced as a whole. A request that began under one set ends under it. Must not
//! know where requests come from.

use crate::case::{Alone, Case, Progress, carry_on};
use crate::cases::self_test;
use crate::code::{Code, NoCode, World};
use crate::digest::Digest;
use crate::edits::Bounds;
use crate::host::Host;
use crate::inspect::Inspection;
use crate::model::{Event, Operation, Request};
use crate::observer::Observer;
use crate::outcome::Outcome;
use crate::plugin::{Place, Plugin, Unfit};
use crate::policy::Policy;
use crate::settings::{POLICIES_MAX, PREPARED_OF_ALL_MAX, Settings};
use crate::zone::Zone;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// See the module.
#[derive(Default)]
pub struct Chain {
    policies: Vec<Arc<Policy>>,
    observers: Vec<Arc<Observer>>,
}

/// Whether a request is admitted: known, or still being found out.
pub enum Decided {
    /// It is known.
    Now(Box<Outcome>),
    /// A policy is slow.
    Later(Later),
}

/// An outcome that is on its way. Whoever drops it will not be told; the policies are asked to the end all the same.
pub struct Later(oneshot::Receiver<Box<Outcome>>);

impl Later {
    /// Waits for it. Nothing if it can not be found out any more: no thread could be started for a policy. Such a request
    /// must not be admitted.
    pub async fn outcome(self) -> Option<Box<Outcome>> {
        self.0.await.ok()
    }

    /// The same, for a thread that may wait.
    pub fn wait(self) -> Option<Box<Outcome>> {
        self.0.blocking_recv().ok()
    }

    /// Whether it is known by now.
    pub fn is_known(&self) -> bool {
        !self.0.is_empty()
    }
}

impl Decided {
    /// The outcome, for a thread that may wait.
    pub fn wait(self) -> Option<Box<Outcome>> {
        match self {
            Decided::Now(outcome) => Some(outcome),
            Decided::Later(later) => later.wait(),
        }
    }
}

/// Why there is no new chain: one policy of it can not be loaded. The old chain stays.
#[derive(Debug, thiserror::Error)]
#[error("policy {policy}: {why}")]
pub struct NotLoaded {
    /// The name of the policy.
    pub policy: Arc<str>,
    /// What is wrong with it.
    pub why: Why,
}

/// What is wrong with a policy.
#[derive(Debug, thiserror::Error)]
pub enum Why {
    /// Its file can not be read.
    #[error("{path}: {error}")]
    File {
        /// As the operator wrote it.
        path: String,
        /// What the system says.
        error: std::io::Error,
    },
    /// Its file is another one than the operator wants.
    #[error("its SHA-256 is {found}, not {wanted}")]
    Digest {
        /// `sha256` of the settings.
        wanted: Digest,
        /// The file's.
        found: Digest,
    },
    /// The file is no policy.
    #[error("it {0}")]
    Code(#[from] NoCode),
    /// What the operator says of it can not be.
    #[error("{0}")]
    Settings(String),
    /// It does not take its settings.
    #[error("{0}")]
    Unfit(#[from] Unfit),
    /// It fails a test that it brings along.
    #[error("{0}")]
    SelfTest(String),
}

impl Chain {
    /// Loads the policies, in their order, and the observers. Takes its time: for a thread on which nobody waits. What is the
    /// same as in `before`, file and settings, goes on as it is; else compiled code is taken over where the file is the same,
    /// and counters go on where the name is.
    pub fn load(
        host: &Host,
        settings: Vec<Settings>,
        bounds: Bounds,
        before: Option<&Chain>,
    ) -> Result<Arc<Chain>, NotLoaded> {
        let mut chain = Chain::default();
        let nobody = Chain::default();
        let before = before.unwrap_or(&nobody);
        // What is said is there for those who said it; the others share what is left.
        let said: usize =
            settings.iter().filter_map(|settings| settings.prepared).map(|said| said as usize).sum();
        let mut unsaid = PREPARED_OF_ALL_MAX.saturating_sub(said);
        for settings in settings {
            let policy = settings.name.clone();
            let added = chain.add(host, settings, bounds, before, &mut unsaid);
            added.map_err(|why| NotLoaded { policy, why })?;
        }
        Ok(Arc::new(chain))
    }

    fn add(
        &mut self,
        host: &Host,
        settings: Settings,
        bounds: Bounds,
        before: &Chain,
        unsaid: &mut usize,
    ) -> Result<(), Why> {
        settings.check().map_err(Why::Settings)?;
        let zone = Zone::named(&settings.timezone).map_err(Why::Settings)?;
        if self.settings().count() == POLICIES_MAX {
            return Err(Why::Settings(format!("there are {POLICIES_MAX} policies already")));
        }
        if self.settings().any(|other| other.name == settings.name) {
            return Err(Why::Settings("there are two of this name".into()));
        }
        let code = before.code(host, &settings)?;
        match code.world {
            World::Policy => {
                let prepared: usize = self.policies.iter().map(|policy| policy.plugin.prepared().0).sum();
                let said = settings.prepared;
                have_room_for(prepared + said.unwrap_or(0) as usize).map_err(Why::Settings)?;
                let same_name = before.policies.iter().find(|policy| policy.settings.name == settings.name);
                self.policies.push(match same_name {
                    Some(same) if same.is(&settings, &code, bounds) => same.clone(),
                    _ => {
                        let plugin = Plugin::new(host, code, &settings, *unsaid)?;
                        let counters = same_name.map(|policy| policy.counters.clone()).unwrap_or_default();
                        Arc::new(Policy::new(settings, zone, plugin, counters, bounds))
                    }
                });
                if let (None, Some(added)) = (said, self.policies.last()) {
                    *unsaid = unsaid.saturating_sub(added.plugin.prepared().0);
                }
            }
            World::Observer => {
                let same = before.observers.iter().find(|observer| observer.is(&settings, &code));
                self.observers.push(match same {
                    Some(same) => same.clone(),
                    None => Arc::new(Observer::new(host, code, settings)?),
                });
            }
        }
        Ok(())
    }

    fn settings(&self) -> impl Iterator<Item = &Settings> {
        let observers = self.observers.iter().map(|observer| &observer.settings);
        self.policies.iter().map(|policy| &policy.settings).chain(observers)
    }

    /// Whether any policy is to be asked about such a request. If not, none need be made.
    pub fn applies<'a>(&self, operation: Operation, keys: impl Iterator<Item = &'a str> + Clone) -> bool {
        self.policies.iter().any(|policy| policy.applies(operation, keys.clone()))
    }

    /// Puts a request to the policies. Returns within a moment, whatever they do: a policy that is slow is asked on a thread
    /// of its own.
    pub fn decide(self: &Arc<Chain>, request: Request) -> Decided {
        match Case::new(self.clone(), request).walk(Place::Here) {
            Progress::Over(outcome) => Decided::Now(outcome),
            Progress::ToLane(case) => {
                let (done, later) = oneshot::channel();
                carry_on(case, done);
                Decided::Later(Later(later))
            }
        }
    }

    /// What the policies would say, and what they write to the log meanwhile. The request's own counters are put in place of
    /// those that stand; nothing is counted.
    pub fn explain(self: &Arc<Chain>, mut request: Request) -> Outcome {
        let given = std::mem::take(&mut request.counters);
        Case::new(self.clone(), request).alone(Alone { given, counts: false })
    }

    /// What is known of each policy, in order.
    pub fn inspect(&self) -> Vec<Inspection> {
        let policies = self.policies.iter().map(|policy| Inspection::of(policy));
        policies.chain(self.observers.iter().map(|observer| Inspection::of_observer(observer))).collect()
    }

    /// Whether there are observers.
    pub fn has_observers(&self) -> bool {
        !self.observers.is_empty()
    }

    /// Whether any observer is to be told of events of this key. If not, none need be made.
    pub fn is_observed(&self, key: &str) -> bool {
        self.observers.iter().any(|observer| observer.applies(key))
    }

    /// Tells the observers what happened. Nobody waits for them.
    pub fn tell(&self, event: &Event) {
        for observer in self.observers.iter().filter(|observer| observer.applies(&event.key)) {
            observer.tell(event);
        }
    }

    /// Waits until the observers were told all that came before, each `within` this time.
    pub fn flush(&self, within: Duration) {
        self.observers.iter().for_each(|observer| observer.flush(within));
    }

    pub(crate) fn policies(&self) -> &[Arc<Policy>] {
        &self.policies
    }

    /// The component that the settings name, compiled and tested; one that is here already, if it is the same.
    fn code(&self, host: &Host, settings: &Settings) -> Result<Arc<Code>, Why> {
        let path = settings.path.display();
        let bytes =
            std::fs::read(&settings.path).map_err(|error| Why::File { path: path.to_string(), error })?;
        let found = Digest::of(&bytes);
        if let Some(wanted) = settings.sha256.filter(|wanted| *wanted != found) {
            return Err(Why::Digest { wanted, found });
        }
        let observers = self.observers.iter().map(|observer| &observer.code);
        let mut known = self.policies.iter().map(|policy| &policy.plugin.code).chain(observers);
        match known.find(|code| code.digest == found) {
            Some(same) => Ok(same.clone()),
            None => {
                let code = Arc::new(Code::make(host, &bytes)?);
                self_test(host, &code, &bytes).map_err(Why::SelfTest)?;
                Ok(code)
            }
        }
    }
}

/// Whether so many instances can be prepared, beside those of the version before.
fn have_room_for(prepared: usize) -> Result<(), String> {
    match prepared > PREPARED_OF_ALL_MAX {
        true => Err(format!(
            "`prepared`: {prepared} with those of the policies before it; at most {PREPARED_OF_ALL_MAX} of all together"
        )),
        false => Ok(()),
    }
}
