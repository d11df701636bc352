//! `config`, `completions` and the help texts: what a user reads before anything runs.

use crate::support::{Said, finish, sidelock};
use serde_json::Value;
use std::process::Stdio;

/// Runs the binary without a sidecar.
fn say(words: &str) -> Said {
    finish(sidelock(words.split(' ')))
}

#[test]
fn help_names_the_kinds_of_redis() {
    let help = say("serve --help").out;
    assert!(help.contains("--redis-mode <single|sentinel|cluster>"), "{help}");
}

#[test]
fn config_shows_what_would_apply_and_what_is_wrong() {
    let shown =
        finish(sidelock(["config", "print", "--namespace", "n1", "--redis", "redis://u:hunter2@h/0"]));
    assert!(shown.out.contains("namespace = \"n1\""), "{shown:?}");
    assert!(!shown.out.contains("hunter2") && !shown.err.contains("hunter2"), "{shown:?}");
    assert!(shown.err.contains("sidelock: warning"), "a password among arguments: {shown:?}");

    let defaults = finish(sidelock(["config", "print", "--default"]));
    assert!(defaults.out.contains("[tenure]") && defaults.out.contains('#'), "{defaults:?}");
    assert_eq!(finish(sidelock(["config", "check"])).code, 0);

    let folder = tempfile::tempdir().expect("there is a folder for temporary files");
    let file = folder.path().join("sidelock.toml");
    std::fs::write(&file, "[tenure]\nretension = '1s'\n").expect("our folder");
    let wrong =
        finish(sidelock(["config".as_ref(), "check".as_ref(), "--config".as_ref(), file.as_os_str()]));
    assert_eq!(wrong.code, 2, "{wrong:?}");
    assert!(wrong.err.contains("did you mean `retention`"), "{wrong:?}");
}

#[test]
fn config_check_refuses_what_serve_refuses() {
    let long = format!("--socket /{}", "x".repeat(120));
    for flags in [
        "--redis rediss://h/#insecure",
        "--redis rediss://h --redis-ca-file /nonexistent/ca.pem",
        "--redis redis://h --redis-mode sentinel --redis-sentinel-password-file /nonexistent/password",
        "--redis rediss://h/#insecure --redis-mode cluster",
        "--redis redis://a redis://b",
        "--redis redis://h --redis-ca-file /ca.pem",
        "--redis redis://h --redis-password-file /nonexistent/password",
        "--redis nonsense",
        long.as_str(),
    ] {
        let (checked, served) = (say(&format!("config check {flags}")), say(&format!("serve {flags}")));
        assert_eq!((checked.code, served.code), (2, 2), "{flags}: {checked:?} {served:?}");
        let last = |said: &Said| said.err.lines().last().unwrap_or_default().to_owned();
        assert_eq!(last(&checked), last(&served), "{flags}");
        assert!(checked.err.starts_with("sidelock:"), "{checked:?}");
    }
    // With the limits' defaults nobody would be granted anything for an hour.
    let strictly = |limits: &[&str]| {
        let mut strict =
            sidelock(["config", "check", "--redis", "redis://h", "--socket", "/run/sidelock/s.sock"]);
        strict.env("SIDELOCK_REDIS_GUARANTEE", "strict");
        strict.envs(limits.iter().map(|limit| (limit, "30s")));
        finish(strict)
    };
    let strict = strictly(&["SIDELOCK_LIMITS_TTL_MAX"]);
    assert!(strict.code == 2 && strict.err.contains("limits.rate_per_max"), "{strict:?}");
    assert_eq!(strictly(&["SIDELOCK_LIMITS_TTL_MAX", "SIDELOCK_LIMITS_RATE_PER_MAX"]).code, 0);
    assert_eq!(say("config check --redis redis://h --socket /run/sidelock/s.sock").code, 0);
}

#[test]
fn the_settings_have_a_schema() {
    let said = say("config schema");
    let schema: Value = serde_json::from_str(&said.out).expect("it is JSON");
    assert_eq!(schema["properties"]["redis"]["properties"]["prefix"]["default"], "sl", "{schema:#}");
}

#[test]
fn shells_are_told_what_they_can_complete() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let said = say(&format!("completions {shell}"));
        assert!(said.code == 0 && said.out.contains("healthcheck"), "{shell}: {said:?}");
    }
    assert_eq!(say("completions csh").code, 2);
    let mut bash = std::process::Command::new("bash");
    bash.args(["-n", "/dev/stdin"]).stdin(Stdio::piped());
    let mut bash = bash.spawn().expect("bash starts");
    let script = say("completions bash").out;
    std::io::Write::write_all(&mut bash.stdin.take().expect("stdin is piped"), script.as_bytes())
        .expect("it reads");
    assert!(bash.wait().expect("it ends").success(), "bash understands it");
}

#[test]
fn the_help_goes_from_serving_to_helping() {
    let help = say("--help").out;
    let places: Vec<_> =
        ["serve ", "run ", "ls ", "why ", "watch ", "stat ", "doctor ", "drain ", "completions "]
            .map(|verb| {
                help.find(&format!("\n  {verb}")).unwrap_or_else(|| panic!("{verb} is missing in {help}"))
            })
            .into();
    assert!(places.is_sorted(), "{help}");
}

/// As many as there are, each with its number: what a script decides on.
#[test]
fn help_names_the_exit_codes() {
    let flat = |words: &str| say(words).out.split_whitespace().collect::<Vec<_>>().join(" ");
    let help = flat("--help");
    for code in sidelock_client::Code::all() {
        let number = code.exit_code();
        let named = help.contains(&format!(" {number} "));
        assert!(named, "{code} ends with {number}, which is not in {help}");
    }
    let help = flat("run --help");
    for told in
        ["the lock was lost. Where it did not start: 3 somebody else", "SIDELOCK_FENCE in its environment"]
    {
        assert!(help.contains(told), "{told} in {help}");
    }
}
