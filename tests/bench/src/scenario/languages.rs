//! Users in other languages (B10): what their SDK costs, next to what a lock costs them in Redis.

use super::SLICES;
use crate::Outcome;
use crate::figures::Figures;
use crate::lab::Lab;
use crate::measure::Latency;
use crate::one_cpu::OneCpu;
use sidelock_e2e::sidecar::Sidecar;

/// B10. One user, one key, the whole cycle, the release answered; user and servers on one processor, as in B1.
pub(crate) fn cycle(lab: &mut Lab, figures: &mut Figures) -> Outcome {
    let (url, slice) = (lab.redis.url(), lab.span / SLICES);
    let _one_cpu = OneCpu::with(lab.redis.running())?;
    let (over_redis, over_memory) = (Sidecar::connected_to(&lab.redis), Sidecar::on_memory());
    let sockets = [over_redis.socket(), over_memory.socket()].map(|socket| socket.display().to_string());
    let mut users = lab.foreign.singles();
    let mut latencies: Vec<_> = users.iter().map(|_| <[Latency; 2]>::default()).collect();
    for _ in 0..SLICES {
        for (user, [redis, memory]) in users.iter_mut().zip(&mut latencies) {
            if user.is_ours {
                redis.extend(user.peer.alone(&sockets[0], slice)?);
                memory.extend(user.peer.alone(&sockets[1], slice)?);
            } else {
                redis.extend(user.peer.alone(&url, slice)?);
            }
        }
    }
    for (user, [mut redis, mut memory]) in users.into_iter().zip(latencies) {
        figures.add(format!("b10.{}.p50", user.name), redis.micros(0.5));
        figures.add(format!("b10.{}.p99", user.name), redis.micros(0.99));
        if user.is_ours {
            figures.add(format!("b10.{}.memory.p50", user.name), memory.micros(0.5));
        }
    }
    Ok(())
}
