//! What a policy would have done with requests on record.
//!
//! Owns in which place of the chain it stands then, what is counted meanwhile, and what is a difference. Must not know where
//! the record is.
//!
//! It stands where the policy of its name stood, and is asked what that one was asked; if there was none, what the client
//! asked for. Its own counters begin at 0 and go along: a request counts if this policy does not deny it now and no other
//! denied it then. So a quota that is replayed fills up as it would have.

use crate::case::{Alone, Case};
use crate::chain::Chain;
use crate::model::{Edits, Verdict};
use crate::outcome::{Effect, Step};
use crate::record::Recorded;
use std::sync::Arc;

/// See the module.
pub struct Replay {
    chain: Arc<Chain>,
    policy: Arc<str>,
    counting: Counting,
}

/// Which counters the policy sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counting {
    /// Those that go along, from 0.
    Anew,
    /// Those that the policy of its name saw then; 0 where there was none.
    Recorded,
}

/// What it would have done with one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// What it says; nothing if it is not asked about such a request.
    pub step: Option<Step>,
    /// Whether that would have changed what became of the request.
    pub difference: Option<Difference>,
    /// Another policy denied the request then. Whatever this one says, nothing would have changed.
    pub denied_by_another: bool,
}

/// What would have become of a request that did not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    /// It was admitted then, and would not be.
    Denied,
    /// The policy of this name denied it then, and it would be admitted.
    Admitted,
    /// It would be changed otherwise than it was by the policy of this name.
    Edited,
}

impl Replay {
    /// Of the one policy in this chain, which stands in the place of the policy of this name.
    pub fn new(chain: Arc<Chain>, policy: Arc<str>, counting: Counting) -> Replay {
        Replay { chain, policy, counting }
    }

    /// Asks it about a request. They have to come in the order of their time.
    pub fn ask(&self, recorded: &Recorded) -> Replayed {
        let denied_by_another = recorded.denied.as_ref().is_some_and(|denied| denied.policy != self.policy);
        let mut request = recorded.question_to(&self.policy);
        let alone = match self.counting {
            Counting::Anew => Alone { given: Vec::new(), counts: !denied_by_another },
            Counting::Recorded => Alone { given: std::mem::take(&mut request.counters), counts: false },
        };
        let outcome = Case::new(self.chain.clone(), request).alone(alone);
        let denies = outcome.denied.is_some();
        let step = outcome.steps.into_iter().next();
        let denied_then = recorded.denied.is_some();
        let then = recorded.step(&self.policy);
        let edits_then = then.and_then(|step| edits(step.effect, step.verdict.as_ref()));
        let edits_now = step.as_ref().and_then(|step| edits(step.effect, step.ruling.as_ref().ok()));
        let difference = match (denied_then, denies) {
            _ if denied_by_another => None,
            (false, true) => Some(Difference::Denied),
            (true, false) => Some(Difference::Admitted),
            (false, false) if edits_now != edits_then => Some(Difference::Edited),
            _ => None,
        };
        Replayed { step, difference, denied_by_another }
    }
}

/// The edits that came of a verdict.
fn edits(effect: Effect, verdict: Option<&Verdict>) -> Option<&Edits> {
    match verdict {
        Some(Verdict::Edit(edits)) if effect == Effect::Changed => Some(edits),
        _ => None,
    }
}
