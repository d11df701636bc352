//! `sidelock doctor` in front of Redis servers that were set up wrong on purpose.

use sidelock_e2e::doctor::Verdicts;
use sidelock_e2e::fake_redis::FakeRedis;
use sidelock_e2e::process::{Process, run};
use sidelock_e2e::redis::{Redis, program};
use sidelock_e2e::sidecar::{Sidecar, command};
use std::io::Write;

#[test]
fn a_redis_in_order_is_fit() {
    let redis = Redis::with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let info = redis.command(&["INFO", "server"]);
    let said = |field: &str| info.lines().find_map(|line| line.strip_prefix(field));
    let version = match said("valkey_version:") {
        Some(version) => format!("Valkey {version}"),
        None => format!("Redis {}", said("redis_version:").expect("it says its version")),
    };
    let found = Verdicts::on(&redis);
    for (check, says) in [
        ("redis", "redis.sock"),
        ("version", &version),
        ("topology", "single server"),
        ("eviction", "never"),
        ("persistence", "loses nothing"),
        ("replicas", "none"),
        ("clients", "of 10000"),
        ("rights", "user default may do all"),
        ("round trip", "takes"),
        ("clock", "±"),
        ("guarantee", "bounded"),
    ] {
        found.expect(check, "ok", says);
    }
    assert_eq!(found.code, 0);
}

#[test]
fn without_persistence_it_is_a_warning_that_says_what_a_restart_loses() {
    let found = Verdicts::on(&Redis::start());
    found.expect("persistence", "warn", "loses every lock");
    assert_eq!(found.code, 0);
    Verdicts::on(&Redis::with(&["--save", "60", "1"])).expect("persistence", "warn", "since the last one");
}

#[test]
fn a_redis_that_evicts_is_not_fit() {
    let found = Verdicts::on(&Redis::with(&["--maxmemory", "100mb", "--maxmemory-policy", "volatile-lru"]));
    found.expect("eviction", "fail", "set maxmemory-policy to noeviction");
    assert_eq!(found.code, 1);
}

#[test]
fn a_replica_a_cluster_and_a_sentinel_are_named() {
    let replica = Redis::with(&["--replicaof", "127.0.0.1", "1"]);
    Verdicts::on(&replica).expect("topology", "fail", "replica of 127.0.0.1:1");
    let cluster = Redis::with(&["--cluster-enabled", "yes"]);
    Verdicts::on(&cluster).expect("topology", "fail", "Redis Cluster");
    let settings = tempfile::tempdir().expect("there is a folder for temporary files");
    let (file, socket) = (settings.path().join("sentinel.conf"), settings.path().join("s.sock"));
    let text = format!("port 0\nunixsocket {}\ndir {}\n", socket.display(), settings.path().display());
    std::fs::write(&file, text).expect("our folder");
    let mut sentinel = std::process::Command::new(program());
    sentinel.arg(&file).arg("--sentinel");
    let sentinel = Process::spawn(sentinel);
    sentinel.line("that it has begun", |line| line.contains("Sentinel ID is"));
    let url = format!("unix://{}", socket.display());
    Verdicts::of(&["--redis", &url]).expect("topology", "fail", "Sentinel");
}

#[test]
fn replicas_that_are_missing_stop_writes() {
    let found = Verdicts::on(&Redis::with(&["--min-replicas-to-write", "1"]));
    found.expect("replicas", "fail", "Redis refuses writes");
}

#[test]
fn replicas_are_missed_by_a_user_who_may_not_ask_for_settings_too() {
    let redis = Redis::with(&["--min-replicas-to-write", "1"]);
    redis.command(&["ACL", "SETUSER", "blind", "on", ">pw", "~*", "&*", "+@all", "-config"]);
    as_user(&redis, "blind").expect("replicas", "fail", "min-replicas-to-write is set and 0");
}

