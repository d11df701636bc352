//! Registers: small values with versions, from a request to its one answer (P17).
//!
//! Owns reads and writes under way: their one store operation, its repetition while its outcome is unknown, and the line of
//! writes to one register, of which one is outstanding at a time (P7). Must not know how the store keeps values, nor what
//! becomes of watches: that is `register_watch`.

use crate::certainty::ttl_covering;
use crate::effect::{Effect, Refusal, Reply};
use crate::engine::Engine;
use crate::input::{LeaseName, RegisterAct, RegisterRequest};
use crate::link::{Sent, SentKind};
use crate::model::{Key, Mode, RequestId, SessionId, Space, StoreTime, Time};
use crate::mutant::Mutant;
use crate::pin::Pin;
use crate::register_watch::{Watcher, Watches};
use crate::store::{
    self, Bound, Condition, Fault, Known, Op, Outcome, REFUSE_AFTER, ReadRegister, WriteRegister,
};
use crate::timers::Timer;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// An operation that was not answered is sent again after this long, while the link is up.
pub(crate) const REGISTER_RETRY: Duration = Duration::from_millis(100);

/// All operations on registers under way.
#[derive(Default)]
pub(crate) struct Registers {
    /// By number: the seq of what they send.
    pub(crate) operations: BTreeMap<u64, Operation>,
    by_request: BTreeMap<(SessionId, RequestId), u64>,
    /// Writes to one register, in the order in which they came; the first is on its way to the store.
    lines: HashMap<Key, VecDeque<u64>>,
    pub(crate) watches: Watches,
}

impl Registers {
    pub(crate) fn len(&self) -> usize {
        self.operations.len()
    }

    pub(crate) fn find(&self, session: SessionId, request: RequestId) -> Option<u64> {
        self.by_request.get(&(session, request)).copied()
    }

    fn of_session(&self, session: SessionId) -> impl Iterator<Item = u64> + '_ {
        let all = (session, RequestId(0))..=(session, RequestId(u64::MAX));
        self.by_request.range(all).map(|(_, number)| *number)
    }
}

/// One request under way.
pub(crate) struct Operation {
    pub(crate) session: SessionId,
    pub(crate) request: RequestId,
    pub(crate) key: Key,
    pub(crate) act: Act,
    /// The lease that it is bound to may not pass to anybody before this is resolved.
    bound: Option<(Pin, Bound)>,
    since: Time,
    /// It is given up then: every copy of it is void at the store.
    until: Time,
    /// When it is to be sent again; `MAX` while it is under way, waits for its turn, or for the link.
    again_at: Time,
    /// A copy was sent whose answer is to come.
    is_under_way: bool,
    armed: Time,
    /// A copy was sent whose outcome is not known.
    outcome_unknown: bool,
    /// Nobody waits for its answer any more; a write that was sent is seen through all the same.
    is_unheard: bool,
}

/// What an operation does.
pub(crate) enum Act {
    Read,
    Write {
        condition: Condition,
        value: Option<Arc<[u8]>>,
        /// The same in every copy; `None` before the first.
        refuse_after: Option<StoreTime>,
    },
    Watch(Watcher),
}

impl Operation {
    /// Whether an earlier copy may run though this one was refused. What was replaced never comes back, so a condition on a
    /// version stays refused; that there is a value, or none, changes.
    fn may_still_run(&self) -> bool {
        let is_settled = match self.act {
            Act::Write { condition, .. } => matches!(condition, Condition::Match(_)),
            Act::Read | Act::Watch(_) => true,
        };
        self.outcome_unknown && !is_settled
    }
}

impl Engine {
    /// A request about a register.
    pub(crate) fn register(&mut self, now: Time, asked: RegisterRequest) {
        let (session, request) = (asked.session, asked.request);
        let bound = match self.admit_register(&asked) {
            Ok(bound) => bound,
            Err(refusal) => return self.reply(session, request, Reply::Refused(refusal)),
        };
        self.last_seq += 1;
        let number = self.last_seq;
        let void = now + ttl_covering(REFUSE_AFTER);
        let (act, until) = match asked.act {
            RegisterAct::Get => (Act::Read, void),
            RegisterAct::Put { condition, value } => {
                (Act::Write { condition, value: Some(value), refuse_after: None }, void)
            }
            RegisterAct::Delete { condition } => {
                (Act::Write { condition, value: None, refuse_after: None }, void)
            }
            RegisterAct::Watch { known, wait } => {
                let until = match wait {
                    Some(Duration::ZERO) => void,
                    Some(wait) => now + wait,
                    None => Time::MAX,
                };
                (Act::Watch(Watcher::new(known, wait)), until)
            }
        };
        let operation = Operation {
            session,
            request,
            key: asked.key,
            act,
            bound: bound.map(|(lease, bound)| (self.pin(lease), bound)),
            since: now,
            until,
            again_at: Time::MAX,
            is_under_way: false,
            armed: Time::MAX,
            outcome_unknown: false,
            is_unheard: false,
        };
        self.registers.operations.insert(number, operation);
        self.registers.by_request.insert((session, request), number);
        if let Some(session) = self.sessions.get_mut(&session) {
            session.operations += 1;
        }
        self.arm_operation(number);
        self.begin_operation(now, number);
    }

