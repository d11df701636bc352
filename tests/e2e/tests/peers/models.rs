//! Jepsen's models of locks and semaphores, as its Hazelcast tests have them: histories of five clients at random, each
//! step of which the model must allow.
//!
//! A grant is a step when it is heard of, a release when it is about to be sent: what the model sees held is held.

use crate::stage::{Stage, play, soon};
use sidelock_client::{Client, Request};
use std::sync::{Arc, Mutex};
use std::time::Duration;

play![an_owner_aware_mutex, a_fenced_mutex, acquired_permits];

const CLIENTS: usize = 5;
const ACQUIRES: usize = 100;
const KEY: &str = "jepsen";

/// What a history may do. A step that it may not do panics.
trait Model: Send + 'static {
    fn acquire(&mut self, client: usize, fence: u64);
    fn release(&mut self, client: usize);
}

/// Plays a random history: acquires that wait, tries, releases after a moment or at once.
async fn history(stage: &Stage, model: impl Model, request: fn(&Client) -> Request) {
    let model = Arc::new(Mutex::new(model));
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        let (request, model) = (request(&stage.client(number).await), model.clone());
        let mut dice = fastrand::Rng::with_seed(number as u64);
        clients.push(tokio::spawn(async move {
            let step = |step: &dyn Fn(&mut dyn Model)| step(&mut *model.lock().expect("no step panicked"));
            for _ in 0..ACQUIRES {
                let wait = if dice.bool() { Duration::ZERO } else { Duration::from_millis(dice.u64(1..100)) };
                let asked = request.clone().wait(wait).try_acquire();
                let Some(lease) = asked.await.expect("answered") else { continue };
                step(&|model| model.acquire(number, lease.fence()));
                tokio::time::sleep(Duration::from_millis(dice.u64(0..3))).await;
                step(&|model| model.release(number));
                match dice.bool() {
                    true => lease.release().await.expect("held"),
                    false => drop(lease),
                }
            }
        }));
    }
    for client in clients {
        soon(client).await.expect("the model allows every step");
    }
}

/// Held by one client at a time, and released by that one.
#[derive(Default)]
struct OwnerAwareMutex {
    owner: Option<usize>,
    acquired: usize,
}

impl Model for OwnerAwareMutex {
    fn acquire(&mut self, client: usize, _fence: u64) {
        assert_eq!(self.owner.replace(client), None, "{client} acquires what is held");
        self.acquired += 1;
    }

    fn release(&mut self, client: usize) {
        assert_eq!(self.owner.take(), Some(client), "{client} releases what is not its own");
    }
}

impl Drop for OwnerAwareMutex {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert!(self.acquired > ACQUIRES, "a history in which little happened: {}", self.acquired);
        }
    }
}

// origin: Jepsen, hazelcast.clj: OwnerAwareMutex (non-reentrant-lock)
async fn an_owner_aware_mutex(stage: &Stage) {
    history(stage, OwnerAwareMutex::default(), |client| client.lock(KEY)).await;
}

/// The same, and the fence of each acquire is above all before it.
#[derive(Default)]
struct FencedMutex {
    mutex: OwnerAwareMutex,
    fence: u64,
}

impl Model for FencedMutex {
    fn acquire(&mut self, client: usize, fence: u64) {
        self.mutex.acquire(client, fence);
        assert!(fence > self.fence, "{client} got {fence} after {}", self.fence);
        self.fence = fence;
    }

    fn release(&mut self, client: usize) {
        self.mutex.release(client);
    }
}

// origin: Jepsen, hazelcast.clj: FencedMutex (non-reentrant-fenced-lock)
async fn a_fenced_mutex(stage: &Stage) {
    history(stage, FencedMutex::default(), |client| client.lock(KEY)).await;
}

const PERMITS: u32 = 2;

/// So many permits, no more than that acquired by all clients together.
#[derive(Default)]
struct AcquiredPermits {
    acquired: [u32; CLIENTS],
}

impl Model for AcquiredPermits {
    fn acquire(&mut self, client: usize, _fence: u64) {
        self.acquired[client] += 1;
        assert!(self.acquired.iter().sum::<u32>() <= PERMITS, "{client} acquires one of {:?}", self.acquired);
    }

    fn release(&mut self, client: usize) {
        assert!(self.acquired[client] > 0, "{client} releases what it does not have");
        self.acquired[client] -= 1;
    }
}

// origin: Jepsen, hazelcast.clj: AcquiredPermitsModel (semaphore)
async fn acquired_permits(stage: &Stage) {
    history(stage, AcquiredPermits::default(), |client| client.semaphore(KEY, PERMITS).permits(1)).await;
}
