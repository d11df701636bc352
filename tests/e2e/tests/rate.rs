//! Rates: never more than the limit in any window, wherever it begins, over all sidecars of a store, whatever becomes of
//! clients and sidecars; and all of it can be used.
//!
//! A grant's instant is its sidecar's: the end of its lease, which the grant tells, less the rate's `per`. All sidecars
//! of a test are on one host and so on one clock.

use serde_json::Value;
use sidelock_client::Client;
use sidelock_e2e::PATIENCE;
use sidelock_e2e::frames::{Peer, try_lock};
use sidelock_e2e::process::until;
use sidelock_e2e::redis::Redis;
use sidelock_e2e::sidecar::Sidecar;
use sidelock_wire::{Acquire, LeaseName, Life, Mode, ToClient, ToSidecar};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

const PER: Duration = Duration::from_secs(1);
const LIMIT: u32 = 20;
/// Clients of a sidecar that always want a permit.
const CLIENTS: usize = 2;
/// How late three of four permits are granted again at most, while somebody always wants them: five percent of the rate. One goes
/// to what clocks may differ.
const LATE_MAX: Duration = Duration::from_millis(50);

fn one_permit(request: u64, key: &str) -> Acquire<'_> {
    let mode = Mode::Permits { permits: 1, limit: LIMIT };
    Acquire { mode, per: Some(PER), ..try_lock(request, key) }
}

/// Takes permits, one after the other, until the time is over or its sidecar is gone: when each was granted, in
/// nanoseconds of `CLOCK_BOOTTIME`. Some are released at once, the others left to their end.
fn takes_permits(socket: &Path, time: Duration) -> Vec<u64> {
    let mut peer = Peer::greeted(socket);
    let begun = Instant::now();
    let mut granted = Vec::new();
    for request in 1.. {
        let wait = Some(time.saturating_sub(begun.elapsed()));
        peer.say(&ToSidecar::Acquire(Acquire { wait, ..one_permit(request, "api") }));
        let mut end = None;
        peer.hears("the answer to an acquire", |message| match message {
            ToClient::Granted(grant) if grant.request == request => {
                end = Some(grant.cap_ns.expect("a rate's lease has an end"));
                true
            }
            ToClient::Refused(refused) => refused.request == request,
            _ => false,
        });
        let Some(end) = end else { break };
        granted.push(end - u64::try_from(PER.as_nanos()).expect("a second"));
        if request % 2 == 0 {
            peer.say(&ToSidecar::Release { request: u64::MAX, lease: LeaseName::Session(request) });
        }
    }
    granted
}

/// Everybody takes as much as there is, and `meanwhile` happens. All grants, in order, after a look at them.
fn everybody(sidecars: &[&Sidecar], time: Duration, meanwhile: impl FnOnce()) -> Vec<u64> {
    let mut granted: Vec<u64> = thread::scope(|scope| {
        let clients: Vec<_> = sidecars
            .iter()
            .flat_map(|sidecar| (0..CLIENTS).map(|_| sidecar.socket()))
            .map(|socket| scope.spawn(move || takes_permits(socket, time)))
            .collect();
        meanwhile();
        clients.into_iter().flat_map(|client| client.join().expect("no client fails")).collect()
    });
    is_kept(&mut granted);
    granted
}

/// Puts the grants in order. No window has more of them than the limit.
fn is_kept(granted: &mut [u64]) {
    granted.sort_unstable();
    for window in granted.windows(LIMIT as usize + 1) {
        let span = Duration::from_nanos(window[LIMIT as usize] - window[0]);
        assert!(span >= PER, "{} grants within {span:?}", LIMIT + 1);
    }
}

/// The most grants that came within so long.
fn most_granted(granted: &[u64], span: Duration) -> usize {
    let span = u64::try_from(span.as_nanos()).expect("seconds");
    let within = |(first, at): (usize, &u64)| granted[first..].partition_point(|grant| grant - at <= span);
    granted.iter().enumerate().map(within).max().unwrap_or(0)
}

