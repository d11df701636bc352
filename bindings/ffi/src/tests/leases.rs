//! Leases, turns and registers in another language's hands.

use super::{drive, embedded, embedded_with_listener, is_free, lock, wish, without_waiting};
use crate::{Align, Condition, Entered, Failure, LossReason, Refusal, TurnWish, Units, Wish};
use std::time::Duration;

#[test]
fn releasing_twice_is_no_error() {
    let client = embedded();
    let lease = lock(&client, "k");
    drive(lease.release()).unwrap();
    lease.release_blocking(2).unwrap();
    assert!(!lease.is_valid());
    assert_eq!(drive(lease.clone().ended(None)).unwrap(), None);
}

#[test]
fn a_lease_without_references_is_given_back() {
    let client = embedded();
    drop(lock(&client, "k"));
    drive(client.acquire(wish(&["k"]), None)).unwrap();
}

#[test]
fn a_loss_is_told_to_who_watches_and_to_who_releases() {
    let (client, heard) = embedded_with_listener();
    let lease = client.acquire_blocking(Wish { ttl_ms: Some(100), ..wish(&["k"]) }, 1).unwrap();
    lease.clone().watch(42).unwrap();
    assert_eq!(heard.recv().unwrap(), (42, LossReason::Expired));
    assert_eq!(drive(lease.clone().ended(None)).unwrap(), Some(LossReason::Expired));
    let failure = lease.release_blocking(2).unwrap_err();
    assert!(matches!(failure, Failure::LeaseLost { reason: LossReason::Expired, .. }), "{failure}");
    lease.release_blocking(3).unwrap();
}

#[test]
fn a_release_is_no_loss() {
    let (client, heard) = embedded_with_listener();
    let lease = lock(&client, "k");
    lease.clone().watch(42).unwrap();
    lease.release_blocking(2).unwrap();
    drop((lease, client));
    // Nobody is left to say anything.
    assert!(heard.recv().is_err());
}

#[test]
fn permits_of_a_rate_that_are_back_are_no_loss() {
    let (client, heard) = embedded_with_listener();
    let rate = Units::Rate { permits: 1, limit: 1, per_ms: 200 };
    let lease = client.acquire_blocking(Wish { units: rate, ..wish(&["r"]) }, 1).unwrap();
    lease.clone().watch(42).unwrap();
    // Longer than it takes who waits for an end to look again.
    assert!(heard.recv_timeout(Duration::from_millis(1500)).is_err());
    assert!(!lease.is_valid());
    lease.release_blocking(2).unwrap();
    // What ends it before is a loss.
    let rate = Units::Rate { permits: 1, limit: 1, per_ms: 60_000 };
    let held = Wish { units: rate, max_hold_ms: Some(200), ..wish(&["s"]) };
    let held = client.acquire_blocking(held, 3).unwrap();
    held.clone().watch(43).unwrap();
    assert_eq!(heard.recv_timeout(Duration::from_secs(20)).unwrap(), (43, LossReason::MaxHold));
}

#[test]
fn several_keys_have_a_fence_each_and_go_together() {
    let client = embedded();
    let both = client.acquire_blocking(wish(&["b", "a"]), 1).unwrap();
    let keys: Vec<_> = both.fences().into_iter().map(|fence| fence.key).collect();
    assert_eq!(keys, ["a", "b"]);
    both.release_blocking(2).unwrap();
    assert!(is_free(&client, "a") && is_free(&client, "b"));
}

#[test]
fn what_several_keys_can_not_be_is_said() {
    let client = embedded();
    let permits = Units::Permits { permits: 1, limit: 2 };
    for wrong in [Wish { units: permits, ..wish(&["a", "b"]) }, Wish { reentrant: true, ..wish(&["a", "b"]) }]
    {
        let failure = client.acquire_blocking(wrong, 1).unwrap_err();
        assert!(matches!(failure, Failure::Refused { kind: Refusal::Invalid, .. }), "{failure}");
    }
}

