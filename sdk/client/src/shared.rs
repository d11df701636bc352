//! What the tasks of a program and its one connection share.
//!
//! Owns the lock around it and the moments at which the connection's state changes: up, away, closed. How bytes move is
//! `link`'s business, what a message does is `dispatch`'s.

use crate::clock;
use crate::error::Error;
use crate::fork::ProcessMark;
use crate::hold::{End, Hold};
use crate::slots::{Answer, Slot, Slots};
use sidelock_socket::Writer;
use sidelock_wire::{
    Code, Guarantee, LeaseName, Limits, LostReason, NOBODY, Resume, Scope, Secret, ToSidecar, Welcome,
};
use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;
use tokio::sync::Notify;

/// Shared by all clones of a client, its leases, its requests and its connection.
#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    /// Until then, in boottime, the sidecar certainly believes that this client lives (S8).
    alive_until_ns: AtomicU64,
    /// Told when the last handle is gone.
    pub(crate) closing: Notify,
    mark: ProcessMark,
    /// A request gives up after so long without a connection, however long it may wait.
    pub(crate) unreachable_after: Duration,
    /// Who asks writes, instead of waking the connection for it.
    pub(crate) write_through: bool,
}

/// What the lock guards.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) phase: Phase,
    pub(crate) slots: Slots,
    /// Frames to be written; empty unless the phase is `Up`.
    pub(crate) outbox: Vec<u8>,
    /// Absent while the connection writes, or was woken to write.
    pub(crate) link: Option<Idle>,
    /// When the connection broke after which nothing was answered yet, be it that there is one again.
    unanswered_since_ns: Option<u64>,
}

/// A connection that has written all there was.
#[derive(Debug)]
pub(crate) struct Idle {
    /// Wakes it.
    pub(crate) waker: Waker,
    /// For who would rather write than wake it.
    pub(crate) writer: Option<Writer>,
}

/// Where the connection stands.
#[derive(Debug)]
pub(crate) enum Phase {
    /// Requests are sent.
    Up(Session),
    /// Requests are parked; this is why. One on which nothing was answered was no connection: a sidecar that hangs up because
    /// of a request would else be asked it for ever.
    Away { error: Error, since_ns: u64 },
    /// There will be no connection any more; this is why.
    Closed(Error),
}

/// A session, as welcomed.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) resume: Resume,
    pub(crate) session_ttl: Duration,
    pub(crate) incarnation: u128,
    pub(crate) scope: Scope,
    pub(crate) guarantee: Guarantee,
    pub(crate) limits: Limits,
    pub(crate) namespace: String,
}

/// How a connection came to its end, which decides what becomes of its leases (P6).
#[derive(Debug)]
pub(crate) enum Ended {
    /// The sidecar closed it, or is gone.
    BySidecar(Error),
    /// This client closes it: to the sidecar, that gives all leases back. So they are lost before it does.
    ByUs(Error),
}

impl Ended {
    pub(crate) fn map(self, change: impl FnOnce(Error) -> Error) -> Ended {
        match self {
            Ended::BySidecar(error) => Ended::BySidecar(change(error)),
            Ended::ByUs(error) => Ended::ByUs(change(error)),
        }
    }

    /// Why a lease is lost that went with it. A sidecar that goes on says so when it hangs up; one that says nothing, or that
    /// it drains, is no more.
    fn lost_reason(&self) -> LostReason {
        match self {
            Ended::BySidecar(error) if matches!(error.code(), None | Some(Code::Draining)) => {
                LostReason::SidecarRestarted
            }
            Ended::BySidecar(_) | Ended::ByUs(_) => LostReason::Session,
        }
    }

    pub(crate) fn into_error(self) -> Error {
        let (Ended::BySidecar(error) | Ended::ByUs(error)) = self;
        error
    }
}

