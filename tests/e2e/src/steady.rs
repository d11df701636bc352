//! A client that asks without a rest while a test changes something, to see whether anybody notices.

use crate::frames::{Peer, try_lock};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// What became of its requests.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked {
    /// Requests that were answered.
    pub requests: u64,
    /// Those with another answer than granted or denied.
    pub lost: u64,
}

/// It asks until it is ended, or dropped.
pub struct Asking {
    stop: Stop,
    answered: Arc<AtomicU64>,
    thread: JoinHandle<Asked>,
}

struct Stop(Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

impl Asking {
    /// Tries locks below `key`, each once, `gap` apart.
    pub fn begin(socket: &Path, key: &str, gap: Duration) -> Asking {
        let (mut peer, key) = (Peer::greeted(socket), key.to_owned());
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, count) = (stop.clone(), answered.clone());
        let ask = move || {
            let mut asked = Asked::default();
            while !stopped.load(Relaxed) {
                asked.requests += 1;
                let answer = peer.acquires(try_lock(asked.requests, &format!("{key}/{}", asked.requests)));
                asked.lost += u64::from(answer != "granted" && answer != "denied");
                count.store(asked.requests, Relaxed);
                // Not a wait for something to happen: who takes a whole processor measures how many there are.
                thread::sleep(gap);
            }
            asked
        };
        Asking { stop: Stop(stop), answered, thread: thread::spawn(ask) }
    }

    /// Requests that were answered so far.
    pub fn so_far(&self) -> u64 {
        self.answered.load(Relaxed)
    }

    /// The last request is answered.
    ///
    /// # Panics
    /// If one was not.
    pub fn end(self) -> Asked {
        let Asking { stop, thread, .. } = self;
        drop(stop);
        thread.join().expect("each request is answered")
    }
}
