//! Deterministic simulation of several engines on a model store, and the history checker.
//!
//! [`checker`] judges histories, whoever recorded them. [`world`] produces them: a virtual fleet with faults, decided by one
//! number, the seed. [`runner`] runs many seeds.
#![forbid(unsafe_code)]

pub mod checker;
pub mod runner;
pub mod world;
