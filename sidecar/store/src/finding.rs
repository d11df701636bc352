//! What an examination found: one thing, whether it is right, and what to change.
//!
//! Owns the shape alone. What is looked at, and with which words, is the business of whoever examines.

/// How a thing stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It works, and there is something to know or to change.
    Warn,
    /// Locks do not work like this, or not safely.
    Fail,
}

impl Verdict {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Ok => "ok",
            Verdict::Warn => "warn",
            Verdict::Fail => "fail",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at, in a word or two.
    pub check: &'static str,
    /// How it stands.
    pub verdict: Verdict,
    /// What is so. Never a secret.
    pub says: String,
    /// What to do about it.
    pub remedy: Option<String>,
}

impl Finding {
    /// As it should be.
    pub fn ok(check: &'static str, says: impl Into<String>) -> Finding {
        Finding { check, verdict: Verdict::Ok, says: says.into(), remedy: None }
    }

    /// Something to know or to change.
    pub fn warn(check: &'static str, says: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding { verdict: Verdict::Warn, remedy: Some(remedy.into()), ..Finding::ok(check, says) }
    }

    /// Not fit.
    pub fn fail(check: &'static str, says: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding { verdict: Verdict::Fail, remedy: Some(remedy.into()), ..Finding::ok(check, says) }
    }

    /// All of it in one sentence, for a log.
    pub fn sentence(&self) -> String {
        match &self.remedy {
            Some(remedy) => format!("{}: {remedy}", self.says),
            None => self.says.clone(),
        }
    }
}
