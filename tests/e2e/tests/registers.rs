//! Registers through every door of the real binary, over memory and over Redis: by raw HTTP, by the SDK and by the command
//! line; and that no update is lost, whatever becomes of sidecars and Redis.

#![allow(clippy::unwrap_used, reason = "a test that can not go on has failed")]

use sidelock_client::{Client, Code, Error, blocking};
use sidelock_e2e::PATIENCE;
use sidelock_e2e::frames::{Peer, try_lock};
use sidelock_e2e::http::{Answer, raw};
use sidelock_e2e::process::{Process, until};
use sidelock_e2e::redis::Redis;
use sidelock_e2e::sidecar::{Sidecar, command};
use sidelock_wire::{Condition, LeaseName, Register, RegisterAct, ToClient, ToSidecar};
use std::process::Stdio;
use std::time::Duration;
use tokio::runtime::Runtime;

/// Over memory one sidecar twice, over Redis two.
fn places(case: impl Fn(&Sidecar, &Sidecar)) {
    let alone = Sidecar::on_memory();
    case(&alone, &alone);
    let redis = Redis::start();
    case(&Sidecar::connected_to(&redis), &Sidecar::connected_to(&redis));
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("the system gives a runtime")
}

fn ask(sidecar: &Sidecar, method: &str, key: &str, headers: &[&str], body: &str) -> Answer {
    let headers: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    let length = body.len();
    let head = format!("{method} /v1/registers/{key} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}");
    raw(sidecar.socket(), format!("{head}Content-Length: {length}\r\n\r\n{body}").as_bytes())
}

#[test]
fn curl_has_real_etags() {
    places(|here, there| {
        assert_eq!(
            (ask(here, "GET", "cfg", &[], "").status, ask(here, "GET", "cfg", &[], "").code()),
            (404, "not_found".into())
        );
        let written = ask(here, "PUT", "cfg", &["If-None-Match: *"], "blue");
        assert_eq!(written.status, 204, "{written:?}");
        let etag = written.header("etag").expect("a version").to_owned();
        let found = ask(there, "GET", "cfg", &[], "");
        assert_eq!(
            (found.status, found.body.as_str(), found.header("etag")),
            (200, "blue", Some(etag.as_str()))
        );
        assert_eq!(ask(there, "GET", "cfg", &[&format!("If-None-Match: {etag}")], "").status, 304);
        let refused = ask(there, "PUT", "cfg", &["If-Match: \"stale\""], "green");
        assert_eq!(
            (refused.status, refused.code().as_str(), refused.header("etag")),
            (412, "conflict", Some(etag.as_str()))
        );
        assert_eq!(refused.json()["value_base64"], "Ymx1ZQ==");
        assert_eq!(ask(there, "PUT", "cfg", &[&format!("If-Match: {etag}")], "green").status, 204);
        assert_eq!(ask(here, "DELETE", "cfg", &[&format!("If-Match: {etag}")], "").status, 412);
        assert_eq!(ask(here, "DELETE", "cfg", &[], "").status, 204);
        assert_eq!(ask(there, "GET", "cfg", &[], "").status, 404);
    });
}

#[test]
fn a_value_has_at_most_64_kib() {
    places(|here, there| {
        let most = "x".repeat(65_536);
        assert_eq!(ask(here, "PUT", "big", &[], &most).status, 204);
        assert_eq!(ask(there, "GET", "big", &[], "").body, most);
        let refused = ask(here, "PUT", "big", &[], &format!("{most}x"));
        assert_eq!((refused.status, refused.code().as_str()), (413, "too_large"));
        assert_eq!(refused.json()["limit"], 65_536);
        let sl = blocking::Client::connect(here.socket()).expect("the sidecar listens");
        for bytes in [65_537, 200_000] {
            let refused = sl.register("big").put(vec![0; bytes]).send().expect_err("too large");
            assert_eq!(refused.code(), Some(Code::TooLarge), "{refused}");
        }
        assert_eq!(sl.register("big").get().send().expect("it is as it was").value.len(), 65_536);
    });
}

