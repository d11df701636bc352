//! The same for programs without async: calls block their thread.
//!
//! ```no_run
//! # fn f() -> sidelock_client::Result<()> {
//! use std::time::Duration;
//! let sl = sidelock_client::blocking::Client::connect_default()?;
//! let lease = sl.lock("orders/42").wait(Duration::from_secs(5)).acquire()?;
//! println!("fence {}", lease.fence());
//! lease.release()?;
//! # Ok(()) }
//! ```
//!
//! Owns one thread per client, which keeps the connection, the pings and the reconnects going while no call is under way.
//! Not to be used from within async code: it would block the runtime, which tokio answers with a panic.

mod observer;
mod once;
mod register;
mod several;

pub use observer::Observer;
pub use once::{Entered, Once, Turn};
pub use register::{Operation, Register, Watch};
pub use several::{LeaseAll, RequestAll};

use crate::error::{Error, Result};
use crate::{Builder, LeaseView, LostReason, request};
use std::future::{Future, IntoFuture};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// A connection to the sidecar. Cheap to clone, to be used from any thread; all clones share it.
#[derive(Clone, Debug)]
pub struct Client {
    client: crate::Client,
    thread: Arc<Thread>,
}

/// A request for a lease; see [`crate::Request`].
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until it is acquired"]
pub struct Request {
    request: request::Request,
    thread: Arc<Thread>,
}

/// A semaphore; see [`crate::Semaphore`].
#[derive(Clone, Debug)]
pub struct Semaphore {
    semaphore: request::Semaphore,
    thread: Arc<Thread>,
}

/// A rate; see [`crate::Rate`].
#[derive(Clone, Debug)]
#[must_use = "a rate does nothing until it is acquired"]
pub struct Rate {
    rate: request::Rate,
    thread: Arc<Thread>,
}

/// Many readers or one writer; see [`crate::RwLock`].
#[derive(Clone, Debug)]
pub struct RwLock {
    lock: request::RwLock,
    thread: Arc<Thread>,
}

/// A session lease; see [`crate::Lease`]. Dropping it gives it back, without waiting for the answer.
#[derive(Debug)]
#[must_use = "a lease that is dropped is released at once"]
pub struct Lease {
    lease: crate::Lease,
    thread: Arc<Thread>,
}

/// The thread on which a client's connection lives, until nobody needs it.
#[derive(Debug)]
struct Thread {
    runtime: Handle,
    /// Dropped with this, which ends the thread.
    _stop: oneshot::Sender<()>,
}

impl Thread {
    fn start() -> std::io::Result<Arc<Thread>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        std::thread::Builder::new().name("sidelock-client".into()).spawn(move || {
            // Ends with the sender's drop, which is an error to the receiver and all that was waited for.
            let _ = runtime.block_on(stopped);
        })?;
        Ok(Arc::new(Thread { runtime: handle, _stop: stop }))
    }

    fn wait<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }
}

impl Client {
    /// See [`crate::Client::connect_default`].
    ///
    /// # Errors
    /// As there.
    pub fn connect_default() -> Result<Client> {
        Client::connect_with(crate::Client::builder())
    }

    /// See [`crate::Client::connect`].
    ///
    /// # Errors
    /// As there.
    pub fn connect(path: impl AsRef<Path>) -> Result<Client> {
        Client::connect_with(crate::Client::builder().socket(path))
    }

    /// Connects with the options of `builder`.
    ///
    /// # Errors
    /// As [`crate::Client::connect_default`].
    pub fn connect_with(builder: Builder) -> Result<Client> {
        Client::start(builder.write_through().connect())
    }

    /// See [`crate::Client::embedded`].
    ///
    /// # Errors
    /// As there.
    #[cfg(feature = "embedded")]
    pub fn embedded() -> Result<Client> {
        Client::start(crate::Client::embedded())
    }

    fn start(connect: impl Future<Output = Result<crate::Client>>) -> Result<Client> {
        let thread = Thread::start().map_err(|error| {
            Error::unreachable(Vec::new(), format!("no thread for the connection could be started: {error}"))
        })?;
        let client = thread.wait(connect)?;
        Ok(Client { client, thread })
    }

