//! What the fuzz targets hold on to: the HTTP door without a socket file, and the gate without a connection.
//!
//! Owns nothing and decides nothing: each item is a part of the sidecar as it is, made reachable for `tests/fuzz`. No
//! release has the feature that compiles this.

use crate::config::Config;
use crate::gate;
use crate::handle::Peer;
use crate::http::Door;
use crate::identity::Identity;
use crate::metrics::Metrics;
use crate::rules::InForce;
use crate::sidecar::{Home, Sidecar};
use sidelock_engine::survey::Around;
use sidelock_engine::{Input, SessionId};
use sidelock_wire::{Code, ToSidecar};
use std::future::pending;
use std::io;
use std::rc::Rc;
use tokio::net::UnixStream;
use tokio::task::{JoinHandle, spawn_local};

/// A whole sidecar on the memory store with nothing but its HTTP door. It ends with the runtime it was made on.
pub struct HttpDoor {
    door: Rc<Door>,
}

impl HttpDoor {
    /// Starts the sidecar, on a local runtime.
    ///
    /// # Panics
    /// If the settings ask for another store than memory.
    pub fn open(config: &Config) -> HttpDoor {
        let sidecar = Sidecar::start(config, Home::Host(None)).expect("the memory store needs nothing");
        let door = Door::new(sidecar.handle.clone(), sidecar.handle.gate().clone(), sidecar.metrics.clone());
        sidecar.handle.health().set_started();
        HttpDoor { door }
    }

    /// A new connection: the client's end, and the task that serves the other one. The task panics if the door does.
    ///
    /// # Errors
    /// The process has no descriptors left.
    pub fn connect(&self) -> io::Result<(UnixStream, JoinHandle<()>)> {
        const CLIENT: Peer = Peer { uid: 1000, gid: 1000 };
        let (ours, theirs) = UnixStream::pair()?;
        Ok((theirs, spawn_local(self.door.clone().serve(ours, CLIENT, pending()))))
    }
}

/// The gate by itself: what a client's message is to the engine.
pub struct Gate(gate::Gate);

impl Gate {
    /// A gate with these limits and classes.
    pub fn new(config: &Config) -> Gate {
        let identity = Rc::new(Identity::new(config.store(), &config.namespace, false));
        let metrics = Rc::new(Metrics::new(&identity));
        Gate(gate::Gate::new(InForce::new(config), identity, metrics))
    }

    /// Admits what a greeted session says, as the frame door has it admitted.
    ///
    /// # Errors
    /// The code of the refusal. A second hello is a mistake of the whole connection, and one here.
    pub fn admit(&self, session: SessionId, message: &ToSidecar<'_>) -> Result<Input, Code> {
        let Gate(gate) = self;
        let admitted = match message {
            ToSidecar::Acquire(ask) => gate.acquire(session, ask),
            ToSidecar::AcquireAll(ask) => gate.acquire_all(session, ask),
            ToSidecar::Renew { request, lease, ttl } => gate.renew(session, *request, *lease, *ttl),
            ToSidecar::Release { request, lease } => Ok(gate.release(session, *request, *lease)),
            ToSidecar::Register(asked) => gate.register(session, asked),
            ToSidecar::Finish { request, lease, result } => gate.finish(session, *request, *lease, result),
            ToSidecar::Cancel { request } => Ok(gate.cancel(session, *request)),
            ToSidecar::Change(change) => gate.change(session, change),
            ToSidecar::Ping => Ok(gate.ping(session)),
            ToSidecar::Holders(ask) => {
                let around = gate.key(ask.key).map(Around::Alone).map_err(|problem| problem.code)?;
                return Ok(Input::Survey { ticket: ask.request, around });
            }
            ToSidecar::Hello(_) => return Err(Code::BadRequest),
        };
        admitted.map(|admitted| admitted.into_parts().0).map_err(|problem| problem.code)
    }
}
