//! What one process writes down while it lives, line by line, so that a kill costs at most the line being written.
//!
//! Owns the numbers of sessions and requests within one process, and the file. Must not know what is asked for; and it
//! believes the stamps it is given: whoever stamps must claim no more than it knew.

use crate::clock::Clock;
use sidelock_sim::checker::history::{Answer, At, Event, Record, Req, Sent};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

/// The diary of a process. A session of it is one life of the sidecar, as far as this process was with it.
#[derive(Debug)]
pub struct Diary {
    file: File,
    clock: Clock,
    uid: u32,
    /// The sidecar's life, and the session that stands for it.
    session: Option<(u32, u32)>,
    sessions: u32,
    requests: u32,
}

impl Diary {
    /// An empty diary in this file.
    ///
    /// # Panics
    /// If the file can not be written.
    pub fn open(path: &Path, clock: Clock) -> Diary {
        let file = OpenOptions::new().create(true).append(true).open(path).expect("a diary can be kept");
        let uid = rustix::process::getuid().as_raw();
        Diary { file, clock, uid, session: None, sessions: 0, requests: 0 }
    }

    /// The clock it is kept by.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// One line, in one write: nothing waits in this process for a later one.
    ///
    /// # Panics
    /// If it can not be written.
    pub fn note(&mut self, at: At, event: Event) {
        let mut line = serde_json::to_vec(&Record { at, event }).expect("an event is plain data");
        line.push(b'\n');
        self.file.write_all(&line).expect("a diary can be kept");
    }

    /// Something is about to be sent to this life of the sidecar; what answers to its number is the answer to it.
    pub fn sent(&mut self, life: Option<u32>, what: Sent) -> Req {
        let at = self.clock.now();
        let session = self.session(at, life);
        let of = Req { session, request: self.requests };
        self.requests += 1;
        self.note(at, Event::Sent { of, what });
        of
    }

    /// An answer was read, just now.
    pub fn answered(&mut self, of: Req, answer: Answer) {
        let at = self.clock.now();
        self.note(at, Event::Answered { of, answer });
    }

    /// Whether `of` was sent to this life of the sidecar, as far as is known; `None`: it is away.
    pub fn is_of(&self, of: Req, life: Option<u32>) -> bool {
        life.is_none()
            || self.session.is_some_and(|(of_life, session)| Some(of_life) == life && session == of.session)
    }

    fn session(&mut self, at: At, life: Option<u32>) -> u32 {
        match (self.session, life) {
            (Some((known, session)), Some(life)) if known == life => return session,
            (Some((_, session)), None) => return session,
            _ => {}
        }
        let session = self.sessions;
        self.sessions += 1;
        self.requests = 0;
        let life = life.unwrap_or_default();
        self.session = Some((life, session));
        self.note(at, Event::Opened { session, sidecar: life, uid: self.uid });
        session
    }
}
