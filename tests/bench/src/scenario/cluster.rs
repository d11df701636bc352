//! A Redis Cluster beside a single Redis, both on loopback, with keys that nobody used before (B15).
//!
//! Three primaries and their replicas share this machine, so what is seen is what the cluster's way of asking costs, not what
//! three machines could do.

use crate::Outcome;
use crate::figures::Figures;
use crate::lab::Lab;
use crate::load::{self, Keep};
use crate::ours::Ours;
use sidelock_client::Client;
use sidelock_e2e::cluster::Cluster;
use sidelock_e2e::redis::Redis;
use sidelock_e2e::sidecar::Sidecar;

/// In flight.
const SIZES: [usize; 3] = [1, 64, 512];

/// B15.
pub(crate) async fn cold_keys(lab: &mut Lab, figures: &mut Figures) -> Outcome {
    let (redis, cluster) = (Redis::on_loopback(), Cluster::start());
    let flags = cluster.flags();
    let sharded = Sidecar::with(&flags.iter().map(String::as_str).collect::<Vec<_>>());
    sharded.await_store();
    let single = Sidecar::connected_to(&redis);
    for size in SIZES {
        for (name, sidecar) in [("single", &single), ("cluster", &sharded)] {
            let client = Client::connect(sidecar.socket()).await?;
            for (phase, span) in [("stride", lab.span / 2), ("measured", lab.span)] {
                let client = client.clone();
                let lock = move |user, cycle| Ours(client.lock(format!("b15/{size}/{phase}/{user}/{cycle}")));
                let rate = load::apart(size, span, lock, Keep::Never).await?;
                if phase == "measured" {
                    figures.add(format!("b15.{name}@{size}"), rate);
                }
            }
        }
    }
    Ok(())
}
