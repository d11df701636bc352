//! What the host keeps for one instance: how much it may use, what it wrote, and why it was stopped.
//!
//! Owns the caps on memory, tables, log lines and an observer's output, the time that a call may take, and the host's
//! functions. Must not know chains.

use crate::bindings::{host, sink};
use crate::fault::Fault;
use crate::model::Level;
use crate::ticker::TICK;
use rustix::time::{ClockId, clock_gettime};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use wasmtime::{ResourceLimiter, Store, StoreContextMut, UpdateDeadline};

/// Elements in all tables of an instance: what Python's runtime needs, doubled. The allocator has room for so many in
/// each table.
pub(crate) const TABLE_ELEMENTS_MAX: usize = 20_000;
/// Bytes of texts and lists that one call may hand over from a guest.
pub(crate) const LIFTED_BYTES_MAX: usize = 1 << 20;
/// Log lines that a call may write, and bytes in each.
const LINES_MAX: usize = 16;
const LINE_BYTES_MAX: usize = 1024;
/// Bytes in a line that an observer emits, and bytes that it may emit in one call.
const EMITTED_BYTES_MAX: usize = 8192;
const EMITTED_TOTAL_MAX: usize = 4 << 20;
/// Ticks before a call is looked at for the first time, and from one look to the next.
const LOOK_TICKS: u64 = 1;
/// Looks without which no call is ended for its deadline, the machine's time being on the thread's account too: a page that the
/// host of a virtual machine fetches, an interrupt. A guest that computed all the while was looked at more often.
const LOOKS_MIN: u32 = 4;
/// What a guest may use of a tick before it counts as one that is not done in a moment: the rest of the tick the machine may
/// have given to others.
const OF_A_TICK: Duration = Duration::from_micros(TICK.as_micros() as u64 / 2);

/// Tables that an operator gave to a policy: name, key, value.
pub type Tables = BTreeMap<Arc<str>, BTreeMap<Arc<str>, Arc<str>>>;

/// What all instances of a plugin have in common.
#[derive(Clone, Debug)]
pub(crate) struct Means {
    /// Bytes of linear memory.
    pub(crate) memory: u64,
    /// Whether an operator chose that.
    pub(crate) memory_is_said: bool,
    /// What `host.lookup` sees.
    pub(crate) tables: Tables,
    /// The settings, as JSON.
    pub(crate) settings: String,
}

/// A line that a guest wrote to the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// How important it is.
    pub level: Level,
    /// One line of text.
    pub text: String,
}

/// How long a call may take.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Span {
    /// A moment: until the second look, unless the machine did something else meanwhile. For a thread on which others wait.
    Slice,
    /// That much of the processor's time. For a thread that has nothing else to do: a busy machine makes nobody fail.
    Whole(Duration),
}

/// Why the host stopped a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The moment was over. Nobody is to blame; the call can be made anew, with more time.
    SliceOver,
    /// A limit.
    Fault(Fault),
}

/// See the module.
pub(crate) struct Inside {
    means: Arc<Means>,
    memory: u64,
    table: u64,
    stopped: Option<Stop>,
    lines: Vec<Line>,
    emitted: Vec<String>,
    emitted_bytes: usize,
    span: Span,
    /// What its thread had used of the processor when the call began; for a [`Span::Slice`], when it was first looked at.
    began: Option<Duration>,
    /// How often it was looked at.
    looks: u32,
}

impl Span {
    /// Whether a call is over that used so much when it was looked at so often.
    fn is_over(self, used: Duration, looks: u32) -> Option<Stop> {
        match self {
            Span::Slice if used >= OF_A_TICK => Some(Stop::SliceOver),
            Span::Whole(span) if used >= span && looks >= LOOKS_MIN => {
                Some(Stop::Fault(Fault::Deadline(span)))
            }
            _ => None,
        }
    }
}

impl Inside {
    /// A store for one instance.
    pub(crate) fn store(engine: &wasmtime::Engine, means: Arc<Means>) -> Store<Inside> {
        let inside = Inside {
            means,
            memory: 0,
            table: 0,
            stopped: None,
            lines: Vec::new(),
            emitted: Vec::new(),
            emitted_bytes: 0,
            span: Span::Slice,
            began: None,
            looks: 0,
        };
        let mut store = Store::new(engine, inside);
        store.limiter(|inside| inside);
        store.set_hostcall_fuel(LIFTED_BYTES_MAX);
        store.epoch_deadline_callback(look);
        store
    }

