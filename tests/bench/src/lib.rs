//! Benchmarks against the socket floor and the peers.