#[test]
fn a_semaphore_has_as_many_permits_as_it_has() {
    let client = embedded();
    let permits = |permits| Wish { units: Units::Permits { permits, limit: 3 }, ..without_waiting("s") };
    let _two = client.acquire_blocking(permits(2), 1).unwrap();
    let _one = client.acquire_blocking(permits(1), 2).unwrap();
    assert!(client.acquire_blocking(permits(1), 3).is_err());
}

fn nightly() -> TurnWish {
    TurnWish {
        key: "nightly".into(),
        per_ms: 60_000,
        align: Align::Rolling,
        wait_ms: None,
        ttl_ms: None,
        max_hold_ms: None,
        owner: None,
        priority: 0,
    }
}

#[test]
fn a_turn_is_finished_once_and_its_result_is_for_the_others() {
    let client = embedded();
    let Entered::Won { turn } = client.enter_blocking(nightly(), 1).unwrap() else {
        panic!("nobody was here")
    };
    turn.finish_blocking(b"42 rows".to_vec(), 2).unwrap();
    let again = turn.finish_blocking(b"43 rows".to_vec(), 3).unwrap_err();
    assert!(matches!(&again, Failure::Conflict { code, .. } if code == "turn_closed"), "{again}");
    let Entered::Done { result, .. } = drive(client.enter(nightly(), None)).unwrap() else {
        panic!("it is done")
    };
    assert_eq!(result, b"42 rows");
}

#[test]
fn a_loss_while_its_turn_is_finished_is_told_to_who_finishes_alone() {
    let (client, heard) = embedded_with_listener();
    let wish = TurnWish { ttl_ms: Some(1_000), ..nightly() };
    let Entered::Won { turn } = client.enter_blocking(wish, 1).unwrap() else { panic!("nobody was here") };
    turn.lease().watch(42).unwrap();
    let finishing = turn.finishing(b"42 rows".to_vec());
    // As if its answer took so long: somebody who is stopped meanwhile would not hear it.
    assert!(heard.recv_timeout(Duration::from_millis(2_300)).is_err());
    let failure = drive(crate::cancel::run(None, finishing)).unwrap_err();
    assert!(matches!(failure, Failure::LeaseLost { reason: LossReason::Expired, .. }), "{failure}");
    assert_eq!(drive(turn.lease().ended(None)).unwrap(), Some(LossReason::Expired));
    turn.lease().release_blocking(2).unwrap();
}

#[test]
fn a_turn_without_references_is_given_back() {
    let client = embedded();
    drop(client.enter_blocking(nightly(), 1).unwrap());
    assert!(matches!(client.enter_blocking(nightly(), 2).unwrap(), Entered::Won { .. }));
}

#[test]
fn a_write_under_a_lease_that_is_over_is_refused() {
    let client = embedded();
    let register = client.clone().register("k".into());
    let lease = lock(&client, "k");
    register.put_blocking(b"1".to_vec(), Condition::Always, Some(lease.clone()), 2).unwrap();
    lease.release_blocking(3).unwrap();
    assert!(register.put_blocking(b"2".to_vec(), Condition::Always, Some(lease), 4).is_err());
    assert_eq!(register.get_blocking(None, 5).unwrap().value, b"1");
}

#[test]
fn a_watch_tells_each_value_once() {
    let client = embedded();
    let register = client.clone().register("r".into());
    let watch = register.watch(None);
    assert_eq!(watch.next_blocking(1).unwrap(), None);
    let etag = register.put_blocking(b"1".to_vec(), Condition::Always, None, 2).unwrap();
    assert_eq!(watch.next_blocking(3).unwrap().unwrap().etag, etag);
    register.delete_blocking(Some(etag), None, 4).unwrap();
    assert_eq!(drive(watch.next(None)).unwrap(), None);
}

#[test]
fn a_lease_keeps_its_connection() {
    let client = embedded();
    let lease = lock(&client, "k");
    drop(client);
    assert!(lease.is_valid());
    lease.release_blocking(2).unwrap();
}
