//! A sidecar inside a program: its own thread, the memory store, no file and no socket path.
//!
//! Owns the thread. Its locks reach the program alone (scope `process`); everything else is as in a sidecar process, so
//! that what is tested with it holds with a real one.

use crate::config::Config;
use crate::handle::Peer;
use crate::sidecar::{Home, Sidecar};
use std::io;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::thread::JoinHandle;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc;
use tokio::task::spawn_local;

/// An embedded sidecar. Dropping it ends it, and every connection to it.
#[derive(Debug)]
pub struct Embedded {
    /// Ends of new connections, for the thread. `None` only while dropping.
    connections: Option<mpsc::UnboundedSender<UnixStream>>,
    thread: Option<JoinHandle<()>>,
}

/// Starts an embedded sidecar.
///
/// # Errors
/// The system gives no thread or no event queue.
pub fn embedded() -> io::Result<Embedded> {
    let (connections, arrivals) = mpsc::unbounded_channel();
    // Made here, so that what can fail fails here; it does not leave its thread again.
    let mut builder = Builder::new_current_thread();
    builder.enable_all();
    let (ready, is_ready) = std::sync::mpsc::sync_channel(1);
    let thread = std::thread::Builder::new().name("sidelock".into()).spawn(move || {
        match builder.build_local(LocalOptions::default()) {
            Ok(runtime) => {
                // The one who asks waits for this.
                let _ = ready.send(Ok(()));
                runtime.block_on(serve(arrivals));
            }
            Err(error) => drop(ready.send(Err(error))),
        }
    })?;
    is_ready.recv().map_err(|_| io::Error::other("the embedded sidecar's thread ended"))??;
    Ok(Embedded { connections: Some(connections), thread: Some(thread) })
}

impl Embedded {
    /// A new connection: the client's end, blocking, as if just connected. It speaks frames.
    ///
    /// # Errors
    /// The process has no descriptors left.
    pub fn connect(&self) -> io::Result<UnixStream> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let sent = self.connections.as_ref().map(|connections| connections.send(ours));
        match sent {
            Some(Ok(())) => Ok(theirs),
            _ => Err(io::Error::new(io::ErrorKind::ConnectionRefused, "the embedded sidecar has ended")),
        }
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.connections = None;
        if let Some(thread) = self.thread.take() {
            // It has no more to say; that it panicked was printed where it did.
            let _ = thread.join();
        }
    }
}

async fn serve(mut arrivals: mpsc::UnboundedReceiver<UnixStream>) {
    let sidecar =
        Sidecar::start(&Config::default(), Home::Embedded).expect("the memory store needs no setting");
    sidecar.handle.health().set_started();
    let peer = Peer { uid: rustix::process::geteuid().as_raw(), gid: rustix::process::getegid().as_raw() };
    let frames = Rc::new(sidecar.frames());
    let mut driver = sidecar.driver;
    loop {
        let arrived = tokio::select! {
            arrived = arrivals.recv() => arrived,
            // A bug; connections end with this thread, and their clients are told so by that.
            _ = &mut driver => return,
        };
        let Some(stream) = arrived else { return };
        match tokio::net::UnixStream::from_std(stream) {
            Ok(stream) => {
                let frames = frames.clone();
                spawn_local(async move { frames.serve(stream, peer).await });
            }
            Err(error) => tracing::error!(%error, "a connection to the embedded sidecar was dropped"),
        }
    }
}
