//! What to ask for, in the words of a program: locks, semaphores, readers and writers.
//!
//! Owns the options of a request and their defaults. Stateless: every acquire returns a new lease.

use crate::acquire::{Asking, Gain, Wish};
use crate::client::{Client, Handle};
use crate::error::{Error, Result};
use crate::lease::{Lease, LeaseView};
use crate::timed::{LeaseId, TimedLease};
use sidelock_wire::{Code, Life, Mode};
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// A request for a lease, to be awaited once or acquired many times. Made by [`Client::lock`] and its sisters.
///
/// ```no_run
/// # async fn f(sl: sidelock_client::Client) -> sidelock_client::Result<()> {
/// # use std::time::Duration;
/// let lease = sl.lock("orders/42").wait(Duration::from_secs(5)).await?;
/// println!("fence {}", lease.fence());
/// lease.release().await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until it is awaited or acquired"]
pub struct Request {
    pub(crate) handle: Arc<Handle>,
    pub(crate) wish: Wish,
    pub(crate) wait_is_said: bool,
}

/// A semaphore: so many permits for a key, whoever asks. Made by [`Client::semaphore`].
#[derive(Clone, Debug)]
pub struct Semaphore {
    handle: Arc<Handle>,
    key: Arc<str>,
    limit: u32,
}

/// A rate: so many permits for a key in any window of a given length, whoever asks. Made by [`Client::rate`], to be
/// awaited for one permit.
///
/// A permit comes back that long after its grant, whatever becomes of its lease, which ends then as well: to drop it, to
/// keep it or to release it makes no difference to others.
///
/// ```no_run
/// # async fn f(sl: sidelock_client::Client) -> sidelock_client::Result<()> {
/// # use std::time::Duration;
/// let api = sl.rate("api", 100, Duration::from_secs(60));
/// let _sent = api.clone().await?;
/// // … a call, of which there are 100 a minute at most …
/// let _batch = api.permits(20).wait(Duration::from_secs(5)).await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a rate does nothing until it is awaited or acquired"]
pub struct Rate {
    handle: Arc<Handle>,
    key: Arc<str>,
    limit: u32,
    per: Duration,
}

/// Many readers or one writer. Made by [`Client::rwlock`]; [`Client::lock`] on the same key is its writer.
#[derive(Clone, Debug)]
pub struct RwLock {
    handle: Arc<Handle>,
    key: Arc<str>,
}

impl Client {
    /// The lock `key`: 1 to 512 bytes, `/`-separated by convention.
    pub fn lock(&self, key: impl AsRef<str>) -> Request {
        Request::new(&self.handle, Arc::from(key.as_ref()), Mode::Exclusive)
    }

    /// The semaphore `key` with `limit` permits. All who use it at a time must agree on the limit.
    pub fn semaphore(&self, key: impl AsRef<str>, limit: u32) -> Semaphore {
        Semaphore { handle: self.handle.clone(), key: Arc::from(key.as_ref()), limit }
    }

    /// The rate `key`: at most `limit` permits in any window of `per`. All who use it at a time must agree on the limit;
    /// it shares the key with a semaphore of that name. Whose wait ends with all units used is told when the next is back,
    /// see [`crate::Error::retry_after`].
    pub fn rate(&self, key: impl AsRef<str>, limit: u32, per: Duration) -> Rate {
        Rate { handle: self.handle.clone(), key: Arc::from(key.as_ref()), limit, per }
    }

    /// The readers/writer lock `key`.
    pub fn rwlock(&self, key: impl AsRef<str>) -> RwLock {
        RwLock { handle: self.handle.clone(), key: Arc::from(key.as_ref()) }
    }
}

impl Semaphore {
    /// Asks for `permits` of them at once.
    pub fn permits(&self, permits: u32) -> Request {
        Request::new(&self.handle, self.key.clone(), Mode::Permits { permits, limit: self.limit })
    }

    /// Waits for one permit.
    pub fn acquire(&self) -> Acquiring {
        self.permits(1).acquire()
    }
}

impl Rate {
    /// Asks for `permits` of them at once.
    pub fn permits(&self, permits: u32) -> Request {
        let mode = Mode::Permits { permits, limit: self.limit };
        let mut request = Request::new(&self.handle, self.key.clone(), mode);
        request.wish.per = Some(self.per);
        request
    }

    /// Waits for one permit.
    pub fn acquire(&self) -> Acquiring {
        self.permits(1).acquire()
    }
}

impl IntoFuture for Rate {
    type Output = Result<Lease>;
    type IntoFuture = Acquiring;

    fn into_future(self) -> Acquiring {
        self.acquire()
    }
}

impl RwLock {
    /// Asks for a share, beside other readers.
    pub fn read(&self) -> Request {
        Request::new(&self.handle, self.key.clone(), Mode::Shared)
    }

    /// Asks for all of it.
    pub fn write(&self) -> Request {
        Request::new(&self.handle, self.key.clone(), Mode::Exclusive)
    }
}

impl Request {
    pub(crate) fn new(handle: &Arc<Handle>, key: Arc<str>, mode: Mode) -> Request {
        let wish = Wish { wait: handle.default_wait, ..Wish::new(key, mode) };
        Request { handle: handle.clone(), wish, wait_is_said: false }
    }

    /// Waits so long at most, in whole milliseconds. Without this: the client's `default_wait`.
    pub fn wait(mut self, wait: Duration) -> Request {
        self.wish.wait = Some(wait);
        self.wait_is_said = true;
        self
    }

    /// Waits for as long as it takes.
    pub fn wait_forever(mut self) -> Request {
        self.wish.wait = None;
        self.wait_is_said = true;
        self
    }

