//! Nobody is in the way: one user (B1), users with keys of their own (B2), keys that nobody used before (B5).

use super::{SIZES, SLICES};
use crate::Outcome;
use crate::figures::Figures;
use crate::floor;
use crate::lab::Lab;
use crate::load::{self, Keep};
use crate::measure::Latency;
use crate::one_cpu::OneCpu;
use crate::ours::Ours;
use crate::peers::redis_crate::Connection;
use crate::proxy::Proxy;
use sidelock_client::Client;
use sidelock_e2e::sidecar::Sidecar;
use std::time::Duration;

/// To a Redis that is elsewhere, each way.
const FAR: Duration = Duration::from_micros(500);

/// B1.
pub(crate) async fn alone(lab: &mut Lab, figures: &mut Figures) -> Outcome {
    let (url, span) = (lab.redis.url(), lab.span);
    let foreign = &mut lab.foreign;
    for (figure, peer) in [
        ("b1.redis_py.p50", &mut foreign.redis_py),
        ("b1.redlock.p50", &mut foreign.redlock),
        ("b1.rslock.p50", &mut foreign.rslock),
    ] {
        if let Some(peer) = peer {
            figures.add(figure, peer.alone(&url, span)?.micros(0.5));
        }
    }
    let _one_cpu = OneCpu::with(lab.redis.running())?;
    let redis_crate = lab.redis_crate().await?;
    let (_sidecar, client) = lab.sidecar().await?;
    load::alone(Ours(client.lock("b1")), span / 10).await?;
    let (mut redis, mut floor, mut ours) = <(Latency, Latency, Latency)>::default();
    for _ in 0..SLICES {
        redis.extend(load::alone(redis_crate.lock("b1/redis"), span / SLICES).await?);
        floor.extend(floor::ping_pong(span / SLICES, Duration::ZERO).await?);
        ours.extend(load::alone(Ours(client.lock("b1")), span / SLICES).await?);
    }
    figures.add("b1.redis.p50", redis.micros(0.5));
    figures.add("b1.floor.p50", floor.micros(0.5));
    figures.add("b1.floor.p99", floor.micros(0.99));
    figures.add("b1.ours.p50", ours.micros(0.5));
    figures.add("b1.ours.p99", ours.micros(0.99));
    drop(client);
    far(lab, figures).await
}

/// The same with a Redis that is not next door.
async fn far(lab: &Lab, figures: &mut Figures) -> Outcome {
    let proxy = Proxy::to(&lab.redis.socket(), FAR)?;
    let mut redis = load::alone(Connection::open(&proxy.url()).await?.lock("far/redis"), lab.span).await?;
    figures.add("b1.far.redis.p50", redis.micros(0.5));
    let sidecar = Sidecar::with(&["--redis", &proxy.url()]);
    sidecar.await_store();
    let client = Client::connect(sidecar.socket()).await?;
    let mut ours = load::alone(Ours(client.lock("far")), lab.span).await?;
    figures.add("b1.far.ours.p50", ours.micros(0.5));
    figures.add("b1.far.ours.p99", ours.micros(0.99));
    Ok(())
}

/// B2.
pub(crate) async fn own_keys(lab: &mut Lab, figures: &mut Figures) -> Outcome {
    let redis = lab.redis_crate().await?;
    let (_sidecar, client) = lab.sidecar().await?;
    for size in SIZES {
        let (redis, client) = (redis.clone(), client.clone());
        let theirs = move |user, _| redis.lock(format!("b2/redis/{user}"));
        figures.add(format!("b2.redis@{size}"), load::apart(size, lab.span, theirs, Keep::Always).await?);
        let ours = move |user, _| Ours(client.lock(format!("b2/{user}")));
        figures.add(format!("b2.ours@{size}"), load::apart(size, lab.span, ours, Keep::Always).await?);
    }
    Ok(())
}

/// B5. Measured once both are in their stride: a sidecar keeps the first few thousand keys and only then gives any back.
pub(crate) async fn cold_keys(lab: &mut Lab, figures: &mut Figures) -> Outcome {
    let redis = lab.redis_crate().await?;
    let (_sidecar, client) = lab.sidecar().await?;
    for size in SIZES {
        for (phase, span) in [("stride", lab.span / 2), ("measured", lab.span)] {
            let redis = redis.clone();
            let theirs = move |user, cycle| redis.lock(format!("b5/redis/{phase}/{user}/{cycle}"));
            let rate = load::apart(size, span, theirs, Keep::Never).await?;
            if phase == "measured" {
                figures.add(format!("b5.redis@{size}"), rate);
            }
        }
        for (phase, span) in [("stride", lab.span / 2), ("measured", lab.span)] {
            let client = client.clone();
            let ours = move |user, cycle| Ours(client.lock(format!("b5/{size}/{phase}/{user}/{cycle}")));
            let before = lab.asked();
            let rate = load::apart(size, span, ours, Keep::Never).await?;
            if phase == "measured" {
                let asked = lab.asked() - before;
                let cycles = rate * span.as_secs_f64();
                figures.add(format!("b5.ours@{size}"), rate);
                figures.add(format!("b5.requests@{size}"), asked.requests / cycles);
                figures.add(format!("b5.commands@{size}"), asked.commands / cycles);
            }
        }
    }
    Ok(())
}
