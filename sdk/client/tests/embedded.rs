//! The SDK on a real sidecar inside this process.

use sidelock_client::{Client, Error, LostReason, Scope, blocking};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

#[tokio::test]
async fn locks_exclude_and_fences_rise() {
    let sl = Client::embedded().await.expect("starts");
    assert_eq!(sl.sidecar().expect("connected").scope, Scope::Process);
    let first = sl.lock("k").await.expect("free");
    assert!(sl.lock("k").try_acquire().await.expect("answered").is_none());
    let fence = first.fence();
    first.release().await.expect("held");
    let second = sl.lock("k").try_acquire().await.expect("answered").expect("free again");
    assert!(second.fence() > fence);
    assert!(second.is_valid());
}

#[tokio::test]
async fn tasks_take_turns() {
    let sl = Client::embedded().await.expect("starts");
    let inside = Arc::new(AtomicU32::new(0));
    let tasks: Vec<_> = (0..32)
        .map(|_| {
            let (request, inside) = (sl.lock("k"), inside.clone());
            tokio::spawn(async move {
                for _ in 0..20 {
                    let lease = request.acquire().await.expect("granted in turn");
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two inside");
                    tokio::task::yield_now().await;
                    inside.fetch_sub(1, Ordering::SeqCst);
                    drop(lease);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no task fails");
    }
}

#[tokio::test]
async fn readers_share_and_a_writer_waits_for_them() {
    let sl = Client::embedded().await.expect("starts");
    let catalog = sl.rwlock("catalog");
    let (one, two) = (catalog.read().await.expect("free"), catalog.read().await.expect("shared"));
    assert!(catalog.write().try_acquire().await.expect("answered").is_none());
    drop((one, two));
    let writer = catalog.write().await.expect("free again");
    assert!(catalog.read().try_acquire().await.expect("answered").is_none());
    drop(writer);
}

#[tokio::test]
async fn a_semaphore_has_so_many_permits_and_one_limit() {
    let sl = Client::embedded().await.expect("starts");
    let api = sl.semaphore("api", 3);
    let two = api.permits(2).await.expect("free");
    assert!(api.permits(2).try_acquire().await.expect("answered").is_none());
    let one = api.acquire().await.expect("one is left");
    let other_limit = sl.semaphore("api", 4).permits(1).try_acquire().await;
    assert!(matches!(other_limit, Err(Error::Conflict(refusal)) if refusal.limit == Some(3)));
    drop((one, two));
    let _all = api.permits(3).await.expect("free again");
}

#[tokio::test]
async fn a_dropped_wait_leaves_the_queue() {
    let sl = Client::embedded().await.expect("starts");
    let held = sl.lock("k").await.expect("free");
    let waited = tokio::time::timeout(Duration::from_millis(20), sl.lock("k").acquire()).await;
    assert!(waited.is_err(), "it is held");
    drop(held);
    let _lease = sl.lock("k").try_acquire().await.expect("answered").expect("nobody else waits");
}

/// Cancels meet grants in every order here: waits of about a round trip, dropped at any moment (H24, H28).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_storm_of_dropped_waits_nothing_is_held() {
    const KEYS: [&str; 3] = ["a", "b", "c"];
    let sl = Client::embedded().await.expect("starts");
    let granted = Arc::new(AtomicU32::new(0));
    let tasks: Vec<_> = (0..24_u64)
        .map(|task| {
            let (sl, granted) = (sl.clone(), granted.clone());
            tokio::spawn(async move {
                for round in 0..100 {
                    let key = KEYS[((task + round) % 3) as usize];
                    let patience = Duration::from_micros(task * round * 37 % 3000);
                    if let Ok(lease) = tokio::time::timeout(patience, sl.lock(key).acquire()).await {
                        granted.fetch_add(1, Ordering::Relaxed);
                        drop(lease.expect("the sidecar is well"));
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no task fails");
    }
    let granted = granted.load(Ordering::Relaxed);
    assert!(granted > 0 && granted < 2400, "{granted}: both outcomes are wanted");
    for key in KEYS {
        let free = sl.lock(key).try_acquire().await.expect("answered");
        assert!(free.is_some(), "{key} is still held or waited for");
    }
}

#[tokio::test]
async fn a_try_can_be_a_task_of_its_own() {
    let sl = Client::embedded().await.expect("starts");
    let trying = tokio::spawn(sl.lock("k").try_acquire());
    let _lease = trying.await.expect("no task fails").expect("answered").expect("free");
    let trying = tokio::spawn(sl.lock("k").wait(Duration::from_millis(20)).try_acquire());
    assert!(trying.await.expect("no task fails").expect("answered").is_none());
}

#[tokio::test]
async fn a_wait_ends_and_says_so() {
    let sl = Client::embedded().await.expect("starts");
    let _held = sl.lock("k").await.expect("free");
    let error = sl.lock("k").wait(Duration::from_millis(20)).await.expect_err("it is held");
    assert!(matches!(error, Error::WaitTimeout(_)), "{error}");
}

#[tokio::test]
async fn a_ttl_is_renewed_or_lost() {
    let sl = Client::embedded().await.expect("starts");
    let lease = sl.lock("k").ttl(Duration::from_secs(3)).await.expect("free");
    let first = lease.deadline();
    lease.renew(Duration::from_secs(5)).await.expect("in time");
    assert!(lease.deadline() > first);
    lease.renew(Duration::from_millis(100)).await.expect("in time");
    assert_eq!(lease.lost().await, sidelock_client::LostReason::Expired);
    assert!(matches!(lease.release().await, Err(Error::LeaseLost { .. })));
    let _next = sl.lock("k").wait(Duration::from_secs(2)).await.expect("free again");
}

#[tokio::test]
async fn all_handles_of_a_lease_last_as_long_as_it_does() {
    const TTL: Duration = Duration::from_secs(1);
    let sl = Client::embedded().await.expect("starts");
    let request = sl.lock("k").owner("anna").reentrant().ttl(TTL);
    let outer = request.acquire().await.expect("free");
    let inner = request.acquire().await.expect("its own");
    assert_eq!(outer.fence(), inner.fence());
    for _ in 0..8 {
        tokio::time::sleep(TTL / 5).await;
        outer.renew(TTL).await.expect("in time");
        assert!(inner.is_valid());
    }
    let last = request.acquire().await.expect("its own");
    drop(outer);
    assert!(inner.is_valid() && last.is_valid());
    // One handle shortens the lease: another one that counts on more would be beside somebody else.
    inner.renew(TTL / 10).await.expect("in time");
    assert_eq!(last.deadline(), inner.deadline());
    tokio::time::sleep(TTL / 5).await;
    assert!(!last.is_valid());
    assert_eq!(last.lost().await, LostReason::Expired);
}

#[tokio::test]
async fn a_renewal_that_can_not_be_leaves_the_lease_as_it_was() {
    let sl = Client::embedded().await.expect("starts");
    let lease = sl.lock("k").await.expect("free");
    let before = lease.deadline();
    let refused = lease.renew(Duration::from_millis(100)).await;
    assert!(matches!(refused, Err(Error::Invalid(_))), "it has no ttl: {refused:?}");
    assert!(lease.deadline() >= before);
}

#[tokio::test]
async fn a_hold_that_was_too_long_says_so() {
    let sl = Client::embedded().await.expect("starts");
    let lease = sl.lock("k").max_hold(Duration::from_millis(50)).await.expect("free");
    assert_eq!(lease.lost().await, sidelock_client::LostReason::MaxHold);
}

#[tokio::test]
async fn a_body_that_outlasts_its_lease_without_a_pause_is_told() {
    let sl = Client::embedded().await.expect("starts");
    let brief = sl.lock("k").max_hold(Duration::from_millis(50));
    let told = brief.run(async |_| std::thread::sleep(Duration::from_millis(200))).await;
    assert!(matches!(told, Err(Error::LeaseLost { .. })), "{told:?}");
}

#[tokio::test]
async fn a_timed_lease_lives_without_its_client() {
    let sl = Client::embedded().await.expect("starts");
    let lease = sl.lock("k").acquire_timed(Duration::from_secs(5)).await.expect("free");
    assert!(sl.lock("k").try_acquire().await.expect("answered").is_none());
    let deadline = sl.renew_timed(lease.id, Duration::from_secs(8)).await.expect("held");
    assert!(deadline > lease.deadline);
    sl.release_timed(lease.id).await.expect("held");
    let _free = sl.lock("k").try_acquire().await.expect("answered").expect("free again");
}

#[tokio::test]
async fn an_unknown_timed_lease_is_not_found() {
    let sl = Client::embedded().await.expect("starts");
    let id = "00000000000000000000000000000001".parse().expect("a name");
    assert!(matches!(sl.release_timed(id).await, Err(Error::NotFound(_))));
}

#[test]
fn the_blocking_flavour_takes_turns_between_threads() {
    let sl = blocking::Client::embedded().expect("starts");
    let inside = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let lease = sl.lock("k").acquire().expect("granted in turn");
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two inside");
                    inside.fetch_sub(1, Ordering::SeqCst);
                    lease.release().expect("held");
                }
            });
        }
    });
}

#[tokio::test]
async fn permits_of_a_rate_come_back_by_the_clock() {
    const PER: Duration = Duration::from_millis(1500);
    let sl = Client::embedded().await.expect("starts");
    let api = sl.rate("api", 3, PER);
    let begun = Instant::now();
    let two = api.permits(2).await.expect("free");
    let one = api.clone().await.expect("one is left");
    two.release().await.expect("still held");
    let spent = api.permits(1).try_acquire().await.expect("answered");
    assert!(spent.is_none(), "released is not back");
    let again = api.acquire().await.expect("in time");
    assert!(begun.elapsed() >= PER && again.is_valid());
    assert_eq!(one.lost().await, LostReason::Expired, "its time is over");
    assert!(!one.is_valid());
    let never = sl.rate("api", 3, Duration::from_millis(1)).await;
    assert!(matches!(never, Err(Error::Invalid(_))), "{never:?}");
}

#[tokio::test]
async fn permits_of_a_rate_that_are_back_are_nothing_to_a_body() {
    const PER: Duration = Duration::from_millis(300);
    let sl = Client::embedded().await.expect("starts");
    let api = sl.rate("api", 1, PER).permits(1);
    api.run(async |_| tokio::time::sleep(2 * PER).await).await.expect("its permit ends by itself");
    let brief = sl.rate("other", 1, 60 * PER).permits(1).max_hold(PER);
    let told = brief.run(async |_| std::future::pending::<()>().await).await;
    assert!(matches!(told, Err(Error::LeaseLost { reason: LostReason::MaxHold, .. })), "{told:?}");
    let lease = api.acquire().await.expect("back");
    assert_eq!(lease.lost().await, LostReason::Expired);
    lease.release().await.expect("nothing was lost");
}

#[test]
fn a_blocking_program_keeps_to_a_rate() {
    const PER: Duration = Duration::from_secs(1);
    let sl = blocking::Client::embedded().expect("starts");
    let api = sl.rate("api", 1, PER);
    let begun = Instant::now();
    for _ in 0..3 {
        drop(api.acquire().expect("granted in turn"));
    }
    assert!(begun.elapsed() >= 2 * PER);
    assert!(api.permits(1).try_acquire().expect("answered").is_none());
}

#[tokio::test]
async fn several_keys_are_held_together() {
    let sl = Client::embedded().await.expect("starts");
    let holder = sl.lock("b").await.expect("free");
    let both = sl.lock_all(["b", "a", "b"]);
    assert!(both.try_acquire().await.expect("answered").is_none());
    assert!(sl.lock("a").try_acquire().await.expect("answered").is_some(), "given back");
    let (both, ()) = tokio::join!(both.acquire(), async { holder.release().await.expect("held") });
    let both = both.expect("in time");
    assert_eq!(both.keys().collect::<Vec<_>>(), ["a", "b"]);
    assert!(both.is_valid() && both.fence("a").is_some() && both.fence("c").is_none());
    assert!(sl.lock("a").try_acquire().await.expect("answered").is_none());
    both.release().await.expect("held");
    let shares = sl.lock_all(["a", "b"]).shared().await.expect("free");
    let _reader = sl.rwlock("a").read().try_acquire().await.expect("answered").expect("shared");
    drop(shares);
    let _a = sl.lock("b").wait(Duration::from_secs(5)).await.expect("free again");
}

#[tokio::test]
async fn one_lost_of_several_is_all_lost() {
    let sl = Client::embedded().await.expect("starts");
    let both = sl.lock_all(["a", "b"]).max_hold(Duration::from_millis(200)).await.expect("free");
    assert!(matches!(both.lost().await, LostReason::MaxHold | LostReason::Expired));
    assert!(!both.is_valid());
    let _both = sl.lock_all(["a", "b"]).wait(Duration::from_secs(5)).await.expect("free again");
    let none: [&str; 0] = [];
    let nothing = sl.lock_all(none).await;
    assert!(matches!(nothing, Err(Error::Invalid(_))), "{nothing:?}");
}

#[test]
fn a_blocking_program_takes_several_keys() {
    let sl = blocking::Client::embedded().expect("starts");
    let both = sl.lock_all(["a", "b"]).wait(Duration::from_secs(5)).acquire().expect("free");
    assert!(both.is_valid() && both.fences().count() == 2);
    assert!(sl.lock("b").try_acquire().expect("answered").is_none());
    both.release().expect("held");
    assert!(sl.lock_all(["b"]).try_acquire().expect("answered").is_some());
    let patient = sl.lock_all(["b", "a"]).owner("anna").priority(1).wait_forever();
    let shares = patient.shared().ttl(Duration::from_secs(3)).max_hold(Duration::from_secs(60)).acquire();
    let shares = shares.expect("free");
    let _reader = sl.rwlock("a").read().try_acquire().expect("answered").expect("shared");
    assert_eq!(shares.keys().collect::<Vec<_>>(), ["a", "b"]);
    assert!(shares.fence("b").is_some() && shares.fence("c").is_none());
    let before = shares.deadline();
    shares.renew(Duration::from_secs(5)).expect("held");
    assert!(shares.deadline() > before);
}
