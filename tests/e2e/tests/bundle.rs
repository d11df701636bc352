//! `sidelock doctor --bundle`: enough for somebody else to see what is wrong, and nothing that would let them in.

use serde_json::Value;
use sidelock_e2e::process::run;
use sidelock_e2e::redis::Redis;
use sidelock_e2e::sidecar::{Sidecar, command};
use sidelock_e2e::{folder, process};
use std::path::Path;
use std::thread;

const SECRET: &str = "hunter2-is-no-password";

/// Doctor with these arguments and variables, and a bundle in this file: the exit code, what it said, and the bundle's text.
fn bundled(to: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> (i32, String, String) {
    let path = to.to_string_lossy();
    let mut doctor = command(["doctor", "--bundle", &path].iter().chain(arguments));
    doctor.envs(variables.iter().copied());
    let (code, said) = run(doctor);
    let text = std::fs::read_to_string(to).unwrap_or_else(|error| panic!("no bundle: {error}: {said}"));
    (code, said, text)
}

fn read(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text}"))
}

#[test]
fn it_shows_settings_verdicts_and_what_the_sidecar_does_just_now() {
    let (place, redis) = (folder(), Redis::start());
    let settings = place.path().join("sidelock.toml");
    std::fs::write(&settings, format!("[redis]\nurl = [\"{}\"]\n[tenure]\nttl = \"7s\"\n", redis.url()))
        .expect("our folder");
    let sidecar = Sidecar::with(&["--config", &settings.to_string_lossy()]);
    sidecar.await_store();
    sidecar.lock("orders/42", r#"{"owner":"import"}"#);
    let waiting = || sidecar.request("POST", "/v1/locks/orders/42", r#"{"owner":"report","wait":"20s"}"#);
    thread::scope(|scope| {
        let waits = scope.spawn(waiting);
        process::until(sidelock_e2e::PATIENCE, "it waits", || {
            (sidecar.get("/v1/info").json()["waiters"] == 1).then_some(())
        });
        let socket = sidecar.socket().to_string_lossy().into_owned();
        let (code, said, text) = bundled(
            &place.path().join("bundle.json"),
            &["--config", &settings.to_string_lossy(), "--socket", &socket],
            &[],
        );
        assert!(code == 0 && said.contains("persistence"), "the report is shown as ever: {said}");
        let bundle = read(&text);
        assert_eq!(bundle["settings"]["tenure"]["ttl"], "7s", "{text}");
        assert_eq!(bundle["version"], bundle["sidecar"]["info"]["version"], "{text}");
        assert_eq!(bundle["sidecar"]["info"]["store"], "redis", "{text}");
        assert_eq!(bundle["report"]["fit"], true, "{text}");
        let checks = bundle["report"]["checks"].as_array().expect("a list");
        assert!(checks.iter().any(|check| check["check"] == "eviction"), "{text}");
        let metrics = bundle["sidecar"]["metrics"].as_array().expect("lines");
        for metric in ["sidelock_waiters 1", "sidelock_store_up 1"] {
            assert!(metrics.iter().any(|line| line == metric), "{metric} in {text}");
        }
        assert_eq!(bundle["sidecar"]["keys"]["keys"][0]["key"], "orders/42", "{text}");
        assert!(bundle["sidecar"]["keys_of_the_fleet"].to_string().contains("orders/42"), "{text}");
        let waits_for = &bundle["sidecar"]["graph"]["waits"][0];
        assert_eq!(
            (&waits_for["owner"], &waits_for["key"]),
            (&"report".into(), &"orders/42".into()),
            "{text}"
        );
        let (code, text) = sidecar.verb(["force-unlock", "orders/42", "--reason", "test"]);
        assert_eq!(code, 0, "{text}");
        assert_eq!(waits.join().expect("it is answered").status, 200);
    });
}

#[test]
fn no_secret_is_in_it_wherever_it_was_given() {
    let place = folder();
    let file = |name: &str| {
        let path = place.path().join(name);
        std::fs::write(&path, format!("{SECRET}\n")).expect("our folder");
        path.to_string_lossy().into_owned()
    };
    let (password, key) = (file("password"), file("tls.key"));
    let redis = Redis::with_password(SECRET);
    let loopback = Redis::on_loopback();
    let sidecar = Sidecar::with(&["--redis", &redis.url(), "--redis-password-file", &password]);
    sidecar.await_store();
    let held = sidecar.lock("k", r#"{"owner":"import"}"#);
    let token = held["lease"].as_str().expect("a lease has an id");
    let socket = sidecar.socket().to_string_lossy().into_owned();
    let in_socket_url = format!("{}?user=u&pass={SECRET}", redis.url());
    let with_user = loopback.url().replace("redis://", &format!("redis://user:{SECRET}@"));
    let with_tls = with_user.replace("redis://", "rediss://");
    let given: [&[(&str, &str)]; 5] = [
        &[("SIDELOCK_REDIS_URL", &redis.url()), ("SIDELOCK_REDIS_PASSWORD_FILE", &password)],
        &[("SIDELOCK_REDIS_URL", &in_socket_url)],
        &[("SIDELOCK_REDIS_URL", &with_user)],
        &[
            ("SIDELOCK_REDIS_URL", &with_tls),
            ("SIDELOCK_REDIS_CERT_FILE", &key),
            ("SIDELOCK_REDIS_KEY_FILE", &key),
        ],
        &[
            ("SIDELOCK_REDIS_URL", &with_user),
            ("SIDELOCK_REDIS_MODE", "sentinel"),
            ("SIDELOCK_REDIS_SENTINEL_PASSWORD_FILE", &password),
        ],
    ];
    for (number, variables) in given.into_iter().enumerate() {
        let to = place.path().join(format!("{number}.json"));
        let (_, said, text) = bundled(&to, &["--socket", &socket], variables);
        assert!(text.contains("import") && text.contains("sidelock_store_up 1"), "it was asked: {text}");
        for secret in [SECRET, token] {
            assert!(!text.contains(secret) && !said.contains(secret), "{secret} in {text} or {said}");
        }
        let url = &read(&text)["settings"]["redis"]["url"];
        let hidden = variables[0].1.contains(SECRET);
        assert_eq!(url.to_string().contains("***"), hidden, "that there is a password is shown: {url}");
    }
    sidecar.unlock(&held);
}

#[test]
fn without_a_sidecar_or_settings_it_says_why() {
    let place = folder();
    let to = |name: &str| place.path().join(name);
    let nowhere = to("nowhere.sock");
    let (code, _, text) = bundled(&to("a"), &["--socket", &nowhere.to_string_lossy()], &[]);
    assert_eq!(code, 1);
    let why = &read(&text)["sidecar"]["graph"]["unknown"];
    assert!(why.as_str().is_some_and(|why| why.contains("nowhere.sock")), "{text}");

    let redis = Redis::start();
    let (code, _, text) = bundled(&to("b"), &["--redis", &redis.url()], &[]);
    assert!(code == 0 && read(&text)["sidecar"]["unknown"].is_string(), "{text}");

    std::fs::write(to("bad.toml"), "[tenur]\n").expect("our folder");
    let (code, _, text) = bundled(&to("c"), &["--config", &to("bad.toml").to_string_lossy()], &[]);
    let why = read(&text)["settings"]["unknown"].to_string();
    assert!(code == 1 && why.contains("tenur"), "{text}");
}

#[test]
fn standard_output_is_a_place_for_it() {
    let redis = Redis::start();
    let (code, text) = run(command(["doctor", "--bundle", "-", "--redis", &redis.url()]));
    assert_eq!(code, 0, "{text}");
    assert_eq!(read(&text)["report"]["fit"], true);
}
