//! The lock sidecar: `serve`, and the operator's verbs.
fn main() {}
