//! At most five calls in any half second, in all processes together. Start a sidecar first: `sidelock serve`.

use sidelock_client::{Client, Error};
use std::time::{Duration, Instant};

const LIMIT: usize = 5;
const PER: Duration = Duration::from_millis(500);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let sl = Client::connect_default().await?;
    let api = sl.rate("billing-api", 5, PER);
    let mut calls = Vec::new();
    for number in 1..=12 {
        // To keep the permit or to drop it makes no difference: it comes back half a second after it was granted.
        drop(api.permits(1).wait(Duration::from_secs(10)).await?);
        calls.push(Instant::now());
        say(&format!("call {number}"));
    }
    // The calls come a little after their permits, so two of them may be a little closer than those.
    let slack = Duration::from_millis(50);
    assert!(calls.windows(LIMIT + 1).all(|six| six[LIMIT] - six[0] + slack >= PER));
    Ok(())
}

#[expect(clippy::print_stdout, reason = "an example's output")]
fn say(text: &str) {
    println!("{text}");
}
