//! Clients in a simulated world: their connections, and what they read on them.
//!
//! Owns sessions, the two directions of a connection, pauses of a client, and coming back after EOF. What a client does
//! with its leases is `tasks.rs`.

use super::counters::{self, Counter, Turn};
use super::hosts::{From, Mail, index, number, req};
use super::owners::{Actor, Move};
use super::tasks::{State, Step, Task};
use super::turns::turn_of;
use super::{Happening, World, reentry};
use crate::checker::history::{Answer, At, Event, Refused, Req, Sent};
use sidelock_engine::{EndedBy, Grant, Input, Notice, Refusal, Reply, RequestId, SessionId, SessionOpened};
use std::sync::Arc;
use std::time::Duration;

/// Without a sign of life for so long a session that promised pings loses its leases.
pub(crate) const PING_WITHIN: Duration = Duration::from_secs(6);
/// Clients ping so often.
const PING_EVERY: Duration = Duration::from_secs(2);
/// What a client does at once, at most.
pub(crate) const TASKS: usize = 2;
/// Users, so that there are strangers.
const UIDS: u32 = 2;

/// A client process.
pub(crate) struct Client {
    pub(crate) host: usize,
    pub(crate) uid: u32,
    pub(crate) session: Option<u32>,
    /// It has a working connection.
    pub(crate) connected: bool,
    pub(crate) next_request: u32,
    pub(crate) tasks: [Task; TASKS],
    /// In a world of owners.
    pub(crate) owners: Vec<Actor>,
    pub(crate) counters: [Counter; 3],
    stopped: bool,
    mailbox: Vec<Waiting>,
    /// Only the youngest plan to connect counts.
    connect_plan: u32,
}

/// What waits for a stopped client.
enum Waiting {
    Mail(ClientMail),
    Step { task: usize, generation: u32, step: Step },
    Move { owner: usize, generation: u32, step: Move },
    Turn { counter: usize, generation: u32, turn: Turn },
}

/// Something for a client.
pub(crate) enum ClientMail {
    Reply {
        session: SessionId,
        request: RequestId,
        reply: Reply,
    },
    Notice {
        session: SessionId,
        notice: Notice,
    },
    /// The connection of this session is closed.
    Eof(u32),
    /// An answer to coming back: the leases that are still there, or none: the session is not known any more.
    Resumed {
        session: SessionId,
        held: Option<Vec<RequestId>>,
    },
    /// A timer of the client: connect now.
    Connect {
        plan: u32,
    },
    /// A timer of the client: show a sign of life.
    Ping {
        session: u32,
    },
}

/// A session, and both directions of its connection.
pub(crate) struct Session {
    pub(crate) client: usize,
    pub(crate) host: usize,
    pub(crate) sidecar: u32,
    /// What the sidecar sends can arrive.
    pub(crate) connected: bool,
    /// Connections so far, as the sidecar and as the client count them: a message on an older one goes nowhere.
    pub(crate) sidecar_side: u32,
    client_side: u32,
    /// The sidecar knows of it from then on: nothing overtakes that.
    opened: At,
    /// Nothing sent before arrives after.
    to_sidecar: At,
    to_client: At,
}

impl Client {
    pub(crate) fn new(host: usize, index: usize) -> Client {
        Client {
            host,
            uid: 1000 + number(index) % UIDS,
            session: None,
            connected: false,
            next_request: 0,
            tasks: Default::default(),
            owners: Vec::new(),
            counters: Default::default(),
            stopped: false,
            mailbox: Vec::new(),
            connect_plan: 0,
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        let idle = |task: &Task| matches!(task.state, State::Idle);
        !self.stopped && self.tasks.iter().all(idle) && self.owners.iter().all(Actor::is_idle)
    }
}

impl World {
    /// A message between two processes of one host takes so long.
    fn hop(&mut self) -> Duration {
        self.dice.span(Duration::from_micros(15), Duration::from_micros(150))
    }

    pub(crate) fn next_request(&mut self, client: usize) -> Option<Req> {
        let session = self.clients[client].session?;
        let request = self.clients[client].next_request;
        self.clients[client].next_request += 1;
        Some(Req { session, request })
    }

    /// Sends something to the sidecar of the client's session.
    pub(crate) fn post(&mut self, client: usize, input: Input) {
        let delay = self.hop();
        self.post_after(client, delay, input);
    }

