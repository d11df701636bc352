//! Two transfers lock two accounts in opposite orders. One of them is told, with the whole ring, lets go and starts over;
//! both are done in the end.
//!
//! Needs a sidecar: `sidelock serve`.

use sidelock_client::{Client, Error, Result};
use std::time::Duration;
use tokio::time::sleep;

/// Holds both accounts. How often it had to start over.
async fn transfer(sl: &Client, from: &str, to: &str) -> Result<u32> {
    let mut again = 0;
    loop {
        let first = sl.lock(from).await?;
        sleep(Duration::from_millis(100)).await;
        match sl.lock(to).await {
            Ok(second) => {
                second.release().await?;
                first.release().await?;
                return Ok(again);
            }
            Err(Error::Deadlock(refusal)) => {
                let waits: Vec<_> = refusal.cycle.iter().map(|edge| (&*edge.owner, &*edge.key)).collect();
                assert_eq!(waits.len(), 2, "the ring: {waits:?}");
                assert_eq!(waits[0].1, to, "mine is the first");
                first.release().await?;
                again += 1;
            }
            Err(other) => return Err(other),
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let sl = Client::connect_default().await?;
    let one = sidelock_client::owner("1 to 2", transfer(&sl, "examples/account/1", "examples/account/2"));
    let two = sidelock_client::owner("2 to 1", transfer(&sl, "examples/account/2", "examples/account/1"));
    let (one, two) = tokio::join!(one, two);
    assert_eq!(one? + two?, 1, "one victim, once");
    Ok(())
}
