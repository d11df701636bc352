//! Benchmarks: the socket's floor, the `redis` crate and us, in turn, in one run; one table with ratios.
//!
//! `bench [ROUNDS] [MILLISECONDS]`: so many rounds (5), so long each measurement (1000). Absolute figures drift with the
//! machine's neighbours; only the ratios of one run mean something. Informs, and never fails a build.

mod floor;
mod measure;
mod ours;
mod peer;
mod report;

use measure::{Latency, jain};
use report::Report;
use sidelock_client::Client;
use sidelock_e2e::redis::Redis;
use sidelock_e2e::sidecar::Sidecar;
use std::error::Error;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::task::{JoinSet, LocalSet};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// Tasks of B2 and B3, and of the peer beside them.
const TASKS: usize = 64;
/// Sidecars of B4, and clients of each.
const SIDECARS: usize = 4;
const CLIENTS: usize = 16;
/// How long a process sits before its memory counts as idle.
const SETTLE: Duration = Duration::from_millis(1500);

fn main() -> Outcome {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u32>());
    let rounds = arguments.next().transpose()?.unwrap_or(5);
    let span = Duration::from_millis(u64::from(arguments.next().transpose()?.unwrap_or(1000)));
    let mut report = Report::default();
    for round in 1..=rounds {
        say(&format!("round {round} of {rounds}"));
        LocalSet::new().block_on(&runtime()?, one_round(&mut report, span))?;
    }
    let about = format!(
        "Sidelock benchmarks: medians of {rounds} rounds, {span:?} each. Redis on a Unix socket.\n\n"
    );
    let text = about + &report.table();
    let file = result_file()?;
    std::fs::write(&file, &text)?;
    say(&format!("\n{text}\nwritten to {}", file.display()));
    Ok(())
}

/// A runtime like the sidecar's: one thread.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

#[expect(clippy::print_stdout, reason = "a benchmark's result is its output")]
fn say(text: &str) {
    println!("{text}");
}

/// `bench/` beside the folder that this program was built into.
fn result_file() -> Outcome<PathBuf> {
    let program = std::env::current_exe()?;
    let target = program.ancestors().nth(2).ok_or("a program lives in a folder")?;
    let folder = target.join("bench");
    std::fs::create_dir_all(&folder)?;
    Ok(folder.join("results.md"))
}

async fn one_round(report: &mut Report, span: Duration) -> Outcome {
    let mut floor = floor::ping_pong(span).await?;
    report.add("floor_p50", floor.micros(0.5));
    report.add("floor_p99", floor.micros(0.99));
    report.add("floor_rate", floor.count() as f64 / span.as_secs_f64());

    let redis = Redis::start();
    measure_peer(report, &redis, span).await?;
    measure_one_sidecar(report, &redis, span).await?;
    measure_fleet(report, &redis, span).await?;
    measure_idle(report, &redis);
    Ok(())
}

async fn measure_peer(report: &mut Report, redis: &Redis, span: Duration) -> Outcome {
    let peer = peer::Peer::connect(&redis.url()).await?;
    let mut alone = peer.clone().cycles("peer/alone".into(), span).await?;
    report.add("peer_p50", alone.micros(0.5));
    for (figure, shared) in [("peer_own", false), ("peer_one", true)] {
        let mut set = JoinSet::new();
        for task in 0..TASKS as u64 {
            let peer = peer.clone();
            set.spawn_local(async move {
                match shared {
                    true => peer.contend("peer/one".into(), task + 1, span).await,
                    false => peer.cycles(format!("peer/{task}"), span).await,
                }
            });
        }
        let mut all = Latency::default();
        while let Some(one) = set.join_next().await {
            all.extend(one??);
        }
        report.add(figure, all.count() as f64 / span.as_secs_f64());
    }
    Ok(())
}

async fn measure_one_sidecar(report: &mut Report, redis: &Redis, span: Duration) -> Outcome {
    let sidecar = Sidecar::connected_to(redis);
    let client = Client::connect(sidecar.socket()).await?;
    ours::cycles(&client, "alone", span / 10).await?;
    let mut alone = ours::cycles(&client, "alone", span).await?;
    report.add("b1_p50", alone.micros(0.5));
    report.add("b1_p99", alone.micros(0.99));
    let own = ours::own_keys(&client, TASKS, span).await?;
    report.add("b2", own.count() as f64 / span.as_secs_f64());
    let crowd = ours::one_key(vec![client; TASKS], "one", Duration::ZERO, span).await?;
    report.add("b3", crowd.waits.count() as f64 / span.as_secs_f64());
    report.add("b3_overtaken", crowd.overtaken as f64);
    Ok(())
}

async fn measure_fleet(report: &mut Report, redis: &Redis, span: Duration) -> Outcome {
    let sidecars: Vec<_> = (0..SIDECARS).map(|_| Sidecar::connected_to(redis)).collect();
    let mut members = Vec::new();
    for index in 0..SIDECARS * CLIENTS {
        members.push(Client::connect(sidecars[index % SIDECARS].socket()).await?);
    }
    let before = requests(redis);
    let mut crowd = ours::one_key(members.clone(), "fleet", Duration::ZERO, span).await?;
    let after = requests(redis);
    let grants = crowd.waits.count() as f64;
    report.add("b4", grants / span.as_secs_f64());
    report.add("b4_jain", jain(&crowd.shares));
    report.add("b4_mean", crowd.waits.mean_micros());
    report.add("b4_p999", crowd.waits.micros(0.999));
    report.add("b4_worst", crowd.waits.micros(1.0));
    report.add("b4_requests", (after.0 - before.0) / grants);
    report.add("b4_commands", (after.1 - before.1) / grants);
    let held = ours::one_key(members, "held", Duration::from_millis(1), span).await?;
    report.add("b4_held", held.waits.count() as f64 / span.as_secs_f64());
    report.add("b4_held_jain", jain(&held.shares));
    Ok(())
}

/// What Redis was asked so far: requests on the wire, and commands run, those inside scripts included.
fn requests(redis: &Redis) -> (f64, f64) {
    let stats = redis.command(&["INFO", "commandstats"]);
    let calls = |line: &str| line.split_once(":calls=")?.1.split(',').next()?.parse::<f64>().ok();
    let is_request = |line: &&str| line.starts_with("cmdstat_eval") || line.starts_with("cmdstat_ping");
    let on_the_wire = stats.lines().filter(is_request).filter_map(calls).sum();
    (on_the_wire, redis.info("stats", "total_commands_processed") as f64)
}

fn measure_idle(report: &mut Report, redis: &Redis) {
    let start = Instant::now();
    let memory = Sidecar::on_memory();
    report.add("ready", start.elapsed().as_secs_f64() * 1e3);
    let shared = Sidecar::connected_to(redis);
    std::thread::sleep(SETTLE);
    report.add("rss_memory", memory.resident_kib() as f64 / 1024.0);
    report.add("rss_redis", shared.resident_kib() as f64 / 1024.0);
}