    fn post_after(&mut self, client: usize, delay: Duration, input: Input) {
        let Some(session) = self.clients[client].session else {
            return;
        };
        let state = &mut self.sessions[session as usize];
        state.to_sidecar = state.to_sidecar.max(self.now + delay);
        let (at, host, sidecar, connection) =
            (state.to_sidecar, state.host, state.sidecar, state.client_side);
        let from = From::Session { session, connection };
        self.agenda.put(at, Happening::Mail { host, sidecar, mail: Mail { from, input } });
    }

    /// Sends something to the client of a session.
    pub(crate) fn post_to_client(&mut self, session: usize, mail: ClientMail) {
        let delay = self.hop();
        let state = &mut self.sessions[session];
        if !state.connected && !matches!(mail, ClientMail::Eof(_) | ClientMail::Resumed { .. }) {
            return;
        }
        state.to_client = state.to_client.max(self.now + delay);
        let (at, client) = (state.to_client, state.client);
        self.agenda.put(at, Happening::ToClient { client, mail });
    }

    pub(crate) fn reaches_client(&mut self, client: usize, mail: ClientMail) {
        if self.clients[client].stopped {
            return self.clients[client].mailbox.push(Waiting::Mail(mail));
        }
        // What was sent to a process that died is read by nobody.
        let mine = |session: &SessionId| self.clients[client].session == Some(number(index(*session)));
        match mail {
            ClientMail::Reply { session, .. } | ClientMail::Notice { session, .. } if !mine(&session) => {}
            ClientMail::Reply { session, request, reply } => self.read_reply(client, session, request, reply),
            ClientMail::Notice { session, notice } => self.read_notice(client, session, notice),
            ClientMail::Eof(session) => self.read_eof(client, session),
            ClientMail::Resumed { session, held } => self.read_resumed(client, session, held),
            ClientMail::Connect { plan } => self.connect(client, plan),
            ClientMail::Ping { session } => self.ping(client, session),
        }
    }

    pub(crate) fn step(&mut self, client: usize, task: usize, generation: u32, step: Step) {
        if self.clients[client].stopped {
            self.clients[client].mailbox.push(Waiting::Step { task, generation, step });
        } else if self.clients[client].tasks[task].generation == generation {
            self.do_step(client, task, step);
        }
    }

    pub(crate) fn owner_moves(&mut self, client: usize, owner: usize, generation: u32, step: Move) {
        match self.clients[client].stopped {
            true => self.clients[client].mailbox.push(Waiting::Move { owner, generation, step }),
            false => self.moves(client, owner, generation, step),
        }
    }

    pub(crate) fn counter_turns(&mut self, client: usize, counter: usize, generation: u32, turn: Turn) {
        match self.clients[client].stopped {
            true => self.clients[client].mailbox.push(Waiting::Turn { counter, generation, turn }),
            false => self.counts(client, counter, generation, turn),
        }
    }

    pub(crate) fn client_stops(&mut self, client: usize, span: Duration) {
        if !self.clients[client].stopped {
            self.log.say(|| format!("client {client} is stopped for {span:?}"));
            self.clients[client].stopped = true;
            self.agenda.put(self.now + span, Happening::ClientContinues { client });
        }
    }

    /// It goes on, and first of all looks whether its leases are still valid.
    pub(crate) fn client_continues(&mut self, client: usize) {
        self.log.say(|| format!("client {client} goes on"));
        self.clients[client].stopped = false;
        for task in 0..self.clients[client].tasks.len() {
            self.look_at_deadline(client, task);
        }
        self.owners_look_at_deadlines(client);
        for waiting in std::mem::take(&mut self.clients[client].mailbox) {
            match waiting {
                Waiting::Mail(mail) => self.reaches_client(client, mail),
                Waiting::Step { task, generation, step } => self.step(client, task, generation, step),
                Waiting::Move { owner, generation, step } => {
                    self.owner_moves(client, owner, generation, step)
                }
                Waiting::Turn { counter, generation, turn } => {
                    self.counter_turns(client, counter, generation, turn)
                }
            }
        }
    }

    pub(crate) fn connect_later(&mut self, client: usize, delay: Duration) {
        self.clients[client].connect_plan += 1;
        let plan = self.clients[client].connect_plan;
        let mail = ClientMail::Connect { plan };
        self.agenda.put(self.now + delay, Happening::ToClient { client, mail });
    }

    /// What the sidecar is told of a session that begins, or goes on.
    fn opened(&self, client: usize, session: u32) -> SessionOpened {
        SessionOpened {
            session: SessionId(u64::from(session)),
            uid: self.clients[client].uid,
            app: Arc::clone(&self.app),
            ping_within: self.plan.habits.pings.then_some(PING_WITHIN),
            owners_by_uid: false,
        }
    }

