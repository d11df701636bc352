//! One policy of a chain: a plugin, and the rules around it that are the host's.
//!
//! Owns whether it is asked at all, and what its answer comes to: repeated from memory, left out while it rests, checked. Must
//! not know its neighbours in the chain.

use crate::answers::Answers;
use crate::breaker::{Breaker, Leave};
use crate::code::Code;
use crate::counters::{Counted, Counters};
use crate::edits::{self, Bounds};
use crate::fault::Fault;
use crate::inside::{Line, Stop};
use crate::instance::Asked;
use crate::model::{Counter, Decision, Operation, Request, Verdict};
use crate::plugin::{Place, Plugin};
use crate::settings::{Enforcement, Settings};
use crate::voice::Voice;
use crate::zone::Zone;
use sidelock_notation::glob;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tracing::field::Empty;

/// See the module.
pub(crate) struct Policy {
    pub(crate) settings: Settings,
    pub(crate) plugin: Plugin,
    pub(crate) counters: Arc<Counters>,
    zone: Zone,
    bounds: Bounds,
    answers: Answers,
    breaker: Mutex<Breaker>,
    voice: Voice,
}

/// What a policy answered, and what that took.
pub(crate) struct Ruled {
    pub(crate) ruling: Result<Verdict, Fault>,
    pub(crate) counted: Vec<Counted>,
    pub(crate) repeated: bool,
    pub(crate) lines: Vec<Line>,
}

impl Ruled {
    pub(crate) fn fault(fault: Fault) -> Ruled {
        Ruled { ruling: Err(fault), counted: Vec::new(), repeated: false, lines: Vec::new() }
    }
}

/// The policy is to be asked on its lane.
pub(crate) struct NotHere;

impl Policy {
    pub(crate) fn new(
        settings: Settings,
        zone: Zone,
        plugin: Plugin,
        counters: Arc<Counters>,
        bounds: Bounds,
    ) -> Policy {
        let (answers, voice) = Default::default();
        let breaker = Mutex::new(Breaker::of_calls(plugin.longest_call()));
        Policy { settings, plugin, counters, zone, bounds, answers, breaker, voice }
    }

    /// Whether it is what these settings and this component would make.
    pub(crate) fn is(&self, settings: &Settings, code: &Code, bounds: Bounds) -> bool {
        self.settings == *settings && self.plugin.code.digest == code.digest && self.bounds == bounds
    }

    /// Whether it is to be asked about this. For most requests the answer is no, and this is all that it costs.
    pub(crate) fn applies<'a>(&self, operation: Operation, mut keys: impl Iterator<Item = &'a str>) -> bool {
        let Settings { operations, matches, .. } = &self.settings;
        operations.contains(&operation)
            && (matches.is_empty() || keys.any(|key| matches.iter().any(|pattern| glob(pattern, key))))
    }

    /// Whether its verdicts count.
    pub(crate) fn enforces(&self) -> bool {
        self.settings.enforcement == Enforcement::Enforce
    }

    /// Fills in what is different for each policy: its clock, its counters.
    pub(crate) fn prepare(&self, request: &mut Request, given: Option<&[Counter]>) {
        request.clock = self.zone.clock(request.clock.unix_ms);
        request.counters = self.counters.read(&self.plugin.wanted, request);
        let given = given.unwrap_or(&[]);
        for counter in &mut request.counters {
            if let Some(given) = given.iter().find(|given| given.name == counter.name) {
                counter.clone_from(given);
            }
        }
    }

    /// What whoever traces the sidecar sees of a question to it. Its verdict is said later.
    pub(crate) fn span(&self, request: &Request) -> tracing::Span {
        let key = request.keys.first().map(|key| &**key);
        let Request { operation, .. } = request;
        tracing::debug_span!("decision", policy = &*self.settings.name, ?operation, key, verdict = Empty)
    }

    /// Puts a prepared request to it. `leave` is what this request was given before, if it comes again.
    pub(crate) fn rule(
        &self,
        request: &Request,
        place: Place,
        leave: &mut Option<Leave>,
    ) -> Result<Ruled, NotHere> {
        let now = Instant::now();
        let alone = place == Place::Alone;
        if !alone {
            if let Some(verdict) = self.answers.get(request, now) {
                return Ok(Ruled {
                    ruling: Ok(verdict),
                    counted: Vec::new(),
                    repeated: true,
                    lines: Vec::new(),
                });
            }
            let mut breaker = self.breaker();
            *leave = match *leave {
                Some(leave) => Some(leave).filter(|leave| breaker.still_may(*leave, now)),
                None => breaker.may_ask(now),
            };
            if leave.is_none() {
                return Ok(Ruled::fault(Fault::Resting(breaker.failures())));
            }
        }
        let Asked { answer, lines, .. } = self.plugin.decide(request, place).ok_or(NotHere)?;
        let judged = match answer {
            Ok(decision) => self.judge(decision, request, alone, now),
            Err(Stop::Fault(fault)) => Err(fault),
            Err(Stop::SliceOver) => return Err(NotHere),
        };
        if !alone {
            // What failed has taken its time.
            self.remember(&judged, Instant::now());
        }
        let (ruling, counted) = match judged {
            Ok((verdict, counted)) => (Ok(verdict), counted),
            Err(fault) => (Err(fault), Vec::new()),
        };
        Ok(Ruled { ruling, counted, repeated: false, lines })
    }

    /// Whether the answer is one that may be given; if it may be given again, it is kept.
    fn judge(
        &self,
        decision: Decision,
        request: &Request,
        alone: bool,
        now: Instant,
    ) -> Result<(Verdict, Vec<Counted>), Fault> {
        let decision = edits::accept(decision, request, &self.bounds)?;
        let mut counted = Counters::counted(&self.plugin.wanted, &decision.count, request)?;
        if alone {
            // It may have been shown others than there are.
            counted.iter_mut().for_each(Counted::forget_seen);
        }
        if decision.cache_ms > 0 && self.plugin.wanted.is_empty() && !alone {
            self.answers.put(request, &decision.verdict, decision.cache_ms, now);
        }
        Ok((decision.verdict, counted))
    }

    fn remember<T>(&self, judged: &Result<T, Fault>, now: Instant) {
        let mut breaker = self.breaker();
        match judged {
            Ok(_) => breaker.answered(),
            Err(fault) if fault.of_guest() && breaker.failed(now) => {
                tracing::error!(policy = &*self.settings.name, %fault, "policy failed too often and is left alone");
            }
            Err(_) => {}
        }
    }

    /// Whether it is being left alone.
    pub(crate) fn rests(&self) -> bool {
        self.breaker().rests(Instant::now())
    }

    fn breaker(&self) -> std::sync::MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what it has to say to the log.
    pub(crate) fn tell(&self, lines: &[Line]) {
        self.voice.tell(&self.settings.name, lines);
    }
}