/// All of the rate was used: each permit was granted again as soon as it was back. Each return is judged by itself: a waste in the
/// way it is done makes all of them late, a stall of the machine a few.
fn is_used(granted: &[u64]) -> String {
    let lag = |window: &[u64]| Duration::from_nanos(window[LIMIT as usize] - window[0]).saturating_sub(PER);
    let mut lags: Vec<Duration> = granted.windows(LIMIT as usize + 1).map(lag).collect();
    lags.sort_unstable();
    assert!(lags.len() >= LIMIT as usize, "{} grants", granted.len());
    let [half, most] = [lags.len() / 2, lags.len() * 3 / 4].map(|place| lags[place]);
    assert!(most <= LATE_MAX, "three of four permits were granted again {most:?} after their return at most");
    // A permit that never comes back makes no other late. A stall that some two windows have, others have not.
    let most = most_granted(granted, PER * 2 + LATE_MAX * 2);
    assert!(
        most * 20 >= LIMIT as usize * 3 * 19,
        "in no two windows were more than {most} granted, of {}",
        3 * LIMIT
    );
    format!("{} grants, half of them {half:.1?} after a return at most", granted.len())
}

fn four_sidecars() -> (Redis, Vec<Sidecar>) {
    let redis = Redis::start();
    let sidecars = (0..4).map(|_| Sidecar::connected_to(&redis)).collect();
    (redis, sidecars)
}

fn is_kept_and_used(time: Duration) -> String {
    let (_redis, sidecars) = four_sidecars();
    let granted = everybody(&sidecars.iter().collect::<Vec<_>>(), time, || {});
    is_used(&granted)
}

#[test]
fn four_sidecars_never_exceed_a_rate_and_use_it() {
    is_kept_and_used(Duration::from_millis(4_500));
}

#[test]
#[ignore = "the same for half a minute, to be measured: cargo test --test rate -- --ignored --nocapture"]
fn four_sidecars_never_exceed_a_rate_for_half_a_minute() {
    println!("{}", is_kept_and_used(Duration::from_secs(30)));
}

#[test]
fn one_sidecar_on_the_memory_store_never_exceeds_a_rate_and_uses_it() {
    let sidecar = Sidecar::on_memory();
    let granted = everybody(&[&sidecar], Duration::from_millis(3_500), || {});
    is_used(&granted);
}

#[test]
fn a_killed_sidecar_frees_nothing_before_its_time() {
    let (_redis, mut sidecars) = four_sidecars();
    let mut victim = sidecars.pop().expect("four");
    let before = everybody(&[&victim], Duration::from_millis(300), || {});
    assert!(!before.is_empty());
    let all: Vec<&Sidecar> = sidecars.iter().collect();
    let socket = victim.socket().to_owned();
    let mut granted = thread::scope(|scope| {
        let hers = scope.spawn(move || takes_permits(&socket, Duration::from_secs(2)));
        let mut granted = everybody(&all, Duration::from_secs(4), || {
            thread::sleep(Duration::from_millis(500));
            victim.kill();
        });
        granted.extend(hers.join().expect("her client ends with her"));
        granted.extend(&before);
        granted
    });
    is_kept(&mut granted);
}