    /// Opens a new session, or comes back to the one that the sidecar cut off.
    fn connect(&mut self, client: usize, plan: u32) {
        let host = self.clients[client].host;
        if self.clients[client].connect_plan != plan || self.clients[client].connected {
            return;
        }
        if self.hosts[host].engine.is_none() {
            return; // The sidecar's start plans the next try.
        }
        let sidecar = self.hosts[host].sidecar;
        if let Some(session) = self.clients[client].session
            && self.sessions[session as usize].sidecar == sidecar
        {
            let state = &mut self.sessions[session as usize];
            state.client_side += 1;
            state.sidecar_side = state.client_side;
            let (opened, held) = (self.opened(client, session), Vec::new());
            return self.post(client, Input::SessionResumed { session: opened, held });
        }
        // Nothing of an older session is known to the new one.
        self.connection_lost(client, false);
        let session = number(self.sessions.len());
        self.sessions.push(Session {
            client,
            host,
            sidecar,
            connected: true,
            sidecar_side: 0,
            client_side: 0,
            opened: self.now,
            to_sidecar: self.now,
            to_client: self.now,
        });
        let uid = self.clients[client].uid;
        self.log.record(Event::Opened { session, sidecar, uid });
        self.clients[client].session = Some(session);
        self.clients[client].next_request = 0;
        self.clients[client].connected = true;
        let pings = self.plan.habits.pings;
        let opened = self.opened(client, session);
        self.post(client, Input::SessionOpened(opened));
        let state = &mut self.sessions[session as usize];
        state.opened = state.to_sidecar;
        if pings {
            let mail = ClientMail::Ping { session };
            self.agenda.put(self.now + PING_EVERY, Happening::ToClient { client, mail });
        }
    }

    fn ping(&mut self, client: usize, session: u32) {
        if self.clients[client].session != Some(session) || self.rested {
            return;
        }
        if self.clients[client].connected {
            self.post(client, Input::SessionPinged(SessionId(u64::from(session))));
        }
        let mail = ClientMail::Ping { session };
        self.agenda.put(self.now + PING_EVERY, Happening::ToClient { client, mail });
    }

    fn read_reply(&mut self, client: usize, session: SessionId, request: RequestId, reply: Reply) {
        let of = req(session, request);
        if reentry::is_inner(request) {
            return self.entered(client, of, &reply);
        }
        let clock = self.hosts[self.clients[client].host].clock;
        let answer = match &reply {
            Reply::Unlocked(_) => unreachable!("no client orders a forced unlock"),
            Reply::Granted(Grant { fence, deadline, .. }) => {
                Answer::Granted { fence: *fence, deadline: clock.when(*deadline) }
            }
            Reply::GrantedAll(grants) => {
                for (request, Grant { fence, deadline, .. }) in grants {
                    let answer = Answer::Granted { fence: *fence, deadline: clock.when(*deadline) };
                    self.log.record(Event::Answered { of: req(session, *request), answer });
                }
                self.owner_answered(client, of, &reply);
                return self.answered(client, of, reply);
            }
            Reply::Renewed { deadline, .. } => Answer::Renewed { deadline: clock.when(*deadline) },
            Reply::Downgraded { .. } => Answer::Downgraded,
            Reply::Released => Answer::Released,
            Reply::Finished(_) => Answer::Finished,
            Reply::Done(success) => Answer::Done { by: turn_of(&success.result) },
            Reply::Cancelled => Answer::Cancelled,
            Reply::Register(_) | Reply::Unchanged | Reply::Written(_) | Reply::Deleted => {
                Answer::Told(counters::told(&reply).expect("one of a register"))
            }
            Reply::Refused(refusal) => Answer::Refused(why(refusal)),
        };
        for of in self.groups.members(of) {
            self.log.record(Event::Answered { of, answer });
        }
        self.owner_answered(client, of, &reply);
        self.counter_answered(client, of, &reply);
        self.answered(client, of, reply);
    }

    fn read_notice(&mut self, client: usize, session: SessionId, notice: Notice) {
        match notice {
            Notice::Extended { until, except } => {
                self.owners_extended(client, until, &except);
                self.extended(client, session, until, &except);
            }
            Notice::Lost { request, .. } => {
                self.owner_lost(client, req(session, request));
                self.lost(client, req(session, request));
            }
            Notice::Queued { .. } | Notice::AtRisk { .. } | Notice::Draining => {}
        }
    }

