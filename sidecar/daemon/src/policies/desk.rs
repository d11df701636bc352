//! Where the driver puts requests to the policies.
//!
//! Owns requests whose policies take their time, and what becomes of them: a client that gives up is answered at once, one
//! that hangs up needs no answer, and nobody else waits. Must not know how a policy decides.

use super::Policies;
use super::matter::{self, Matter};
use super::recorder::Entry;
use crate::clock::realtime_us;
use crate::gate::{Admitted, Gate};
use crate::rulings::{Ruled, Ruling};
use sidelock_engine::circumstances::Circumstances;
use sidelock_engine::{
    Client, Denial, Engine, Event, EventKind, Input, Key, Refusal, Reply, RequestId, SessionId, Time,
};
use sidelock_policy::model::{Operation, Request};
use sidelock_policy::{Decided, Later, Outcome, POLICY_FAILED};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::spawn_local;

/// What is to be done with a request now.
pub(crate) enum Judged {
    /// It goes to the engine.
    Goes(Input),
    /// It is answered, and goes nowhere.
    Answered {
        /// Whose.
        session: SessionId,
        /// Which.
        request: RequestId,
        /// How.
        reply: Reply,
        /// For watchers and metrics: a request for a lease ended so.
        event: Option<Event>,
    },
    /// Nothing: a policy takes its time. [`Desk::news`] will say.
    Waits,
}

/// See the module.
pub(crate) struct Desk {
    policies: Rc<Policies>,
    gate: Gate,
    waiting: BTreeMap<u64, Case>,
    last: u64,
    decided: mpsc::UnboundedReceiver<(u64, Option<Box<Outcome>>)>,
    tell: mpsc::UnboundedSender<(u64, Option<Box<Outcome>>)>,
}

/// A request that is being decided.
struct Case {
    input: Input,
    matter: Matter,
    asked: Request,
    since: Time,
}

impl Case {
    /// Nobody is kept from giving something back: the engine has it, and what policies say of it is only told.
    fn has_gone_on(&self) -> bool {
        self.matter.operation == Operation::Release
    }
}

impl Desk {
    pub(crate) fn new(policies: Rc<Policies>, gate: Gate) -> Desk {
        let (tell, decided) = mpsc::unbounded_channel();
        Desk { policies, gate, waiting: BTreeMap::new(), last: 0, decided, tell }
    }

    /// Puts a request to the policies, if it is one that they are asked about.
    pub(crate) fn judge(
        &mut self,
        now: Time,
        engine: &Engine,
        gid: impl Fn(SessionId) -> u32,
        admitted: Admitted,
    ) -> Judged {
        let (input, meta) = admitted.into_parts();
        if let Input::Cancel { session, request } = input
            && let Some(case) = self.give_up(session, request)
        {
            let event = case.matter.ended(EventKind::Cancelled { waited: now.since(case.since) });
            return Judged::Answered { session, request, reply: Reply::Cancelled, event };
        }
        let Some(chain) = self.policies.chain() else { return Judged::Goes(input) };
        let Some(mut matter) = Matter::of(&input, engine) else { return Judged::Goes(input) };
        let applies = chain.applies(matter.operation, matter.keys.iter().map(Key::as_str));
        if !applies && !self.policies.record.is_kept() {
            return Judged::Goes(input);
        }
        let around = engine.circumstances(now, matter.session, matter.owner.as_ref(), &matter.keys);
        // A session that is over has nobody to tell; the engine knows what to do.
        let Some(around) = around else { return Judged::Goes(input) };
        matter.client = Some(Client { uid: around.uid, app: around.app.clone() });
        // Nobody is kept from giving something back, so nobody waits for what a policy says to it.
        let goes = matter.operation == Operation::Release;
        if applies
            && !goes
            && let Some(refusal) = self.crowded(matter.session)
        {
            return refused(&matter, refusal, Duration::ZERO);
        }
        let (here, now_ms) = (&self.policies.whereabouts, realtime_us() / 1_000);
        let asked = matter.question(&input, around, gid(matter.session), here, now_ms, meta);
        let copy = goes.then(|| input.clone());
        let entry = self.policies.record.entry(&asked);
        let case = Case { input, matter, asked: asked.clone(), since: now };
        let judged = match chain.decide(asked) {
            Decided::Now(outcome) => {
                let judged = self.carry_out(now, engine, case, Some(&outcome));
                if let Some(entry) = entry {
                    self.policies.record.decided(entry, Some(outcome));
                }
                judged
            }
            Decided::Later(later) => self.wait(case, entry, later),
        };
        copy.map_or(judged, Judged::Goes)
    }

    /// Until a policy that took its time has decided.
    pub(crate) async fn news(&mut self) -> Decision {
        Decision(self.decided.recv().await)
    }

    /// What a policy that took its time decided.
    pub(crate) fn hear(&mut self, now: Time, engine: &Engine, decision: Decision) -> Judged {
        let Some((ticket, outcome)) = decision.0 else { return Judged::Waits };
        let Some(case) = self.waiting.remove(&ticket) else {
            // Its client has gone. How policies do is counted all the same: it may have gone because of them.
            outcome.iter().for_each(|outcome| self.policies.metrics.policies().decided(outcome));
            return Judged::Waits;
        };
        let (since, has_gone_on) = (case.since, case.has_gone_on());
        match self.carry_out(now, engine, case, outcome.as_deref()) {
            _ if has_gone_on => Judged::Waits,
            Judged::Goes(mut input) => {
                matter::has_waited(&mut input, now.since(since));
                Judged::Goes(input)
            }
            answered => answered,
        }
    }

