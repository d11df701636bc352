//! The way out of a frame connection: the driver encodes into it and writes from its own turn.
//!
//! Owns the bytes that wait to be written, their bound, and that `extended` is state (P6): only the latest waits, and
//! however many there were, they alone cut nobody off. It becomes bytes like others, which count, when all before it is
//! written, or when a message comes that has to be read after it. Must not know what a message means.

use crate::outlet::{Outlet, Overflow, Told};
use crate::reply;
use sidelock_engine::Notice;
use sidelock_socket::Socket;
use sidelock_wire::ToClient;
use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Poll, ready};
use tokio::sync::Notify;

/// Memory for answers that a session keeps while it has none to write: a batch of some tens.
const KEPT_BYTES_MAX: usize = 2 * 1024;
/// Written bytes that stay in front of unwritten ones at least: moving the rest for fewer is not worth it.
const WRITTEN_BYTES_MIN: usize = 4 * 1024;

/// See the module. Shared by the driver, which fills and flushes it, and the session's task, which writes what the
/// socket did not take at once.
pub(crate) struct FrameOutlet {
    socket: Rc<Socket>,
    out: RefCell<Outbound>,
    /// Wakes the session's task: there is something left to write, or the driver closed.
    stirred: Notify,
}

struct Outbound {
    bytes: Vec<u8>,
    /// Before this all is written.
    written: usize,
    /// The latest `extended`, until there is room for it.
    extended: Option<ToClient<'static>>,
    bytes_max: usize,
    closed: bool,
}

impl FrameOutlet {
    /// For a socket whose reader may leave `bytes_max` bytes unread.
    pub(crate) fn new(socket: Rc<Socket>, bytes_max: usize) -> FrameOutlet {
        let bytes = Vec::new();
        let out = Outbound { bytes, written: 0, extended: None, bytes_max, closed: false };
        FrameOutlet { socket, out: RefCell::new(out), stirred: Notify::new() }
    }

    /// Takes a message of the door itself.
    pub(crate) fn say(&self, message: &ToClient<'_>) -> Result<(), Overflow> {
        self.out.borrow_mut().append(message)
    }

    /// Whether the driver ended the session.
    pub(crate) fn is_closed(&self) -> bool {
        self.out.borrow().closed
    }

    /// Until the socket takes what is left, or the driver has something for the session's task to see.
    pub(crate) async fn progress(&self) -> io::Result<()> {
        poll_fn(|cx| {
            ready!(self.drain(|bytes| self.socket.poll_write(cx, bytes)))?;
            Poll::Ready(self.socket.settle(cx))
        })
        .await?;
        self.stirred.notified().await;
        Ok(())
    }

    /// Writes as much as the socket takes now.
    pub(crate) fn write(&self) -> io::Result<()> {
        let written = self.drain(|bytes| match self.socket.try_write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
            done => Poll::Ready(done),
        });
        match written {
            Poll::Ready(done) => done,
            Poll::Pending => Ok(()),
        }
    }

    /// Writes until all is written, or `write` has to wait.
    fn drain(&self, mut write: impl FnMut(&[u8]) -> Poll<io::Result<usize>>) -> Poll<io::Result<()>> {
        let out = &mut *self.out.borrow_mut();
        loop {
            if out.waiting() == 0 {
                out.start_over();
                let Some(extended) = out.extended.take() else { return Poll::Ready(Ok(())) };
                extended.encode(&mut out.bytes);
            }
            out.written += ready!(write(&out.bytes[out.written..]))?;
        }
    }
}

impl Outbound {
    fn waiting(&self) -> usize {
        self.bytes.len() - self.written
    }

    /// All is written. A burst's memory is not kept for a session that may stay silent for hours.
    fn start_over(&mut self) {
        if self.bytes.capacity() > KEPT_BYTES_MAX {
            self.bytes = Vec::new();
        }
        self.bytes.clear();
        self.written = 0;
    }

    /// Gives written bytes back while others wait: a reader who is always a little behind would have us keep all that it
    /// ever read. Only when they are at least half, so that no byte is moved more often than once per byte written.
    fn forget_written(&mut self) {
        if self.written >= WRITTEN_BYTES_MIN && self.written >= self.bytes.len() / 2 {
            self.bytes.drain(..self.written);
            self.written = 0;
        }
    }

    /// A pending `extended` speaks of the leases before this message, so it has to be read before it.
    fn append(&mut self, message: &ToClient<'_>) -> Result<(), Overflow> {
        if self.waiting() == 0 {
            self.start_over();
        } else {
            self.forget_written();
        }
        if let Some(extended) = self.extended.take() {
            extended.encode(&mut self.bytes);
        }
        message.encode(&mut self.bytes);
        if self.waiting() > self.bytes_max { Err(Overflow) } else { Ok(()) }
    }
}

