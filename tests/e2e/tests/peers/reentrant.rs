//! Locks that their holder enters again: Redisson's RLock, Curator's InterProcessMutex and Jepsen's reentrant mutex. What
//! their suites call a thread is an owner here, and what they count is handles of one lease.

use crate::stage::{Stage, can_get, gets_a_turn, play, soon};
use sidelock_client::{Client, Code, Error, Lease, LostReason, Request, blocking};
use sidelock_e2e::frames::{Peer, try_lock};
use sidelock_wire::Acquire;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

play![
    a_nested_try_is_granted,
    holds_are_counted,
    a_share_inside_the_whole,
    the_outer_one_may_go_first,
    time_is_the_outer_ones,
    functions_that_lock_call_each_other,
    ten_contenders_enter_twice,
    the_whole_inside_a_share_is_refused,
    other_owners_stay_outside,
    a_reentrant_fenced_mutex,
    who_waits_is_passed,
    a_handle_is_released_once,
    the_end_of_a_client_is_the_end_of_its_handles,
    without_async_it_is_the_same,
];

const LONG: Duration = Duration::from_secs(60);
const KEY: &str = "lock";

fn lock(client: &Client) -> Request {
    client.lock(KEY).owner("owner").reentrant().wait(LONG)
}

fn share(client: &Client) -> Request {
    client.rwlock(KEY).read().owner("owner").reentrant().wait(LONG)
}

async fn enters(request: Request) -> Lease {
    soon(request.acquire()).await.expect("it is free, or its owner's")
}

async fn leaves(lease: Lease) {
    soon(lease.release()).await.expect("it is held");
}

// origin: Redisson, RedissonLockTest: testReentrancy
async fn a_nested_try_is_granted(stage: &Stage) {
    let (here, there) = stage.two().await;
    let tried = async || soon(lock(&here).wait(Duration::ZERO).try_acquire()).await.expect("answered");
    let (outer, inner) = (tried().await.expect("free"), tried().await.expect("its own"));
    assert_eq!(outer.fence(), inner.fence());
    leaves(inner).await;
    assert!(outer.is_valid() && !can_get(there.lock(KEY)).await);
    leaves(outer).await;
    assert!(can_get(there.lock(KEY)).await);
}

// origin: Redisson, RedissonLockTest: testGetHoldCount
async fn holds_are_counted(stage: &Stage) {
    let (here, there) = stage.two().await;
    for depth in [1, 2, 7] {
        let mut held = Vec::new();
        for _ in 0..depth {
            held.push(enters(lock(&here)).await);
            assert_eq!(stage.crowd(KEY).holders, 1, "one lease, however deep");
        }
        while let Some(lease) = held.pop() {
            assert!(!can_get(there.lock(KEY)).await, "{} of {depth} left", held.len() + 1);
            leaves(lease).await;
        }
        assert!(can_get(there.lock(KEY)).await);
    }
}

// origin: Redisson, RedissonReadWriteLockTest: testWR
async fn a_share_inside_the_whole(stage: &Stage) {
    let (here, there) = stage.two().await;
    let (outer, inner) = (enters(lock(&here)).await, enters(share(&here)).await);
    leaves(inner).await;
    assert!(outer.is_valid() && !can_get(there.rwlock(KEY).read()).await);
    leaves(outer).await;
    assert!(can_get(there.rwlock(KEY).read()).await);
}

// origin: Redisson, RedissonReadWriteLockTest: testWriteReadReentrancy
async fn the_outer_one_may_go_first(stage: &Stage) {
    let (here, there) = stage.two().await;
    let (outer, inner) = (enters(lock(&here)).await, enters(share(&here)).await);
    assert!(!can_get(there.rwlock(KEY).read()).await);
    leaves(outer).await;
    assert!(inner.is_valid() && !can_get(there.lock(KEY)).await);
    // There the share alone is left, and here still the whole: mode and fence are the lease's, not the handle's.
    assert!(!can_get(there.rwlock(KEY).read()).await);
    leaves(inner).await;
    assert!(can_get(there.lock(KEY)).await);
}

// origin: Redisson, RedissonReadWriteLockTest: testWriteLockExpiration
async fn time_is_the_outer_ones(stage: &Stage) {
    let (here, there) = stage.two().await;
    let outer = enters(lock(&here).max_hold(Duration::from_secs(1))).await;
    let inner = enters(lock(&here).max_hold(LONG)).await;
    let waits = tokio::spawn(there.lock(KEY).wait(LONG).acquire());
    assert_eq!(soon(inner.lost()).await, LostReason::MaxHold);
    assert_eq!(soon(outer.lost()).await, LostReason::MaxHold, "every handle is told");
    gets_a_turn(waits).await;
}

