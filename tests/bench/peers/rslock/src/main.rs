//! `rslock` with its default settings, as one process of a crowd.
//!
//! Reads lines `NUMBER SOCKET KEY SECONDS TASKS`; for each, so many tasks with one lock manager acquire and release for that
//! long, and it answers `NUMBER WAIT:CYCLE … | WAIT:CYCLE …`: for each task its grants, microseconds from asking to having
//! and until it was given back.

use rslock::LockManager;
use std::cell::RefCell;
use std::error::Error;
use std::io::{BufRead, Write};
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::task::LocalSet;

const TTL: Duration = Duration::from_secs(10);

fn main() -> Result<(), Box<dyn Error>> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "ready")?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let [number, url, key, seconds, tasks] = line.split(' ').collect::<Vec<_>>()[..] else {
            return Err(format!("no order: {line}").into());
        };
        let manager = LockManager::new(vec![url.to_owned()]);
        let span = Duration::from_secs_f64(seconds.parse()?);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let done = LocalSet::new().block_on(&runtime, crowd(manager, key, span, tasks.parse()?));
        let done: Vec<_> = done.iter().map(|cycles| cycles.join(" ")).collect();
        writeln!(out, "{number} {}", done.join(" | "))?;
    }
    Ok(())
}

async fn crowd(manager: LockManager, key: &str, span: Duration, tasks: usize) -> Vec<Vec<String>> {
    let done = Rc::new(RefCell::new(vec![Vec::new(); tasks]));
    let end = Instant::now() + span;
    let members: Vec<_> = (0..tasks)
        .map(|task| {
            let (manager, key, done) = (manager.clone(), key.to_owned(), done.clone());
            tokio::task::spawn_local(async move {
                loop {
                    let start = Instant::now();
                    let guard = manager.acquire(key.as_str(), TTL).await.expect("the time to live is small");
                    let having = Instant::now();
                    guard.release().await;
                    if having >= end {
                        return;
                    }
                    let cycle = format!("{}:{}", (having - start).as_micros(), start.elapsed().as_micros());
                    done.borrow_mut()[task].push(cycle);
                }
            })
        })
        .collect();
    for member in members {
        member.await.expect("a task does not panic");
    }
    done.take()
}
