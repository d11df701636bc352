//! The real sidecar, in this process, cuts a client off; the client resumes its session (P6).

use super::peer::open;
use crate::{Client, Error, LostReason};
use std::time::Duration;

/// A frame of a kind that no sidecar knows.
const NONSENSE: [u8; 5] = [1, 0, 0, 0, 0x3f];

async fn be_cut_off(client: &Client) {
    client.handle.shared.change(|state| state.outbox.extend_from_slice(&NONSENSE));
}

#[tokio::test]
async fn leases_lost_with_the_connection_are_given_back_by_the_resumed_session() {
    let client = Client::embedded().await.unwrap();
    let before = client.sidecar().unwrap().incarnation;
    let lease = client.lock("k").await.unwrap();
    be_cut_off(&client).await;
    assert_eq!(lease.lost().await, LostReason::Session);
    // Reserved for ten seconds, had the session not come back for it.
    let next = client.lock("k").wait(Duration::from_secs(2)).await.unwrap();
    assert!(next.fence() > lease.fence());
    assert_eq!(client.sidecar().unwrap().incarnation, before);
    drop((lease, next));
    assert_eq!(open(&client), 0);
}

/// To cancel it would leave its share, which nobody here knows any more.
#[tokio::test]
async fn an_upgraded_lease_that_was_lost_with_the_connection_is_given_back_whole() {
    let client = Client::embedded().await.unwrap();
    let mut lease = client.rwlock("k").read().await.unwrap();
    lease.upgrade().await.unwrap();
    be_cut_off(&client).await;
    assert_eq!(lease.lost().await, LostReason::Session);
    drop(client.lock("k").wait(Duration::from_secs(2)).await.unwrap());
}

#[tokio::test]
async fn a_wait_goes_on_after_the_cut() {
    let client = Client::embedded().await.unwrap();
    let other = client.lock("k").acquire_timed(Duration::from_secs(30)).await.unwrap();
    let waiting = tokio::spawn(client.lock("k").wait(Duration::from_secs(10)).acquire());
    while open(&client) == 0 {
        tokio::task::yield_now().await;
    }
    be_cut_off(&client).await;
    // On the old connection the answer is lost, on the new one it is heard; a repeat finds it released.
    while let Err(error) = client.release_timed(other.id).await {
        assert!(matches!(error, Error::OutcomeUnknown { .. }), "{error}");
    }
    let lease = waiting.await.unwrap().unwrap();
    assert!(lease.fence() > other.fence);
}
