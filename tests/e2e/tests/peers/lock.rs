//! Plain locks: redis-py's, .NET DistributedLock's core, redislock's and etcd's cases.

use crate::stage::{Crowd, Stage, by_turns, can_get, gets_a_turn, play, soon};
use sidelock_client::{Error, LostReason, safe_key};
use sidelock_e2e::PATIENCE;
use sidelock_e2e::process::Process;
use sidelock_e2e::sidecar::command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

play![
    a_lock_is_seen_as_locked_while_it_is,
    locks_compete_for_a_key,
    a_timeout_in_fractions_of_a_second_is_kept,
    a_blocking_timeout_is_waited_and_no_lease_is_the_answer,
    leaving_the_scope_releases,
    releasing_what_was_never_locked_is_an_error,
    releasing_what_somebody_else_owns_by_now_is_an_error,
    a_lock_is_reacquired_for_its_whole_timeout,
    extending_a_lock_without_timeout_is_an_error,
    it_is_not_reentrant_and_other_keys_are_free,
    timeouts_that_make_no_sense_are_refused,
    disposing_twice_is_no_error_and_frees_nobody_elses,
    a_cancelled_wait_leaves_no_trace,
    a_hundred_tasks_are_never_two_at_a_time,
    names_differ_by_case,
    names_of_any_length_and_kind_become_keys,
    long_names_differ_by_case,
    a_lost_handle_says_so,
    a_handle_lost_long_ago_says_so_at_once,
    another_process_holds_it_until_it_is_done,
    a_killed_process_abandons_it,
    of_a_hundred_that_try_one_obtains_it,
    a_waiter_outlives_the_timeout_of_the_holder,
    a_refresh_can_shorten,
    a_refresh_after_the_end_is_an_error,
    waiters_follow_one_by_one,
    a_waiter_waits_for_the_holder_though_the_one_ahead_of_it_is_gone,
];

const NOT_LONG: Duration = Duration::from_millis(200);

// origin: redis-py, tests/test_lock.py: test_locked
async fn a_lock_is_seen_as_locked_while_it_is(stage: &Stage) {
    let (here, there) = stage.two().await;
    for client in [&here, &there] {
        assert_eq!(stage.crowd("foo"), Crowd { holders: 0, waiters: 0 });
        let lease = client.lock("foo").await.expect("free");
        assert_eq!(stage.crowd("foo"), Crowd { holders: 1, waiters: 0 });
        lease.release().await.expect("held");
    }
    assert_eq!(stage.crowd("foo"), Crowd { holders: 0, waiters: 0 });
}

// origin: redis-py, tests/test_lock.py: test_competing_locks
async fn locks_compete_for_a_key(stage: &Stage) {
    let (here, there) = stage.two().await;
    for (one, other) in [(&here, &there), (&there, &here)] {
        let lease = one.lock("foo").try_acquire().await.expect("answered").expect("free");
        assert!(!can_get(other.lock("foo")).await);
        lease.release().await.expect("held");
    }
}

