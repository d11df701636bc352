//! What each process of a line of forks has of its own.

use sidelock_client::ProcessMark;
use std::sync::{Arc, OnceLock};

/// Something that a forked child does not inherit: it finds a fresh one. The parent's is neither used nor waited for there:
/// it may be locked by a thread that only the parent has.
#[derive(Debug)]
pub(crate) struct EachProcess<T> {
    mark: ProcessMark,
    own: T,
    child: OnceLock<Arc<EachProcess<T>>>,
}

impl<T: Default> EachProcess<T> {
    pub(crate) fn new() -> Arc<EachProcess<T>> {
        Arc::new(EachProcess { mark: ProcessMark::here(), own: T::default(), child: OnceLock::new() })
    }

    /// That of this process.
    pub(crate) fn here(self: &Arc<Self>) -> Arc<EachProcess<T>> {
        let mut each = self;
        while !each.mark.is_here() {
            each = each.child.get_or_init(EachProcess::new);
        }
        each.clone()
    }

    pub(crate) fn get(&self) -> &T {
        &self.own
    }
}
