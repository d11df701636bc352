//! One acquire from asking to its answer.
//!
//! Owns the way of a request through breaks of the connection, within its wait, and what becomes of it when nobody wants
//! it any more: it leaves the queue, or the grant that raced is returned (L5, H28).

use crate::clock;
use crate::error::{Error, Result};
use crate::hold::{End, Hold};
use crate::once::Outcome;
use crate::owner;
use crate::shared::{Phase, Shared, State, Wakes};
use crate::slots::{About, Answer, Slot};
use sidelock_wire::{
    Acquire, AcquireAll, Change, Code, Granted, LeaseName, Life, LostReason, Mode, ToSidecar, Window,
};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) key: Arc<str>,
    /// Further keys, all or nothing; none of them twice.
    pub(crate) others: Arc<[Arc<str>]>,
    pub(crate) mode: Mode,
    /// `None`: for ever.
    pub(crate) wait: Option<Duration>,
    pub(crate) life: Life,
    pub(crate) max_hold: Option<Duration>,
    pub(crate) per: Option<Duration>,
    pub(crate) owner: Option<Arc<str>>,
    /// If the owner holds the key, one more handle of that lease.
    pub(crate) reentrant: bool,
    pub(crate) priority: i32,
    /// A shared lease of ours that shall become this, and is kept until then.
    pub(crate) upgrades: Option<Arc<Hold>>,
    /// For the turn of a once key.
    pub(crate) once: Option<Window>,
}

impl Wish {
    /// For a session lease, for as long as it takes, and nothing besides.
    pub(crate) fn new(key: Arc<str>, mode: Mode) -> Wish {
        Wish {
            key,
            others: Arc::default(),
            mode,
            wait: None,
            life: Life::Session { ttl: None },
            max_hold: None,
            per: None,
            owner: None,
            reentrant: false,
            priority: 0,
            upgrades: None,
            once: None,
        }
    }
}

impl Wish {
    /// Whether a rate's time ends the lease, and neither a ttl nor a `max_hold` of ours before that.
    fn ends_with_its_rate(&self) -> bool {
        let ttl = match self.life {
            Life::Session { ttl } => ttl,
            Life::Timed { ttl, .. } => Some(ttl),
        };
        self.per.is_some_and(|per| ttl.into_iter().chain(self.max_hold).all(|other| other >= per))
    }

    /// Whether a cap of the lease is a `max_hold`'s, ours or that of the key's class, for as long as it is not renewed.
    fn may_end_by_max_hold(&self) -> bool {
        let Life::Session { ttl } = self.life else { return false };
        // A rate's lease ends with its permits' time.
        match ttl.into_iter().chain(self.per).min() {
            None => true,
            Some(end) => self.max_hold.is_some_and(|max_hold| max_hold < end),
        }
    }
}

/// What was got.
#[derive(Debug)]
pub(crate) enum Gain {
    Session(Arc<Hold>),
    Timed(Granted),
    Done(Outcome),
    /// One of each key.
    Several(Vec<Arc<Hold>>),
}

/// A wish on its way. Does nothing until polled.
#[derive(Debug)]
pub(crate) struct Asking {
    shared: Arc<Shared>,
    wish: Wish,
    /// When the wait is over, fixed at the first poll; `None`: never.
    wait_until_ns: Option<u64>,
    stage: Stage,
    /// Numbers of the further keys, while it is asked.
    members: Vec<u64>,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    New,
    /// In the table, sent or parked.
    Asked(u64),
    /// Not asked at the moment: the connection changed.
    Again,
    Done,
}

impl Asking {
    pub(crate) fn new(shared: Arc<Shared>, mut wish: Wish) -> Asking {
        wish.owner = wish.owner.or_else(owner::current);
        Asking { shared, wish, wait_until_ns: None, stage: Stage::New, members: Vec::new() }
    }

    /// Puts the request into the table: sent if there is a connection, parked if it may wait for one.
    fn ask(&mut self, waker: &Waker) -> Result<()> {
        if !self.shared.is_own_process() {
            return Err(forked(&self.wish.key));
        }
        if let Some(share) = &self.wish.upgrades {
            if let Some(end) = share.end() {
                return Err(lost(&self.wish.key, end));
            }
            if share.is_orphaned() {
                return Err(lost(&self.wish.key, End::Lost(LostReason::SidecarRestarted)));
            }
        }
        if let Stage::New = self.stage {
            self.wait_until_ns = self.wish.wait.map(|wait| clock::after(clock::boottime_ns(), wait));
        }
        let (wish, wait_until_ns, unreachable_after) =
            (&self.wish, self.wait_until_ns, self.shared.unreachable_after);
        let (number, members) = self.shared.change(|state| match &state.phase {
            Phase::Up(session) => {
                let frame_bytes_max = session.limits.frame_bytes_max as usize;
                let left = wait_until_ns.map(clock::until);
                send(state, wish, left, frame_bytes_max, waker)
            }
            Phase::Away { error, since_ns } => {
                let give_up_ns =
                    clock::after(*since_ns, unreachable_after).min(wait_until_ns.unwrap_or(u64::MAX));
                if give_up_ns <= clock::boottime_ns() {
                    return Err(error.clone());
                }
                Ok((state.slots.insert(Slot::Parked { waker: waker.clone(), give_up_ns }), Vec::new()))
            }
            Phase::Closed(error) => Err(error.clone()),
        })?;
        self.stage = Stage::Asked(number);
        self.members = members;
        Ok(())
    }