    /// See [`crate::Client::lock`].
    pub fn lock(&self, key: impl AsRef<str>) -> Request {
        self.request(self.client.lock(key))
    }

    /// See [`crate::Client::semaphore`].
    pub fn semaphore(&self, key: impl AsRef<str>, limit: u32) -> Semaphore {
        Semaphore { semaphore: self.client.semaphore(key, limit), thread: self.thread.clone() }
    }

    /// See [`crate::Client::rate`].
    pub fn rate(&self, key: impl AsRef<str>, limit: u32, per: Duration) -> Rate {
        Rate { rate: self.client.rate(key, limit, per), thread: self.thread.clone() }
    }

    /// See [`crate::Client::rwlock`].
    pub fn rwlock(&self, key: impl AsRef<str>) -> RwLock {
        RwLock { lock: self.client.rwlock(key), thread: self.thread.clone() }
    }

    /// See [`crate::Client::close`].
    pub fn close(&self) {
        self.client.close();
    }

    fn request(&self, request: request::Request) -> Request {
        Request { request, thread: self.thread.clone() }
    }
}

/// An election; see [`crate::Leader`].
#[derive(Clone, Debug)]
#[must_use = "it does nothing until it campaigns"]
pub struct Leader {
    leader: crate::Leader,
    thread: Arc<Thread>,
}

/// Being the leader; see [`crate::Leadership`].
#[derive(Debug)]
#[must_use = "a leadership that is dropped is resigned at once"]
pub struct Leadership {
    leadership: crate::Leadership,
    thread: Arc<Thread>,
}

impl Client {
    /// See [`crate::Client::holders`].
    ///
    /// # Errors
    /// As there.
    pub fn holders(&self, key: impl AsRef<str>) -> Result<Vec<crate::Holder>> {
        self.thread.wait(self.client.holders(key))
    }

    /// See [`crate::Client::leader`].
    pub fn leader(&self, name: impl AsRef<str>) -> Leader {
        Leader { leader: self.client.leader(name), thread: self.thread.clone() }
    }
}

impl Leader {
    /// See [`crate::Leader::wait`].
    pub fn wait(self, wait: Duration) -> Leader {
        Leader { leader: self.leader.wait(wait), ..self }
    }

    /// See [`crate::Leader::max_term`].
    pub fn max_term(self, max_term: Duration) -> Leader {
        Leader { leader: self.leader.max_term(max_term), ..self }
    }

    /// See [`crate::Leader::campaign`].
    ///
    /// # Errors
    /// As there.
    pub fn campaign(&self) -> Result<Leadership> {
        let leadership = self.thread.wait(self.leader.campaign())?;
        Ok(Leadership { leadership, thread: self.thread.clone() })
    }

    /// See [`crate::Leader::try_campaign`].
    ///
    /// # Errors
    /// As there.
    pub fn try_campaign(&self) -> Result<Option<Leadership>> {
        let elected = self.thread.wait(self.leader.try_campaign())?;
        Ok(elected.map(|leadership| Leadership { leadership, thread: self.thread.clone() }))
    }
}

impl Leadership {
    /// See [`crate::Leadership::term`].
    pub fn term(&self) -> u64 {
        self.leadership.term()
    }

    /// See [`crate::Leadership::is_valid`].
    pub fn is_valid(&self) -> bool {
        self.leadership.is_valid()
    }

    /// See [`crate::Leadership::lost`]: blocks until then.
    pub fn lost(&self) -> LostReason {
        self.thread.wait(self.leadership.lost())
    }

    /// See [`crate::Leadership::resign`].
    ///
    /// # Errors
    /// As there.
    pub fn resign(self) -> Result<()> {
        let Leadership { leadership, thread } = self;
        thread.wait(leadership.resign())
    }
}

impl Semaphore {
    /// See [`crate::Semaphore::permits`].
    pub fn permits(&self, permits: u32) -> Request {
        Request { request: self.semaphore.permits(permits), thread: self.thread.clone() }
    }
}

impl Rate {
    /// See [`crate::Rate::permits`].
    pub fn permits(&self, permits: u32) -> Request {
        Request { request: self.rate.permits(permits), thread: self.thread.clone() }
    }

