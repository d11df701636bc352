//! Semaphores: .NET DistributedLock's, Curator's InterProcessSemaphoreV2 and Redisson's cases.

use crate::stage::{Crowd, Stage, by_turns, can_get, gets_a_turn, granted, play, soon};
use sidelock_client::{Client, Error, LostReason};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Semaphore as Door;

play![
    every_number_up_to_the_limit_is_seen_and_none_above,
    a_drained_semaphore_has_nothing_for_anybody,
    many_tickets_are_no_burden,
    a_hundred_reach_the_limit_and_never_pass_it,
    one_more_than_there_are_waits_for_one_to_come_back,
    a_closed_client_gives_its_permits_back,
    random_amounts_never_exceed_what_there_is,
    released_one_at_a_time_all_get_a_turn,
    those_who_have_one_are_listed,
    a_waiter_that_goes_leaves_no_orphan,
    several_at_once_wait_for_the_last_of_them,
    permits_run_out,
    a_limit_in_use_is_not_replaced,
    what_was_not_acquired_is_not_released,
    no_permit_at_all_can_not_be_asked_for,
    all_or_one_of_very_many,
];

const A_MOMENT: Duration = Duration::from_millis(5);

/// How many are inside now, and the most there ever were.
#[derive(Default)]
struct Inside {
    now: AtomicU32,
    most: AtomicU32,
}

impl Inside {
    fn enter(&self, permits: u32) -> u32 {
        let now = self.now.fetch_add(permits, Ordering::SeqCst) + permits;
        self.most.fetch_max(now, Ordering::SeqCst);
        now
    }

    fn leave(&self, permits: u32) {
        self.now.fetch_sub(permits, Ordering::SeqCst);
    }

    fn most(&self) -> u32 {
        assert_eq!(self.now.load(Ordering::SeqCst), 0, "all have left");
        self.most.load(Ordering::SeqCst)
    }
}

/// Clients of their own, taking turns among the sidecars.
async fn clients(stage: &Stage, count: usize) -> Vec<Client> {
    let mut clients = Vec::new();
    for number in 0..count {
        clients.push(stage.client(number).await);
    }
    clients
}

// origin: .NET DistributedLock, DistributedSemaphoreCoreTestCases: TestConcurrencyHandling
async fn every_number_up_to_the_limit_is_seen_and_none_above(stage: &Stage) {
    let (inside, seen) = (Arc::new(Inside::default()), Arc::new(Mutex::new(BTreeSet::new())));
    let mut tasks = Vec::new();
    for client in clients(stage, 10).await {
        let (semaphore, inside, seen) = (client.semaphore("s", 3), inside.clone(), seen.clone());
        tasks.push(tokio::spawn(async move {
            for _ in 0..25 {
                let _permit = semaphore.acquire().await.expect("granted in turn");
                seen.lock().expect("nobody panics with it").insert(inside.enter(1));
                tokio::time::sleep(A_MOMENT).await;
                inside.leave(1);
            }
        }));
    }
    for task in tasks {
        soon(task).await.expect("no task fails");
    }
    assert_eq!(*seen.lock().expect("nobody panics with it"), BTreeSet::from([1, 2, 3]));
}

// origin: .NET DistributedLock, DistributedSemaphoreCoreTestCases: TestDrain
async fn a_drained_semaphore_has_nothing_for_anybody(stage: &Stage) {
    let (here, there) = stage.two().await;
    let (one, other) = (here.semaphore("s", 4), there.semaphore("s", 4));
    let mut handles = vec![one.acquire().await.expect("free")];
    soon(other.acquire()).await.expect("three are left").release().await.expect("held");
    while handles.len() < 4 {
        handles.push(soon(one.acquire()).await.expect("not drained yet"));
    }
    assert!(!can_get(other.permits(1)).await);
    assert!(!can_get(one.permits(1)).await);
    handles.pop();
    soon(other.acquire()).await.expect("one came back").release().await.expect("held");
}

// origin: .NET DistributedLock, DistributedSemaphoreCoreTestCases: TestHighTicketCount
async fn many_tickets_are_no_burden(stage: &Stage) {
    let semaphore = stage.client(0).await.semaphore("many-tickets", 1_000_000);
    let mut handles = Vec::new();
    for _ in 0..100 {
        handles.push(soon(semaphore.acquire()).await.expect("there are many"));
    }
    assert_eq!(stage.crowd("many-tickets").holders, 100);
}