    fn conclude(&mut self, answer: Answer) -> Option<Result<Gain>> {
        let members = std::mem::take(&mut self.members);
        if !self.wish.others.is_empty() {
            if let Answer::Granted(first) = answer {
                return self.conclude_several(first, &members).map(Ok);
            }
            // Nothing will be said under these numbers.
            self.shared.change(|state| members.iter().for_each(|&member| drop(state.slots.remove(member))));
        }
        let key = &self.wish.key;
        Some(match answer {
            // The lease, should it have been granted, belongs to no session: asking again would meet it as somebody else's.
            Answer::Interrupted if matches!(self.wish.life, Life::Timed { .. }) => {
                Err(Error::OutcomeUnknown {
                    what: "the acquire",
                    key: key.clone(),
                    advice: "if it was granted, it ends with its ttl; ask again then",
                })
            }
            Answer::Interrupted | Answer::Reconnected => return None,
            // Lost or over before anybody saw it: as if it had not been granted.
            Answer::Granted(hold) if hold.end().is_some() || hold.deadline_ns() <= clock::boottime_ns() => {
                if let Some(share) = &self.wish.upgrades {
                    // With the whole the share is gone.
                    share.finish(hold.end().unwrap_or(End::Lost(LostReason::Expired)));
                }
                self.shared.change(|state| state.release_unheard(hold.request));
                return None;
            }
            Answer::Granted(hold) => {
                hold.of_rate(self.wish.ends_with_its_rate());
                match &self.wish.upgrades {
                    Some(share) => hold.capped_as(share),
                    // Its life is the outer handle's, whatever was wished for this one.
                    None if hold.is_inner() => {}
                    None => hold.capped_by_max_hold(self.wish.may_end_by_max_hold()),
                }
                Ok(Gain::Session(hold))
            }
            Answer::Timed(granted) => Ok(Gain::Timed(granted)),
            // There was no lease yet: the session counted as lost, after a sleep of the host for example, and goes on. As after
            // a break it is asked for again.
            Answer::Refused(refused)
                if refused.code == Code::LeaseLost
                    && refused.detail.reason == Some(LostReason::Session)
                    && self.wish.upgrades.is_none() =>
            {
                return None;
            }
            // Of several keys it is not told which: all are named.
            Answer::Refused(refused) if !self.wish.others.is_empty() => {
                let keys = std::iter::once(key).chain(self.wish.others.iter());
                let keys = keys.map(AsRef::as_ref).collect::<Vec<&str>>().join(", ");
                Err(Error::refused(&keys.into(), refused))
            }
            Answer::Refused(refused) => Err(Error::refused(key, refused)),
            Answer::Failed(error) => Err(error),
            Answer::Done(outcome) => Ok(Gain::Done(outcome)),
            Answer::Renewed(_)
            | Answer::Released
            | Answer::Finished
            | Answer::Holders(_)
            | Answer::Register(_)
            | Answer::Written(_) => Err(Error::plain(
                Code::Internal,
                key.clone(),
                "the sidecar answered something else than was asked",
            )),
        })
    }
}

impl Asking {
    /// The leases of all keys, in the order of the keys; nothing if one is lost or over before anybody saw it: then the
    /// others are as if they had not been granted.
    fn conclude_several(&self, first: Arc<Hold>, members: &[u64]) -> Option<Gain> {
        self.shared.change(|state| {
            let mut holds = vec![first.clone()];
            holds.extend(members.iter().filter_map(|&member| state.slots.take_member(member)));
            let now_ns = clock::boottime_ns();
            let is_good = |hold: &Arc<Hold>| hold.end().is_none() && hold.deadline_ns() > now_ns;
            if holds.len() == members.len() + 1 && holds.iter().all(is_good) {
                return Some(Gain::Several(holds));
            }
            holds.iter().for_each(|hold| state.release_unheard(hold.request));
            None
        })
    }
}

