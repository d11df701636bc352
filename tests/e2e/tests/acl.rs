//! The ACL rule that `doctor` prints: a user made by exactly that can do all that Sidelock does, and nothing else.

use serde_json::Value;
use sidelock_e2e::doctor::Verdicts;
use sidelock_e2e::http;
use sidelock_e2e::redis::Redis;
use sidelock_e2e::sidecar::Sidecar;
use std::thread;

/// A Redis that has such a user, called `just`, and two sidecars that are it.
struct Place {
    redis: Redis,
    a: Sidecar,
    b: Sidecar,
    password: tempfile::NamedTempFile,
    /// What made the user.
    rule: String,
}

/// Flags of the user.
fn flags<'a>(redis: &'a str, password: &'a str) -> [&'a str; 6] {
    ["--redis", redis, "--redis-username", "just", "--redis-password-file", password]
}

impl Place {
    fn new() -> Place {
        let redis = Redis::start();
        let password = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(password.path(), "pw").expect("our file");
        let (url, path) = (redis.url(), password.path().to_string_lossy().into_owned());
        let before = Verdicts::of(&flags(&url, &path));
        before.expect("redis", "fail", "WRONGPASS");
        let rule = rule(&before);
        redis.command(&rule.split(' ').collect::<Vec<_>>());
        let (a, b) = (Sidecar::with(&flags(&url, &path)), Sidecar::with(&flags(&url, &path)));
        a.await_store();
        b.await_store();
        // What its refusals are counted in.
        redis.command(&["CONFIG", "RESETSTAT"]);
        Place { redis, a, b, password, rule }
    }

    /// Doctor as that user.
    fn verdicts(&self) -> Verdicts {
        Verdicts::of(&flags(&self.redis.url(), &self.password.path().to_string_lossy()))
    }
}

/// What doctor prints, with a password.
fn rule(found: &Verdicts) -> String {
    found.document["acl_rule"].as_str().expect("a command").replace(">PASSWORD", ">pw")
}

/// An answer that has to be good.
#[track_caller]
fn ok(sidecar: &Sidecar, method: &str, path: &str, body: &str) -> http::Answer {
    let answer = sidecar.request(method, path, body);
    assert!((200..300).contains(&answer.status), "{method} {path}: {answer:?}");
    answer
}

#[track_caller]
fn verb(sidecar: &Sidecar, words: &str, says: &str) {
    let (code, text) = sidecar.verb(words.split(' '));
    assert!(code == 0 && text.contains(says), "{words}: {code}: {text}");
}

