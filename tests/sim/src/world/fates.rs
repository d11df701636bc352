//! What becomes of pipelines on their way to the store, and there.
//!
//! Owns the ways in which one is lost, late, doubled, cut in two or refused. Must not know what its calls mean, except which of
//! them need memory.

use super::network::Pipeline;
use super::rare::Kind;
use super::servers::Declaration;
use super::{Happening, World};
use crate::checker::history::{At, Event};
use sidelock_engine::store::{CallId, Fault, Op, Outcome};
use std::time::Duration;

/// What becomes of a pipeline.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    /// It runs, and the answer comes.
    Good,
    /// It runs, and the answer is lost.
    Unheard,
    /// The store says that it can not.
    Unready,
    /// So many of its calls run, and so many answers come, before the connection is gone.
    Cut { ran: usize, heard: usize },
}

/// Whether a store that has no memory left refuses this: what is given back or goes on it takes.
fn grows(op: &Op) -> bool {
    match op {
        Op::Ask(_) => true,
        Op::WriteRegister(write) => write.value.is_some(),
        _ => false,
    }
}

impl World {
    pub(super) fn send_in_storm(&mut self, there: At, mut pipeline: Pipeline) {
        let faults = self.plan.calls.clone();
        let host = pipeline.host;
        let calls: Vec<CallId> = pipeline.calls.iter().map(|call| call.id).collect();
        let late = self.dice.about(Duration::from_millis(700)).min(Duration::from_secs(6));
        if self.dice.chance(faults.unready) {
            pipeline.fate = Fate::Unready;
            self.disturb(host, Duration::from_millis(200));
            return self.agenda.put(there, Happening::AtStore(pipeline));
        }
        if self.dice.chance(faults.cut) {
            let ran = self.dice.below(calls.len() + 1);
            pipeline.fate = Fate::Cut { ran, heard: self.dice.below(ran + 1) };
            return self.agenda.put(there, Happening::AtStore(pipeline));
        }
        // An ask, or a write, that runs again after its answer was heard is outside the model: connections do not repeat themselves,
        // senders do, and a sender that heard no answer knows that it did not (P7).
        let asks = pipeline.calls.iter().any(|call| matches!(call.op, Op::Ask(_) | Op::WriteRegister(_)));
        let twice = self.dice.chance(faults.twice);
        if twice {
            let again = Pipeline { calls: pipeline.calls.clone(), fate: Fate::Unheard, ..pipeline };
            self.disturb(host, late);
            self.agenda.put(self.now + late, Happening::AtStore(again));
            if !asks {
                return self.agenda.put(there, Happening::AtStore(pipeline));
            }
        }
        pipeline.fate = Fate::Unheard;
        let timeout = self.plan.call_timeout;
        if self.dice.chance(faults.request_lost) {
            self.log.say(|| format!("the pipeline {calls:?} is lost"));
        } else if self.dice.chance(faults.late) {
            self.log.say(|| format!("the pipeline {calls:?} is late by {late:?}"));
            self.agenda.put(there + late, Happening::AtStore(pipeline));
        } else if self.dice.chance(faults.reply_lost) || (twice && asks) {
            self.log.say(|| format!("the answer to {calls:?} will be lost"));
            self.agenda.put(there, Happening::AtStore(pipeline));
        } else {
            pipeline.fate = Fate::Good;
            return self.agenda.put(there, Happening::AtStore(pipeline));
        }
        self.disturb(host, late.max(timeout) + Duration::from_millis(50));
        if self.dice.chance(faults.breaks_connection) {
            self.disconnect(host);
        } else {
            let sidecar = self.hosts[host].sidecar;
            self.agenda.put(self.now + timeout, Happening::GivesUp { host, sidecar, calls });
        }
    }

    pub(crate) fn at_store(&mut self, mut pipeline: Pipeline) {
        let Pipeline { host, sidecar, connection, server, .. } = pipeline;
        let declaration = self.stand_of(server);
        if declaration == Declaration::Gone {
            return;
        }
        let running = self.is_running(host, sidecar);
        let stale = !running || self.hosts[host].link.connection != connection;
        if let (Fate::Cut { ran, .. }, true) = (pipeline.fate, stale) {
            pipeline.fate = Fate::Unheard;
            pipeline.calls.truncate(ran);
        }
        if stale && pipeline.fate == Fate::Good {
            // What was under way on a connection that broke may be lost, may arrive, may arrive much later.
            pipeline.fate = Fate::Unheard;
            if self.dice.chance(0.4) {
                return;
            }
            if self.dice.chance(0.4) {
                let late = self.dice.about(Duration::from_millis(700)).min(Duration::from_secs(5));
                if running {
                    self.disturb(host, late);
                }
                return self.agenda.put(self.now + late, Happening::AtStore(pipeline));
            }
        }
        let ran = if let Fate::Cut { ran, .. } = pipeline.fate { ran } else { pipeline.calls.len() };
        let mut answers = Vec::with_capacity(pipeline.calls.len());
        for call in &pipeline.calls[..ran] {
            let outcome = match pipeline.fate {
                Fate::Unready => Outcome::NotApplied(Fault::Unready("LOADING".to_owned())),
                _ if self.is_full() && grows(&call.op) => {
                    self.rare.saw(Kind::RefusedByFull);
                    Outcome::NotApplied(Fault::Unready("OOM".to_owned()))
                }
                _ if declaration == Declaration::Refuses => {
                    self.rare.saw(Kind::RefusedByReplaced);
                    Outcome::NotApplied(Fault::Unready("NOREPLICAS".to_owned()))
                }
                _ => self.apply_at(server, call),
            };
            answers.push((call.id, outcome));
        }
        if !running {
            // The death of a sidecar counts from its last word.
            self.log.record(Event::Crashed { sidecar });
        } else if pipeline.fate == Fate::Unheard && server == self.primary() {
            self.look_for_ghosts(host, &pipeline.calls, &answers);
        } else if pipeline.fate != Fate::Unheard {
            let delay = self.one_way();
            if let Fate::Cut { heard, .. } = pipeline.fate {
                let unheard = answers.split_off(heard);
                self.look_for_ghosts(host, &pipeline.calls[heard..ran], &unheard);
            }
            self.answer(host, self.now + delay, answers);
            if let Fate::Cut { .. } = pipeline.fate {
                self.rare.saw(Kind::CutPipeline);
                let then = self.hosts[host].link.last_back + Duration::from_micros(1);
                self.agenda.put(then, Happening::Breaks { host, sidecar, connection });
            }
        }
    }

    /// The connection breaks, if it is still this one.
    pub(crate) fn breaks(&mut self, host: usize, sidecar: u32, connection: u32) {
        if self.is_running(host, sidecar) && self.hosts[host].link.connection == connection {
            self.disconnect(host);
        }
    }
}
