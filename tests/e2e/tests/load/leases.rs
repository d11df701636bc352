//! A million leases at a time.

use crate::crowd::{Crowd, key};
use crate::figures::{Bystander, Memory, count, measured, percentile, rate, sized, within};
use sidelock_e2e::PATIENCE;
use sidelock_e2e::process::until;
use sidelock_e2e::redis::Redis;
use sidelock_e2e::sidecar::Sidecar;
use std::time::{Duration, Instant};

/// What a held lease costs at most, with its key, its tenure and all else that it needs; with the memory store also the
/// record. The goal is 250 bytes, and missed: a key's `Resource` alone has three hundred.
const BYTES_MAX: u64 = 650;
const BYTES_MAX_WITH_RECORD: u64 = 830;
/// What a renewal may cost the sidecar, and Redis, of what taking the lease cost them in the same run: machines differ, by more than
/// two between a good day and a bad one. Measured were 1.2 and 1.6.
const RENEWAL_COST_MAX: f64 = 2.5;
/// Renewals in a call while nothing else is asked, and how long that is looked at: those of 2 ms are 30 of 50 000 leases.
/// One by one, as each comes due, they left by eight to fifteen.
const GROUP_MIN: f64 = 24.0;
const ALONE: Duration = Duration::from_secs(2);
const LEASE: &str = "a held lease";

#[test]
fn a_million_leases_on_the_memory_store_are_cheap_and_end_with_their_sessions() {
    let leases = sized(1_000_000, 250_000);
    let sidecar = Sidecar::on_memory();
    drop(Crowd::holding(sidecar.socket(), 10));
    let memory = Memory::before(&sidecar);

    let start = Instant::now();
    let crowd = Crowd::holding(sidecar.socket(), leases);
    measured("leases taken and kept, memory store", rate(leases, start.elapsed()));
    assert_eq!(count(&sidecar, "leases"), leases);
    let mut bystander = Bystander::of(&sidecar, "memory");
    let mut samples: Vec<_> = (0..5_000).map(|_| bystander.takes_its_key()).collect();
    measured(
        format_args!("a bystander's acquire beside {leases} leases, p99"),
        format_args!("{:?}", percentile(&mut samples, 99)),
    );

    let bytes = memory.each(&sidecar, LEASE, leases);
    let start = Instant::now();
    drop(crowd);
    until(PATIENCE, "nothing is held", || (count(&sidecar, "leases") == 0).then_some(()));
    measured(
        format_args!("until {leases} leases of dead clients are free"),
        format_args!("{:?}", start.elapsed()),
    );
    until(PATIENCE, "idle tenures are given back", || (count(&sidecar, "keys") <= 1).then_some(()));
    memory.comes_back(&sidecar, "the leases");
    within(LEASE, bytes, BYTES_MAX_WITH_RECORD);
}

