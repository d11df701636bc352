//! The runtime of a process, and who drives it: reads sockets, keeps time, runs the tasks of all clients in it.
//!
//! Owns who that is. A thread that blocks for an answer drives the runtime itself for a moment: the answer then wakes the
//! thread that wants it, and no other. A wake costs more than all else in a lock; with a thread between, each way would cost
//! two. Whoever waits without driving *rides*: futures of event loops, calls that wait for long. For those, and a moment
//! after the last call that drove, there is a *caretaker*, the one thread of this library. It does not survive a fork, so a
//! child makes its own runtime on first use.

use crate::error::{Failure, Result};
use crate::quiet::Visits;
use sidelock_client::ProcessMark;
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io::ErrorKind;
use std::pin::Pin;
use std::sync::mpsc::channel;
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::runtime::{Handle, Runtime as Tokio};
use tokio::sync::Notify;

/// So long a call drives. What takes longer rides, and lets others drive.
const DRIVE_AT_MOST: Duration = Duration::from_millis(2);
/// So long after the last call that drove, twice that at most, the caretaker drives: what is pushed or dropped meanwhile
/// waits for it. Longer than a call drives.
const CARE_AFTER: Duration = Duration::from_millis(5);

/// The runtimes of a line of forks: each process appends its own, and uses no other. Nothing here waits for a lock that a
/// thread of the parent might have held when it forked.
static FIRST: OnceLock<Link> = OnceLock::new();

struct Link {
    runtime: &'static Runtime,
    child: OnceLock<Box<Link>>,
}

/// The runtime of one process.
pub(crate) struct Runtime {
    mark: ProcessMark,
    /// Whoever blocks on it drives it, one at a time; when that one leaves, the next who blocks on it does.
    tokio: Tokio,
    traffic: Mutex<Traffic>,
    /// Told when somebody rides and nobody drives.
    wanted: Condvar,
    /// Asks the caretaker to leave.
    leave: Notify,
    visits: Visits,
}

#[derive(Default)]
struct Traffic {
    /// Calls that drive, or take part in it.
    driving: usize,
    /// How often they looked for events so far, or more rarely: for the caretaker to see whether anybody does.
    turns: u64,
    riding: usize,
    /// The caretaker drives, and was not asked to leave.
    cared_for: bool,
}

impl Traffic {
    fn is_stranded(&self) -> bool {
        self.riding > 0 && self.driving == 0 && !self.cared_for
    }
}

/// What came of driving.
pub(crate) enum Driven<T> {
    Done(T),
    /// A signal came.
    Interrupted,
    /// It takes longer than a moment.
    TooLong,
}

thread_local! {
    /// What this thread is for the runtime at the moment.
    static ROLE: Cell<Role> = const { Cell::new(Role::Stranger) };
    static SLEEP: RefCell<Sleep> = const { RefCell::new(Sleep { slept: false, signalled: false, waker: None }) };
}

/// How a thread that drives slept.
struct Sleep {
    slept: bool,
    /// A signal woke it.
    signalled: bool,
    /// Wakes the call.
    waker: Option<Waker>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Stranger,
    Driver,
    Caretaker,
}

/// The runtime of this process.
pub(crate) fn runtime() -> Result<&'static Runtime> {
    let mut link = match FIRST.get() {
        Some(link) => link,
        None => {
            let started = Link::start()?;
            // If another thread was faster, its runtime is the one; this one is idle for ever.
            FIRST.get_or_init(|| started)
        }
    };
    while !link.runtime.mark.is_here() {
        link = match link.child.get() {
            Some(child) => child,
            None => {
                let started = Box::new(Link::start()?);
                link.child.get_or_init(|| started)
            }
        };
    }
    Ok(link.runtime)
}

/// The same, if anybody used it.
pub(crate) fn started() -> Option<&'static Runtime> {
    let links = std::iter::successors(FIRST.get(), |link| link.child.get().map(Box::as_ref));
    links.map(|link| link.runtime).find(|runtime| runtime.mark.is_here())
}

impl Link {
    fn start() -> Result<Link> {
        let failed = |error: std::io::Error| Failure::no_thread(&error);
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().on_thread_park(go_to_sleep).on_thread_unpark(wake_up);
        let tokio = builder.build().map_err(failed)?;
        // For as long as the process: there is no moment at which nobody could come back to it.
        let runtime: &'static Runtime = Box::leak(Box::new(Runtime {
            mark: ProcessMark::here(),
            tokio,
            traffic: Mutex::default(),
            wanted: Condvar::new(),
            leave: Notify::new(),
            visits: Visits::default(),
        }));
        // A thread that begins holds a lock of the standard library for a moment. A child forked in that moment could never
        // start a thread of its own, so nobody gets the runtime before its thread has begun.
        let (begun, has_begun) = channel();
        let thread = std::thread::Builder::new().name("sidelock".into());
        let life = move || {
            let _ = begun.send(());
            runtime.take_care();
        };
        thread.spawn(life).map_err(failed)?;
        let _ = has_begun.recv();
        Ok(Link { runtime, child: OnceLock::new() })
    }
}

