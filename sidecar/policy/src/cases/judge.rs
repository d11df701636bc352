//! Whether an answer is what was expected.
//!
//! Owns the comparison and its words. Must not know how the answer came about.

use super::expect::{Answer, Edits, Expect};
use crate::fault::Fault;
use crate::inside::Line;
use crate::model::{self, Decision, Denial, Verdict};
use std::fmt::Display;

/// What came of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The settings were refused, with these words.
    BadSettings(String),
    /// The policy decided.
    Decided {
        /// What.
        decision: Decision,
        /// The counters that it wants, as `configure` returned them.
        counters: Vec<String>,
        /// What it logged.
        log: Vec<Line>,
    },
    /// The observer observed.
    Observed {
        /// What it emitted.
        lines: Vec<String>,
        /// What it logged.
        log: Vec<Line>,
    },
    /// It was stopped, or gave an answer that is not allowed.
    Failed(Fault),
    /// The case itself can not be asked.
    Impossible(String),
}

/// What is not as expected, a sentence each; nothing if all is.
pub fn judge(expect: &Expect, outcome: &Outcome) -> Vec<String> {
    let mut found = Differences::default();
    match (outcome, &expect.answer) {
        (Outcome::BadSettings(error), Answer::BadSettings(words)) => {
            found.contains("the settings' error", words, error)
        }
        (Outcome::BadSettings(error), _) => found.say(format!("the settings were refused: {error}")),
        (Outcome::Failed(fault), _) => found.say(fault.to_string()),
        (Outcome::Impossible(why), _) => found.say(why.clone()),
        (_, Answer::BadSettings(words)) => {
            found.say(format!("the settings were taken, and should have been refused for: {words}"));
        }
        (Outcome::Decided { decision, counters, log }, _) => {
            found.verdict(expect, &decision.verdict);
            found.same("count", expect.count.as_ref(), &decision.count);
            found.same("counters", expect.counters.as_ref(), counters);
            found.shown("cache", expect.cache, super::Span(decision.cache_ms.into()));
            found.logged(expect, log);
        }
        (Outcome::Observed { lines, log }, Answer::Lines(wanted)) => {
            found.same("lines", Some(wanted), lines);
            found.logged(expect, log);
        }
        (Outcome::Observed { .. }, _) => found.say("an observer decides nothing; expect lines".into()),
    }
    found.0
}

#[derive(Default)]
struct Differences(Vec<String>);

impl Differences {
    fn say(&mut self, sentence: String) {
        self.0.push(sentence);
    }

    fn verdict(&mut self, expect: &Expect, verdict: &Verdict) {
        match (&expect.answer, verdict) {
            (Answer::Allow, Verdict::Allow) | (Answer::Abstain, Verdict::Abstain) => {}
            (Answer::Edit(wanted), Verdict::Edit(edits)) => self.edits(wanted, edits),
            (Answer::Deny(code), Verdict::Deny(denial)) => self.denial(code, expect, denial),
            (wanted, got) => self.say(format!("wanted {}, got {}", name(wanted), told(got))),
        }
    }

    fn edits(&mut self, wanted: &Edits, edits: &model::Edits) {
        let span = |ms: Option<u64>| ms.map(super::Span);
        self.edit("key", wanted.key.as_deref(), edits.key.as_deref());
        self.edit("ttl", wanted.ttl, span(edits.ttl_ms));
        self.edit("max_hold", wanted.max_hold, span(edits.max_hold_ms));
        self.edit("wait", wanted.wait, span(edits.wait_ms));
        self.edit("priority", wanted.priority, edits.priority);
        self.edit("max_waiters", wanted.max_waiters, edits.max_waiters);
    }

    fn edit<T: Display + PartialEq>(&mut self, what: &str, wanted: Option<T>, got: Option<T>) {
        if wanted != got {
            let words = |edit: Option<T>| edit.map_or("as it is".to_owned(), |to| to.to_string());
            self.say(format!("{what}: wanted {}, got {}", words(wanted), words(got)));
        }
    }

    fn denial(&mut self, code: &str, expect: &Expect, denial: &Denial) {
        if code != denial.reason_code {
            self.say(format!("wanted deny {code:?}, got {}", told(&Verdict::Deny(denial.clone()))));
        }
        if let Some(words) = &expect.message {
            self.contains("message", words, &denial.message);
        }
        let after = denial.retry_after_ms.map(super::Span);
        if expect.retry_after.is_some() && expect.retry_after != after {
            self.edit("retry_after", expect.retry_after, after);
        }
    }

    fn contains(&mut self, what: &str, words: &str, text: &str) {
        if !text.contains(words) {
            self.say(format!("{what}: wanted something with {words:?}, got {text:?}"));
        }
    }

    fn same(&mut self, what: &str, wanted: Option<&Vec<String>>, got: &Vec<String>) {
        match wanted {
            Some(wanted) if wanted != got => self.say(format!("{what}: wanted {wanted:#?}, got {got:#?}")),
            _ => {}
        }
    }

    fn shown<T: Display + PartialEq>(&mut self, what: &str, wanted: Option<T>, got: T) {
        match wanted {
            Some(wanted) if wanted != got => self.say(format!("{what}: wanted {wanted}, got {got}")),
            _ => {}
        }
    }

    fn logged(&mut self, expect: &Expect, log: &[Line]) {
        if let Some(words) = &expect.log
            && !log.iter().any(|line| line.text.contains(words.as_str()))
        {
            let lines: Vec<&str> = log.iter().map(|line| line.text.as_str()).collect();
            self.say(format!("log: wanted a line with {words:?}, got {lines:?}"));
        }
    }
}