    fn read_eof(&mut self, client: usize, session: u32) {
        if self.clients[client].session != Some(session) || !self.clients[client].connected {
            return;
        }
        self.log.record(Event::EofSeen { session });
        self.clients[client].connected = false;
        let sidecar_lives =
            self.is_running(self.clients[client].host, self.sessions[session as usize].sidecar);
        // Owners begin anew.
        let comes_back = sidecar_lives && self.plan.tangle.is_none() && self.dice.chance(0.7);
        if !comes_back {
            self.clients[client].session = None;
        }
        self.connection_lost(client, comes_back);
        let delay = self.dice.about(Duration::from_millis(300)).min(Duration::from_secs(5));
        self.connect_later(client, delay);
    }

    /// The sidecar was about to handle a client's return.
    pub(crate) fn session_resumed(&mut self, session: SessionId, held: Option<Vec<RequestId>>) {
        self.sessions[index(session)].connected = held.is_some();
        self.post_to_client(index(session), ClientMail::Resumed { session, held });
    }

    fn read_resumed(&mut self, client: usize, session: SessionId, held: Option<Vec<RequestId>>) {
        let number = number(index(session));
        if self.clients[client].session != Some(number) {
            return;
        }
        let Some(held) = held else {
            self.clients[client].session = None;
            self.connection_lost(client, false);
            return self.connect_later(client, Duration::from_millis(1));
        };
        self.clients[client].connected = true;
        self.resumed(client, number, &held);
    }

    /// The client dies: its process is gone at once, its sidecar hears of it a moment later.
    pub(crate) fn client_dies(&mut self, client: usize) {
        let Some(session) = self.clients[client].session else {
            return;
        };
        self.log.say(|| format!("client {client} dies"));
        let was_connected = self.clients[client].connected;
        if was_connected {
            self.last_words(client, session);
        }
        self.log.record(Event::HungUp { session });
        if was_connected {
            let input = Input::SessionEnded { session: SessionId(u64::from(session)), by: EndedBy::Peer };
            let delay = self.hop();
            if self.dice.chance(0.4) {
                // The driver may notice the hang-up before it has read what was sent last.
                let state = &mut self.sessions[session as usize];
                state.to_sidecar = self.now.max(state.opened);
            }
            self.post_after(client, delay, input);
        }
        self.sessions[session as usize].connected = false;
        self.clients[client].session = None;
        self.clients[client].connected = false;
        self.clients[client].mailbox.clear();
        for task in 0..self.clients[client].tasks.len() {
            self.forget(client, task);
        }
        self.owners_forget(client);
        self.counters_forget(client);
        let delay = self.dice.about(Duration::from_millis(400));
        self.connect_later(client, delay);
    }

    /// Some die with a cancel on the way, which the driver may read after it has noticed the hang-up.
    fn last_words(&mut self, client: usize, session: u32) {
        for task in 0..self.clients[client].tasks.len() {
            let of = match &self.clients[client].tasks[task].state {
                State::Waiting { of, cancelled: false } => *of,
                State::Holding(lease) if lease.of.session == session => lease.of,
                _ => continue,
            };
            if !self.dice.chance(0.4) {
                continue;
            }
            self.send(of, Sent::Cancel);
            let (host, sidecar) = (self.clients[client].host, self.sessions[session as usize].sidecar);
            let connection = self.sessions[session as usize].client_side;
            let input = Input::Cancel {
                session: SessionId(u64::from(session)),
                request: RequestId(u64::from(of.request)),
            };
            let mail = Mail { from: From::Session { session, connection }, input };
            let delay = self.dice.span(Duration::ZERO, 4 * (self.plan.one_way + self.plan.jitter));
            self.agenda.put(self.now + delay, Happening::Mail { host, sidecar, mail });
        }
    }
}

/// Why something was refused, as far as rules care.
pub(crate) fn why(refusal: &Refusal) -> Refused {
    match refusal {
        Refusal::Held | Refusal::UsedUp { waited: false, .. } => Refused::Held,
        Refusal::WaitTimeout | Refusal::UsedUp { waited: true, .. } => Refused::WaitTimeout,
        Refusal::Deadlock(_) => Refused::Deadlock,
        Refusal::NotHeld | Refusal::NotFound | Refusal::LeaseLost(_) => Refused::NotYours,
        Refusal::OutcomeUnknown => Refused::Unknown,
        Refusal::LimitMismatch { .. } => Refused::OtherLimit,
        Refusal::Absent => Refused::Absent,
        Refusal::StoreUnavailable => Refused::Unavailable,
        Refusal::Quarantined { .. } => Refused::Quarantined,
        Refusal::Draining => Refused::Draining,
        _ => Refused::Other,
    }
}
