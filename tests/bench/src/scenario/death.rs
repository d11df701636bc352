//! A client is killed with SIGKILL while it holds a key that another one wants, on the same sidecar or elsewhere (B7).

use crate::Outcome;
use crate::figures::Figures;
use crate::lab::Lab;
use crate::measure::Latency;
use rustix::process::Signal;
use sidelock_client::Client;
use sidelock_e2e::process::Process;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Enough for a 99th percentile to be more than the worst.
const KILLS: usize = 200;
/// How long the next one has been waiting when the holder dies.
const PATIENCE: Duration = Duration::from_millis(4);

/// What this program is called with to be the victim.
pub(crate) const VICTIM: &str = "hold-until-killed";

/// B7.
pub(crate) async fn next_grant(lab: &mut Lab, figures: &mut Figures) -> Outcome {
    let fleet = lab.fleet(2);
    for (name, index) in [("b7.local", 0), ("b7.remote", 1)] {
        let client = Client::connect(fleet[index].socket()).await?;
        let mut waits = Latency::default();
        for kill in 0..KILLS {
            let key = format!("{name}/{kill}");
            let victim = victim(fleet[0].socket(), &key)?;
            let waiter = tokio::task::spawn_local(client.lock(&key).acquire());
            tokio::time::sleep(PATIENCE).await;
            let killed = Instant::now();
            victim.signal(Signal::KILL);
            drop(waiter.await??);
            waits.add(killed.elapsed());
        }
        figures.add(format!("{name}.p50"), waits.micros(0.5) / 1e3);
        figures.add(format!("{name}.p99"), waits.micros(0.99) / 1e3);
        figures.add(format!("{name}.worst"), waits.micros(1.0) / 1e3);
    }
    Ok(())
}

/// A process of its own that has the key.
fn victim(socket: &Path, key: &str) -> Outcome<Process> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(VICTIM).arg(socket).arg(key);
    let victim = Process::spawn(command);
    victim.line("that it has the key", |line| line == "mine");
    Ok(victim)
}

/// What that process does.
pub(crate) async fn hold_until_killed(socket: &str, key: &str) -> Outcome {
    let _lease = Client::connect(socket).await?.lock(key).await?;
    writeln!(std::io::stdout().lock(), "mine")?;
    std::future::pending().await
}
