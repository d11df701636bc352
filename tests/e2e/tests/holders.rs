//! Who has a key, asked without acquiring it: at one sidecar, and where another sidecar has it.

use sidelock_client::{Client, Code, Error, Holder, Mode, blocking};
use sidelock_e2e::frames::Peer;
use sidelock_e2e::redis::Redis;
use sidelock_e2e::sidecar::Sidecar;
use sidelock_wire::{AskHolders, ToClient, ToSidecar};
use std::time::Duration;

/// Time to live of a tenure, as configured by default.
const TENURE_TTL: Duration = Duration::from_secs(10);

fn block_on(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(test);
}

async fn client(sidecar: &Sidecar, app: &str) -> Client {
    let connecting = Client::builder().app(app).socket(sidecar.socket()).connect();
    connecting.await.expect("the sidecar listens")
}

async fn holders(client: &Client) -> Vec<Holder> {
    client.holders("k").await.expect("an answer")
}

fn incarnation(client: &Client) -> u128 {
    client.sidecar().expect("is connected").incarnation
}

/// Two sidecars on one Redis, and a client of each.
async fn two() -> (Redis, [Sidecar; 2], Client, Client) {
    let redis = Redis::start();
    let sidecars = [Sidecar::connected_to(&redis), Sidecar::connected_to(&redis)];
    let (a, b) = (client(&sidecars[0], "billing").await, client(&sidecars[1], "shipping").await);
    (redis, sidecars, a, b)
}

#[test]
fn a_holder_of_this_sidecar_is_named_with_all_that_is_known() {
    let redis = Redis::start();
    for sidecar in [Sidecar::on_memory(), Sidecar::connected_to(&redis)] {
        block_on(async {
            let (billing, other) = (client(&sidecar, "billing").await, client(&sidecar, "other").await);
            assert!(holders(&other).await.is_empty());
            let lease = billing.lock("k").owner("task 3").await.expect("is free");
            let found = holders(&other).await;
            assert_eq!(found.len(), 1, "{found:?}");
            let holder = &found[0];
            assert_eq!((holder.app.as_str(), holder.owner.as_deref()), ("billing", Some("task 3")));
            assert_eq!((holder.mode, holder.fence), (Mode::Exclusive, Some(lease.fence())));
            assert!(holder.local && holder.sidecar == incarnation(&other));
            assert!(holder.held_for.is_some_and(|span| span < TENURE_TTL) && holder.expires_in <= TENURE_TTL);
            assert!(holder.expires_in > TENURE_TTL / 2, "{holder:?}");
            assert_eq!(holders(&billing).await.len(), 1, "who holds it sees the same");
            lease.release().await.expect("is held");
            assert!(holders(&other).await.is_empty(), "released is free at once");
        });
    }
}

#[test]
fn a_holder_of_another_sidecar_is_known_by_its_sidecar() {
    block_on(async {
        let (_redis, _sidecars, a, b) = two().await;
        let lease = a.lock("k").owner("task 3").await.expect("is free");
        let found = holders(&b).await;
        assert_eq!(found.len(), 1, "{found:?}");
        let holder = &found[0];
        assert!(!holder.local && holder.sidecar == incarnation(&a), "{holder:?}");
        assert_eq!((holder.mode, holder.fence, holder.held_for), (Mode::Exclusive, None, None));
        assert_eq!((holder.app.as_str(), holder.owner.as_deref()), ("", None));
        assert!(!holder.expires_in.is_zero() && holder.expires_in <= TENURE_TTL, "{holder:?}");
        lease.release().await.expect("is held");
        assert!(b.lock("k").wait(Duration::from_secs(5)).await.is_ok());
    });
}

#[test]
fn shares_and_permits_are_told_from_each_other_and_from_locks() {
    block_on(async {
        let (_redis, _sidecars, a, b) = two().await;
        let shares = [&a, &a, &b].map(|client| client.rwlock("k").read());
        let mut held = Vec::new();
        for share in shares {
            held.push(share.await.expect("shares go together"));
        }
        let found = holders(&b).await;
        let modes: Vec<(bool, Mode)> = found.iter().map(|holder| (holder.local, holder.mode)).collect();
        assert_eq!(modes, [(true, Mode::Shared), (false, Mode::Shared)], "the two there are one holder");
        let pool = a.semaphore("pool", 5).permits(3).await.expect("is free");
        let found = b.holders("pool").await.expect("an answer");
        assert_eq!(found[0].mode, Mode::Permits { permits: 3, limit: 5 }, "{found:?}");
        drop((held, pool));
    });
}

#[test]
fn asking_takes_nothing() {
    block_on(async {
        let (_redis, _sidecars, a, b) = two().await;
        for _ in 0..20 {
            assert!(holders(&a).await.is_empty() && holders(&b).await.is_empty());
        }
        let lease = a.lock("k").try_acquire().await.expect("no error").expect("is free");
        assert_eq!(holders(&b).await.len(), 1);
        assert!(lease.is_valid() && b.lock("k").try_acquire().await.expect("no error").is_none());
    });
}

#[test]
fn with_its_store_away_a_sidecar_does_not_know() {
    block_on(async {
        let (mut redis, _sidecars, a, _b) = two().await;
        let _lease = a.lock("k").await.expect("is free");
        redis.down();
        match a.holders("k").await {
            Err(error @ Error::StoreUnavailable(_)) => {
                assert_eq!(error.code(), Some(Code::StoreUnavailable));
            }
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn what_is_no_key_is_refused() {
    let sidecar = Sidecar::on_memory();
    block_on(async {
        let client = client(&sidecar, "test").await;
        for key in [String::new(), "x".repeat(513)] {
            let refused = client.holders(&key).await;
            assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
        }
        assert!(holders(&client).await.is_empty(), "the connection is none the worse");
    });
}

#[test]
fn blocking_programs_ask_too() {
    let sidecar = Sidecar::on_memory();
    let client = blocking::Client::connect(sidecar.socket()).expect("the sidecar listens");
    let lease = client.lock("k").acquire().expect("is free");
    let found = client.holders("k").expect("an answer");
    assert_eq!(found.iter().map(|holder| holder.fence).collect::<Vec<_>>(), [Some(lease.fence())]);
}

#[test]
fn questions_under_way_have_a_limit() {
    let redis = Redis::start();
    let settings = "[limits]\nin_flight_per_session_max = 2\n";
    let sidecar = Sidecar::configured(settings, &["--redis", &redis.url()]);
    sidecar.await_store();
    let mut peer = Peer::greeted(sidecar.socket());
    redis.pause();
    for request in 1..=3 {
        peer.say(&ToSidecar::Holders(AskHolders { request, key: b"k" }));
    }
    let mut heard = Vec::new();
    peer.hears("a refusal", |message| {
        if let ToClient::Refused(refused) = message {
            heard.push((refused.request, refused.code));
        }
        !heard.is_empty()
    });
    assert_eq!(heard, [(3, Code::TooMany)]);
    redis.resume();
    let mut answered = Vec::new();
    peer.hears("the answers to the others", |message| {
        if let ToClient::Holders(holders) = message {
            answered.push(holders.request);
        }
        answered.len() == 2
    });
    answered.sort_unstable();
    assert_eq!(answered, [1, 2]);
}
