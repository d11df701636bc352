//! The one connection: reads, writes, pings, and comes back after a break.
//!
//! Owns the socket and the time. Each turn first takes in all that was read, under one lock, and then writes all that is
//! queued, in one call: load makes the batches larger, idleness leaves them alone.

use crate::clock;
use crate::discover::Target;
use crate::error::Error;
use crate::fork::LetGoInChild;
use crate::handshake::{self, Introduction, Welcomed};
use crate::shared::{Ended, Idle, Shared, Wakes};
use sidelock_socket::{Socket, is_hang_up};
use sidelock_wire::{Decoder, Resume, ToClient, ToSidecar};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Interval, MissedTickBehavior};

/// Pings per session ttl.
const PINGS_PER_TTL: u32 = 10;
/// Pings that may go unanswered before the sidecar counts as stopped: under a third of the session's ttl.
const PINGS_UNANSWERED_MAX: u32 = 2;
/// First pause between two attempts to connect; doubles each time.
const PAUSE_MIN: Duration = Duration::from_millis(10);
/// Longest pause between two attempts to connect: what a restarted sidecar waits for its clients at most.
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// Bytes kept between turns for writing; more is given back after a burst.
const BUFFER_KEPT: usize = 64 * 1024;

/// A connection in use.
struct Link {
    shared: Arc<Shared>,
    /// Before the stream, so that it is dropped first.
    _let_go: LetGoInChild,
    stream: Socket,
    decoder: Decoder,
    /// Being written, from `written` on.
    outgoing: Vec<u8>,
    written: usize,
    wakes: Wakes,
    /// The last turn woke several tasks: they are about to queue something each.
    crowd: bool,
    /// The sidecar answered something.
    was_answered: bool,
    pings: Interval,
    pings_unanswered: u32,
    session_ttl: Duration,
    /// Guards against a sleep through the session's ttl (S8).
    alive_until_ns: u64,
}

/// Keeps a client connected until its last handle is gone. Dropped before that, as a runtime does that shuts down, it
/// ends the client's leases before it closes the socket.
pub(crate) fn keep(
    shared: Arc<Shared>,
    target: Target,
    introduction: Introduction,
    first: Welcomed,
) -> impl Future<Output = ()> {
    Keeper {
        _closed: CloseOnDrop(shared.clone()),
        task: Box::pin(stay_connected(shared, target, introduction, first)),
    }
}

/// The task of a client. Fields are dropped in their order.
struct Keeper<F> {
    _closed: CloseOnDrop,
    task: Pin<Box<F>>,
}

impl<F: Future<Output = ()>> Future for Keeper<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.task.as_mut().poll(cx)
    }
}

async fn stay_connected(shared: Arc<Shared>, target: Target, introduction: Introduction, first: Welcomed) {
    let mut welcomed = first;
    let mut pause = None;
    loop {
        let resume = welcomed.session.resume;
        let mut link = Link::new(shared.clone(), welcomed);
        // What came right behind the welcome is here already.
        let ended = match link.take_in() {
            Err(ended) => ended,
            Ok(()) => tokio::select! {
                ended = poll_fn(|cx| link.turn(cx)) => ended,
                () = shared.closing.notified() => return link.say_farewell().await,
            },
        };
        if !shared.is_own_process() {
            return;
        }
        // Before the socket closes: that makes the sidecar free the leases, unless it had closed first (P6).
        shared.disconnected(ended);
        if link.was_answered {
            pause = None;
        }
        drop(link);
        tokio::select! {
            again = reconnect(&shared, &target, &introduction, resume, &mut pause) => welcomed = again,
            () = shared.closing.notified() => return,
        }
    }
}

/// Tries until it succeeds. `pause` comes before the next attempt: none before the first after a connection that was of use.
async fn reconnect(
    shared: &Shared,
    target: &Target,
    introduction: &Introduction,
    resume: Resume,
    pause: &mut Option<Duration>,
) -> Welcomed {
    loop {
        if let Some(pause) = *pause {
            let give_up = shared.next_give_up_ns().map_or(PAUSE_MAX, clock::until);
            tokio::time::sleep(pause.min(give_up).max(PAUSE_MIN)).await;
        }
        *pause = Some(pause.map_or(PAUSE_MIN, |pause| (pause * 2).min(PAUSE_MAX)));
        match handshake::connect(target, introduction, Some(resume)).await {
            Ok(welcomed) => {
                shared.alive_until(clock::after(welcomed.said_hello_ns, welcomed.session.session_ttl));
                shared.connected(welcomed.session.clone(), welcomed.resumed.as_deref());
                return welcomed;
            }
            Err(failure) => shared.still_away(&failure.ended),
        }
    }
}

impl Link {
    fn new(shared: Arc<Shared>, welcomed: Welcomed) -> Link {
        let session_ttl = welcomed.session.session_ttl;
        let mut pings = tokio::time::interval((session_ttl / PINGS_PER_TTL).max(Duration::from_millis(1)));
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        pings.reset();
        Link {
            shared,
            _let_go: welcomed.let_go,
            stream: welcomed.stream,
            decoder: welcomed.decoder,
            outgoing: Vec::new(),
            written: 0,
            wakes: Wakes::default(),
            crowd: false,
            was_answered: false,
            pings,
            pings_unanswered: 0,
            session_ttl,
            alive_until_ns: clock::after(welcomed.said_hello_ns, session_ttl),
        }
    }

