//! Requests about registers at the gate.

use super::{Admitted, Gate, admit_value, lease_name};
use crate::problem::Problem;
use sidelock_engine::store::{Condition, Known};
use sidelock_engine::{self as engine, Etag, Input, Key, RequestId, SessionId, Space};
use sidelock_wire as wire;

impl Gate {
    /// A request about a register.
    pub(crate) fn register(
        &self,
        session: SessionId,
        asked: &wire::Register<'_>,
    ) -> Result<Admitted, Problem> {
        self.counted("register", self.check_register(session, asked))
    }

    fn check_register(&self, session: SessionId, asked: &wire::Register<'_>) -> Result<Input, Problem> {
        let act = match &asked.act {
            wire::RegisterAct::Get => engine::RegisterAct::Get,
            wire::RegisterAct::Put { condition, value } => {
                let condition = admit_condition(*condition);
                let value = admit_value("value", value, self.rules().limits.value_bytes_max)?;
                engine::RegisterAct::Put { condition, value }
            }
            wire::RegisterAct::Delete { condition } => {
                engine::RegisterAct::Delete { condition: admit_condition(*condition) }
            }
            wire::RegisterAct::Watch { .. } if asked.lease.is_some() => {
                return Err(Problem::field(
                    "lease",
                    "a watch is bound to none: get with it what has changed",
                ));
            }
            wire::RegisterAct::Watch { known, wait } => {
                engine::RegisterAct::Watch { known: admit_known(*known), wait: *wait }
            }
        };
        Ok(Input::Register(engine::RegisterRequest {
            session,
            request: RequestId(asked.request),
            key: self.register_key(asked.key)?,
            lease: asked.lease.map(lease_name),
            act,
        }))
    }

    /// A text as a register's key.
    fn register_key(&self, bytes: &[u8]) -> Result<Key, Problem> {
        Ok(self.key(bytes)?.in_space(Space::Register))
    }
}

/// A text that no version has is not wrong: it does not match.
fn admit_etag(text: &str) -> Etag {
    Etag::parse(text).unwrap_or(Etag::NEVER)
}

fn admit_condition(condition: wire::Condition<'_>) -> Condition {
    match condition {
        wire::Condition::Any => Condition::Any,
        wire::Condition::Absent => Condition::Absent,
        wire::Condition::Present => Condition::Present,
        wire::Condition::Match(etag) => Condition::Match(admit_etag(etag)),
    }
}

fn admit_known(known: wire::Known<'_>) -> Known {
    match known {
        wire::Known::Nothing => Known::Nothing,
        wire::Known::Absent => Known::Absent,
        wire::Known::Etag(etag) => Known::Version(admit_etag(etag)),
    }
}
