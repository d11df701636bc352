//! `Idempotency-Key`: a repeated POST gets the lease that the first one got.
//!
//! Owns what is remembered, for how long and how much of it. Must not know what is acquired.
//!
//! Remembered is the lease's secret, not the answer: a repeat is told how the lease stands *now*. Refusals are not
//! remembered, since the same request may succeed the next time.

use super::call::Caller;
use super::lease::{self, Lease};
use super::path::LeaseId;
use super::problem::ProblemDocument;
use sidelock_engine::LeaseSecret;
use sidelock_wire::Secret;
use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// The header that names a request.
pub(crate) const IDEMPOTENCY_KEY: &str = "Idempotency-Key";
/// Bytes of an `Idempotency-Key`: a UUID has 36.
pub(crate) const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;
/// Requests of one user remembered; beyond it their oldest is forgotten that nobody asks at the moment.
const REMEMBERED_PER_UID_MAX: usize = 10_000;
/// How long a request is remembered: longer than anybody retries one.
const REMEMBERED_FOR: Duration = Duration::from_secs(3600);

/// The requests that came with an `Idempotency-Key`, by user: they can not see, guess their way into, or push out each
/// other's.
#[derive(Default)]
pub(crate) struct Repeats(RefCell<HashMap<u32, Remembered>>);

/// One user's.
#[derive(Default)]
struct Remembered {
    by_name: HashMap<Rc<str>, Ticket>,
    /// In the order of arrival, or of the last time when somebody was still asking.
    order: VecDeque<(Instant, Rc<str>)>,
}

/// A remembered request.
#[derive(Clone)]
pub(crate) struct Ticket(Rc<Request>);

struct Request {
    /// Hash of what was asked, to tell a repeat from a key used twice.
    asked: u64,
    progress: RefCell<Progress>,
    moved_on: Notify,
}

#[derive(Clone)]
enum Progress {
    /// Nobody asks: the first has not begun, or was refused, or its client left.
    Open,
    /// Somebody asks; repeats wait for them.
    Asking,
    /// This came of it: one lease, or one of each of its keys.
    Granted(Rc<[LeaseSecret]>),
}

impl Repeats {
    /// The request that `uid` knows by `name`: a new one, or the one that asked the same before.
    pub(crate) fn ticket(&self, uid: u32, name: &str, asked: impl Hash) -> Result<Ticket, ProblemDocument> {
        if name.is_empty() || name.len() > IDEMPOTENCY_KEY_BYTES_MAX {
            let what = format!("1 to {IDEMPOTENCY_KEY_BYTES_MAX} bytes are allowed");
            return Err(ProblemDocument::bad_field(IDEMPOTENCY_KEY, &what));
        }
        let mut hasher = DefaultHasher::new();
        asked.hash(&mut hasher);
        let asked = hasher.finish();
        let now = Instant::now();
        let mut users = self.0.borrow_mut();
        users.retain(|_, remembered| {
            remembered.forget_old(now);
            !remembered.order.is_empty()
        });
        let ticket = users.entry(uid).or_default().remember(name, asked, now);
        if ticket.0.asked != asked {
            let what = "was used for another request; draw a new one for each lease";
            return Err(ProblemDocument::bad_field(IDEMPOTENCY_KEY, what));
        }
        Ok(ticket)
    }
}

impl Remembered {
    fn remember(&mut self, name: &str, asked: u64, now: Instant) -> Ticket {
        if let Some(ticket) = self.by_name.get(name) {
            return ticket.clone();
        }
        self.make_room(now);
        let request = Request { asked, progress: RefCell::new(Progress::Open), moved_on: Notify::new() };
        let ticket = Ticket(Rc::new(request));
        let name: Rc<str> = name.into();
        self.order.push_back((now, name.clone()));
        self.by_name.insert(name, ticket.clone());
        ticket
    }

    fn forget_old(&mut self, now: Instant) {
        while self.order.front().is_some_and(|(since, _)| now.duration_since(*since) > REMEMBERED_FOR) {
            self.forget_oldest(now);
        }
    }

    /// If all are being asked, there is one more than the bound: those are no more than there are connections.
    fn make_room(&mut self, now: Instant) {
        for _ in 0..self.order.len() {
            if self.order.len() < REMEMBERED_PER_UID_MAX {
                return;
            }
            self.forget_oldest(now);
        }
    }

    /// The oldest goes; one that is being asked becomes the newest instead, since its repeat would ask beside it.
    fn forget_oldest(&mut self, now: Instant) {
        let Some((_, name)) = self.order.pop_front() else { return };
        if self.by_name.get(&name).is_some_and(Ticket::is_in_use) {
            self.order.push_back((now, name));
        } else {
            self.by_name.remove(&name);
        }
    }
}

impl Ticket {
    /// Whether somebody has it besides us: who asks, and who waits for them.
    fn is_in_use(&self) -> bool {
        Rc::strong_count(&self.0) > 1
    }
}

/// What became of the leases that a request had, when it comes again: at least one is no more.
pub(crate) struct Over(pub(crate) ProblemDocument);

impl From<Over> for ProblemDocument {
    fn from(over: Over) -> ProblemDocument {
        over.0
    }
}

/// As [`once_all`], for one lease.
pub(crate) async fn once<F, E>(caller: &Caller, ticket: Ticket, acquire: impl Fn() -> F) -> Result<Lease, E>
where
    F: Future<Output = Result<(LeaseSecret, Lease), E>>,
    E: From<ProblemDocument> + From<Over>,
{
    let acquire = || {
        let acquiring = acquire();
        async { acquiring.await.map(|one| vec![one]) }
    };
    once_all(caller, ticket, acquire).await.map(|mut leases| leases.swap_remove(0))
}

