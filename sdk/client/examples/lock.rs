//! A lock around a piece of work, in the ways that matter. Start a sidecar first: `sidelock serve`.

use sidelock_client::{Client, Error};
use std::time::Duration;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let sl = Client::connect_default().await?;

    // Wait for it, at most five seconds. The fence goes along with every write, so that a receiver can refuse a process
    // that was paused beyond its lease.
    let lease = sl.lock("orders/42").wait(Duration::from_secs(5)).await?;
    let first = lease.fence();
    say(&format!("mine, with fence {first}"));

    // Only if nobody has it: somebody does.
    assert!(sl.lock("orders/42").try_acquire().await?.is_none(), "nobody else gets in meanwhile");
    lease.release().await?;
    let again = sl.lock("orders/42").try_acquire().await?.expect("it is free again");
    assert!(again.fence() > first, "a later lease has a greater fence");
    again.release().await?;

    // For as long as a piece of work takes, which is dropped in the middle should the lease be lost.
    let rows = sl.lock("import").run(async |lease| import(lease.fence()).await).await?;
    assert_eq!(rows, 3, "the lock gives back what the work gave");
    say(&format!("{rows} rows"));
    Ok(())
}

async fn import(fence: u64) -> u32 {
    tokio::time::sleep(Duration::from_millis(100)).await;
    say(&format!("imported under fence {fence}"));
    3
}

#[expect(clippy::print_stdout, reason = "an example's output")]
fn say(text: &str) {
    println!("{text}");
}
