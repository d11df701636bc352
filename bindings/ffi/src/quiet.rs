//! Threads of ours that are in the other language, or on their way: an interpreter that ends meanwhile aborts the program.
//!
//! Owns the count of them.

use crate::runtime;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Who does not come back within so long is stopped; a program's end does not wait for it.
const QUIET_WITHIN: Duration = Duration::from_secs(1);

/// Waits until no thread of ours is in the other language. From then on it is not told of losses any more: it ends. To be called
/// when nothing else is under way.
#[uniffi::export]
pub fn quiet() {
    if let Some(runtime) = runtime::started() {
        runtime.visits().end();
    }
}

/// Those of one process.
#[derive(Debug, Default)]
pub(crate) struct Visits {
    abroad: Mutex<Abroad>,
    /// Told when the last one is back.
    all_back: Condvar,
}

#[derive(Debug, Default)]
struct Abroad {
    threads: usize,
    /// The other language ends.
    unwelcome: bool,
}

/// A thread's way to the other language and back, until this is dropped.
pub(crate) struct Visit(&'static Visits);

impl Visits {
    /// Of somebody that the other language waits for.
    pub(crate) fn begin(&'static self) -> Visit {
        self.abroad().threads += 1;
        Visit(self)
    }

    /// Of somebody that it does not wait for; nothing: it is too late.
    pub(crate) fn announce(&'static self) -> Option<Visit> {
        let mut abroad = self.abroad();
        if abroad.unwelcome {
            return None;
        }
        abroad.threads += 1;
        drop(abroad);
        Some(Visit(self))
    }

    fn end(&self) {
        let mut abroad = self.abroad();
        abroad.unwelcome = true;
        // Late is as good as never: there is nothing else to do about it.
        drop(self.all_back.wait_timeout_while(abroad, QUIET_WITHIN, |abroad| abroad.threads > 0));
    }

    /// Nothing panics while it is held, so poison means nothing.
    fn abroad(&self) -> MutexGuard<'_, Abroad> {
        self.abroad.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let mut abroad = self.0.abroad();
        abroad.threads -= 1;
        if abroad.threads == 0 {
            self.0.all_back.notify_all();
        }
    }
}
