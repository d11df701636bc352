//! What a chain of policies comes to, for one request.
//!
//! Owns the words for it, in which the daemon answers clients and the command line explains.

use crate::fault::Fault;
use crate::inside::Line;
use crate::model::{Counter, Denial, Request, Verdict};
use crate::settings::OnError;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// The reason code of a denial that no policy decided.
pub const POLICY_FAILED: &str = "policy-failed";
/// When to ask a policy again that was too busy to be asked, or is left alone.
const RETRY_MS: u64 = 100;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The request as it is after all edits.
    pub request: Request,
    /// Refuse instead of queueing behind that many: the least that a policy said.
    pub max_waiters: Option<u32>,
    /// Who denied it, and why. Without it the request is admitted.
    pub denied: Option<Denied>,
    /// What each policy that was asked had to say, in order.
    pub steps: Vec<Step>,
}

/// A request was denied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// The policy's name.
    pub policy: Arc<str>,
    /// What the client is told.
    pub denial: Denial,
    /// If the policy could not decide, and is configured to deny then: why it could not.
    pub fault: Option<Fault>,
}

/// What one policy had to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its name.
    pub policy: Arc<str>,
    /// Its verdict, or why it has none.
    pub ruling: Result<Verdict, Fault>,
    /// What its verdict came to.
    pub effect: Effect,
    /// Whether the verdict was one given before.
    pub repeated: bool,
    /// How long it took, with the time that it waited for its turn.
    pub took: Duration,
    /// What it wrote to the log; kept where a decision is explained.
    pub lines: Vec<Line>,
    /// The counters that it saw.
    pub counters: Vec<Counter>,
}

/// What a verdict comes to.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// The next policy is asked.
    Next,
    /// The next policy is asked about a changed request.
    Changed,
    /// The request is denied.
    Ended,
    /// Nothing: the policy is only watched (`mode = "monitor"`).
    Watched,
}

impl Outcome {
    /// The names of the policies that changed the request.
    pub fn edited_by(&self) -> impl Iterator<Item = &Arc<str>> {
        self.steps.iter().filter(|step| step.effect == Effect::Changed).map(|step| &step.policy)
    }
}

impl Step {
    /// The kind of its ruling, in one word.
    pub fn verdict(&self) -> &'static str {
        match self.ruling {
            Ok(Verdict::Allow) => "allow",
            Ok(Verdict::Edit(_)) => "edit",
            Ok(Verdict::Deny(_)) => "deny",
            Ok(Verdict::Abstain) => "abstain",
            Err(_) => "error",
        }
    }
}

impl Denied {
    /// By a policy that could not decide. The client is told which limit it met; the rest is for the operator.
    pub(crate) fn by_fault(policy: Arc<str>, fault: Fault) -> Denied {
        let message = format!("policy {policy} could not decide ({})", fault.limit());
        let retry_after_ms = fault.passes().then_some(RETRY_MS);
        Denied {
            policy,
            denial: Denial { reason_code: POLICY_FAILED.into(), message, retry_after_ms },
            fault: Some(fault),
        }
    }
}

/// What a ruling comes to, for a policy that is enforced.
pub(crate) fn effect(ruling: &Result<Verdict, Fault>, on_error: OnError) -> Effect {
    match ruling {
        Ok(Verdict::Allow | Verdict::Abstain) => Effect::Next,
        Ok(Verdict::Edit(_)) => Effect::Changed,
        Ok(Verdict::Deny(_)) => Effect::Ended,
        Err(_) if on_error == OnError::Deny => Effect::Ended,
        Err(_) => Effect::Next,
    }
}
