//! More than one at a time: a semaphore, and readers with a writer among them (B12).

use super::contended::note;
use crate::Outcome;
use crate::figures::Figures;
use crate::lab::Lab;
use crate::load::{self, Effort};
use crate::ours::Ours;

const TASKS: usize = 64;
const PERMITS: u32 = 10;

/// B12.
pub(crate) async fn permits_and_readers(lab: &mut Lab, figures: &mut Figures) -> Outcome {
    let (_sidecar, client) = lab.sidecar().await?;
    lab.floor(figures, "b12").await?;
    let semaphore = client.semaphore("b12/semaphore", PERMITS);
    let locks = (0..TASKS).map(|_| Ours(semaphore.permits(1))).collect();
    note(figures, "b12.semaphore", &mut load::crowd(locks, Effort::of(lab.span)).await?);
    let catalog = client.rwlock("b12/catalog");
    let locks = (0..TASKS).map(|task| Ours(if task == 0 { catalog.write() } else { catalog.read() }));
    let mut crowd = load::crowd(locks.collect(), Effort::of(lab.span)).await?;
    note(figures, "b12.readers", &mut crowd);
    figures.add("b12.writer", crowd.shares[0] as f64 / crowd.span.as_secs_f64());
    Ok(())
}
