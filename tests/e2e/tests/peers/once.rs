//! Once per window: ShedLock's provider tests. There a lock is kept for a time after its task succeeded; here that is the
//! window of a turn that was finished.

use crate::stage::{Stage, by_turns, play, soon};
use sidelock_client::{Client, Entered, Error, LostReason, Turn, Window};
use sidelock_e2e::PATIENCE;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

play![
    a_lock_is_created,
    a_second_lock_is_not_returned,
    two_independent_locks_are_created,
    it_locks_twice_in_a_row,
    a_lock_times_out,
    it_can_be_locked_right_after_unlock,
    it_is_locked_at_least_for_its_window,
    a_lock_is_extended,
    an_unlocked_lock_is_not_extended,
    an_expired_lock_is_not_extended,
    the_fuzz_test_passes,
];

const HOUR: Duration = Duration::from_secs(3_600);
const SHORT: Duration = Duration::from_millis(200);

/// The turn, if nobody has it and it is not done.
async fn turn(client: &Client, key: &str, per: Duration) -> Option<Turn> {
    match soon(client.once(key, Window::rolling(per)).try_enter()).await.expect("it is answered")? {
        Entered::Won(turn) => Some(turn),
        Entered::Done(_) => None,
    }
}

// origin: ShedLock, AbstractLockProviderIntegrationTest: shouldCreateLock
async fn a_lock_is_created(stage: &Stage) {
    let turn = turn(&stage.client(0).await, "foo", HOUR).await.expect("free");
    assert!(turn.is_valid());
    turn.finish([]).await.expect("held");
}

// origin: ShedLock, AbstractLockProviderIntegrationTest: shouldNotReturnSecondLock
async fn a_second_lock_is_not_returned(stage: &Stage) {
    let (here, there) = stage.two().await;
    let first = turn(&here, "foo", HOUR).await.expect("free");
    assert!(turn(&there, "foo", HOUR).await.is_none());
    first.give_back().await.expect("held");
}

// origin: ShedLock, AbstractLockProviderIntegrationTest: shouldCreateTwoIndependentLocks
async fn two_independent_locks_are_created(stage: &Stage) {
    let (here, there) = stage.two().await;
    let first = turn(&here, "foo", HOUR).await.expect("free");
    let second = turn(&there, "bar", HOUR).await.expect("free");
    first.finish([]).await.expect("held");
    second.finish([]).await.expect("held");
}

// origin: ShedLock, AbstractLockProviderIntegrationTest: shouldLockTwiceInARow
async fn it_locks_twice_in_a_row(stage: &Stage) {
    let (here, there) = stage.two().await;
    for client in [&here, &there, &there, &here] {
        turn(client, "foo", HOUR).await.expect("free").give_back().await.expect("held");
    }
}

// origin: ShedLock, AbstractLockProviderIntegrationTest: shouldTimeout
async fn a_lock_times_out(stage: &Stage) {
    let (here, there) = stage.two().await;
    let once = here.once("foo", Window::rolling(HOUR)).ttl(SHORT);
    let Entered::Won(slow) = soon(once.enter()).await.expect("answered") else { panic!("free") };
    let begun = Instant::now();
    let next = soon(there.once("foo", Window::rolling(HOUR)).enter()).await.expect("answered");
    assert!(matches!(next, Entered::Won(_)) && begun.elapsed() < PATIENCE / 2);
    let refused = soon(slow.finish([])).await.expect_err("its time was over");
    assert!(matches!(refused, Error::LeaseLost { reason: LostReason::Expired, .. }), "{refused:?}");
}

// origin: ShedLock, AbstractLockProviderIntegrationTest: shouldBeAbleToLockRightAfterUnlock
async fn it_can_be_locked_right_after_unlock(stage: &Stage) {
    let clients = stage.two().await;
    for round in 0..10 {
        let first = turn(by_turns(&clients, round), "foo", HOUR).await.expect("free");
        assert!(turn(by_turns(&clients, round + 1), "foo", HOUR).await.is_none());
        first.give_back().await.expect("held");
        let second = turn(by_turns(&clients, round + 1), "foo", HOUR).await.expect("free again");
        second.give_back().await.expect("held");
    }
}