#[test]
fn over_http_the_units_come_back_by_the_clock() {
    let sidecar = Sidecar::on_memory();
    let take = |body: &str| sidecar.request("POST", "/v1/semaphores/mail", body);
    let begun = Instant::now();
    let first = take(r#"{"limit":2,"permits":2,"per":"2s"}"#).json();
    assert!(first["expires_in"].as_f64().expect("seconds") <= 2.0, "{first}");
    sidecar.unlock(&first);
    assert_eq!(take(r#"{"limit":2,"per":"2s"}"#).code(), "held", "released, and not back yet");
    let state = sidecar.get("/v1/locks/mail").json();
    assert_eq!(state["cooling"]["permits"], 2, "{state}");
    assert!(state["why"].as_str().expect("a sentence").contains("come back by the clock"), "{state}");
    let second = take(r#"{"limit":2,"per":"2s","wait":"5s"}"#);
    assert_eq!(second.status, 200, "{second:?}");
    assert!(begun.elapsed() >= Duration::from_secs(2), "after {:?}", begun.elapsed());
}

/// Over HTTP and at the command line a lease has a ttl: that a rate's runs out is how it is used.
#[test]
fn a_timed_lease_of_a_rate_that_runs_out_is_no_lost_one() {
    let sidecar = Sidecar::on_memory();
    let body = r#"{"limit":2,"per":"1m","ttl":"100ms"}"#;
    let lease = sidecar.request("POST", "/v1/semaphores/mail", body).json();
    let path = format!("/v1/leases/{}", lease["lease"].as_str().expect("an id"));
    until(PATIENCE, "it runs out", || (sidecar.get(&path).status == 404).then_some(()));
    assert_eq!(sidecar.request("DELETE", &path, "").status, 204);
    let lost = "\nsidelock_leases_lost_total{reason=\"expired\"} 0\n";
    let metrics = sidecar.get("/metrics").body;
    assert!(metrics.contains(lost), "{metrics}");
    assert_eq!(sidecar.get("/v1/locks/mail").json()["cooling"]["permits"], 1);
}

#[test]
fn a_rate_that_makes_no_sense_is_refused_with_what_is_allowed() {
    let sidecar = Sidecar::configured("[limits]\nrate_per_max = \"1m\"\n", &["--store", "memory"]);
    let says = "100ms (ttl_min) to 1m (rate_per_max) are allowed";
    for per in ["99ms", "61s"] {
        let answer = sidecar.request("POST", "/v1/semaphores/k", &format!(r#"{{"limit":1,"per":"{per}"}}"#));
        assert_eq!((answer.status, answer.code().as_str()), (400, "bad_request"), "{answer:?}");
        assert_eq!(answer.json()["field"], "per");
        assert!(answer.body.contains(says), "{answer:?}");
        let (code, said) = sidecar.verb(["lock", "k", "--limit", "1", "--per", per]);
        assert_eq!(code, 2, "{said}");
        assert!(said.contains("rate_per_max"), "{said}");
    }
    let mut peer = Peer::greeted(sidecar.socket());
    let lock = Acquire { per: Some(PER), ..try_lock(1, "k") };
    let (code, message) = peer.answer(lock);
    assert_eq!(code, "bad_request", "{message}");
    assert!(message.contains("is for permits"), "{message}");
}

#[test]
fn a_timed_permit_of_a_rate_ends_and_is_not_lost() {
    let sidecar = Sidecar::on_memory();
    let lease = sidecar.request("POST", "/v1/semaphores/k", r#"{"limit":1,"per":"300ms","ttl":"1m"}"#).json();
    let path = format!("/v1/leases/{}", lease["lease"].as_str().expect("a lease has an id"));
    until(Duration::from_secs(5), "the lease has ended", || (sidecar.get(&path).status == 404).then_some(()));
    sidecar.unlock(&lease);
    let mut peer = Peer::greeted(sidecar.socket());
    let timed = Acquire { life: Life::Timed { ttl: Duration::from_secs(60) }, ..one_permit(1, "t") };
    assert_eq!(peer.acquires(timed), "granted");
}

#[test]
fn run_starts_its_command_by_a_rate_and_lets_it_finish() {
    let sidecar = Sidecar::on_memory();
    let run = |command: &[&str]| {
        let rate = ["run", "k", "--limit", "1", "--per", "500ms", "--wait", "5s", "--"];
        sidecar.verb(rate.iter().chain(command))
    };
    let begun = Instant::now();
    // It outlives the time of its permit, which is no loss.
    let (code, said) = run(&["sh", "-c", "sleep 0.7; echo done"]);
    assert_eq!((code, said.trim()), (0, "done"));
    let second = Instant::now();
    assert_eq!(run(&["true"]).0, 0);
    assert_eq!(run(&["true"]).0, 0, "and the third waits for the second's time");
    assert!(begun.elapsed() >= Duration::from_millis(1_200), "after {:?}", begun.elapsed());
    assert!(second.elapsed() >= Duration::from_millis(500), "after {:?}", second.elapsed());
}

#[test]
fn ls_shows_permits_on_their_way_back() {
    let sidecar = Sidecar::on_memory();
    let lease = sidecar.request("POST", "/v1/semaphores/k", r#"{"limit":3,"per":"1m"}"#).json();
    sidecar.unlock(&lease);
    let (code, said) = sidecar.verb(["ls", "-o", "json"]);
    let listing: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!((code, &listing["keys"][0]["cooling"]["permits"]), (0, &Value::from(1)), "{said}");
}

/// A case with one sidecar for both sides, and with two of one fleet.
fn places(case: impl Fn(&Sidecar, &Sidecar)) {
    let alone = Sidecar::on_memory();
    case(&alone, &alone);
    let redis = Redis::start();
    case(&Sidecar::connected_to(&redis), &Sidecar::connected_to(&redis));
}

#[test]
fn who_finds_all_units_used_is_told_when_the_next_is_back() {
    places(|here, there| {
        let take = |sidecar: &Sidecar, body: &str| sidecar.request("POST", "/v1/semaphores/mail", body);
        let begun = Instant::now();
        assert_eq!(take(here, r#"{"limit":2,"per":"1m"}"#).status, 200);
        // Whether it is still held or not makes no difference.
        here.unlock(&take(here, r#"{"limit":2,"per":"1m"}"#).json());
        for (body, code) in [("0s", "held"), ("200ms", "wait_timeout")] {
            let answer = take(there, &format!(r#"{{"limit":2,"per":"1m","wait":"{body}"}}"#));
            assert_eq!((answer.status, answer.code().as_str()), (409, code), "{answer:?}");
            let problem = answer.json();
            let detail = problem["detail"].as_str().expect("a sentence");
            assert!(detail.contains("all 2 units of the rate are used; the next is free in "), "{detail}");
            // Units of a fleet stay bound for a hundredth more, for clocks that differ.
            let left = 60.6 - begun.elapsed().as_secs_f64();
            let told = problem["retry_after"].as_f64().expect("seconds");
            assert!(told > left - 1.0 && told < left + 5.0, "{told} of {left}: {answer:?}");
            assert_eq!(answer.header("retry-after"), Some(told.ceil().to_string().as_str()), "{answer:?}");
        }
        let mut peer = Peer::greeted(there.socket());
        let mode = Mode::Permits { permits: 1, limit: 2 };
        let acquire = Acquire { mode, per: Some(60 * PER), ..try_lock(1, "mail") };
        peer.say(&ToSidecar::Acquire(acquire));
        let mut retry_after = None;
        peer.hears("a refusal", |message| {
            let ToClient::Refused(refused) = message else { return false };
            retry_after = refused.detail.retry_after;
            true
        });
        assert!(retry_after.is_some_and(|span| span > 50 * PER), "{retry_after:?}");
        let (code, said) =
            there.verb(["run", "mail", "--limit", "2", "--per", "1m", "--wait", "0", "--", "true"]);
        assert!(code == 3 && said.contains("the next is free in "), "{code}: {said}");
        let (code, said) = there.verb(["lock", "mail", "--limit", "2", "--per", "1m", "--wait", "0"]);
        assert!(code == 3 && said.contains("the next is free in "), "{code}: {said}");
    });
}

#[test]
fn the_sdk_waits_as_long_as_it_was_told_and_no_longer() {
    places(|here, there| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("the system gives a runtime").block_on(async {
            let first = Client::connect(here.socket()).await.expect("the sidecar listens");
            let second = Client::connect(there.socket()).await.expect("the sidecar listens");
            first.rate("mail", 1, PER).await.expect("nobody was before").release().await.expect("it is ours");
            let once = second.rate("mail", 1, PER).permits(1).wait(Duration::ZERO).await;
            let told = once.expect_err("it is used").retry_after().expect("it says when");
            assert!(told > PER / 10 && told < PER * 2, "{told:?}");
            tokio::time::sleep(told).await;
            // What was freed at another sidecar takes some hops to come here.
            let again = second
                .rate("mail", 1, PER)
                .permits(1)
                .wait(PER / 2)
                .await
                .expect("it is back when it was said to be");
            assert!(again.is_valid());
        });
    });
}
