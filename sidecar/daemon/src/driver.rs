//! The driver: the one task that owns the engine.
//!
//! Owns the engine, the outlets of the sessions, and the order of a turn: take what came in, let the engine handle it,
//! carry its effects out. Adds no rule of its own. Must not know frames, HTTP or Redis.

use crate::clock::Clock;
use crate::handle::Mail;
use crate::health::Health;
use crate::observe::Observer;
use crate::outlet::{Outlet, Told};
use crate::policies::{Decision, Desk, Judged};
use crate::store_link::StoreLink;
use sidelock_engine::survey::Survey;
use sidelock_engine::{Effect, EndedBy, Engine, Input, SessionId, Time};
use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, Sleep, sleep};

/// Mail taken in one turn at most, so that answers leave and timers run while a flood lasts (H15).
const TURN_MAX: usize = 1024;
/// The runtime's timers do not count suspend: while a deadline is pending the driver looks at the clock this often (H9).
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// See the module.
pub(crate) struct Driver {
    engine: Engine,
    clock: Clock,
    mail: mpsc::UnboundedReceiver<Mail>,
    store: StoreLink,
    desk: Desk,
    sessions: HashMap<SessionId, Slot>,
    observer: Observer,
    health: Rc<Health>,
    alarm: Alarm,
    /// Who waits for a look at the fleet.
    surveys: BTreeMap<u64, oneshot::Sender<Box<Survey>>>,
    /// Who waits until nothing is left.
    draining: Vec<oneshot::Sender<()>>,
    /// Reused between turns: mail and store news just taken, sessions that were told something, sessions too slow.
    taken: Vec<Mail>,
    news: Vec<Input>,
    decisions: Vec<Decision>,
    told: Vec<SessionId>,
    slow: Vec<SessionId>,
}

/// A session's way out.
struct Slot {
    outlet: Rc<dyn Outlet>,
    /// The group id of its peer, for policies.
    gid: u32,
    /// Told something in this turn.
    told: bool,
}

impl Driver {
    /// A driver that will read `mail` and talk to `store`.
    pub(crate) fn new(
        engine: Engine,
        mail: mpsc::UnboundedReceiver<Mail>,
        store: StoreLink,
        desk: Desk,
        observer: Observer,
        health: Rc<Health>,
    ) -> Driver {
        Driver {
            engine,
            clock: Clock::new(),
            mail,
            store,
            desk,
            sessions: HashMap::new(),
            observer,
            health,
            alarm: Alarm::new(),
            surveys: BTreeMap::new(),
            draining: Vec::new(),
            taken: Vec::new(),
            news: Vec::new(),
            decisions: Vec::new(),
            told: Vec::new(),
            slow: Vec::new(),
        }
    }

    /// Turns until every handle to the mailbox is gone.
    pub(crate) async fn run(mut self) {
        while self.wait().await {
            let now = self.clock.now();
            self.engine.name_clients(self.desk.is_observed());
            self.expire(now);
            self.take_news(now);
            self.take_mail(now);
            self.take_decisions(now);
            self.carry_out(now);
            self.cut_off_slow(now);
            self.flush();
            self.tell_drained();
        }
    }

    /// Until there is mail, news of the store, or something due. `false`: nobody is left who could send mail.
    async fn wait(&mut self) -> bool {
        // Nothing else may happen before a wait is over that was slow.
        let looks = self.observer.next_look();
        let due = self.engine.next_deadline().into_iter().chain(looks).min();
        self.alarm.set(due, &self.clock);
        tokio::select! {
            biased;
            count = self.mail.recv_many(&mut self.taken, TURN_MAX) => count > 0,
            news = self.store.news() => { self.news.push(news); true }
            decision = self.desk.news() => { self.decisions.push(decision); true }
            () = self.alarm.rings() => true,
        }
    }

    /// What is due comes before anything that just came in; a stepped wall clock before even that (H9, P8).
    fn expire(&mut self, now: Time) {
        let input = if self.clock.stepped() { Input::ClockStepped } else { Input::Tick };
        self.engine.handle(now, input);
    }

    fn take_news(&mut self, now: Time) {
        while let Some(news) = self.store.try_news() {
            self.news.push(news);
        }
        for news in self.news.drain(..) {
            hear(&mut self.engine, &self.health, now, news);
        }
    }

    /// What policies that took their time have decided.
    fn take_decisions(&mut self, now: Time) {
        for decision in std::mem::take(&mut self.decisions) {
            let judged = self.desk.hear(now, &self.engine, decision);
            self.settle(now, judged);
        }
    }

    /// A request goes on to the engine, or is answered, as the policies say.
    fn settle(&mut self, now: Time, judged: Judged) {
        match judged {
            Judged::Goes(input) => self.engine.handle(now, input),
            Judged::Answered { session, request, reply, event } => {
                match event {
                    Some(event) => self.observer.happened(now, event),
                    None => self.observer.replied(&reply),
                }
                self.tell(session, Told::Reply { request, reply });
            }
            Judged::Waits => {}
        }
    }

