//! One connection: HTTP/1.1 by hyper, within limits.
//!
//! Owns what a connection may cost before and between requests, and noticing which side hung up. Must not know paths.
//!
//! hyper looks for the end of a connection while a request waits, unless the client has already sent its next request
//! behind it: such a client that leaves is noticed when the wait ends, after `http_wait_max` at the latest.

use super::Door;
use super::call::Caller;
use super::patience::Patient;
use super::response::Endless;
use super::route;
use crate::handle::Peer;
use hyper::Request;
use hyper::body::Incoming;
use hyper::header::{HeaderMap, USER_AGENT};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::timeout;

/// From the end of one request (or the start of the connection) to the end of the next one's head. Cuts off who sends a
/// byte now and then, and who keeps an idle connection.
const HEAD_TIME_MAX: Duration = Duration::from_secs(30);
/// The same for probers, who have one request a connection; and until they have read the answer.
const PROBE_HEAD_TIME_MAX: Duration = Duration::from_secs(2);
const PROBE_TIME_MAX: Duration = Duration::from_secs(5);
/// Bytes of a request's head. A key of 512 bytes, all of them percent-encoded, is 1.5 KiB.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Headers of a request.
const HEADERS_MAX: usize = 64;
/// Bytes read ahead of what is understood, and so the memory of a connection that sends faster than it is served.
const BUFFER_BYTES_MAX: usize = 32 << 10;
/// Requests of a connection after which others have their turn (H15). A client that does not wait for answers gives hyper
/// and the driver always something to do, and meanwhile tokio looks at other sockets only once in sixty-one polls.
const REQUESTS_IN_A_ROW: u32 = 2;
/// What a client may call itself, in bytes; the rest is cut.
const APP_BYTES_MAX: usize = 128;

/// What is to be known about a connection beside its requests.
#[derive(Default)]
pub(crate) struct Line {
    peer_left: Cell<bool>,
    hang_up: Notify,
    /// The answer under way, if it is one that goes on for as long as its client likes.
    endless: Rc<RefCell<Option<Endless>>>,
    /// Requests taken in this turn.
    taken: Cell<u32>,
}

impl Line {
    /// Whether it ended because the peer closed it, or does not read. Otherwise the sidecar hung up, or it still stands.
    pub(crate) fn peer_left(&self) -> bool {
        self.peer_left.get()
    }

    /// Before each request: waits for the next turn if this one is over.
    async fn pause_between(&self) {
        if self.taken.get() == REQUESTS_IN_A_ROW {
            self.taken.set(0);
            yield_now().await;
        }
        self.taken.set(self.taken.get() + 1);
    }

    /// Ends the connection from our side, whatever is still unsent.
    pub(crate) fn hang_up(&self) {
        self.hang_up.notify_one();
    }
}

/// See [`Door::serve`].
pub(super) async fn serve(door: Rc<Door>, stream: UnixStream, peer: Peer, leaving: impl Future<Output = ()>) {
    let line = Rc::new(Line::default());
    let service = service_fn(|request: Request<Incoming>| {
        let app = app_of(request.headers());
        let caller = Caller { door: door.clone(), line: line.clone(), peer, app };
        async move {
            caller.line.pause_between().await;
            let line = caller.line.clone();
            let answer = route::answer(caller, request).await;
            line.endless.replace(Endless::of(&answer));
            Ok::<_, Infallible>(answer)
        }
    });
    let mut leaving = pin!(leaving);
    // Who comes while it leaves is still told so, once: an idle connection would be closed without a word.
    let mut left = poll_fn(|cx| Poll::Ready(leaving.as_mut().poll(cx).is_ready())).await;
    let stream = TokioIo::new(Patient::new(stream, line.endless.clone()));
    let mut connection = pin!(builder().keep_alive(!left).serve_connection(stream, service));
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => {
                line.peer_left.set(true);
                return note(ended);
            }
            () = line.hang_up.notified() => return,
            () = leaving.as_mut(), if !left => {
                left = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// See [`Door::serve_probe`].
pub(super) async fn serve_probe(door: Rc<Door>, stream: TcpStream) {
    let service = service_fn(|request: Request<Incoming>| {
        let door = door.clone();
        async move { Ok::<_, Infallible>(route::answer_probe(&door, &request).await) }
    });
    let mut builder = builder();
    builder.keep_alive(false).header_read_timeout(PROBE_HEAD_TIME_MAX);
    // Places are few, and a kubelet that finds none takes the sidecar for dead: whoever has one leaves soon.
    match timeout(PROBE_TIME_MAX, builder.serve_connection(TokioIo::new(stream), service)).await {
        Ok(ended) => note(ended),
        Err(_) => tracing::debug!("a prober took too long to read its answer"),
    }
}

fn builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME_MAX)
        .max_header_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .max_buf_size(BUFFER_BYTES_MAX);
    builder
}

/// A connection that broke is the client's affair; it is noted for who looks for it.
fn note(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "an HTTP connection ended early");
    }
}

/// What the client calls itself, for people to read.
fn app_of(headers: &HeaderMap) -> Rc<str> {
    let name = headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or("http");
    // `to_str` admits visible ASCII only, so every byte is a character.
    name[..name.len().min(APP_BYTES_MAX)].into()
}