#[test]
fn a_hundred_thousand_leases_on_redis_are_renewed_for_little_and_none_is_lost() {
    let leases = sized(100_000, 50_000);
    let redis = Redis::start();
    let sidecar = Sidecar::connected_to(&redis);
    drop(Crowd::holding(sidecar.socket(), 10));
    let memory = Memory::before(&sidecar);
    let taking = Rounds::begin(&sidecar, &redis);
    let start = Instant::now();
    let crowd = Crowd::holding(sidecar.socket(), leases);
    measured("leases taken and kept, Redis", rate(leases, start.elapsed()));
    let taken = taking.end("taking", &sidecar, &redis, leases).1;
    assert_eq!(redis.command(&["DBSIZE"]), leases.to_string());
    let bytes = memory.each(&sidecar, LEASE, leases);

    renewals_go_in_groups(&sidecar);
    // Past this many held keys the time to live doubles, and with it the time between two renewals.
    let ttl = Duration::from_secs(if leases >= 100_000 { 20 } else { 10 });
    let rounds = Rounds::begin(&sidecar, &redis);
    let mut bystander = Bystander::of(&sidecar, "redis");
    let mut samples = Vec::new();
    let start = Instant::now();
    // Beside the bystander's, which takes a key and gives it back each time.
    let three_each = |samples: usize| 3.0 * leases as f64 + 2.0 * samples as f64;
    // Where the machine is held up, the third renewal of some comes later. To look costs the sidecar time, too.
    let is_missing =
        |samples: usize| !samples.is_multiple_of(100) || rounds.calls(&sidecar) < three_each(samples);
    while start.elapsed() < ttl + ttl / 10 || is_missing(samples.len()) && start.elapsed() < ttl * 3 / 2 {
        samples.push(bystander.takes(&key(leases + samples.len() as u64)));
        std::thread::sleep(Duration::from_millis(1));
    }
    let (calls, renewed) = rounds.end("renewing", &sidecar, &redis, leases);
    assert!(calls >= three_each(samples.len()), "{calls} operations are less than three rounds");
    for (who, (renewal, lease)) in ["the sidecar", "Redis"].into_iter().zip(renewed.into_iter().zip(taken)) {
        let cost = renewal / lease;
        println!(
            "measured: a renewal costs {who} {renewal:.1} µs of a processor, {cost:.2} of what the lease did"
        );
        assert!(cost <= RENEWAL_COST_MAX, "a renewal costs {who} {cost:.2} of what taking the lease did");
    }
    measured(
        format_args!("a bystander's cold acquire beside {leases} renewed leases, p50 and p99"),
        format_args!("{:?} {:?}", percentile(&mut samples, 50), percentile(&mut samples, 99)),
    );
    assert_eq!(count(&sidecar, "leases"), leases, "none is lost");

    let start = Instant::now();
    drop(crowd);
    until(PATIENCE, "nothing is held", || (count(&sidecar, "leases") == 0).then_some(()));
    measured(
        format_args!("until {leases} leases of dead clients are free here"),
        format_args!("{:?}", start.elapsed()),
    );
    until(PATIENCE, "Redis has no key", || (redis.command(&["DBSIZE"]) == "0").then_some(()));
    measured(format_args!("… and at Redis"), format_args!("{:?}", start.elapsed()));
    memory.comes_back(&sidecar, "the leases on Redis");
    within(LEASE, bytes, BYTES_MAX);
}

/// While nobody asks for anything else: one by one, as each comes due, they would leave by two or three where Redis is near.
fn renewals_go_in_groups(sidecar: &Sidecar) {
    let so_far =
        || ["sum", "count"].map(|what| metric(sidecar, &format!("sidelock_store_batch_size_{what}")));
    let before = so_far();
    std::thread::sleep(ALONE);
    let [renewals, calls] = [0, 1].map(|part| so_far()[part] - before[part]);
    measured("renewals alone in a call", format_args!("{:.0} of {renewals:.0}", renewals / calls));
    assert!(renewals / calls >= GROUP_MIN, "{renewals} renewals in {calls} calls");
}

/// What something costs while it goes on.
struct Rounds {
    start: Instant,
    sidecar: Duration,
    redis: Duration,
    calls: f64,
    batches: f64,
}

impl Rounds {
    fn begin(sidecar: &Sidecar, redis: &Redis) -> Rounds {
        Rounds {
            start: Instant::now(),
            sidecar: sidecar.processor_time(),
            redis: redis.running().processor_time(),
            calls: metric(sidecar, "sidelock_store_batch_size_sum"),
            batches: metric(sidecar, "sidelock_store_batch_size_count"),
        }
    }

    /// Operations so far.
    fn calls(&self, sidecar: &Sidecar) -> f64 {
        metric(sidecar, "sidelock_store_batch_size_sum") - self.calls
    }

    /// Operations, and microseconds of a processor for each: of the sidecar's, and of Redis'.
    fn end(self, what: &str, sidecar: &Sidecar, redis: &Redis, leases: u64) -> (f64, [f64; 2]) {
        let took = self.start.elapsed().as_secs_f64();
        let share = |before: Duration, now: Duration| (now - before).as_secs_f64() / took * 100.0;
        let of_sidecar = share(self.sidecar, sidecar.processor_time());
        let of_redis = share(self.redis, redis.running().processor_time());
        let calls = self.calls(sidecar);
        let batch = calls / (metric(sidecar, "sidelock_store_batch_size_count") - self.batches);
        measured(
            format_args!("{what} {leases} leases, share of a processor"),
            format_args!(
                "sidecar {of_sidecar:.0} %, Redis {of_redis:.0} %, {batch:.0} operations a batch, {:.0}/s",
                calls / took
            ),
        );
        (calls, [of_sidecar, of_redis].map(|share| share / 100.0 / (calls / took) * 1e6))
    }
}

fn metric(sidecar: &Sidecar, name: &str) -> f64 {
    let page = sidecar.get("/metrics").body;
    let value = page.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    value.unwrap_or_else(|| panic!("{name} is among the metrics"))
}
