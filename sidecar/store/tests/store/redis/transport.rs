//! The adapter: batching, reloading, faults of Redis, and that every call gets exactly one outcome.

use super::link::{Link, PATIENCE, admin, applied, assert_unready, command, granted};
use super::server::Server;
use sidelock_engine::store::{
    Ask, CallId, Fault, Finish, Known, Op, Outcome, Push, REFUSE_AFTER, ReadRegister, Reply, Tell, Withdraw,
};
use sidelock_engine::{Align, AskId, Key, RESULT_BYTES_MAX, Space, Window};
use sidelock_store::redis::{RedisConfig, StoreEvent};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// A quarter of a tenure's time to live: by then a silent Redis is noticed (H6).
const NOTICED: Duration = Duration::from_millis(2500);

#[tokio::test]
async fn the_calls_of_a_turn_are_one_request() {
    let server = Server::start(&[]);
    let mut link = Link::up(&server, 1).await;
    let ops = (0..64).map(|n| link.ask(&format!("key/{n}"))).collect();
    link.send(ops);
    let StoreEvent::Pipeline { calls, requests, .. } = link.event().await else { panic!("no pipeline") };
    assert_eq!((calls, requests), (64, 1));
    for _ in 0..64 {
        let StoreEvent::Answer { outcome, .. } = link.event().await else { panic!("no answer") };
        assert!(granted(&outcome));
    }
}

#[tokio::test]
async fn the_order_of_calls_on_a_key_is_kept() {
    let server = Server::start(&[]);
    let mut link = Link::up(&server, 1).await;
    for _ in 0..50 {
        let outcomes =
            link.all(vec![link.ask("k"), link.give_back("k"), link.ask("k"), link.give_back("k")]).await;
        assert!(outcomes.iter().all(applied), "{outcomes:?}");
        assert_eq!(command::<usize>(&server, "DBSIZE").await, 0);
    }
}

#[tokio::test]
async fn forgotten_scripts_are_loaded_again_and_every_call_runs_once() {
    let server = Server::start(&[]);
    let mut link = Link::up(&server, 1).await;
    for round in 0..20 {
        let () = command(&server, "SCRIPT FLUSH").await;
        let ops = (0..300).map(|n| link.ask(&format!("key/{round}/{n}"))).collect();
        let outcomes = link.all(ops).await;
        assert!(outcomes.iter().all(granted));
    }
    assert_eq!(command::<usize>(&server, "DBSIZE").await, 20 * 300);
}

#[tokio::test]
async fn out_of_memory_refuses_asks_and_lets_the_rest_through() {
    let server = Server::start(&[]);
    let mut link = Link::up(&server, 1).await;
    assert!(granted(&link.one(link.ask("a")).await));
    let () = command(&server, "CONFIG SET maxmemory 1").await;
    let outcomes = link.all(vec![link.ask("b"), link.renew("a"), link.ask("c"), link.give_back("a")]).await;
    assert_unready(&outcomes[0], "OOM");
    assert_unready(&outcomes[2], "OOM");
    assert!(matches!(outcomes[3], Outcome::Applied { reply: Reply::Returned, .. }), "{outcomes:?}");
    assert!(applied(&outcomes[1]), "{outcomes:?}");
    let () = command(&server, "CONFIG SET maxmemory 0").await;
    assert!(granted(&link.one(link.ask("b")).await));
}

#[tokio::test]
async fn what_redis_refuses_is_typed_and_not_applied() {
    let server = Server::start(&[]);
    let mut link = Link::up(&server, 1).await;
    let () = command(&server, "CONFIG SET min-replicas-to-write 1").await;
    assert_unready(&link.one(link.ask("k")).await, "NOREPLICAS");
    let () = command(&server, "CONFIG SET min-replicas-to-write 0").await;
    let () = command(&server, "REPLICAOF 127.0.0.1 1").await;
    assert_unready(&link.one(link.ask("k")).await, "READONLY");
    // Its address may lead to another server by now.
    assert!(link.await_down().await.contains("a replica now"));
    let why = link.await_down().await;
    assert!(why.contains("this is a replica of 127.0.0.1:1"), "{why}");
    let () = command(&server, "REPLICAOF NO ONE").await;
    link.await_up().await;
    assert!(granted(&link.one(link.ask("k")).await));
}

