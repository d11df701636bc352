//! Many readers or one writer, without async. Start a sidecar first: `sidelock serve`.

use sidelock_client::{Error, blocking::Client, blocking::Request};
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

const READERS: usize = 3;

fn main() -> Result<(), Error> {
    let sl = Client::connect_default()?;
    let catalog = sl.rwlock("catalog");
    // It opens when all of them read: they do so at once, or this would never end.
    let together = Barrier::new(READERS);
    thread::scope(|scope| {
        let readers: Vec<_> = (1..=READERS)
            .map(|reader| (reader, &catalog, &together))
            .map(|(reader, catalog, together)| scope.spawn(move || read(reader, &catalog.read(), together)))
            .collect();
        readers.into_iter().try_for_each(|reader| reader.join().expect("a reader does not panic"))
    })?;
    let lease = catalog.write().wait(Duration::from_secs(5)).acquire()?;
    say(&format!("the writer is alone, with fence {}", lease.fence()));
    assert!(catalog.read().try_acquire()?.is_none(), "nobody reads while somebody writes");
    lease.release()
}

fn read(reader: usize, share: &Request, together: &Barrier) -> Result<(), Error> {
    let share = share.acquire()?;
    together.wait();
    say(&format!("reader {reader} reads, and so do the others"));
    share.release()
}

#[expect(clippy::print_stdout, reason = "an example's output")]
fn say(text: &str) {
    println!("{text}");
}