    /// A session's connection is over: what it still waited for here is moot.
    pub(crate) fn forget(&mut self, session: SessionId) {
        if !self.waiting.is_empty() {
            self.waiting.retain(|_, case| case.matter.session != session);
        }
    }

    /// Whether somebody is told what happens, and wants to know to whom.
    pub(crate) fn is_observed(&self) -> bool {
        self.policies.is_observed()
    }

    /// Whether nothing is being decided.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    fn wait(&mut self, case: Case, entry: Option<Entry>, later: Later) -> Judged {
        self.last += 1;
        let (ticket, tell, policies) = (self.last, self.tell.clone(), self.policies.clone());
        self.waiting.insert(ticket, case);
        spawn_local(async move {
            let outcome = later.outcome().await;
            // On record even if its client has given up: it was decided, and may have been counted.
            if let Some(entry) = entry {
                policies.record.decided(entry, outcome.clone());
            }
            // After the driver has gone nobody is left to hear it.
            let _ = tell.send((ticket, outcome));
        });
        Judged::Waits
    }

    fn give_up(&mut self, session: SessionId, request: RequestId) -> Option<Case> {
        // Several keys are given up by their first number, as in the engine.
        let is_it = |case: &Case| {
            let Matter { session: of, request: number, .. } = case.matter;
            (of, number) == (session, request) && !case.has_gone_on()
        };
        let found = self.waiting.iter().find(|(_, case)| is_it(case)).map(|(ticket, _)| *ticket);
        self.waiting.remove(&found?)
    }

    /// Who has as many requests here as may wait in the engine waits for those first.
    fn crowded(&self, session: SessionId) -> Option<Refusal> {
        let limit = self.gate.rules().limits.in_flight_per_session_max;
        let is_its = |case: &&Case| case.matter.session == session && !case.has_gone_on();
        let here = self.waiting.values().filter(is_its).count();
        (here >= limit as usize).then_some(Refusal::TooMany { limit })
    }

    /// Does what the policies want; without an outcome they could not be asked.
    fn carry_out(&self, now: Time, engine: &Engine, case: Case, outcome: Option<&Outcome>) -> Judged {
        let Case { input, matter, asked, since } = case;
        let refused = |refusal| refused(&matter, refusal, now.since(since));
        let Some(outcome) = outcome else {
            return refused(Refusal::Denied(Box::new(nobody_asked())));
        };
        self.policies.metrics.policies().decided(outcome);
        if let Some(denied) = &outcome.denied {
            let denial = Denial {
                policy: denied.policy.clone(),
                reason_code: denied.denial.reason_code.as_str().into(),
                message: denied.denial.message.as_str().into(),
                retry_after: denied.denial.retry_after_ms.map(Duration::from_millis),
            };
            let fault = denied.fault.as_ref().map(ToString::to_string);
            tracing::info!(
                policy = &*denial.policy,
                key = asked.keys.first().map_or("", |key| key),
                uid = asked.peer.uid,
                app = &*asked.peer.app,
                reason = &*denial.reason_code,
                fault,
                "denied"
            );
            self.remember(now, &matter, &asked, Ruled::Denied(denial.clone()));
            return refused(Refusal::Denied(Box::new(denial)));
        }
        let changed: Vec<_> = outcome.edited_by().cloned().collect();
        if changed.is_empty() {
            return Judged::Goes(input);
        }
        self.remember(now, &matter, &asked, Ruled::Changed(changed));
        let told = match &input {
            Input::Renew(renewal) => engine.told(renewal.session, renewal.lease),
            _ => None,
        };
        let told = told.map_or(Duration::ZERO, |told| told.since(now));
        let Some(mut input) = matter::apply(input, &asked, &outcome.request, &self.gate, told) else {
            return refused(Refusal::Denied(Box::new(nobody_asked())));
        };
        if let Some(limit) = outcome.max_waiters {
            match self.waiters(now, engine, &input) {
                _ if limit == 0 => matter::try_only(&mut input),
                waiters if waiters >= limit && matter::queues(&input, engine) => {
                    return refused(Refusal::QueueFullByPolicy { limit });
                }
                _ => {}
            }
        }
        Judged::Goes(input)
    }

    /// Who waits for what the request has become.
    fn waiters(&self, now: Time, engine: &Engine, input: &Input) -> u32 {
        let matter = Matter::of(input, engine);
        let around = |matter: &Matter| engine.circumstances(now, matter.session, None, &matter.keys);
        matter.as_ref().and_then(around).map_or(0, |around: Circumstances| around.load.waiters)
    }

    fn remember(&self, now: Time, matter: &Matter, asked: &Request, ruled: Ruled) {
        for key in &matter.keys {
            let (key, app) = (key.clone(), asked.peer.app.clone());
            self.policies.ruled(Ruling { at: now, key, uid: asked.peer.uid, app, ruled: ruled.clone() });
        }
    }
}

/// Something that [`Desk::hear`] understands.
pub(crate) struct Decision(Option<(u64, Option<Box<Outcome>>)>);

fn refused(matter: &Matter, refusal: Refusal, waited: Duration) -> Judged {
    // As in the engine: a storm of who is too many is to cost no events.
    let is_event = matches!(refusal, Refusal::Denied(_));
    let kind = is_event.then(|| EventKind::Refused { refusal: refusal.clone(), waited });
    Judged::Answered {
        session: matter.session,
        request: matter.request,
        reply: Reply::Refused(refusal),
        event: kind.and_then(|kind| matter.ended(kind)),
    }
}

/// No thread could be had for a policy that is slow, and nothing passes that was not looked at.
fn nobody_asked() -> Denial {
    Denial {
        policy: "policies".into(),
        reason_code: POLICY_FAILED.into(),
        message: "the policies could not be asked".into(),
        retry_after: None,
    }
}