    /// See [`crate::Rate::acquire`].
    ///
    /// # Errors
    /// As [`crate::Request::acquire`].
    pub fn acquire(&self) -> Result<Lease> {
        self.permits(1).acquire()
    }
}

impl RwLock {
    /// See [`crate::RwLock::read`].
    pub fn read(&self) -> Request {
        Request { request: self.lock.read(), thread: self.thread.clone() }
    }

    /// See [`crate::RwLock::write`].
    pub fn write(&self) -> Request {
        Request { request: self.lock.write(), thread: self.thread.clone() }
    }
}

impl Request {
    /// See [`crate::Request::wait`].
    pub fn wait(self, wait: Duration) -> Request {
        Request { request: self.request.wait(wait), ..self }
    }

    /// See [`crate::Request::wait_forever`].
    pub fn wait_forever(self) -> Request {
        Request { request: self.request.wait_forever(), ..self }
    }

    /// See [`crate::Request::ttl`].
    pub fn ttl(self, ttl: Duration) -> Request {
        Request { request: self.request.ttl(ttl), ..self }
    }

    /// See [`crate::Request::max_hold`].
    pub fn max_hold(self, max_hold: Duration) -> Request {
        Request { request: self.request.max_hold(max_hold), ..self }
    }

    /// See [`crate::Request::priority`].
    pub fn priority(self, priority: i32) -> Request {
        Request { request: self.request.priority(priority), ..self }
    }

    /// See [`crate::Request::reentrant`].
    pub fn reentrant(self) -> Request {
        Request { request: self.request.reentrant(), ..self }
    }

    /// See [`crate::Request::owner`].
    pub fn owner(self, owner: impl AsRef<str>) -> Request {
        Request { request: self.request.owner(owner), ..self }
    }

    /// See [`crate::Request::acquire`].
    ///
    /// # Errors
    /// As there.
    pub fn acquire(&self) -> Result<Lease> {
        let lease = self.thread.wait(self.request.acquire())?;
        Ok(Lease { lease, thread: self.thread.clone() })
    }

    /// See [`crate::Request::try_acquire`].
    ///
    /// # Errors
    /// As there.
    pub fn try_acquire(&self) -> Result<Option<Lease>> {
        let lease = self.thread.wait(self.request.try_acquire())?;
        Ok(lease.map(|lease| Lease { lease, thread: self.thread.clone() }))
    }
}

impl Lease {
    /// See [`crate::Lease::key`].
    pub fn key(&self) -> &str {
        self.lease.key()
    }

    /// See [`crate::Lease::fence`].
    pub fn fence(&self) -> u64 {
        self.lease.fence()
    }

    /// See [`crate::Lease::deadline`].
    pub fn deadline(&self) -> Duration {
        self.lease.deadline()
    }

    /// See [`crate::Lease::is_valid`].
    pub fn is_valid(&self) -> bool {
        self.lease.is_valid()
    }

    /// A look at it for another thread.
    pub fn view(&self) -> LeaseView {
        self.lease.view()
    }

    /// See [`crate::Lease::renew`].
    ///
    /// # Errors
    /// As there.
    pub fn renew(&self, ttl: Duration) -> Result<()> {
        self.thread.wait(self.lease.renew(ttl))
    }

    /// See [`crate::Lease::downgrade`].
    ///
    /// # Errors
    /// As there.
    pub fn downgrade(&self) -> Result<()> {
        self.thread.wait(self.lease.downgrade())
    }

    /// See [`crate::Lease::upgrade`]. Waits so long at most, or without end.
    ///
    /// # Errors
    /// As there.
    pub fn upgrade(&mut self, wait: Option<Duration>) -> Result<()> {
        let upgrade = self.lease.upgrade();
        let upgrade = match wait {
            Some(wait) => upgrade.wait(wait),
            None => upgrade.wait_forever(),
        };
        self.thread.wait(upgrade.into_future())
    }

    /// See [`crate::Lease::lost`]: blocks until then. Another thread may wait by [`crate::LeaseView::ended`].
    pub fn lost(&self) -> LostReason {
        self.thread.wait(self.lease.lost())
    }

    /// See [`crate::Lease::release`].
    ///
    /// # Errors
    /// As there.
    pub fn release(self) -> Result<()> {
        let Lease { lease, thread } = self;
        thread.wait(lease.release())
    }
}
