//! Adds one to a number in a file, again and again, under a lock and nothing else.
//!
//! `counter SOCKET KEY FILE TIMES`: connects, says `ready`, waits for a line, counts, says each number it wrote with
//! its fence, and ends with 0. Says `violation: …` and ends with 1 if it sees what a lock should have made impossible.

use sidelock_client::{Client, Lease};
use std::error::Error;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};

/// The number in the file, and the fence of who wrote it.
struct Count {
    number: u64,
    fence: u64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().ok_or("usage: counter SOCKET KEY FILE TIMES");
    let (socket, key, file, times) = (next()?, next()?, PathBuf::from(next()?), next()?.parse::<u32>()?);
    let client = Client::connect(socket).await?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "ready")?;
    std::io::stdin().lock().read_line(&mut String::new())?;
    let mut written = Vec::new();
    for _ in 0..times {
        let lease = client.lock(&key).await?;
        written.push(add_one(&file, &lease)?);
        // Not awaited, as a busy program would: the next acquire queues behind it on the same connection.
        drop(lease);
    }
    for Count { number, fence } in written {
        writeln!(out, "{number} {fence}")?;
    }
    Ok(())
}

/// Reads, lets others run, writes: whoever is not excluded meanwhile will lose a number here.
fn add_one(file: &Path, lease: &Lease) -> Result<Count, Box<dyn Error>> {
    let before = read(file)?;
    std::thread::yield_now();
    if lease.fence() <= before.fence {
        return Err(format!("violation: fence {} after {}", lease.fence(), before.fence).into());
    }
    let after = Count { number: before.number + 1, fence: lease.fence() };
    std::fs::write(file, format!("{} {}", after.number, after.fence))?;
    Ok(after)
}

fn read(file: &Path) -> Result<Count, Box<dyn Error>> {
    let text = std::fs::read_to_string(file)?;
    let (number, fence) = text.split_once(' ').ok_or_else(|| format!("violation: a torn file, {text:?}"))?;
    Ok(Count { number: number.parse()?, fence: fence.parse()? })
}
