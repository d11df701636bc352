//! Which sidecar a verb speaks to.
//!
//! Owns the flag. Where sockets usually are is the SDK's knowledge, so that verbs and programs find the same one.

use crate::failure::Failure;
use clap::Args;
use sidelock_daemon::addressee;
use std::path::{Path, PathBuf};
use tokio::net::UnixStream;

/// The sidecar to speak to.
#[derive(Args, Debug, Clone)]
pub(crate) struct Socket {
    /// The sidecar's socket [default: $SIDELOCK_SOCKET, then the first that exists of the usual places]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Of an operators' socket that was found beside one for clients: that one. Two sidecars may share the folder.
    #[arg(skip)]
    beside: Option<PathBuf>,
}

impl Socket {
    /// This one.
    pub(crate) fn at(path: PathBuf) -> Socket {
        Socket { socket: Some(path), beside: None }
    }

    /// One in the usual places.
    pub(crate) fn usual() -> Socket {
        Socket { socket: None, beside: None }
    }

    /// What the caller said, if anything.
    pub(crate) fn said(&self) -> Option<&Path> {
        self.socket.as_deref()
    }

    /// Where it is.
    pub(crate) fn path(&self) -> Result<PathBuf, Failure> {
        match &self.socket {
            Some(path) => Ok(path.clone()),
            None => Ok(sidelock_client::socket_path()?),
        }
    }

    /// The operators' socket that belongs to it.
    pub(crate) fn admin(&self) -> Result<Socket, Failure> {
        let beside = self.path()?;
        Ok(Socket { socket: Some(addressee::admin_socket(&beside)), beside: Some(beside) })
    }

    /// The sidecar whose it has to be. None: whoever's it is.
    pub(crate) fn addressee(&self) -> Result<Option<String>, Failure> {
        let Some(beside) = &self.beside else { return Ok(None) };
        let named = addressee::name(beside);
        named.map(Some).map_err(|error| Failure::Unreachable { path: beside.clone(), error })
    }

    /// Connects to it.
    pub(crate) async fn connect(&self) -> Result<UnixStream, Failure> {
        let path = self.path()?;
        let connected = UnixStream::connect(&path).await;
        connected.map_err(|error| Failure::Unreachable { path, error })
    }
}
