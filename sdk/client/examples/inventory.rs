//! Ten pieces, twelve buyers: nobody buys what is not there, and no sale is forgotten. Under a lock, by ETags without one, or
//! by fences, which hold even for a buyer that was paused beyond its lease. Start a sidecar first: `sidelock serve`.

use sidelock_client::{Client, Error};
use tokio::task::JoinSet;

const PIECES: usize = 10;

#[derive(Clone, Copy, Debug)]
enum Way {
    Locked,
    Etags,
    Fenced,
}

/// Buys a piece if there is one.
async fn buy(sl: Client, item: String, way: Way) -> Result<bool, Error> {
    let stock = sl.register(&item);
    loop {
        let lease = match way {
            Way::Etags => None,
            Way::Locked | Way::Fenced => Some(sl.lock(&item).await?),
        };
        let fence = lease.as_ref().filter(|_| matches!(way, Way::Fenced));
        let now = fence.into_iter().fold(stock.get(), |get, lease| get.fenced(lease)).await?;
        let left: u32 = String::from_utf8_lossy(&now.value).parse().unwrap_or(0);
        if left == 0 {
            return Ok(false);
        }
        let write = stock.put((left - 1).to_string());
        let write = fence.into_iter().fold(write, |put, lease| put.fenced(lease));
        let write = if let Way::Etags = way { write.if_match(&now.etag) } else { write };
        match write.await {
            Ok(_) => return Ok(true),
            Err(Error::Conflict(_)) => {} // Somebody was faster: look again.
            Err(other) => return Err(other),
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let sl = Client::connect_default().await?;
    for way in [Way::Locked, Way::Etags, Way::Fenced] {
        let item = format!("stock/{way:?}");
        sl.register(&item).put(PIECES.to_string()).await?;
        let buyers: JoinSet<_> = (0..12).map(|_| buy(sl.clone(), item.clone(), way)).collect();
        let bought = buyers.join_all().await.into_iter().collect::<Result<Vec<bool>, Error>>()?;
        let sold = bought.into_iter().filter(|bought| *bought).count();
        let left = sl.register(&item).get().await?;
        assert_eq!((sold, &*left.value), (PIECES, &b"0"[..]), "{way:?}");
    }
    say("sold out, three times");
    Ok(())
}

#[expect(clippy::print_stdout, reason = "an example's output")]
fn say(text: &str) {
    println!("{text}");
}
