//! What is known of a policy that is loaded.
//!
//! Owns the words in which `policy inspect` and `policy ls` say it.

use crate::code::{Code, World};
use crate::digest::Digest;
use crate::observer::Observer;
use crate::plugin::Measured;
use crate::policy::Policy;
use std::sync::Arc;
use std::time::Duration;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// Its name.
    pub name: Arc<str>,
    /// Of which world it is.
    pub world: World,
    /// Its digest.
    pub sha256: Digest,
    /// Bytes of its file.
    pub bytes: usize,
    /// Bytes of its machine code, which all of its instances share.
    pub machine_code: usize,
    /// How long it took to have machine code.
    pub compiled_in: Duration,
    /// Whether that was there already.
    pub precompiled: bool,
    /// Time to make an instance and give it its settings.
    pub fresh: Duration,
    /// Bytes of linear memory of an instance that has its settings.
    pub memory: u64,
    /// Instances that are prepared ahead when none is in use, and those that are ready now.
    pub prepared: (usize, usize),
    /// What it imports.
    pub imports: Vec<String>,
    /// The counters that it wants to see, as it names them.
    pub counters: Vec<Arc<str>>,
    /// Names that it is counting now.
    pub counting: usize,
    /// Events that an observer was not told of, because it was too slow or failed.
    pub left_out: u64,
    /// Whether it failed too often and is being left alone.
    pub rests: bool,
}

impl Inspection {
    pub(crate) fn of(policy: &Policy) -> Inspection {
        let plugin = &policy.plugin;
        Inspection {
            prepared: plugin.prepared(),
            counters: plugin.wanted.iter().map(|wanted| wanted.name.clone()).collect(),
            counting: policy.counters.len(),
            rests: policy.rests(),
            ..Inspection::of_code(policy.settings.name.clone(), &plugin.code, plugin.measured)
        }
    }

    pub(crate) fn of_observer(observer: &Observer) -> Inspection {
        let Observer { settings, code, measured, .. } = observer;
        Inspection {
            rests: observer.rests(),
            left_out: observer.left_out(),
            ..Inspection::of_code(settings.name.clone(), code, *measured)
        }
    }

    pub(crate) fn of_code(name: Arc<str>, code: &Code, measured: Measured) -> Inspection {
        Inspection {
            name,
            world: code.world,
            sha256: code.digest,
            bytes: code.bytes,
            machine_code: code.machine_code(),
            compiled_in: code.compiled_in,
            precompiled: code.precompiled,
            fresh: measured.fresh,
            memory: measured.memory,
            prepared: (0, 0),
            imports: code.imports.clone(),
            counters: Vec::new(),
            counting: 0,
            left_out: 0,
            rests: false,
        }
    }
}
