//! A Redis that can not serve for a time: each refusal is typed, nothing was applied, and grants resume (H4).

use super::link::{Link, applied, assert_unready, command, granted};
use super::server::Server;
use sidelock_engine::store::{Fault, Outcome};
use std::time::{Duration, Instant};

/// Promised from Redis serving again to the next grant (L6).
const RECOVERY: Duration = Duration::from_secs(2);

/// Asks until it is granted.
async fn resumes(link: &mut Link, key: &str) {
    let since = Instant::now();
    loop {
        let outcome = link.one(link.ask(key)).await;
        if granted(&outcome) {
            break;
        }
        assert!(matches!(outcome, Outcome::NotApplied(_)), "{outcome:?}");
        assert!(since.elapsed() < RECOVERY, "still {outcome:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_replica_without_its_master_is_down() {
    // One that could be written to: of any other, Redis says READONLY first.
    let server = Server::start(&["--replica-serve-stale-data", "no", "--replica-read-only", "no"]);
    let mut link = Link::up(&server, 1).await;
    assert!(granted(&link.one(link.ask("held")).await));
    // Nobody listens at this port.
    let () = command(&server, "REPLICAOF 127.0.0.1 1").await;
    assert_unready(&link.one(link.ask("k")).await, "MASTERDOWN");
    assert_unready(&link.one(link.renew("held")).await, "MASTERDOWN");
    let () = command(&server, "REPLICAOF NO ONE").await;
    assert_eq!(command::<usize>(&server, "DBSIZE").await, 1, "nothing was applied");
    resumes(&mut link, "k").await;
    assert!(granted(&link.one(link.ask("held")).await), "what was held is there");
}

/// Microseconds that Redis shall spend on each key it loads, and how many keys: two seconds, in which it goes on
/// answering, if only that it is loading.
const SLOW_LOADING: [&str; 6] = [
    "--key-load-delay",
    "100",
    "--loading-process-events-interval-bytes",
    "1024",
    "--enable-debug-command",
    "local",
];
const KEYS: usize = 20_000;

#[tokio::test]
async fn a_redis_that_loads_its_data_refuses_those_who_are_connected() {
    let server = Server::start(&SLOW_LOADING);
    let mut link = Link::up(&server, 1).await;
    let () = command(&server, &format!("DEBUG POPULATE {KEYS}")).await;
    let reload = async { command::<()>(&server, "DEBUG RELOAD").await };
    let asks = async {
        loop {
            for op in [link.ask("k"), link.give_back("k")] {
                let outcome = link.one(op).await;
                if !applied(&outcome) {
                    return outcome;
                }
            }
        }
    };
    let (outcome, ()) = tokio::join!(asks, reload);
    assert_unready(&outcome, "LOADING");
    resumes(&mut link, "k").await;
    assert_eq!(command::<usize>(&server, "DBSIZE").await, KEYS + 1);
}

#[tokio::test]
async fn a_redis_that_comes_back_and_loads_its_data_is_down_until_it_has() {
    let mut server = Server::start(&SLOW_LOADING);
    let mut link = Link::up(&server, 1).await;
    let () = command(&server, &format!("DEBUG POPULATE {KEYS}")).await;
    assert!(granted(&link.one(link.ask("held")).await));
    let () = command(&server, "SAVE").await;
    server.kill();
    link.await_down().await;
    server.restart();
    while !link.await_down().await.contains("LOADING") {}
    assert_eq!(link.one(link.ask("k")).await, Outcome::NotApplied(Fault::Down));
    link.await_up().await;
    resumes(&mut link, "k").await;
    assert_eq!(command::<usize>(&server, "DBSIZE").await, KEYS + 2);
    assert!(granted(&link.one(link.ask("held")).await), "what was held was loaded");
}

/// Saves in the background and waits for how that ended.
async fn save(server: &Server, wanted: &str) {
    let _: String = command(server, "BGSAVE").await;
    let since = Instant::now();
    loop {
        let info: String = command(server, "INFO persistence").await;
        let has = |line: &str| info.lines().any(|said| said == line);
        if has("rdb_bgsave_in_progress:0") && has(&format!("rdb_last_bgsave_status:{wanted}")) {
            return;
        }
        assert!(since.elapsed() < Duration::from_secs(10), "{info}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_redis_that_can_not_save_is_misconfigured() {
    let server = Server::start(&["--save", "3600 1"]);
    let mut link = Link::up(&server, 1).await;
    assert!(granted(&link.one(link.ask("held")).await));
    // A folder stands where the data should go: not even root can save them.
    let dump = server.socket().with_file_name("dump.rdb");
    std::fs::create_dir(&dump).unwrap();
    save(&server, "err").await;
    for op in [link.ask("k"), link.renew("held"), link.give_back("held")] {
        assert_unready(&link.one(op).await, "MISCONF");
    }
    assert_eq!(command::<usize>(&server, "DBSIZE").await, 1, "nothing was applied");
    std::fs::remove_dir(&dump).unwrap();
    save(&server, "ok").await;
    resumes(&mut link, "k").await;
    assert!(granted(&link.one(link.ask("held")).await), "what was held is there");
}