/// Whom to wake once the lock is free again.
#[derive(Debug, Default)]
pub(crate) struct Wakes {
    pub(crate) wakers: Vec<Waker>,
    pub(crate) ended: Vec<Arc<Hold>>,
}

impl Wakes {
    /// Wakes all, and tells how many requests were answered.
    pub(crate) fn fire(&mut self) -> usize {
        let answered = self.wakers.len();
        self.wakers.drain(..).for_each(Waker::wake);
        self.ended.drain(..).for_each(|hold| hold.tell());
        answered
    }
}

impl Session {
    pub(crate) fn of(welcome: &Welcome<'_>) -> Session {
        Session {
            resume: Resume { session: welcome.session, secret: welcome.secret },
            session_ttl: welcome.session_ttl,
            incarnation: welcome.incarnation,
            scope: welcome.scope,
            guarantee: welcome.guarantee,
            limits: welcome.limits,
            namespace: welcome.namespace.clone().into_owned(),
        }
    }
}

impl Shared {
    pub(crate) fn new(
        session: Session,
        alive_until_ns: u64,
        unreachable_after: Duration,
        write_through: bool,
    ) -> Shared {
        let state = State {
            phase: Phase::Up(session),
            slots: Slots::default(),
            outbox: Vec::new(),
            link: None,
            unanswered_since_ns: None,
        };
        Shared {
            state: Mutex::new(state),
            alive_until_ns: AtomicU64::new(alive_until_ns),
            closing: Notify::new(),
            mark: ProcessMark::here(),
            unreachable_after,
            write_through,
        }
    }

