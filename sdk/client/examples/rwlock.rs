//! Many readers or one writer, without async. Start a sidecar first: `sidelock serve`.

use sidelock_client::{Error, blocking::Client};
use std::thread;
use std::time::Duration;

fn main() -> Result<(), Error> {
    let sl = Client::connect_default()?;
    let catalog = sl.rwlock("catalog");
    thread::scope(|scope| {
        for reader in 1..=3 {
            let catalog = &catalog;
            scope.spawn(move || read(reader, &catalog.read()));
        }
    });
    let lease = catalog.write().wait(Duration::from_secs(5)).acquire()?;
    say(&format!("the writer is alone, with fence {}", lease.fence()));
    lease.release()
}

fn read(reader: u32, share: &sidelock_client::blocking::Request) {
    match share.acquire() {
        Ok(_share) => {
            say(&format!("reader {reader} reads"));
            thread::sleep(Duration::from_millis(100));
            say(&format!("reader {reader} is done"));
        }
        Err(error) => say(&format!("reader {reader}: {error}")),
    }
}

#[expect(clippy::print_stdout, reason = "an example's output")]
fn say(text: &str) {
    println!("{text}");
}
