//! `sidelock doctor`, asked.
//!
//! Owns how its answer is read. Must not know what it ought to say.

use crate::process::run;
use crate::redis::Redis;
use crate::sidecar::command;
use serde_json::Value;

/// What doctor found: its exit code, and the findings.
pub struct Verdicts {
    /// The exit code.
    pub code: i32,
    /// What `-o json` prints.
    pub document: Value,
    /// All that it wrote.
    pub text: String,
}

impl Verdicts {
    /// With these flags.
    pub fn of(flags: &[&str]) -> Verdicts {
        Verdicts::in_environment(flags, &[])
    }

    /// With these flags and variables.
    ///
    /// # Panics
    /// If what it prints is no JSON.
    pub fn in_environment(flags: &[&str], variables: &[(&str, &str)]) -> Verdicts {
        let mut command = command(["doctor", "-o", "json"].iter().chain(flags));
        command.envs(variables.iter().copied());
        let (code, text) = run(command);
        // The document is standard output; what begins with our name is the other stream.
        let lines: Vec<_> = text.lines().filter(|line| !line.starts_with("sidelock:")).collect();
        let document = serde_json::from_str(&lines.join("\n")).unwrap_or_else(|e| panic!("{e} in {text}"));
        Verdicts { code, document, text }
    }

    /// Of this Redis.
    pub fn on(redis: &Redis) -> Verdicts {
        Verdicts::of(&["--redis", &redis.url()])
    }

    /// The verdict of a check, and all that is said about it.
    ///
    /// # Panics
    /// If it was not made.
    pub fn check(&self, name: &str) -> (String, String) {
        let (verdict, says) = self.said(name);
        (verdict, format!("{says}: {}", self.field(name, "remedy")))
    }

    /// The verdict of a check, and what was found, without what to do about it.
    ///
    /// # Panics
    /// If it was not made.
    pub fn said(&self, name: &str) -> (String, String) {
        (self.field(name, "verdict"), self.field(name, "says"))
    }

    fn field(&self, name: &str, field: &str) -> String {
        let checks = self.document["checks"].as_array().expect("a list");
        let found = checks.iter().find(|check| check["check"] == name);
        let found = found.unwrap_or_else(|| panic!("{name} was not checked: {}", self.text));
        found[field].as_str().unwrap_or_default().to_owned()
    }

    /// Asserts the verdict of a check, and that it says this; and that verdict and exit code agree.
    ///
    /// # Panics
    /// If it is not so.
    pub fn expect(&self, name: &str, verdict: &str, says: &str) {
        let (found, text) = self.check(name);
        assert!(
            found == verdict && text.contains(says),
            "{name} is {found}: {text}, not {verdict} with {says}"
        );
        let fit = !self.document["checks"]
            .as_array()
            .expect("a list")
            .iter()
            .any(|check| check["verdict"] == "fail");
        assert_eq!((self.code == 0, self.document["fit"] == true), (fit, fit), "{}", self.text);
    }
}