    fn admit_register(&self, asked: &RegisterRequest) -> Result<Option<(usize, Bound)>, Refusal> {
        self.admit_number(asked.session, asked.request)?;
        if self.draining && matches!(asked.act, RegisterAct::Watch { .. }) {
            return Err(Refusal::Draining);
        }
        let bound = asked.lease.map(|lease| self.bind(asked.session, lease, &asked.key)).transpose()?;
        if !self.link.is_up() {
            return Err(Refusal::StoreUnavailable);
        }
        Ok(bound)
    }

    /// The lease that an operation is to be bound to: live, exclusive, of the lock with the register's text.
    fn bind(&self, session: SessionId, name: LeaseName, key: &Key) -> Result<(usize, Bound), Refusal> {
        let index = match self.lease_named(session, name) {
            Err(Refusal::NotHeld) => return Err(Refusal::NotHeld),
            // Released, lost, or of another life: the lock may have moved on.
            Err(_) => return Err(Refusal::StaleFence),
            Ok(index) => index,
        };
        let lease = &self.leases[index];
        let resource = &self.resources[lease.resource];
        if resource.key != key.in_space(Space::Lock) {
            return Err(Refusal::BadRequest("the lease is of another key than this register"));
        }
        if lease.mode != Mode::Exclusive {
            return Err(Refusal::BadRequest(
                "only an exclusive lease fences a register: this one may be shared",
            ));
        }
        let tenure = resource.tenure.as_ref().ok_or(Refusal::StaleFence)?;
        Ok((index, Bound { tenure: self.own(tenure.seq), fence: lease.fence }))
    }

    fn begin_operation(&mut self, now: Time, number: u64) {
        let Some(operation) = self.registers.operations.get(&number) else { return };
        let key = operation.key.clone();
        match operation.act {
            Act::Read => self.send_operation(now, number),
            Act::Watch(_) => self.watch_register(now, key, number),
            Act::Write { .. } => {
                let line = self.registers.lines.entry(key).or_default();
                line.push_back(number);
                if line.len() == 1 {
                    self.send_operation(now, number);
                }
            }
        }
    }

    /// Sends it, or sends it again.
    fn send_operation(&mut self, now: Time, number: u64) {
        let up = self.link.is_up();
        let store_now = self.link.store_time(now);
        let id = self.own(number);
        let Some(operation) = self.registers.operations.get_mut(&number) else { return };
        if !up {
            operation.again_at = Time::MAX;
            return;
        }
        let (key, bound) = (operation.key.clone(), operation.bound.map(|(_, bound)| bound));
        let op = match &mut operation.act {
            Act::Read => Op::ReadRegister(ReadRegister { key, known: Known::Nothing, watch: None, bound }),
            Act::Write { condition, value, refuse_after } => {
                let left = REFUSE_AFTER.saturating_sub(now.since(operation.since));
                let refuse_after = *refuse_after.get_or_insert(store_now + left);
                let (condition, value) = (*condition, value.clone());
                Op::WriteRegister(WriteRegister { key, id, condition, value, refuse_after, bound })
            }
            Act::Watch(_) => return,
        };
        (operation.again_at, operation.is_under_way) = (Time::MAX, true);
        let sent = Sent { kind: SentKind::Register, resource: usize::MAX, seq: number, at: now };
        let call = self.link.send(sent);
        self.emit_call(call, op);
    }