// origin: .NET DistributedLock, DistributedSemaphoreCoreTestCases: TestSemaphoreParallelism
// origin: Curator, TestInterProcessSemaphore: testReleaseInChunks
async fn a_hundred_reach_the_limit_and_never_pass_it(stage: &Stage) {
    const LIMIT: u32 = 10;
    let (inside, door) = (Arc::new(Inside::default()), Arc::new(Door::new(0)));
    let clients = stage.two().await;
    let tasks: Vec<_> = (0..100)
        .map(|number| {
            let client = by_turns(&clients, number);
            let (semaphore, inside, door) = (client.semaphore("s", LIMIT), inside.clone(), door.clone());
            tokio::spawn(async move {
                let _permit = semaphore.acquire().await.expect("granted in turn");
                inside.enter(1);
                door.acquire().await.expect("the door is never closed").forget();
                inside.leave(1);
            })
        })
        .collect();
    // They come in tens, and nobody leaves before ten are inside.
    for left in (0..10).rev() {
        stage.until_crowd("s", LIMIT as usize, left * 10).await;
        while inside.now.load(Ordering::SeqCst) < LIMIT {
            tokio::time::sleep(A_MOMENT).await;
        }
        door.add_permits(LIMIT as usize);
    }
    for task in tasks {
        soon(task).await.expect("no task fails");
    }
    assert_eq!(inside.most(), LIMIT);
}

// origin: Curator, TestInterProcessSemaphore: testSimple2
async fn one_more_than_there_are_waits_for_one_to_come_back(stage: &Stage) {
    let clients = clients(stage, 4).await;
    let mut leases = Vec::new();
    for client in &clients[..3] {
        leases.push(soon(client.semaphore("s", 3).acquire()).await.expect("free"));
    }
    let fourth = clients[3].semaphore("s", 3).permits(1);
    assert!(!can_get(fourth.clone().wait(A_MOMENT)).await);
    leases.remove(0).release().await.expect("held");
    soon(fourth.acquire()).await.expect("one came back").release().await.expect("held");
}

// origin: Curator, TestInterProcessSemaphore: testClientClose
async fn a_closed_client_gives_its_permits_back(stage: &Stage) {
    let (here, there) = stage.two().await;
    soon(there.semaphore("s", 1).acquire()).await.expect("free").release().await.expect("held");
    let held = soon(here.semaphore("s", 1).acquire()).await.expect("free again");
    let waiting = tokio::spawn(there.semaphore("s", 1).acquire());
    stage.until_crowd("s", 1, 1).await;
    // The last that knows of the connection, which ends with it.
    drop(here);
    drop(held);
    gets_a_turn(waiting).await;
}

// origin: Curator, TestInterProcessSemaphore: testMaxPerSession
async fn random_amounts_never_exceed_what_there_is(stage: &Stage) {
    const LIMIT: u32 = 25;
    let inside = Arc::new(Inside::default());
    let mut tasks = Vec::new();
    for (number, client) in clients(stage, 10).await.into_iter().enumerate() {
        let (semaphore, inside) = (client.semaphore("s", LIMIT), inside.clone());
        let mut dice = fastrand::Rng::with_seed(number as u64);
        tasks.push(tokio::spawn(async move {
            for _ in 0..40 {
                let permits = dice.u32(1..=LIMIT);
                let _lease = semaphore.permits(permits).await.expect("granted in turn");
                inside.enter(permits);
                tokio::task::yield_now().await;
                inside.leave(permits);
            }
        }));
    }
    for task in tasks {
        soon(task).await.expect("no task fails");
    }
    let most = inside.most();
    assert!(0 < most && most <= LIMIT, "{most}");
}

// origin: Curator, TestInterProcessSemaphore: testRelease1AtATime
async fn released_one_at_a_time_all_get_a_turn(stage: &Stage) {
    let (sender, mut leases) = tokio::sync::mpsc::channel(10);
    for client in clients(stage, 10).await {
        let (semaphore, sender) = (client.semaphore("s", 5), sender.clone());
        tokio::spawn(async move { sender.send(semaphore.acquire().await.expect("granted in turn")).await });
    }
    for uses in 0..10 {
        // Five have one as long as anybody waits.
        stage.until_crowd("s", 5.min(10 - uses), 5_usize.saturating_sub(uses)).await;
        soon(leases.recv()).await.expect("one of the ten").release().await.expect("held");
    }
    stage.until_crowd("s", 0, 0).await;
}

// origin: Curator, TestInterProcessSemaphore: testGetParticipantNodes
async fn those_who_have_one_are_listed(stage: &Stage) {
    let mut leases = Vec::new();
    for client in clients(stage, 3).await {
        leases.push(soon(client.semaphore("s", 3).acquire()).await.expect("free"));
    }
    assert_eq!(stage.crowd("s"), Crowd { holders: 3, waiters: 0 });
}

