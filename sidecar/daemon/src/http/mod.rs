//! The HTTP door: curl's way to the same locks.
//!
//! Owns HTTP/1.1 and its JSON. Both doors bring the same requests to the same gate; must not know the engine's rules or
//! frames. Read the files in the order of the road of a request: `connection` reads it, with `patience` for who reads the
//! answer, `route` finds who answers, `path` and `body` decode it, `acquire`, `lease`, `register`, `stream`, `watch` and
//! `pages` answer through a `call`, `problem` says no. `admin` is the operators' own door, where `force` can be ordered.

pub(crate) mod admin;
mod connection;
mod patience;
mod route;
mod path;
mod body;
mod call;
mod acquire;
mod once;
mod repeat;
mod lease;
mod register;
mod base64;
mod stream;
mod force;
mod watch;
mod parties;
mod views;
mod fleet;
mod graph;
mod pages;
mod policies;
mod openapi;
mod problem;
mod response;

#[cfg(test)]
mod tests;

use crate::gate::Gate;
use crate::handle::{Handle, Peer};
use crate::metrics::Metrics;
use std::rc::Rc;
use tokio::net::UnixStream;

/// The door. One for all connections; lives on the sidecar's thread.
pub(crate) struct Door {
    handle: Handle,
    gate: Gate,
    metrics: Rc<Metrics>,
    repeats: repeat::Repeats,
    fleet: fleet::Questions,
}

impl Door {
    /// A door to this driver.
    pub(crate) fn new(handle: Handle, gate: Gate, metrics: Rc<Metrics>) -> Rc<Door> {
        Rc::new(Door {
            handle,
            gate,
            metrics,
            repeats: repeat::Repeats::default(),
            fleet: fleet::Questions::default(),
        })
    }

    /// Serves one connection of the socket until either side hangs up. Once `leaving` is done no further request is
    /// taken; one that is being answered goes on. Dropping the future hangs up.
    pub(crate) async fn serve(
        self: Rc<Self>,
        stream: UnixStream,
        peer: Peer,
        leaving: impl Future<Output = ()>,
    ) {
        connection::serve(self, stream, peer, leaving).await;
    }

    /// Serves one connection of the probe listener: health and metrics, and nothing else.
    pub(crate) async fn serve_probe(self: Rc<Self>, stream: tokio::net::TcpStream) {
        connection::serve_probe(self, stream).await;
    }
}
