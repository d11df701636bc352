//! A Unix stream whose task is woken for what it waits for, and for nothing else.
//!
//! Tokio's own stream asks the kernel to tell it of room to write, always. So whenever one side of a connection reads, the
//! kernel wakes the other side to say that there is room again: for a request and its answer that is a wake too many
//! on each side, and on a virtual machine a wake costs more than the request. This stream asks for room only while
//! something did not fit.
//!
//! Owns one descriptor and what the kernel is asked to tell about it. Must not know what is said on it.

use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// What the kernel tells about the stream.
type Watch = AsyncFd<Arc<UnixStream>>;

/// See the crate. One task polls it; whoever else has it may [`Socket::try_write`].
#[derive(Debug)]
pub struct Socket {
    /// `None` only after the kernel refused to watch it for something else.
    watch: RefCell<Option<Watch>>,
    /// It is watched for room to write, too.
    for_room: Cell<bool>,
    stream: Arc<UnixStream>,
}

impl Socket {
    /// Takes a connected stream over. To be called on a runtime.
    ///
    /// # Errors
    /// The system's own, if the stream can not be watched.
    pub fn new(stream: UnixStream) -> io::Result<Socket> {
        stream.set_nonblocking(true)?;
        let stream = Arc::new(stream);
        let watch = watch(&stream, Interest::READABLE)?;
        Ok(Socket { watch: RefCell::new(Some(watch)), for_room: Cell::new(false), stream })
    }

    /// Appends what there is to read, at most what `into` has room for, once there is something. `Ok(0)`: the other side
    /// has closed, or there was no room.
    ///
    /// # Errors
    /// The system's own.
    pub fn poll_read(&self, cx: &mut Context<'_>, into: &mut Vec<u8>) -> Poll<io::Result<usize>> {
        let watch = self.watch.borrow();
        let watch = standing(&watch)?;
        loop {
            let mut ready = ready!(watch.poll_read_ready(cx))?;
            let room = into.capacity() - into.len();
            match recv(&self.stream, spare_capacity(into), RecvFlags::empty()) {
                Ok((count, _)) => {
                    // Less than there was room for: that was all, and the kernel will tell of more. That the other side has
                    // closed is not forgotten by this.
                    if (1..room).contains(&count) {
                        ready.clear_ready();
                    }
                    return Poll::Ready(Ok(count));
                }
                Err(Errno::AGAIN) => ready.clear_ready(),
                Err(Errno::INTR) => {}
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }

    /// Writes as much as fits, without waiting.
    ///
    /// # Errors
    /// `WouldBlock` if nothing fits; the system's own.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        try_write(&self.stream, bytes)
    }

    /// For other threads.
    pub fn writer(&self) -> Writer {
        Writer(Arc::downgrade(&self.stream))
    }

    /// Writes as much as fits, once something does. Who has nothing left to write says so by [`Socket::settle`].
    ///
    /// # Errors
    /// The system's own.
    pub fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            match self.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.watch_for_room(cx, true)?;
                    let watch = self.watch.borrow();
                    ready!(standing(&watch)?.poll_write_ready(cx))?.clear_ready();
                }
                done => return Poll::Ready(done),
            }
        }
    }

    /// Nothing is left to write: room is no news any more.
    ///
    /// # Errors
    /// The system's own.
    pub fn settle(&self, cx: &Context<'_>) -> io::Result<()> {
        self.watch_for_room(cx, false)
    }

    /// As [`Socket::poll_read`], awaited.
    ///
    /// # Errors
    /// The system's own.
    pub async fn read(&mut self, into: &mut Vec<u8>) -> io::Result<usize> {
        let socket = self;
        poll_fn(move |cx| socket.poll_read(cx, into)).await
    }

    /// Writes all of it.
    ///
    /// # Errors
    /// The system's own.
    pub async fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let socket = &mut *self;
            let written = poll_fn(move |cx| socket.poll_write(cx, bytes)).await?;
            bytes = &bytes[written..];
        }
        let socket = self;
        poll_fn(move |cx| Poll::Ready(socket.settle(cx))).await
    }

    /// Has the kernel tell of room from now on, or no longer. What is ready by then, it tells again.
    fn watch_for_room(&self, cx: &Context<'_>, for_room: bool) -> io::Result<()> {
        if self.for_room.replace(for_room) == for_room {
            return Ok(());
        }
        let interest = if for_room { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        let mut watch = self.watch.borrow_mut();
        // The old one first: a descriptor is watched once.
        *watch = None;
        *watch = Some(self::watch(&self.stream, interest)?);
        // Who waited to read waited for the old one.
        cx.waker().wake_by_ref();
        Ok(())
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }
}

/// Writes to a stream from any thread, as long as its socket is there: the other side hears of the end at once.
#[derive(Clone, Debug)]
pub struct Writer(Weak<UnixStream>);

impl Writer {
    /// As [`Socket::try_write`].
    ///
    /// # Errors
    /// As there; `BrokenPipe` if the socket is gone.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let stream = self.0.upgrade().ok_or(io::ErrorKind::BrokenPipe)?;
        try_write(&stream, bytes)
    }
}

