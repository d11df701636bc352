//! From the start of a sidecar to its readiness, and the size of its binary (B11).

use crate::Outcome;
use crate::figures::Figures;
use sidelock_e2e::sidecar::{Sidecar, binary};
use std::time::Instant;

/// B11.
pub(crate) fn ready(figures: &mut Figures) -> Outcome {
    let start = Instant::now();
    let sidecar = Sidecar::on_memory();
    figures.add("b11.ready", start.elapsed().as_secs_f64() * 1e3);
    drop(sidecar);
    figures.add("b11.binary", std::fs::metadata(binary())?.len() as f64 / (1024.0 * 1024.0));
    Ok(())
}
