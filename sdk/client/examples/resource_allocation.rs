//! Two printers, six jobs. A semaphore queues the jobs fairly and says that *a* printer is free; a lock for each says
//! *which*. Start a sidecar first: `sidelock serve`.

use sidelock_client::{Client, Error, Lease};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;

/// Stands for a printer.
struct Printer {
    key: &'static str,
    busy: AtomicBool,
    jobs: AtomicU32,
}

impl Printer {
    const fn new(key: &'static str) -> Printer {
        Printer { key, busy: AtomicBool::new(false), jobs: AtomicU32::new(0) }
    }
}

static PRINTERS: [Printer; 2] = [Printer::new("printers/attic"), Printer::new("printers/ground-floor")];
const JOBS: u32 = 6;

/// A printer that is nobody else's, as long as its leases live: first its own, then the permit for one of them.
async fn allocate(sl: &Client) -> Result<(&'static Printer, [Lease; 2]), Error> {
    let permit = sl.semaphore("printers", PRINTERS.len() as u32).acquire().await?;
    loop {
        for printer in &PRINTERS {
            if let Some(own) = sl.lock(printer.key).wait(Duration::from_millis(10)).try_acquire().await? {
                return Ok((printer, [own, permit]));
            }
        }
    }
}

async fn print(sl: Client) -> Result<(), Error> {
    let (printer, _leases) = allocate(&sl).await?;
    assert!(!printer.busy.swap(true, Ordering::SeqCst), "two jobs on one printer");
    tokio::time::sleep(Duration::from_millis(50)).await;
    printer.busy.store(false, Ordering::SeqCst);
    printer.jobs.fetch_add(1, Ordering::SeqCst);
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let sl = Client::connect_default().await?;
    let jobs: JoinSet<_> = (0..JOBS).map(|_| print(sl.clone())).collect();
    jobs.join_all().await.into_iter().collect::<Result<(), Error>>()?;
    let printed = PRINTERS.each_ref().map(|printer| printer.jobs.load(Ordering::SeqCst));
    say(&format!("jobs of each printer: {printed:?}"));
    assert_eq!(printed.iter().sum::<u32>(), JOBS);
    Ok(())
}

#[expect(clippy::print_stdout, reason = "an example's output")]
fn say(text: &str) {
    println!("{text}");
}
