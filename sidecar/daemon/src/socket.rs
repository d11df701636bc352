//! Accepting: from a connection to the door that serves it.
//!
//! Owns what a peer begins with, by which frames, HTTP and neither are told apart, who is sent away before anything is
//! parsed, and that a shortage of descriptors or places hurts nobody who is in already (H13). Must not know requests.

use crate::frames::{FrameDoor, HELLO_WITHIN};
use crate::handle::{Handle, Peer};
use crate::listener::Listener;
use crate::metrics::Metrics;
use crate::peer::Allow;
use crate::problem::Problem;
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use rustix::process::{Resource, getrlimit, setrlimit};
use sidelock_wire::{Code, ToClient};
use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

/// How often the socket's file is looked after.
const HEAL_EVERY: Duration = Duration::from_secs(1);
/// After a failed accept: long enough not to spin, short enough not to be missed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Descriptors that connections leave free: the store's connections and files need some at any time.
const FDS_RESERVED: u64 = 16;

/// Peers that are being told why they are sent away. A crowd of them takes no place of those who may come in.
const SENT_AWAY_MAX: u32 = 64;

/// What is looked at of what a peer begins with: the first line of a request that a person typed, and of most others.
const OPENING_BYTES: usize = 512;

/// One socket: who may come in, and to which doors.
pub(crate) struct Entrance {
    /// What is behind it.
    pub(crate) doors: Doors,
    /// Who may connect.
    allow: RefCell<Allow>,
    /// The driver, for limits.
    pub(crate) handle: Handle,
    /// Where those who are sent away are counted.
    metrics: Rc<Metrics>,
    /// Connections now.
    connections: Cell<u32>,
    /// … of those who are sent away.
    sent_away: Cell<u32>,
    /// Since it was said that there is no room, nobody found any.
    is_full: Cell<bool>,
}

/// What is behind a socket.
pub(crate) enum Doors {
    /// For clients: frames, and HTTP where it is built in.
    Clients {
        /// Speaks frames.
        frames: FrameDoor,
        /// Speaks HTTP.
        #[cfg(feature = "http")]
        http: Rc<crate::http::Door>,
        /// Turns true when no further HTTP request shall be taken.
        #[cfg(feature = "http")]
        leaving: tokio::sync::watch::Receiver<bool>,
    },
    /// For operators.
    #[cfg(feature = "http")]
    Operators(crate::http::admin::AdminDoor),
}

impl Entrance {
    /// An entrance nobody has come through yet.
    pub(crate) fn new(doors: Doors, allow: Allow, handle: Handle, metrics: Rc<Metrics>) -> Rc<Entrance> {
        let (connections, sent_away, is_full) = Default::default();
        let allow = RefCell::new(allow);
        Rc::new(Entrance { doors, allow, handle, metrics, connections, sent_away, is_full })
    }

    /// From now on, who may connect.
    pub(crate) fn allow(&self, allow: Allow) {
        *self.allow.borrow_mut() = allow;
    }

    /// Accepts until the task is dropped. Connections get descriptors below `fds_max` only; see [`fds_for_connections`].
    pub(crate) async fn run(self: Rc<Self>, mut listener: Listener, fds_max: u64) {
        let mut short = false;
        loop {
            let accepted = tokio::select! {
                biased;
                accepted = listener.accept() => accepted,
                () = sleep(HEAL_EVERY) => {
                    look_after(&mut listener);
                    continue;
                }
            };
            match accepted {
                Ok(stream) if stream.as_raw_fd() as u64 >= fds_max => {
                    tell_once(&mut short, &Errno::MFILE.into());
                    drop(stream);
                }
                Ok(stream) => {
                    short = false;
                    spawn_local(self.clone().welcome(stream));
                }
                Err(error) => {
                    tell_once(&mut short, &error);
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Serves one connection to its end.
    pub(crate) async fn welcome(self: Rc<Self>, stream: UnixStream) {
        let admitted = match self.allow.borrow().admit(&stream) {
            Ok(Ok(peer)) => self.room().map(|place| (peer, place)),
            Ok(Err(problem)) => {
                tracing::warn!(problem = %problem.message, "peer_refused");
                Err(problem)
            }
            Err(error) => return tracing::warn!(%error, "can not tell who connects"),
        };
        let problem = match admitted {
            Ok((peer, _place)) => {
                let Ok(Ok(opening)) = timeout(HELLO_WITHIN, peek(&stream)).await else { return };
                match opening.check() {
                    Ok(()) => self.serve(stream, peer, opening).await,
                    Err(problem) => send_away(&stream, &problem, opening),
                }
                return;
            }
            Err(problem) => problem,
        };
        self.metrics.bare_request("connect", problem.code.name());
        let Some(_place) = Occupied::one_of(&self.sent_away, SENT_AWAY_MAX) else { return };
        let Ok(Ok(opening)) = timeout(HELLO_WITHIN, peek(&stream)).await else { return };
        send_away(&stream, &problem, opening);
    }

    #[cfg_attr(
        not(feature = "http"),
        expect(unused_variables, reason = "without HTTP there is nothing to tell apart")
    )]
    async fn serve(&self, stream: UnixStream, peer: Peer, opening: Opening) {
        match &self.doors {
            #[cfg(feature = "http")]
            Doors::Clients { http, leaving, .. } if opening == Opening::Http => {
                let mut leaving = leaving.clone();
                // That the sender is gone means leaving too.
                let leaving = async move { drop(leaving.wait_for(|leaving| *leaving).await) };
                http.clone().serve(stream, peer, leaving).await;
            }
            Doors::Clients { frames, .. } => frames.serve(stream, peer).await,
            #[cfg(feature = "http")]
            Doors::Operators(admin) => admin.serve(stream, peer).await,
        }
    }

    fn room(&self) -> Result<Occupied<'_>, Problem> {
        let max = self.handle.gate().rules().limits.sessions_max;
        let place = Occupied::one_of(&self.connections, max);
        let was_full = self.is_full.replace(place.is_none());
        if let Some(place) = place {
            return Ok(place);
        }
        let message = format!("the sidecar has {max} connections already (sessions_max)");
        if !was_full {
            tracing::warn!("connections_refused: {message}; not said again until one finds room");
        }
        Err(Problem::new(Code::TooMany, message).limited(max))
    }
}

/// A connection's place, given back on drop.
struct Occupied<'a>(&'a Cell<u32>);

