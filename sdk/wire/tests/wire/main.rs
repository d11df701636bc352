//! The frames, from outside: golden bytes, and what must hold for all bytes.

mod golden;
mod properties;
mod support;
