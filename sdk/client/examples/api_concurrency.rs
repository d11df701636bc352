//! An API that takes three calls at a time: all who call it share its permits, in this process, on this host or in the
//! whole fleet. Start a sidecar first: `sidelock serve`.

use sidelock_client::{Client, Error};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;

const AT_A_TIME: u32 = 3;
const CALLS: u32 = 12;

/// Stands for the API, and counts what it sees.
#[derive(Default)]
struct Api {
    inside: AtomicU32,
    most: AtomicU32,
    answered: AtomicU32,
}

impl Api {
    async fn call(&self) {
        let inside = self.inside.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(inside, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(50)).await;
        self.inside.fetch_sub(1, Ordering::SeqCst);
        self.answered.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let sl = Client::connect_default().await?;
    let permits = sl.semaphore("billing-api", AT_A_TIME);
    let api = Arc::new(Api::default());
    let mut calls = JoinSet::new();
    for _ in 0..CALLS {
        let (permit, api) = (permits.permits(1).wait(Duration::from_secs(10)), api.clone());
        calls.spawn(async move {
            // Dropped at the end of the call, however that ends: the next in the queue gets it.
            let _permit = permit.await?;
            api.call().await;
            Ok::<(), Error>(())
        });
    }
    calls.join_all().await.into_iter().collect::<Result<(), Error>>()?;

    let (answered, most) = (api.answered.load(Ordering::SeqCst), api.most.load(Ordering::SeqCst));
    say(&format!("{answered} calls, {most} at a time at most"));
    assert_eq!(answered, CALLS);
    assert!(most <= AT_A_TIME);
    Ok(())
}

#[expect(clippy::print_stdout, reason = "an example's output")]
fn say(text: &str) {
    println!("{text}");
}