// origin: Curator, TestInterProcessMutexBase: testReentrant
async fn functions_that_lock_call_each_other(stage: &Stage) {
    async fn bar(client: &Client, there: &Client) {
        let lease = enters(lock(client)).await;
        assert!(!can_get(there.lock(KEY)).await);
        leaves(lease).await;
    }
    async fn foo(client: &Client, there: &Client) {
        let lease = enters(lock(client)).await;
        bar(client, there).await;
        assert!(!can_get(there.lock(KEY)).await, "the inner release frees nothing");
        leaves(lease).await;
    }
    let (here, there) = stage.two().await;
    foo(&here, &there).await;
    assert!(can_get(there.lock(KEY)).await);
}

// origin: Curator, TestInterProcessMutexBase: testReentrantSingleLock
async fn ten_contenders_enter_twice(stage: &Stage) {
    let clients = stage.two().await;
    let inside = Arc::new(AtomicBool::new(false));
    let contends = |number: usize| {
        let client = crate::stage::by_turns(&clients, number);
        let request = client.lock(KEY).owner(format!("thread {number}")).reentrant().wait(LONG);
        let inside = inside.clone();
        tokio::spawn(async move {
            for round in 0..5 {
                let outer = enters(request.clone()).await;
                assert!(!inside.swap(true, Ordering::Relaxed), "one at a time");
                let inner = enters(request.clone()).await;
                let (first, last) = if round % 2 == 0 { (inner, outer) } else { (outer, inner) };
                leaves(first).await;
                tokio::time::sleep(Duration::from_millis(1)).await;
                assert!(inside.swap(false, Ordering::Relaxed));
                leaves(last).await;
            }
        })
    };
    for thread in (0..10).map(contends).collect::<Vec<_>>() {
        soon(thread).await.expect("no assertion fails");
    }
}

// origin: Curator, TestInterProcessReadWriteLock: testThatUpgradingIsDisallowed
async fn the_whole_inside_a_share_is_refused(stage: &Stage) {
    let (here, there) = stage.two().await;
    let mut reader = enters(share(&here)).await;
    let told = soon(lock(&here).acquire()).await;
    assert!(matches!(&told, Err(Error::Conflict(why)) if why.code == Code::NotUpgradable), "{told:?}");
    assert!(reader.is_valid() && can_get(there.rwlock(KEY).read()).await);
    let inner = enters(share(&here)).await;
    let told = soon(async { reader.upgrade().await }).await;
    assert!(matches!(&told, Err(Error::Conflict(why)) if why.code == Code::NotUpgradable), "{told:?}");
    leaves(inner).await;
    soon(async { reader.upgrade().await }).await.expect("one handle, no other reader");
}

// origin: Curator, TestInterProcessMutexBase: testReentrant2Threads
async fn other_owners_stay_outside(stage: &Stage) {
    let (here, there) = stage.two().await;
    let (outer, inner) = (enters(lock(&here)).await, enters(lock(&here)).await);
    let others = [
        here.lock(KEY).owner("another").reentrant(),
        here.lock(KEY),
        // Its name is the same, its connection is not.
        there.lock(KEY).owner("owner").reentrant(),
    ];
    for other in &others {
        assert!(!can_get(other.clone()).await);
    }
    leaves(inner).await;
    for other in &others {
        assert!(!can_get(other.clone()).await);
    }
    leaves(outer).await;
    for other in others {
        assert!(can_get(other).await);
    }
}

/// Held by one client at a time, at most twice, under one fence; the next holder's is above.
#[derive(Default)]
struct ReentrantFencedMutex {
    owner: Option<usize>,
    depth: u32,
    fence: u64,
}

impl ReentrantFencedMutex {
    fn acquire(&mut self, client: usize, fence: u64) {
        match self.owner {
            None => assert!(fence > self.fence, "{client} got {fence} after {}", self.fence),
            Some(owner) => assert_eq!((owner, self.fence), (client, fence), "{client} acquires what is held"),
        }
        (self.owner, self.fence) = (Some(client), fence);
        self.depth += 1;
    }

    fn release(&mut self, client: usize) {
        assert_eq!(self.owner, Some(client), "{client} releases what is not its own");
        self.depth -= 1;
        self.owner = self.owner.filter(|_| self.depth > 0);
    }
}

