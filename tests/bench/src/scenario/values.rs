//! What has a value: registers beside the `redis` crate's own SET and GET (B13), and a turn of `once` that was done
//! before (B14).

use super::{SIZES, SLICES};
use crate::Outcome;
use crate::figures::Figures;
use crate::floor;
use crate::lab::Lab;
use crate::load::{self, Keep, Lock};
use crate::measure::Latency;
use crate::one_cpu::OneCpu;
use crate::peers::redis_crate::Stored;
use sidelock_client::{Client, Entered, Once, Register, Window};
use std::time::Duration;

/// As large as a small document.
const VALUE: &[u8] = &[b'v'; 256];

/// A write and a read of one register.
struct WrittenAndRead(Register);

impl Lock for WrittenAndRead {
    type Lease = ();

    async fn acquire(&mut self) -> Outcome {
        self.0.put(VALUE).await?;
        Ok(())
    }

    async fn release(&mut self, (): ()) -> Outcome {
        let read = self.0.get().await?;
        (*read.value == *VALUE).then_some(()).ok_or_else(|| "a register read what was not written".into())
    }
}

/// One more who comes too late.
struct Skipped(Once);

impl Lock for Skipped {
    type Lease = ();

    async fn acquire(&mut self) -> Outcome {
        match self.0.enter().await? {
            Entered::Done(_) => Ok(()),
            Entered::Won(_) => Err("a turn that was done was run again".into()),
        }
    }

    async fn release(&mut self, (): ()) -> Outcome {
        Ok(())
    }
}

/// B13.
pub(crate) async fn registers(lab: &mut Lab, figures: &mut Figures) -> Outcome {
    register_alone(lab, figures).await?;
    let redis = lab.redis_crate().await?;
    let (_sidecar, client) = lab.sidecar().await?;
    for size in SIZES {
        let (redis, client) = (redis.clone(), client.clone());
        let theirs = move |user, _| Stored::new(&redis, format!("b13/redis/{user}"), VALUE);
        figures.add(format!("b13.redis@{size}"), load::apart(size, lab.span, theirs, Keep::Always).await?);
        let ours = move |user, _| WrittenAndRead(client.register(format!("b13/{user}")));
        figures.add(format!("b13.ours@{size}"), load::apart(size, lab.span, ours, Keep::Always).await?);
    }
    Ok(())
}

async fn register_alone(lab: &mut Lab, figures: &mut Figures) -> Outcome {
    let _one_cpu = OneCpu::with(lab.redis.running())?;
    let crate_alone = lab.redis_crate().await?;
    let (_sidecar, client) = lab.sidecar().await?;
    let (mut redis, mut ours) = <(Latency, Latency)>::default();
    for _ in 0..SLICES {
        let theirs = Stored::new(&crate_alone, "b13/redis".into(), VALUE);
        redis.extend(load::alone(theirs, lab.span / SLICES).await?);
        ours.extend(load::alone(WrittenAndRead(client.register("b13")), lab.span / SLICES).await?);
    }
    figures.add("b13.redis.p50", redis.micros(0.5));
    figures.add("b13.ours.p50", ours.micros(0.5));
    Ok(())
}

/// B14.
pub(crate) async fn skips(lab: &mut Lab, figures: &mut Figures) -> Outcome {
    let _one_cpu = OneCpu::with(lab.redis.running())?;
    let (_sidecar, client) = lab.sidecar().await?;
    finish_one(&client).await?;
    let (mut floor, mut ours) = <(Latency, Latency)>::default();
    let before = lab.asked();
    for _ in 0..SLICES {
        floor.extend(floor::ping_pong(lab.span / SLICES, Duration::ZERO).await?);
        ours.extend(load::alone(Skipped(turn(&client)), lab.span / SLICES).await?);
    }
    figures.add("b14.requests", (lab.asked() - before).requests / ours.count() as f64);
    figures.add("b14.floor.p50", floor.micros(0.5));
    figures.add("b14.ours.p50", ours.micros(0.5));
    figures.add("b14.ours.p99", ours.micros(0.99));
    Ok(())
}

fn turn(client: &Client) -> Once {
    client.once("b14", Window::rolling(Duration::from_secs(3600)))
}

async fn finish_one(client: &Client) -> Outcome {
    match turn(client).enter().await? {
        Entered::Won(turn) => Ok(turn.finish(VALUE).await?),
        Entered::Done(_) => Err("it was done before anybody came".into()),
    }
}