// origin: redis-py, tests/test_lock.py: test_float_timeout
async fn a_timeout_in_fractions_of_a_second_is_kept(stage: &Stage) {
    let lease = stage.sidecar(0).lock("foo", r#"{"ttl":"9500ms"}"#);
    let expires_in = lease["expires_in"].as_f64().expect("a number");
    assert!(expires_in > 8.0 && expires_in <= 9.5, "{expires_in}");
    stage.sidecar(0).unlock(&lease);
}

// origin: redis-py, tests/test_lock.py: test_blocking_timeout
// origin: .NET DistributedLock, DistributedLockCoreTestCases: TestTimeouts
async fn a_blocking_timeout_is_waited_and_no_lease_is_the_answer(stage: &Stage) {
    let (here, there) = stage.two().await;
    let held = here.lock("foo").await.expect("free");
    let start = Instant::now();
    let refused = there.lock("foo").wait(NOT_LONG).await;
    assert!(matches!(refused, Err(Error::WaitTimeout(_))), "{refused:?}");
    assert!(start.elapsed() >= NOT_LONG, "after {:?}", start.elapsed());
    assert!(!can_get(there.lock("foo").wait(NOT_LONG)).await);
    held.release().await.expect("held");
}

// origin: redis-py, tests/test_lock.py: test_context_manager
async fn leaving_the_scope_releases(stage: &Stage) {
    let (here, there) = stage.two().await;
    {
        let _lease = here.lock("foo").wait(NOT_LONG).await.expect("free");
        assert_eq!(stage.crowd("foo").holders, 1);
    }
    // Nobody waited for the release; a waiter does.
    soon(there.lock("foo").acquire()).await.expect("free again").release().await.expect("held");
}

// origin: redis-py, tests/test_lock.py: test_releasing_unlocked_lock_raises_error
async fn releasing_what_was_never_locked_is_an_error(stage: &Stage) {
    let lease = stage.sidecar(0).lock("foo", "");
    let id = lease["lease"].as_str().expect("an id");
    let other = if id.starts_with('0') { '1' } else { '0' };
    let answer = stage.sidecar(0).request("DELETE", &format!("/v1/leases/{other}{}", &id[1..]), "");
    assert_eq!((answer.status, answer.code().as_str()), (404, "not_found"), "{answer:?}");
    stage.sidecar(0).unlock(&lease);
}

// origin: redis-py, tests/test_lock.py: test_releasing_lock_no_longer_owned_raises_error
// origin: redislock, redislock_test.go: TestLock_Release_expired
async fn releasing_what_somebody_else_owns_by_now_is_an_error(stage: &Stage) {
    let (here, there) = stage.two().await;
    let first = stage.sidecar(0).lock("foo", r#"{"ttl":"100ms"}"#);
    let second = soon(there.lock("foo").acquire()).await.expect("the first runs out");
    let path = format!("/v1/leases/{}", first["lease"].as_str().expect("an id"));
    let answer = stage.sidecar(0).request("DELETE", &path, "");
    assert_eq!((answer.status, answer.code().as_str()), (410, "lease_lost"), "{answer:?}");
    assert!(!can_get(here.lock("foo")).await, "it is the second's");
    second.release().await.expect("held");
}

// origin: redis-py, tests/test_lock.py: test_reacquire_lock
async fn a_lock_is_reacquired_for_its_whole_timeout(stage: &Stage) {
    let client = stage.client(0).await;
    let lease = client.lock("foo").ttl(Duration::from_secs(10)).await.expect("free");
    let start = lease.deadline();
    lease.renew(Duration::from_secs(5)).await.expect("held");
    assert!(lease.deadline() < start - Duration::from_secs(3));
    lease.renew(Duration::from_secs(10)).await.expect("held");
    assert!(lease.deadline() >= start);
    lease.release().await.expect("held");
}

// origin: redis-py, tests/test_lock.py: test_extending_lock_with_no_timeout_raises_error
async fn extending_a_lock_without_timeout_is_an_error(stage: &Stage) {
    let lease = stage.client(0).await.lock("foo").await.expect("free");
    let refused = lease.renew(Duration::from_secs(10)).await;
    assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
    assert!(lease.is_valid());
    lease.release().await.expect("held");
}

// origin: .NET DistributedLock, DistributedLockCoreTestCases: BasicTest
async fn it_is_not_reentrant_and_other_keys_are_free(stage: &Stage) {
    let client = stage.client(0).await;
    let handle = client.lock("basic").try_acquire().await.expect("answered").expect("new");
    assert!(!can_get(client.lock("basic")).await, "not reentrant");
    let other = client.lock("basic2").try_acquire().await.expect("answered").expect("a different lock");
    drop((handle, other));
    assert!(can_get(client.lock("basic")).await, "free after the release");
}

// origin: .NET DistributedLock, DistributedLockCoreTestCases: TestBadArguments
async fn timeouts_that_make_no_sense_are_refused(stage: &Stage) {
    for body in [r#"{"wait":"-2s"}"#, r#"{"wait":"24855d"}"#, r#"{"ttl":"-2s"}"#, r#"{"ttl":"24855d"}"#] {
        let answer = stage.sidecar(0).request("POST", "/v1/locks/foo", body);
        assert_eq!((answer.status, answer.code().as_str()), (400, "bad_request"), "{body}: {answer:?}");
    }
    assert_eq!(stage.crowd("foo"), Crowd { holders: 0, waiters: 0 });
}

// origin: .NET DistributedLock, DistributedLockCoreTestCases: TestDisposeHandleIsIdempotent
async fn disposing_twice_is_no_error_and_frees_nobody_elses(stage: &Stage) {
    let sidecar = stage.sidecar(0);
    let first = sidecar.lock("foo", "");
    sidecar.unlock(&first);
    let second = sidecar.lock("foo", "");
    sidecar.unlock(&first);
    assert_eq!(sidecar.request("POST", "/v1/locks/foo", "").code(), "held");
    sidecar.unlock(&second);
}

// origin: .NET DistributedLock, DistributedLockCoreTestCases: CancellationTest
async fn a_cancelled_wait_leaves_no_trace(stage: &Stage) {
    let (here, there) = stage.two().await;
    let held = here.lock("foo").await.expect("free");
    let blocked = tokio::spawn(there.lock("foo").acquire());
    stage.until_crowd("foo", 1, 1).await;
    blocked.abort();
    assert!(soon(blocked).await.is_err_and(|error| error.is_cancelled()));
    stage.until_crowd("foo", 1, 0).await;
    held.release().await.expect("held");
    assert!(can_get(here.lock("foo")).await, "nobody else wants it");
}

// origin: .NET DistributedLock, DistributedLockCoreTestCases: TestParallelism
async fn a_hundred_tasks_are_never_two_at_a_time(stage: &Stage) {
    let clients = stage.two().await;
    let inside = Arc::new(AtomicU32::new(0));
    let tasks: Vec<_> = (0..100)
        .map(|number| {
            let client = by_turns(&clients, number);
            let (request, inside) = (client.lock("parallel"), inside.clone());
            tokio::spawn(async move {
                let _lease = request.await.expect("granted in turn");
                assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "alone");
                tokio::time::sleep(Duration::from_millis(2)).await;
                inside.fetch_sub(1, Ordering::SeqCst);
            })
        })
        .collect();
    for task in tasks {
        soon(task).await.expect("no task fails");
    }
}

// origin: .NET DistributedLock, DistributedLockCoreTestCases: TestLockNamesAreCaseSensitive
async fn names_differ_by_case(stage: &Stage) {
    let (here, there) = stage.two().await;
    let _lower = here.lock("name_a").await.expect("free");
    assert!(can_get(there.lock("name_A")).await, "another lock");
    assert!(!can_get(there.lock("name_a")).await);
}

// origin: .NET DistributedLock, DistributedLockCoreTestCases: TestGetSafeName
async fn names_of_any_length_and_kind_become_keys(stage: &Stage) {
    let client = stage.client(0).await;
    for name in ["a".repeat(1000), r"\\\".to_owned(), r"\".repeat(1000), "{a}:%".to_owned()] {
        assert!(can_get(client.lock(safe_key(&name))).await, "{name}");
    }
}

// origin: .NET DistributedLock, DistributedLockCoreTestCases: TestGetSafeLockNameIsCaseSensitive
async fn long_names_differ_by_case(stage: &Stage) {
    let (here, there) = stage.two().await;
    let (lower, upper) = ("a".repeat(1000), "a".repeat(999) + "A");
    let _lower = here.lock(safe_key(&lower)).await.expect("free");
    assert!(can_get(there.lock(safe_key(&upper))).await, "another lock");
    assert!(!can_get(there.lock(safe_key(&lower))).await);
}

// origin: .NET DistributedLock, DistributedLockCoreTestCases: TestHandleLostTriggersCorrectly
async fn a_lost_handle_says_so(stage: &Stage) {
    let client = stage.client(0).await;
    let held = client.lock("foo").ttl(PATIENCE).await.expect("free");
    assert!(held.is_valid());
    held.renew(NOT_LONG).await.expect("held");
    assert_eq!(soon(held.lost()).await, LostReason::Expired);
    assert!(!held.is_valid());
    assert!(matches!(held.release().await, Err(Error::LeaseLost { .. })), "a lost handle is not released");
}

// origin: .NET DistributedLock, DistributedLockCoreTestCases: TestHandleLostReturnsAlreadyCanceledIfHandleAlreadyLost
async fn a_handle_lost_long_ago_says_so_at_once(stage: &Stage) {
    let (here, there) = stage.two().await;
    let held = here.lock("foo").ttl(NOT_LONG).await.expect("free");
    // That somebody else has it means that it is lost.
    let _other = soon(there.lock("foo").acquire()).await.expect("lost by the first");
    assert_eq!(soon(held.lost()).await, LostReason::Expired);
    let at_once = tokio::time::timeout(Duration::ZERO, held.lost()).await;
    assert_eq!(at_once.expect("known already"), LostReason::Expired);
}

/// A process that holds the lock `foo` until its standard input ends.
fn lock_taker(stage: &Stage) -> Process {
    let mut taker = command(["run", "foo", "--", "sh", "-c", "echo taken; cat"]);
    taker.env("SIDELOCK_SOCKET", stage.sidecar(0).socket());
    let taker = Process::spawn(taker);
    taker.line("that it has it", |line| line == "taken");
    taker
}

// origin: .NET DistributedLock, DistributedLockCoreTestCases: TestCrossProcess
async fn another_process_holds_it_until_it_is_done(stage: &Stage) {
    let mut taker = lock_taker(stage);
    let client = stage.client(1).await;
    assert!(!can_get(client.lock("foo")).await);
    taker.close_stdin();
    let lease = client.lock("foo").wait(PATIENCE).try_acquire().await.expect("answered");
    assert!(lease.is_some());
    assert_eq!(taker.code(), 0, "{}", taker.output());
}

// origin: .NET DistributedLock, DistributedLockCoreTestCases: TestCrossProcessAbandonmentWithKill
async fn a_killed_process_abandons_it(stage: &Stage) {
    let mut taker = lock_taker(stage);
    let client = stage.client(1).await;
    let waiting = tokio::spawn(client.lock("foo").acquire());
    stage.until_crowd("foo", 1, 1).await;
    taker.kill();
    gets_a_turn(waiting).await;
}

// origin: redislock, redislock_test.go: TestObtain_concurrent
// origin: etcd, v3_lock_test.go: TestMutexTryLockMultiNode
async fn of_a_hundred_that_try_one_obtains_it(stage: &Stage) {
    let clients = stage.two().await;
    let tries: Vec<_> = (0..100)
        .map(|number| {
            let client = by_turns(&clients, number);
            let request = client.lock("foo");
            tokio::spawn(async move { request.try_acquire().await.expect("answered") })
        })
        .collect();
    let mut leases = Vec::new();
    for one in tries {
        leases.extend(soon(one).await.expect("no task fails"));
    }
    assert_eq!(leases.len(), 1);
}

// origin: redislock, redislock_test.go: TestObtain_retry_success
async fn a_waiter_outlives_the_timeout_of_the_holder(stage: &Stage) {
    let (here, there) = stage.two().await;
    let first = here.lock("foo").ttl(NOT_LONG).await.expect("free");
    let start = Instant::now();
    let second = there.lock("foo").wait(PATIENCE).await.expect("the first runs out");
    assert!(start.elapsed() < PATIENCE / 2, "after {:?}", start.elapsed());
    assert!(!first.is_valid() && second.is_valid());
}

// origin: redislock, redislock_test.go: TestLock_Refresh
async fn a_refresh_can_shorten(stage: &Stage) {
    let lease = stage.sidecar(0).lock("foo", r#"{"ttl":"1h"}"#);
    let expires_in = |lease: &serde_json::Value| lease["expires_in"].as_f64().expect("a number");
    assert!((expires_in(&lease) - 3600.0).abs() < 1.0, "{lease}");
    let path = format!("/v1/leases/{}", lease["lease"].as_str().expect("an id"));
    let refreshed = stage.sidecar(0).request("PUT", &path, r#"{"ttl":"1m"}"#).json();
    assert!((expires_in(&refreshed) - 60.0).abs() < 1.0, "{refreshed}");
    stage.sidecar(0).unlock(&lease);
}

// origin: redislock, redislock_test.go: TestLock_Refresh_expired
// origin: redis-py, tests/test_lock.py: test_extending_lock_no_longer_owned_raises_error
async fn a_refresh_after_the_end_is_an_error(stage: &Stage) {
    let lease = stage.client(0).await.lock("foo").ttl(NOT_LONG).await.expect("free");
    assert_eq!(soon(lease.lost()).await, LostReason::Expired);
    let refused = lease.renew(Duration::from_secs(60)).await;
    assert!(matches!(refused, Err(Error::LeaseLost { reason: LostReason::Expired, .. })), "{refused:?}");
}

// origin: etcd, v3_lock_test.go: TestMutexLockMultiNode
async fn waiters_follow_one_by_one(stage: &Stage) {
    let (sender, mut locked) = tokio::sync::mpsc::channel(5);
    for number in 0..5 {
        let (request, sender) = (stage.client(number).await.lock("foo"), sender.clone());
        tokio::spawn(async move { sender.send(request.await.expect("granted in turn")).await });
    }
    for number in 0..5 {
        let lease = soon(locked.recv()).await.expect("one of the five");
        stage.until_crowd("foo", 1, 4 - number).await;
        assert!(locked.try_recv().is_err(), "the others wait");
        lease.release().await.expect("held");
    }
}

// origin: etcd, v3_lock_test.go: TestMutexWaitsOnCurrentHolder
async fn a_waiter_waits_for_the_holder_though_the_one_ahead_of_it_is_gone(stage: &Stage) {
    let (here, there) = stage.two().await;
    let first = here.lock("foo").await.expect("free");
    let victim = tokio::spawn(stage.client(1).await.lock("foo").acquire());
    stage.until_crowd("foo", 1, 1).await;
    let last = tokio::spawn(there.lock("foo").acquire());
    stage.until_crowd("foo", 1, 2).await;
    // With its only future goes the victim's connection.
    victim.abort();
    stage.until_crowd("foo", 1, 1).await;
    assert!(!last.is_finished(), "the first still has it");
    first.release().await.expect("held");
    gets_a_turn(last).await;
}