/// What is wanted, in a word.
fn name(answer: &Answer) -> String {
    match answer {
        Answer::Allow => "allow".into(),
        Answer::Abstain => "abstain".into(),
        Answer::Edit(_) => "edit".into(),
        Answer::Deny(code) => format!("deny {code:?}"),
        Answer::BadSettings(_) => "bad settings".into(),
        Answer::Lines(_) => "lines, which an observer writes".into(),
    }
}

/// What was said, whole.
fn told(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Allow => "allow".into(),
        Verdict::Abstain => "abstain".into(),
        Verdict::Edit(edits) => format!("edit {}", serde_json::to_string(edits).unwrap_or_default()),
        Verdict::Deny(denial) => format!("deny {:?} ({})", denial.reason_code, denial.message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases::Span;
    use crate::model::Level;

    fn decided(verdict: Verdict) -> Outcome {
        let decision = Decision { verdict, count: vec!["a".into()], cache_ms: 1000 };
        let log = vec![Line { level: Level::Info, text: "well, well".into() }];
        Outcome::Decided { decision, counters: vec!["a/1m".into()], log }
    }

    fn denied() -> Outcome {
        decided(Verdict::Deny(Denial {
            reason_code: "full".into(),
            message: "7 of 7 are taken".into(),
            retry_after_ms: Some(5000),
        }))
    }

    fn expect(answer: Answer) -> Expect {
        Expect { answer, ..Expect::default() }
    }

    #[test]
    fn what_is_not_said_is_not_looked_at() {
        assert!(judge(&expect(Answer::Allow), &decided(Verdict::Allow)).is_empty());
        assert!(judge(&expect(Answer::Deny("full".into())), &denied()).is_empty());
        assert!(
            judge(&expect(Answer::Edit(Edits::default())), &decided(Verdict::Edit(model::Edits::default())))
                .is_empty()
        );
    }

    #[test]
    fn each_part_that_is_said_is_compared() {
        let all = Expect {
            answer: Answer::Deny("full".into()),
            message: Some("7 of 7".into()),
            retry_after: Some(Span(5000)),
            count: Some(vec!["a".into()]),
            cache: Some(Span(1000)),
            counters: Some(vec!["a/1m".into()]),
            log: Some("well".into()),
        };
        assert_eq!(judge(&all, &denied()), Vec::<String>::new());
        let wrong = [
            (
                Expect { answer: Answer::Deny("busy".into()), ..all.clone() },
                "wanted deny \"busy\", got deny \"full\" (7 of 7",
            ),
            (Expect { message: Some("8".into()), ..all.clone() }, "message: wanted something with \"8\""),
            (Expect { retry_after: Some(Span(6000)), ..all.clone() }, "retry_after: wanted 6s, got 5s"),
            (Expect { count: Some(vec![]), ..all.clone() }, "count: wanted []"),
            (Expect { cache: Some(Span(0)), ..all.clone() }, "cache: wanted 0s, got 1s"),
            (Expect { counters: Some(vec![]), ..all.clone() }, "counters: wanted []"),
            (Expect { log: Some("ill".into()), ..all.clone() }, "log: wanted a line with \"ill\""),
            (Expect { answer: Answer::Allow, ..all.clone() }, "wanted allow, got deny \"full\""),
        ];
        for (expect, words) in wrong {
            let found = judge(&expect, &denied());
            assert!(found.len() == 1 && found[0].contains(words), "{words}: {found:?}");
        }
    }

    #[test]
    fn an_edit_that_was_not_expected_is_one_too_many() {
        let wanted = Edits { ttl: Some(Span(1000)), ..Edits::default() };
        let edits = model::Edits { ttl_ms: Some(2000), priority: Some(5), ..model::Edits::default() };
        let found = judge(&expect(Answer::Edit(wanted)), &decided(Verdict::Edit(edits)));
        assert_eq!(found, ["ttl: wanted 1s, got 2s", "priority: wanted as it is, got 5"]);
    }

    #[test]
    fn settings_are_refused_or_taken() {
        let bad = expect(Answer::BadSettings("no such".into()));
        assert!(judge(&bad, &Outcome::BadSettings("no such setting".into())).is_empty());
        assert!(judge(&bad, &Outcome::BadSettings("worse".into()))[0].contains("got \"worse\""));
        assert!(judge(&bad, &decided(Verdict::Allow))[0].contains("were taken"));
        assert!(
            judge(&expect(Answer::Allow), &Outcome::BadSettings("worse".into()))[0]
                .contains("refused: worse")
        );
    }

    #[test]
    fn who_fails_has_decided_nothing() {
        let fault = Outcome::Failed(Fault::Stack);
        for answer in
            [Answer::Allow, Answer::Abstain, Answer::BadSettings(String::new()), Answer::Lines(vec![])]
        {
            assert_eq!(judge(&expect(answer), &fault).len(), 1);
        }
    }

    #[test]
    fn an_observer_writes_exactly_these_lines() {
        let observed = Outcome::Observed { lines: vec!["a".into()], log: Vec::new() };
        assert!(judge(&expect(Answer::Lines(vec!["a".into()])), &observed).is_empty());
        assert!(judge(&expect(Answer::Lines(vec![])), &observed)[0].contains("lines: wanted []"));
        assert!(judge(&expect(Answer::Allow), &observed)[0].contains("observer"));
        assert!(judge(&expect(Answer::Lines(vec![])), &decided(Verdict::Allow))[0].contains("wanted lines"));
    }
}
