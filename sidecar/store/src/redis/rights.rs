//! What a user of Redis must be allowed, and whether it is.
//!
//! Owns the list of all that is said to Redis, the question whether a user may say it, the ACL rule that allows just that,
//! and the verdict. Must not know how a connection is made.

use super::names::Names;
use super::{Mode, RedisConfig};
use crate::finding::Finding;
use redis::aio::MultiplexedConnection;
use redis::{RedisResult, cmd};
use sidelock_engine::{Incarnation, Key};

/// Who is meant where no user is named.
const USER: &str = "sidelock";

/// What goes on without these, and what does not; the last of them only where nothing is to be strict: then each call asks.
const DISPENSABLE: [(&str, &str); 3] = [
    ("CONFIG", "strict can not be promised"),
    ("SCAN", "what the whole fleet holds can not be listed (`ls --fleet`)"),
    ("INFO", "its version and settings stay unchecked"),
];

/// Asks whether the user may run the commands in ARGV, which holds each after its length. Answers the numbers of those that
/// are denied. A command that was renamed is one that nobody knows. Older servers than Sidelock needs do not know the
/// question.
const MAY_I: &str = "#!lua flags=no-writes
local denied, at, number = {}, 1, 0
while at <= #ARGV do
    local length = tonumber(ARGV[at])
    local known, may = pcall(redis.acl_check_cmd, unpack(ARGV, at + 1, at + length))
    if not (known and may) then denied[#denied + 1] = number end
    at, number = at + 1 + length, number + 1
end
return denied";

/// A command, word by word.
type Command = Vec<String>;

/// Everything that a sidecar says to Redis, and what it has no need to say.
pub(super) struct Needs {
    /// With arguments that name this namespace.
    commands: Vec<Command>,
    /// One of each kind, with a word for the kind.
    needless: [(&'static str, Command); 3],
    /// What goes on without some of them.
    dispensable: &'static [(&'static str, &'static str)],
    user: Option<String>,
    /// The command that makes a user with just these rights.
    pub(super) rule: String,
}

/// What a user may do, as far as was asked.
#[derive(Debug, Default)]
pub(super) struct Rights {
    /// What is needed and denied, or not on our keys and channels.
    denied: Vec<String>,
    /// What is allowed and not needed.
    needless: Vec<&'static str>,
}

impl Needs {
    /// Of this user in this namespace, where `db` is a database to select.
    pub(super) fn new(config: &RedisConfig, db: i64, user: Option<String>) -> Needs {
        let RedisConfig { prefix, namespace, mode, .. } = config;
        let names = Names::new(prefix, namespace);
        let (record, inbox) = examples(&names);
        let (publish, subscribe) = match mode {
            Mode::Single | Mode::Sentinel(_) => ("publish", "subscribe"),
            Mode::Cluster => ("spublish", "ssubscribe"),
        };
        // HELLO and AUTH need no right: they are how a connection comes to have some.
        let mut commands = vec![
            command(["ping"]),
            command(["info"]),
            command(["time"]),
            command(["get", &record]),
            command(["set", &record, "", "px", "1"]),
            command(["del", &record]),
            command([publish, &inbox, ""]),
            command([subscribe, &inbox]),
            command(["script", "load", ""]),
            command(["evalsha", "0", "1", &record]),
            command(["scan", "0"]),
        ];
        if db != 0 {
            commands.push(command(["select", &db.to_string()]));
        }
        if config.strict.is_some() {
            commands.push(command(["config", "get", "min-replicas-to-write"]));
        }
        match mode {
            Mode::Single => {}
            // Whoever sentinels name is asked what it is.
            Mode::Sentinel(_) => commands.push(command(["role"])),
            Mode::Cluster => {
                let more = [command(["cluster", "slots"]), command(["cluster", "info"]), command(["asking"])];
                commands.extend(more);
            }
        }
        let (record, inbox) = examples(&Names::new(prefix, &format!("{namespace}-and-another")));
        let needless = [
            ("commands", command(["flushall"])),
            ("keys", command(["get", &record])),
            ("channels", command([publish, &inbox, ""])),
        ];
        let rule = rule(user.as_deref().unwrap_or(USER), &names, &commands);
        let dispensable = if config.strict.is_some() { &DISPENSABLE[..2] } else { &DISPENSABLE };
        Needs { commands, needless, dispensable, user, rule }
    }

    /// Looks whether this connection's user may do all of that.
    pub(super) async fn examine(&self, wire: &mut MultiplexedConnection) -> RedisResult<Finding> {
        let whoami: RedisResult<String> = cmd("ACL").arg("WHOAMI").query_async(wire).await;
        // It may not ask that either.
        let user = whoami.ok().or_else(|| self.user.clone()).unwrap_or_else(|| "of this connection".into());
        Ok(self.judged(&user, &self.ask(wire).await?))
    }

    async fn ask(&self, wire: &mut MultiplexedConnection) -> RedisResult<Rights> {
        let sha: String = cmd("SCRIPT").arg("LOAD").arg(MAY_I).query_async(wire).await?;
        let mut question = cmd("EVALSHA");
        question.arg(sha).arg(0);
        for command in self.commands.iter().chain(self.needless.iter().map(|(_, command)| command)) {
            question.arg(command.len()).arg(command);
        }
        let denied: Vec<usize> = question.query_async(wire).await?;
        let name = |at: &usize| self.commands.get(*at).map(|words| words[0].to_uppercase());
        let beyond = self.commands.len()..;
        let needless = beyond.zip(&self.needless).filter(|(at, _)| !denied.contains(at));
        Ok(Rights {
            denied: denied.iter().filter_map(name).collect(),
            needless: needless.map(|(_, (kind, _))| *kind).collect(),
        })
    }

    fn judged(&self, user: &str, rights: &Rights) -> Finding {
        let remedy = format!("let an operator of Redis run: {}", self.rule);
        let why = |name: &String| self.dispensable.iter().find(|(dispensable, _)| dispensable == name);
        let known: Option<Vec<_>> = rights.denied.iter().map(why).collect();
        match (rights.denied.as_slice(), known) {
            ([], _) => {
                let more = match rights.needless.as_slice() {
                    [] => "on no other keys and channels".to_owned(),
                    needless => {
                        format!("and has no need of what it may besides: other {}", needless.join(", other "))
                    }
                };
                Finding::ok("rights", format!("user {user} may do all that is needed, {more}"))
            }
            (_, Some(known)) => {
                let missing: Vec<_> = known.iter().map(|(name, so)| format!("{name}, so {so}")).collect();
                Finding::warn("rights", format!("user {user} may not run {}", missing.join("; ")), remedy)
            }
            (denied, None) => Finding::fail(
                "rights",
                format!("user {user} may not run, or not on our keys and channels: {}", denied.join(" ")),
                remedy,
            ),
        }
    }
}

fn command<const N: usize>(words: [&str; N]) -> Command {
    words.map(str::to_owned).to_vec()
}

/// A record and an inbox of this namespace.
fn examples(names: &Names) -> (String, String) {
    (names.record(&Key::new("doctor").expect("is a key")), names.inbox(Incarnation(0)))
}

fn rule(user: &str, names: &Names, commands: &[Command]) -> String {
    let (keys, channels) = names.patterns();
    let mut rule =
        format!("ACL SETUSER {user} on >PASSWORD resetkeys ~{keys} resetchannels &{channels} -@all");
    for words in commands {
        match words[0].as_str() {
            name @ ("script" | "cluster" | "config") => rule.push_str(&format!(" +{name}|{}", words[1])),
            name => rule.push_str(&format!(" +{name}")),
        }
    }
    rule
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Verdict::{Fail, Ok, Warn};
    use std::time::Duration;

    #[test]
    fn the_rule_is_as_wide_as_the_settings_need() {
        let config = |mode: &Mode| RedisConfig {
            namespace: "a*".into(),
            mode: mode.clone(),
            ..RedisConfig::new("redis://h")
        };
        let rule = |db, mode: &Mode, user| Needs::new(&config(mode), db, user).rule;
        let plain = rule(0, &Mode::Single, None);
        let names =
            r"ACL SETUSER sidelock on >PASSWORD resetkeys ~sl:1:a\*:* resetchannels &sl:1:a\*:inbox:* -@all ";
        assert!(plain.starts_with(names), "{plain}");
        assert!(plain.ends_with("+script|load +evalsha +scan"), "{plain}");
        assert_eq!(rule(3, &Mode::Single, None), format!("{plain} +select"));
        let sharded = rule(0, &Mode::Cluster, None);
        assert!(sharded.contains(" +spublish +ssubscribe ") && !sharded.contains(" +publish"), "{sharded}");
        assert!(sharded.ends_with(" +cluster|slots +cluster|info +asking"), "{sharded}");
        assert!(rule(0, &Mode::Single, Some("u".into())).starts_with("ACL SETUSER u on"));
        let strict = RedisConfig { strict: Some(Duration::from_secs(10)), ..config(&Mode::Single) };
        assert_eq!(Needs::new(&strict, 0, None).rule, format!("{plain} +config|get"));
    }

    #[test]
    fn what_is_missing_weighs_as_much_as_what_goes_on_without_it() {
        let bounded = RedisConfig::new("redis://h");
        let needs = Needs::new(&bounded, 0, None);
        for (denied, needless, expected, says) in [
            (&[][..], &[][..], Ok, "on no other keys and channels"),
            (&[], &["commands", "keys"], Ok, "besides: other commands, other keys"),
            (&["SCAN"], &[], Warn, "SCAN, so what the whole fleet"),
            (&["INFO", "SCAN"], &["keys"], Warn, "INFO, so its version"),
            (&["SCAN", "GET"], &[], Fail, "SCAN GET"),
        ] {
            let denied = denied.iter().map(|name: &&str| (*name).to_owned()).collect();
            let finding = needs.judged("u", &Rights { denied, needless: needless.to_vec() });
            assert!(finding.verdict == expected && finding.says.contains(says), "{finding:?}");
            assert_eq!(finding.remedy.is_some_and(|remedy| remedy.ends_with(&needs.rule)), expected != Ok);
        }
        let strict = Needs::new(&RedisConfig { strict: Some(Duration::from_secs(10)), ..bounded }, 0, None);
        for (denied, expected) in [("INFO", Fail), ("CONFIG", Warn)] {
            let rights = Rights { denied: vec![denied.into()], needless: Vec::new() };
            assert_eq!(strict.judged("u", &rights).verdict, expected, "{denied}");
        }
    }
}