impl Future for Asking {
    type Output = Result<Gain>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let Stage::Asked(number) = self.stage else {
                if let Err(error) = self.ask(cx.waker()) {
                    self.stage = Stage::Done;
                    return Poll::Ready(Err(error));
                }
                return Poll::Pending;
            };
            let Some(answer) = self.shared.lock().slots.take_answer(number, cx.waker()) else {
                return Poll::Pending;
            };
            match self.conclude(answer) {
                Some(result) => {
                    self.stage = Stage::Done;
                    return Poll::Ready(result);
                }
                None => self.stage = Stage::Again,
            }
        }
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        if let Stage::Asked(number) = self.stage
            && self.shared.is_own_process()
        {
            let share = self.wish.upgrades.clone();
            let members = std::mem::take(&mut self.members);
            let mut wakes = Wakes::default();
            self.shared.change(|state| {
                abandon(state, number, share, &mut wakes);
                for member in members {
                    match state.slots.get_mut(member) {
                        Some(Slot::Member(_)) => drop(state.slots.remove(member)),
                        _ => state.release_unheard(member),
                    }
                }
            });
            wakes.fire();
        }
    }
}

fn send(
    state: &mut State,
    wish: &Wish,
    wait: Option<Duration>,
    frame_bytes_max: usize,
    waker: &Waker,
) -> Result<(u64, Vec<u64>)> {
    let before = state.outbox.len();
    // Once keys are others than the locks of the same name, and are never entered again.
    let key = if wish.once.is_some() { Arc::default() } else { wish.key.clone() };
    let about = About::Lease { key, reentrant: wish.reentrant };
    let request = state.slots.insert(Slot::Waiting { waker: waker.clone(), about });
    if let Some(share) = &wish.upgrades {
        let lease = LeaseName::Session(share.request);
        state.send(&ToSidecar::Change(Change { request, lease, mode: wish.mode, wait }));
        return Ok((request, Vec::new()));
    }
    let members: Vec<u64> =
        wish.others.iter().map(|key| state.slots.insert(Slot::Member(key.clone()))).collect();
    let first = Acquire {
        request,
        key: wish.key.as_bytes(),
        mode: wish.mode,
        wait,
        life: wish.life,
        max_hold: wish.max_hold,
        owner: wish.owner.as_deref(),
        priority: wish.priority,
        notify_queued: false,
        per: wish.per,
        reentrant: wish.reentrant,
        once: wish.once,
    };
    state.send(&match wish.others.is_empty() {
        true => ToSidecar::Acquire(first),
        false => {
            let others = members.iter().copied().zip(wish.others.iter().map(|key| key.as_bytes())).collect();
            ToSidecar::AcquireAll(AcquireAll { first, others })
        }
    });
    if let Some(error) = too_large(state, before, frame_bytes_max) {
        members.iter().chain([&request]).for_each(|&number| drop(state.slots.remove(number)));
        return Err(error);
    }
    Ok((request, members))
}

/// Takes a request that is too large back out of the outbox: sent, it would end the connection for everybody.
pub(crate) fn too_large(state: &mut State, before: usize, frame_bytes_max: usize) -> Option<Error> {
    let length = state.outbox.len() - before;
    if length <= frame_bytes_max {
        return None;
    }
    state.outbox.truncate(before);
    let message = format!("the request has {length} bytes, at most {frame_bytes_max} are allowed");
    Some(Error::plain(Code::TooLarge, Arc::from(""), message))
}

/// Nobody wants request `number` any more. Of an upgrade the share stays: a cancel takes back no more than it gave.
fn abandon(state: &mut State, number: u64, share: Option<Arc<Hold>>, wakes: &mut Wakes) {
    match (state.slots.get_mut(number), share) {
        (Some(Slot::Granted(hold)), Some(share)) if hold.end().is_some() => {
            if let Some(End::Lost(reason)) = hold.end() {
                state.lose_share(&share, reason, wakes);
            }
            state.slots.remove(number);
        }
        (Some(Slot::Granted(_)), share @ Some(_)) | (Some(Slot::Waiting { .. }), share) => {
            state.slots.cancel(number, share);
            state.send(&ToSidecar::Cancel { request: number });
        }
        (Some(Slot::Granted(_)), None) => state.release_unheard(number),
        (Some(Slot::Answered(Answer::Timed(granted))), _) => {
            let secret = granted.secret;
            state.slots.remove(number);
            if let Some(secret) = secret {
                state.release_timed_unheard(secret);
            }
        }
        (Some(_), _) => {
            state.slots.remove(number);
        }
        (None, _) => {}
    }
}

/// A forked child has neither connection nor leases.
pub(crate) fn forked(key: &Arc<str>) -> Error {
    let message = "this process was forked from the one that connected; make a new client in the child";
    Error::plain(Code::BadRequest, key.clone(), message)
}

/// The end of a lease as the error of an operation on it.
pub(crate) fn lost(key: &Arc<str>, end: End) -> Error {
    let reason = match end {
        End::Lost(reason) => reason,
        End::Released => LostReason::Other,
    };
    Error::LeaseLost { key: key.clone(), reason }
}
