//! Several sidecars on one Redis, and all their clients want one key (B4).
//!
//! Each sidecar's clients stand on a thread of their own, each client with a connection of its own, as the processes of
//! several pods would; the peers' likewise. On a real fleet every sidecar has a machine to itself, here all share this one.

use super::SIZES;
use super::contended::note;
use crate::Outcome;
use crate::figures::Figures;
use crate::lab::Lab;
use crate::load::{self, Effort};
use crate::ours;
use crate::peers::redis_crate::Connection;
use sidelock_client::Client;
use std::time::Duration;

/// Sidecars, or groups of a peer's clients.
const SIDECARS: usize = 4;
/// As many as a 99.9th percentile needs.
const GRANTS: usize = 20_000;
const HOLD: Duration = Duration::from_millis(1);
/// Long enough for every client to have its turn a few dozen times when each holds for [`HOLD`].
const HELD_SPAN: Duration = Duration::from_secs(3);
/// What waiting costs is counted in requests a second.
const WAITED_SPAN: Duration = Duration::from_secs(4);

/// B4.
pub(crate) async fn one_key(lab: &mut Lab, figures: &mut Figures) -> Outcome {
    for size in SIZES {
        peers(lab, figures, size)?;
        if size == 64 {
            lab.floor(figures, "b4").await?;
        }
        let grants = if size == 64 { GRANTS } else { 0 };
        ours(lab, figures, &format!("b4.ours@{size}"), size, Effort { grants, ..Effort::of(lab.span) })?;
    }
    if figures.last("b3.best").is_none() {
        super::contended::foreign(lab, figures)?;
    }
    figures.add_best("b4.best", &["b4.redis@64", "b4.rslock@64", "one.redis_py", "one.redlock"]);
    ours(lab, figures, "b4.held", 64, Effort { hold: HOLD, ..Effort::of(HELD_SPAN) })?;
    waiting(lab, figures).await
}

fn ours(lab: &Lab, figures: &mut Figures, name: &str, size: usize, effort: Effort) -> Outcome {
    let groups = SIDECARS.min(size);
    let sidecars = lab.fleet(groups);
    let before = lab.asked();
    let connect = |group: usize| {
        let socket = sidecars[group].socket().to_owned();
        async move { ours::on_connections(&socket, name, size / groups).await }
    };
    let mut crowd = load::crowds(groups, effort, connect)?;
    let asked = lab.asked() - before;
    note(figures, name, &mut crowd);
    let grants = crowd.waits.count() as f64;
    figures.add(format!("{name}.grants"), grants);
    figures.add(format!("{name}.requests"), asked.requests / grants);
    figures.add(format!("{name}.commands"), asked.commands / grants);
    Ok(())
}

/// Clients of the `redis` crate have a connection each, as ours; those of `rslock` share one in each process.
fn peers(lab: &mut Lab, figures: &mut Figures, size: usize) -> Outcome {
    let (url, groups) = (lab.redis.url(), SIDECARS.min(size));
    let (url, clients) = (url.as_str(), size / groups);
    let redis = |_| async move {
        let mut locks = Vec::with_capacity(clients);
        for _ in 0..clients {
            locks.push(Connection::open(url).await?.lock(format!("b4/redis/{size}")));
        }
        Ok(locks)
    };
    let effort = Effort::of(lab.span);
    note(figures, &format!("b4.redis@{size}"), &mut load::crowds(groups, effort, redis)?);
    if let Some(rslock) = &mut lab.foreign.rslock {
        let mut crowd = rslock.crowd(&lab.redis.url(), lab.span, groups, clients)?;
        note(figures, &format!("b4.rslock@{size}"), &mut crowd);
    }
    Ok(())
}

/// What waiting costs Redis: somebody holds the key, the clients of all other sidecars wait. Requests for each waiting
/// sidecar and second, those that an idle fleet sends taken off.
async fn waiting(lab: &Lab, figures: &mut Figures) -> Outcome {
    let sidecars = lab.fleet(SIDECARS);
    let span = WAITED_SPAN;
    let before = lab.asked();
    tokio::time::sleep(span).await;
    let idle = (lab.asked() - before).requests;
    let holder = Client::connect(sidecars[0].socket()).await?.lock("b4/waited").await?;
    let mut waiters = tokio::task::JoinSet::new();
    for sidecar in &sidecars[1..] {
        for lock in ours::on_connections(sidecar.socket(), "b4/waited", 16).await? {
            waiters.spawn_local(async move { lock.0.acquire().await.map(drop) });
        }
    }
    // The first asks are part of asking, not of waiting.
    tokio::time::sleep(lab.span).await;
    let before = lab.asked();
    tokio::time::sleep(span).await;
    let asked = (lab.asked() - before).requests - idle;
    figures.add("b4.waiting", asked / (SIDECARS - 1) as f64 / span.as_secs_f64());
    drop((waiters, holder));
    Ok(())
}