/// As doctor says of the clients that Redis has room for.
#[test]
fn each_sidecar_is_one_client_of_redis() {
    let redis = Redis::start();
    let (a, b) = (Sidecar::connected_to(&redis), Sidecar::connected_to(&redis));
    a.unlock(&a.lock("k", ""));
    // Granted only after a message to its inbox.
    b.unlock(&b.lock("k", r#"{"wait":"5s"}"#));
    let clients = redis.command(&["CLIENT", "LIST"]);
    let sidecars = clients.lines().filter(|client| client.contains(" resp=3"));
    assert_eq!(sidecars.count(), 2, "{clients}");
}

/// Providers take commands away from everybody.
#[test]
fn a_command_that_was_renamed_is_no_right_and_no_trouble() {
    let redis = Redis::with(&["--rename-command", "FLUSHALL", "wipe"]);
    Verdicts::on(&redis).expect("rights", "ok", "besides: other keys, other channels");
    let found = Verdicts::on(&Redis::with(&["--rename-command", "SCAN", "look"]));
    found.expect("rights", "warn", "ls --fleet");
    assert_eq!(found.code, 0, "{}", found.text);
}

#[test]
fn a_redis_that_is_not_there_or_does_not_answer_is_not_fit() {
    Verdicts::on(&Redis::absent()).expect("redis", "fail", "can not be used");
    let redis = Redis::start();
    redis.pause();
    Verdicts::on(&redis).expect("redis", "fail", "did not answer within");
    redis.resume();
}

#[test]
fn a_wrong_password_is_said_and_not_shown() {
    let redis = Redis::with_password("right-one");
    Verdicts::on(&redis).expect("redis", "fail", "redis.password_file");
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(b"wrong-one").expect("our file");
    let path = file.path().to_string_lossy().into_owned();
    let found = Verdicts::of(&["--redis", &redis.url(), "--redis-password-file", &path]);
    found.expect("redis", "fail", "WRONGPASS");
    assert!(!found.text.contains("wrong-one"), "{}", found.text);
    let found = Verdicts::of(&["--redis", "redis://u:secret-one@127.0.0.1:1"]);
    found.expect("redis", "fail", "redis://u:***@127.0.0.1:1");
    assert!(!found.text.contains("secret-one"), "{}", found.text);
}

/// Doctor as this user, whose password is `pw`.
fn as_user(redis: &Redis, user: &str) -> Verdicts {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(b"pw").expect("our file");
    let path = file.path().to_string_lossy().into_owned();
    Verdicts::of(&["--redis", &redis.url(), "--redis-username", user, "--redis-password-file", &path])
}

#[test]
fn missing_rights_are_named_and_the_printed_rule_is_enough() {
    let redis = Redis::start();
    redis.command(&["ACL", "SETUSER", "keys", "on", ">pw", "~other:*", "&*", "+@all"]);
    as_user(&redis, "keys").expect("rights", "fail", "GET SET DEL EVALSHA");
    redis.command(&["ACL", "SETUSER", "channels", "on", ">pw", "~*", "resetchannels", "+@all"]);
    as_user(&redis, "channels").expect("rights", "fail", "PUBLISH SUBSCRIBE");
    redis.command(&["ACL", "SETUSER", "scripts", "on", ">pw", "~*", "&*", "+@all", "-script"]);
    as_user(&redis, "scripts").expect("rights", "fail", "script");
    redis.command(&["ACL", "SETUSER", "blind", "on", ">pw", "~*", "&*", "+@all", "-scan"]);
    as_user(&redis, "blind").expect("rights", "warn", "ls --fleet");
    redis.command(&["ACL", "SETUSER", "deaf", "on", ">pw", "~*", "&*", "+@all", "-info"]);
    let deaf = as_user(&redis, "deaf");
    deaf.expect("rights", "warn", "INFO");
    deaf.expect("info", "warn", "eviction");
    assert_eq!(deaf.code, 0, "{}", deaf.text);

    redis.command(&["ACL", "SETUSER", "just", "on", ">pw"]);
    let none = as_user(&redis, "just");
    none.expect("rights", "fail", "ACL SETUSER just");
    let rule = none.document["acl_rule"].as_str().expect("a command").replace(">PASSWORD", ">pw");
    redis.command(&rule.split(' ').collect::<Vec<_>>());
    let enough = as_user(&redis, "just");
    enough.expect("rights", "ok", "user just may do all");
    assert_eq!(enough.code, 0, "{}", enough.text);
}

/// By a server that is none: there is no such Redis here.
#[test]
fn a_redis_that_is_too_old_is_refused_with_its_version_and_the_reason() {
    for (version, doctor, says) in [
        ("6.2.14", "version", "Redis 6.2.14 is too old: Sidelock needs 7.0"),
        // It does not know how to be greeted, and tells its version to nobody.
        ("5.0.14", "redis", "Sidelock needs Redis 7.0 or newer"),
    ] {
        let old = FakeRedis::of_version(version);
        let found = Verdicts::of(&["--redis", &old.url()]);
        found.expect(doctor, "fail", says);
        assert_eq!(found.code, 1, "{}", found.text);
        let sidecar = Sidecar::with(&["--redis", &old.url()]);
        sidecar.line("that it is too old", |line| line.contains("store_down") && line.contains(says));
        assert_eq!(sidecar.request("POST", "/v1/locks/k", "").code(), "store_unavailable");
    }
}

/// By a server that is none: a clock is the whole machine's.
#[test]
fn a_clock_that_is_wrong_is_said_with_how_much_and_what_to_do() {
    let found = Verdicts::of(&["--redis", &FakeRedis::ahead_by(90).url()]);
    found.expect("clock", "warn", "90.0s ahead of this host's");
    found.expect("clock", "warn", "let NTP slew it");
    Verdicts::of(&["--redis", &FakeRedis::ahead_by(-90).url()]).expect("clock", "warn", "90.0s behind");
    Verdicts::of(&["--redis", &FakeRedis::ahead_by(0).url()]).expect("clock", "ok", "");
}

#[test]
fn strict_without_a_log_that_is_on_disk_is_not_fit() {
    let strict = |redis: &Redis| {
        let limits = [("SIDELOCK_LIMITS_TTL_MAX", "30s"), ("SIDELOCK_LIMITS_RATE_PER_MAX", "30s")];
        let strict = [&[("SIDELOCK_REDIS_GUARANTEE", "strict")][..], &limits].concat();
        Verdicts::in_environment(&["--redis", &redis.url()], &strict)
    };
    let forgetful = strict(&Redis::start());
    forgetful.expect("persistence", "fail", "set appendonly yes and appendfsync always");
    strict(&Redis::with(&["--appendonly", "yes", "--appendfsync", "everysec"])).expect(
        "persistence",
        "fail",
        "always",
    );
    let durable = strict(&Redis::with(&["--appendonly", "yes", "--appendfsync", "always"]));
    durable.expect("persistence", "ok", "loses nothing");
    durable.expect("guarantee", "ok", "nothing is granted for 31.9s");
    let asked_for = [("SIDELOCK_REDIS_GUARANTEE", "strict")];
    let an_hour = Verdicts::in_environment(&["--redis", &Redis::start().url()], &asked_for);
    an_hour.expect("settings", "fail", "limits.ttl_max");
}

#[test]
fn with_a_sidecar_both_are_examined() {
    let redis = Redis::start();
    let sidecar = Sidecar::connected_to(&redis);
    let socket = sidecar.socket().to_string_lossy().into_owned();
    let mut with_settings = command(["doctor", "-o", "json", "--socket", &socket]);
    with_settings.env("SIDELOCK_REDIS", redis.url());
    let url = redis.url();
    let on_the_line = command(["doctor", "-o", "json", "--socket", &socket, "--redis", &url]);
    for both in [with_settings, on_the_line] {
        let (code, text) = run(both);
        assert!(code == 0 && text.contains("boottime") && text.contains("persistence"), "{text}");
    }
    let untold = Verdicts::of(&["--socket", &socket]);
    untold.expect("store", "warn", "--redis URL");
    sidecar.signal(rustix::process::Signal::STOP);
    Verdicts::of(&["--socket", &socket]).expect("sidecar", "fail", "does not answer");
    sidecar.signal(rustix::process::Signal::CONT);
}