/// Clients hear `store_unavailable`. Why, is nowhere else: the connection stands.
#[tokio::test]
async fn why_redis_refuses_is_told_once_for_each_reason() {
    let server = Server::start(&[]);
    let mut link = Link::up(&server, 1).await;
    for (setting, code) in [("min-replicas-to-write", "NOREPLICAS"), ("maxmemory", "OOM")] {
        let () = command(&server, &format!("CONFIG SET {setting} 1")).await;
        let mut warnings = Vec::new();
        for _ in 0..3 {
            let sent = link.send(vec![link.ask("k")]);
            loop {
                match link.event().await {
                    StoreEvent::Warning(text) => warnings.push(text),
                    StoreEvent::Answer { call, .. } if sent.contains(&call) => break,
                    _ => {}
                }
            }
        }
        assert!(matches!(&warnings[..], [text] if text.contains(code)), "{warnings:?}");
        let () = command(&server, &format!("CONFIG SET {setting} 0")).await;
    }
}

/// For which of these calls each answer was, in the order of the answers; all of them ran.
async fn answered(link: &mut Link, first: CallId, count: usize) -> Vec<u64> {
    let mut order = Vec::new();
    while order.len() < count {
        match link.event().await {
            StoreEvent::Answer { call, outcome } => {
                assert!(applied(&outcome), "{outcome:?}");
                order.push(call.0 - first.0);
            }
            StoreEvent::Pipeline { .. } | StoreEvent::Push(_) => {}
            other => panic!("{other:?}"),
        }
    }
    order
}

/// Leases end without renewals, however much else there is to do (P13).
#[tokio::test]
async fn a_renewal_does_not_wait_for_registers() {
    let server = Server::start(&[]);
    let mut link = Link::up(&server, 1).await;
    assert!(granted(&link.one(link.ask("held")).await));
    let read = |n: u64| {
        let key = Key::new(&format!("register/{n}")).unwrap().in_space(Space::Register);
        Op::ReadRegister(ReadRegister { key, known: Known::Nothing, bound: None, watch: None })
    };
    let mut ops: Vec<Op> = (0..1000).map(read).collect();
    ops.push(link.renew("held"));
    let ids = link.send(ops);
    let order = answered(&mut link, ids[0], ids.len()).await;
    let place = order.iter().position(|call| *call == 1000).unwrap();
    assert!(place < 256, "it was answered behind {place} others");
}

/// Each answer to an ask of a once key may be as long as a result.
#[tokio::test]
async fn long_results_for_many_at_once_do_not_cost_the_connection() {
    const KEYS: u64 = 1000;
    let server = Server::start(&[]);
    let (mut runner, mut others) = (Link::up(&server, 1).await, Link::up(&server, 2).await);
    let once = |link: &Link, n: u64| {
        let Op::Ask(ask) = link.ask(&format!("once/{n}")) else { unreachable!() };
        let key = ask.key.in_space(Space::Once);
        Ask { key, waiting_since: Some(link.at), ..ask }
    };
    let asks = (0..KEYS).map(|n| once(&runner, n)).collect::<Vec<_>>();
    let turns = runner.all(asks.iter().cloned().map(Op::Ask).collect()).await;
    let finish = |(ask, turn): (&Ask, &Outcome)| {
        let Outcome::Applied { at, reply: Reply::Granted(tenancy) } = turn else { panic!("{turn:?}") };
        Op::Finish(Box::new(Finish {
            key: ask.key.clone(),
            tenure: ask.id,
            fence: tenancy.range.first,
            granted_at: *at,
            window: Window { per: Duration::from_secs(3600), align: Align::Rolling },
            result: vec![b'r'; RESULT_BYTES_MAX].into(),
            refuse_after: ask.refuse_after,
        }))
    };
    let finished = runner.all(asks.iter().zip(&turns).map(finish).collect()).await;
    assert!(finished.iter().all(applied));
    let asks = (0..KEYS).map(|n| Op::Ask(once(&others, n))).collect();
    let ids = others.send(asks);
    // It panics where the connection is lost.
    assert_eq!(answered(&mut others, ids[0], ids.len()).await.len(), ids.len());
}

#[tokio::test]
async fn a_script_of_somebody_else_that_does_not_end_is_busy() {
    let server = Server::start(&["--busy-reply-threshold", "50"]);
    let mut link = Link::up(&server, 1).await;
    let mut other = admin(&server).await;
    let endless = tokio::spawn(async move {
        let _: Result<(), _> =
            ::redis::cmd("EVAL").arg("while true do end").arg(0).query_async(&mut other).await;
    });
    let outcome = loop {
        let outcome = link.one(link.ask("k")).await;
        if !granted(&outcome) {
            break outcome;
        }
    };
    assert_unready(&outcome, "BUSY");
    let () = command(&server, "SCRIPT KILL").await;
    endless.await.unwrap();
    assert!(granted(&link.one(link.ask("k")).await));
}

