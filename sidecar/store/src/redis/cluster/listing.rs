//! What all primaries list, as one list.
//!
//! Owns putting it together. Must not know how a primary is looked through: the listing of a single server does.

use crate::listing::{Cut, KEYS_LISTED_MAX, Listing};
use crate::redis::Request;
use crate::redis::listing::Wish;
use tokio::sync::{mpsc, oneshot};

/// Walks all of them at once. The answer is dropped where one of them is away.
pub(crate) fn start<'a>(links: impl Iterator<Item = &'a mpsc::UnboundedSender<Request>>, wish: Wish) {
    let Wish { prefix, answer } = wish;
    let ask = |link: &mpsc::UnboundedSender<Request>| {
        let (part, said) = oneshot::channel();
        // Dropped where the link has ended, which is its answer.
        let _ = link.send(Request::List(Wish { prefix: prefix.clone(), answer: part }));
        said
    };
    let parts: Vec<_> = links.map(ask).collect();
    if parts.is_empty() {
        return;
    }
    tokio::spawn(async move {
        if let Some(listing) = gathered(parts).await {
            // Who no longer waits needs no answer.
            let _ = answer.send(listing);
        }
    });
}

/// One list of many, cut where one would be. Nothing if a part is missing.
async fn gathered(parts: Vec<oneshot::Receiver<Result<Listing, String>>>) -> Option<Result<Listing, String>> {
    let mut whole = Listing::default();
    for part in parts {
        match part.await.ok()? {
            Ok(Listing { keys, cut }) => {
                whole.keys.extend(keys);
                whole.cut = whole.cut.or(cut);
            }
            Err(why) => return Some(Err(why)),
        }
    }
    while whole.keys.len() > KEYS_LISTED_MAX {
        whole.keys.pop_last();
        whole.cut = Some(Cut::Keys);
    }
    Some(Ok(whole))
}
