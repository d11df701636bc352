//! The way between a sidecar and the store, and what can happen on it.
//!
//! Owns what is on its way. Must not know what operations mean: the store does.

use super::step::Change;
use sidelock_engine::store::{Call, CallId, Fault, Outcome, Push};
use sidelock_engine::{Input, StoreTime};
use sidelock_store::Memory;
use std::collections::VecDeque;

/// Something on its way.
pub(super) enum Travelling {
    Call(Call),
    Answer(CallId, Outcome),
    Push(Push),
}

/// A sidecar's way to the store.
#[derive(Default)]
pub(super) struct Network {
    travelling: VecDeque<Travelling>,
    is_up: bool,
    is_held: bool,
    pushes_lost: bool,
    refusing: u8,
    /// May still run.
    late: Vec<Call>,
}

impl Network {
    /// The engine sends a call.
    pub(super) fn send(&mut self, call: Call) {
        let down = Outcome::NotApplied(Fault::Down);
        let sent = if self.is_up { Travelling::Call(call) } else { Travelling::Answer(call.id, down) };
        self.travelling.push_back(sent);
    }

    /// The store tells the sidecar something.
    pub(super) fn push(&mut self, push: Push) {
        if self.is_up && !self.pushes_lost {
            self.travelling.push_back(Travelling::Push(push));
        }
    }

    /// Does what a step says; the first inputs that the engine hears of it, if any.
    pub(super) fn change(&mut self, change: Change, now: StoreTime) -> Vec<Input> {
        match change {
            Change::Prompt => self.is_held = false,
            Change::Held => self.is_held = true,
            Change::Refuse(count) => self.refusing = count,
            Change::PushesLost(lost) => self.pushes_lost = lost,
            Change::Break(fates) if self.is_up => return self.break_off(fates),
            Change::Connect if !self.is_up => {
                self.is_up = true;
                return vec![Input::StoreUp { at: now }, Input::Subscribed];
            }
            Change::Deliver(_) | Change::RunLate | Change::Break(_) | Change::Connect => {}
        }
        Vec::new()
    }

    /// No call in flight has a known outcome. Those that had not arrived run late or never.
    fn break_off(&mut self, fates: u8) -> Vec<Input> {
        self.is_up = false;
        let unknown = |call| Input::Store { call, outcome: Outcome::Unknown(Fault::Down) };
        let mut inputs = vec![Input::StoreDown];
        for (index, travelling) in self.travelling.drain(..).enumerate() {
            match travelling {
                Travelling::Call(call) => {
                    inputs.push(unknown(call.id));
                    if fates >> (index % 8) & 1 == 1 {
                        self.late.push(call);
                    }
                }
                Travelling::Answer(call, _) => inputs.push(unknown(call)),
                Travelling::Push(_) => {}
            }
        }
        inputs
    }

    /// The sidecar is dead: nobody hears answers, but what it had sent may run.
    pub(super) fn orphan(&mut self) {
        self.is_up = false;
        for travelling in self.travelling.drain(..) {
            if let Travelling::Call(call) = travelling {
                self.late.push(call);
            }
        }
    }

    /// What may still run late, and now does.
    pub(super) fn late(&mut self) -> Vec<Call> {
        std::mem::take(&mut self.late)
    }

    /// What arrives next by itself.
    pub(super) fn next(&mut self) -> Option<Travelling> {
        if self.is_held { None } else { self.deliver() }
    }

    /// What is next on its way.
    pub(super) fn deliver(&mut self) -> Option<Travelling> {
        self.travelling.pop_front()
    }

    /// A call arrives at the store; whom the store wakes.
    pub(super) fn arrive(
        &mut self,
        call: &Call,
        now: StoreTime,
        store: &mut Memory,
    ) -> Vec<sidelock_engine::store::Wake> {
        if self.refusing > 0 {
            self.refusing -= 1;
            let refused = Outcome::NotApplied(Fault::Unready("LOADING".into()));
            self.travelling.push_back(Travelling::Answer(call.id, refused));
            return Vec::new();
        }
        let (reply, wakes) = store.apply(now, &call.op);
        self.travelling.push_back(Travelling::Answer(call.id, Outcome::Applied { at: now, reply }));
        wakes
    }
}
