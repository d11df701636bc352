//! What others see of policies: those in force, and what they did to requests lately, so that `why` can say it.
//!
//! Owns how much is remembered. Nothing depends on it. Known where no policies are built in, too: nobody rules there.

#![cfg_attr(
    not(feature = "policy"),
    expect(dead_code, reason = "nobody rules where no policies are built in")
)]

use sidelock_engine::{Denial, Key, Time};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// Rulings that are remembered: what somebody looks for who was denied a moment ago.
const RULINGS_MAX: usize = 256;

/// One policy in force.
pub(crate) struct Loaded {
    pub(crate) name: String,
    pub(crate) sha256: String,
    /// Bytes of its file.
    pub(crate) bytes: usize,
    /// Bytes of its machine code.
    pub(crate) machine_code: usize,
    /// Bytes of linear memory of an instance.
    pub(crate) memory: u64,
    /// Time to make an instance.
    pub(crate) fresh: Duration,
    /// Instances that are ready.
    pub(crate) prepared: usize,
    /// It failed too often, and is left alone for a while.
    pub(crate) rests: bool,
}

/// One request that a policy denied or changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ruling {
    /// When.
    pub(crate) at: Time,
    /// The key that was asked for.
    pub(crate) key: Key,
    /// Who asked.
    pub(crate) uid: u32,
    /// What that client calls itself.
    pub(crate) app: Arc<str>,
    /// What became of it.
    pub(crate) ruled: Ruled,
}

/// What a policy did to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ruled {
    /// It said no.
    Denied(Denial),
    /// These changed it, in this order.
    Changed(Vec<Arc<str>>),
}

/// See the module.
#[derive(Default)]
pub(crate) struct Rulings(VecDeque<Ruling>);

impl Rulings {
    pub(crate) fn add(&mut self, ruling: Ruling) {
        if self.0.len() == RULINGS_MAX {
            self.0.pop_front();
        }
        self.0.push_back(ruling);
    }

    /// Those about this key, the latest first.
    pub(crate) fn about(&self, key: &Key) -> Vec<Ruling> {
        self.0.iter().rev().filter(|ruling| ruling.key == *key).cloned().collect()
    }
}