#[test]
fn the_command_line_reads_and_writes_standard_streams() {
    places(|here, there| {
        let put = |flags: &[&str], value: &str| {
            let mut verb = command([&["put", "cfg"], flags].concat());
            verb.env("SIDELOCK_SOCKET", here.socket()).stdin(Stdio::piped());
            let mut verb = Process::spawn(verb);
            verb.say(value);
            verb.close_stdin();
            (verb.code(), verb.output().trim().to_owned())
        };
        let (code, etag) = put(&["--if-absent"], "blue");
        assert_eq!(code, 0, "{etag}");
        assert_eq!(there.verb(["get", "cfg"]), (0, "blue".into()));
        let (code, output) = there.verb(["get", "cfg", "-o", "json"]);
        let json: serde_json::Value = serde_json::from_str(&output).expect("is JSON");
        assert_eq!(
            (code, json["etag"].as_str(), json["value"].as_str()),
            (0, Some(etag.as_str()), Some("blue\n"))
        );
        let (code, output) = put(&["--if-match", "stale"], "green");
        assert!(code == 1 && output.contains(&etag) && output.contains("conflict"), "{code}: {output}");
        assert_eq!(put(&["--if-match", &etag], "green").0, 0);
        let (code, output) = there.verb(["rm", "cfg", "--if-match", &etag]);
        assert!(code == 1 && output.contains("conflict"), "{code}: {output}");
        let (_, lease) = here.verb(["lock", "cfg"]);
        let lease = lease.split(['=', ' ']).nth(1).expect("a lease").to_owned();
        assert_eq!(put(&["--lease", &lease], "red").0, 0);
        assert_eq!(here.verb(["get", "cfg", "--lease", &lease]), (0, "red".into()));
        assert_eq!(here.verb(["unlock", &lease]).0, 0);
        let (code, output) = put(&["--lease", &lease], "black");
        assert!(code == 1 && output.contains("stale_fence"), "{code}: {output}");
        assert_eq!(here.verb(["get", "cfg", "--lease", "nonsense"]).0, 2);
        assert_eq!(there.verb(["rm", "cfg"]).0, 0);
        assert_eq!(there.verb(["get", "cfg"]).0, 1);
    });
}

#[test]
fn a_watch_tells_of_changes_elsewhere() {
    places(|here, there| {
        runtime().block_on(async {
            let (near, far) = (
                Client::connect(here.socket()).await.unwrap(),
                Client::connect(there.socket()).await.unwrap(),
            );
            let mut watch = near.register("cfg").watch();
            assert_eq!(watch.next().await.unwrap(), None, "as it is");
            for number in 0..20 {
                let written = far.register("cfg").put(format!("{number}"));
                let (etag, seen) = tokio::join!(async { written.await.unwrap() }, watch.next());
                let seen = seen.unwrap().expect("there is a value");
                assert_eq!((seen.etag, &*seen.value), (etag, format!("{number}").as_bytes()));
            }
            // One that is dropped leaves nothing behind: its place is free for others.
            for _ in 0..5_000 {
                let unchanged = tokio::time::timeout(Duration::from_micros(1), watch.next()).await;
                assert!(unchanged.is_err(), "{unchanged:?}");
            }
            far.register("cfg").delete().await.unwrap();
            assert_eq!(tokio::time::timeout(PATIENCE, watch.next()).await.unwrap().unwrap(), None);
        });
    });
}

/// Many clients count on one register; each count is an update that must not be lost.
fn count(here: &Sidecar, there: &Sidecar, each: usize, step: impl AsyncFn(Client) -> bool) {
    runtime().block_on(async {
        let first = Client::connect(here.socket()).await.unwrap();
        first.register("stock").put("0").await.unwrap();
        let worker = async |sidecar: &Sidecar| {
            let client = Client::connect(sidecar.socket()).await.unwrap();
            let mut done = 0;
            while done < each {
                done += usize::from(step(client.clone()).await);
            }
        };
        tokio::join!(worker(here), worker(there), worker(here), worker(there));
        let total = first.register("stock").get().await.unwrap();
        assert_eq!(std::str::from_utf8(&total.value).unwrap(), (4 * each).to_string());
    });
}

fn next(value: &[u8]) -> String {
    (std::str::from_utf8(value).unwrap().parse::<u32>().unwrap() + 1).to_string()
}

/// More than a connection may leave unread, and all of it asked for: nobody is cut off for that.
#[test]
fn a_hundred_reads_of_64_kib_at_a_time_on_one_connection_are_all_answered() {
    places(|here, there| {
        let most = vec![7; 65_536];
        runtime().block_on(async {
            let client = Client::connect(here.socket()).await.expect("the sidecar listens");
            let writer = Client::connect(there.socket()).await.expect("the sidecar listens");
            writer.register("big").put(&*most).await.expect("nobody minds");
            let get = || {
                let big = client.register("big");
                tokio::spawn(async move { big.get().await })
            };
            let reads: Vec<_> = (0..100).map(|_| get()).collect();
            for read in reads {
                let read = tokio::time::timeout(PATIENCE, read).await.expect("it comes soon").unwrap();
                assert_eq!(*read.expect("its session lives").value, *most);
            }
            // The client would come back and ask again: it is to be no reason to send it away.
            assert!(!here.output().contains("slow_reader"), "{}", here.output());
        });
    });
}

#[test]
fn no_update_is_lost_with_etags() {
    places(|here, there| {
        count(here, there, 50, async |client| {
            let stock = client.register("stock");
            let now = stock.get().await.unwrap();
            match stock.put(next(&now.value)).if_match(&now.etag).await {
                Ok(_) => true,
                Err(Error::Conflict(refusal)) => {
                    assert!(refusal.current.is_some_and(|current| current.etag != now.etag));
                    false
                }
                Err(other) => panic!("{other}"),
            }
        });
    });
}

