//! The operators' door: HTTP on a socket of its own, for our own user and root.
//!
//! Owns what can be ordered there. Must not carry it out: it passes the order on.

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::sync::Notify;

/// A connection that sends no request within this is closed.
const HEAD_WITHIN: Duration = Duration::from_secs(5);

/// See the module.
pub(crate) struct AdminDoor {
    leave: Rc<Notify>,
}

impl AdminDoor {
    /// `leave` starts what SIGTERM starts.
    pub(crate) fn new(leave: Rc<Notify>) -> AdminDoor {
        AdminDoor { leave }
    }

    /// Serves one connection of an operator.
    pub(crate) async fn serve(&self, stream: UnixStream) {
        let service = service_fn(|request| async move { Ok::<_, Infallible>(self.answer(&request)) });
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN);
        if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).await {
            tracing::debug!(%error, "an operator's connection ended early");
        }
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        match (request.uri().path(), request.method()) {
            ("/v1/drain", &Method::POST) => {
                self.leave.notify_one();
                response(StatusCode::ACCEPTED, r#"{"draining":true}"#)
            }
            ("/v1/drain", _) => {
                let mut wrong = response(
                    StatusCode::METHOD_NOT_ALLOWED,
                    r#"{"status":405,"code":"bad_request","detail":"POST is allowed here"}"#,
                );
                wrong.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
                wrong
            }
            _ => response(
                StatusCode::NOT_FOUND,
                r#"{"status":404,"code":"not_found","detail":"the admin socket knows POST /v1/drain; everything else is on the main socket"}"#,
            ),
        }
    }
}

fn response(status: StatusCode, body: &'static str) -> Response<Full<Bytes>> {
    let kind = if status.is_success() { "application/json" } else { "application/problem+json" };
    let mut response = Response::new(Full::new(Bytes::from_static(body.as_bytes())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
