//! Where a case is played: over memory two clients of one sidecar, over Redis two sidecars with a client each.
//!
//! Owns sidecars and clients, and the look at a key's holders and queue. Must not know what a case asserts.

use serde_json::Value;
use sidelock_client::{Client, Lease, Request};
use sidelock_e2e::PATIENCE;
use sidelock_e2e::redis::Redis;
use sidelock_e2e::sidecar::Sidecar;
use std::future::Future;
use std::time::{Duration, Instant};

/// The place of one case.
pub(crate) struct Stage {
    sidecars: Vec<Sidecar>,
    _redis: Option<Redis>,
}

/// Leases and waiters of a key, all sidecars together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Crowd {
    pub(crate) holders: usize,
    pub(crate) waiters: usize,
}

impl Stage {
    pub(crate) fn on_memory() -> Stage {
        Stage { sidecars: vec![Sidecar::on_memory()], _redis: None }
    }

    pub(crate) fn on_redis() -> Stage {
        let redis = Redis::start();
        let sidecars = vec![Sidecar::connected_to(&redis), Sidecar::connected_to(&redis)];
        Stage { sidecars, _redis: Some(redis) }
    }

    /// Plays a case to its end.
    pub(crate) fn play(self, case: impl AsyncFnOnce(&Stage)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("the system gives a runtime").block_on(case(&self));
    }

    /// The sidecar that the client of this number is at.
    pub(crate) fn sidecar(&self, number: usize) -> &Sidecar {
        &self.sidecars[number % self.sidecars.len()]
    }

    /// A new client: what a peer's suite calls another process, connection or thread.
    pub(crate) async fn client(&self, number: usize) -> Client {
        Client::connect(self.sidecar(number).socket()).await.expect("the sidecar listens")
    }

    /// Two clients, on Redis of two sidecars.
    pub(crate) async fn two(&self) -> (Client, Client) {
        (self.client(0).await, self.client(1).await)
    }

    /// Who holds the key and who waits for it.
    pub(crate) fn crowd(&self, key: &str) -> Crowd {
        let mut crowd = Crowd { holders: 0, waiters: 0 };
        for sidecar in &self.sidecars {
            // Its own: a look at the one key shows those of all sidecars.
            let listing = sidecar.get(&format!("/v1/locks?prefix={key}")).json();
            let is_it = |state: &&Value| state["key"] == key && state["space"] == "lock";
            let Some(state) = listing["keys"].as_array().expect("a list").iter().find(is_it) else {
                continue;
            };
            let length = |list: &str| state[list].as_array().expect("a list").len();
            crowd.holders += length("holders");
            crowd.waiters += length("queue");
        }
        crowd
    }

    /// Waits until so many hold the key and so many wait for it.
    pub(crate) async fn until_crowd(&self, key: &str, holders: usize, waiters: usize) {
        let start = Instant::now();
        let wanted = Crowd { holders, waiters };
        while self.crowd(key) != wanted {
            assert!(start.elapsed() < PATIENCE, "{:?} of {key}, never {wanted:?}", self.crowd(key));
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// One of two clients, in turn.
pub(crate) fn by_turns((one, other): &(Client, Client), number: usize) -> &Client {
    if number.is_multiple_of(2) { one } else { other }
}

/// What comes without anybody's doing anything more, within the rig's patience.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it comes soon")
}

/// The lease of an acquire that runs in a task of its own.
pub(crate) async fn granted(acquire: tokio::task::JoinHandle<sidelock_client::Result<Lease>>) -> Lease {
    soon(acquire).await.expect("no task fails").expect("it is granted")
}

/// Whether a try gets it; what it gets is given back at once.
pub(crate) async fn can_get(request: Request) -> bool {
    let Some(lease) = soon(request.try_acquire()).await.expect("it is answered") else { return false };
    lease.release().await.expect("it is held");
    true
}

/// The lease of a task's acquire, given back at once.
pub(crate) async fn gets_a_turn(acquire: tokio::task::JoinHandle<sidelock_client::Result<Lease>>) {
    granted(acquire).await.release().await.expect("it is held");
}

/// Makes of each case a test on the memory store and one on Redis.
macro_rules! play {
    ($($case:ident),+ $(,)?) => {
        mod on_memory {
            $(#[test] fn $case() { crate::stage::Stage::on_memory().play(super::$case); })+
        }
        mod on_redis {
            $(#[test] fn $case() { crate::stage::Stage::on_redis().play(super::$case); })+
        }
    };
}
pub(crate) use play;
