//! The binary as a shell sees it, with a real sidecar on the memory store.

mod demo;
mod once;
mod run;
mod settings;
mod stat;
mod support;
mod verbs;
