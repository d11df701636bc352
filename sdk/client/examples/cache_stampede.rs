//! A cached value has expired and fifty requests want it at once: one computes it, the others take what it found. Start a
//! sidecar first: `sidelock serve`.

use sidelock_client::{Client, Error, Window};
use std::convert::Infallible;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

/// How long a value is good. The window is the cache's time to live, and its end the next stampede.
const TTL: Duration = Duration::from_secs(60);

/// How often it was computed.
static COMPUTED: AtomicU32 = AtomicU32::new(0);

/// The value: from whoever computed it last, in whatever process.
async fn product(sl: &Client, id: &str) -> Result<Vec<u8>, Error> {
    let once = sl.once(format!("product/{id}"), Window::rolling(TTL));
    Ok(once.run(async |_turn| compute(id).await).await?.unwrap_or_else(|never: Infallible| match never {}))
}

/// What everybody would do to the database at once.
async fn compute(id: &str) -> Result<Vec<u8>, Infallible> {
    COMPUTED.fetch_add(1, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_millis(50)).await;
    Ok(format!("all about {id}").into_bytes())
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let sl = Client::connect_default().await?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let id = format!("{}", now.as_nanos());
    let requests: Vec<_> = (0..50)
        .map(|_| {
            let (sl, id) = (sl.clone(), id.clone());
            tokio::spawn(async move { product(&sl, &id).await })
        })
        .collect();
    for request in requests {
        assert_eq!(request.await.expect("no task panics")?, format!("all about {id}").into_bytes());
    }
    assert_eq!(COMPUTED.load(Ordering::Relaxed), 1);
    say("computed once, served fifty times");
    Ok(())
}

#[expect(clippy::print_stdout, reason = "an example's output")]
fn say(text: &str) {
    println!("{text}");
}
