//! User and password at Redis: rotated while locks are held, and never shown.

use rustix::process::Signal;
use sidelock_e2e::folder;
use sidelock_e2e::process::{Process, run, until};
use sidelock_e2e::redis::Redis;
use sidelock_e2e::sidecar::{Sidecar, command};
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;

/// A password in a file.
struct Password(TempDir);

impl Password {
    fn new(text: &str) -> Password {
        let password = Password(folder());
        password.becomes(text);
        password
    }

    fn path(&self) -> String {
        self.0.path().join("password").to_string_lossy().into_owned()
    }

    fn becomes(&self, text: &str) {
        std::fs::write(self.path(), text).expect("our folder");
    }
}

/// A sidecar that is this user.
fn sidecar_as(redis: &Redis, user: &str, password: &Password) -> Sidecar {
    let path = password.path();
    Sidecar::with(&["--redis", &redis.url(), "--redis-username", user, "--redis-password-file", &path])
}

#[test]
fn a_rotated_password_interrupts_nothing() {
    let redis = Redis::start();
    redis.command(&["ACL", "SETUSER", "app", "on", ">first", "~*", "&*", "+@all"]);
    let password = Password::new("first\n");
    let sidecar = sidecar_as(&redis, "app", &password);
    sidecar.await_store();
    let lease = sidecar.lock("k", r#"{"ttl":"30s"}"#);
    let connections = || redis.info("stats", "total_connections_received");

    // Both are good for a while, as whoever rotates does it; the old one goes last.
    redis.command(&["ACL", "SETUSER", "app", ">second"]);
    password.becomes("second\n");
    let before = connections();
    sidecar.signal(Signal::HUP);
    sidecar.line("that the store takes it", |line| line.contains("takes the credentials"));
    redis.command(&["ACL", "SETUSER", "app", "<first"]);
    let id = lease["lease"].as_str().expect("a lease has an id");
    let renewed = |ttl: &str| sidecar.request("PUT", &format!("/v1/leases/{id}"), ttl).status;
    assert_eq!(renewed(r#"{"ttl":"40s"}"#), 200);
    // The commands of this test are connections too.
    assert_eq!(connections(), before + 2, "the sidecar made none");

    // A connection that ends comes back with what the file says then, asked or not.
    redis.command(&["ACL", "SETUSER", "app", "resetpass", ">third"]);
    password.becomes("third\n");
    redis.command(&["CLIENT", "KILL", "SKIPME", "yes"]);
    sidecar.line("that it is lost", |line| line.contains("store_down"));
    sidecar.await_store();
    assert_eq!(renewed(r#"{"ttl":"50s"}"#), 200);
    sidecar.unlock(&lease);
    assert!(!sidecar.output().contains("WRONGPASS"), "{}", sidecar.output());
}

#[test]
fn a_password_that_redis_does_not_take_is_said_and_the_old_one_goes_on() {
    let redis = Redis::start();
    redis.command(&["ACL", "SETUSER", "app", "on", ">first", "~*", "&*", "+@all"]);
    let password = Password::new("first\n");
    let sidecar = sidecar_as(&redis, "app", &password);
    sidecar.await_store();
    password.becomes("too early\n");
    sidecar.signal(Signal::HUP);
    let line = sidecar.line("that it is refused", |line| line.contains("does not take the new credentials"));
    assert!(line.contains("WRONGPASS"), "{line}");
    sidecar.unlock(&sidecar.lock("k", ""));

    // By then the mistake counts: until the file is right.
    redis.command(&["CLIENT", "KILL", "SKIPME", "yes"]);
    sidecar
        .line("that it can not come back", |line| line.contains("store_down") && line.contains("WRONGPASS"));
    assert_eq!(sidecar.request("POST", "/v1/locks/k", "").code(), "store_unavailable");
    password.becomes("first\n");
    sidecar.await_store();
    until(Duration::from_secs(2), "it locks again", || {
        (sidecar.request("POST", "/v1/locks/again", "").status == 200).then_some(())
    });
    assert!(!sidecar.output().contains("too early"), "{}", sidecar.output());
}

#[test]
fn another_user_in_the_settings_file_interrupts_nothing() {
    let (place, redis, password) = (folder(), Redis::start(), Password::new("pw\n"));
    for user in ["first", "second"] {
        redis.command(&["ACL", "SETUSER", user, "on", ">pw", "~*", "&*", "+@all"]);
    }
    let file = place.path().join("sidelock.toml");
    let becomes = |user: &str| {
        let (url, path) = (redis.url(), password.path());
        let settings =
            format!("[redis]\nurl = [\"{url}\"]\nusername = \"{user}\"\npassword_file = \"{path}\"\n");
        std::fs::write(&file, settings).expect("our folder");
    };
    becomes("first");
    let sidecar = Sidecar::with(&["--config", &file.to_string_lossy()]);
    sidecar.await_store();
    let lease = sidecar.lock("k", r#"{"ttl":"30s"}"#);
    becomes("second");
    sidecar.signal(Signal::HUP);
    sidecar.line("that the store takes it", |line| line.contains("takes the credentials"));
    // With a user its connections end.
    redis.command(&["ACL", "DELUSER", "first"]);
    let id = lease["lease"].as_str().expect("a lease has an id");
    assert_eq!(sidecar.request("PUT", &format!("/v1/leases/{id}"), r#"{"ttl":"40s"}"#).status, 200);
    sidecar.unlock(&lease);
    assert!(!sidecar.output().contains("store_down"), "{}", sidecar.output());
}

/// All that can be seen of a sidecar that was given `flags`: its log, in as much detail as there is, its pages, and what the
/// verbs say that read settings.
fn all_that_is_shown(flags: &[&str], variables: &[(&str, &str)]) -> String {
    let place = folder();
    let socket = place.path().join("s.sock");
    let mut serving = Sidecar::command(&socket, flags);
    serving.envs(variables.iter().copied()).env("SIDELOCK_LOG", "trace");
    let sidecar = Process::spawn(serving);
    sidecar.line("that it serves", |line| line.starts_with("sidelock serves at"));
    sidecar.line("how it stands with the store", |line| line.contains("store_"));
    sidecar.signal(Signal::HUP);
    sidecar.line("what became of the reload", |line| line.contains("credentials reloaded"));
    let mut shown = String::new();
    for page in ["/metrics", "/v1/info", "/readyz/store", "/v1/locks?fleet=1", "/v1/openapi.json"] {
        shown.push_str(&format!("{:?}", sidelock_e2e::http::request(&socket, "GET", page, "")));
    }
    let at = socket.to_string_lossy();
    for verb in [&["config", "check"][..], &["config", "print"], &["doctor"], &["doctor", "-o", "json"]] {
        let mut asked = command(verb.iter().chain(flags));
        asked.args(["--socket", &at]).envs(variables.iter().copied());
        shown.push_str(&run(asked).1);
    }
    shown + &sidecar.output()
}

#[test]
fn no_secret_is_shown_wherever_it_was_given() {
    let secret = "hunter2-is-no-password";
    let redis = Redis::with_password("another");
    let path = redis.socket().to_string_lossy().into_owned();
    let loopback = Redis::on_loopback();
    let file = Password::new(secret);
    let in_file = PathBuf::from(file.path());
    let key = in_file.with_file_name("tls.key");
    std::fs::write(&key, secret).expect("our folder");
    let urls = [
        loopback.url().replace("redis://", &format!("redis://user:{secret}@")),
        format!("redis://:{secret}@127.0.0.1:1"),
        format!("rediss://:{secret}@127.0.0.1:1"),
        format!("unix://{path}?user=u&pass={secret}"),
    ];
    for url in &urls {
        let shown = all_that_is_shown(&["--redis", url], &[]);
        assert!(!shown.contains(secret), "{shown}");
        let shown = all_that_is_shown(&[], &[("SIDELOCK_REDIS_URL", url)]);
        assert!(!shown.contains(secret), "{shown}");
    }
    let shown = all_that_is_shown(&["--redis", &redis.url(), "--redis-password-file", &file.path()], &[]);
    assert!(shown.contains("WRONGPASS") && !shown.contains(secret), "{shown}");

    // Settings that are refused are quoted with care, too.
    for url in [
        format!("redis://:{secret}@h:port"),
        format!("http://:{secret}@h"),
        format!("rediss://:{secret}@h/#insecure"),
    ] {
        for verb in [&["config", "check"][..], &["serve"], &["doctor"]] {
            let (code, text) = run(command(verb.iter().chain(&["--redis", &url])));
            assert!(code != 0 && !text.contains(secret), "{text}");
        }
    }
    let key = key.to_string_lossy().into_owned();
    let (code, text) = run(command([
        "config",
        "check",
        "--redis",
        "rediss://h",
        "--redis-cert-file",
        &key,
        "--redis-key-file",
        &key,
    ]));
    assert!(code == 2 && text.contains("no certificate") && !text.contains(secret), "{text}");
}
