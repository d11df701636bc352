//! One HTTP request after the other, each on a connection of its own, and how one is given up.

use crate::say::nobody;
use sidelock_cases::line::Line;
use sidelock_e2e::http::{self, Answer};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// See the module. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Call {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    socket: PathBuf,
    under_way: Option<UnixStream>,
    cancelled: bool,
}

impl Call {
    /// Another one, to the same socket.
    pub(crate) fn to_where(other: &Call) -> Call {
        let call = Call::default();
        call.is_to(&other.lock().socket);
        call
    }

    /// Where the sidecar is.
    pub(crate) fn is_to(&self, socket: &Path) {
        self.lock().socket = socket.to_owned();
    }

    /// An order begins, which can be cancelled from now on.
    pub(crate) fn begin(&self) {
        let mut state = self.lock();
        (state.under_way, state.cancelled) = (None, false);
    }

    /// The order is not wanted any more: the connection of its request is closed.
    pub(crate) fn cancel(&self) {
        let mut state = self.lock();
        state.cancelled = true;
        if let Some(stream) = &state.under_way {
            // It may have ended by itself.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// A new connection, which [`Call::cancel`] ends from now on.
    pub(crate) fn connect(&self) -> Result<UnixStream, Line> {
        let mut state = self.lock();
        if state.cancelled {
            return Err(Line::new(["cancelled"]));
        }
        let stream = UnixStream::connect(&state.socket).and_then(|stream| Ok((stream.try_clone()?, stream)));
        let (clone, stream) =
            stream.map_err(|error| nobody(&format!("{}: {error}", state.socket.display())))?;
        state.under_way = Some(clone);
        Ok(stream)
    }

    /// A request and its answer, whatever that is; an error line if there is none.
    pub(crate) fn exchange(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, String)],
        body: &str,
    ) -> Result<Answer, Line> {
        let answer = http::exchange(self.connect()?, request(method, path, headers, body).as_bytes());
        match (answer.status, self.was_cancelled()) {
            (_, true) => Err(Line::new(["cancelled"])),
            (0, false) => Err(nobody("it hung up without an answer")),
            _ => Ok(answer),
        }
    }

    /// Whether the order was given up.
    pub(crate) fn was_cancelled(&self) -> bool {
        self.lock().cancelled
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request, as it is written.
pub(crate) fn request(method: &str, path: &str, headers: &[(&str, String)], body: &str) -> String {
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    format!("{text}Content-Length: {}\r\n\r\n{body}", body.len())
}
