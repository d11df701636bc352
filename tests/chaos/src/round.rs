//! One round from its start to its verdict.
//!
//! Owns the phases: run, plague, heal, demand progress, send everybody home, look what is left, judge.

use crate::endurance;
use crate::fleet::Fleet;
use crate::measure::{self, Measured};
use crate::merge::{self, Merged};
use crate::overslept;
use crate::probe;
use crate::register::Updates;
use crate::rounds::{Measure, Plan, Round};
use crate::size::Size;
use crate::trouble::plague;
use crate::wish::TIMED_MAX;
use fastrand::Rng;
use sidelock_sim::checker::history::{Answer, At, Bounds, Event, History};
use sidelock_sim::checker::{self, Violation};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::{Duration, Instant};

/// After Redis is back, whatever happened to it, every key is granted within this (GUARANTEES, L6).
const PROMPT: Duration = Duration::from_secs(2);
/// After sidecars died: beyond what they leave in the store (GUARANTEES, L3).
const AFTER_DEATH: Duration = Duration::from_secs(1);
/// What dead sidecars leave in a queue: an entry for three seconds at the front of it, and if its turn comes in the last
/// moment, an offer for two more (ARCHITECTURE, P3 and P12). With the usual time to live their tenures outlast that.
const DEAD_PLACE: Duration = Duration::from_secs(5);
/// What a quarantine is longer than the longest tenure and what clocks may differ (ARCHITECTURE, P20), rounded up.
const QUARANTINE_MARGIN: Duration = Duration::from_millis(100);
/// Beyond a tenure's time to live, until nothing is left anywhere: an idle tenure's retention, and a look now and then.
const AFTER_REST: Duration = Duration::from_secs(4);
/// Writes before trouble begins, so that it does not strike an empty house.
const WRITES_FIRST: u32 = 20;

/// How rounds are run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How long trouble lasts.
    pub span: Duration,
    /// Sidecars.
    pub sidecars: usize,
    /// Clients.
    pub clients: usize,
    /// Time to live of a tenure.
    pub tenure_ttl: Duration,
    /// What all dice begin with.
    pub seed: u64,
}

/// What a round came to.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Its name.
    pub name: &'static str,
    /// What happened.
    pub history: History,
    /// Grants read by clients.
    pub grants: usize,
    /// Writes to the register.
    pub updates: Updates,
    /// Troubles that struck.
    pub strikes: u32,
    /// From healing to the grant of the slowest key.
    pub resumed: Option<Duration>,
    /// From the last client's end until nothing was left.
    pub rested: Option<Duration>,
    /// Leases that ran out while their holder was stopped, with somebody else served meanwhile.
    pub overslept: usize,
    /// Other measurements.
    pub measured: Vec<String>,
    /// What each life of a sidecar said.
    pub said: Vec<String>,
    /// Broken promises that the checker found.
    pub violations: Vec<Violation>,
    /// Other things that should not be.
    pub failures: Vec<String>,
}

impl Report {
    /// Nothing was found.
    pub fn passed(&self) -> bool {
        self.violations.is_empty() && self.failures.is_empty() && self.updates.lost == 0
    }
}

/// Runs a round. It does not panic: what goes wrong in the rig is a failure like any other.
pub fn run(round: &Round, options: &Options) -> Report {
    let mut report = Report { name: round.name, ..Report::default() };
    let outcome = catch_unwind(AssertUnwindSafe(|| Course::new(round, options, &mut report).run()));
    if let Err(panic) = outcome {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked");
        report.failures.push(text.to_owned());
    }
    report
}

/// A round under way.
struct Course<'a> {
    plan: Plan,
    fleet: Fleet,
    dice: Rng,
    report: &'a mut Report,
}

