//! A stream whose reader has to read.
//!
//! Owns how long an answer may wait for its reader. hyper knows no such bound: its own timer waits for requests. Must not
//! know what is asked or answered.

use super::response::Endless;
use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::time::{Sleep, sleep};

/// How long an answer may wait for a reader that takes nothing of it: it keeps memory for each.
const STALL_TIME_MAX: Duration = Duration::from_secs(30);

/// Errors with [`io::ErrorKind::TimedOut`] once nothing of what is written was taken for [`STALL_TIME_MAX`].
pub(super) struct Patient {
    stream: UnixStream,
    /// While it goes on, what is written may wait for ever.
    endless: Rc<RefCell<Option<Endless>>>,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Patient {
    pub(super) fn new(stream: UnixStream, endless: Rc<RefCell<Option<Endless>>>) -> Patient {
        Patient { stream, endless, stalled: None }
    }

    /// `first`: what was to be written next.
    fn written(
        &mut self,
        cx: &mut Context<'_>,
        wrote: Poll<io::Result<usize>>,
        first: &[u8],
    ) -> Poll<io::Result<usize>> {
        if wrote.is_ready() {
            self.stalled = None;
            return wrote;
        }
        loop {
            let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(STALL_TIME_MAX)));
            ready!(stalled.as_mut().poll(cx));
            self.stalled = None;
            // The system tells of room when most of its own is free: who reads a little has made some.
            match send(&self.stream, first, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Err(Errno::AGAIN) if self.endless.borrow().as_ref().is_some_and(Endless::goes_on) => {}
                Err(Errno::AGAIN) => {
                    let why = "the client does not read its answer";
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, why)));
                }
                wrote => return Poll::Ready(Ok(wrote?)),
            }
        }
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.written(cx, wrote, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        let first = bytes.iter().find(|bytes| !bytes.is_empty());
        self.written(cx, wrote, first.map_or(&[], |first| first))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::super::response::stream;
    use super::*;
    use std::pin::pin;
    use tokio::io::AsyncWriteExt;
    use tokio::time::timeout;

    #[tokio::test(start_paused = true)]
    async fn a_streams_reader_may_be_silent_until_there_is_no_more_to_come() {
        let (ours, _theirs) = UnixStream::pair().expect("there are descriptors left");
        let (writer, answer) = stream("text/plain");
        let mut patient = Patient::new(ours, Rc::new(RefCell::new(Endless::of(&answer))));
        let writing = async {
            loop {
                if let Err(error) = patient.write_all(&[0; 65_536]).await {
                    return error;
                }
            }
        };
        let mut writing = pin!(writing);
        timeout(10 * STALL_TIME_MAX, &mut writing)
            .await
            .expect_err("it waits for as long as the stream goes on");
        drop(writer);
        let error = timeout(2 * STALL_TIME_MAX, writing).await.expect("it is cut off");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
