//! Who has a key, asked without acquiring it: at one sidecar, and where another sidecar has it.

use sidelock_client::{Client, Code, Error, Holder, Mode, blocking};
use sidelock_e2e::PATIENCE;
use sidelock_e2e::frames::{Peer, try_lock};
use sidelock_e2e::process::until;
use sidelock_e2e::redis::Redis;
use sidelock_e2e::sidecar::Sidecar;
use sidelock_wire::{Acquire, AskHolders, ToClient, ToSidecar};
use std::time::{Duration, Instant};

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

/// What one question is answered: nobody waits long for a sidecar that does not say anything.
async fn glance(client: &Client, key: &str) -> Vec<Holder> {
    client.holders(key).await.expect("an answer")
}

/// Those who have this key, once each sidecar has said whose it is: a busy machine may keep one from answering in time.
async fn holders_of(client: &Client, key: &str) -> Vec<Holder> {
    let begun = Instant::now();
    loop {
        let found = glance(client, key).await;
        if found.iter().all(|holder| holder.known) {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "a sidecar does not say whose it is: {found:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn holders(client: &Client) -> Vec<Holder> {
    holders_of(client, "k").await
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
fn a_holder_of_another_sidecar_is_named_with_all_that_is_known() {
    block_on(async {
        let (_redis, _sidecars, a, b) = two().await;
        let lease = a.lock("k").owner("task 3").await.expect("is free");
        let held = Instant::now();
        tokio::time::sleep(Duration::from_millis(200)).await; // So that there is an age to see.
        let found = holders(&b).await;
        assert_eq!(found.len(), 1, "{found:?}");
        let holder = &found[0];
        assert!(!holder.local && holder.known && holder.sidecar == incarnation(&a), "{holder:?}");
        assert_eq!((holder.mode, holder.fence), (Mode::Exclusive, Some(lease.fence())), "{holder:?}");
        assert_eq!((holder.app.as_str(), holder.owner.as_deref()), ("billing", Some("task 3")));
        assert_eq!(holder.uid, Some(rustix::process::getuid().as_raw()));
        let (least, most) = (Duration::from_millis(150), held.elapsed() + Duration::from_millis(200));
        assert!(holder.held_for.is_some_and(|span| (least..=most).contains(&span)), "{holder:?}");
        assert!(holder.expires_in > TENURE_TTL / 2 && holder.expires_in <= TENURE_TTL, "{holder:?}");
        lease.release().await.expect("is held");
        assert!(holders(&b).await.is_empty(), "it may be kept at hand there, which is nobody's");
        assert!(b.lock("k").wait(Duration::from_secs(5)).await.is_ok());
    });
}

#[test]
fn a_timed_lease_elsewhere_ends_when_it_does_and_not_with_its_sidecars_tenure() {
    block_on(async {
        let (_redis, sidecars, a, b) = two().await;
        let _share = a.rwlock("k").read().await.expect("is free");
        sidecars[0].lock("k", r#"{"mode":"shared","ttl":"60s"}"#);
        let mut left: Vec<u64> = holders(&b).await.iter().map(|holder| holder.expires_in.as_secs()).collect();
        left.sort_unstable();
        assert_eq!(left.len(), 2, "{left:?}");
        assert!((55..=60).contains(&left[1]), "{left:?}");
    });
}

/// Nobody has it yet: but nobody else gets it either.
#[test]
fn what_is_reserved_elsewhere_is_a_holder_without_a_fence() {
    block_on(async {
        let (_redis, _sidecars, a, b) = two().await;
        let second = b.lock("l").await.expect("is free");
        let both = a.lock_all(["k", "l"]).wait(Duration::from_secs(5));
        let both = tokio::task::spawn(async move { both.await });
        let holder = loop {
            if let Some(holder) = holders(&b).await.pop() {
                break holder;
            }
        };
        assert_eq!((holder.known, holder.fence, holder.app.as_str()), (true, None, "billing"), "{holder:?}");
        second.release().await.expect("is held");
        let both = both.await.expect("no panic").expect("granted");
        assert_eq!(holders(&b).await[0].fence, both.fence("k"), "now it is a lease");
    });
}

/// The last of three answers about a sidecar that says nothing to any of the questions, and how long the best of them took.
async fn unknown_in_time(client: &Client) -> (Vec<Holder>, Duration) {
    let (mut found, mut quickest) = (Vec::new(), Duration::MAX);
    for _ in 0..3 {
        let since = Instant::now();
        found = glance(client, "k").await;
        quickest = quickest.min(since.elapsed());
        assert!(!found.is_empty() && found.iter().all(|holder| !holder.known), "{found:?}");
    }
    (found, quickest)
}

#[test]
fn of_a_sidecar_that_is_stopped_it_is_known_that_it_has_the_key_and_nobody_waits_long_for_more() {
    block_on(async {
        let (_redis, sidecars, a, b) = two().await;
        let _lease = a.lock("k").owner("task 3").await.expect("is free");
        assert!(holders(&b).await[0].known);
        sidecars[0].signal(rustix::process::Signal::STOP);
        let (found, took) = unknown_in_time(&b).await;
        assert!(took < Duration::from_millis(500), "100 ms, the rest is the machine's: {took:?}");
        assert_eq!(found.len(), 1, "{found:?}");
        let holder = &found[0];
        assert!(!holder.local && !holder.known && holder.sidecar == incarnation(&a), "{holder:?}");
        assert_eq!((holder.mode, holder.fence, holder.held_for), (Mode::Exclusive, None, None));
        assert_eq!((holder.app.as_str(), holder.owner.as_deref(), holder.uid), ("", None, None));
        assert!(!holder.expires_in.is_zero() && holder.expires_in <= TENURE_TTL, "{holder:?}");
        sidecars[0].signal(rustix::process::Signal::CONT);
        until(Duration::from_secs(5), "it answers again", || {
            sidecars[1].get("/v1/locks/k").json()["holders"][0]["known"].as_bool().filter(|known| *known)
        });
    });
}

#[test]
fn shares_and_permits_are_told_from_each_other_and_from_locks() {
    block_on(async {
        let (_redis, sidecars, a, b) = two().await;
        let shares = [&a, &a, &b].map(|client| client.rwlock("k").read());
        let mut held = Vec::new();
        for share in shares {
            held.push(share.await.expect("shares go together"));
        }
        let modes = |found: &[Holder]| -> Vec<(bool, Mode)> {
            found.iter().map(|holder| (holder.local, holder.mode)).collect()
        };
        let found = holders(&b).await;
        let all = [(true, Mode::Shared), (false, Mode::Shared), (false, Mode::Shared)];
        assert_eq!(modes(&found), all, "{found:?}");
        let pool = a.semaphore("pool", 5).permits(3).await.expect("is free");
        let found = holders_of(&b, "pool").await;
        assert_eq!(found[0].mode, Mode::Permits { permits: 3, limit: 5 }, "{found:?}");
        sidecars[0].signal(rustix::process::Signal::STOP);
        let found = glance(&b, "k").await;
        assert_eq!(modes(&found), all[..2], "all that the store knows is one holder: {found:?}");
        sidecars[0].signal(rustix::process::Signal::CONT);
        drop((held, pool));
    });
}

/// More than an answer has room for: the oldest are named, and all are counted.
#[test]
fn of_a_crowd_elsewhere_the_oldest_are_named() {
    let redis = Redis::start();
    let sidecars = [Sidecar::connected_to(&redis), Sidecar::connected_to(&redis)];
    let mut crowd = Peer::greeted(sidecars[0].socket());
    for request in 1..=40 {
        let mode = Mode::Permits { permits: 1, limit: 50 };
        assert_eq!(crowd.acquires(Acquire { mode, ..try_lock(request, "k") }), "granted");
    }
    let mut asks = Peer::greeted(sidecars[1].socket());
    let mut requests = 1..;
    let ask = || {
        let request = requests.next().expect("numbers do not end");
        asks.say(&ToSidecar::Holders(AskHolders { request, key: b"k" }));
        let mut answer = None;
        asks.hears("an answer", |message| {
            if let ToClient::Holders(holders) = message {
                answer = Some((holders.count, holders.named.clone()));
            }
            answer.is_some()
        });
        answer.filter(|(_, named)| named.iter().all(|holder| holder.client.is_some()))
    };
    let ((count, named), _) = until(PATIENCE, "their sidecar says who they are", ask);
    assert_eq!((count, named.len()), (40, 32));
    assert!(named.is_sorted_by_key(|holder| holder.fence), "oldest first: {named:?}");
    let (key, _) = until(PATIENCE, "their sidecar says who they are", || {
        Some(sidecars[1].get("/v1/locks/k").json()).filter(|key| key["holders"][0]["known"] == true)
    });
    let named = key["holders"].as_array().map(Vec::len);
    assert_eq!((named, &key["holders_left_out"]), (Some(32), &8.into()), "{key}");
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
