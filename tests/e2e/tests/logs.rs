//! What a sidecar writes into its log: for machines, if they want it, and who is in the way of a wait that lasts.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use sidelock_e2e::PATIENCE;
use sidelock_e2e::folder;
use sidelock_e2e::http;
use sidelock_e2e::process::{Process, until};
use sidelock_e2e::redis::Redis;
use sidelock_e2e::sidecar::{Sidecar, fence};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Stdio;
use std::thread;

/// Far longer than a wait may last without a line about it.
const WAIT: &str = r#"{"wait":"30s"}"#;

/// A wait that lasts, until `seen` has what it waits for and `free` has freed the key: that, and the lease.
fn while_waiting<T>(socket: &Path, key: &str, seen: impl FnOnce() -> T, free: impl FnOnce()) -> (T, Value) {
    thread::scope(|scope| {
        let wait = scope.spawn(move || http::request(socket, "POST", &format!("/v1/locks/{key}"), WAIT));
        let found = seen();
        free();
        let answer = wait.join().expect("it is answered");
        assert_eq!(answer.status, 200, "{answer:?}");
        (found, answer.json())
    })
}

#[test]
fn lines_for_machines_are_json() {
    let place = folder();
    let socket = place.path().join("sidelock.sock");
    let mut command = Sidecar::command(&socket, &["--store", "memory"]);
    command.env("SIDELOCK_LOG_FORMAT", "json");
    let mut sidecar = Process::spawn(command);
    sidecar.line("that it serves", |line| line.starts_with("sidelock serves at"));
    let held = http::request(&socket, "POST", "/v1/locks/orders/42", r#"{"owner":"import"}"#).json();
    let lease = format!("/v1/leases/{}", held["lease"].as_str().expect("an id"));
    let (line, _) = while_waiting(
        &socket,
        "orders/42",
        || sidecar.line("that somebody waits for long", |line| line.contains("slow_wait")),
        || assert_eq!(http::request(&socket, "DELETE", &lease, "").status, 204),
    );
    let line: Value = serde_json::from_str(&line).expect("a document");
    let (fields, by) = (&line["fields"], line["fields"]["by"].as_str().unwrap_or_default());
    assert_eq!((&line["level"], &fields["key"]), (&"WARN".into(), &"orders/42".into()), "{line}");
    let uid = rustix::process::getuid().as_raw();
    for part in [format!("uid {uid}"), "import".to_owned(), format!("fence {}", fence(&held))] {
        assert!(by.contains(&part), "{part} in {line}");
    }
    assert!(line["timestamp"].is_string() && fields["session"].is_number(), "{line}");
    sidecar.signal(Signal::TERM);
    sidecar.line("that it drains", |line| line.contains("drain"));
    sidecar.signal(Signal::TERM);
    sidecar.code();
    let output = sidecar.output();
    // The greeting is for people, and on the other stream.
    let people = |line: &&str| line.starts_with("sidelock serves at") || line.contains("curl ");
    let log: Vec<&str> = output.lines().filter(|line| !people(line)).collect();
    for line in &log {
        assert!(serde_json::from_str::<Value>(line).is_ok(), "{line}");
    }
    assert!(log.len() >= 3, "{output}");
}

/// Templates write what they have no value for.
#[test]
fn empty_variables_are_unset() {
    let place = folder();
    let mut command = Sidecar::command(&place.path().join("sidelock.sock"), &[]);
    for variable in ["SIDELOCK_LOG", "SIDELOCK_CONFIG", "SIDELOCK_STORE", "SIDELOCK_REDIS"] {
        command.env(variable, "");
    }
    let mut sidecar = Process::spawn(command);
    sidecar.line("that it serves", |line| line.starts_with("sidelock serves at"));
    sidecar.signal(Signal::TERM);
    sidecar.line("what is worth a line", |line| line.contains("INFO") && line.contains("drain"));
    assert_eq!(sidecar.code(), 0, "{}", sidecar.output());
}

#[test]
fn a_wait_that_lasts_names_who_holds_the_key_here_and_elsewhere() {
    let redis = Redis::start();
    let (here, elsewhere) = (Sidecar::connected_to(&redis), Sidecar::connected_to(&redis));
    let says = |of: &Sidecar, held: &Value, who: &str| {
        let (line, lease) = while_waiting(
            of.socket(),
            "k",
            || of.line("that somebody waits for long", |line| line.contains("slow_wait")),
            || here.unlock(held),
        );
        assert!(line.contains(r#"key="k""#) && line.contains(who), "{line}, and not {who}");
        of.unlock(&lease);
        let secret = held["lease"].as_str().expect("an id");
        assert!(!here.output().contains(secret), "a lease's secret is in the log");
    };
    let held = here.lock("k", r#"{"owner":"import"}"#);
    says(&here, &held, &format!("fence {}", fence(&held)));
    let sidecar = here.get("/v1/info").json()["incarnation"].as_str().expect("it has a name").to_owned();
    let held = here.lock("k", r#"{"owner":"import","wait":"5s"}"#);
    says(&elsewhere, &held, &format!("sidecar {sidecar}"));
}

/// A key is any text, and what is in the log is ours to say.
#[test]
fn a_key_is_a_string_in_the_log() {
    let sidecar = Sidecar::on_memory();
    let answer = sidecar.request("POST", "/v1/locks/x%0A1970%20WARN%20forged%1B%5B2J", r#"{"ttl":"100ms"}"#);
    assert_eq!(answer.status, 200, "{answer:?}");
    let line = sidecar.line("that it is lost", |line| line.contains("lease_lost"));
    assert!(line.contains(r#"key="x\n1970 WARN forged\u{1b}[2J""#), "{line}");
    assert!(!sidecar.output().lines().any(|line| line.starts_with("1970")), "{}", sidecar.output());
}

/// As after `serve 2>&1 | head`, and when a terminal is closed: what it does is for others than whoever reads that.
#[test]
fn a_sidecar_serves_though_nobody_reads_what_it_says() {
    let place = folder();
    let socket = place.path().join("sidelock.sock");
    let mut command = Sidecar::command(&socket, &["--store", "memory"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut sidecar = command.spawn().expect("it starts");
    drop((sidecar.stdout.take(), sidecar.stderr.take()));
    let (held, _) = until(PATIENCE, "it serves", || {
        UnixStream::connect(&socket).ok()?;
        Some(http::request(&socket, "POST", "/v1/locks/k", ""))
    });
    let pid = Pid::from_child(&sidecar);
    for _ in 0..3 {
        kill_process(pid, Signal::HUP).expect("it is there");
        assert_eq!(http::request(&socket, "GET", "/v1/info", "").status, 200);
    }
    assert_eq!(held.status, 200, "{held:?}");
    let lease = held.json()["lease"].as_str().expect("it has an id").to_owned();
    kill_process(pid, Signal::TERM).expect("it is there");
    let (released, _) = until(PATIENCE, "it drains", || {
        let answer = http::request(&socket, "POST", "/v1/locks/other", "");
        (answer.code() == "draining")
            .then(|| http::request(&socket, "DELETE", &format!("/v1/leases/{lease}"), ""))
    });
    assert_eq!(released.status, 204, "{released:?}");
    assert!(sidecar.wait().expect("it is ours").success());
}

#[test]
fn a_reload_says_what_it_does_not_take_over() {
    let place = folder();
    let settings = place.path().join("settings.toml");
    std::fs::write(&settings, "namespace = \"one\"\n").expect("our folder");
    let socket = place.path().join("sidelock.sock");
    let config = settings.to_string_lossy().into_owned();
    let sidecar = Sidecar::at(&socket, &["--store", "memory", "--config", &config]);
    let nobody = rustix::process::getuid().as_raw() + 1;
    let other = format!("namespace = \"two\"\nallow_uid = [{nobody}]\nlimits.sessions_max = 7\n");
    std::fs::write(&settings, other).expect("our folder");
    sidecar.signal(Signal::HUP);
    sidecar.line("that it reloaded", |line| line.contains("reloaded"));
    let output = sidecar.output();
    let kept: Vec<&str> = output.lines().filter(|line| line.contains("stays as it was")).collect();
    assert!(
        kept.len() == 1 && kept[0].contains("namespace stays as it was: that needs a restart"),
        "{output}"
    );
    assert_eq!(sidecar.get("/v1/info").code(), "peer_refused", "who may connect is taken over");
}
