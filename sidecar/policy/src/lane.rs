//! A thread for one policy's slow work.
//!
//! Owns the thread: it begins with the first job and ends with the policy. One for each policy, so that a slow one holds up
//! nobody but those who ask it. Must not know what the work is.

use crate::fault::Fault;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

/// Jobs that may wait.
pub(crate) const JOBS_MAX: usize = 256;

type Job = Box<dyn FnOnce() + Send>;

/// See the module.
#[derive(Default)]
pub(crate) struct Lane {
    name: Arc<str>,
    jobs: Mutex<Option<Sender<Job>>>,
    waiting: Arc<AtomicUsize>,
}

/// Room for one job.
pub(crate) struct Slot<'a>(&'a Lane);

impl Lane {
    /// For the policy of this name.
    pub(crate) fn new(name: Arc<str>) -> Lane {
        Lane { name, ..Lane::default() }
    }

    /// Room for a job, unless too many wait, or no thread can be started for the first.
    pub(crate) fn reserve(&self) -> Result<Slot<'_>, Fault> {
        self.begin()?;
        if self.waiting.fetch_add(1, Relaxed) >= JOBS_MAX {
            self.waiting.fetch_sub(1, Relaxed);
            return Err(Fault::Busy(JOBS_MAX));
        }
        Ok(Slot(self))
    }

    /// Has it done when all that came before is done.
    fn put(&self, job: Job) {
        if let Some(sender) = &*self.jobs() {
            // The thread lives as long as we do, and longer than a job that panics: that ends the process.
            let _ = sender.send(job);
        }
    }

    fn jobs(&self) -> MutexGuard<'_, Option<Sender<Job>>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the thread, unless it is there. One that could not be started is tried again for the next job.
    fn begin(&self) -> Result<(), Fault> {
        let mut started = self.jobs();
        if started.is_none() {
            let ((sender, jobs), waiting) = (channel(), self.waiting.clone());
            let named = thread::Builder::new().name(format!("policy {}", self.name));
            named
                .spawn(move || work(&jobs, &waiting))
                .map_err(|error| Fault::Room(format!("no thread can be started: {error}")))?;
            *started = Some(sender);
        }
        Ok(())
    }
}

impl Slot<'_> {
    /// Puts the job in its place.
    pub(crate) fn put(self, job: impl FnOnce() + Send + 'static) {
        self.0.put(Box::new(job));
    }
}

fn work(jobs: &Receiver<Job>, waiting: &AtomicUsize) {
    for job in jobs {
        waiting.fetch_sub(1, Relaxed);
        job();
    }
}
