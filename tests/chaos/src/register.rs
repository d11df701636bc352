//! A register per key that honours fence tokens: the thing that locks are there to protect.
//!
//! Owns what every register has seen and holds, and the order of what happened to it: one mutex, and stamps taken inside.
//! Clients reach it over a Unix socket, so that a killed client leaves it as it is. An update is *lost* if it was taken
//! and is not in the value: the value then counts fewer than were taken.

use crate::clock::Clock;
use crate::wish::ALL_KEYS;
use sidelock_sim::checker::history::{At, Event, Record};
use std::fs::{Permissions, set_permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

/// Bytes of a request: what, which key, whose token, the value it was computed from.
const REQUEST_BYTES: usize = 1 + 4 + 8 + 4;
/// Bytes of an answer: whether it was done, and the value.
const ANSWER_BYTES: usize = 1 + 4;
/// Clients may be other users than we are; who is to be kept out is kept out by the folder.
const EVERYBODY: u32 = 0o777;
const READ: u8 = b'r';
const WRITE: u8 = b'w';

/// One register.
#[derive(Clone, Copy, Debug, Default)]
struct Cell {
    /// The highest token that it has seen.
    seen: u64,
    /// What the last writer made of what it had read: one more.
    value: u32,
    /// Writes taken.
    writes: u32,
}

/// All registers, and what happened to them.
#[derive(Debug)]
struct Shelf {
    cells: [Cell; ALL_KEYS as usize],
    records: Vec<Record>,
    clock: Clock,
}

/// The server. Its threads end with their clients, and with this process.
#[derive(Debug)]
pub struct Register {
    shelf: Arc<Mutex<Shelf>>,
}

/// What became of the writes of a round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Updates {
    /// Taken.
    pub taken: u32,
    /// Refused, for an old token.
    pub refused: u32,
    /// Taken, and not in the value.
    pub lost: u32,
}

impl Register {
    /// Serves at this socket.
    ///
    /// # Panics
    /// If it can not be bound.
    pub fn serve(socket: &Path, clock: Clock) -> Register {
        let listener = UnixListener::bind(socket).expect("a socket in a folder of our own");
        set_permissions(socket, Permissions::from_mode(EVERYBODY)).expect("a socket of our own");
        let cells = [Cell::default(); ALL_KEYS as usize];
        let shelf = Arc::new(Mutex::new(Shelf { cells, records: Vec::new(), clock }));
        let shared = shelf.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shelf = shared.clone();
                // A client that goes, goes.
                thread::spawn(move || attend(stream, &shelf).ok());
            }
        });
        Register { shelf }
    }

    /// What happened, in its order.
    pub fn records(&self) -> Vec<Record> {
        lock(&self.shelf).records.clone()
    }

    /// What became of the writes.
    pub fn updates(&self) -> Updates {
        let shelf = lock(&self.shelf);
        let taken = shelf.cells.iter().map(|cell| cell.writes).sum();
        let kept: u32 = shelf.cells.iter().map(|cell| cell.value).sum();
        let refused =
            shelf.records.iter().filter(|r| matches!(r.event, Event::Wrote { accepted: false, .. }));
        let refused = u32::try_from(refused.count()).expect("a round of hours");
        Updates { taken, refused, lost: taken - kept }
    }
}

fn lock(shelf: &Mutex<Shelf>) -> MutexGuard<'_, Shelf> {
    shelf.lock().unwrap_or_else(PoisonError::into_inner)
}

fn attend(mut stream: UnixStream, shelf: &Mutex<Shelf>) -> io::Result<()> {
    let mut request = [0; REQUEST_BYTES];
    loop {
        stream.read_exact(&mut request)?;
        let (what, rest) = (request[0], &request[1..]);
        let number = |at: usize| u32::from_be_bytes(rest[at..at + 4].try_into().expect("four bytes"));
        let fence = u64::from_be_bytes(rest[4..12].try_into().expect("eight bytes"));
        let (done, value) = match what {
            READ => lock(shelf).read(number(0), fence),
            _ => lock(shelf).write(number(0), fence, number(12)),
        };
        let mut answer = [0; ANSWER_BYTES];
        answer[0] = u8::from(done);
        answer[1..].copy_from_slice(&value.to_be_bytes());
        stream.write_all(&answer)?;
    }
}

