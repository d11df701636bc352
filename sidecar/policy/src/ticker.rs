//! The clock that stops guests.
//!
//! Owns one thread, which moves the engine's epoch on while guests run, and the timer that wakes it: whoever runs the first
//! guest sets the timer, which costs a tenth of waking a thread, and as long as guests come the thread sets it again itself.
//! An idle sidecar does not wake. The same thread sees to chores that those who run guests have no time for, such as waking
//! another thread. Must not know what a guest does with its time, nor what the chores are.

use rustix::fd::OwnedFd;
use rustix::io::{Errno, read};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;
use wasmtime::EngineWeak;

/// How often a running guest is looked at.
pub(crate) const TICK: Duration = Duration::from_micros(250);

/// See the module. Cheap to clone; the thread ends with the last one.
#[derive(Clone)]
pub(crate) struct Ticker(Arc<Shared>);

struct Shared(Arc<Clock>);

struct Clock {
    timer: OwnedFd,
    /// The timer will go off.
    set: AtomicBool,
    /// Guests that run now.
    running: AtomicUsize,
    /// One has begun since the last tick.
    ran: AtomicBool,
    over: AtomicBool,
    chores: Mutex<Vec<Weak<dyn Chore>>>,
}

/// Something that is looked after at each tick, as long as it is there.
pub(crate) trait Chore: Send + Sync {
    /// Does what is to be done, if anything is. The clock stands still meanwhile.
    fn look_after(self: Arc<Self>);
}

/// As long as it lives, the epoch moves.
pub(crate) struct Running<'a>(&'a Clock);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, SeqCst);
    }
}

impl Ticker {
    /// Starts the thread, which sleeps until a guest runs.
    pub(crate) fn start(engine: EngineWeak) -> io::Result<Ticker> {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC)?;
        let (set, running, ran, over, chores) = Default::default();
        let clock = Arc::new(Clock { timer, set, running, ran, over, chores });
        let its = clock.clone();
        thread::Builder::new()
            .name("policy-ticker".into())
            .stack_size(64 << 10)
            .spawn(move || its.tick(&engine))?;
        Ok(Ticker(Arc::new(Shared(clock))))
    }

    /// A guest is about to run.
    pub(crate) fn run(&self) -> Running<'_> {
        let clock = &*self.0.0;
        clock.running.fetch_add(1, SeqCst);
        clock.ran.store(true, SeqCst);
        clock.set();
        Running(clock)
    }

    /// From now on this is looked after at each tick; the last one comes when no guest has run since the one before.
    pub(crate) fn see_to(&self, chore: Weak<dyn Chore>) {
        let mut chores = self.0.0.chores();
        chores.retain(|chore| chore.strong_count() > 0);
        chores.push(chore);
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.0.over.store(true, SeqCst);
        self.0.set();
    }
}

impl Clock {
    /// The timer goes off after a tick, if it would not before that.
    fn set(&self) {
        if self.set.load(SeqCst) || self.set.swap(true, SeqCst) {
            return;
        }
        let never = Timespec { tv_sec: 0, tv_nsec: 0 };
        let tick = Timespec { tv_sec: 0, tv_nsec: TICK.subsec_nanos().into() };
        let once = Itimerspec { it_interval: never, it_value: tick };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)
            .expect("a timer of our own, and a time that is one");
    }

    fn chores(&self) -> MutexGuard<'_, Vec<Weak<dyn Chore>>> {
        self.chores.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tick(&self, engine: &EngineWeak) {
        loop {
            match read(&self.timer, &mut [0; 8]) {
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(error) => return tracing::error!(%error, "nothing stops policies any more"),
            }
            // Whoever begins to run a guest counts it before it looks whether the timer is set: one of us sets it.
            self.set.store(false, SeqCst);
            if self.over.load(SeqCst) {
                return;
            }
            match engine.upgrade() {
                Some(engine) => engine.increment_epoch(),
                None => return,
            }
            let ran = self.ran.swap(false, SeqCst);
            if ran || self.running.load(SeqCst) > 0 {
                self.set();
            }
            let chores = self.chores().clone();
            chores.iter().filter_map(Weak::upgrade).for_each(Chore::look_after);
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
        let is_set = || ticker.0.0.set.load(SeqCst);
        for _ in 0..3 {
            until(|| !is_set());
            let running = ticker.run();
            thread::sleep(TICK * 10);
            until(is_set);
            drop(running);
        }
        until(|| !is_set());
        let clock = Arc::downgrade(&ticker.0.0);
        drop(ticker);
        until(|| clock.upgrade().is_none());
    }
}