/// Acquires, unless the same request already did. A repeat that comes while the first still waits, waits for it, and
/// takes over if the first one's client leaves.
pub(crate) async fn once_all<F, E>(
    caller: &Caller,
    ticket: Ticket,
    acquire: impl Fn() -> F,
) -> Result<Vec<Lease>, E>
where
    F: Future<Output = Result<Vec<(LeaseSecret, Lease)>, E>>,
    E: From<ProblemDocument> + From<Over>,
{
    let request = &*ticket.0;
    loop {
        // Before the look: what moves on after it is not missed.
        let moved_on = request.moved_on.notified();
        let progress = request.progress.borrow().clone();
        match progress {
            Progress::Granted(secrets) => {
                let incarnation = caller.door.gate.identity().incarnation;
                let mut leases = Vec::with_capacity(secrets.len());
                for secret in secrets.iter() {
                    let id = LeaseId::new(Secret(secret.0), incarnation);
                    leases.push(lease::find(caller, id).await.map_err(Over)?);
                }
                return Ok(leases);
            }
            Progress::Asking => moved_on.await,
            Progress::Open => {
                let attempt = Attempt::begin(request);
                let (secrets, leases): (Vec<LeaseSecret>, Vec<Lease>) = acquire().await?.into_iter().unzip();
                attempt.granted(secrets.into());
                return Ok(leases);
            }
        }
    }
}

/// The one who asks. Dropped without a grant, somebody else may.
struct Attempt<'a>(&'a Request);

impl<'a> Attempt<'a> {
    fn begin(request: &'a Request) -> Attempt<'a> {
        request.progress.replace(Progress::Asking);
        Attempt(request)
    }

    fn granted(self, secrets: Rc<[LeaseSecret]>) {
        self.0.progress.replace(Progress::Granted(secrets));
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let mut progress = self.0.progress.borrow_mut();
        if matches!(*progress, Progress::Asking) {
            *progress = Progress::Open;
        }
        drop(progress);
        self.0.moved_on.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remembers(remembered: &Remembered, name: &str) -> bool {
        remembered.by_name.contains_key(name)
    }

    #[test]
    fn one_name_is_one_request_of_one_user() {
        let repeats = Repeats::default();
        let first = repeats.ticket(1, "a", "POST /v1/locks/x").expect("is new");
        let again = repeats.ticket(1, "a", "POST /v1/locks/x").expect("is a repeat");
        assert!(Rc::ptr_eq(&first.0, &again.0));
        let other = repeats.ticket(2, "a", "POST /v1/locks/x").expect("is somebody else's");
        assert!(!Rc::ptr_eq(&first.0, &other.0));
        assert!(repeats.ticket(1, "a", "POST /v1/locks/y").is_err(), "the same name for something else");
    }

    #[test]
    fn names_are_bounded() {
        let repeats = Repeats::default();
        assert!(repeats.ticket(1, "", "").is_err());
        assert!(repeats.ticket(1, &"n".repeat(IDEMPOTENCY_KEY_BYTES_MAX), "").is_ok());
        assert!(repeats.ticket(1, &"n".repeat(IDEMPOTENCY_KEY_BYTES_MAX + 1), "").is_err());
    }

    #[test]
    fn the_oldest_is_forgotten_when_there_are_too_many() {
        let mut remembered = Remembered::default();
        let now = Instant::now();
        for n in 0..=REMEMBERED_PER_UID_MAX {
            remembered.remember(&n.to_string(), 0, now);
        }
        assert!(!remembers(&remembered, "0") && remembers(&remembered, "1"));
        assert_eq!(remembered.by_name.len(), REMEMBERED_PER_UID_MAX);
    }

    #[test]
    fn what_is_still_asked_is_not_forgotten() {
        let mut remembered = Remembered::default();
        let now = Instant::now();
        let asked = remembered.remember("asked", 0, now);
        for n in 0..2 * REMEMBERED_PER_UID_MAX {
            remembered.remember(&n.to_string(), 0, now);
        }
        remembered.forget_old(now + REMEMBERED_FOR + Duration::from_secs(1));
        assert!(Rc::ptr_eq(&remembered.remember("asked", 0, now).0, &asked.0));
        assert_eq!(remembered.by_name.len(), 1, "all others are old");
    }

    #[test]
    fn when_all_are_asked_none_is_forgotten_and_later_the_bound_holds_again() {
        let mut remembered = Remembered::default();
        let now = Instant::now();
        let name = |n: usize| n.to_string();
        let tickets: Vec<_> =
            (0..=REMEMBERED_PER_UID_MAX).map(|n| remembered.remember(&name(n), 0, now)).collect();
        assert_eq!(remembered.by_name.len(), REMEMBERED_PER_UID_MAX + 1);
        drop(tickets);
        remembered.remember("one more", 0, now);
        assert_eq!(remembered.by_name.len(), REMEMBERED_PER_UID_MAX);
    }

    #[test]
    fn nobody_pushes_out_anothers_requests() {
        let repeats = Repeats::default();
        repeats.ticket(1, "a", "").expect("is new");
        for n in 0..=REMEMBERED_PER_UID_MAX {
            repeats.ticket(2, &n.to_string(), "").expect("is new");
        }
        assert!(remembers(&repeats.0.borrow()[&1], "a"));
    }

    #[test]
    fn the_old_is_forgotten() {
        let mut remembered = Remembered::default();
        let now = Instant::now();
        let later = now + REMEMBERED_FOR + Duration::from_secs(1);
        remembered.remember("old", 0, now);
        remembered.remember("new", 0, later);
        remembered.forget_old(later);
        assert!(!remembers(&remembered, "old") && remembers(&remembered, "new"));
    }
}
