//! Sidelock's Rust SDK.
