//! Those that are told afterwards what happened.
//!
//! Owns an observer's queue and its thread. Nothing ever waits for an observer: what it has no room for is left out, and it
//! can tell by the numbers of the events. Must not know where events come from.

use crate::bindings::Observer as World;
use crate::breaker::Breaker;
use crate::code::Code;
use crate::host::Host;
use crate::inside::{Line, Span, Stop};
use crate::instance::{Asked, Instance, Mould};
use crate::model::{Event, Level};
use crate::plugin::{LOADING, MEASURED, Measured, Unfit, mould, trial};
use crate::settings::{DEADLINE_OF_OBSERVER, Settings};
use crate::voice::Voice;
use sidelock_notation::glob;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Events that wait for an observer.
pub(crate) const EVENTS_MAX: usize = 4_096;
/// Events in one call.
pub(crate) const BATCH_MAX: usize = 256;
/// How long events gather before the observer is called: so that its thread is woken a hundred times a second, not for each.
const GATHERED: Duration = Duration::from_millis(10);

/// See the module.
pub(crate) struct Observer {
    pub(crate) settings: Settings,
    pub(crate) code: Arc<Code>,
    pub(crate) measured: Measured,
    queue: SyncSender<Told>,
    seq: AtomicU64,
    counts: Arc<Counts>,
}

/// What its thread tells about.
#[derive(Debug)]
struct Counts {
    left_out: AtomicU64,
    breaker: Mutex<Breaker>,
}

impl Counts {
    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Told {
    Event(Event),
    /// All that came before is to be told to the guest now. The sender is dropped when that is done.
    Flush(SyncSender<()>),
}

impl Observer {
    /// Makes `code` ready with these settings, and starts its thread.
    pub(crate) fn new(host: &Host, code: Arc<Code>, settings: Settings) -> Result<Observer, Unfit> {
        let mut mould = mould::<World>(host, &code, &settings)?;
        let (_, measured) = trial(&mut mould, MEASURED)?;
        // One thread asks, and not while it rests.
        let breaker = Mutex::new(Breaker::of_calls(Duration::ZERO));
        let counts = Arc::new(Counts { left_out: AtomicU64::new(0), breaker });
        let (queue, events) = sync_channel(EVENTS_MAX);
        let watch =
            Watch { mould, settings: settings.clone(), counts: counts.clone(), voice: Voice::default() };
        let named = thread::Builder::new().name(format!("observer {}", settings.name));
        if let Err(error) = named.spawn(move || watch.run(&events)) {
            tracing::error!(observer = &*settings.name, %error, "no thread for an observer");
        }
        Ok(Observer { settings, code, measured, queue, seq: AtomicU64::new(1), counts })
    }

    /// Whether it is what these settings and this component would make.
    pub(crate) fn is(&self, settings: &Settings, code: &Code) -> bool {
        self.settings == *settings && self.code.digest == code.digest
    }

    /// Whether it is told of events of this key.
    pub(crate) fn applies(&self, key: &str) -> bool {
        let matches = &self.settings.matches;
        matches.is_empty() || matches.iter().any(|pattern| glob(pattern, key))
    }

    /// Tells it, if there is room.
    pub(crate) fn tell(&self, event: &Event) {
        let seq = self.seq.fetch_add(1, Relaxed);
        if self.queue.try_send(Told::Event(Event { seq, ..event.clone() })).is_err() {
            self.counts.left_out.fetch_add(1, Relaxed);
        }
    }

    /// Waits until it has been told all that came before.
    pub(crate) fn flush(&self, within: Duration) {
        let until = Instant::now() + within;
        let (told, done) = sync_channel(0);
        let mut flush = Told::Flush(told);
        // Its queue may be full: what is in it is what there is to wait for.
        while let Err(TrySendError::Full(unsent)) = self.queue.try_send(flush) {
            if Instant::now() >= until {
                return;
            }
            flush = unsent;
            thread::sleep(GATHERED);
        }
        // An error is what is waited for: the other end is gone.
        let _ = done.recv_timeout(until.saturating_duration_since(Instant::now()));
    }

