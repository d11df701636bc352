//! The engine: three verbs and a dispatch. Holds no rule of its own.

use crate::config::Config;
use crate::effect::Effect;
use crate::input::Input;
use crate::model::{Key, Time};
use crate::view::{Counts, KeyView};
use std::collections::VecDeque;

/// One sidecar's rules and state, as a value.
pub struct Engine {
    config: Config,
    effects: VecDeque<Effect>,
}

impl Engine {
    /// An engine that knows nobody yet. The store counts as down until [`Input::StoreUp`].
    pub fn new(config: Config) -> Engine {
        Engine {
            config,
            effects: VecDeque::new(),
        }
    }

    /// Something happened at `now`. First everything that is due at `now` expires, then the input is looked at (P8).
    /// `now` never goes back.
    pub fn handle(&mut self, now: Time, input: Input) {
        let _ = (now, input, &self.config);
    }

    /// The next thing to do, until there is none.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Input::Tick`] is wanted if nothing else happens before.
    pub fn next_deadline(&self) -> Option<Time> {
        None
    }

    /// Keys that begin with `prefix`, in order, at most `limit`.
    pub fn list(&self, prefix: &str, limit: usize) -> Vec<KeyView> {
        let _ = (prefix, limit);
        Vec::new()
    }

    /// One key, if this sidecar knows it.
    pub fn look(&self, key: &Key) -> Option<KeyView> {
        let _ = key;
        None
    }

    /// Sizes.
    pub fn counts(&self) -> Counts {
        Counts::default()
    }
}
