//! Readers that become writers, and writers that become readers: .NET DistributedLock's cases, and what its suite can not
//! ask, since there only one reader at a time may hope to be a writer.

use crate::stage::{Stage, can_get, gets_a_turn, granted, play, soon};
use sidelock_client::{Client, Code, Error, Lease, LostReason, blocking};
use std::future::IntoFuture;
use std::time::Duration;

play![
    one_upgrades_and_the_other_is_told,
    an_upgrade_waits_for_the_readers,
    waits_out_of_range_are_refused,
    what_was_given_back_is_not_upgraded,
    what_is_exclusive_is_not_upgraded,
    the_loss_of_an_upgraded_lease_is_told,
    two_at_once_are_one_deadlock,
    an_upgrade_is_ahead_of_a_waiting_writer,
    who_gives_up_waiting_keeps_its_share,
    a_downgrade_lets_readers_in_without_a_gap,
    what_was_lost_is_not_downgraded,
    permits_have_no_mode,
    without_async_it_is_the_same,
];

const NOT_LONG: Duration = Duration::from_millis(200);
const LONG: Duration = Duration::from_secs(60);
const KEY: &str = "lock";

async fn read(client: &Client) -> Lease {
    soon(client.rwlock(KEY).read().wait(LONG).acquire()).await.expect("nobody writes")
}

async fn can_read(client: &Client) -> bool {
    can_get(client.rwlock(KEY).read()).await
}

async fn can_write(client: &Client) -> bool {
    can_get(client.rwlock(KEY).write()).await
}

/// Upgrades in a task of its own; the lease comes back with the outcome.
fn upgrades(mut lease: Lease) -> tokio::task::JoinHandle<(Lease, sidelock_client::Result<()>)> {
    tokio::spawn(async move {
        let outcome = lease.upgrade().wait(LONG).await;
        (lease, outcome)
    })
}

/// The lease of an upgrade that is granted.
async fn upgraded(task: tokio::task::JoinHandle<(Lease, sidelock_client::Result<()>)>) -> Lease {
    let (lease, outcome) = soon(task).await.expect("no task fails");
    outcome.expect("it is granted");
    lease
}

// origin: .NET DistributedLock, DistributedUpgradeableReaderWriterLockCoreTestCases: TestMultipleReadersSingleWriter
async fn one_upgrades_and_the_other_is_told(stage: &Stage) {
    let (here, there) = stage.two().await;
    let (first, mut second, third) = (read(&here).await, read(&there).await, read(&here).await);
    let upgrade = upgrades(first);
    stage.until_crowd(KEY, 3, 1).await;
    let told = soon(second.upgrade().wait(LONG).into_future()).await;
    assert!(matches!(&told, Err(Error::Deadlock(why)) if why.code == Code::Deadlock), "{told:?}");
    assert!(second.is_valid() && !can_write(&here).await);
    second.release().await.expect("held");
    third.release().await.expect("held");
    let writer = upgraded(upgrade).await;
    assert!(!can_read(&there).await);
    writer.release().await.expect("held");
    let mut again = read(&there).await;
    soon(again.upgrade().into_future()).await.expect("nobody is in the way");
}

// origin: .NET DistributedLock, DistributedUpgradeableReaderWriterLockCoreTestCases: TestUpgradeToWriteLock
async fn an_upgrade_waits_for_the_readers(stage: &Stage) {
    let (here, there) = stage.two().await;
    let (reader, mut lease) = (read(&there).await, read(&here).await);
    let (share, view) = (lease.fence(), lease.view());
    for wait in [Duration::ZERO, NOT_LONG] {
        let outcome = soon(lease.upgrade().wait(wait).into_future()).await;
        assert!(matches!(outcome, Err(Error::WaitTimeout(_))), "{outcome:?}");
        assert!(lease.is_valid() && lease.fence() == share, "the share is what it was");
    }
    let highest = reader.fence().max(share);
    reader.release().await.expect("held");
    soon(lease.upgrade().wait(Duration::ZERO).into_future()).await.expect("nobody reads any more");
    assert!(lease.is_valid() && lease.fence() > highest && !view.is_valid());
    let reads = tokio::spawn(there.rwlock(KEY).read().acquire());
    stage.until_crowd(KEY, 1, 1).await;
    lease.release().await.expect("held");
    gets_a_turn(reads).await;
}