    /// The lock. Nothing panics while it is held that would leave it half changed, so poison means nothing.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state. What that left to write is written now, or the connection woken to do it.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let result = change(&mut state);
        let link = if state.is_all_written() { None } else { state.link.take() };
        drop(state);
        if let Some(link) = link {
            link.waker.wake();
        }
        result
    }

    /// Whether this process made the connection; a forked child did not.
    pub(crate) fn is_own_process(&self) -> bool {
        self.mark.is_here()
    }

    /// Whether the sidecar certainly still counts on this client (S8).
    pub(crate) fn is_alive_at(&self, now_ns: u64) -> bool {
        now_ns < self.alive_until_ns.load(Ordering::Acquire)
    }

    /// Whether there is a connection.
    pub(crate) fn is_connected(&self) -> bool {
        matches!(self.lock().phase, Phase::Up(_))
    }

    /// A sign of life leaves now.
    pub(crate) fn alive_until(&self, instant_ns: u64) {
        self.alive_until_ns.store(instant_ns, Ordering::Release);
    }

    /// The client slept through its session's ttl: the sidecar took its leases, or is about to. Should it see that
    /// otherwise, it is told that they are over.
    pub(crate) fn overslept(&self) {
        let mut wakes = Wakes::default();
        self.change(|state| {
            state.lose_leases(LostReason::Session, &mut wakes);
            for hold in &wakes.ended {
                state.send(&release_for_nobody(LeaseName::Session(hold.request)));
            }
        });
        wakes.fire();
    }

    /// The connection ended. Over a store the leases last until the deadlines told (P5), unless it was us who hung up;
    /// on the memory store they were the sidecar's own and are lost with it.
    pub(crate) fn disconnected(&self, ended: Ended) {
        let mut wakes = Wakes::default();
        let mut state = self.lock();
        let fleet = matches!(&state.phase, Phase::Up(session) if session.scope == Scope::Fleet);
        let reason = ended.lost_reason();
        let (error, keeps_leases) = match ended {
            Ended::BySidecar(error) => (error, fleet),
            Ended::ByUs(error) => (error, false),
        };
        state.outbox = Vec::new();
        state.link = None;
        if !matches!(state.phase, Phase::Closed(_)) {
            let since_ns = *state.unanswered_since_ns.get_or_insert_with(clock::boottime_ns);
            state.phase = Phase::Away { error, since_ns };
        }
        state.interrupt(&mut wakes);
        let alive_until_ns = self.alive_until_ns.load(Ordering::Acquire);
        match keeps_leases {
            true => state.each_lease(|hold| hold.shorten(alive_until_ns)),
            false => state.lose_leases(reason, &mut wakes),
        }
        drop(state);
        wakes.fire();
    }

    /// Another attempt to connect failed: requests that waited too long for one fail with it.
    pub(crate) fn still_away(&self, attempt: &Ended) {
        let by_us = matches!(attempt, Ended::ByUs(_));
        let (Ended::BySidecar(attempt) | Ended::ByUs(attempt)) = attempt;
        let mut wakes = Wakes::default();
        let mut state = self.lock();
        let now_ns = clock::boottime_ns();
        if let Phase::Away { error, .. } = &mut state.phase {
            *error = attempt.clone();
        }
        state.give_up(|give_up_ns| give_up_ns <= now_ns, attempt, &mut wakes);
        if by_us {
            state.lose_leases(LostReason::Session, &mut wakes);
        }
        drop(state);
        wakes.fire();
    }

    /// When the first parked request gives up.
    pub(crate) fn next_give_up_ns(&self) -> Option<u64> {
        let mut state = self.lock();
        let parked = state.slots.iter_mut().filter_map(|(_, slot)| match slot {
            Slot::Parked { give_up_ns, .. } => Some(*give_up_ns),
            _ => None,
        });
        parked.min()
    }

    /// There is a connection again. `resumed` lists the leases that the old session still has; without it, it is a new
    /// session and the old one's leases are orphans.
    pub(crate) fn connected(&self, session: Session, resumed: Option<&[u64]>) {
        let mut wakes = Wakes::default();
        self.change(|state| {
            if let Phase::Closed(_) = state.phase {
                return;
            }
            state.phase = Phase::Up(session);
            match resumed {
                Some(held) => state.settle(held, &mut wakes),
                None => state.orphan_leases(),
            }
            state.unpark(&mut wakes);
        });
        wakes.fire();
    }

    /// The program wants no more of it.
    pub(crate) fn close(&self) {
        self.closed(Error::plain(Code::BadRequest, Arc::from(""), "this client was closed; make a new one"));
        self.closing.notify_one();
    }

    /// It is over: nothing will be sent or received any more. The first reason stands.
    pub(crate) fn closed(&self, error: Error) {
        let mut wakes = Wakes::default();
        let mut state = self.lock();
        state.outbox = Vec::new();
        state.link = None;
        state.interrupt(&mut wakes);
        state.lose_leases(LostReason::Session, &mut wakes);
        state.give_up(|_| true, &error, &mut wakes);
        if !matches!(state.phase, Phase::Closed(_)) {
            state.phase = Phase::Closed(error);
        }
        drop(state);
        wakes.fire();
    }
}

impl State {
    /// Queues a message; without a connection there is nobody to tell, and what it would say is moot.
    pub(crate) fn send(&mut self, message: &ToSidecar<'_>) {
        if matches!(self.phase, Phase::Up(_)) {
            message.encode(&mut self.outbox);
        }
    }

    /// The sidecar answers on this connection.
    pub(crate) fn answered(&mut self) {
        self.unanswered_since_ns = None;
    }

    /// Whether nothing is left to write, be it that this thread could just write it.
    fn is_all_written(&mut self) -> bool {
        if let Some(Idle { writer: Some(writer), .. }) = &self.link
            && !self.outbox.is_empty()
        {
            // What is wrong, if something is, the connection will find.
            let written = writer.try_write(&self.outbox).unwrap_or(0);
            self.outbox.drain(..written);
        }
        self.outbox.is_empty()
    }