#[test]
fn it_is_enough_for_all_that_sidelock_does() {
    let place = Place::new();
    let Place { redis, a, b, .. } = &place;
    // Between the two sidecars: asks, offers, recalls, returns; each kind of lock.
    for (path, body) in [
        ("/v1/locks/lock", "{}"),
        ("/v1/locks/shared", r#"{"mode":"shared"}"#),
        ("/v1/semaphores/semaphore", r#"{"limit":2,"permits":2}"#),
        ("/v1/semaphores/rate", r#"{"limit":2,"per":"100ms"}"#),
    ] {
        a.unlock(&ok(a, "POST", path, body).json());
        let wait = body.replace('}', if body == "{}" { r#""wait":"5s"}"# } else { r#","wait":"5s"}"# });
        b.unlock(&ok(b, "POST", path, &wait).json());
    }
    let all = ok(a, "POST", "/v1/locks", r#"{"keys":["one","two"]}"#).json();
    a.unlock(&all["leases"][0]);

    // What people ask for.
    let held = a.lock("held", r#"{"ttl":"30s"}"#);
    verb(b, "ls --fleet", "held");
    verb(b, "why held", "held");
    verb(b, "graph", "");
    let forced = http::request(
        &a.socket().with_file_name("admin.sock"),
        "POST",
        "/v1/force-unlock/held",
        r#"{"reason":"test"}"#,
    );
    assert_eq!(forced.status, 200, "{forced:?} {held}");

    // Registers, and what runs once.
    ok(a, "PUT", "/v1/registers/register", "value");
    assert_eq!(ok(b, "GET", "/v1/registers/register", "").body, "value");
    ok(b, "DELETE", "/v1/registers/register", "");
    verb(a, "once job --per 1h -- echo ran", "ran");
    verb(b, "once job --per 1h -- echo again", "");

    // A ring across both, found by boards and inquiries. The victim lets go.
    let wish = |sidecar: &Sidecar, key: &str, owner: &str, held: &Value| {
        let wait = format!(r#"{{"owner":"{owner}","wait":"20s"}}"#);
        let answer = sidecar.request("POST", &format!("/v1/locks/{key}"), &wait);
        if answer.code() == "deadlock" {
            sidecar.unlock(held);
        }
        answer.code()
    };
    let (x, y) = (a.lock("ring/1", r#"{"owner":"x"}"#), b.lock("ring/2", r#"{"owner":"y"}"#));
    let mut codes = thread::scope(|scope| {
        let one = scope.spawn(|| wish(a, "ring/2", "x", &x));
        let two = scope.spawn(|| wish(b, "ring/1", "y", &y));
        [one, two].map(|wish| wish.join().expect("it is answered"))
    });
    codes.sort();
    assert_eq!(codes, ["", "deadlock"]);

    for sidecar in [a, b] {
        assert!(!sidecar.output().contains("NOPERM"), "{}", sidecar.output());
    }
    let errors = redis.command(&["INFO", "errorstats"]);
    assert!(!errors.contains("NOPERM"), "Redis refused something: {errors}");
    let found = place.verdicts();
    found.expect("rights", "ok", "user just may do all that is needed, on no other keys and channels");
    assert_eq!(found.code, 0, "{}", found.text);
    Verdicts::on(redis).expect("rights", "ok", "other commands, other keys, other channels");
}

#[test]
fn each_command_of_it_is_missed() {
    let place = Place::new();
    let commands: Vec<&str> = place.rule.split(' ').filter_map(|word| word.strip_prefix('+')).collect();
    assert!(commands.len() > 5, "{commands:?}");
    for command in commands {
        place.redis.command(&["ACL", "SETUSER", "just", &format!("-{command}")]);
        let (verdict, says) = place.verdicts().said("rights");
        let named = says.to_lowercase();
        let named = named.split(|c: char| !c.is_alphanumeric() && c != '|').any(|word| word == command);
        assert!(verdict != "ok" && named, "without {command}, rights are {verdict}: {says}");
        place.redis.command(&["ACL", "SETUSER", "just", &format!("+{command}")]);
    }
    place.verdicts().expect("rights", "ok", "user just may do all");
}

/// A strict store is asked with each call what it is: without that right nothing would be granted.
#[test]
fn strict_can_not_do_without_what_is_dispensable_otherwise() {
    let Place { redis, password, .. } = Place::new();
    let (url, path) = (redis.url(), password.path().to_string_lossy().into_owned());
    let config = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(
        config.path(),
        "[redis]\nguarantee = \"strict\"\n[limits]\nttl_max = \"2s\"\nrate_per_max = \"2s\"\n",
    )
    .expect("our file");
    let file = config.path().to_string_lossy().into_owned();
    let words: Vec<&str> = ["--config", &file].into_iter().chain(flags(&url, &path)).collect();
    let before = Verdicts::of(&words);
    before.expect("rights", "warn", "CONFIG, so strict can not be promised");
    redis.command(&rule(&before).split(' ').collect::<Vec<_>>());
    Verdicts::of(&words).expect("rights", "ok", "user just may do all");
    redis.command(&["ACL", "SETUSER", "just", "-info"]);
    Verdicts::of(&words).expect("rights", "fail", "INFO");
    let sidecar = Sidecar::with(&words);
    let line = sidecar.line("why the store is down", |line| line.contains("store_down"));
    assert!(line.contains("does not let this user") && line.contains("info"), "{line}");
    redis.command(&["ACL", "SETUSER", "just", "+info"]);
    sidecar.await_store();
}

#[test]
fn a_database_with_a_number_needs_one_right_more() {
    let Place { redis, password, .. } = Place::new();
    let (url, path) = (format!("{}?db=3", redis.url()), password.path().to_string_lossy().into_owned());
    let without = Verdicts::of(&flags(&url, &path));
    without.expect("redis", "fail", "'select'");
    redis.command(&rule(&without).split(' ').collect::<Vec<_>>());
    let sidecar = Sidecar::with(&flags(&url, &path));
    sidecar.await_store();
    sidecar.unlock(&sidecar.lock("k", ""));
    Verdicts::of(&flags(&url, &path)).expect("rights", "ok", "user just may do all");
}

#[test]
fn it_is_the_one_that_is_printed_to_be_copied() {
    let rule = Verdicts::on(&Redis::start()).document["acl_rule"].to_string();
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/README.md"));
    let page = page.expect("it is part of the project");
    assert!(page.contains(rule.trim_matches('"')), "deploy/README.md has another rule than {rule}");
}

#[test]
fn it_is_enough_for_nothing_else() {
    let Place { redis, .. } = Place::new();
    let may = |words: &str| {
        let command: Vec<&str> = ["ACL", "DRYRUN", "just"].into_iter().chain(words.split(' ')).collect();
        redis.command(&command) == "OK"
    };
    // The question tells yes from no.
    for words in ["GET sl:1:default:{k}:lock", "SUBSCRIBE sl:1:default:inbox:0", "TIME", "SCAN 0"] {
        assert!(may(words), "{words}");
    }
    for words in [
        "FLUSHALL",
        "FLUSHDB",
        "SHUTDOWN",
        "DEBUG SLEEP 1",
        "CONFIG GET requirepass",
        "CONFIG SET dir /",
        "ACL LIST",
        "ACL SETUSER just on",
        "KEYS *",
        "MONITOR",
        "CLIENT LIST",
        "CLIENT KILL SKIPME no",
        "EVAL return 0",
        "SCRIPT FLUSH",
        "FUNCTION LIST",
        "REPLICAOF h 1",
        "MIGRATE h 1 k 0 1",
        "GET k",
        "SET k v",
        "DEL k",
        "SELECT 1",
        "GET sl:1:other:{k}:lock",
        "SET sl:1:other:{k}:lock v",
        "PUBLISH channel message",
        "PUBLISH sl:1:other:inbox:0 message",
        "SUBSCRIBE channel",
        "PSUBSCRIBE *",
    ] {
        assert!(!may(words), "a user for Sidelock may {words}");
    }
}
