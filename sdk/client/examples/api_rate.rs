//! An API that allows five calls in any half second, from all processes together. Start a sidecar first: `sidelock serve`.

use sidelock_client::{Client, Error};
use std::time::{Duration, Instant};

const LIMIT: u32 = 5;
const PER: Duration = Duration::from_millis(500);

/// When a call's permit was asked for, and when the call was made.
struct Call {
    asked: Instant,
    made: Instant,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let sl = Client::connect_default().await?;
    let rate = sl.rate("billing-api/calls", LIMIT, PER);
    let mut calls: Vec<Call> = Vec::new();
    for _ in 0..12 {
        let asked = Instant::now();
        // To keep the permit or to drop it makes no difference: it comes back half a second after it was granted.
        drop(rate.permits(1).wait(Duration::from_secs(10)).await?);
        calls.push(Call { asked, made: Instant::now() });
    }
    say(&format!("{} calls took {:?}", calls.len(), calls[0].asked.elapsed()));
    // A permit was granted between the two moments: the sixth of six comes half a second after the first, or later.
    let six_calls = LIMIT as usize + 1;
    assert!(calls.windows(six_calls).all(|six| six[six_calls - 1].made - six[0].asked >= PER));
    Ok(())
}

#[expect(clippy::print_stdout, reason = "an example's output")]
fn say(text: &str) {
    println!("{text}");
}
