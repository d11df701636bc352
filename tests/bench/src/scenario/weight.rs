//! What a sidecar weighs: idle, with leases, with waiters, with connections (B8).
//!
//! Resident memory as the kernel counts it, what is added divided by how many were added. What an allocator rounds up and
//! a table that has just doubled are in it: a machine has to have them too.

use crate::Outcome;
use crate::figures::Figures;
use crate::lab::Lab;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sidelock_client::{Client, Lease};
use sidelock_e2e::process::Process;
use sidelock_e2e::sidecar::Sidecar;
use sidelock_wire::{MAGIC, ToSidecar};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const LEASES: [usize; 4] = [1_000, 10_000, 100_000, 1_000_000];
const WAITERS: [usize; 3] = [1_000, 10_000, 100_000];
const CONNECTIONS: [usize; 3] = [100, 1_000, 10_000];
/// Leases held at a Redis, for the renewals that they cost.
const RENEWED: usize = 100_000;
/// Acquires of one connection that may wait at a time (`in_flight_per_session_max`).
const WAITERS_PER_CONNECTION: usize = 4_000;
/// How long a process is watched for what it does when there is nothing to do.
const IDLE: Duration = Duration::from_secs(5);
/// How long a sidecar sits before its memory counts as idle.
const SETTLE: Duration = Duration::from_millis(500);
/// Renewals come every third of a tenure's ten seconds.
const RENEWALS: Duration = Duration::from_secs(10);
/// Files that a process has open besides connections, generously.
const OTHER_FILES: u64 = 200;

/// B8.
pub(crate) async fn memory(lab: &mut Lab, figures: &mut Figures) -> Outcome {
    idle(lab, figures).await?;
    leases(figures).await?;
    waiters(figures).await?;
    connections(figures)?;
    renewals(lab, figures).await
}

async fn idle(lab: &Lab, figures: &mut Figures) -> Outcome {
    let memory = Sidecar::on_memory();
    let shared = Sidecar::connected_to(&lab.redis);
    tokio::time::sleep(SETTLE).await;
    figures.add("b8.idle.memory", mib(bytes(&memory)));
    figures.add("b8.idle.redis", mib(bytes(&shared)));
    let (before, asked) = ([cpu(memory.id())?, cpu(shared.id())?], lab.asked());
    tokio::time::sleep(IDLE).await;
    let share = |before: Duration, after: Duration| (after - before).as_secs_f64() / IDLE.as_secs_f64();
    figures.add("b8.cpu.memory", share(before[0], cpu(memory.id())?) * 100.0);
    figures.add("b8.cpu.redis", share(before[1], cpu(shared.id())?) * 100.0);
    figures.add("b8.idle.requests", (lab.asked() - asked).requests / IDLE.as_secs_f64());
    Ok(())
}

async fn leases(figures: &mut Figures) -> Outcome {
    let sidecar = Sidecar::on_memory();
    let client = Client::connect(sidecar.socket()).await?;
    let empty = bytes(&sidecar);
    let mut held = Vec::new();
    for size in LEASES {
        hold(&client, &mut held, size).await?;
        note(figures, "b8.lease", size, empty, bytes(&sidecar));
    }
    Ok(())
}

/// Takes leases of new keys until there are `size`, some at a time.
async fn hold(client: &Client, held: &mut Vec<Lease>, size: usize) -> Outcome {
    const AT_A_TIME: usize = 64;
    let first = held.len();
    let mut set: JoinSet<Outcome<Vec<Lease>>> = JoinSet::new();
    for task in 0..AT_A_TIME {
        let client = client.clone();
        set.spawn_local(async move {
            let mut some = Vec::new();
            for number in (first + task..size).step_by(AT_A_TIME) {
                some.push(client.lock(format!("b8/{number}")).await?);
            }
            Ok(some)
        });
    }
    while let Some(some) = set.join_next().await {
        held.extend(some??);
    }
    Ok(())
}

