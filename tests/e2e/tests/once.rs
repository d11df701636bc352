//! Once per window, between real processes: over memory, and over Redis with two sidecars.
//!
//! The promise is at most one successful finish per window, and exactly one who runs at a time (P18).

use sidelock_client::{Client, Code, Entered, Error, Outcome, Turn, Window};
use sidelock_e2e::process::{Process, run, until};
use sidelock_e2e::redis::Redis;
use sidelock_e2e::sidecar::{Sidecar, command};
use sidelock_e2e::{PATIENCE, folder};
use std::fs;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

const HOUR: Window = Window { per: Duration::from_secs(3_600), align: sidelock_client::Align::Rolling };

/// Sidecars that share a store.
struct Place {
    sidecars: Vec<Sidecar>,
    redis: Option<Redis>,
}

impl Place {
    fn memory() -> Place {
        Place { sidecars: vec![Sidecar::on_memory()], redis: None }
    }

    fn redis() -> Place {
        let redis = Redis::start();
        let sidecars = vec![Sidecar::connected_to(&redis), Sidecar::connected_to(&redis)];
        Place { sidecars, redis: Some(redis) }
    }

    fn sidecar(&self, number: usize) -> &Sidecar {
        &self.sidecars[number % self.sidecars.len()]
    }

    async fn client(&self, number: usize) -> Client {
        Client::connect(self.sidecar(number).socket()).await.expect("the sidecar listens")
    }
}

/// Plays a case over both stores.
fn everywhere(case: impl AsyncFn(&Place)) {
    for place in [Place::memory(), Place::redis()] {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("the system gives a runtime").block_on(case(&place));
    }
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it comes soon")
}

async fn won(client: &Client, key: &str) -> Turn {
    match soon(client.once(key, HOUR).enter()).await.expect("it is answered") {
        Entered::Won(turn) => turn,
        Entered::Done(outcome) => panic!("done by somebody: {outcome:?}"),
    }
}

async fn done(client: &Client, key: &str) -> Outcome {
    match soon(client.once(key, HOUR).enter()).await.expect("it is answered") {
        Entered::Done(outcome) => outcome,
        Entered::Won(turn) => panic!("nobody did {}", turn.key()),
    }
}

fn entering(client: &Client, key: &str) -> JoinHandle<sidelock_client::Result<Entered>> {
    let once = client.once(key, HOUR);
    tokio::spawn(async move { once.enter().await })
}

