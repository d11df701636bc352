//! Deadlocks: .NET DistributedLock's on SQL stores, PostgreSQL's isolation tests' and Orleans' cases. Each owner is a
//! client of its own, on Redis at a sidecar of its own.

use crate::stage::{Stage, can_get, gets_a_turn, play, soon};
use sidelock_client::{Client, Error, Lease, Request, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

play![
    two_locks_in_opposite_orders_have_one_victim,
    who_holds_all_permits_and_wants_one_more_is_told,
    permits_of_two_owners_are_no_deadlock,
    a_lone_owner_that_asks_again_is_told,
    three_in_a_ring_have_one_victim,
    eight_in_a_ring_have_one_victim,
    who_waits_in_line_ahead_is_part_of_the_ring,
];

/// As long as nobody says otherwise, a request here waits for ever.
fn asks(request: Request) -> JoinHandle<Result<Lease>> {
    tokio::spawn(request.acquire())
}

fn is_deadlock(outcome: &Result<Lease>) -> bool {
    matches!(outcome, Err(Error::Deadlock(_)))
}

/// As many owners as keys, each of which holds one and asks for the next: one is told, the others get what they want.
async fn ring(stage: &Stage, size: usize) {
    let mut held = BTreeMap::new();
    let mut clients = Vec::new();
    for number in 0..size {
        let client = stage.client(number).await;
        let own = client.lock(format!("ring/{number}")).owner("owner").acquire();
        held.insert(number, soon(own).await.expect("free"));
        clients.push(client);
    }
    let (sender, mut outcomes) = mpsc::unbounded_channel();
    for (number, client) in clients.iter().enumerate() {
        let next = client.lock(format!("ring/{}", (number + 1) % size)).owner("owner");
        let sender = sender.clone();
        tokio::spawn(async move { sender.send((number, next.await)) });
    }
    let (victim, outcome) = soon(outcomes.recv()).await.expect("one is told");
    let Err(error @ Error::Deadlock(_)) = outcome else { panic!("{outcome:?}") };
    let keys: BTreeSet<_> = error.cycle().iter().map(|edge| edge.key.as_str()).collect();
    assert_eq!((keys.len(), error.cycle().len()), (size, size), "it is told the whole ring: {error}");
    assert!(outcomes.try_recv().is_err(), "the others still wait");
    // It gives back what it holds: the one before it goes on, and so all around.
    drop(held.remove(&victim));
    for step in 1..size {
        let (number, outcome) = soon(outcomes.recv()).await.expect("the others go on");
        assert_eq!(number, (victim + size - step) % size, "in the order of the ring");
        drop((outcome.expect("no other victim"), held.remove(&number)));
    }
}

// origin: .NET DistributedLock, ExternalConnectionOrTransactionStrategyTestCases: TestDeadlockDetection
async fn two_locks_in_opposite_orders_have_one_victim(stage: &Stage) {
    ring(stage, 2).await;
}

// origin: .NET DistributedLock, SemaphoreSelfDeadlockTestCases: TestSelfDeadlockThrowsOnInfiniteWait
async fn who_holds_all_permits_and_wants_one_more_is_told(stage: &Stage) {
    let semaphore = stage.client(0).await.semaphore("s", 2).permits(1).owner("owner");
    let _both =
        [soon(semaphore.acquire()).await.expect("free"), soon(semaphore.acquire()).await.expect("free")];
    let outcome = soon(semaphore.acquire()).await;
    assert!(is_deadlock(&outcome), "{outcome:?}");
    assert!(outcome.is_err_and(|error| error.to_string().contains("deadlock")), "it says so");
}

// origin: .NET DistributedLock, SemaphoreSelfDeadlockTestCases: TestMultipleConnectionsCannotTriggerSelfDeadlock
async fn permits_of_two_owners_are_no_deadlock(stage: &Stage) {
    let (here, there) = stage.two().await;
    let permit = |client: &Client| client.semaphore("s", 2).permits(1).owner("owner");
    let _one = soon(permit(&here).acquire()).await.expect("free");
    let other = soon(permit(&there).acquire()).await.expect("free");
    let waiting = asks(permit(&here));
    stage.until_crowd("s", 2, 1).await;
    assert!(!waiting.is_finished(), "the other may give one back");
    waiting.abort();
    stage.until_crowd("s", 2, 0).await;
    let waiting = asks(permit(&here));
    stage.until_crowd("s", 2, 1).await;
    other.release().await.expect("held");
    gets_a_turn(waiting).await;
}

// origin: Orleans, DeadlockDetectionTests: DeadlockDetection_1 (A, A)
async fn a_lone_owner_that_asks_again_is_told(stage: &Stage) {
    let client = stage.client(0).await;
    let lock = client.lock("a").owner("owner");
    let held = soon(lock.acquire()).await.expect("free");
    let outcome = soon(lock.acquire()).await;
    assert!(is_deadlock(&outcome), "{outcome:?}");
    // A try asks who has it, not for a promise: it hears that it is held. So does who waits as somebody else.
    assert!(!can_get(lock.clone().wait(Duration::ZERO)).await);
    assert!(!can_get(client.lock("a").owner("another").wait(Duration::from_millis(50))).await);
    assert!(held.is_valid());
}

// origin: Orleans, DeadlockDetectionTests: DeadlockDetection_6 (A, B, C, A)
async fn three_in_a_ring_have_one_victim(stage: &Stage) {
    ring(stage, 3).await;
}

// origin: PostgreSQL, isolation/specs/deadlock-hard.spec
async fn eight_in_a_ring_have_one_victim(stage: &Stage) {
    ring(stage, 8).await;
}

// origin: PostgreSQL, isolation/specs/deadlock-soft.spec
async fn who_waits_in_line_ahead_is_part_of_the_ring(stage: &Stage) {
    // Two readers want what the other reads, behind a writer each: nobody is in the way but those who wait. PostgreSQL
    // lets readers overtake then; we never let anybody, and name one.
    let (here, there) = stage.two().await;
    let reader_of_a = soon(here.rwlock("a").read().owner("d1").acquire()).await.expect("free");
    let reader_of_b = soon(there.rwlock("b").read().owner("d2").acquire()).await.expect("free");
    let writer_of_a = asks(here.rwlock("a").write().owner("e1"));
    let writer_of_b = asks(there.rwlock("b").write().owner("e2"));
    stage.until_crowd("a", 1, 1).await;
    stage.until_crowd("b", 1, 1).await;
    let first = asks(here.rwlock("b").read().owner("d1"));
    stage.until_crowd("b", 1, 2).await;
    let second = asks(there.rwlock("a").read().owner("d2"));

    let (sender, mut outcomes) = mpsc::unbounded_channel();
    let all = [writer_of_a, writer_of_b, first, second];
    for (number, asked) in all.into_iter().enumerate() {
        let sender = sender.clone();
        tokio::spawn(async move { sender.send((number, asked.await.expect("no task fails"))) });
    }
    let (_, outcome) = soon(outcomes.recv()).await.expect("one is told");
    assert!(is_deadlock(&outcome), "{outcome:?}");
    drop((reader_of_a, reader_of_b));
    for _ in 0..3 {
        let (number, outcome) = soon(outcomes.recv()).await.expect("the others go on");
        drop(outcome.unwrap_or_else(|error| panic!("{number}: {error}")));
    }
}