// origin: ShedLock, AbstractLockProviderIntegrationTest: shouldLockAtLeastFor
async fn it_is_locked_at_least_for_its_window(stage: &Stage) {
    let (here, there) = stage.two().await;
    let begun = Instant::now();
    turn(&here, "foo", SHORT).await.expect("free").finish([]).await.expect("held");
    while turn(&there, "foo", SHORT).await.is_none() {
        assert!(begun.elapsed() < PATIENCE, "it is over at some time");
    }
    // The store's clock counts the window; it was read a moment after `begun`, and in whole milliseconds.
    assert!(begun.elapsed() + Duration::from_millis(5) >= SHORT, "{:?}", begun.elapsed());
}

// origin: ShedLock, AbstractExtensibleLockProviderIntegrationTest: shouldBeAbleToExtendLock
async fn a_lock_is_extended(stage: &Stage) {
    let (here, there) = stage.two().await;
    // Long enough to extend it, whatever the machine does.
    let ttl = 4 * SHORT;
    let once = here.once("foo", Window::rolling(HOUR)).ttl(ttl);
    let Entered::Won(first) = soon(once.enter()).await.expect("answered") else { panic!("free") };
    first.renew(HOUR / 2).await.expect("held");
    tokio::time::sleep(ttl + SHORT / 2).await;
    assert!(first.is_valid() && turn(&there, "foo", HOUR).await.is_none());
    first.finish([]).await.expect("still held");
}

// origin: ShedLock, AbstractExtensibleLockProviderIntegrationTest: shouldNotBeAbleToExtendUnlockedLock
async fn an_unlocked_lock_is_not_extended(stage: &Stage) {
    let once = stage.client(0).await.once("foo", Window::rolling(HOUR)).ttl(HOUR / 2);
    let Entered::Won(first) = soon(once.enter()).await.expect("answered") else { panic!("free") };
    let view = first.view();
    first.finish([]).await.expect("held");
    assert!(!view.is_valid());
    assert!(matches!(view.renew(HOUR).await, Err(Error::LeaseLost { .. })));
}

// origin: ShedLock, AbstractExtensibleLockProviderIntegrationTest: shouldNotBeAbleToExtendExpiredLock
async fn an_expired_lock_is_not_extended(stage: &Stage) {
    let once = stage.client(0).await.once("foo", Window::rolling(HOUR)).ttl(SHORT);
    let Entered::Won(first) = soon(once.enter()).await.expect("answered") else { panic!("free") };
    assert_eq!(soon(first.lost()).await, LostReason::Expired);
    assert!(matches!(first.renew(HOUR).await, Err(Error::LeaseLost { .. })));
}

// origin: ShedLock, FuzzTester, by way of AbstractLockProviderIntegrationTest: fuzzTestShouldPass
async fn the_fuzz_test_passes(stage: &Stage) {
    const TASKS: usize = 10;
    const RUNS: u32 = 20;
    let inside = Arc::new(AtomicU32::new(0));
    let ran = Arc::new(AtomicU32::new(0));
    let mut tasks = Vec::new();
    for number in 0..TASKS {
        let (client, inside, ran) = (stage.client(number).await, inside.clone(), ran.clone());
        tasks.push(tokio::spawn(async move {
            while ran.load(Ordering::SeqCst) < RUNS {
                let Some(turn) = turn(&client, "foo", Duration::from_millis(1)).await else { continue };
                assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two at a time");
                tokio::task::yield_now().await;
                inside.fetch_sub(1, Ordering::SeqCst);
                ran.fetch_add(1, Ordering::SeqCst);
                turn.finish([]).await.expect("held");
            }
        }));
    }
    for task in tasks {
        soon(task).await.expect("no task fails");
    }
}