impl Occupied<'_> {
    /// Nothing if all of them are occupied.
    fn one_of(count: &Cell<u32>, max: u32) -> Option<Occupied<'_>> {
        (count.get() < max).then(|| {
            count.set(count.get() + 1);
            Occupied(count)
        })
    }
}

impl Drop for Occupied<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

fn look_after(listener: &mut Listener) {
    match listener.heal() {
        Ok(false) => {}
        Ok(true) => {
            tracing::warn!(path = %listener.path().display(), "the socket's file was gone; listening anew")
        }
        Err(error) => tracing::warn!(%error, "the socket's file is gone, and clients can not find us"),
    }
}

fn tell_once(short: &mut bool, error: &io::Error) {
    if !std::mem::replace(short, true) {
        tracing::error!(%error, "can not take further connections; those that stand are served. Raise the limit of open files");
    }
}

/// Raises our limit of descriptors as far as it goes; how many of them connections may have. The kernel hands out the
/// lowest free one, so that a connection with a higher one means that the reserve is being used.
pub(crate) fn fds_for_connections() -> u64 {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        // What is refused leaves the old limit, which is read back.
        let _ = setrlimit(Resource::Nofile, limit);
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX).saturating_sub(FDS_RESERVED)
}

/// What a peer speaks, as it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opening {
    /// HTTP, as far as can be told.
    Http,
    /// A line of text that is no request.
    Text,
    /// Frames, or nothing that is known here.
    Frames,
}

impl Opening {
    /// A first line that is whole tells whether it is a request. Without that, the library would answer with a bare status.
    fn of(bytes: &[u8]) -> Opening {
        let mut lines = bytes.split(|byte| *byte == b'\n');
        let line = lines.next().unwrap_or_default().trim_ascii_end();
        let is_whole = lines.next().is_some();
        match bytes.first() {
            Some(letter) if letter.is_ascii_alphabetic() => {
                let is_request = line.ends_with(b" HTTP/1.1") || line.ends_with(b" HTTP/1.0");
                if is_whole && !is_request { Opening::Text } else { Opening::Http }
            }
            _ => Opening::Frames,
        }
    }

    fn check(self) -> Result<(), Problem> {
        let message =
            "this is no request of HTTP/1.1, which begins with a line such as: GET /v1/info HTTP/1.1";
        match self {
            Opening::Text => Err(Problem::new(Code::BadRequest, message)),
            Opening::Http | Opening::Frames => Ok(()),
        }
    }
}

/// What a peer begins with, left where it is.
async fn peek(stream: &UnixStream) -> io::Result<Opening> {
    let mut bytes = [0; OPENING_BYTES];
    let look = || match recv(stream, &mut bytes, RecvFlags::PEEK) {
        Ok((_, 0)) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok((_, read)) => Ok(read),
        Err(error) => Err(io::Error::from(error)),
    };
    let read = stream.async_io(Interest::READABLE, look).await?;
    Ok(Opening::of(&bytes[..read.min(OPENING_BYTES)]))
}

/// Says why in the peer's own protocol, and lets the connection drop.
fn send_away(stream: &UnixStream, problem: &Problem, opening: Opening) {
    let mut bytes = Vec::new();
    if opening != Opening::Frames {
        bytes.extend(http_refusal(problem).as_bytes());
    } else {
        ToClient::Goodbye { code: problem.code, message: problem.message.clone() }.encode(&mut bytes);
    }
    // A fresh socket takes a few hundred bytes; who has hung up needs no answer.
    let _ = stream.try_write(&bytes);
    // Closing on unread bytes would reset the connection, and a hasty reader would see that instead of the answer.
    let _ = stream.try_read(&mut [0; 4096]);
}

/// A whole HTTP answer without an HTTP library: nothing of the request may be parsed. Our own messages need no escapes.
fn http_refusal(problem: &Problem) -> String {
    let (status, code, detail) = (problem.code.http_status(), problem.code.name(), &problem.message);
    let limit = problem.detail.limit.map(|limit| format!(r#","limit":{limit}"#)).unwrap_or_default();
    let (retry, pause) = match problem.code.retry_after() {
        true => ("retry-after: 1\r\n", r#","retry_after":1.0"#),
        false => ("", ""),
    };
    let body = format!(
        r#"{{"title":"{code}","status":{status},"code":"{code}","detail":"{detail}"{limit}{pause}}}"#
    );
    format!(
        "HTTP/1.1 {status} {code}\r\ncontent-type: application/problem+json\r\n{retry}content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

#[cfg(test)]
#[path = "socket_tests.rs"]
mod tests;
