//! What policies add to an acquire (B9): one that is asked about other keys, one in C with an instance made for the call or
//! before it, one in JavaScript.

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

/// Between two acquires: requests do not come in a row without a gap, and instances that are used up are made in the gaps.
const GAP: Duration = Duration::from_millis(1);

/// One way to be asked.
struct Asked {
    figure: &'static str,
    _sidecar: Sidecar,
    client: Client,
    took: Latency,
}

impl Asked {
    /// With this plugin, and these lines in its settings; `None`: without policies.
    async fn with(figure: &'static str, plugin: Option<&Path>, lines: &str) -> Outcome<Asked> {
        let settings = plugin.map(|plugin| format!("[[policy]]\npath = \"{}\"\n{lines}\n", plugin.display()));
        let sidecar = Sidecar::configured(&settings.unwrap_or_default(), &["--store", "memory"]);
        let client = Client::connect(sidecar.socket()).await?;
        Ok(Asked { figure, _sidecar: sidecar, client, took: Latency::default() })
    }

    async fn ask(&mut self, span: Duration) -> Outcome {
        let end = Instant::now() + span;
        while Instant::now() < end {
            // Another key each time: what a policy said before would be repeated.
            let lock = self.client.lock(format!("b9/{}", self.took.count()));
            let start = Instant::now();
            let lease = lock.acquire().await?;
            self.took.add(start.elapsed());
            lease.release().await?;
            tokio::time::sleep(GAP).await;
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
    let _one_cpu = OneCpu::with(lab.redis.running())?;
    let clamp = "settings = { wait_max = \"30s\" }";
    let order = "settings = { order = [\"a/\", \"b9\"] }";
    let mut ways = [
        Asked::with("none", None, "").await?,
        Asked::with("unmatched", Some(&compiled), &format!("{clamp}\nmatch = [\"other/**\"]")).await?,
        Asked::with("fresh", Some(&compiled), &format!("{clamp}\nprepared = 0")).await?,
        Asked::with("prepared", Some(&compiled), &format!("{clamp}\nprepared = 8")).await?,
        Asked::with("script", Some(&scripted), order).await?,
    ];
    for _ in 0..SLICES {
        for way in &mut ways {
            way.ask(lab.span / SLICES * 2).await?;
        }
    }
    let [none, others @ ..] = &mut ways;
    let (p50, p99) = (none.took.micros(0.5), none.took.micros(0.99));
    figures.add("b9.none.p50", p50);
    figures.add("b9.none.p99", p99);
    for Asked { figure, took, .. } in others {
        figures.add(format!("b9.{figure}.p50"), took.micros(0.5) - p50);
        figures.add(format!("b9.{figure}.p99"), took.micros(0.99) - p99);
    }
    Ok(())
}
