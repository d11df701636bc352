//! Leases that become another mode, and what may happen to them meanwhile.

use super::{drive, embedded, embedded_with_listener, is_free, lock, until, wish, without_waiting};
use crate::{Cancel, Client, Failure, Lease, LossReason, Refusal, Units, Wish};
use std::sync::Arc;

fn share(client: &Client) -> Arc<Lease> {
    client.acquire_blocking(Wish { units: Units::Shared, ..wish(&["k"]) }, 1).unwrap()
}

fn modes(client: &Client) -> Vec<String> {
    client.holders_blocking("k".into(), 1).unwrap().into_iter().map(|holder| holder.mode).collect()
}

/// An upgrade that waits for another share, on a thread of its own.
fn upgrading(
    client: &Client,
    lease: &Arc<Lease>,
    cancel: &Arc<Cancel>,
) -> std::thread::JoinHandle<crate::Result<()>> {
    let (lease, cancel) = (lease.clone(), cancel.clone());
    let upgrade = std::thread::spawn(move || drive(lease.upgrade(None, Some(cancel))));
    // It goes before all who wait: another share is not to be had any more.
    until(|| client.acquire_blocking(Wish { units: Units::Shared, ..without_waiting("k") }, 9).is_err());
    upgrade
}

#[test]
fn a_share_becomes_the_whole_with_another_fence_and_back() {
    let client = embedded();
    let lease = share(&client);
    let before = lease.fence();
    lease.clone().upgrade_blocking(Some(0), 2).unwrap();
    assert!(lease.fence() > before && lease.fences()[0].fence == lease.fence());
    assert_eq!(modes(&client), ["exclusive"]);
    assert!(lease.is_valid() && lease.deadline_ns() > 0);
    let whole = lease.fence();
    drive(lease.clone().downgrade(None)).unwrap();
    assert_eq!((modes(&client), lease.fence()), (vec!["shared".to_owned()], whole));
    lease.release_blocking(3).unwrap();
    assert!(is_free(&client, "k"));
}

#[test]
fn an_upgrade_in_vain_leaves_the_share() {
    let client = embedded();
    let (lease, other) = (share(&client), share(&client));
    let before = lease.fence();
    let failure = lease.clone().upgrade_blocking(Some(20), 2).unwrap_err();
    assert!(matches!(failure, Failure::Busy { .. }), "{failure}");
    assert!(lease.is_valid() && lease.fence() == before);
    let cancel = Cancel::new();
    let upgrade = upgrading(&client, &lease, &cancel);
    cancel.cancel();
    assert_eq!(upgrade.join().unwrap(), Err(Failure::Stopped));
    assert!(lease.is_valid() && lease.fence() == before);
    other.release_blocking(3).unwrap();
    lease.clone().upgrade_blocking(Some(0), 4).unwrap();
}

#[test]
fn a_release_ends_the_upgrade_that_is_under_way() {
    let client = embedded();
    let (lease, other) = (share(&client), share(&client));
    let upgrade = upgrading(&client, &lease, &Cancel::new());
    let again = lease.clone().upgrade_blocking(Some(0), 2).unwrap_err();
    assert!(matches!(again, Failure::Refused { kind: Refusal::Invalid, .. }), "{again}");
    lease.release_blocking(3).unwrap();
    assert!(matches!(upgrade.join().unwrap(), Err(Failure::LeaseLost { reason: LossReason::Other, .. })));
    other.release_blocking(4).unwrap();
    until(|| is_free(&client, "k"));
    let over = lease.clone().upgrade_blocking(Some(0), 5).unwrap_err();
    assert!(matches!(over, Failure::LeaseLost { .. }), "{over}");
    assert_eq!(drive(lease.ended(None)).unwrap(), None);
}

#[test]
fn who_watches_a_share_goes_on_watching_the_whole() {
    let (client, heard) = embedded_with_listener();
    let wish = Wish { units: Units::Shared, max_hold_ms: Some(2_000), ..wish(&["k"]) };
    let lease = client.acquire_blocking(wish, 1).unwrap();
    lease.clone().watch(42).unwrap();
    lease.clone().upgrade_blocking(Some(0), 2).unwrap();
    assert_eq!(heard.recv().unwrap(), (42, LossReason::MaxHold));
    let failure = lease.release_blocking(3).unwrap_err();
    assert!(matches!(failure, Failure::LeaseLost { reason: LossReason::MaxHold, .. }), "{failure}");
}

#[test]
fn who_watches_hears_nothing_of_a_release_after_an_upgrade() {
    let (client, heard) = embedded_with_listener();
    let lease = share(&client);
    lease.clone().watch(42).unwrap();
    lease.clone().upgrade_blocking(Some(0), 2).unwrap();
    lease.release_blocking(3).unwrap();
    drop((lease, client));
    // Nobody is left to say anything.
    assert!(heard.recv().is_err());
}

#[test]
fn what_has_no_mode_to_change_is_said() {
    let client = embedded();
    let whole = lock(&client, "k");
    let failure = whole.upgrade_blocking(Some(0), 2).unwrap_err();
    assert!(matches!(&failure, Failure::Conflict { code, .. } if code == "not_upgradable"), "{failure}");
    let both = client.acquire_blocking(wish(&["a", "b"]), 3).unwrap();
    let failure = both.clone().downgrade_blocking(4).unwrap_err();
    assert!(matches!(failure, Failure::Refused { kind: Refusal::Invalid, .. }), "{failure}");
    assert!(both.is_valid());
}
