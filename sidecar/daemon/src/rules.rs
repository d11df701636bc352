//! What applies to requests now: limits and classes, replaced as a whole on SIGHUP.
//!
//! Owns the current set. Must not apply it: the gate does.

use crate::config::{Class, Config, Limits};
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
}

impl InForce {
    /// Starts with these.
    pub(crate) fn new(rules: Rules) -> InForce {
        InForce { rules: Rc::new(RefCell::new(Rc::new(rules))), unclassed: Arc::from("") }
    }

    /// The set of this moment: a request that began under one set ends under it.
    pub(crate) fn now(&self) -> Rc<Rules> {
        self.rules.borrow().clone()
    }

    /// From now on, these. The two limits that the engine was built with stay as they were.
    pub(crate) fn replace(&self, mut rules: Rules) {
        let mut current = self.rules.borrow_mut();
        rules.limits.in_flight_per_session_max = current.limits.in_flight_per_session_max;
        rules.limits.waiters_per_key_max = current.limits.waiters_per_key_max;
        *current = Rc::new(rules);
    }

    /// The label of a key in metrics: the name of its class, or nothing.
    pub(crate) fn label(&self, key: &str) -> Arc<str> {
        let rules = self.rules.borrow();
        rules.class_of(key).map_or(&self.unclassed, |class| &class.name).clone()
    }
}
