//! At most three at a time, in all processes together. Start a sidecar first: `sidelock serve`.

use sidelock_client::{Client, Error};
use std::time::Duration;
use tokio::task::JoinSet;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let sl = Client::connect_default().await?;
    let api = sl.semaphore("billing-api", 3);
    let mut calls = JoinSet::new();
    for number in 1..=10 {
        let permit = api.permits(1).wait(Duration::from_secs(10));
        calls.spawn(async move {
            let _permit = permit.await?;
            say(&format!("call {number} begins"));
            tokio::time::sleep(Duration::from_millis(200)).await;
            say(&format!("call {number} ends"));
            Ok::<(), Error>(())
        });
    }
    calls.join_all().await.into_iter().collect()
}

#[expect(clippy::print_stdout, reason = "an example's output")]
fn say(text: &str) {
    println!("{text}");
}
