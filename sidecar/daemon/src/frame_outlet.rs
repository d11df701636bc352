//! The way out of a frame connection: the driver encodes into it and writes from its own turn.
//!
//! Owns when is written, by whom, and who is woken for it. Must not know what a message means, nor what of it waits how:
//! that is `outbound`.

use crate::outbound::Outbound;
use crate::outlet::{Outlet, Overflow, Told};
use sidelock_socket::Socket;
use sidelock_wire::ToClient;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Poll, ready};
use tokio::sync::Notify;

/// See the module. Shared by the driver, which fills and flushes it, and the session's task, which writes what the
/// socket did not take at once.
pub(crate) struct FrameOutlet {
    socket: Rc<Socket>,
    out: RefCell<Outbound>,
    /// The driver ended the session.
    closed: Cell<bool>,
    /// Wakes the session's task: there is something left to write.
    stirred: Notify,
    /// Wakes it, whatever it waits for: the driver closed.
    ended: Notify,
}

impl FrameOutlet {
    /// For a socket whose reader may leave so much unread.
    pub(crate) fn new(socket: Rc<Socket>, out: Outbound) -> FrameOutlet {
        let (stirred, ended) = Default::default();
        FrameOutlet { socket, out: RefCell::new(out), closed: Cell::new(false), stirred, ended }
    }

    /// Takes a message of the door itself.
    pub(crate) fn say(&self, message: &ToClient<'_>) -> Result<(), Overflow> {
        let said = self.out.borrow_mut().append(message);
        self.offered(said)
    }

    /// What nobody was offered yet is not unread.
    fn offered(&self, taken: Result<(), Overflow>) -> Result<(), Overflow> {
        taken.or_else(|Overflow| {
            let _ = self.write();
            self.out.borrow().within_bounds()
        })
    }

    /// Whether the driver ended the session.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// Until the socket takes what is left, or the driver has something for the session's task to see.
    pub(crate) async fn progress(&self) -> io::Result<()> {
        tokio::select! {
            biased;
            // Who was cut off for not reading will not take what is left either.
            () = self.ended.notified() => Ok(()),
            progress = self.make_progress() => progress,
        }
    }

    async fn make_progress(&self) -> io::Result<()> {
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
        while let Some(bytes) = out.next() {
            let written = ready!(write(bytes))?;
            out.written(written);
        }
        Poll::Ready(Ok(()))
    }
}

impl Outlet for FrameOutlet {
    fn deliver(&self, told: Told) -> Result<(), Overflow> {
        let told = self.out.borrow_mut().deliver(told);
        self.offered(told)
    }

    fn flush(&self) {
        // A socket that broke is noticed by the session's task, which reads from it.
        let _ = self.write();
        if self.out.borrow().waiting() > 0 {
            self.stirred.notify_one();
        }
    }

    fn close(&self) {
        self.closed.set(true);
        self.ended.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sidelock_engine::{Notice, RequestId, Time};
    use sidelock_wire::{Code, Decoder, Detail, FRAME_BYTES_MAX, Refused};
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    const BYTES_MAX: usize = 4096;

    fn outlet() -> (FrameOutlet, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (FrameOutlet::new(Rc::new(Socket::new(ours).unwrap()), Outbound::new(BYTES_MAX, 16)), theirs)
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
        while outlet.out.borrow().has_any() {
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
    async fn who_reads_is_not_cut_off_for_what_one_turn_tells() {
        let (outlet, _theirs) = outlet();
        for request in 0..1_000 {
            outlet.deliver(lost(request)).expect("the socket has room for far more");
        }
        let detail = "x".repeat(BYTES_MAX);
        let refused = ToClient::Refused(Refused {
            request: 1,
            code: Code::BadRequest,
            message: detail.as_str().into(),
            detail: Detail::default(),
            register: None,
        });
        outlet.say(&refused).expect("and for one long word");
    }

    #[tokio::test]
    async fn who_is_cut_off_is_not_waited_for() {
        let (outlet, _theirs) = outlet();
        stall(&outlet).await;
        outlet.close();
        let progress = tokio::time::timeout(std::time::Duration::from_secs(60), outlet.progress());
        progress.await.expect("it ends").expect("the socket is whole");
        assert!(outlet.is_closed());
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
}
