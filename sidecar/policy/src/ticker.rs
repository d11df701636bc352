//! The clock that stops guests.
//!
//! Owns one thread, which moves the engine's epoch on while guests run and sleeps for good otherwise: an idle sidecar does
//! not wake. Must not know what a guest does with its time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread::{self, Thread};
use std::time::Duration;
use wasmtime::EngineWeak;

/// How often a running guest is looked at.
pub(crate) const TICK: Duration = Duration::from_micros(250);
/// Ticks without a guest before the thread goes to sleep. Waking it costs a caller more than most calls take: whoever is
/// called many times a second finds it awake.
const IDLE_TICKS_MAX: u32 = 80;

/// See the module. Cheap to clone; the thread ends with the last one.
#[derive(Clone)]
pub(crate) struct Ticker(Arc<Shared>);

struct Shared {
    counts: Arc<Counts>,
    thread: Thread,
}

#[derive(Default)]
struct Counts {
    /// Guests that run now.
    running: AtomicUsize,
    asleep: AtomicBool,
    over: AtomicBool,
}

/// As long as it lives, the epoch moves.
pub(crate) struct Running<'a>(&'a Counts);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, SeqCst);
    }
}

impl Ticker {
    /// Starts the thread, which sleeps until a guest runs.
    pub(crate) fn start(engine: EngineWeak) -> std::io::Result<Ticker> {
        let counts = Arc::new(Counts::default());
        let its = counts.clone();
        let thread = thread::Builder::new()
            .name("policy-ticker".into())
            .stack_size(64 << 10)
            .spawn(move || tick(&its, &engine))?;
        Ok(Ticker(Arc::new(Shared { counts, thread: thread.thread().clone() })))
    }

    /// A guest is about to run.
    pub(crate) fn run(&self) -> Running<'_> {
        let counts = &*self.0.counts;
        counts.running.fetch_add(1, SeqCst);
        // Whoever goes to sleep says so before it looks at `running` for the last time: one of the two sees the other.
        if counts.asleep.load(SeqCst) {
            self.0.thread.unpark();
        }
        Running(counts)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.counts.over.store(true, SeqCst);
        self.thread.unpark();
    }
}

fn tick(counts: &Counts, engine: &EngineWeak) {
    let mut idle = 0;
    while !counts.over.load(SeqCst) {
        if counts.running.load(SeqCst) > 0 {
            idle = 0;
        } else if idle < IDLE_TICKS_MAX {
            idle += 1;
        } else {
            counts.asleep.store(true, SeqCst);
            while counts.running.load(SeqCst) == 0 && !counts.over.load(SeqCst) {
                thread::park();
            }
            counts.asleep.store(false, SeqCst);
            idle = 0;
        }
        thread::sleep(TICK);
        match engine.upgrade() {
            Some(engine) => engine.increment_epoch(),
            None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;
    use wasmtime::Engine;

    /// Until it is so, or it will never be.
    fn until(so: impl Fn() -> bool) {
        let begun = Instant::now();
        while !so() {
            assert!(begun.elapsed() < Duration::from_secs(30), "this does not come");
            thread::yield_now();
        }
    }

    #[test]
    fn it_sleeps_while_no_guest_runs_and_ends_with_its_host() {
        let engine = Engine::default();
        let ticker = Ticker::start(engine.weak()).unwrap();
        let asleep = |ticker: &Ticker| ticker.0.counts.asleep.load(SeqCst);
        for _ in 0..3 {
            until(|| asleep(&ticker));
            let running = ticker.run();
            until(|| !asleep(&ticker));
            drop(running);
        }
        let counts = Arc::downgrade(&ticker.0.counts);
        drop(ticker);
        until(|| counts.upgrade().is_none());
    }
}
