//! One request's dealings with the engine: a session that lives exactly as long as the request.
//!
//! Owns asking and awaiting the answer, and that an acquire whose client left is cancelled. Must not know paths, bodies
//! or JSON.

use super::Door;
use super::connection::Line;
use super::problem::ProblemDocument;
use crate::gate::Admitted;
use crate::handle::{Peer, Session};
use crate::outlet::{Inbox, Told};
use crate::reply;
use sidelock_engine::{Reply, SessionId};
use std::cell::Cell;
use std::rc::Rc;

/// A session of this door has one request at a time, and this is its number.
const REQUEST: u64 = 1;

/// Who asks, and over which connection.
#[derive(Clone)]
pub(crate) struct Caller {
    /// The door they came through.
    pub(crate) door: Rc<Door>,
    /// The connection.
    pub(crate) line: Rc<Line>,
    /// Who the kernel says they are.
    pub(crate) peer: Peer,
    /// What they call themselves: the `User-Agent`.
    pub(crate) app: Rc<str>,
}

impl Caller {
    /// Opens a session for one request.
    pub(crate) fn call(&self) -> Call {
        let inbox = Inbox::new();
        let session = self.door.handle.open(self.peer, &self.app, inbox.clone());
        Call { session: Some(session), inbox, door: self.door.clone(), acquiring: Cell::new(false) }
    }
}

/// An open session with one request. Dropped while an acquire is unanswered, it takes the acquire back, and a grant that
/// raced this too (L5): nobody would ever know a timed lease's id.
pub(crate) struct Call {
    /// Taken only by [`Call::cut_off`].
    session: Option<Session>,
    inbox: Rc<Inbox>,
    door: Rc<Door>,
    acquiring: Cell<bool>,
}

impl Call {
    /// The session's id.
    pub(crate) fn session(&self) -> SessionId {
        self.session.as_ref().expect("only cut_off takes it, and consumes the call").id()
    }

    /// The request's number.
    pub(crate) fn request(&self) -> u64 {
        REQUEST
    }

    /// Hands an acquire over. From here until its answer, dropping the call cancels it.
    pub(crate) fn acquire(&self, admitted: Admitted) {
        self.acquiring.set(true);
        self.send(admitted);
    }

    /// Hands a renewal or a release over.
    pub(crate) fn send(&self, admitted: Admitted) {
        if let Some(session) = &self.session {
            session.send(admitted);
        }
    }

    /// The next thing the session is told; `None`: the sidecar hung up.
    pub(crate) async fn next(&self) -> Option<Told> {
        let told = self.inbox.recv().await;
        if matches!(told, Some(Told::Reply { .. }) | None) {
            self.acquiring.set(false);
        }
        told
    }

    /// The request's answer; a refusal is the problem it stands for.
    pub(crate) async fn answer(&self) -> Result<Reply, ProblemDocument> {
        loop {
            match self.next().await {
                Some(Told::Reply { reply: Reply::Refused(refusal), .. }) => {
                    return Err(reply::problem(&refusal).into());
                }
                Some(Told::Reply { reply, .. }) => return Ok(reply),
                Some(Told::Notice(_)) => {}
                None => return Err(ProblemDocument::shutting_down()),
            }
        }
    }

    /// Ends the session because the sidecar hangs up: its leases stay until the last deadline told (P6).
    pub(crate) fn cut_off(mut self) {
        if let Some(session) = self.session.take() {
            session.cut_off();
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if let Some(session) = self.session.as_ref().filter(|_| self.acquiring.get()) {
            session.send(self.door.gate.cancel(session.id(), REQUEST));
        }
    }
}