#[test]
fn no_update_is_lost_with_fences() {
    places(|here, there| {
        count(here, there, 25, async |client| {
            let lease = client.lock("stock").await.unwrap();
            let stock = client.register("stock");
            let now = stock.get().fenced(&lease).await.unwrap();
            stock.put(next(&now.value)).fenced(&lease).await.unwrap();
            true
        });
    });
}

#[test]
fn wrong_leases_are_told_so() {
    places(|here, there| {
        runtime().block_on(async {
            let (mine, theirs) = (
                Client::connect(here.socket()).await.unwrap(),
                Client::connect(there.socket()).await.unwrap(),
            );
            let register = mine.register("k");
            let lease = mine.lock("k").await.unwrap();
            let foreign = theirs.register("k").put("x").fenced(&lease).await.unwrap_err();
            assert!(
                matches!(&foreign, Error::Invalid(why) if why.message.contains("another client")),
                "{foreign}"
            );
            let other = mine.lock("other").await.unwrap();
            let wrong = register.put("x").fenced(&other).await.unwrap_err();
            assert!(matches!(&wrong, Error::Invalid(why) if why.message.contains("another key")), "{wrong}");
            let view = lease.view();
            lease.release().await.unwrap();
            let over = register.put("x").fenced(view).await.unwrap_err();
            assert_eq!(over.code(), Some(Code::StaleFence), "{over}");
            let reader = mine.rwlock("k").read().await.unwrap();
            let shared = register.put("x").fenced(&reader).await.unwrap_err();
            assert!(matches!(&shared, Error::Invalid(why) if why.message.contains("exclusive")), "{shared}");
            let timed = mine.lock("timed").acquire_timed(PATIENCE).await.unwrap();
            mine.register("timed").put("x").fenced(&timed).await.unwrap();
            mine.renew_timed(timed.id, Duration::from_millis(200)).await.unwrap();
            let gone = async || mine.register("timed").get().fenced(&timed).await;
            until_async(async || gone().await.is_err()).await;
            let stale = gone().await.unwrap_err();
            assert_eq!(stale.code(), Some(Code::StaleFence), "{stale}");
            assert!(matches!(register.get().await, Err(Error::NotFound(_))), "nothing was written");
        });
    });
}

async fn until_async(holds: impl AsyncFn() -> bool) {
    let begun = std::time::Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The holder dies with its write under way: the lock passes on, and the write is either there for the next holder to
/// see, or never comes.
#[test]
fn a_write_of_who_died_does_not_come_after_the_next_holder_read() {
    let redis = Redis::start();
    let sidecar = Sidecar::connected_to(&redis);
    for round in 0..10u64 {
        let key = format!("k/{round}");
        let mut dying = Peer::greeted(sidecar.socket());
        assert_eq!(dying.acquires(try_lock(1, &key)), "granted");
        redis.pause();
        let act = RegisterAct::Put { condition: Condition::Any, value: b"late" };
        let lease = Some(LeaseName::Session(1));
        dying.say(&ToSidecar::Register(Register { request: 2, key: key.as_bytes(), lease, act }));
        drop(dying);
        redis.resume();
        let mut next = Peer::greeted(sidecar.socket());
        let wait = Some(PATIENCE);
        assert_eq!(next.acquires(sidelock_wire::Acquire { wait, ..try_lock(1, &key) }), "granted");
        let read = |peer: &mut Peer, request| {
            let lease = Some(LeaseName::Session(1));
            let act = RegisterAct::Get;
            peer.say(&ToSidecar::Register(Register { request, key: key.as_bytes(), lease, act }));
            let mut there = false;
            peer.hears("the answer to a get", |message| match message {
                ToClient::RegisterValue { request: answered, .. } if *answered == request => {
                    there = true;
                    true
                }
                ToClient::Refused(refused) => refused.request == request,
                _ => false,
            });
            there
        };
        let first = read(&mut next, 2);
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(read(&mut next, 3), first, "what the new holder read does not change under it");
    }
}

#[test]
fn a_store_that_is_away_is_said_to_be() {
    let mut redis = Redis::start();
    let sidecar = Sidecar::connected_to(&redis);
    assert_eq!(ask(&sidecar, "PUT", "k", &[], "1").status, 204);
    redis.down();
    until(PATIENCE, "the store is known to be away", || {
        (sidecar.get("/readyz/store").status == 503).then_some(())
    });
    for method in ["GET", "PUT", "DELETE"] {
        let answer = ask(&sidecar, method, "k", &[], "2");
        assert_eq!((answer.status, answer.code().as_str()), (503, "store_unavailable"), "{method}");
        assert!(answer.header("retry-after").is_some());
    }
}