fn try_write(stream: &UnixStream, bytes: &[u8]) -> io::Result<usize> {
    loop {
        match send(stream, bytes, SendFlags::NOSIGNAL) {
            Ok(count) => return Ok(count),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether this means that the other side has hung up, and not that something is wrong on this side.
pub fn is_hang_up(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
}

#[expect(unsafe_code, reason = "tokio leaves it to us that the descriptor outlives its watch")]
fn watch(stream: &Arc<UnixStream>, interest: Interest) -> io::Result<Watch> {
    // SAFETY: the watch owns a share of the stream, which closes its descriptor when the last share is gone.
    Ok(unsafe { AsyncFd::register_with_interest(stream.clone(), interest) }?)
}

fn standing(watch: &Option<Watch>) -> io::Result<&Watch> {
    watch.as_ref().ok_or_else(|| io::Error::other("the kernel does not watch this socket any more"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::time::Duration;
    use tokio::time::timeout;

    const SOON: Duration = Duration::from_millis(50);

    fn pair() -> (Socket, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Socket::new(ours).unwrap(), theirs)
    }

    async fn read(socket: &Socket) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(64);
        poll_fn(|cx| socket.poll_read(cx, &mut bytes)).await.unwrap();
        bytes
    }

    /// Fills the socket until it takes no more.
    fn stall(socket: &Socket) -> usize {
        let mut written = 0;
        loop {
            match socket.try_write(&[7; 4096]) {
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return written,
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn drain(theirs: &mut UnixStream, count: usize) {
        theirs.read_exact(&mut vec![0; count]).unwrap();
    }

    #[tokio::test]
    async fn what_was_said_before_the_end_is_read_and_then_the_end() {
        let (socket, mut theirs) = pair();
        theirs.write_all(b"one").unwrap();
        assert_eq!(read(&socket).await, b"one");
        assert!(timeout(SOON, read(&socket)).await.is_err(), "nothing more yet");
        theirs.write_all(b"two").unwrap();
        drop(theirs);
        assert_eq!(read(&socket).await, b"two");
        assert_eq!(timeout(SOON, read(&socket)).await.unwrap(), b"", "the end comes without another event");
    }

    #[tokio::test]
    async fn more_than_there_was_room_for_is_read_at_once() {
        let (socket, mut theirs) = pair();
        theirs.write_all(&[1; 100]).unwrap();
        assert_eq!(read(&socket).await.len(), 64);
        assert_eq!(timeout(SOON, read(&socket)).await.unwrap().len(), 36);
    }

    #[tokio::test]
    async fn who_waits_for_room_is_woken_by_it_and_by_what_comes_meanwhile() {
        let (mut socket, mut theirs) = pair();
        let stalled = stall(&socket);
        assert!(timeout(SOON, socket.write_all(b"late")).await.is_err(), "there is no room");
        theirs.write_all(b"meanwhile").unwrap();
        assert_eq!(timeout(SOON, read(&socket)).await.unwrap(), b"meanwhile");
        let reader = std::thread::spawn(move || {
            drain(&mut theirs, stalled);
            theirs
        });
        socket.write_all(b"late").await.unwrap();
        let mut theirs = reader.join().unwrap();
        drain(&mut theirs, 4);
        assert!(!socket.for_room.get(), "all is written: room is no news any more");
        theirs.write_all(b"again").unwrap();
        assert_eq!(timeout(SOON, read(&socket)).await.unwrap(), b"again");
    }

    #[tokio::test]
    async fn a_writer_writes_and_keeps_nothing_open() {
        let (socket, mut theirs) = pair();
        let writer = socket.writer();
        writer.try_write(b"one").unwrap();
        drop(socket);
        let mut heard = Vec::new();
        theirs.read_to_end(&mut heard).unwrap();
        assert_eq!(heard, b"one");
        assert_eq!(writer.try_write(b"two").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    /// What this crate is for. A runtime that is woken for nothing looks at nothing, so a task's polls do not show it; the
    /// event queue does: a second one, which watches the same descriptor for the same things, hears nothing.
    #[tokio::test]
    async fn a_reader_that_makes_room_wakes_nobody() {
        let (socket, mut theirs) = pair();
        let reads = Cell::new(0);
        let mut bytes = Vec::with_capacity(64);
        socket.try_write(b"question").unwrap();
        let waiting = poll_fn(|cx| {
            reads.set(reads.get() + 1);
            socket.poll_read(cx, &mut bytes)
        });
        let other = async {
            tokio::task::yield_now().await;
            drain(&mut theirs, 8);
            tokio::time::sleep(SOON).await;
            let ready = socket.watch.borrow();
            let ready =
                ready.as_ref().unwrap().poll_write_ready(&mut Context::from_waker(std::task::Waker::noop()));
            assert!(ready.is_pending(), "nobody was told of the room");
            theirs.write_all(b"answer").unwrap();
        };
        let (count, ()) = tokio::join!(waiting, other);
        assert_eq!(count.unwrap(), 6);
    }
}
