//! What applies to requests now: limits and classes, replaced as a whole on SIGHUP.
//!
//! Owns the current set. Must not apply it: the gate does.

use crate::config::{Class, Config, Limits};
use crate::store_link::longest_tenure;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

/// One set of limits and classes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rules {
    /// Bounds.
    pub(crate) limits: Limits,
    /// The first that matches a key decides.
    pub(crate) classes: Vec<Class>,
}

impl Rules {
    /// The class of a key, if it has one.
    pub(crate) fn class_of(&self, key: &str) -> Option<&Class> {
        self.classes.iter().find(|class| class.matches(key))
    }
}

impl From<&Config> for Rules {
    fn from(config: &Config) -> Rules {
        Rules { limits: config.limits.clone(), classes: config.classes.clone() }
    }
}

/// The set in force, shared by all who look at it.
#[derive(Clone, Debug)]
pub(crate) struct InForce {
    rules: Rc<RefCell<Rc<Rules>>>,
    unclassed: Arc<str>,
    /// The limits of the start, where no lease may be longer than the store was told then (P20).
    strict: Option<Rc<Limits>>,
}

impl InForce {
    /// Starts with those of these settings.
    pub(crate) fn new(config: &Config) -> InForce {
        let rules = Rc::new(RefCell::new(Rc::new(Rules::from(config))));
        let strict = longest_tenure(config).map(|_| Rc::new(config.limits.clone()));
        InForce { rules, unclassed: Arc::from(""), strict }
    }

    /// The set of this moment: a request that began under one set ends under it.
    pub(crate) fn now(&self) -> Rc<Rules> {
        self.rules.borrow().clone()
    }

    /// From now on, those of these settings, bounded by [`InForce::bound`]; what it says.
    pub(crate) fn replace(&self, config: &mut Config) -> Vec<&'static str> {
        let kept = self.bound(&mut config.limits);
        *self.rules.borrow_mut() = Rc::new(Rules::from(&*config));
        kept
    }

    /// What engine and store were built with stays as it was: puts it into these limits. Its names.
    pub(crate) fn bound(&self, limits: &mut Limits) -> Vec<&'static str> {
        let mut kept = Vec::new();
        let mut keep = |name, is_other| {
            if is_other {
                kept.push(name);
            }
        };
        let Limits { in_flight_per_session_max, waiters_per_key_max, .. } = self.now().limits;
        keep("in_flight_per_session_max", limits.in_flight_per_session_max != in_flight_per_session_max);
        keep("waiters_per_key_max", limits.waiters_per_key_max != waiters_per_key_max);
        limits.in_flight_per_session_max = in_flight_per_session_max;
        limits.waiters_per_key_max = waiters_per_key_max;
        if let Some(start) = &self.strict {
            keep("ttl_max", limits.ttl_max > start.ttl_max);
            keep("rate_per_max", limits.rate_per_max > start.rate_per_max);
            limits.ttl_max = limits.ttl_max.min(start.ttl_max);
            limits.rate_per_max = limits.rate_per_max.min(start.rate_per_max);
        }
        kept
    }

    /// The label of a key in metrics: the name of its class, or nothing.
    pub(crate) fn label(&self, key: &str) -> Arc<str> {
        let rules = self.rules.borrow();
        rules.class_of(key).map_or(&self.unclassed, |class| &class.name).clone()
    }
}
