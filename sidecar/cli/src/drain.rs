//! `drain`: let the sidecar finish and end; and where orders like it are given.
//!
//! Owns nothing but the request; what draining means is the sidecar's business.

use crate::door::ask;
use crate::failure::Failure;
use crate::socket::Socket;
use clap::Args;
use hyper::Method;
use std::path::PathBuf;

/// The socket that takes orders.
#[derive(Args, Debug)]
pub(crate) struct Admin {
    /// The operators' socket [default: admin.sock beside the sidecar's socket]
    #[arg(long, value_name = "PATH", env = "SIDELOCK_ADMIN_SOCKET")]
    admin_socket: Option<PathBuf>,
    #[command(flatten)]
    socket: Socket,
}

impl Admin {
    /// Where it is.
    pub(crate) fn socket(self) -> Result<Socket, Failure> {
        match self.admin_socket {
            Some(path) => Ok(Socket::at(path)),
            None => self.socket.admin(),
        }
    }
}

/// Arguments of `drain`.
#[derive(Args, Debug)]
pub(crate) struct DrainArgs {
    #[command(flatten)]
    admin: Admin,
}

/// Asks for it, and does not wait for the end.
pub(crate) async fn drain(args: DrainArgs) -> Result<(), Failure> {
    ask(&args.admin.socket()?, Method::POST, "/v1/drain", None).await.map(drop)
}
