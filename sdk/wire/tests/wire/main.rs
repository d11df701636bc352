//! The frames, from outside: golden bytes, and what must hold for all bytes.

#![allow(clippy::unwrap_used, reason = "a test that can not go on fails")]

mod golden;
mod properties;
mod support;