#[tokio::test]
async fn pushes_arrive() {
    let server = Server::start(&[]);
    let (mut a, mut b) = (Link::up(&server, 1).await, Link::up(&server, 2).await);
    let key = Key::new("k").unwrap();
    assert!(granted(&a.one(a.ask("k")).await));
    b.send(vec![b.ask("k")]);
    let ask = AskId { incarnation: b.incarnation, seq: 1 };
    let recall = Push::Recall { key: key.clone(), ask };
    while !matches!(a.event().await, StoreEvent::Push(push) if push == recall) {}
    let free_in = Some(Duration::from_secs(7));
    a.send(vec![Op::Tell(Tell { key: key.clone(), ask, free_in }), a.give_back("k")]);
    for wanted in [Push::Busy { key: key.clone(), ask, free_in }, Push::Offer { key, ask }] {
        loop {
            if let StoreEvent::Push(push) = b.event().await {
                assert_eq!(push, wanted);
                break;
            }
        }
    }
    assert!(granted(&b.one(b.ask("k")).await));
}

#[tokio::test]
async fn after_a_crash_every_call_has_one_outcome_and_grants_resume() {
    let mut server = Server::start(&[]);
    let mut link = Link::up(&server, 1).await;
    server.kill();
    let reason = link.await_down().await;
    assert!(!reason.is_empty());
    let outcome = link.one(link.ask("k")).await;
    assert_eq!(
        outcome,
        Outcome::NotApplied(Fault::Down),
        "nothing is written to a connection that is not there"
    );
    server.restart();
    let back = Instant::now();
    link.await_up().await;
    assert!(granted(&link.one(link.ask("k")).await));
    assert!(back.elapsed() < Duration::from_secs(2), "{:?}", back.elapsed());
}

#[tokio::test]
async fn calls_under_way_when_the_connection_breaks_are_unknown() {
    let server = Server::start(&[]);
    let mut link = Link::up(&server, 1).await;
    server.signal("-STOP");
    // The first two pipelines are written, what gathers meanwhile is not.
    let first = link.send(vec![link.ask("a")]);
    tokio::task::yield_now().await;
    let asked = Instant::now();
    let mut outcomes = BTreeMap::new();
    let mut ids = first.clone();
    while outcomes.len() < ids.len() {
        match link.event().await {
            StoreEvent::Answer { call, outcome } => drop(outcomes.insert(call, outcome)),
            StoreEvent::Down { .. } => ids.extend(link.send(vec![link.ask("b")])),
            other => panic!("{other:?}"),
        }
    }
    assert!(asked.elapsed() < NOTICED, "noticed within a quarter of the TTL");
    assert_eq!(outcomes[&first[0]], Outcome::Unknown(Fault::Down));
    assert_eq!(outcomes[ids.last().unwrap()], Outcome::NotApplied(Fault::Down));
    server.signal("-CONT");
    let back = Instant::now();
    link.await_up().await;
    assert!(granted(&link.one(link.ask("c")).await));
    assert!(back.elapsed() < Duration::from_secs(2), "{:?}", back.elapsed());
}

/// How long a Redis of which nothing is asked is silent before that is noticed.
async fn silence() -> Duration {
    let server = Server::start(&[]);
    let mut link = Link::up(&server, 1).await;
    server.signal("-STOP");
    let stopped = Instant::now();
    link.await_down().await;
    let silence = stopped.elapsed();
    server.signal("-CONT");
    link.await_up().await;
    silence
}

#[tokio::test]
async fn a_silent_redis_is_noticed_though_nothing_is_asked() {
    let defaults = RedisConfig::new("redis://nowhere");
    assert!(defaults.ping_interval + defaults.response_timeout < NOTICED);
    // A busy machine is late now and then; who is late each time waits for too long.
    let mut tries: Vec<Duration> = Vec::new();
    while tries.last().is_none_or(|silence| *silence >= NOTICED) {
        assert!(tries.len() < 3, "{tries:?}");
        tries.push(silence().await);
    }
}

#[tokio::test]
async fn a_killed_connection_comes_back_subscribed() {
    let server = Server::start(&[]);
    let (mut a, mut b) = (Link::up(&server, 1).await, Link::up(&server, 2).await);
    let _: u64 = command(&server, "CLIENT KILL TYPE pubsub").await;
    a.await_up().await;
    b.await_up().await;
    assert!(granted(&a.one(a.ask("k")).await));
    assert!(applied(&b.one(b.ask("k")).await));
    while !matches!(a.event().await, StoreEvent::Push(Push::Recall { .. })) {}
}

