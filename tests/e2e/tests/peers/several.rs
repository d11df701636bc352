//! Several keys at once: Curator's InterProcessMultiLock and Redisson's RedissonMultiLock, with what its users ran into.

use crate::stage::{Crowd, Stage, by_turns, can_get, play, soon};
use sidelock_client::{Error, LostReason};
use sidelock_e2e::PATIENCE;
use std::time::Duration;

play![
    all_are_acquired_and_all_are_released,
    one_that_somebody_has_keeps_all_of_them_free,
    opposite_orders_do_not_meet,
    of_ten_that_try_one_has_them_until_its_time_is_over,
];

const NOT_LONG: Duration = Duration::from_secs(2);
const FREE: Crowd = Crowd { holders: 0, waiters: 0 };

// origin: Redisson, RedissonMultiLockTest: testLockUnlock
async fn all_are_acquired_and_all_are_released(stage: &Stage) {
    let (here, there) = stage.two().await;
    let both = soon(here.lock_all(["two", "one"]).acquire()).await.expect("free");
    assert!(both.is_valid());
    for key in ["one", "two"] {
        assert!(both.fence(key).is_some() && !can_get(there.lock(key)).await, "{key} is held");
    }
    both.release().await.expect("held");
    for key in ["one", "two"] {
        assert!(can_get(there.lock(key)).await, "{key} is free");
    }
}

// origin: Curator, TestInterProcessMultiMutex: testSomeLocksFailToLock
async fn one_that_somebody_has_keeps_all_of_them_free(stage: &Stage) {
    let (here, there) = stage.two().await;
    let last = soon(there.lock("c").acquire()).await.expect("free");
    let all = here.lock_all(["a", "b", "c"]);
    assert!(all.clone().wait(NOT_LONG).try_acquire().await.expect("answered").is_none());
    assert_eq!([stage.crowd("a"), stage.crowd("b")], [FREE; 2], "nothing is left of it");
    assert!(can_get(there.lock("a")).await && can_get(there.lock("b")).await);
    last.release().await.expect("held");
    soon(all.acquire()).await.expect("all are free").release().await.expect("held");
}

// origin: Redisson, issue 1160: multi-locks that deadlock each other
async fn opposite_orders_do_not_meet(stage: &Stage) {
    const KEYS: [&str; 3] = ["a", "b", "c"];
    let mut tasks = Vec::new();
    for number in 0..6 {
        let mut keys = KEYS;
        keys.rotate_left(number % 3);
        if number % 2 == 1 {
            keys.reverse();
        }
        let all = stage.client(number).await.lock_all(keys).wait(PATIENCE);
        tasks.push(tokio::spawn(async move {
            for _ in 0..25 {
                let leases = all.acquire().await.expect("granted in turn");
                tokio::task::yield_now().await;
                leases.release().await.expect("held");
            }
        }));
    }
    for task in tasks {
        soon(task).await.expect("no task fails");
    }
    for key in KEYS {
        stage.until_crowd(key, 0, 0).await;
    }
}

// origin: Redisson, RedissonMultiLockTest: testWaitAndLeaseTimeouts
async fn of_ten_that_try_one_has_them_until_its_time_is_over(stage: &Stage) {
    let clients = stage.two().await;
    let mut leases = Vec::new();
    for number in 0..10 {
        let all = by_turns(&clients, number).lock_all(["a", "b", "c"]).ttl(NOT_LONG);
        leases.extend(soon(all.try_acquire()).await.expect("answered"));
    }
    let [leases] = leases.try_into().expect("one of the ten");
    assert_eq!(soon(leases.lost()).await, LostReason::Expired);
    let next = clients.1.lock_all(["a", "b", "c"]);
    soon(next.acquire()).await.expect("its time is over").release().await.expect("held");
    let refused = leases.release().await;
    assert!(matches!(refused, Err(Error::LeaseLost { .. })), "{refused:?}");
}