    /// From now on the guest has `span`.
    pub(crate) fn begin(store: &mut Store<Inside>, span: Span) {
        store.set_epoch_deadline(LOOK_TICKS);
        let inside = store.data_mut();
        (inside.span, inside.looks) = (span, 0);
        // A call that is done in a moment is spared the question.
        inside.began = matches!(span, Span::Whole(_)).then(processor_time);
    }

    /// Bytes of linear memory in use.
    pub(crate) fn memory(&self) -> u64 {
        self.memory
    }

    /// Why the call was stopped, if the host did it.
    pub(crate) fn stopped(&mut self) -> Option<Stop> {
        self.stopped.take()
    }

    /// What it wrote to the log.
    pub(crate) fn lines(&mut self) -> Vec<Line> {
        std::mem::take(&mut self.lines)
    }

    /// What an observer emitted.
    pub(crate) fn emitted(&mut self) -> Vec<String> {
        std::mem::take(&mut self.emitted)
    }

    /// Ends the call with this fault.
    fn stop(&mut self, fault: Fault) -> wasmtime::Error {
        let error = wasmtime::Error::msg(fault.to_string());
        self.stopped = Some(Stop::Fault(fault));
        error
    }
}

/// Called at a tick, when the guest is at a loop's head or enters a function.
fn look(mut store: StoreContextMut<'_, Inside>) -> wasmtime::Result<UpdateDeadline> {
    let inside = store.data_mut();
    let now = processor_time();
    let used = now.saturating_sub(*inside.began.get_or_insert(now));
    inside.looks += 1;
    inside.stopped = inside.span.is_over(used, inside.looks);
    Ok(match inside.stopped {
        Some(_) => UpdateDeadline::Interrupt,
        None => UpdateDeadline::Continue(LOOK_TICKS),
    })
}

/// What this thread has used of the processor.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

impl ResourceLimiter for Inside {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let wanted = self.memory + desired.saturating_sub(current) as u64;
        let allowed = self.means.memory;
        if wanted > allowed {
            return Err(self.stop(Fault::Memory { wanted, allowed }));
        }
        self.memory = wanted;
        Ok(true)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let wanted = self.table + desired.saturating_sub(current) as u64;
        let allowed = TABLE_ELEMENTS_MAX as u64;
        if wanted > allowed {
            return Err(self.stop(Fault::Table { wanted, allowed }));
        }
        self.table = wanted;
        Ok(true)
    }
}

impl host::Host for Inside {
    fn log(&mut self, level: Level, text: String) -> wasmtime::Result<()> {
        if self.lines.len() < LINES_MAX {
            self.lines.push(Line { level, text: one_line(text, LINE_BYTES_MAX) });
        }
        Ok(())
    }

    fn lookup(&mut self, table: String, key: String) -> wasmtime::Result<Option<String>> {
        let value = self.means.tables.get(table.as_str()).and_then(|table| table.get(key.as_str()));
        Ok(value.map(|value| value.to_string()))
    }
}

impl sink::Host for Inside {
    fn emit(&mut self, line: String) -> wasmtime::Result<()> {
        let line = one_line(line, EMITTED_BYTES_MAX);
        self.emitted_bytes += line.len() + 1;
        if self.emitted_bytes > EMITTED_TOTAL_MAX {
            return Err(self.stop(Fault::Lists { allowed: EMITTED_TOTAL_MAX }));
        }
        self.emitted.push(line);
        Ok(())
    }
}

/// At most `bytes_max` bytes, without line breaks and other control characters, so that no guest can forge a line.
pub(crate) fn one_line(mut text: String, bytes_max: usize) -> String {
    text.truncate(text.floor_char_boundary(bytes_max));
    if text.contains(char::is_control) {
        text = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_the_machine_held_up_once_is_not_over() {
        let (span, more) = (Duration::from_millis(2), Duration::from_millis(9));
        let whole = Span::Whole(span);
        assert_eq!(whole.is_over(more, LOOKS_MIN - 1), None);
        assert_eq!(whole.is_over(more, LOOKS_MIN), Some(Stop::Fault(Fault::Deadline(span))));
        assert_eq!(whole.is_over(Duration::from_millis(1), LOOKS_MIN), None);
        assert_eq!(Span::Slice.is_over(OF_A_TICK, 2), Some(Stop::SliceOver), "it goes on elsewhere");
    }
}
