//! A listing of all keys: what is on it, what is not, and its bounds.

use super::link::{Link, command, granted};
use super::server::Server;
use sidelock_engine::Key;
use sidelock_store::listing::{Cut, KEYS_LISTED_MAX, Listing, NAMES_SCANNED_MAX};
use sidelock_store::redis::RedisConfig;
use std::collections::BTreeSet;
use tokio::sync::oneshot;

async fn list(link: &Link, prefix: &str) -> Result<Listing, String> {
    let (answer, asked) = oneshot::channel();
    link.handle.list(prefix.to_owned(), answer);
    asked.await.expect("the store is there")
}

fn names(listing: &Listing) -> Vec<&str> {
    listing.keys.keys().map(Key::as_str).collect()
}

#[tokio::test]
async fn what_all_sidecars_hold_and_wait_for_is_listed_and_nothing_else() {
    let server = Server::start(&[]);
    let (mut a, mut b) = (Link::up(&server, 1).await, Link::up(&server, 2).await);
    let mut stranger =
        Link::start(RedisConfig { namespace: "other".into(), ..RedisConfig::new(server.url()) }, 3);
    stranger.await_up().await;
    for (link, keys) in
        [(&mut a, &["jobs/1", "gone"][..]), (&mut b, &["jobs/*:{2}"]), (&mut stranger, &["theirs"])]
    {
        let outcomes = link.all(keys.iter().map(|key| link.ask(key)).collect()).await;
        assert!(outcomes.iter().all(granted), "{keys:?}");
    }
    a.one(a.give_back("gone")).await;
    b.one(b.ask("jobs/1")).await;
    let listing = list(&a, "").await.unwrap();
    assert_eq!((names(&listing), listing.cut), (vec!["jobs/*:{2}", "jobs/1"], None));
    let record = &listing.keys[&Key::new("jobs/1").unwrap()];
    let holders: Vec<_> = record.tenures.iter().map(|tenure| tenure.id.incarnation).collect();
    let waiters: Vec<_> = record.queue.iter().map(|entry| entry.id.incarnation).collect();
    assert_eq!((holders, waiters), (vec![a.incarnation], vec![b.incarnation]));
    for (prefix, found) in [("jobs/", 2), ("jobs/*", 1), ("jobs/*:{", 1), ("j*", 0), ("[j]", 0)] {
        assert_eq!(list(&b, prefix).await.unwrap().keys.len(), found, "{prefix}");
    }
    assert_eq!(names(&list(&stranger, "").await.unwrap()), ["theirs"]);
}

#[tokio::test]
async fn a_listing_has_so_many_keys_at_most_and_says_so() {
    let server = Server::start(&[]);
    let mut link = Link::up(&server, 1).await;
    let ops = (0..KEYS_LISTED_MAX).map(|n| link.ask(&format!("key/{n}"))).collect();
    assert!(link.all(ops).await.iter().all(granted));
    let listing = list(&link, "").await.unwrap();
    assert_eq!((listing.keys.len(), listing.cut), (KEYS_LISTED_MAX, None));
    // Redis walks its names in an order of its own, and some twice while its table grows.
    assert_eq!(listing.keys.keys().collect::<BTreeSet<_>>().len(), KEYS_LISTED_MAX);
    assert!(granted(&link.one(link.ask("one more")).await));
    let listing = list(&link, "").await.unwrap();
    assert_eq!((listing.keys.len(), listing.cut), (KEYS_LISTED_MAX, Some(Cut::Keys)));
}

#[tokio::test]
async fn a_listing_looks_through_so_many_names_at_most_and_others_are_served_meanwhile() {
    let server = Server::start(&["--enable-debug-command", "yes"]);
    let mut link = Link::up(&server, 1).await;
    let () = command(&server, &format!("DEBUG POPULATE {}", 2 * NAMES_SCANNED_MAX)).await;
    let (answer, mut asked) = oneshot::channel();
    link.handle.list(String::new(), answer);
    let mut served = 0;
    let listing = loop {
        assert!(granted(&link.one(link.ask(&format!("key/{served}"))).await));
        served += 1;
        match asked.try_recv() {
            Ok(listing) => break listing.unwrap(),
            Err(oneshot::error::TryRecvError::Empty) => {}
            Err(oneshot::error::TryRecvError::Closed) => panic!("no answer"),
        }
    };
    assert_eq!(listing.cut, Some(Cut::Names));
    assert!(served > 20, "only {served} were served while names were looked through");
}

/// The walk only reads; what looks at the records may not run.
#[tokio::test]
async fn who_holds_what_is_not_said_to_be_nobody_where_redis_refuses_to_look() {
    let server = Server::start(&[]);
    let mut link = Link::up(&server, 1).await;
    assert!(granted(&link.one(link.ask("k")).await));
    let () = command(&server, "CONFIG SET min-replicas-to-write 1").await;
    let why = list(&link, "").await.unwrap_err();
    assert!(why.contains("NOREPLICAS"), "{why}");
    let () = command(&server, "CONFIG SET min-replicas-to-write 0").await;
    assert_eq!(names(&list(&link, "").await.unwrap()), ["k"]);
}

#[tokio::test]
async fn a_user_who_may_not_scan_is_told() {
    let server = Server::start(&[]);
    let () = command(&server, "ACL SETUSER default -scan").await;
    let link = Link::up(&server, 1).await;
    let why = list(&link, "").await.unwrap_err();
    assert!(why.contains("scan"), "{why}");
}

#[tokio::test]
async fn scripts_that_redis_forgot_are_sent_along() {
    let server = Server::start(&[]);
    let mut link = Link::up(&server, 1).await;
    assert!(granted(&link.one(link.ask("k")).await));
    let () = command(&server, "SCRIPT FLUSH").await;
    assert_eq!(names(&list(&link, "").await.unwrap()), ["k"]);
}

#[tokio::test]
async fn a_store_that_is_away_does_not_answer() {
    let mut server = Server::start(&[]);
    let mut link = Link::up(&server, 1).await;
    server.kill();
    link.await_down().await;
    let (answer, asked) = oneshot::channel();
    link.handle.list(String::new(), answer);
    assert!(asked.await.is_err());
}