    /// Events that it was not told of.
    pub(crate) fn left_out(&self) -> u64 {
        self.counts.left_out.load(Relaxed)
    }

    /// Whether it is being left alone.
    pub(crate) fn rests(&self) -> bool {
        self.counts.breaker().rests(Instant::now())
    }
}

/// What the thread has.
struct Watch {
    mould: Mould<World>,
    settings: Settings,
    counts: Arc<Counts>,
    voice: Voice,
}

impl Watch {
    /// Until the observer is gone and all is told.
    fn run(mut self, events: &Receiver<Told>) {
        let mut full = false;
        while let Ok(first) = events.recv() {
            if matches!(first, Told::Event(_)) && !full {
                // Not a wait for something to happen: what happens meanwhile wakes nobody.
                thread::sleep(GATHERED);
            }
            let (batch, flushed) = gather(first, events);
            full = batch.len() == BATCH_MAX;
            self.observe(&batch);
            drop(flushed);
        }
    }

    /// One call of the guest.
    fn observe(&mut self, batch: &[Event]) {
        if batch.is_empty() {
            return;
        }
        if self.counts.breaker().may_ask(Instant::now()).is_none() {
            self.counts.left_out.fetch_add(batch.len() as u64, Relaxed);
            return;
        }
        let span = Span::Whole(self.settings.deadline.unwrap_or(DEADLINE_OF_OBSERVER));
        // To begin a runtime may take longer than to tell it something: the deadline is for that.
        let asked = match Instance::fresh(&self.mould, LOADING) {
            Ok((instance, _)) => instance.ask(&self.mould, span, (batch,)),
            Err(stop) => Asked::failed(stop),
        };
        let Asked { answer, mut lines, emitted, .. } = asked;
        match answer {
            Ok(()) => self.counts.breaker().answered(),
            Err(stop) => {
                self.counts.left_out.fetch_add(batch.len() as u64, Relaxed);
                lines.extend(self.failed(stop));
            }
        }
        self.voice.tell(&self.settings.name, &lines);
        self.write(&emitted);
    }

    fn failed(&mut self, stop: Stop) -> Option<Line> {
        let Stop::Fault(fault) = stop else { return None };
        if self.counts.breaker().failed(Instant::now()) {
            tracing::error!(observer = &*self.settings.name, %fault, "observer failed too often and is left alone");
        }
        Some(Line { level: Level::Warn, text: format!("could not observe: it {fault}") })
    }

    /// The file is opened for each batch, so that it can be rotated.
    fn write(&self, emitted: &[String]) {
        let Some(path) = self.settings.output.as_deref().filter(|_| !emitted.is_empty()) else {
            return self.log(emitted);
        };
        if let Err(error) = append(path, emitted) {
            tracing::error!(observer = &*self.settings.name, path = %path.display(), %error, "lines of an observer are lost");
        }
    }

    fn log(&self, emitted: &[String]) {
        for line in emitted {
            tracing::info!(target: "sidelock::observer", observer = &*self.settings.name, "{line}");
        }
    }
}

/// What is in the queue, as far as one call takes it, and as far as somebody waits for.
fn gather(first: Told, events: &Receiver<Told>) -> (Vec<Event>, Option<SyncSender<()>>) {
    let mut batch = Vec::new();
    let mut next = Some(first);
    while let Some(told) = next {
        match told {
            Told::Event(event) => batch.push(event),
            Told::Flush(done) => return (batch, Some(done)),
        }
        next = if batch.len() < BATCH_MAX { events.try_recv().ok() } else { None };
    }
    (batch, None)
}

fn append(path: &Path, emitted: &[String]) -> io::Result<()> {
    let mut text = String::with_capacity(emitted.iter().map(|line| line.len() + 1).sum());
    for line in emitted {
        text.push_str(line);
        text.push('\n');
    }
    File::options().create(true).append(true).mode(0o640).open(path)?.write_all(text.as_bytes())
}