impl Shelf {
    fn read(&mut self, key: u32, fence: u64) -> (bool, u32) {
        let cell = &mut self.cells[key as usize];
        if fence < cell.seen {
            return (false, cell.value);
        }
        cell.seen = fence;
        let value = cell.value;
        self.note(Event::Read { key, fence, version: value });
        (true, value)
    }

    fn write(&mut self, key: u32, fence: u64, base: u32) -> (bool, u32) {
        let cell = &mut self.cells[key as usize];
        let accepted = fence >= cell.seen;
        if accepted {
            *cell = Cell { seen: fence, value: base + 1, writes: cell.writes + 1 };
        }
        let value = cell.value;
        self.note(Event::Wrote { key, fence, base, accepted });
        (accepted, value)
    }

    /// Strictly later than what was noted before, so that a history in order of time is in the order of the register.
    fn note(&mut self, event: Event) {
        let before = self.records.last().map_or(At(0), |record| record.at);
        let at = self.clock.now().max(At(before.0 + 1));
        self.records.push(Record { at, event });
    }
}

/// A client's way to the register.
#[derive(Debug)]
pub struct Desk {
    stream: UnixStream,
}

impl Desk {
    /// Connects.
    ///
    /// # Errors
    /// The socket's.
    pub fn at(socket: &Path) -> io::Result<Desk> {
        Ok(Desk { stream: UnixStream::connect(socket)? })
    }

    /// Reads under this token, which raises what the register has seen. `None`: it has seen a higher one.
    ///
    /// # Errors
    /// The socket's.
    pub fn read(&mut self, key: u32, fence: u64) -> io::Result<Option<u32>> {
        let (done, value) = self.exchange(READ, key, fence, 0)?;
        Ok(done.then_some(value))
    }

    /// Writes what follows from `base` under this token. `None`: the register has seen a higher one.
    ///
    /// # Errors
    /// The socket's.
    pub fn write(&mut self, key: u32, fence: u64, base: u32) -> io::Result<Option<u32>> {
        let (done, value) = self.exchange(WRITE, key, fence, base)?;
        Ok(done.then_some(value))
    }

    fn exchange(&mut self, what: u8, key: u32, fence: u64, base: u32) -> io::Result<(bool, u32)> {
        let mut request = Vec::with_capacity(REQUEST_BYTES);
        request.push(what);
        request.extend_from_slice(&key.to_be_bytes());
        request.extend_from_slice(&fence.to_be_bytes());
        request.extend_from_slice(&base.to_be_bytes());
        self.stream.write_all(&request)?;
        let mut answer = [0; ANSWER_BYTES];
        self.stream.read_exact(&mut answer)?;
        let value = u32::from_be_bytes(answer[1..].try_into().expect("four bytes"));
        Ok((answer[0] == 1, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_tokens_are_refused_and_what_is_overwritten_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("register.sock");
        let register = Register::serve(&socket, Clock::start());
        let (mut old, mut new) = (Desk::at(&socket).unwrap(), Desk::at(&socket).unwrap());
        assert_eq!(old.read(3, 10).unwrap(), Some(0));
        assert_eq!(new.read(3, 11).unwrap(), Some(0));
        assert_eq!(old.write(3, 10, 0).unwrap(), None, "the register has seen 11");
        assert_eq!(new.write(3, 11, 0).unwrap(), Some(1));
        assert_eq!(register.updates(), Updates { taken: 1, refused: 1, lost: 0 });
        assert_eq!(new.write(3, 11, 0).unwrap(), Some(1), "computed from what is no longer there");
        assert_eq!(register.updates(), Updates { taken: 2, refused: 1, lost: 1 });
        let records = register.records();
        assert!(records.is_sorted_by(|a, b| a.at < b.at), "{records:?}");
    }
}
