//! Requests on record: what was asked, and what was decided.
//!
//! Owns the form of a line of the record, in JSON, and what a policy in it was asked. Must not know files: the daemon writes
//! them, the command line reads them.

use crate::edits;
use crate::model::{Counter, Denial, Request, Verdict};
use crate::outcome::{Effect, Outcome, POLICY_FAILED, Step};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A request that policies could be asked about.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Recorded {
    /// Rises by 1 in the life of a sidecar, which is `request.peer.sidecar`. What is missing could not be written.
    pub seq: u64,
    /// What the policies together came to.
    pub decided: Ruling,
    /// Who denied it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub denied: Option<RecordedDenial>,
    /// What each policy that was asked had to say, in order. Nothing: none was asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<RecordedStep>,
    /// The question, as it was before any policy changed it.
    pub request: Request,
}

/// What policies together came to.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Ruling {
    /// It went on as it was.
    Admitted,
    /// It went on, changed.
    Edited,
    /// It did not go on. A release does all the same: nobody is made to keep a lease.
    Denied,
}

/// A denial, and whose it was.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RecordedDenial {
    /// The policy's name.
    pub policy: Arc<str>,
    /// For programs.
    pub reason_code: String,
    /// For people.
    pub message: String,
    /// When to ask again, in milliseconds from then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

/// What one policy had to say.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RecordedStep {
    /// Its name.
    pub policy: Arc<str>,
    /// Its verdict; nothing if it could not decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// Why it could not decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// What came of that.
    pub effect: Effect,
    /// The counters that it saw.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub counters: Vec<Counter>,
}

impl Recorded {
    /// One line of a record, or why it is none.
    pub fn parse(line: &str) -> Result<Recorded, String> {
        serde_json::from_str(line).map_err(|error| error.to_string())
    }

    /// The request `asked`, and what came of it. Without an outcome the policies could not be asked.
    pub fn new(seq: u64, asked: Request, outcome: Option<&Outcome>) -> Recorded {
        let Some(outcome) = outcome else {
            let message = "the policies could not be asked".to_owned();
            let denial = Denial { reason_code: POLICY_FAILED.into(), message, retry_after_ms: None };
            let denied = Some(RecordedDenial::new("policies".into(), &denial));
            return Recorded { seq, decided: Ruling::Denied, denied, steps: Vec::new(), request: asked };
        };
        let denied = outcome.denied.as_ref();
        let decided = match (denied, outcome.edited_by().next()) {
            (Some(_), _) => Ruling::Denied,
            (None, Some(_)) => Ruling::Edited,
            (None, None) => Ruling::Admitted,
        };
        Recorded {
            seq,
            decided,
            denied: denied.map(|denied| RecordedDenial::new(denied.policy.clone(), &denied.denial)),
            steps: outcome.steps.iter().map(RecordedStep::from).collect(),
            request: asked,
        }
    }

    /// What `policy` had to say, if it was asked.
    pub fn step(&self, policy: &str) -> Option<&RecordedStep> {
        self.steps.iter().find(|step| *step.policy == *policy)
    }

    /// What `policy` was asked: with the changes of those before it, and its counters. If it was not asked: what the client
    /// asked for.
    pub fn question_to(&self, policy: &str) -> Request {
        let mut request = self.request.clone();
        let Some(place) = self.steps.iter().position(|step| *step.policy == *policy) else { return request };
        for step in &self.steps[..place] {
            if let (Effect::Changed, Some(Verdict::Edit(edits))) = (step.effect, &step.verdict) {
                edits::apply(edits, &mut request);
            }
        }
        request.counters.clone_from(&self.steps[place].counters);
        request
    }
}

impl RecordedDenial {
    fn new(policy: Arc<str>, denial: &Denial) -> RecordedDenial {
        let Denial { reason_code, message, retry_after_ms } = denial.clone();
        RecordedDenial { policy, reason_code, message, retry_after_ms }
    }
}

impl From<&Step> for RecordedStep {
    fn from(step: &Step) -> RecordedStep {
        RecordedStep {
            policy: step.policy.clone(),
            verdict: step.ruling.as_ref().ok().cloned(),
            fault: step.ruling.as_ref().err().map(|fault| fault.limit().to_owned()),
            effect: step.effect,
            counters: step.counters.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Fault;
    use crate::model::{Edits, Mode, Operation};
    use crate::outcome::Denied;
    use std::time::Duration;

    fn step(policy: &str, ruling: Result<Verdict, Fault>, effect: Effect, counters: &[Counter]) -> Step {
        let (policy, counters) = (policy.into(), counters.to_vec());
        Step { policy, ruling, effect, repeated: false, took: Duration::ZERO, lines: Vec::new(), counters }
    }

    fn edit(key: &str) -> Result<Verdict, Fault> {
        Ok(Verdict::Edit(Edits { key: Some(key.into()), ..Edits::default() }))
    }

    #[test]
    fn a_line_holds_all_that_was_asked_and_said() {
        let counters = [Counter { name: "n".into(), value: 3, resets_in_ms: 7 }];
        let asked = Request {
            operation: Operation::Once,
            keys: vec!["a\n\u{1F512}".into()],
            mode: Mode::Permits,
            ttl_ms: Some(u64::MAX),
            priority: -100,
            owner: Some("o".into()),
            meta: vec![("z".into(), "1".into()), ("a".into(), "2".into())],
            held: vec!["h".into()],
            ..Request::default()
        };
        let deny = Denial { reason_code: "full".into(), message: "no".into(), retry_after_ms: Some(1) };
        let outcome = Outcome {
            request: asked.clone(),
            max_waiters: None,
            denied: Some(Denied { policy: "quota".into(), denial: deny.clone(), fault: None }),
            steps: vec![
                step("lane", edit("b"), Effect::Changed, &[]),
                step("odd", edit("c"), Effect::Watched, &[]),
                step("lost", Err(Fault::Stack), Effect::Next, &[]),
                step("quota", Ok(Verdict::Deny(deny)), Effect::Ended, &counters),
            ],
        };
        let recorded = Recorded::new(9, asked.clone(), Some(&outcome));
        let line = serde_json::to_string(&recorded).unwrap();
        assert!(!line.contains('\n'));
        assert_eq!(Recorded::parse(&line), Ok(recorded.clone()));
        assert_eq!((recorded.decided, &*recorded.denied.as_ref().unwrap().policy), (Ruling::Denied, "quota"));
        assert_eq!(recorded.step("lost").unwrap().fault.as_deref(), Some("stack"));

        let question = recorded.question_to("quota");
        assert_eq!(
            (&*question.keys[0], &question.counters[..]),
            ("b", &counters[..]),
            "a watched one changes nothing"
        );
        assert_eq!(recorded.question_to("lane"), asked);
        assert_eq!(recorded.question_to("stranger"), asked);
    }

    #[test]
    fn what_nobody_could_be_asked_about_was_denied() {
        let recorded = Recorded::new(1, Request::default(), None);
        let denied = recorded.denied.unwrap();
        assert_eq!((recorded.decided, &*denied.reason_code), (Ruling::Denied, POLICY_FAILED));
    }
}
