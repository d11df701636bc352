//! A payment is charged once per order, however often it is asked for: the order is the idempotency key. Start a sidecar
//! first: `sidelock serve`.

use sidelock_client::{Client, Entered, Error, Window};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

/// A repeated request comes within a day, or is a new one.
const DAY: Duration = Duration::from_secs(86_400);

/// What the bank saw.
static CHARGED: AtomicU32 = AtomicU32::new(0);

/// Charges, or returns the receipt of the charge that was made before. Any number of processes may call this at once.
async fn pay(sl: &Client, order: &str) -> Result<String, Error> {
    match sl.once(format!("pay/{order}"), Window::rolling(DAY)).wait(Duration::from_secs(30)).await? {
        Entered::Won(turn) => match charge(order, turn.fence()) {
            Ok(receipt) => turn.finish(&receipt).await.map(|()| receipt),
            // Nothing was charged: the next attempt may.
            Err(declined) => turn.give_back().await.map(|()| declined),
        },
        Entered::Done(receipt) => Ok(String::from_utf8_lossy(&receipt).into_owned()),
    }
}

/// The first card is declined. The fence goes along: a bank that remembers it refuses a runner that was paused too long.
fn charge(order: &str, fence: u64) -> Result<String, String> {
    match CHARGED.fetch_add(1, Ordering::Relaxed) {
        0 => Err("declined".into()),
        number => Ok(format!("receipt {number} for {order}, fence {fence}")),
    }
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let sl = Client::connect_default().await?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let order = format!("order-{}", now.as_nanos());
    assert_eq!(pay(&sl, &order).await?, "declined");
    // The button is pressed twenty times.
    let presses: Vec<_> = (0..20)
        .map(|_| {
            let (sl, order) = (sl.clone(), order.clone());
            tokio::spawn(async move { pay(&sl, &order).await })
        })
        .collect();
    let receipt = pay(&sl, &order).await?;
    for press in presses {
        assert_eq!(press.await.expect("no task panics")?, receipt);
    }
    assert_eq!(CHARGED.load(Ordering::Relaxed), 2, "one was declined, one charged");
    say(&receipt);
    Ok(())
}

#[expect(clippy::print_stdout, reason = "an example's output")]
fn say(text: &str) {
    println!("{text}");
}
