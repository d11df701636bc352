//! A key goes from one sidecar to another: from the release here to the grant there (B6).

use crate::Outcome;
use crate::figures::Figures;
use crate::floor;
use crate::lab::Lab;
use crate::measure::Latency;
use crate::one_cpu::OneCpu;
use sidelock_client::Client;
use std::time::{Duration, Instant};

/// How long the next one has been waiting when the key is released: it is in the store's queue by then.
const PATIENCE: Duration = Duration::from_millis(4);
const HANDOVERS_MIN: usize = 100;

/// B6.
pub(crate) async fn handover(lab: &mut Lab, figures: &mut Figures) -> Outcome {
    let _one_cpu = OneCpu::with(lab.redis.running())?;
    // As rested as the parties of a handover are: who sleeps has to be woken.
    let mut floor = floor::ping_pong(lab.span, PATIENCE).await?;
    let mut redis = lab.redis_crate().await?;
    let mut round_trips = Latency::default();
    let start = Instant::now();
    while start.elapsed() < lab.span {
        tokio::time::sleep(PATIENCE).await;
        let sent = Instant::now();
        redis.ping().await?;
        round_trips.add(sent.elapsed());
    }
    let fleet = lab.fleet(2);
    let one = Client::connect(fleet[0].socket()).await?;
    let other = Client::connect(fleet[1].socket()).await?;
    let mut handovers = Latency::default();
    let start = Instant::now();
    let mut lease = one.lock("b6").await?;
    while handovers.count() < HANDOVERS_MIN || start.elapsed() < lab.span * 2 {
        let next = if handovers.count() % 2 == 0 { &other } else { &one };
        let waiter = tokio::task::spawn_local(next.lock("b6").acquire());
        tokio::time::sleep(PATIENCE).await;
        let released = Instant::now();
        drop(lease);
        lease = waiter.await??;
        handovers.add(released.elapsed());
    }
    let round_trip = round_trips.micros(0.5);
    figures.add("b6.round_trip", round_trip);
    figures.add("b6.p50", handovers.micros(0.5));
    figures.add("b6.p99", handovers.micros(0.99));
    figures.add("b6.bound", 2.0 * round_trip + floor.micros(0.5));
    Ok(())
}