// origin: Jepsen, hazelcast.clj: ReentrantMutex (reentrant-lock), with fences
async fn a_reentrant_fenced_mutex(stage: &Stage) {
    let model = Arc::new(Mutex::new(ReentrantFencedMutex::default()));
    let mut clients = Vec::new();
    for number in 0..5 {
        let (client, model) = (stage.client(number).await, model.clone());
        let mut dice = fastrand::Rng::with_seed(number as u64);
        clients.push(tokio::spawn(async move {
            let mut held: Vec<Lease> = Vec::new();
            let mut nested = 0;
            for _ in 0..100 {
                if held.len() < 2 && (held.is_empty() || dice.bool()) {
                    let wait = Duration::from_millis(dice.u64(0..100));
                    let asked = lock(&client).wait(wait).try_acquire().await.expect("answered");
                    assert!(asked.is_some() || held.is_empty(), "an owner gets what it has");
                    let Some(lease) = asked else { continue };
                    model.lock().expect("no step panicked").acquire(number, lease.fence());
                    nested += held.len();
                    held.push(lease);
                    tokio::time::sleep(Duration::from_millis(dice.u64(0..3))).await;
                } else {
                    model.lock().expect("no step panicked").release(number);
                    // Any of them may go first.
                    let lease = held.swap_remove(dice.usize(0..held.len()));
                    leaves(lease).await;
                }
            }
            for lease in held {
                model.lock().expect("no step panicked").release(number);
                leaves(lease).await;
            }
            nested
        }));
    }
    for client in clients {
        assert!(soon(client).await.expect("the model allows every step") > 0, "nobody entered twice");
    }
}

async fn who_waits_is_passed(stage: &Stage) {
    let (here, there) = stage.two().await;
    let outer = enters(lock(&here)).await;
    let waits = [&here, &there].map(|client| tokio::spawn(client.lock(KEY).wait(LONG).acquire()));
    stage.until_crowd(KEY, 1, 2).await;
    let inner = enters(lock(&here)).await;
    leaves(outer).await;
    assert_eq!(stage.crowd(KEY).waiters, 2, "the lease is not over");
    leaves(inner).await;
    for waiter in waits {
        gets_a_turn(waiter).await;
    }
}

async fn a_handle_is_released_once(stage: &Stage) {
    let sidecar = stage.sidecar(0);
    let path = format!("/v1/locks/{KEY}");
    let enter = || {
        let answer = sidecar.request("POST", &path, r#"{"owner":"o","reentrant":true}"#);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    };
    let of =
        |lease: &serde_json::Value| format!("/v1/leases/{}", lease["lease"].as_str().expect("has an id"));
    let (outer, inner) = (enter(), enter());
    assert_eq!((&outer["fence"], outer["lease"] == inner["lease"]), (&inner["fence"], false));
    for _ in 0..2 {
        assert_eq!(sidecar.request("DELETE", &of(&outer), "").status, 204);
    }
    assert_eq!(sidecar.get(&of(&inner)).json()["fence"], outer["fence"]);
    assert!(!can_get(stage.client(1).await.lock(KEY)).await, "the other handle is not released");
    for _ in 0..2 {
        assert_eq!(sidecar.request("DELETE", &of(&inner), "").status, 204);
    }
    assert!(can_get(stage.client(1).await.lock(KEY)).await);
}

async fn the_end_of_a_client_is_the_end_of_its_handles(stage: &Stage) {
    let mut peer = Peer::greeted(stage.sidecar(0).socket());
    for request in 1..4 {
        let enter = Acquire { owner: Some("owner"), reentrant: true, ..try_lock(request, KEY) };
        assert_eq!(peer.acquires(enter), "granted");
    }
    let waits = tokio::spawn(stage.client(1).await.lock(KEY).wait(LONG).acquire());
    stage.until_crowd(KEY, 1, 1).await;
    drop(peer);
    gets_a_turn(waits).await;
}

async fn without_async_it_is_the_same(stage: &Stage) {
    let socket = stage.sidecar(0).socket().to_owned();
    let other = stage.client(1).await;
    let task = tokio::task::spawn_blocking(move || {
        let client = blocking::Client::connect(socket).expect("the sidecar listens");
        let request = || client.lock(KEY).owner("owner").reentrant();
        let outer = request().acquire().expect("free");
        let inner = request().acquire().expect("its own");
        assert_eq!(outer.fence(), inner.fence());
        outer.release().expect("held");
        (client, inner)
    });
    let (client, inner) = soon(task).await.expect("no assertion fails");
    assert!(!can_get(other.lock(KEY)).await);
    let task = tokio::task::spawn_blocking(move || {
        inner.release().expect("held");
        drop(client);
    });
    soon(task).await.expect("no assertion fails");
    assert!(can_get(other.lock(KEY)).await);
}