// origin: Curator, TestInterProcessSemaphore: testNoOrphanedNodes
async fn a_waiter_that_goes_leaves_no_orphan(stage: &Stage) {
    let (here, there) = stage.two().await;
    let held = soon(here.semaphore("s", 1).acquire()).await.expect("free");
    let second = tokio::spawn(there.semaphore("s", 1).acquire());
    stage.until_crowd("s", 1, 1).await;
    second.abort();
    stage.until_crowd("s", 1, 0).await;
    let second = tokio::spawn(there.semaphore("s", 1).acquire());
    stage.until_crowd("s", 1, 1).await;
    held.release().await.expect("held");
    gets_a_turn(second).await;
    assert_eq!(stage.crowd("s"), Crowd { holders: 0, waiters: 0 });
    assert!(can_get(here.semaphore("s", 1).permits(1)).await, "nothing is left of it");
}

// origin: Redisson, RedissonSemaphoreTest: testBlockingNAcquire
// origin: Redisson, RedissonSemaphoreTest: testTryNAcquire
async fn several_at_once_wait_for_the_last_of_them(stage: &Stage) {
    let (here, there) = stage.two().await;
    let (one, other) = (here.semaphore("s", 5), there.semaphore("s", 5));
    let mut three = Vec::new();
    for _ in 0..3 {
        three.push(soon(one.acquire()).await.expect("free"));
    }
    assert!(!can_get(other.permits(4)).await);
    let four = tokio::spawn(other.permits(4).acquire());
    stage.until_crowd("s", 3, 1).await;
    three.remove(0).release().await.expect("held");
    stage.until_crowd("s", 2, 1).await;
    assert!(!four.is_finished(), "three are not four");
    three.remove(0).release().await.expect("held");
    let _four = granted(four).await;
    assert!(!can_get(one.permits(1)).await, "1 and 4 are all");
}

// origin: Redisson, RedissonPermitExpirableSemaphoreTest: testExpire
async fn permits_run_out(stage: &Stage) {
    let (here, there) = stage.two().await;
    let first = here.semaphore("s", 1).permits(1).ttl(Duration::from_millis(200)).await.expect("free");
    soon(there.semaphore("s", 1).acquire()).await.expect("the first ran out").release().await.expect("held");
    let refused = first.release().await;
    assert!(matches!(refused, Err(Error::LeaseLost { reason: LostReason::Expired, .. })), "{refused:?}");
}

// origin: Redisson, RedissonSemaphoreTest: testTrySetPermits
async fn a_limit_in_use_is_not_replaced(stage: &Stage) {
    let (here, there) = stage.two().await;
    let _ten = soon(here.semaphore("s", 10).permits(10).acquire()).await.expect("free");
    let refused = there.semaphore("s", 15).permits(1).try_acquire().await;
    assert!(matches!(&refused, Err(Error::Conflict(refusal)) if refusal.limit == Some(10)), "{refused:?}");
    assert!(!can_get(there.semaphore("s", 10).permits(1)).await);
}

// origin: Redisson, RedissonPermitExpirableSemaphoreTest: testReleaseWithoutPermits
async fn what_was_not_acquired_is_not_released(stage: &Stage) {
    let answer = stage.sidecar(0).request("DELETE", "/v1/leases/1234", "");
    assert_eq!((answer.status, answer.code().as_str()), (404, "not_found"), "{answer:?}");
}

// origin: Redisson, RedissonSemaphoreTest: testZero
async fn no_permit_at_all_can_not_be_asked_for(stage: &Stage) {
    // Redisson grants it, a lease of nothing. We say what is allowed.
    let refused = stage.client(0).await.semaphore("s", 3).permits(0).await;
    assert!(
        matches!(&refused, Err(Error::Invalid(refusal)) if refusal.message.contains("1 to 3")),
        "{refused:?}"
    );
    assert_eq!(stage.crowd("s"), Crowd { holders: 0, waiters: 0 });
}

// origin: Redisson, RedissonSemaphoreTest: testConcurrencyLoopMax_MultiInstance
async fn all_or_one_of_very_many(stage: &Stage) {
    const LIMIT: u32 = 1_000_000;
    let inside = Arc::new(Inside::default());
    let mut tasks = Vec::new();
    for (number, client) in clients(stage, 4).await.into_iter().enumerate() {
        let (semaphore, inside) = (client.semaphore("s", LIMIT), inside.clone());
        let mut coin = fastrand::Rng::with_seed(number as u64);
        tasks.push(tokio::spawn(async move {
            for _ in 0..10 {
                let permits = if coin.bool() { 1 } else { LIMIT };
                let _lease = semaphore.permits(permits).await.expect("granted in turn");
                inside.enter(permits);
                tokio::time::sleep(A_MOMENT).await;
                inside.leave(permits);
            }
        }));
    }
    for task in tasks {
        soon(task).await.expect("no task fails");
    }
    assert!(inside.most() <= LIMIT);
}
