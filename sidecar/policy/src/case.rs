//! One request on its way through a chain.
//!
//! Owns the walk: which policy is next, on which thread it is asked, what its answer changes. The walk begins on the caller's
//! thread and usually ends there; where a policy is too slow for that, it goes on, on that policy's lane. Must not know how a
//! policy decides.

use crate::breaker::Leave;
use crate::chain::Chain;
use crate::counters::Counted;
use crate::edits;
use crate::fault::Fault;
use crate::inside::Line;
use crate::model::{Counter, Level, Request, Verdict};
use crate::outcome::{Denied, Effect, Outcome, Step, effect};
use crate::plugin::Place;
use crate::policy::{NotHere, Policy, Ruled};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// How often a policy is asked about one request while others change what it counts: each time another one was admitted.
const QUESTIONS_MAX: usize = 64;

/// See the module.
pub(crate) struct Case {
    chain: Arc<Chain>,
    request: Request,
    unix_ms: u64,
    max_waiters: Option<u32>,
    steps: Vec<Step>,
    counted: Vec<(usize, Vec<Counted>)>,
    denied: Option<Denied>,
    /// The policy that is asked next.
    next: usize,
    /// … may be asked.
    leave: Option<Leave>,
    /// … has been asked for since then.
    since: Option<Instant>,
    alone: Option<Alone>,
}

/// For a decision that is explained, and nobody's: every policy's log lines are kept.
pub(crate) struct Alone {
    /// Counters that stand in place of the policies' own.
    pub(crate) given: Vec<Counter>,
    /// Whether what is counted counts all the same.
    pub(crate) counts: bool,
}

/// How far a walk came.
pub(crate) enum Progress {
    /// To its end.
    Over(Box<Outcome>),
    /// To a policy that has to be asked on its lane.
    ToLane(Box<Case>),
}

impl Case {
    pub(crate) fn new(chain: Arc<Chain>, request: Request) -> Case {
        let unix_ms = request.clock.unix_ms;
        Case {
            chain,
            request,
            unix_ms,
            max_waiters: None,
            steps: Vec::new(),
            counted: Vec::new(),
            denied: None,
            next: 0,
            leave: None,
            since: None,
            alone: None,
        }
    }

    /// Explains instead of deciding: nothing is repeated, nobody left alone, and all of it happens on this thread.
    pub(crate) fn alone(mut self, alone: Alone) -> Outcome {
        self.alone = Some(alone);
        while self.denied.is_none() && self.next < self.chain.policies().len() {
            // Nobody waits for this thread: the policy is always asked.
            let _ = self.step(Place::Alone);
        }
        self.outcome()
    }

    /// Goes on as far as it can on this thread. `place` is where the next policy may be asked; those after it are asked as on
    /// a thread on which others wait.
    pub(crate) fn walk(mut self, place: Place) -> Progress {
        let mut place = place;
        while self.denied.is_none() && self.next < self.chain.policies().len() {
            if self.step(place).is_err() {
                return Progress::ToLane(Box::new(self));
            }
            place = Place::Here;
        }
        Progress::Over(Box::new(self.outcome()))
    }

    /// Asks the next policy, if it is to be asked about this.
    fn step(&mut self, place: Place) -> Result<(), NotHere> {
        let chain = self.chain.clone();
        let policy = &chain.policies()[self.next];
        let keys = self.request.keys.iter().map(|key| &**key);
        if policy.applies(self.request.operation, keys) {
            let since = *self.since.get_or_insert_with(Instant::now);
            let span = policy.span(&self.request).entered();
            let ruled = self.ask(policy, place)?;
            self.take(policy, ruled, since.elapsed());
            span.record("verdict", self.steps.last().map(Step::verdict));
        }
        (self.next, self.leave, self.since) = (self.next + 1, None, None);
        Ok(())
    }

