//! What is written down of a simulated world: the history for the checker, the story for people.
//!
//! Owns both. Words are made only when a story is wanted.

use crate::checker::history::{At, Bounds, Event, History, Record};

/// The log.
pub(crate) struct Log {
    pub(crate) now: At,
    pub(crate) history: History,
    pub(crate) story: Vec<String>,
    trace: bool,
}

impl Log {
    pub(crate) fn new(bounds: Bounds, trace: bool) -> Log {
        let history = History { bounds, records: Vec::with_capacity(16_384) };
        Log { now: At(0), history, story: Vec::new(), trace }
    }

    pub(crate) fn record(&mut self, event: Event) {
        if self.trace {
            self.story.push(format!("{}    {event:?}", self.now));
        }
        self.history.records.push(Record { at: self.now, event });
    }

    /// A line of the story.
    pub(crate) fn say(&mut self, line: impl FnOnce() -> String) {
        if self.trace {
            self.story.push(format!("{}  {}", self.now, line()));
        }
    }
}