    fn take_mail(&mut self, now: Time) {
        let mut taken = std::mem::take(&mut self.taken);
        for mail in taken.drain(..) {
            match mail {
                Mail::Input(admitted) => {
                    let sessions = &self.sessions;
                    let gid = |session| sessions.get(&session).map_or(0, |slot: &Slot| slot.gid);
                    let judged = self.desk.judge(now, &self.engine, gid, admitted);
                    self.settle(now, judged);
                }
                Mail::Open { input, session, gid, outlet } => {
                    self.sessions.insert(session, Slot { outlet, gid, told: false });
                    self.engine.handle(now, input);
                }
                Mail::End { session, by } => {
                    // Absent: the driver itself cut it off before.
                    if self.sessions.remove(&session).is_some() {
                        self.desk.forget(session);
                        self.engine.handle(now, Input::SessionEnded { session, by });
                    }
                }
                Mail::Reload(config) => self.store.reload(&config),
                Mail::Query(look) => look(&self.engine),
                Mail::Survey { around, answer } => {
                    let ticket = self.surveys.keys().next_back().map_or(0, |last| last + 1);
                    self.surveys.insert(ticket, answer);
                    self.engine.handle(now, Input::Survey { ticket, around });
                }
                Mail::List { prefix, answer } => self.store.list(prefix, answer),
                Mail::Drain { done } => {
                    self.engine.handle(now, Input::Drain);
                    self.draining.push(done);
                }
            }
        }
        self.taken = taken;
    }

    /// Does what the engine wants done. The memory store answers on the spot, so this also runs what follows from that.
    fn carry_out(&mut self, now: Time) {
        while let Some(effect) = self.engine.poll_effect() {
            match effect {
                Effect::Store(call) => {
                    for answer in self.store.send(now, call) {
                        self.engine.handle(now, answer);
                    }
                }
                Effect::Reply { session, request, reply } => {
                    self.observer.replied(&reply);
                    self.tell(session, Told::Reply { request, reply });
                }
                Effect::Notice { session, notice } => self.tell(session, Told::Notice(notice)),
                Effect::Event(event) => self.observer.happened(now, event),
                Effect::Reservation { .. } => {}
                Effect::TakenByForce { key, order } => self.observer.taken_by_force(&key, &order),
                Effect::Surveyed { ticket, survey } => {
                    // Who no longer waits needs no answer.
                    let _ = self.surveys.remove(&ticket).map(|answer| answer.send(survey));
                }
                Effect::Quarantined { left } => self.observer.quarantined(left),
                Effect::AlarmStoreClock { key } => self.observer.alarm_store_clock(&key),
            }
        }
        self.store.depart();
        self.observer.look_at_slow_waits(now, &self.engine);
    }

    fn tell(&mut self, session: SessionId, told: Told) {
        // Absent: its connection is over, and nobody reads what it would have been told.
        let Some(slot) = self.sessions.get_mut(&session) else { return };
        if slot.outlet.deliver(told).is_err() {
            self.slow.push(session);
        } else if !std::mem::replace(&mut slot.told, true) {
            self.told.push(session);
        }
    }

    /// A reader that is too slow loses its connection, not its leases (P6).
    fn cut_off_slow(&mut self, now: Time) {
        while let Some(session) = self.slow.pop() {
            if let Some(slot) = self.sessions.remove(&session) {
                slot.outlet.close();
                self.desk.forget(session);
                tracing::warn!(
                    session = session.0,
                    "slow_reader: its unread answers exceed their bound; cut off"
                );
                let by = EndedBy::Sidecar;
                self.engine.handle(now, Input::SessionEnded { session, by });
                self.carry_out(now);
            }
        }
    }

    fn tell_drained(&mut self) {
        if self.draining.is_empty() {
            return;
        }
        let counts = self.engine.counts();
        let is_idle = counts.leases == 0 && counts.waiters == 0 && counts.calls == 0;
        if is_idle && self.desk.is_empty() && !self.engine.owes() {
            for done in self.draining.drain(..) {
                // Who no longer waits needs no answer.
                let _ = done.send(());
            }
        }
    }

    fn flush(&mut self) {
        for session in self.told.drain(..) {
            if let Some(slot) = self.sessions.get_mut(&session) {
                slot.told = false;
                slot.outlet.flush();
            }
        }
    }
}

/// Takes in what is new about the store.
fn hear(engine: &mut Engine, health: &Health, now: Time, news: Input) {
    match news {
        Input::StoreUp { .. } => health.set_store_up(true),
        Input::StoreDown => health.set_store_up(false),
        _ => {}
    }
    engine.handle(now, news);
}

/// The driver's one timer. It may ring early, never late by more than the clock's look-out after a suspend.
struct Alarm {
    sleep: Pin<Box<Sleep>>,
    /// When it rings; `None`: not set.
    at: Option<Time>,
}

impl Alarm {
    fn new() -> Alarm {
        Alarm { sleep: Box::pin(sleep(Duration::ZERO)), at: None }
    }

    /// Rings at `wanted` or before. Re-arming costs more than an early ring, so a later wish leaves it as it is.
    fn set(&mut self, wanted: Option<Time>, clock: &Clock) {
        let Some(wanted) = wanted else {
            self.at = None;
            return;
        };
        if self.at.is_some_and(|at| at <= wanted) {
            return;
        }
        let now = clock.now();
        let span = wanted.since(now).min(LOOK_EVERY);
        self.sleep.as_mut().reset(Instant::now() + span);
        self.at = Some(now + span);
    }

    async fn rings(&mut self) {
        match self.at {
            Some(_) => {
                self.sleep.as_mut().await;
                self.at = None;
            }
            None => std::future::pending().await,
        }
    }
}