/// Waits until so many wait for a turn, all sidecars together.
async fn until_waiting(place: &Place, waiters: u64) {
    let of = |sidecar: &Sidecar| sidecar.get("/v1/info").json()["waiters"].as_u64().expect("a number");
    let begun = Instant::now();
    while place.sidecars.iter().map(of).sum::<u64>() != waiters {
        assert!(begun.elapsed() < PATIENCE, "the others do not wait");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// The case that started this project: 100 runs over two keys in one window, and the body runs twice.
#[test]
fn a_hundred_calls_over_two_keys_run_the_body_twice() {
    everywhere(async |place| {
        let bodies = Arc::new(AtomicU32::new(0));
        let mut calls = Vec::new();
        for number in 0..100 {
            let (client, bodies) = (place.client(number).await, bodies.clone());
            calls.push(tokio::spawn(async move {
                let key = format!("key {}", number % 4 / 2);
                let body = async |_turn| {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    Ok::<_, Error>(bodies.fetch_add(1, Ordering::SeqCst).to_le_bytes())
                };
                (number % 4 / 2, client.once(key, HOUR).run(body).await.expect("answered").expect("no error"))
            }));
        }
        let mut results = [const { None }; 2];
        for call in calls {
            let (key, result) = soon(call).await.expect("no call fails");
            assert_eq!(results[key].get_or_insert(result.clone()), &result, "one result per key");
        }
        assert_eq!(bodies.load(Ordering::SeqCst), 2);
        assert_ne!(results[0], results[1]);
    });
}

/// A stampede in one process: all its followers get the result in one turn of the sidecar, over one connection, and it is
/// more than a connection may leave unread.
#[test]
fn a_hundred_followers_on_one_connection_all_get_a_result_of_64_kib() {
    everywhere(async |place| {
        let client = place.client(0).await;
        let turn = won(&place.client(1).await, "page").await;
        let followers: Vec<_> = (0..100).map(|_| entering(&client, "page")).collect();
        until_waiting(place, 100).await;
        let page = vec![7; 65_536];
        turn.finish(&page).await.expect("it is ours");
        for follower in followers {
            let entered = soon(follower).await.expect("no task fails").expect("its session lives");
            assert!(matches!(&entered, Entered::Done(outcome) if **outcome == *page), "{entered:?}");
        }
        // And all who ask at once when it is done.
        let late: Vec<_> = (0..100).map(|_| entering(&client, "page")).collect();
        for asked in late {
            let entered = soon(asked).await.expect("no task fails").expect("its session lives");
            assert!(matches!(&entered, Entered::Done(outcome) if **outcome == *page), "{entered:?}");
        }
        // The client would come back and go on: it is to be no reason to send it away.
        let said = place.sidecar(0).output();
        assert!(!said.contains("slow_reader"), "{said}");
    });
}

#[test]
fn of_those_who_wait_for_a_runner_that_is_killed_exactly_one_is_promoted() {
    everywhere(async |place| {
        let folder = folder();
        let started = folder.path().join("started");
        let mut runner = command(["once", "k", "--per", "1h", "--"]);
        runner.args(["sh", "-c", "touch \"$1\"; exec sleep 60", "sh"]).arg(&started);
        runner.env("SIDELOCK_SOCKET", place.sidecar(0).socket());
        let mut runner = Process::spawn(runner);
        until(PATIENCE, "the command runs", || started.exists().then_some(()));
        let mut waiters = Vec::new();
        for number in 0..6 {
            waiters.push(entering(&place.client(number).await, "k"));
        }
        until_waiting(place, 6).await;
        runner.kill();
        let (promoted, _) = until_one_is_done(&mut waiters).await;
        let Entered::Won(turn) = promoted else { panic!("nobody finished: {promoted:?}") };
        assert!(waiters.iter().all(|waiter| !waiter.is_finished()), "the others wait on");
        turn.finish("done after all").await.expect("it is the turn");
        for waiter in waiters {
            let entered = soon(waiter).await.expect("no task fails").expect("answered");
            assert!(
                matches!(&entered, Entered::Done(outcome) if &**outcome == b"done after all"),
                "{entered:?}"
            );
        }
    });
}

/// The first that is answered, taken out.
async fn until_one_is_done(
    waiters: &mut Vec<JoinHandle<sidelock_client::Result<Entered>>>,
) -> (Entered, usize) {
    let begun = Instant::now();
    loop {
        if let Some(index) = waiters.iter().position(JoinHandle::is_finished) {
            let entered = waiters.remove(index).await.expect("no task fails").expect("answered");
            return (entered, index);
        }
        assert!(begun.elapsed() < PATIENCE, "nobody is promoted");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[test]
fn a_body_that_fails_lets_the_next_run() {
    everywhere(async |place| {
        let (first, second) = (place.client(0).await, place.client(1).await);
        let failed = first.once("k", HOUR).run(async |_turn| Err::<&str, _>("no")).await.expect("answered");
        assert_eq!(failed, Err("no"));
        let ran = second.once("k", HOUR).run(async |_turn| Ok::<_, &str>("yes")).await.expect("answered");
        assert_eq!(ran, Ok(b"yes".to_vec()));
        let skipped = first.once("k", HOUR).run(async |_turn| Err::<&str, _>("no")).await.expect("answered");
        assert_eq!(skipped, Ok(b"yes".to_vec()));
        // A turn that is dropped is given back, too.
        drop(won(&first, "dropped").await);
        won(&second, "dropped").await.give_back().await.expect("it is ours");
        won(&first, "dropped").await.finish([]).await.expect("it is ours");
        assert!(done(&second, "dropped").await.is_empty());
    });
}

#[test]
fn a_window_ends_where_it_should() {
    everywhere(async |place| {
        let client = place.client(0).await;
        let short = Duration::from_millis(300);
        for window in [Window::rolling(short), Window::utc(short)] {
            let enter = async |number: usize| {
                let once = place.client(number).await.once(format!("{window:?}"), window);
                soon(once.enter()).await.expect("it is answered")
            };
            let Entered::Won(turn) = enter(0).await else { panic!("it is done before it was begun") };
            turn.finish("first").await.expect("it is ours");
            let begun = Instant::now();
            let again = loop {
                let asked = begun.elapsed();
                match enter(1).await {
                    Entered::Done(outcome) => assert_eq!(&*outcome, b"first"),
                    Entered::Won(turn) => break turn,
                }
                // The store's clock counts the window, in whole milliseconds, and began before.
                assert!(asked <= short + Duration::from_millis(5), "still done when asked after {asked:?}");
            };
            let late = begun.elapsed().saturating_sub(short);
            assert!(late < Duration::from_secs(1), "{late:?} after the end of the window");
            again.finish("second").await.expect("it is ours");
        }
        // By the store's clock, which is this host's: the next one begins at a whole minute.
        let minute = Window::utc(Duration::from_secs(60));
        let path = "/v1/once/minute";
        let turn = place.sidecar(0).request("POST", path, r#"{"per":"60s","align":"utc"}"#).json();
        let lease = turn["lease"]["lease"].as_str().expect("it is won").to_owned();
        let finished = place.sidecar(0).request("PUT", &format!("/v1/leases/{lease}/result"), "x").json();
        assert_eq!(finished["window_end"].as_u64().map(|end| end % 60_000), Some(0), "{finished}");
        let left = client.once("minute", minute).enter().await.expect("answered");
        assert!(matches!(left, Entered::Done(outcome) if &*outcome == b"x"));
    });
}

#[test]
fn what_is_done_stays_done_when_sidecars_restart() {
    let place = Place::redis();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        won(&place.client(0).await, "k").await.finish("paid").await.expect("it is ours");
        let redis = place.redis.as_ref().expect("a place with one");
        let fresh = Sidecar::connected_to(redis);
        let client = Client::connect(fresh.socket()).await.expect("it listens");
        let outcome = done(&client, "k").await;
        assert_eq!(&*outcome, b"paid");
        let age = std::time::SystemTime::now().duration_since(outcome.finished_at).expect("in the past");
        assert!(age < PATIENCE, "{age:?}");
    });
}

#[test]
fn a_runner_whose_sidecar_dies_is_followed_by_another() {
    let mut place = Place::redis();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let lost = won(&place.client(0).await, "k").await;
        let waiter = entering(&place.client(1).await, "k");
        until_waiting(&place, 1).await;
        drop(place.sidecars.remove(0));
        let entered = waiter.await.expect("no task fails").expect("within the tenure's time to live");
        let Entered::Won(turn) = entered else { panic!("{entered:?}") };
        assert!(turn.fence() > lost.fence());
        assert!(!lost.is_valid());
        let refused = soon(lost.finish("late")).await.expect_err("it is lost");
        assert!(matches!(refused, Error::LeaseLost { .. }), "{refused:?}");
        turn.finish("done").await.expect("it is ours");
    });
}

#[test]
fn wrong_use_is_told() {
    everywhere(async |place| {
        let client = place.client(0).await;
        let code = |error: Error| error.code().expect("a code");
        for per in [Duration::ZERO, Duration::from_secs(367 * 86_400)] {
            let error = client.once("k", Window::rolling(per)).enter().await.expect_err("no window");
            assert!(error.to_string().contains("1ms to 366d"), "{error}");
        }
        let large = vec![7; 65_537];
        let error = won(&client, "k").await.finish(&large).await.expect_err("it is too large");
        assert_eq!(code(error), Code::TooLarge);
        won(&client, "k").await.finish(&large[1..]).await.expect("it just fits");
        assert_eq!(done(&client, "k").await.len(), 65_536);
        let running = won(&client, "held").await;
        assert!(client.once("held", HOUR).try_enter().await.expect("answered").is_none());
        let error = client.once("held", HOUR).wait(Duration::from_millis(50)).enter().await;
        assert_eq!(code(error.expect_err("somebody is at it")), Code::WaitTimeout);
        // Locks are another name space.
        let lock = client.lock("held").try_acquire().await.expect("answered").expect("free");
        lock.release().await.expect("it is ours");
        running.give_back().await.expect("it is ours");
    });
}

/// The verb: success counts, failure does not, and who waits skips.
#[test]
fn the_command_line_runs_once() {
    for place in [Place::memory(), Place::redis()] {
        let folder = folder();
        let log = folder.path().join("log");
        let once = |number: usize, script: &str| {
            let mut verb = command(["once", "job", "--per", "1h", "--", "sh", "-c", script, "sh"]);
            verb.arg(&log).env("SIDELOCK_SOCKET", place.sidecar(number).socket());
            verb
        };
        let (code, said) = run(once(0, "echo failed >> \"$1\"; exit 7"));
        assert_eq!(code, 7, "{said}");
        let ran = "echo $SIDELOCK_KEY >> \"$1\"; sleep 0.3";
        let crowd: Vec<_> = (0..6).map(|number| Process::spawn(once(number, ran))).collect();
        for mut process in crowd {
            assert_eq!(process.code(), 0, "{}", process.output());
        }
        assert_eq!(fs::read_to_string(&log).expect("written"), "failed\njob\n");
        let (code, said) = run(once(1, "echo again >> \"$1\""));
        assert_eq!(code, 0, "{said}");
        assert!(
            said.starts_with("sidelock: \"job\" was done at ") && said.ends_with(" s ago: skipped"),
            "{said}"
        );
        assert_eq!(fs::read_to_string(&log).expect("written"), "failed\njob\n");
    }
}

/// After the first answer a skip does not leave the sidecar.
#[test]
fn an_undisturbed_skip_asks_nobody() {
    let place = Place::redis();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        won(&place.client(0).await, "k").await.finish("paid").await.expect("it is ours");
        let other = place.client(1).await;
        assert_eq!(&*done(&other, "k").await, b"paid");
        let redis = place.redis.as_ref().expect("a place with one");
        let before = redis.info("stats", "total_net_input_bytes");
        for _ in 0..100 {
            assert_eq!(&*done(&other, "k").await, b"paid");
        }
        // Pings of the links, and our own questions; a hundred asks would be 20 000 bytes.
        let sent = redis.info("stats", "total_net_input_bytes") - before;
        assert!(sent < 5_000, "{sent} bytes");
    });
}
