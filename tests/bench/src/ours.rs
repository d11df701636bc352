//! What our users do, through the SDK and a real sidecar on a real Redis.

use crate::measure::Latency;
use sidelock_client::{Client, Result};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// What a crowd on one key had.
#[derive(Default)]
pub(crate) struct Crowd {
    /// From asking to having, for every grant.
    pub(crate) waits: Latency,
    /// Grants of each member.
    pub(crate) shares: Vec<u64>,
    /// Grants that went to somebody who had asked later than the one granted next.
    pub(crate) overtaken: u64,
}

/// One client, one key, nobody else (B1). The release is sent with the next request and not waited for.
pub(crate) async fn cycles(client: &Client, key: &str, span: Duration) -> Result<Latency> {
    let lock = client.lock(key);
    let mut latency = Latency::default();
    let end = Instant::now() + span;
    while Instant::now() < end {
        let start = Instant::now();
        drop(lock.acquire().await?);
        latency.add(start.elapsed());
    }
    Ok(latency)
}

/// Tasks on one connection, each with a key of its own (B2).
pub(crate) async fn own_keys(client: &Client, tasks: usize, span: Duration) -> Result<Latency> {
    let mut set = JoinSet::new();
    for task in 0..tasks {
        let client = client.clone();
        set.spawn_local(async move { cycles(&client, &format!("own/{task}"), span).await });
    }
    let mut all = Latency::default();
    while let Some(one) = set.join_next().await {
        all.extend(one.expect("a task of ours does not panic")?);
    }
    Ok(all)
}

/// Members who all want one key (B3, B4); each holds it for `hold`.
pub(crate) async fn one_key(
    members: Vec<Client>,
    key: &str,
    hold: Duration,
    span: Duration,
) -> Result<Crowd> {
    let tickets = Rc::new(Cell::new(0_u64));
    let served = Rc::new(RefCell::new(Vec::new()));
    let end = Instant::now() + span;
    let mut set: JoinSet<Result<_>> = JoinSet::new();
    for (index, client) in members.iter().enumerate() {
        let (lock, tickets, served) = (client.lock(key), tickets.clone(), served.clone());
        set.spawn_local(async move {
            let mut waits = Latency::default();
            while Instant::now() < end {
                let ticket = tickets.replace(tickets.get() + 1);
                let start = Instant::now();
                let lease = lock.acquire().await?;
                waits.add(start.elapsed());
                served.borrow_mut().push(ticket);
                if !hold.is_zero() {
                    tokio::time::sleep(hold).await;
                }
                drop(lease);
            }
            Ok((index, waits))
        });
    }
    let mut crowd = Crowd { shares: vec![0; members.len()], ..Crowd::default() };
    while let Some(one) = set.join_next().await {
        let (index, waits) = one.expect("a task of ours does not panic")?;
        crowd.shares[index] = waits.count() as u64;
        crowd.waits.extend(waits);
    }
    crowd.overtaken = served.borrow().windows(2).filter(|pair| pair[0] > pair[1]).count() as u64;
    Ok(crowd)
}
