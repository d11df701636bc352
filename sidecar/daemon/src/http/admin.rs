//! The operators' door: HTTP on a socket of its own, for our own user and root.
//!
//! Owns what can be ordered there. Must not carry it out: it passes the order on.

use super::Door;
use super::force::force_unlock;
use super::path::key_bytes;
use super::problem::ProblemDocument;
use super::response::{Answer, json};
use super::route::read;
use crate::addressee;
use crate::handle::Peer;
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json as document;
use sidelock_wire::Code;
use std::convert::Infallible;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::sync::Notify;

/// A connection that sends no request within this is closed.
const HEAD_WITHIN: Duration = Duration::from_secs(5);
/// All that can be ordered, by this method.
const ORDER: &[Method] = &[Method::POST];
/// Where a key is taken from its holders; the key follows.
pub(crate) const FORCE_UNLOCK: &str = "/v1/force-unlock/";

/// See the module.
pub(crate) struct AdminDoor {
    leave: Rc<Notify>,
    door: Rc<Door>,
    /// The socket for clients.
    socket: PathBuf,
}

impl AdminDoor {
    /// `leave` starts what SIGTERM starts; `socket` is the one for clients.
    pub(crate) fn new(leave: Rc<Notify>, door: Rc<Door>, socket: PathBuf) -> AdminDoor {
        AdminDoor { leave, door, socket }
    }

    /// Serves one connection of an operator.
    pub(crate) async fn serve(&self, stream: UnixStream, peer: Peer) {
        let service = service_fn(|request| async move {
            let answer = self.answer(peer, request).await;
            Ok::<_, Infallible>(answer.unwrap_or_else(ProblemDocument::into_answer))
        });
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN);
        if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).await {
            tracing::debug!(%error, "an operator's connection ended early");
        }
    }

    async fn answer(&self, peer: Peer, request: Request<Incoming>) -> Result<Answer, ProblemDocument> {
        let (head, body) = request.into_parts();
        let path = head.uri.path();
        let key = path.strip_prefix(FORCE_UNLOCK);
        if key.is_none() && path != "/v1/drain" {
            let what = "the admin socket knows POST /v1/drain and POST /v1/force-unlock/{key}";
            return Err(ProblemDocument::new(Code::NotFound, what));
        }
        if head.method != Method::POST {
            return Err(ProblemDocument::wrong_method(&head.method, ORDER));
        }
        self.is_meant(&head.headers)?;
        let Some(key) = key else {
            self.leave.notify_one();
            return Ok(json(StatusCode::ACCEPTED, &document!({ "draining": true })));
        };
        let bytes = read(&self.door.gate, &head.headers, body).await?;
        force_unlock(&self.door, peer, &key_bytes(key), &bytes).await
    }

    /// Who looks for the admin socket beside a sidecar's finds that of another one, where two share the folder.
    fn is_meant(&self, headers: &HeaderMap) -> Result<(), ProblemDocument> {
        let Some(meant) = headers.get(addressee::HEADER) else { return Ok(()) };
        let ours = addressee::name(&self.socket);
        if ours.is_ok_and(|ours| meant.as_bytes() == ours.as_bytes()) {
            return Ok(());
        }
        let what = format!(
            "this admin socket is that of the sidecar at {}; another one in its folder has one of its own if it is started with --admin-socket",
            self.socket.display()
        );
        Err(ProblemDocument::new(Code::NotFound, &what))
    }
}
