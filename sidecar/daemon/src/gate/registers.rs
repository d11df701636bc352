//! Requests about registers at the gate.

use super::{Admitted, Gate, lease_name};
use crate::problem::Problem;
use sidelock_engine::store::{Condition, Known};
use sidelock_engine::{self as engine, Etag, Input, Key, RequestId, SessionId, Space};
use sidelock_wire::{self as wire, Code};

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
                engine::RegisterAct::Put { condition, value: self.admit_value(value)?.into() }
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

    fn admit_value<'a>(&self, value: &'a [u8]) -> Result<&'a [u8], Problem> {
        let max = self.rules().limits.value_bytes_max;
        if value.len() > max as usize {
            let message =
                format!("`value`: has {} bytes; at most {max} are allowed (value_bytes_max)", value.len());
            let problem = Problem::new(Code::TooLarge, message).limited(max);
            return Err(Problem { field: Some("value"), ..problem });
        }
        Ok(value)
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