// origin: .NET DistributedLock, DistributedUpgradeableReaderWriterLockCoreTestCases: TestReaderWriterLockBadArguments
async fn waits_out_of_range_are_refused(stage: &Stage) {
    let sidecar = stage.sidecar(0);
    let lease = sidecar.request("POST", &format!("/v1/locks/{KEY}"), r#"{"mode":"shared"}"#).json();
    let path = format!("/v1/leases/{}", lease["lease"].as_str().expect("has an id"));
    for wait in ["-2s", "365d"] {
        let body = format!(r#"{{"mode":"exclusive","wait":"{wait}"}}"#);
        let answer = sidecar.request("POST", &path, &body);
        assert_eq!((answer.status, answer.code().as_str()), (400, "bad_request"), "{answer:?}");
        assert_eq!(answer.json()["field"], "wait");
    }
    assert_eq!(sidecar.get(&path).json()["mode"], "shared");
}

// origin: .NET DistributedLock, DistributedUpgradeableReaderWriterLockCoreTestCases: TestUpgradeableHandleDisposal
async fn what_was_given_back_is_not_upgraded(stage: &Stage) {
    let sidecar = stage.sidecar(0);
    let lease = sidecar.request("POST", &format!("/v1/locks/{KEY}"), r#"{"mode":"shared"}"#).json();
    let path = format!("/v1/leases/{}", lease["lease"].as_str().expect("has an id"));
    for _ in 0..2 {
        assert_eq!(sidecar.request("DELETE", &path, "").status, 204);
    }
    let answer = sidecar.request("POST", &path, r#"{"mode":"exclusive","wait":"5s"}"#);
    assert_eq!((answer.status, answer.code().as_str()), (404, "not_found"), "{answer:?}");
    assert!(can_write(&stage.client(1).await).await);
}

// origin: .NET DistributedLock, DistributedUpgradeableReaderWriterLockCoreTestCases: TestUpgradeableHandleMultipleUpgrades
async fn what_is_exclusive_is_not_upgraded(stage: &Stage) {
    let mut lease = read(&stage.client(0).await).await;
    soon(lease.upgrade().into_future()).await.expect("nobody is in the way");
    let fence = lease.fence();
    let again = soon(lease.upgrade().into_future()).await;
    assert!(matches!(&again, Err(Error::Conflict(why)) if why.code == Code::NotUpgradable), "{again:?}");
    assert!(lease.is_valid() && lease.fence() == fence);
}

// origin: .NET DistributedLock, DistributedUpgradeableReaderWriterLockCoreTestCases: TestCanUpgradeHandleWhileMonitoring
async fn the_loss_of_an_upgraded_lease_is_told(stage: &Stage) {
    let client = stage.client(0).await;
    let shared = client.rwlock(KEY).read().max_hold(Duration::from_secs(1));
    let mut lease = soon(shared.acquire()).await.expect("it is free");
    assert!(tokio::time::timeout(Duration::from_millis(50), lease.lost()).await.is_err());
    soon(lease.upgrade().into_future()).await.expect("nobody is in the way");
    assert!(tokio::time::timeout(Duration::from_millis(50), lease.lost()).await.is_err());
    assert_eq!(soon(lease.lost()).await, LostReason::MaxHold, "what ends the share ends the whole");
}

async fn two_at_once_are_one_deadlock(stage: &Stage) {
    let (here, there) = stage.two().await;
    // Whichever is told gives its share back, and lets the other have the whole.
    let whole = async |mut lease: Lease| match lease.upgrade().wait(LONG).await {
        Ok(()) => lease.release().await.map(|()| 1),
        Err(Error::Deadlock(_)) => lease.release().await.map(|()| 0),
        Err(other) => Err(other),
    };
    for _ in 0..10 {
        let (one, other) = (read(&here).await, read(&there).await);
        let (one, other) = soon(async { tokio::join!(whole(one), whole(other)) }).await;
        assert_eq!(one.expect("granted or told") + other.expect("granted or told"), 1);
    }
}

async fn an_upgrade_is_ahead_of_a_waiting_writer(stage: &Stage) {
    let (here, there) = stage.two().await;
    let (lease, reader) = (read(&here).await, read(&there).await);
    let writers =
        [&here, &there].map(|client| tokio::spawn(client.rwlock(KEY).write().priority(100).acquire()));
    stage.until_crowd(KEY, 2, 2).await;
    let upgrade = upgrades(lease);
    stage.until_crowd(KEY, 2, 3).await;
    reader.release().await.expect("held");
    let first = upgraded(upgrade).await;
    assert!(writers.iter().all(|writer| !writer.is_finished()));
    let fence = first.fence();
    first.release().await.expect("held");
    for writer in writers {
        let writer = granted(writer).await;
        assert!(writer.fence() > fence);
        writer.release().await.expect("held");
    }
}

async fn who_gives_up_waiting_keeps_its_share(stage: &Stage) {
    let (here, there) = stage.two().await;
    for delay in [0, 0, 1, 2, 5] {
        let (mut lease, reader) = (read(&here).await, read(&there).await);
        let share = lease.fence();
        let given_up = tokio::time::timeout(NOT_LONG, lease.upgrade().wait_forever().into_future()).await;
        assert!(given_up.is_err(), "there is another reader");
        // At once with the other's end, so that the grant crosses the cancel now and then.
        let release = tokio::spawn(reader.release());
        let upgrade = lease.upgrade().wait_forever().into_future();
        match tokio::time::timeout(Duration::from_millis(delay), upgrade).await {
            Err(_) => assert!(lease.is_valid() && lease.fence() == share),
            Ok(outcome) => outcome.expect("nobody else is there"),
        }
        soon(release).await.expect("no task fails").expect("held");
        if lease.fence() == share {
            // The upgrade is out of the way, as soon as that is known everywhere.
            read(&there).await.release().await.expect("held");
        }
        assert!(!can_write(&there).await && lease.is_valid());
        lease.release().await.expect("held");
        assert!(can_write(&there).await, "nothing is left");
    }
}

async fn a_downgrade_lets_readers_in_without_a_gap(stage: &Stage) {
    let (here, there) = stage.two().await;
    let lease = soon(here.rwlock(KEY).write().acquire()).await.expect("it is free");
    let (fence, deadline) = (lease.fence(), lease.deadline());
    let readers = [&here, &there].map(|client| tokio::spawn(client.rwlock(KEY).read().acquire()));
    let writer = tokio::spawn(there.rwlock(KEY).write().acquire());
    stage.until_crowd(KEY, 1, 3).await;
    soon(lease.downgrade()).await.expect("held");
    soon(lease.downgrade()).await.expect("twice is no error");
    assert!(lease.is_valid() && lease.fence() == fence && lease.deadline() >= deadline);
    for reader in readers {
        granted(reader).await.release().await.expect("held");
    }
    assert!(!writer.is_finished(), "one still reads");
    lease.release().await.expect("held");
    gets_a_turn(writer).await;
}

async fn what_was_lost_is_not_downgraded(stage: &Stage) {
    let (here, there) = stage.two().await;
    let lease = soon(here.rwlock(KEY).write().max_hold(NOT_LONG).acquire()).await.expect("it is free");
    let next = soon(there.rwlock(KEY).write().acquire()).await.expect("the first is lost");
    let outcome = soon(lease.downgrade()).await;
    assert!(matches!(outcome, Err(Error::LeaseLost { reason: LostReason::MaxHold, .. })), "{outcome:?}");
    assert!(next.is_valid() && !can_read(&here).await, "nobody came in");
}

async fn permits_have_no_mode(stage: &Stage) {
    let client = stage.client(0).await;
    let mut permit = soon(client.semaphore(KEY, 2).acquire()).await.expect("it is free");
    for outcome in [soon(permit.downgrade()).await, soon(permit.upgrade().into_future()).await] {
        assert!(
            matches!(&outcome, Err(Error::Conflict(why)) if why.code == Code::NotUpgradable),
            "{outcome:?}"
        );
    }
    assert!(permit.is_valid());
}

async fn without_async_it_is_the_same(stage: &Stage) {
    let socket = stage.sidecar(0).socket().to_path_buf();
    let blocking = tokio::task::spawn_blocking(move || {
        let client = blocking::Client::connect(socket)?;
        let mut lease = client.rwlock(KEY).read().acquire()?;
        let share = lease.fence();
        lease.upgrade(Some(LONG))?;
        assert!(lease.fence() > share && client.rwlock(KEY).read().try_acquire()?.is_none());
        lease.downgrade()?;
        assert!(client.rwlock(KEY).read().try_acquire()?.is_some());
        lease.upgrade(None)?;
        lease.release()
    });
    soon(blocking).await.expect("no task fails").expect("nobody is in the way");
}
