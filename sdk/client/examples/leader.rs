//! Three instances of a scheduler: one leads, the others stand by; when it steps down, the next one leads in a higher term.
//! Start a sidecar first: `sidelock serve`; with `--redis` the instances may be on different hosts.

use sidelock_client::{Client, Error, Leadership};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// An instance: it stands for election, tells when it leads, and steps down when its work is done.
async fn instance(name: &'static str, leads: mpsc::Sender<(&'static str, u64)>) -> Result<(), Error> {
    let sl = Client::builder().app(name).connect().await?;
    let leadership = sl.leader("scheduler").wait(Duration::from_secs(10)).campaign().await?;
    tokio::select! {
        // What it does goes to everybody with its term, so that nobody obeys a leader of the past.
        () = schedule(name, &leadership, &leads) => leadership.resign().await,
        reason = leadership.lost() => Err(Error::LeaseLost { key: "leader/scheduler".into(), reason }),
    }
}

async fn schedule(name: &'static str, leadership: &Leadership, leads: &mpsc::Sender<(&'static str, u64)>) {
    assert!(leadership.is_valid());
    tokio::time::sleep(Duration::from_millis(50)).await;
    // That nobody listens any more is not the leader's business.
    let _ = leads.send((name, leadership.term())).await;
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let (leads, mut led) = mpsc::channel(3);
    let mut instances = JoinSet::new();
    for name in ["a", "b", "c"] {
        instances.spawn(instance(name, leads.clone()));
    }
    drop(leads);
    let mut terms = Vec::new();
    while let Some((name, term)) = led.recv().await {
        say(&format!("{name} led in term {term}"));
        terms.push(term);
    }
    instances.join_all().await.into_iter().collect::<Result<(), Error>>()?;
    assert!(terms.len() == 3 && terms.is_sorted(), "one after the other, in rising terms: {terms:?}");
    Ok(())
}

#[expect(clippy::print_stdout, reason = "an example's output")]
fn say(text: &str) {
    println!("{text}");
}
