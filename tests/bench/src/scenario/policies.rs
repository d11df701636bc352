//! What policies add to an acquire (B9): one that is asked about other keys, one in C with an instance made for the call or
//! before it, one in JavaScript. In a row, and with a pause after each, in which the processor forgets. Clients, reactor and
//! guests have one processor; the threads on which policies prepare and clear up have the others.

use super::SLICES;
use crate::Outcome;
use crate::figures::Figures;
use crate::lab::Lab;
use crate::measure::Latency;
use crate::one_cpu::OneCpu;
use sidelock_client::Client;
use sidelock_e2e::sidecar::Sidecar;
use std::path::Path;
use std::time::{Duration, Instant};

/// Between two acquires that do not come in a row.
const PAUSE: Duration = Duration::from_millis(1);

/// So many acquires start all threads that there will be.
const WARM_UP: u64 = 64;
/// How policies call their threads.
const THREADS: &str = "policy";

/// The way without policies.
const NONE: &str = "none";

/// One way to be asked.
struct Asked {
    figure: &'static str,
    sidecar: Sidecar,
    client: Client,
    in_a_row: Latency,
    apart: Latency,
}

impl Asked {
    /// With this plugin, and these lines in its settings; `None`: without policies.
    async fn with(figure: &'static str, plugin: Option<&Path>, lines: &str) -> Outcome<Asked> {
        let settings = plugin.map(|plugin| format!("[[policy]]\npath = \"{}\"\n{lines}\n", plugin.display()));
        let sidecar = Sidecar::configured(&settings.unwrap_or_default(), &["--store", "memory"]);
        let client = Client::connect(sidecar.socket()).await?;
        let (in_a_row, apart) = Default::default();
        Ok(Asked { figure, sidecar, client, in_a_row, apart })
    }

    async fn warm_up(&mut self, one_cpu: &OneCpu) -> Outcome {
        for number in 0..WARM_UP {
            self.client.lock(format!("b9/warm/{number}")).acquire().await?.release().await?;
        }
        Ok(one_cpu.spare(&self.sidecar, THREADS)?)
    }

    async fn ask(&mut self, span: Duration, pause: Option<Duration>) -> Outcome {
        let (end, before) = (Instant::now() + span, self.in_a_row.count() + self.apart.count());
        let took = if pause.is_some() { &mut self.apart } else { &mut self.in_a_row };
        for number in before.. {
            // Another key each time: what a policy said before would be repeated.
            let lock = self.client.lock(format!("b9/{number}"));
            let start = Instant::now();
            let lease = lock.acquire().await?;
            took.add(start.elapsed());
            lease.release().await?;
            if let Some(pause) = pause {
                tokio::time::sleep(pause).await;
            }
            if Instant::now() > end {
                break;
            }
        }
        Ok(())
    }
}

/// B9. Left out where nobody built the plugins.
pub(crate) async fn added(lab: &mut Lab, figures: &mut Figures) -> Outcome {
    let (compiled, scripted) = (lab.plugins.join("ttl-clamp.wasm"), lab.plugins.join("lock-order.wasm"));
    if !compiled.is_file() || !scripted.is_file() {
        return Ok(());
    }
    let one_cpu = OneCpu::with(lab.redis.running())?;
    let clamp = "settings = { wait_max = \"30s\" }";
    let order = "settings = { order = [\"a/\", \"b9\"] }";
    let mut ways = [
        Asked::with(NONE, None, "").await?,
        Asked::with("unmatched", Some(&compiled), &format!("{clamp}\nmatch = [\"other/**\"]")).await?,
        Asked::with("fresh", Some(&compiled), &format!("{clamp}\nprepared = 0")).await?,
        Asked::with("prepared", Some(&compiled), &format!("{clamp}\nprepared = 8")).await?,
        Asked::with("script", Some(&scripted), order).await?,
    ];
    for way in &mut ways {
        way.warm_up(&one_cpu).await?;
    }
    for _ in 0..SLICES {
        for way in &mut ways {
            way.ask(lab.span / SLICES, None).await?;
            way.ask(lab.span / SLICES * 2, Some(PAUSE)).await?;
        }
    }
    note(&mut ways, "", |way| &mut way.in_a_row, figures);
    note(&mut ways, ".apart", |way| &mut way.apart, figures);
    Ok(())
}

/// What the first of the ways takes, and what the others add.
fn note(ways: &mut [Asked], when: &str, took: fn(&mut Asked) -> &mut Latency, figures: &mut Figures) {
    let mut without = [0.0; 2];
    for way in ways {
        for ((name, share), without) in [("p50", 0.5), ("p99", 0.99)].into_iter().zip(&mut without) {
            let micros = took(way).micros(share);
            figures.add(format!("b9{when}.{}.{name}", way.figure), micros - *without);
            if way.figure == NONE {
                *without = micros;
            }
        }
    }
}
