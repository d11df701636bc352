//! Copies of asks that run after their senders gave up asking (P7).
//!
//! Owns how they are noticed. Must not know what may become of them: the checker has the rules.

use super::World;
use super::hosts::number;
use crate::checker::history::Event;
use sidelock_engine::store::{Call, CallId, Op, Outcome, Reply};
use sidelock_engine::view::KeyView;

impl World {
    /// Calls ran of which nobody will hear. An ask that its sender has given up gets nothing, unless what was to prevent that is
    /// still on its way, or was lost with the store's data.
    pub(crate) fn look_for_ghosts(&mut self, host: usize, calls: &[Call], answers: &[(CallId, Outcome)]) {
        let sidecar = self.hosts[host].sidecar;
        for (call, (_, outcome)) in calls.iter().zip(answers) {
            let got = matches!(outcome, Outcome::Applied { reply: Reply::Granted(_) | Reply::Queued(_), .. });
            let key = call.op.key();
            let (Op::Ask(ask), Some(engine), true) = (&call.op, &self.hosts[host].engine, got) else {
                continue;
            };
            let view = engine.look(key, usize::MAX);
            let asks_or_has = |view: &KeyView| {
                view.ask.as_ref().is_some_and(|mine| mine.id == ask.id)
                    || view.tenure.as_ref().is_some_and(|mine| mine.id == ask.id)
            };
            if !view.as_ref().is_some_and(asks_or_has) {
                let (key, forgotten) = (number(self.key_index(key)), view.is_none());
                self.log.record(Event::Haunted { sidecar, key, forgotten });
            }
        }
    }
}