    /// The answer to a call of ours.
    pub(crate) fn register_answered(&mut self, now: Time, sent: Sent, outcome: Outcome) {
        if let Outcome::Applied { at, .. } = outcome
            && self.link.observe(now, sent.at, at)
            && let Some(operation) = self.registers.operations.get(&sent.seq)
        {
            let key = operation.key.clone();
            self.effects.push_back(Effect::AlarmStoreClock { key });
        }
        match sent.kind {
            SentKind::Watch => self.watch_answered(now, sent.seq, outcome),
            _ => self.operation_answered(now, sent.seq, outcome),
        }
    }

    fn operation_answered(&mut self, now: Time, number: u64, outcome: Outcome) {
        let Some(operation) = self.registers.operations.get_mut(&number) else { return };
        operation.is_under_way = false;
        match outcome {
            Outcome::Applied { reply: store::Reply::TooLate, .. } if !operation.outcome_unknown => {
                // The one copy there was is void: this is a new attempt, by a clock that was just set right.
                if let Act::Write { refuse_after, .. } = &mut operation.act {
                    *refuse_after = None;
                }
                operation.again_at = now;
                self.operation_due(now, number);
            }
            Outcome::Applied { reply, .. } => self.operation_done(now, number, reply),
            Outcome::NotApplied(Fault::Corrupt(_)) => self.give_up(now, number),
            Outcome::NotApplied(_) => self.retry_operation(now, number),
            Outcome::Unknown(_) => {
                operation.outcome_unknown = true;
                self.retry_operation(now, number);
            }
        }
    }

    fn retry_operation(&mut self, now: Time, number: u64) {
        if let Some(operation) = self.registers.operations.get_mut(&number) {
            operation.again_at = now + REGISTER_RETRY;
            self.arm_operation(number);
        }
    }

    fn operation_done(&mut self, now: Time, number: u64, reply: store::Reply) {
        let Some(operation) = self.registers.operations.get(&number) else { return };
        let is_deletion = matches!(operation.act, Act::Write { value: None, .. });
        let is_first = matches!(operation.act, Act::Write { condition: Condition::Absent, .. });
        let key = operation.key.clone();
        let written = matches!(reply, store::Reply::Written(_));
        let may_still_run = operation.may_still_run();
        let answer = match reply {
            store::Reply::Register(Some(version)) => Reply::Register(Some(version)),
            // A copy that is still on its way may find what this one did not.
            store::Reply::Conflict(_) | store::Reply::Register(None) if may_still_run => {
                Reply::Refused(Refusal::OutcomeUnknown)
            }
            store::Reply::Register(None) => Reply::Refused(Refusal::Absent),
            store::Reply::Written(_) if is_deletion => Reply::Deleted,
            store::Reply::Written(etag) => Reply::Written(etag),
            store::Reply::Conflict(Some(current)) if is_first => {
                Reply::Refused(Refusal::Exists(Box::new(current)))
            }
            store::Reply::Conflict(current) => Reply::Refused(Refusal::Conflict(current.map(Box::new))),
            store::Reply::StaleFence => Reply::Refused(Refusal::StaleFence),
            // Too late for a copy to tell what became of an earlier one; the others answer other operations.
            _ => Reply::Refused(Refusal::OutcomeUnknown),
        };
        self.finish_operation(now, number, Some(answer));
        if written {
            self.register_changed(now, &key);
        }
    }

    /// No copy of it can run any more.
    fn give_up(&mut self, now: Time, number: u64) {
        let Some(operation) = self.registers.operations.get(&number) else { return };
        let is_write = matches!(operation.act, Act::Write { .. });
        let refusal = match is_write && (operation.outcome_unknown || operation.is_under_way) {
            true => Refusal::OutcomeUnknown,
            false => Refusal::StoreUnavailable,
        };
        self.finish_operation(now, number, Some(Reply::Refused(refusal)));
    }

    /// It is over: the answer, and whatever waited for it. Without an answer its client does not want one.
    pub(crate) fn finish_operation(&mut self, now: Time, number: u64, answer: Option<Reply>) {
        let Some(operation) = self.registers.operations.remove(&number) else { return };
        let Operation { session, request, key, bound, armed, is_unheard, .. } = operation;
        self.timers.disarm(armed, Timer::Register(number));
        if !is_unheard {
            self.registers.by_request.remove(&(session, request));
            if let Some(session) = self.sessions.get_mut(&session) {
                session.operations -= 1;
            }
        }
        if let Some(answer) = answer.filter(|_| !is_unheard) {
            self.reply(session, request, answer);
        }
        if let Some((pin, _)) = bound {
            self.unpin(now, pin);
        }
        match operation.act {
            Act::Write { .. } => self.leave_line(now, &key, number),
            Act::Watch(_) => self.unwatch_register(&key, number),
            Act::Read => {}
        }
    }