    /// One turn; ready with the reason once the connection is over.
    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        match self.read(cx).and_then(|()| self.ping(cx)).and_then(|()| self.write(cx)) {
            Ok(()) => Poll::Pending,
            Err(ended) => Poll::Ready(ended),
        }
    }

    /// Takes in all there is to read.
    fn read(&mut self, cx: &mut Context<'_>) -> Result<(), Ended> {
        loop {
            match self.stream.poll_read(cx, self.decoder.space()) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Ok(0)) => {
                    return Err(Ended::BySidecar(broken("the sidecar closed it, or is gone")));
                }
                Poll::Ready(Ok(_)) => self.take_in()?,
                Poll::Ready(Err(error)) => return Err(failed(&error)),
            }
        }
    }

    fn take_in(&mut self) -> Result<(), Ended> {
        let malformed = |error| Ended::ByUs(broken(error));
        let result = self.shared.change(|state| {
            while let Some(payload) = self.decoder.next_frame().map_err(malformed)? {
                match ToClient::decode(payload).map_err(malformed)? {
                    Some(ToClient::Pong { .. }) => (self.pings_unanswered, self.was_answered) = (0, true),
                    Some(message) => state.dispatch(message, &mut self.wakes)?,
                    None => {}
                }
                // What nobody asked for, that leases are extended for example, does not count.
                self.was_answered |= !self.wakes.wakers.is_empty();
                if self.was_answered {
                    state.answered();
                }
            }
            Ok(())
        });
        self.crowd |= self.wakes.fire() > 1;
        result
    }

    /// Sends a sign of life when one is due, unless the last ones went unanswered.
    fn ping(&mut self, cx: &mut Context<'_>) -> Result<(), Ended> {
        while self.pings.poll_tick(cx).is_ready() {
            if self.pings_unanswered == PINGS_UNANSWERED_MAX {
                return Err(Ended::ByUs(broken("the sidecar does not answer; is it stopped?")));
            }
            self.pings_unanswered += 1;
            let now_ns = clock::boottime_ns();
            if now_ns >= self.alive_until_ns {
                self.shared.overslept();
            }
            self.alive_until_ns = clock::after(now_ns, self.session_ttl);
            self.shared.alive_until(self.alive_until_ns);
            self.shared.change(|state| state.send(&ToSidecar::Ping));
        }
        Ok(())
    }

    /// Writes all there is to write, or arranges to be woken when more comes or fits.
    fn write(&mut self, cx: &mut Context<'_>) -> Result<(), Ended> {
        if std::mem::take(&mut self.crowd) {
            // The tasks just woken run before this one does again: their frames then leave in one call.
            cx.waker().wake_by_ref();
            return Ok(());
        }
        while self.refill(cx) {
            let rest = &self.outgoing[self.written..];
            match self.stream.poll_write(cx, rest) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Ok(count)) => self.written += count,
                Poll::Ready(Err(error)) => return Err(failed(&error)),
            }
        }
        self.stream.settle(cx).map_err(|error| failed(&error))
    }

    /// Whether there is something to write. If not, whoever queues something wakes this connection.
    fn refill(&mut self, cx: &mut Context<'_>) -> bool {
        if self.written < self.outgoing.len() {
            return true;
        }
        self.outgoing.clear();
        self.outgoing.shrink_to(BUFFER_KEPT);
        self.written = 0;
        let mut state = self.shared.lock();
        std::mem::swap(&mut state.outbox, &mut self.outgoing);
        if self.outgoing.is_empty() {
            let writer = self.shared.write_through.then(|| self.stream.writer());
            state.link = Some(Idle { waker: cx.waker().clone(), writer });
        }
        !self.outgoing.is_empty()
    }

    /// Writes what is still queued, releases above all, as far as the sidecar takes it at once; closing releases the rest.
    async fn say_farewell(mut self) {
        poll_fn(|cx| {
            self.crowd = false;
            // The connection closes anyway; an error only means that it is closed already.
            let _ = self.write(cx);
            Poll::Ready(())
        })
        .await;
    }
}

/// A client whose connection's task ends, be it that its runtime was shut down, is closed.
struct CloseOnDrop(Arc<Shared>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.closed(Error::unreachable(
            Vec::new(),
            "this client is closed: its runtime was shut down or its sidecar has ended; make a new one",
        ));
    }
}

/// The connection does not work any more: unless it is the sidecar who has hung up, it is this client who does.
fn failed(error: &std::io::Error) -> Ended {
    if is_hang_up(error) { Ended::BySidecar(broken(error)) } else { Ended::ByUs(broken(error)) }
}

fn broken(cause: impl std::fmt::Display) -> Error {
    Error::unreachable(Vec::new(), format!("the connection broke: {cause}"))
}