impl Outlet for FrameOutlet {
    fn deliver(&self, told: Told) -> Result<(), Overflow> {
        let mut out = self.out.borrow_mut();
        let is_extended = matches!(told, Told::Notice(Notice::Extended { .. }));
        let message = reply::frame(told);
        if is_extended {
            out.extended = Some(message);
            return Ok(());
        }
        out.append(&message)
    }

    fn flush(&self) {
        // A socket that broke is noticed by the session's task, which reads from it.
        let _ = self.write();
        if self.out.borrow().waiting() > 0 {
            self.stirred.notify_one();
        }
    }

    fn close(&self) {
        self.out.borrow_mut().closed = true;
        self.stirred.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sidelock_engine::{RequestId, Time};
    use sidelock_wire::{Decoder, FRAME_BYTES_MAX};
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    const BYTES_MAX: usize = 4096;

    fn outlet() -> (FrameOutlet, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (FrameOutlet::new(Rc::new(Socket::new(ours).unwrap()), BYTES_MAX), theirs)
    }

    fn extended(until: u64) -> Told {
        Told::Notice(Notice::Extended { until: Time(until), except: vec![RequestId(1)] })
    }

    fn lost(request: u64) -> Told {
        let reason = sidelock_engine::LostReason::Store;
        Told::Notice(Notice::Lost { request: RequestId(request), reason })
    }

    /// Fills the socket until it takes no more.
    async fn stall(outlet: &FrameOutlet) {
        while outlet.out.borrow().waiting() == 0 {
            outlet.deliver(lost(0)).unwrap();
            outlet.write().unwrap();
        }
    }

    #[tokio::test]
    async fn a_stalled_reader_gets_only_the_latest_extended_and_is_not_cut_off_for_it() {
        let (outlet, mut theirs) = outlet();
        stall(&outlet).await;
        let waiting = outlet.out.borrow().waiting();
        for until in 1..=10_000 {
            outlet.deliver(extended(until)).expect("extended never overflows");
            outlet.flush();
        }
        assert_eq!(outlet.out.borrow().waiting(), waiting, "it does not even count");
        outlet.deliver(lost(7)).unwrap();
        theirs.set_nonblocking(true).unwrap();
        let mut decoder = Decoder::new(FRAME_BYTES_MAX);
        let mut last = Vec::new();
        while outlet.out.borrow().waiting() > 0 || outlet.out.borrow().extended.is_some() {
            let mut chunk = [0; 4096];
            if let Ok(count) = theirs.read(&mut chunk) {
                decoder.space().extend_from_slice(&chunk[..count]);
            }
            outlet.write().unwrap();
            tokio::task::yield_now().await;
        }
        let mut rest = Vec::new();
        let _ = theirs.read_to_end(&mut rest);
        decoder.space().extend_from_slice(&rest);
        while let Some(payload) = decoder.next_frame().unwrap() {
            match ToClient::decode(payload).unwrap().unwrap() {
                ToClient::Lost { request: 0, .. } => {}
                ToClient::Extended { until_ns, .. } => last.push(("extended", until_ns)),
                ToClient::Lost { request, .. } => last.push(("lost", request)),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(last, [("extended", 10_000), ("lost", 7)], "and in order");
    }

    #[tokio::test]
    async fn a_reader_that_does_not_read_overflows_at_its_bound() {
        let (outlet, _theirs) = outlet();
        stall(&outlet).await;
        let mut before = 0;
        while outlet.deliver(lost(1)).is_ok() {
            before = outlet.out.borrow().waiting();
            assert!(before <= BYTES_MAX);
        }
        assert!(before > BYTES_MAX / 2, "not before it has to");
        assert_eq!(outlet.say(&ToClient::Draining), Err(Overflow));
    }
    #[test]
    fn a_reader_who_is_always_a_little_behind_is_told_all_and_costs_no_more_than_that() {
        const MESSAGES: u64 = 10_000;
        let mut out =
            Outbound { bytes: Vec::new(), written: 0, extended: None, bytes_max: BYTES_MAX, closed: false };
        let mut read = Vec::new();
        for request in 0..MESSAGES {
            out.append(&reply::frame(lost(request))).unwrap();
            let all_but_one = out.bytes.len() - 1;
            read.extend_from_slice(&out.bytes[out.written..all_but_one]);
            out.written = all_but_one;
            assert!(out.bytes.capacity() <= 4 * WRITTEN_BYTES_MIN, "{} bytes", out.bytes.capacity());
        }
        read.extend_from_slice(&out.bytes[out.written..]);
        let mut decoder = Decoder::new(FRAME_BYTES_MAX);
        decoder.space().extend_from_slice(&read);
        for expected in 0..MESSAGES {
            let payload = decoder.next_frame().unwrap().expect("nothing is missing");
            let message = ToClient::decode(payload).unwrap().unwrap();
            assert!(matches!(message, ToClient::Lost { request, .. } if request == expected), "{message:?}");
        }
    }
}
