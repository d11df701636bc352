//! The loops that use locks: one task, many tasks, a crowd on one key. Ours and the peers' go through the same ones.
//!
//! Owns how load is made and counted. Must not know whose lock it is.

use crate::Outcome;
use crate::measure::Latency;
use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::task::{JoinSet, LocalSet};

/// How far beyond its span a crowd may go for the grants that it was to have.
const OVERTIME: u32 = 8;

/// A lock on one key, as one sequential actor uses it.
pub(crate) trait Lock: 'static {
    /// What it holds.
    type Lease;
    /// Waits for it.
    async fn acquire(&mut self) -> Outcome<Self::Lease>;
    /// Gives it back: returns when a user of that library would go on.
    async fn release(&mut self, lease: Self::Lease) -> Outcome;
}

/// What a crowd on one key had.
#[derive(Default)]
pub(crate) struct Crowd {
    /// From asking to having, for every grant.
    pub(crate) waits: Latency,
    /// Grants of each member.
    pub(crate) shares: Vec<u64>,
    /// Grants that went to somebody who had asked later than the one granted next.
    pub(crate) overtaken: u64,
    /// For how long it was watched.
    pub(crate) span: Duration,
}

/// A crowd that is being watched.
struct Watched {
    had: Crowd,
    /// Who asks takes a number.
    asked: u64,
    last_served: u64,
}

impl Crowd {
    /// Grants a second.
    pub(crate) fn rate(&self) -> f64 {
        self.waits.count() as f64 / self.span.as_secs_f64()
    }

    /// This crowd and another that used the same key at the same time.
    pub(crate) fn join(mut self, other: Crowd) -> Crowd {
        self.waits.extend(other.waits);
        self.shares.extend(other.shares);
        self.overtaken += other.overtaken;
        self.span = self.span.max(other.span);
        self
    }
}

impl Watched {
    fn ticket(&mut self) -> u64 {
        self.asked += 1;
        self.asked
    }

    fn granted(&mut self, member: usize, ticket: u64, waited: Duration) {
        self.had.waits.add(waited);
        self.had.shares[member] += 1;
        self.had.overtaken += u64::from(ticket < self.last_served);
        self.last_served = ticket;
    }
}

/// How much a crowd shall do.
#[derive(Clone, Copy)]
pub(crate) struct Effort {
    /// For so long at least.
    pub(crate) span: Duration,
    /// Until it had so many grants, but for no more than [`OVERTIME`] spans.
    pub(crate) grants: usize,
    /// Each grant is held for so long.
    pub(crate) hold: Duration,
}

impl Effort {
    /// For a span, holding nothing longer than it takes to let go.
    pub(crate) fn of(span: Duration) -> Effort {
        Effort { span, grants: 0, hold: Duration::ZERO }
    }
}

/// One user, nobody else: how long each cycle of acquire and release took.
pub(crate) async fn alone(mut lock: impl Lock, span: Duration) -> Outcome<Latency> {
    let mut latency = Latency::default();
    let end = Instant::now() + span;
    while Instant::now() < end {
        let start = Instant::now();
        let lease = lock.acquire().await?;
        lock.release(lease).await?;
        latency.add(start.elapsed());
    }
    Ok(latency)
}

/// So many users at once, each with locks of its own that `make` makes: cycles a second. `make` is given the number of the
/// user and of its cycle.
pub(crate) async fn apart<L: Lock>(
    users: usize,
    span: Duration,
    make: impl Fn(usize, u64) -> L + 'static,
    keep: Keep,
) -> Outcome<f64> {
    let make = Rc::new(make);
    let start = Instant::now();
    let mut set: JoinSet<Outcome<u64>> = JoinSet::new();
    for user in 0..users {
        let make = make.clone();
        set.spawn_local(async move {
            let mut lock = make(user, 0);
            let mut cycles = 0;
            while start.elapsed() < span {
                let lease = lock.acquire().await?;
                lock.release(lease).await?;
                cycles += 1;
                if keep == Keep::Never {
                    lock = make(user, cycles);
                }
            }
            Ok(cycles)
        });
    }
    let mut cycles = 0;
    while let Some(one) = set.join_next().await {
        cycles += one??;
    }
    Ok(cycles as f64 / start.elapsed().as_secs_f64())
}

/// Whether a user keeps its key or goes on to a new one after each cycle.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// The same key all along.
    Always,
    /// A key that nobody used before, every time.
    Never,
}

/// Everybody wants the same key, again and again.
pub(crate) async fn crowd(locks: Vec<impl Lock>, effort: Effort) -> Outcome<Crowd> {
    let had = Crowd { shares: vec![0; locks.len()], ..Crowd::default() };
    let watched = Rc::new(RefCell::new(Watched { had, asked: 0, last_served: 0 }));
    let start = Instant::now();
    let mut set = JoinSet::new();
    for (index, lock) in locks.into_iter().enumerate() {
        set.spawn_local(member(index, lock, effort.hold, watched.clone()));
    }
    loop {
        tokio::select! {
            Some(ended) = set.join_next() => {
                let Err(error) = ended?;
                return Err(error);
            }
            () = tokio::time::sleep(effort.span) => {}
        }
        let enough = watched.borrow().had.waits.count() >= effort.grants;
        if enough || start.elapsed() >= effort.span * OVERTIME {
            let mut had = std::mem::take(&mut watched.borrow_mut().had);
            had.span = start.elapsed();
            return Ok(had);
        }
    }
}

async fn member(
    index: usize,
    mut lock: impl Lock,
    hold: Duration,
    watched: Rc<RefCell<Watched>>,
) -> Outcome<Infallible> {
    loop {
        let ticket = watched.borrow_mut().ticket();
        let start = Instant::now();
        let lease = lock.acquire().await?;
        let waited = start.elapsed();
        watched.borrow_mut().granted(index, ticket, waited);
        if !hold.is_zero() {
            tokio::time::sleep(hold).await;
        }
        lock.release(lease).await?;
    }
}

/// As [`crowd`], in groups: each on a thread and a runtime of its own, as the processes of several pods are.
pub(crate) fn crowds<L: Lock, F: Future<Output = Outcome<Vec<L>>>>(
    groups: usize,
    effort: Effort,
    connect: impl Fn(usize) -> F + Sync,
) -> Outcome<Crowd> {
    let ready = std::sync::Barrier::new(groups);
    let one = |group: usize| -> Outcome<Crowd> {
        let runtime = crate::runtime()?;
        LocalSet::new().block_on(&runtime, async {
            let locks = connect(group).await;
            // Also when it failed: the others wait here.
            ready.wait();
            crowd(locks?, effort).await
        })
    };
    let parts: Outcome<Vec<Crowd>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..groups).map(|group| scope.spawn(move || one(group))).collect();
        threads.into_iter().map(|thread| thread.join().map_err(|_| "a crowd panicked")?).collect()
    });

    Ok(parts?.into_iter().fold(Crowd::default(), Crowd::join))
}