    fn leave_line(&mut self, now: Time, key: &Key, number: u64) {
        let Some(line) = self.registers.lines.get_mut(key) else { return };
        let was_first = line.front() == Some(&number);
        line.retain(|other| *other != number);
        match line.front().copied() {
            None => drop(self.registers.lines.remove(key)),
            Some(next) if was_first => self.send_operation(now, next),
            Some(_) => {}
        }
    }

    pub(crate) fn arm_operation(&mut self, number: u64) {
        let Some(operation) = self.registers.operations.get_mut(&number) else { return };
        let due = operation.until.min(operation.again_at);
        if due < operation.armed {
            self.timers.disarm(operation.armed, Timer::Register(number));
            self.timers.arm(due, Timer::Register(number));
            operation.armed = due;
        }
    }

    /// An operation's timer fired.
    pub(crate) fn operation_due(&mut self, now: Time, number: u64) {
        let grace = self.grace();
        let Some(operation) = self.registers.operations.get_mut(&number) else { return };
        if operation.armed <= now {
            operation.armed = Time::MAX;
        }
        let is_over = operation.until <= now;
        let silent_from = operation.since + grace;
        match &mut operation.act {
            Act::Watch(watcher) if is_over => {
                if Mutant::UnseenUnchanged.is(self.config.mutant) {
                    return self.finish_operation(now, number, Some(Reply::Unchanged));
                }
                match watcher.at_its_end(self.link.is_up(), now < silent_from) {
                    Some(answer) => self.finish_operation(now, number, Some(answer)),
                    None => {
                        operation.until = silent_from;
                        self.arm_operation(number);
                    }
                }
            }
            _ if is_over => self.give_up(now, number),
            _ if operation.again_at <= now => {
                self.send_operation(now, number);
                self.arm_operation(number);
            }
            _ => self.arm_operation(number),
        }
    }

    /// The link is back: what waits for it goes out.
    pub(crate) fn registers_reconnected(&mut self, now: Time) {
        let lines = &self.registers.lines;
        // Whatever is under way gets its own outcome.
        let waiting = self.registers.operations.iter().filter(|(_, operation)| !operation.is_under_way);
        let due: Vec<u64> = waiting
            .filter(|(number, operation)| match operation.act {
                Act::Read => true,
                Act::Write { .. } => lines.get(&operation.key).and_then(VecDeque::front) == Some(number),
                Act::Watch(_) => false,
            })
            .map(|(number, _)| *number)
            .collect();
        for number in due {
            self.send_operation(now, number);
        }
        self.watches_reconnected(now);
    }

    /// The client no longer wants an answer. A write that was sent is seen through: until it is known what became of it,
    /// the lease that it is bound to must not pass on.
    pub(crate) fn cancel_register(&mut self, now: Time, session: SessionId, request: RequestId) {
        if let Some(number) = self.registers.find(session, request) {
            self.leave_unheard(now, number);
        }
    }

    /// As [`Engine::cancel_register`], for all of a session.
    pub(crate) fn leave_registers(&mut self, now: Time, session: SessionId) {
        let all: Vec<u64> = self.registers.of_session(session).collect();
        for number in all {
            self.leave_unheard(now, number);
        }
    }

    fn leave_unheard(&mut self, now: Time, number: u64) {
        let Some(operation) = self.registers.operations.get_mut(&number) else { return };
        match operation.act {
            Act::Write { refuse_after: Some(_), .. } => {
                operation.is_unheard = true;
                let (session, request) = (operation.session, operation.request);
                self.registers.by_request.remove(&(session, request));
                if let Some(session) = self.sessions.get_mut(&session) {
                    session.operations -= 1;
                }
            }
            // No copy of such a write can run. A fenced read that still runs does no harm: it lets nobody past who was not
            // past already.
            Act::Write { refuse_after: None, .. } | Act::Read | Act::Watch(_) => {
                self.finish_operation(now, number, None);
            }
        }
    }

    /// The sidecar is going: what would wait for ever is over.
    pub(crate) fn drain_watches(&mut self, now: Time) {
        let watches =
            self.registers.operations.iter().filter(|(_, operation)| matches!(operation.act, Act::Watch(_)));
        let all: Vec<u64> = watches.map(|(number, _)| *number).collect();
        for number in all {
            self.finish_operation(now, number, Some(Reply::Refused(Refusal::Draining)));
        }
    }
}