async fn waiters(figures: &mut Figures) -> Outcome {
    let sidecar = Sidecar::on_memory();
    let holder = Client::connect(sidecar.socket()).await?.lock("b8").await?;
    let mut clients = Vec::new();
    for _ in 0..WAITERS[WAITERS.len() - 1].div_ceil(WAITERS_PER_CONNECTION) {
        clients.push(Client::connect(sidecar.socket()).await?);
    }
    let empty = bytes(&sidecar);
    let mut set = JoinSet::new();
    for size in WAITERS {
        while set.len() < size {
            set.spawn_local(clients[set.len() / WAITERS_PER_CONNECTION].lock("b8").acquire());
        }
        let all = format!("sidelock_waiters {size}");
        while !sidecar.get("/metrics").body.lines().any(|line| line == all) {
            tokio::task::yield_now().await;
        }
        note(figures, "b8.waiter", size, empty, bytes(&sidecar));
    }
    drop(holder);
    Ok(())
}

fn connections(figures: &mut Figures) -> Outcome {
    let limit = getrlimit(Resource::Nofile);
    let wanted = CONNECTIONS[CONNECTIONS.len() - 1] as u64 + OTHER_FILES;
    // A sidecar inherits it.
    setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..limit })?;
    let sidecar = Sidecar::on_memory();
    let empty = bytes(&sidecar);
    let mut open = Vec::new();
    for size in CONNECTIONS {
        while open.len() < size {
            open.push(greeted(&sidecar)?);
        }
        note(figures, "b8.connection", size, empty, bytes(&sidecar));
    }
    Ok(())
}

/// A connection that has been welcomed, without an SDK's memory behind it.
fn greeted(sidecar: &Sidecar) -> Outcome<UnixStream> {
    let mut stream = UnixStream::connect(sidecar.socket())?;
    let mut bytes = MAGIC.to_vec();
    ToSidecar::Hello(sidelock_e2e::frames::hello()).encode(&mut bytes);
    stream.write_all(&bytes)?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut welcome = vec![0; u32::from_le_bytes(length) as usize];
    stream.read_exact(&mut welcome)?;
    Ok(stream)
}

/// Leases held at a Redis, and what it costs to keep them.
async fn renewals(lab: &Lab, figures: &mut Figures) -> Outcome {
    let (sidecar, client) = lab.sidecar().await?;
    let empty = bytes(&sidecar);
    let mut held = Vec::new();
    let start = Instant::now();
    hold(&client, &mut held, RENEWED).await?;
    figures.add("b8.redis.taken", RENEWED as f64 / start.elapsed().as_secs_f64());
    let (asked, used) = (lab.asked(), cpu(sidecar.id())?);
    tokio::time::sleep(RENEWALS).await;
    let (asked, used) = (lab.asked() - asked, cpu(sidecar.id())? - used);
    figures.add("b8.redis.lease", (bytes(&sidecar) - empty) / RENEWED as f64);
    figures.add("b8.redis.requests", asked.requests / RENEWALS.as_secs_f64());
    figures.add("b8.redis.commands", asked.commands / RENEWALS.as_secs_f64());
    figures.add("b8.redis.cpu", used.as_secs_f64() / RENEWALS.as_secs_f64() * 100.0);
    figures.add("b8.redis.lost", held.iter().filter(|lease| !lease.is_valid()).count() as f64);
    Ok(())
}

fn note(figures: &mut Figures, name: &str, size: usize, empty: f64, full: f64) {
    figures.add(format!("{name}.total@{size}"), mib(full - empty));
    figures.add(format!("{name}@{size}"), (full - empty) / size as f64);
}

fn bytes(process: &Process) -> f64 {
    process.resident_kib() as f64 * 1024.0
}

fn mib(bytes: f64) -> f64 {
    bytes / (1024.0 * 1024.0)
}

/// Processor time that a process has used, all its threads together.
pub(super) fn cpu(process: u32) -> Outcome<Duration> {
    let mut nanos = 0;
    for thread in std::fs::read_dir(format!("/proc/{process}/task"))? {
        let text = std::fs::read_to_string(thread?.path().join("schedstat"))?;
        nanos += text.split(' ').next().ok_or("the kernel says what a thread used")?.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanos))
}