    /// Asks a policy, and counts what it wants counted: right away, for where the next policy is slow others are asked about before
    /// this request is decided. It may be asked on two threads at a time; what one of them counted the other has to see. A policy
    /// that can not count can not decide.
    fn ask(&mut self, policy: &Policy, place: Place) -> Result<Ruled, NotHere> {
        let counts = self.alone.as_ref().is_none_or(|alone| alone.counts);
        for _ in 0..QUESTIONS_MAX {
            let given = self.alone.as_ref().map(|alone| &*alone.given);
            policy.prepare(&mut self.request, given);
            let mut ruled = policy.rule(&self.request, place, &mut self.leave)?;
            let denies = matches!(ruled.ruling, Ok(Verdict::Deny(_)));
            if !counts || denies || ruled.counted.is_empty() {
                return Ok(ruled);
            }
            match policy.counters.add(&mut ruled.counted, self.unix_ms) {
                Ok(0) => {
                    self.counted.push((self.next, std::mem::take(&mut ruled.counted)));
                    return Ok(ruled);
                }
                Ok(_) => {}
                Err(fault) => return Ok(Ruled { lines: ruled.lines, ..Ruled::fault(fault) }),
            }
        }
        Ok(Ruled::fault(Fault::Contended(QUESTIONS_MAX)))
    }

    /// Does what the policy's answer says.
    fn take(&mut self, policy: &Policy, ruled: Ruled, took: Duration) {
        let Ruled { ruling, repeated, mut lines, .. } = ruled;
        let effect = match policy.enforces() {
            true => effect(&ruling, policy.settings.on_error),
            false => Effect::Watched,
        };
        match (&ruling, effect) {
            (Ok(Verdict::Edit(edits)), Effect::Changed) => {
                edits::apply(edits, &mut self.request);
                self.max_waiters = [self.max_waiters, edits.max_waiters].into_iter().flatten().min();
            }
            (Ok(Verdict::Deny(denial)), Effect::Ended) => {
                let policy = policy.settings.name.clone();
                self.denied = Some(Denied { policy, denial: denial.clone(), fault: None });
            }
            (Err(fault), Effect::Ended) => {
                self.denied = Some(Denied::by_fault(policy.settings.name.clone(), fault.clone()));
            }
            _ => {}
        }
        if self.alone.is_none() {
            if let Err(fault) = &ruling {
                lines.push(Line { level: Level::Warn, text: format!("could not decide: it {fault}") });
            }
            policy.tell(&lines);
            lines.clear();
        }
        let policy = policy.settings.name.clone();
        // Each policy has its own: the next one's are read when it is asked.
        let counters = std::mem::take(&mut self.request.counters);
        self.steps.push(Step { policy, ruling, effect, repeated, took, lines, counters });
    }

    /// The end of the walk. What was counted counts on, if the request is admitted.
    fn outcome(self) -> Outcome {
        if self.denied.is_some() {
            for (index, counted) in &self.counted {
                self.chain.policies()[*index].counters.take_back(counted);
            }
        }
        let Case { mut request, max_waiters, steps, denied, .. } = self;
        request.counters.clear();
        Outcome { request, max_waiters, denied, steps }
    }

    /// The policy that has to be asked next can not be: too many wait for it.
    fn left_out(mut self, fault: Fault) -> Progress {
        let chain = self.chain.clone();
        let took = self.since.map_or(Duration::ZERO, |since| since.elapsed());
        self.take(&chain.policies()[self.next], Ruled::fault(fault), took);
        (self.next, self.leave, self.since) = (self.next + 1, None, None);
        self.walk(Place::Here)
    }
}

/// Goes on with a case on the lanes of the policies that want it, and tells `done` how it ended.
pub(crate) fn carry_on(case: Box<Case>, done: oneshot::Sender<Box<Outcome>>) {
    let mut case = case;
    loop {
        let chain = case.chain.clone();
        let left_out = match chain.policies()[case.next].plugin.lane.reserve() {
            Ok(slot) => {
                slot.put(move || match case.walk(Place::Lane) {
                    Progress::Over(outcome) => drop(done.send(outcome)),
                    Progress::ToLane(case) => carry_on(case, done),
                });
                return;
            }
            Err(fault) => case.left_out(fault),
        };
        match left_out {
            // Whoever no longer waits for the answer does not get it.
            Progress::Over(outcome) => return drop(done.send(outcome)),
            Progress::ToLane(next) => case = next,
        }
    }
}
