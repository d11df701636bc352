//! The SDK against a scripted peer: a test double of the wire protocol that says exactly what a case needs, in the order
//! that it needs. How the real sidecar answers is tested in `tests/e2e`.

mod blocking;
mod cancel;
mod close;
#[cfg(feature = "embedded")]
mod cut_off;
mod fork;
mod leases;
mod once;
mod peer;
mod reconnect;
mod registers;
mod requests;
mod several;
mod write_through;