#[tokio::test]
async fn a_tombstone_alone_is_soon_forgotten() {
    let server = Server::start(&[]);
    let mut link = Link::up(&server, 1).await;
    let tombstone = Some(link.at + REFUSE_AFTER);
    let id = AskId { incarnation: link.incarnation, seq: 1 };
    let key = Key::new("given-up").unwrap();
    assert!(applied(&link.one(Op::Withdraw(Withdraw { key, id, keep: 0, tombstone })).await));
    let name: Vec<String> = command(&server, "KEYS *").await;
    let left: i64 = command(&server, &format!("PTTL {}", name[0])).await;
    assert!((1..=60_000).contains(&left), "{left} ms");
}

#[tokio::test]
async fn an_idle_link_sends_one_ping_an_interval() {
    let server = Server::start(&[]);
    let interval = Duration::from_millis(50);
    let config = RedisConfig { ping_interval: interval, ..RedisConfig::new(server.url()) };
    let mut link = Link::start(config, 1);
    link.await_up().await;
    let begun = Instant::now();
    loop {
        let (pings, span) = pings_of_a_while(&server).await;
        let intervals = span.as_millis() / interval.as_millis();
        assert!(pings <= intervals + 1, "{pings} pings in {span:?}");
        // Where the machine was late, they are counted once more.
        if pings >= intervals / 2 {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{pings} pings in {span:?}");
    }
}

/// How many pings came in half a second, and how long that was here. Nothing else came.
async fn pings_of_a_while(server: &Server) -> (u128, Duration) {
    let since = Instant::now();
    let () = command(server, "CONFIG RESETSTAT").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let stats: String = command(server, "INFO commandstats").await;
    let span = since.elapsed();
    // Connections of this test say what they are, where the server is new enough to want to know.
    let ours = stats.lines().filter(|line| !line.contains("cmdstat_client|setinfo"));
    let commands: Vec<&str> =
        ours.filter_map(|line| line.strip_prefix("cmdstat_")?.split(':').next()).collect();
    assert!(
        commands.iter().all(|name| matches!(*name, "ping" | "config|resetstat" | "hello")),
        "{commands:?}"
    );
    let calls = |line: &str| line.split(['=', ',']).nth(1).and_then(|n| n.parse::<u128>().ok());
    let pings = stats.lines().find(|line| line.starts_with("cmdstat_ping")).and_then(calls);
    (pings.unwrap_or(0), span)
}

#[tokio::test]
async fn eviction_is_warned_of() {
    let server = Server::start(&["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"]);
    let mut link = Link::start(RedisConfig::new(server.url()), 1);
    let StoreEvent::Warning(text) = link.event().await else { panic!("no warning") };
    assert!(text.contains("allkeys-lru") && text.contains("noeviction"), "{text}");
    link.await_up().await;
}

/// What it evicts it knows nothing of afterwards, and by its marker it knows that nothing was lost.
#[tokio::test]
async fn nobody_is_promised_strict_by_a_redis_that_evicts() {
    for (policy, is_strict) in [("volatile-ttl", false), ("allkeys-lru", false), ("noeviction", true)] {
        let server = Server::start(&["--maxmemory", "100mb", "--maxmemory-policy", policy]);
        let strict = Some(Duration::from_secs(10));
        let mut link = Link::start(RedisConfig { strict, ..RedisConfig::new(server.url()) }, 1);
        let StoreEvent::Strict(promise) = link.event().await else { panic!("nothing is said of strict") };
        assert_eq!(promise.is_ok(), is_strict, "{policy}: {promise:?}");
        assert!(promise.is_ok() || promise.unwrap_err().contains("noeviction"));
    }
}

#[tokio::test]
async fn dropping_the_handle_ends_the_task_when_all_is_answered() {
    let server = Server::start(&[]);
    let mut link = Link::up(&server, 1).await;
    let ops = (0..500).map(|n| link.ask(&format!("key/{n}"))).collect();
    link.send(ops);
    drop(link.handle);
    let mut answers = 0;
    while let Some(event) = timeout(PATIENCE, link.events.recv()).await.unwrap() {
        answers += u32::from(matches!(event, StoreEvent::Answer { .. }));
    }
    assert_eq!(answers, 500);
}
