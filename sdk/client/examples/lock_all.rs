//! Money between two accounts: both are locked at once, whatever the order. Start a sidecar first: `sidelock serve`.

use sidelock_client::{Client, Error};
use std::cell::Cell;
use std::time::Duration;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let sl = Client::connect_default().await?;
    let accounts = [Cell::new(100), Cell::new(100)];
    let (there, back) = tokio::join!(transfers(&sl, &accounts, 0, 1), transfers(&sl, &accounts, 1, 0));
    there.and(back)?;
    assert_eq!(accounts.each_ref().map(Cell::get), [100, 100]);
    say("nobody waited for ever, and nothing is lost");
    Ok(())
}

/// Ten times one from here to there.
async fn transfers(sl: &Client, accounts: &[Cell<i32>; 2], from: usize, to: usize) -> Result<(), Error> {
    for _ in 0..10 {
        let keys = [format!("accounts/{from}"), format!("accounts/{to}")];
        let both = sl.lock_all(keys).wait(Duration::from_secs(10)).await?;
        let (here, there) = (accounts[from].get(), accounts[to].get());
        tokio::time::sleep(Duration::from_millis(5)).await;
        accounts[from].set(here - 1);
        accounts[to].set(there + 1);
        both.release().await?;
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "an example's output")]
fn say(text: &str) {
    println!("{text}");
}
