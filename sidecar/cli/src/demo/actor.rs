//! A process of the demo: an ordinary client that does what it is told and says what happened.
//!
//! Owns the words between the demo and its processes: a line of orders in, a line of JSON out. Must not know the story.

use super::turns::{Turn, written};
use crate::failure::Failure;
use crate::output::say;
use serde_json::{Value, json};
use sidelock_client::{Client, Error, Lease, LostReason, Refusal};
use sidelock_daemon::boottime;
use std::future::pending;
use std::io::BufRead;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// What all are after.
pub(super) const KEY: &str = "orders/42";

/// Lives until its orders end.
pub(super) async fn play(name: &str, socket: &Path) -> Result<(), Failure> {
    let client = Client::builder().app(name).socket(socket).connect().await?;
    let mut orders = orders();
    let mut lease: Option<Lease> = None;
    let mut fence = 0;
    let mut held = Vec::new();
    event("ready", json!(client.sidecar().map(|sidecar| short(sidecar.incarnation))))?;
    loop {
        tokio::select! {
            // Orders first: a process that was frozen goes on with what it was doing before it hears any news.
            biased;
            order = orders.recv() => {
                let Some(order) = order else { return Ok(()) };
                match order.split(' ').collect::<Vec<_>>()[..] {
                    ["take"] => lease = Some(take(&client, None).await?),
                    ["take", millis] => lease = Some(take(&client, Some(number(millis)?)).await?),
                    ["write"] => event("wrote", json!(fence))?,
                    ["release"] => release(lease.take()).await?,
                    ["want", key] => want(&client, name, key, &mut held).await?,
                    ["sprint", millis] => sprint(&client, number(millis)?).await?,
                    _ => return Err(Failure::usage(format!("{order:?} is no order"))),
                }
                fence = lease.as_ref().map_or(fence, Lease::fence);
            }
            reason = lost(lease.as_ref()) => {
                lease = None;
                event("lost", json!(reason.to_string()))?;
            }
        }
    }
}

async fn lost(lease: Option<&Lease>) -> LostReason {
    match lease {
        Some(lease) => lease.lost().await,
        None => pending().await,
    }
}

async fn take(client: &Client, ttl: Option<Duration>) -> Result<Lease, Failure> {
    let request = client.lock(KEY).wait_forever();
    let request = ttl.into_iter().fold(request, |request, ttl| request.ttl(ttl));
    let lease = request.acquire().await?;
    event("granted", json!(lease.fence()))?;
    Ok(lease)
}

async fn release(lease: Option<Lease>) -> Result<(), Failure> {
    event("released", Value::Null)?;
    match lease {
        Some(lease) => Ok(lease.release().await?),
        None => Ok(()),
    }
}

/// Takes a key beside those that it holds, as an owner with a name. Told of a deadlock, it lets go of all of them.
async fn want(client: &Client, name: &str, key: &str, held: &mut Vec<Lease>) -> Result<(), Failure> {
    event("wants", json!(key))?;
    match client.lock(key).owner(name).wait_forever().acquire().await {
        Ok(lease) => {
            event("answered", json!({ "fence": lease.fence() }))?;
            held.push(lease);
        }
        Err(Error::Deadlock(refusal)) => {
            event("answered", json!({ "cycle": ring(&refusal) }))?;
            for lease in held.drain(..) {
                lease.release().await?;
            }
        }
        Err(other) => return Err(other.into()),
    }
    Ok(())
}

/// Who waits, where, for what and for how long in seconds; held by the next one, all the way round.
fn ring(refusal: &Refusal) -> Value {
    let edge = |edge: &sidelock_client::CycleEdge| json!({ "owner": edge.owner, "sidecar": short(edge.sidecar), "key": edge.key, "waited": edge.waiting_for.as_secs_f64() });
    refusal.cycle.iter().map(edge).collect()
}

/// A sidecar, as people tell it from others.
fn short(incarnation: u128) -> String {
    format!("{:08x}", incarnation >> 96)
}

/// Takes turns as fast as it can, and says which.
async fn sprint(client: &Client, span: Duration) -> Result<(), Failure> {
    let begun = Instant::now();
    let mut turns = Vec::new();
    while begun.elapsed() < span {
        let lease = client.lock(KEY).wait_forever().acquire().await?;
        let (from, fence) = (boottime().0, lease.fence());
        turns.push(Turn { from, until: boottime().0, fence });
        lease.release().await?;
    }
    event("sprinted", written(&turns))
}

/// Says what happened, and when.
fn event(name: &str, what: Value) -> Result<(), Failure> {
    say(&format!("{}\n", json!({ "event": name, "at": boottime().0, "what": what })))
}

fn number(millis: &str) -> Result<Duration, Failure> {
    millis.parse().map(Duration::from_millis).map_err(|_| Failure::usage(format!("{millis:?} is no number")))
}

/// Orders as they come. Reading them blocks, so a thread does it.
fn orders() -> mpsc::UnboundedReceiver<String> {
    let (heard, orders) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        let mut lines = std::io::stdin().lock().lines().map_while(Result::ok);
        while lines.next().is_some_and(|line| heard.send(line).is_ok()) {}
    });
    orders
}
