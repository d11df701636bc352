//! Load: what a sidecar costs when it is full, that it gives everything back, and that one client's flood is not
//! everybody's.
//!
//! Real processes. Every figure is printed as a line `measured: …` and held against its goal. By default all sizes fit
//! into a minute and a half; with `SIDELOCK_LOAD=full` they are those of the goals.

mod churn;
mod connections;
mod crowd;
mod figures;
mod flood;
mod leases;
mod slow_readers;
mod waiters;