impl Runtime {
    pub(crate) fn handle(&self) -> &Handle {
        self.tokio.handle()
    }

    pub(crate) fn visits(&'static self) -> &'static Visits {
        &self.visits
    }

    /// Drives until `operation` is done, for a moment at most. An error on a thread that drives already: what it waits for
    /// would never come.
    pub(crate) fn drive<T>(&self, mut operation: Pin<&mut dyn Future<Output = T>>) -> Result<Driven<T>> {
        let _driving = Driving::begin(self)?;
        Ok(self.tokio.block_on(async {
            tokio::select! {
                biased;
                outcome = operation.as_mut() => Driven::Done(outcome),
                () = poll_fn(poll_signal) => Driven::Interrupted,
                () = tokio::time::sleep(DRIVE_AT_MOST) => Driven::TooLong,
            }
        }))
    }

    /// Whether this thread drives for a call at the moment: it belongs to another language, and whatever of that ran here (a
    /// signal's handler, a destructor) would run in the middle of a call.
    pub(crate) fn is_driven_here() -> bool {
        ROLE.get() == Role::Driver
    }

    /// Somebody waits without driving until this is dropped.
    pub(crate) fn ride(&'static self) -> Ride {
        let mut traffic = self.traffic();
        traffic.riding += 1;
        self.unlock(traffic);
        Ride(self)
    }

    /// The caretaker's life.
    fn take_care(&self) {
        ROLE.set(Role::Caretaker);
        loop {
            self.wait_until_wanted();
            self.tokio.block_on(self.leave.notified());
        }
    }

    /// Until somebody is stranded, or for a moment no call drove.
    fn wait_until_wanted(&self) {
        let mut traffic = self.traffic();
        while !traffic.is_stranded() {
            let turns = traffic.turns;
            let looked =
                self.wanted.wait_timeout(traffic, CARE_AFTER).unwrap_or_else(PoisonError::into_inner);
            traffic = looked.0;
            if looked.1.timed_out() && traffic.turns == turns {
                break;
            }
        }
        traffic.cared_for = true;
    }

    /// Nothing panics while it is held, so poison means nothing.
    fn traffic(&self) -> MutexGuard<'_, Traffic> {
        self.traffic.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unlock(&self, traffic: MutexGuard<'_, Traffic>) {
        let stranded = traffic.is_stranded();
        drop(traffic);
        if stranded {
            self.wanted.notify_one();
        }
    }
}

/// The runtime goes on when a signal interrupted its sleep, as if nothing had happened; but the call stands still where the
/// sleep was interrupted, and leaves word of it in `errno`. Should that be wrong, a signal is seen later, or is looked for in
/// vain; no more.
fn go_to_sleep() {
    if ROLE.get() == Role::Driver {
        errno::set_errno(errno::Errno(0));
    }
}

fn wake_up() {
    if ROLE.get() == Role::Driver {
        SLEEP.with_borrow_mut(|sleep| {
            sleep.slept = true;
            if std::io::Error::last_os_error().kind() == ErrorKind::Interrupted {
                sleep.signalled = true;
                if let Some(waker) = sleep.waker.take() {
                    waker.wake();
                }
            }
        });
    }
}

/// Ready once a signal came to this thread in its sleep.
fn poll_signal(cx: &mut Context<'_>) -> Poll<()> {
    SLEEP.with_borrow_mut(|sleep| {
        if sleep.signalled {
            return Poll::Ready(());
        }
        sleep.waker = Some(cx.waker().clone());
        Poll::Pending
    })
}

/// A call while it drives.
struct Driving<'a>(&'a Runtime);

impl Driving<'_> {
    fn begin(runtime: &Runtime) -> Result<Driving<'_>> {
        if ROLE.get() != Role::Stranger {
            return Err(Failure::inside_a_callback());
        }
        ROLE.set(Role::Driver);
        SLEEP.set(Sleep { slept: false, signalled: false, waker: None });
        let mut traffic = runtime.traffic();
        traffic.driving += 1;
        // With riders the caretaker would be back at once.
        let in_the_way = traffic.cared_for && traffic.riding == 0;
        traffic.cared_for &= !in_the_way;
        drop(traffic);
        if in_the_way {
            runtime.leave.notify_one();
        }
        Ok(Driving(runtime))
    }
}

impl Drop for Driving<'_> {
    fn drop(&mut self) {
        ROLE.set(Role::Stranger);
        let slept = SLEEP.with_borrow(|sleep| sleep.slept);
        let mut traffic = self.0.traffic();
        traffic.driving -= 1;
        // Who did not sleep may not have looked: what it asked was answered without.
        traffic.turns += u64::from(slept);
        self.0.unlock(traffic);
    }
}

/// Waiting without driving.
pub(crate) struct Ride(&'static Runtime);

impl Ride {
    pub(crate) fn runtime(&self) -> &'static Runtime {
        self.0
    }
}

impl Drop for Ride {
    fn drop(&mut self) {
        // An inherited lock may be held for ever.
        if self.0.mark.is_here() {
            self.0.traffic().riding -= 1;
        }
    }
}