    /// Gives a session lease back without waiting for the answer. An orphan's name says nothing to the session of now.
    pub(crate) fn release_unheard(&mut self, request: u64) {
        match self.slots.remove(request) {
            None => {}
            Some(Slot::Held(hold) | Slot::Granted(hold)) if hold.is_orphaned() => {}
            Some(_) => self.send(&release_for_nobody(LeaseName::Session(request))),
        }
    }

    /// As [`State::release_unheard`], for a timed lease.
    pub(crate) fn release_timed_unheard(&mut self, secret: Secret) {
        self.send(&release_for_nobody(LeaseName::Timed(secret)));
    }

    fn each_lease(&mut self, mut act: impl FnMut(&Arc<Hold>)) {
        for (_, slot) in self.slots.iter_mut() {
            if let Slot::Held(hold) | Slot::Granted(hold) = slot {
                act(hold);
            }
        }
    }

    /// All leases end. Those not taken yet stay in the table for their futures to find so.
    fn lose_leases(&mut self, reason: LostReason, wakes: &mut Wakes) {
        self.slots.retain(|_, slot| match slot {
            Slot::Held(hold) | Slot::Granted(hold) => {
                hold.finish(End::Lost(reason));
                wakes.ended.push(hold.clone());
                matches!(slot, Slot::Granted(_))
            }
            _ => true,
        });
    }

    /// What was sent and not answered is asked again by its future; what nobody waits for is over.
    fn interrupt(&mut self, wakes: &mut Wakes) {
        self.slots.retain(|_, slot| match slot {
            Slot::Waiting { waker, .. } => {
                wakes.wakers.push(waker.clone());
                *slot = Slot::Answered(Answer::Interrupted);
                true
            }
            Slot::Cancelling { .. } | Slot::Ignored | Slot::Member(_) => false,
            Slot::Parked { .. } | Slot::Answered(_) | Slot::Granted(_) | Slot::Held(_) => true,
        });
    }

    fn give_up(&mut self, due: impl Fn(u64) -> bool, error: &Error, wakes: &mut Wakes) {
        for (_, slot) in self.slots.iter_mut() {
            if let Slot::Parked { waker, give_up_ns } = slot
                && due(*give_up_ns)
            {
                wakes.wakers.push(waker.clone());
                *slot = Slot::Answered(Answer::Failed(error.clone()));
            }
        }
    }

    fn unpark(&mut self, wakes: &mut Wakes) {
        for (_, slot) in self.slots.iter_mut() {
            if let Slot::Parked { waker, .. } = slot {
                wakes.wakers.push(waker.clone());
                *slot = Slot::Answered(Answer::Reconnected);
            }
        }
    }

    /// The session goes on with the leases `held`: ours among them stay, ours not among them are lost, and what we do not
    /// know of (a grant that was on its way when the connection broke, or what was lost with it) is given back whole: to cancel
    /// an upgrade would leave its share.
    fn settle(&mut self, held: &[u64], wakes: &mut Wakes) {
        for &request in held {
            if !matches!(self.slots.get_mut(request), Some(Slot::Held(_) | Slot::Granted(_))) {
                self.send(&release_for_nobody(LeaseName::Session(request)));
            }
        }
        let held: HashSet<u64> = held.iter().copied().collect();
        self.slots.retain(|request, slot| match slot {
            Slot::Held(hold) | Slot::Granted(hold) if !held.contains(&request) => {
                hold.finish(End::Lost(LostReason::Session));
                wakes.ended.push(hold.clone());
                matches!(slot, Slot::Granted(_))
            }
            _ => true,
        });
    }

    /// The old session's leases last until the deadlines told; the new session knows nothing of them.
    fn orphan_leases(&mut self) {
        self.each_lease(|hold| hold.orphan());
        self.slots.retain(|_, slot| !matches!(slot, Slot::Held(_)));
    }
}

/// A release whose answer nobody waits for.
fn release_for_nobody(lease: LeaseName) -> ToSidecar<'static> {
    ToSidecar::Release { request: NOBODY, lease }
}