    /// Loses the lease `ttl` after its grant or its last [`Lease::renew`]. Without this the session keeps it alive.
    pub fn ttl(mut self, ttl: Duration) -> Request {
        self.wish.life = Life::Session { ttl: Some(ttl) };
        self
    }

    /// Loses the lease so long after its grant, whatever keeps it alive.
    pub fn max_hold(mut self, max_hold: Duration) -> Request {
        self.wish.max_hold = Some(max_hold);
        self
    }

    /// Ahead of local waiters with a lower priority, -100 to 100; a waiter gains one a second. Without this: 0.
    pub fn priority(mut self, priority: i32) -> Request {
        self.wish.priority = priority;
        self
    }

    /// The sequential actor that asks, for the detection of deadlocks: a task, a thread. Without this: the one of
    /// [`crate::owner`], if any.
    pub fn owner(mut self, owner: impl AsRef<str>) -> Request {
        self.wish.owner = Some(Arc::from(owner.as_ref()));
        self
    }

    /// If the owner holds the key already, gets one more handle of that lease at once, with its fence, instead of a
    /// deadlock with itself. Needs an owner ([`Request::owner`] or [`crate::owner`]).
    ///
    /// The key is free when every handle is released; a loss is told to each. What is said here of `wait`, `ttl` and
    /// `max_hold` counts only if the owner does not hold the key: a nested lease lives as the outer one does. A share
    /// inside a whole is a handle of the whole; the whole inside a share is refused as [`Code::NotUpgradable`]: there
    /// is [`Lease::upgrade`] for that. A lease with several handles is neither upgraded nor downgraded.
    pub fn reentrant(mut self) -> Request {
        self.wish.reentrant = true;
        self
    }

    /// Acquires it. Dropping the future leaves the queue, and gives back a grant that raced that.
    ///
    /// # Errors
    /// See [`Error`]; [`Error::WaitTimeout`] if the wait is over.
    pub fn acquire(&self) -> Acquiring {
        self.clone().into_future()
    }

    /// Acquires it if it is free, or becomes free within the wait that was said; else `None`. As [`Request::acquire`], the
    /// future borrows nothing.
    ///
    /// # Errors
    /// See [`Error`]; being held by somebody else is none.
    pub fn try_acquire(&self) -> impl Future<Output = Result<Option<Lease>>> + use<> {
        let mut request = self.clone();
        if !request.wait_is_said {
            request.wish.wait = Some(Duration::ZERO);
        }
        async move {
            match request.await {
                Ok(lease) => Ok(Some(lease)),
                Err(Error::WaitTimeout(_)) => Ok(None),
                Err(error) => Err(error),
            }
        }
    }

    /// Runs `body` under a lease, and drops it in the middle if the lease is lost. Permits of a rate end by themselves, which is
    /// nothing to the body.
    ///
    /// # Errors
    /// See [`Error`]; [`Error::LeaseLost`] if it was lost before the body was done.
    pub async fn run<F, Fut>(&self, body: F) -> Result<Fut::Output>
    where
        F: FnOnce(LeaseView) -> Fut,
        Fut: Future,
    {
        let lease = self.acquire().await?;
        let lost = |reason| Error::LeaseLost { key: self.wish.key.clone(), reason };
        let output = tokio::select! {
            // First, so that nothing of the body runs after the loss is known.
            biased;
            reason = lease.view.loss() => return Err(lost(reason)),
            output = body(lease.view()) => output,
        };
        // A body that never waited was not dropped in the middle.
        match lease.view.loss_by_now() {
            Some(reason) => Err(lost(reason)),
            None => Ok(output),
        }
    }

    /// Acquires a lease that lasts for `ttl`, whatever becomes of the connection or of this process.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn acquire_timed(&self, ttl: Duration) -> Result<TimedLease> {
        let wish = Wish { life: Life::Timed { ttl }, ..self.wish.clone() };
        match Asking::new(self.handle.shared.clone(), wish).await? {
            Gain::Timed(granted) => Ok(TimedLease {
                id: LeaseId(granted.secret.expect("the table tells timed leases by their secret")),
                key: self.wish.key.clone(),
                fence: granted.fence,
                deadline: Duration::from_nanos(granted.deadline_ns),
            }),
            Gain::Done(_) | Gain::Several(_) => Err(another_kind(&self.wish.key)),
            Gain::Session(hold) => {
                drop(Lease::new(self.handle.clone(), hold, self.wish.key.clone()));
                Err(another_kind(&self.wish.key))
            }
        }
    }
}

impl IntoFuture for Request {
    type Output = Result<Lease>;
    type IntoFuture = Acquiring;

    fn into_future(self) -> Acquiring {
        let key = self.wish.key.clone();
        let asking = Asking::new(self.handle.shared.clone(), self.wish);
        Acquiring { asking, handle: self.handle, key }
    }
}

/// An acquire under way. Dropping it leaves the queue, and gives back a grant that raced that.
#[derive(Debug)]
#[must_use = "a request does nothing until it is awaited"]
pub struct Acquiring {
    asking: Asking,
    handle: Arc<Handle>,
    key: Arc<str>,
}

impl Future for Acquiring {
    type Output = Result<Lease>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Lease>> {
        let Poll::Ready(gain) = Pin::new(&mut self.asking).poll(cx) else {
            return Poll::Pending;
        };
        Poll::Ready(match gain? {
            Gain::Session(hold) => Ok(Lease::new(self.handle.clone(), hold, self.key.clone())),
            Gain::Timed(_) | Gain::Done(_) | Gain::Several(_) => Err(another_kind(&self.key)),
        })
    }
}

pub(crate) fn another_kind(key: &Arc<str>) -> Error {
    Error::plain(Code::Internal, key.clone(), "the sidecar granted another kind of lease")
}
