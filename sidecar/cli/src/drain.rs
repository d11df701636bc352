//! `drain`: let the sidecar finish and end.
//!
//! Owns nothing but the request; what draining means is the sidecar's business.

use crate::door::ask;
use crate::failure::Failure;
use crate::socket::Socket;
use clap::Args;
use hyper::Method;
use std::path::PathBuf;

/// Arguments of `drain`.
#[derive(Args, Debug)]
pub(crate) struct DrainArgs {
    /// The operators' socket [default: admin.sock beside the sidecar's socket]
    #[arg(long, value_name = "PATH", env = "SIDELOCK_ADMIN_SOCKET")]
    admin_socket: Option<PathBuf>,
    #[command(flatten)]
    socket: Socket,
}

/// Asks for it, and does not wait for the end.
pub(crate) async fn drain(args: DrainArgs) -> Result<(), Failure> {
    let admin = match args.admin_socket {
        Some(path) => Socket::at(path),
        None => args.socket.admin()?,
    };
    ask(&admin, Method::POST, "/v1/drain", None).await.map(drop)
}