impl Course<'_> {
    fn new<'a>(round: &Round, options: &Options, report: &'a mut Report) -> Course<'a> {
        let plan = round.planned(options.span);
        // Each sidecar has some.
        let least = plan.clients_min.max(options.sidecars);
        let clients = if plan.measure == Some(Measure::Handover) { 0 } else { options.clients.max(least) };
        let fleet = Fleet::start(Size {
            sidecars: options.sidecars,
            clients,
            tenure_ttl: options.tenure_ttl,
            shape: plan.shape,
            divided: plan.divided,
            strict: plan.strict,
            seed: options.seed,
        });
        Course { plan, fleet, dice: Rng::with_seed(options.seed), report }
    }

    fn run(mut self) {
        if self.plan.measure == Some(Measure::Handover) {
            let measured = measure::handovers(&self.fleet, self.plan.span);
            return measured.into_iter().for_each(|measured| self.measured(measured));
        }
        self.fleet.await_writes(WRITES_FIRST);
        if self.plan.endures {
            self.endure();
        } else {
            self.plague(self.plan.span);
        }
        let healed = self.fleet.clock().now();
        let probes = probe::every_key(&self.fleet);
        if self.plan.measure == Some(Measure::Recovery) {
            // Clients go on until the network that was mended last must work again.
            thread::sleep(PROMPT);
        }
        let ended = self.fleet.dismiss_clients();
        if self.plan.measure == Some(Measure::SidecarDeath) {
            let measured = measure::sidecar_death(&mut self.fleet);
            self.measured(measured);
        }
        self.come_to_rest();
        let failed = probes.as_ref().err().into_iter().chain(ended.as_ref().err());
        self.report.failures.extend(failed.cloned());
        self.report.said = self.fleet.said();
        let lines = self.report.said.iter().flat_map(|said| said.lines());
        let panics = lines.filter(|line| line.contains("panicked")).map(str::to_owned);
        self.report.failures.extend(panics);
        self.look_for_quarantines();
        let probes = probes.unwrap_or_default();
        let diaries = [self.fleet.register().records(), self.fleet.notes().to_vec(), probes];
        let diaries = diaries.each_ref().map(Vec::as_slice);
        match merge::merge(self.bounds(), self.fleet.diaries(), &diaries) {
            Ok(merged) => {
                self.report.overslept = overslept::count(&merged.history, &merged.stops);
                self.look_at_recoveries(&merged);
                self.judge(merged.history, healed);
            }
            Err(error) => self.report.failures.push(format!("the diaries make no history: {error}")),
        }
    }

    /// Trouble for so long; then everything is healed.
    fn plague(&mut self, span: Duration) {
        let end = Instant::now() + span;
        self.report.strikes += plague(&mut self.fleet, &self.plan.troubles, end, &mut self.dice);
        self.fleet.heal();
    }

    /// The same, with looks at how the sidecars are.
    fn endure(&mut self) {
        let look = |_| {
            self.plague(self.plan.span / endurance::LOOKS);
            endurance::Look::at(&self.fleet)
        };
        let looks: Vec<_> = (0..endurance::LOOKS).map(look).collect();
        self.measured(endurance::judge(&looks));
    }

    fn bounds(&self) -> Bounds {
        let tenure_ttl = self.fleet.size().tenure_ttl;
        let longest = tenure_ttl.max(TIMED_MAX);
        Bounds { tenure_ttl, longest, strict: self.plan.strict, ..Bounds::default() }
    }

    fn measured(&mut self, measured: Measured) {
        if !measured.kept {
            self.report.failures.push(format!("too slow: {}", measured.text));
        }
        self.report.measured.push(measured.text);
    }

    fn come_to_rest(&mut self) {
        let (rest, took) = probe::rest(&self.fleet, self.fleet.size().tenure_ttl + AFTER_REST);
        self.report.rested = Some(took);
        self.fleet.note(Event::Rest(rest));
    }

    /// Each sidecar whose network was mended grants soon, and goes on.
    fn look_at_recoveries(&mut self, merged: &Merged) {
        if self.plan.measure != Some(Measure::Recovery) {
            return;
        }
        let sidecars: Vec<_> = self
            .fleet
            .sockets()
            .iter()
            .map(|socket| merged.lives.get(&probe::life(socket)).copied())
            .collect();
        let spells = self.fleet.turns().spells();
        let of_sidecars: Vec<_> = spells.filter_map(|spell| Some((sidecars[spell.host]?, spell))).collect();
        self.measured(measure::recoveries(&merged.history, &of_sidecars, PROMPT));
        if !self.report.said.iter().any(|said| said.contains("store_down")) {
            self.report.failures.push("no sidecar noticed anything: its network was not struck".into());
        }
    }

    /// Each sidecar of a strict store meets one when it begins, and others only if it sees that data are gone.
    fn look_for_quarantines(&mut self) {
        let lines = self.report.said.iter().flat_map(|said| said.lines());
        let seen = lines.filter(|line| line.contains("store_quarantine")).count();
        if self.plan.strict && seen <= self.fleet.size().sidecars {
            self.report.failures.push(format!("{seen} quarantines: no sidecar saw that data were lost"));
        }
    }

    fn judge(&mut self, history: History, healed: At) {
        let granted = |event: &Event| matches!(event, Event::Answered { answer: Answer::Granted { .. }, .. });
        self.report.grants = history.records.iter().filter(|record| granted(&record.event)).count();
        self.report.updates = self.fleet.register().updates();
        self.report.resumed = probe::resumptions(&history, healed).last().copied().flatten();
        let ttl = self.fleet.size().tenure_ttl;
        let limit = match &self.plan {
            Plan { tenures_run_out: true, .. } => ttl.max(DEAD_PLACE) + AFTER_DEATH,
            Plan { strict: true, .. } => ttl.mul_f64(1.01) + QUARANTINE_MARGIN + PROMPT,
            _ => PROMPT,
        };
        if self.report.resumed.is_none_or(|took| took > limit) {
            let took = self.report.resumed;
            self.report
                .failures
                .push(format!("a key was granted {took:?} after healing, {limit:?} is promised"));
        }
        for promoted in self.fleet.promotions().to_vec() {
            self.measured(measure::resumption(&history, promoted, PROMPT));
        }
        if self.plan.oversleeps && self.report.overslept == 0 {
            self.report.failures.push("no client overslept its lease: the round proves nothing of S8".into());
        }
        self.report.violations = checker::check(&history);
        self.report.history = history;
    }
}
