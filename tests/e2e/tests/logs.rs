//! What a sidecar writes into its log: for machines, if they want it, and who is in the way of a wait that lasts.

use rustix::process::Signal;
use serde_json::Value;
use sidelock_e2e::folder;
use sidelock_e2e::http;
use sidelock_e2e::process::Process;
use sidelock_e2e::redis::Redis;
use sidelock_e2e::sidecar::{Sidecar, fence};
use std::path::Path;
use std::thread;

/// Longer than a wait may last without a line about it.
const WAIT: &str = r#"{"wait":"2s"}"#;

/// A wait that lasts, until `seen` has what it waits for.
fn while_waiting<T>(socket: &Path, key: &str, seen: impl FnOnce() -> T) -> T {
    thread::scope(|scope| {
        let wait = scope.spawn(move || http::request(socket, "POST", &format!("/v1/locks/{key}"), WAIT));
        let found = seen();
        assert_eq!(wait.join().expect("it is answered").code(), "wait_timeout");
        found
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
    let line = while_waiting(&socket, "orders/42", || {
        sidecar.line("that somebody waits for long", |line| line.contains("slow_wait"))
    });
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

#[test]
fn a_wait_that_lasts_names_who_holds_the_key_here_and_elsewhere() {
    let redis = Redis::start();
    let (here, elsewhere) = (Sidecar::connected_to(&redis), Sidecar::connected_to(&redis));
    let held = here.lock("k", r#"{"owner":"import"}"#);
    let says = |of: &Sidecar, who: &str| {
        let line = while_waiting(of.socket(), "k", || {
            of.line("that somebody waits for long", |line| line.contains("slow_wait"))
        });
        assert!(line.contains("key=k") && line.contains(who), "{line}, and not {who}");
    };
    says(&here, &format!("fence {}", fence(&held)));
    let sidecar = here.get("/v1/info").json()["incarnation"].as_str().expect("it has a name").to_owned();
    says(&elsewhere, &format!("sidecar {sidecar}"));
    here.unlock(&held);
    assert!(
        !here.output().contains(held["lease"].as_str().expect("an id")),
        "a lease's secret is in the log"
    );
}
