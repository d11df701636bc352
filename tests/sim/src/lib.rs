//! Deterministic simulation of several engines on a model store, and the history checker.
