//! `drain`: let the sidecar finish and end; and where orders like it are given.
//!
//! Owns nothing but the request; what draining means is the sidecar's business.

use crate::door::{ask, in_time};
use crate::failure::Failure;
use crate::output::tell;
use crate::socket::Socket;
use clap::Args;
use hyper::Method;
use std::path::PathBuf;

/// The socket that takes orders.
#[derive(Args, Debug)]
pub(crate) struct Admin {
    /// The operators' socket [default: admin.sock beside the one of --socket, if that is given; $SIDELOCK_ADMIN_SOCKET; beside
    /// the sidecar's usual socket]
    #[arg(long, value_name = "PATH")]
    admin_socket: Option<PathBuf>,
    #[command(flatten)]
    socket: Socket,
}

impl Admin {
    /// Where it is. A flag goes before a variable, also where it names the sidecar by its other socket.
    pub(crate) fn socket(self) -> Result<Socket, Failure> {
        let named =
            || std::env::var_os("SIDELOCK_ADMIN_SOCKET").filter(|path| !path.is_empty()).map(PathBuf::from);
        let path = self.admin_socket.or_else(|| if self.socket.said().is_none() { named() } else { None });
        match path {
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
    in_time(ask(&args.admin.socket()?, Method::POST, "/v1/drain", None)).await?;
    tell(
        "it drains: it ends when what is held has come back, at the latest after its drain_grace; nobody waits for that here",
    );
    Ok(())
}
