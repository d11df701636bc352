//! Policies in a real sidecar: what they deny, change and count, through every door; that a slow or broken one is nobody
//! else's trouble; that a new version replaces the old without losing a request.
//!
//! The guests are those of the host's own tests, written by hand. What a policy may answer is decided there; here it is
//! what becomes of it.

#[path = "../../../sidecar/policy/tests/host/guest.rs"]
#[expect(dead_code, reason = "the host's own tests need more of it")]
mod guest;

use guest::Guest;
use rustix::process::Signal;
use serde_json::Value;
use sidelock_client::{Client, Code, Error};
use sidelock_e2e::frames::{Peer, hello, try_lock};
use sidelock_e2e::process::{Process, run, until};
use sidelock_e2e::sidecar::Sidecar;
use sidelock_e2e::steady::Asking;
use sidelock_e2e::{PATIENCE, folder, http};
use sidelock_wire::{Acquire, AcquireAll, Register, RegisterAct, ToClient, ToSidecar};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// Guests in a folder, and what the settings say of each.
struct Policies {
    folder: tempfile::TempDir,
    settings: String,
}

impl Policies {
    fn new() -> Policies {
        Policies { folder: folder(), settings: String::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.wasm"))
    }

    /// One more, with lines of its `[[policy]]`.
    fn with(mut self, name: &str, guest: &Guest, lines: &str) -> Policies {
        self.write(name, guest);
        let path = self.path(name);
        let _ = writeln!(self.settings, "[[policy]]\npath = \"{}\"\n{lines}", path.display());
        self
    }

    /// As programs do it who want nobody to read half a file.
    fn write(&self, name: &str, guest: &Guest) {
        let new = self.folder.path().join("new");
        std::fs::write(&new, guest.policy()).expect("our folder");
        std::fs::rename(new, self.path(name)).expect("our folder");
    }

    fn sidecar(&self) -> Sidecar {
        Sidecar::configured(&self.settings, &["--store", "memory"])
    }
}

fn frozen() -> Guest {
    Guest::new().denies_after("frozen", "until Monday", Some(90_000))
}

const FOREVER: &str = "(loop $l (br $l))";

/// All that 32 bits can name is reserved for each memory, where there is room; two hundred and fifty-six GiB are not.
#[test]
fn policies_are_asked_where_address_space_is_scarce() {
    let policies = Policies::new().with("freeze", &frozen(), "");
    let settings = policies.folder.path().join("settings.toml");
    std::fs::write(&settings, &policies.settings).expect("our folder");
    let (socket, settings) = (policies.folder.path().join("s.sock"), settings.to_string_lossy());
    let serve = Sidecar::command(&socket, &["--store", "memory", "--config", &settings]);
    let mut command = Command::new("sh");
    command.args(["-c", r#"ulimit -v 268435456 && exec "$0" "$@""#]);
    command.arg(serve.get_program()).args(serve.get_args());
    let sidecar = Sidecar::started(command, &socket);
    assert_eq!(sidecar.request("POST", "/v1/locks/k", "").code(), "denied");
}

#[test]
fn a_denial_names_the_policy_through_every_door() {
    let sidecar = Policies::new().with("freeze", &frozen(), "match = [\"pay/**\"]").sidecar();
    let says = "policy freeze: until Monday";

    let answer = sidecar.request("POST", "/v1/locks/pay/1", "");
    let problem = answer.json();
    assert_eq!((answer.status, answer.code().as_str()), (403, "denied"), "{answer:?}");
    assert_eq!(
        (problem["policy"].as_str(), problem["reason_code"].as_str()),
        (Some("freeze"), Some("frozen"))
    );
    assert_eq!((problem["retry_after"].as_f64(), answer.header("retry-after")), (Some(90.0), Some("90")));
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.starts_with(says)), "{answer:?}");
    let streamed = sidecar.request("POST", "/v1/locks/pay/1?stream=1", "");
    assert_eq!((streamed.status, streamed.code().as_str()), (403, "denied"), "{streamed:?}");
    let several = sidecar.request("POST", "/v1/locks", r#"{"keys":["free","pay/1"]}"#);
    assert_eq!((several.status, several.code().as_str()), (403, "denied"), "{several:?}");
    let once = sidecar.request("POST", "/v1/once/pay/1", r#"{"per":"1h"}"#);
    assert_eq!((once.status, once.code().as_str()), (403, "denied"), "{once:?}");

    let mut peer = Peer::greeted(sidecar.socket());
    let (code, message) = peer.answer(try_lock(1, "pay/1"));
    assert!(code == "denied" && message.starts_with(says), "{code}: {message}");
    assert_eq!(peer.acquires(try_lock(2, "free")), "granted", "nobody asked about it");

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let refused = runtime.block_on(async {
        let client = Client::builder().socket(sidecar.socket()).connect().await.expect("it serves");
        client.lock("pay/1").await.expect_err("it is denied")
    });
    let Error::Denied(refusal) = &refused else { panic!("{refused:?}") };
    let denial = refusal.denial.as_ref().expect("it says whose no it is");
    assert_eq!((refusal.code, &*denial.policy, &*denial.reason_code), (Code::Denied, "freeze", "frozen"));
    assert_eq!(refused.retry_after(), Some(Duration::from_secs(90)));

    let (code, said) = sidecar.verb(["run", "pay/1", "--", "true"]);
    assert!(code == 4 && said.contains(says), "{code}: {said}");
    let (_, why) = sidecar.verb(["why", "pay/1"]);
    assert!(why.contains("freeze") && why.contains("frozen") && why.contains("until Monday"), "{why}");
    let metrics = sidecar.get("/metrics").body;
    let counted = r#"sidelock_policy_decisions_total{policy="freeze",verdict="deny",mode="enforce"} 7"#;
    assert!(metrics.contains(counted), "{metrics}");
    assert!(metrics.contains(r#"outcome="denied""#), "{metrics}");
    assert_eq!(sidecar.get("/v1/info").json()["leases"], 1, "nothing was granted but what is free");
}

#[test]
fn what_a_policy_changes_is_what_is_granted() {
    let policies = Policies::new()
        .with("lane", &Guest::new().edits_key("real"), "match = [\"alias\"]")
        .with("patience", &Guest::new().edits_wait(0), "match = [\"hot\"]")
        .with("crowd", &Guest::new().edits_max_waiters(1), "match = [\"short\", \"short/*\"]")
        .with("watcher", &frozen(), "match = [\"real\"]\nmode = \"monitor\"");
    let sidecar = policies.sidecar();
    let lease = sidecar.lock("alias", "{}");
    assert_eq!(lease["key"], "real");
    let held = sidecar.request("POST", "/v1/locks/real", "");
    assert_eq!(held.code(), "held", "two names, one lock");
    for keys in [r#"["alias"]"#, r#"["alias","alias"]"#] {
        let only = sidecar.request("POST", "/v1/locks", &format!(r#"{{"keys":{keys}}}"#));
        assert_eq!(only.code(), "held", "several keys that are one: {only:?}");
    }
    let (_, why) = sidecar.verb(["why", "alias"]);
    assert!(why.contains("lane") && why.contains("changed"), "{why}");

    sidecar.lock("hot", "{}");
    let start = Instant::now();
    assert_eq!(sidecar.request("POST", "/v1/locks/hot", r#"{"wait":"1m"}"#).code(), "held");
    assert!(start.elapsed() < Duration::from_secs(30));

    let mut peer = Peer::greeted(sidecar.socket());
    assert_eq!(peer.acquires(try_lock(1, "short")), "granted");
    peer.say(&ToSidecar::Acquire(Acquire { wait: None, notify_queued: true, ..try_lock(2, "short") }));
    assert!(peer.hears("that it waits", |told| matches!(told, ToClient::Queued { request: 2, .. })));
    let (code, message) = peer.answer(Acquire { wait: None, ..try_lock(3, "short") });
    assert!(code == "queue_full" && message.contains("a policy lets no more wait"), "{code}: {message}");
    let mine = |request| Acquire { owner: Some("o"), reentrant: true, ..try_lock(request, "short/mine") };
    assert_eq!(peer.acquires(mine(4)), "granted");
    peer.say(&ToSidecar::Acquire(Acquire { wait: None, notify_queued: true, ..try_lock(5, "short/mine") }));
    assert!(peer.hears("that it waits", |told| matches!(told, ToClient::Queued { request: 5, .. })));
    assert_eq!(peer.acquires(mine(6)), "granted", "who enters its own lock again does not queue");
    assert_eq!(peer.acquires(try_lock(7, "short")), "held", "who does not wait joins no queue");
    let metrics = sidecar.get("/metrics").body;
    for verdict in [
        r#"policy="lane",verdict="edit",mode="enforce"} 3"#,
        r#"policy="watcher",verdict="deny",mode="monitor"} 4"#,
    ] {
        assert!(metrics.contains(verdict), "{verdict} is missing in {metrics}");
    }
}

#[test]
fn a_policy_is_asked_about_its_operations_and_no_others() {
    let ops = "ops = [\"renew\", \"release\", \"force\", \"register-write\"]";
    let sidecar = Policies::new().with("keeper", &frozen(), ops).sidecar();
    let lease = sidecar.lock("k", "{}");
    let path = format!("/v1/leases/{}", lease["lease"].as_str().expect("an id"));
    let renewed = sidecar.request("PUT", &path, r#"{"ttl":"1m"}"#);
    assert_eq!((renewed.status, renewed.code().as_str()), (403, "denied"), "{renewed:?}");
    assert_eq!(sidecar.get(&path).status, 200, "it stands as it did");
    let written = sidecar.request("PUT", "/v1/registers/r", "v");
    assert_eq!((written.status, written.code().as_str()), (403, "denied"), "{written:?}");
    assert_eq!(sidecar.get("/v1/registers/r").code(), "not_found", "to read is no write");
    let (code, said) = sidecar.verb(["force-unlock", "k", "--reason", "a test"]);
    assert!(code == 4 && said.contains("policy keeper"), "{code}: {said}");
    assert_eq!(sidecar.request("DELETE", &path, "").status, 204, "nobody is made to keep a lease");
    assert_eq!(sidecar.request("POST", "/v1/locks/k", "").status, 200, "it is free");
}

/// A guest that never returns is stopped at its deadline, on a thread of its own. Whoever asks for other keys does not
/// notice; whoever gives up is answered at once; whoever hangs up is forgotten.
#[test]
fn a_policy_that_is_slow_is_nobody_elses_trouble() {
    let slow = Guest::new().admit(FOREVER);
    // What is to be undecided all the while has far more time than the rest of it takes.
    let policies = Policies::new().with("slow", &slow, "match = [\"slow/**\"]\ndeadline = \"5s\"");
    let policies = policies.with("late", &slow, "match = [\"late/**\"]\ndeadline = \"400ms\"");
    let sidecar = policies.sidecar();
    let mut asking = Peer::greeted(sidecar.socket());
    asking.say(&ToSidecar::Acquire(Acquire { wait: None, ..try_lock(1, "slow/1") }));
    asking.say(&ToSidecar::Ping);
    assert!(asking.hears("that it is asked", |told| matches!(told, ToClient::Pong { .. })));
    let mut gone = Peer::greeted(sidecar.socket());
    gone.say(&ToSidecar::Acquire(Acquire { wait: None, ..try_lock(1, "slow/2") }));
    gone.say(&ToSidecar::Acquire(Acquire { wait: None, ..try_lock(2, "late/2") }));
    drop(gone);
    let mut other = Peer::greeted(sidecar.socket());
    for request in 1..=100 {
        assert_eq!(other.acquires(try_lock(request, &format!("free/{request}"))), "granted");
    }
    // Who is told that it is given up was not decided on yet: the hundred did not wait for it.
    asking.say(&ToSidecar::Cancel { request: 1 });
    assert!(asking.hears("that it is given up", |told| matches!(told, ToClient::Cancelled { request: 1 })));
    let (code, message) = asking.answer(Acquire { wait: None, ..try_lock(2, "late/1") });
    assert!(code == "denied" && message.contains("could not decide (deadline)"), "{code}: {message}");
    let failed = r#"sidelock_policy_errors_total{policy="late",limit="deadline"} 2"#;
    let both = || sidecar.get("/metrics").body.contains(failed).then_some(());
    until(PATIENCE, "whose client had gone before it was decided counts, too", both);
    let metrics = sidecar.get("/metrics").body;
    assert!(
        metrics.lines().any(|line| line.contains("sidelock_requests_total") && line.contains("cancelled")),
        "{metrics}"
    );
    assert_eq!(sidecar.get("/v1/info").json()["leases"], 100, "nothing of it is left");
}

/// A holder that sleeps when the answer comes goes on until the deadline that it was told before.
#[test]
fn a_renewal_that_is_cut_short_takes_nothing_of_what_was_told() {
    let shorter = Guest::new().edits_ttl(2_000);
    let sidecar = Policies::new().with("shorter", &shorter, "ops = [\"renew\"]").sidecar();
    let lease = sidecar.lock("k", r#"{"ttl":"20s"}"#);
    let path = format!("/v1/leases/{}", lease["lease"].as_str().expect("a lease has an id"));
    let expires_in = |answer: http::Answer| answer.json()["expires_in"].as_f64().expect("seconds");
    let kept = expires_in(sidecar.request("PUT", &path, r#"{"ttl":"1m"}"#));
    assert!(
        (15.0..=20.0).contains(&kept),
        "{kept} s of 20: neither what was asked for, nor less than before"
    );
    // Who asks for less knows.
    let less = expires_in(sidecar.request("PUT", &path, r#"{"ttl":"5s"}"#));
    assert!(less <= 5.0, "{less} s");
}

/// Several keys are one request, and its number is the first.
#[test]
fn who_gives_up_one_of_several_keys_has_not_given_up_the_request() {
    let slow = Guest::new().admit(FOREVER);
    let lines = "deadline = \"300ms\"\non_error = \"abstain\"";
    let sidecar = Policies::new().with("slow", &slow, lines).sidecar();
    let mut peer = Peer::greeted(sidecar.socket());
    let all = AcquireAll { first: try_lock(1, "a"), others: vec![(2, &b"b"[..])] };
    peer.say(&ToSidecar::AcquireAll(all));
    peer.say(&ToSidecar::Cancel { request: 2 });
    let granted = |told: &ToClient<'_>| matches!(told, ToClient::GrantedAll { request: 1, .. });
    assert!(peer.hears("that it has both", granted));
}

/// How many may be undecided is bounded as waiting is.
#[test]
fn undecided_requests_have_a_bound() {
    let slow = Guest::new().admit(FOREVER);
    let mut policies = Policies::new().with("slow", &slow, "deadline = \"1s\"");
    policies.settings.push_str("[limits]\nin_flight_per_session_max = 2\n");
    let sidecar = policies.sidecar();
    let mut peer = Peer::greeted(sidecar.socket());
    for request in 1..=3 {
        peer.say(&ToSidecar::Acquire(try_lock(request, "k")));
    }
    let (code, message) = peer.refusal(3);
    assert!(code == "too_many" && message.contains("in_flight_per_session_max"), "{code}: {message}");
}

/// Between two requests of those who ask while policies are replaced: without a pause they keep the processors from who compiles.
const GAP: Duration = Duration::from_millis(1);

#[test]
fn a_new_version_replaces_the_old_while_requests_go_on() {
    let policies = Policies::new().with("gate", &Guest::new(), "");
    let sidecar = policies.sidecar();
    let asking = ["one", "other"].map(|key| Asking::begin(sidecar.socket(), key, GAP));
    for round in 0..6 {
        let denies = round % 2 == 0;
        policies.write("gate", &if denies { frozen() } else { Guest::new() });
        let start = Instant::now();
        let expected = if denies { 403 } else { 200 };
        let mut number = 0;
        let asks = |number: u32| sidecar.request("POST", &format!("/v1/locks/r{round}/{number}"), "").status;
        let decided_anew = || {
            number += 1;
            (asks(number) == expected).then_some(())
        };
        until(PATIENCE, "it decides anew", decided_anew);
        assert!(start.elapsed() < Duration::from_secs(2), "after {:?}", start.elapsed());
    }
    for asked in asking.map(Asking::end) {
        assert!(asked.requests > 50 && asked.lost == 0, "{asked:?}");
    }
}

/// Twenty new versions a second, each asked for by a signal.
#[test]
fn a_storm_of_new_versions_loses_no_request() {
    const RELOADS: u64 = 60;
    const REQUESTS: u64 = 1_000;
    let policies = Policies::new().with("gate", &Guest::new(), "");
    let sidecar = policies.sidecar();
    let count = |result: &str| {
        let metrics = sidecar.get("/metrics").body;
        let name = format!("sidelock_policy_loads_total{{result=\"{result}\"}} ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&name)).map(str::to_owned);
        line.map_or(0, |count| count.parse::<u64>().expect("a number"))
    };
    let asking = Asking::begin(sidecar.socket(), "k", GAP);
    let (begun, mut reloads) = (Instant::now(), 0);
    // A slow machine takes longer for so many.
    while reloads < RELOADS || count("loaded") <= RELOADS / 2 || asking.so_far() <= REQUESTS {
        assert!(reloads < RELOADS * 3, "{} of {reloads}, {}", count("loaded"), asking.so_far());
        policies.write("gate", &if reloads % 2 == 0 { frozen() } else { Guest::new() });
        sidecar.signal(Signal::HUP);
        reloads += 1;
        let next = begun + Duration::from_millis(50) * u32::try_from(reloads).expect("few");
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    let asked = asking.end();
    println!("measured: {asked:?}, {} of {reloads} versions in force one after another", count("loaded"));
    assert!(asked.requests > REQUESTS && asked.lost == 0, "{asked:?}");
    assert!(count("loaded") > RELOADS / 2, "{} of {reloads}", count("loaded"));
    assert_eq!(count("refused"), 0);
}

/// A version that fails the tests that it brings along is not taken.
#[test]
fn a_version_that_fails_its_own_tests_keeps_the_old_one() {
    let policies = Policies::new().with("gate", &frozen(), "");
    let sidecar = policies.sidecar();
    let cases = "[[case]]\nname = \"nobody passes\"\nexpect = { deny = \"frozen\" }\n";
    let lax = sidelock_policy::cases::embed(Guest::new().policy(), "gate.case.toml", cases);
    std::fs::write(policies.path("gate"), lax).expect("our folder");
    sidecar.line("which test it fails", |line| line.contains("nobody passes"));
    assert_eq!(sidecar.request("POST", "/v1/locks/k", "").code(), "denied");
}

/// Who traces the sidecar sees each question that a policy was asked, what came of it, and how long it took.
#[test]
fn a_decision_is_a_span_where_tracing_is_on() {
    let policies = Policies::new().with("gate", &frozen(), "match = [\"k\"]");
    let (file, socket) = (policies.folder.path().join("s.toml"), policies.folder.path().join("s.sock"));
    std::fs::write(&file, &policies.settings).expect("our folder");
    let mut command = Sidecar::command(&socket, &["--store", "memory"]);
    command.arg("--config").arg(&file).env("SIDELOCK_LOG", "info,sidelock_policy=debug");
    let sidecar = Process::spawn(command);
    sidecar.line("that it serves", |line| line.starts_with("sidelock serves at"));
    assert_eq!(http::request(&socket, "POST", "/v1/locks/k", "").code(), "denied");
    let span = |line: &str| line.contains("decision{policy=\"gate\"") && line.contains("verdict=\"deny\"");
    sidecar.line("the decision", |line| span(line) && line.contains("time.busy="));
}

/// Observers hear of grants, ends and denials, with who it was, and write what they make of it; what is left when the sidecar
/// ends is written too.
#[test]
fn observers_are_told_what_happened() {
    let mut policies = Policies::new().with("freeze", &frozen(), "match = [\"pay/**\"]");
    // Of each event it writes the kind, the key and the app; an event has 80 bytes.
    let emit = |at: u32| {
        format!(
            "(call $emit (i32.load offset={at} (local.get $events)) (i32.load offset={} (local.get $events)))",
            at + 4
        )
    };
    let told = Guest::new().admit(&format!(
        "(loop $again (if (i32.lt_u (local.get $i) (local.get $len)) (then
           {} {} {}
           (local.set $events (i32.add (local.get $events) (i32.const 80)))
           (local.set $i (i32.add (local.get $i) (i32.const 1)))
           (br $again))))",
        emit(16),
        emit(24),
        emit(44)
    ));
    let (output, path) = (policies.folder.path().join("told"), policies.path("told"));
    std::fs::write(&path, told.observer()).expect("our folder");
    let (output_text, path) = (output.display().to_string(), path.display().to_string());
    let _ = writeln!(policies.settings, "[[policy]]\npath = \"{path}\"\noutput = \"{output_text}\"");
    let mut sidecar = policies.sidecar();
    let mut peer = Peer::greeted(sidecar.socket());
    assert_eq!(peer.acquires(try_lock(1, "a")), "granted");
    assert_eq!(peer.acquires(try_lock(2, "pay/1")), "denied");
    // It hangs up with the lease in its hands.
    drop(peer);
    until(PATIENCE, "the lease is gone", || (sidecar.get("/v1/info").json()["leases"] == 0).then_some(()));
    sidecar.signal(Signal::TERM);
    assert_eq!(sidecar.code(), 0);
    let lines = std::fs::read_to_string(output).expect("it was written");
    let lines: Vec<_> = lines.lines().collect();
    let app = hello().app;
    let expected =
        [["queued", "a", app], ["granted", "a", app], ["denied", "pay/1", app], ["released", "a", app]];
    assert_eq!(lines, expected.concat());
}

#[test]
fn a_version_that_is_no_policy_keeps_the_old_one_and_says_so() {
    let policies = Policies::new().with("gate", &frozen(), "");
    let sidecar = policies.sidecar();
    std::fs::write(policies.path("gate"), b"no wasm at all").expect("our folder");
    sidecar.line("that it is refused", |line| line.contains("the policies before stay in force"));
    assert_eq!(sidecar.request("POST", "/v1/locks/k", "").code(), "denied");
    let listing = sidecar.get("/v1/policies").json();
    assert_eq!((&listing["built_in"], &listing["policies"][0]["name"]), (&Value::Bool(true), &"gate".into()));
    assert!(listing["trouble"].as_str().is_some_and(|why| why.contains("gate")), "{listing}");
    let metrics = sidecar.get("/metrics").body;
    assert!(metrics.contains(r#"sidelock_policy_loads_total{result="refused"} 1"#), "{metrics}");
    policies.write("gate", &Guest::new());
    let start = Instant::now();
    while sidecar.request("POST", "/v1/locks/k", "").status != 200 {
        assert!(start.elapsed() < Duration::from_secs(5), "the next good one is not taken");
    }
    assert_eq!(sidecar.get("/v1/policies").json()["trouble"], Value::Null);
}

#[test]
fn a_sidecar_does_not_start_without_a_policy_that_it_was_given() {
    let policies = Policies::new().with("gate", &Guest::new(), "sha256 = \"00\"");
    let wrong_digest = policies.settings.clone();
    std::fs::write(policies.path("text"), b"no wasm at all").expect("our folder");
    for (settings, flags, says) in [
        (String::new(), vec!["--policy", "/nowhere/p.wasm"], "/nowhere/p.wasm"),
        (format!("[[policy]]\npath = \"{}\"\n", policies.path("text").display()), vec![], "text"),
        (wrong_digest, vec![], "sha256"),
        ("[[policy]]\npath = \"x\"\nonerror = \"deny\"\n".into(), vec![], "did you mean `on_error`?"),
    ] {
        let file = policies.folder.path().join("sidelock.toml");
        std::fs::write(&file, settings).expect("our folder");
        let file = file.to_string_lossy().into_owned();
        let mut flags = flags;
        flags.extend(["--config", &file]);
        let (code, said) = run(Sidecar::command(&policies.folder.path().join("s.sock"), &flags));
        assert!(code == 2 && said.contains(says), "{says}: {code}: {said}");
    }
}

/// A write of a register that is denied changes nothing, through frames too.
#[test]
fn a_denied_write_is_not_written() {
    let sidecar = Policies::new().with("keeper", &frozen(), "ops = [\"register-write\"]").sidecar();
    let mut peer = Peer::greeted(sidecar.socket());
    let act = RegisterAct::Put { condition: sidelock_wire::Condition::Any, value: b"v" };
    peer.say(&ToSidecar::Register(Register { request: 1, key: b"r", lease: None, act }));
    assert_eq!(peer.refusal(1).0, "denied");
    peer.say(&ToSidecar::Register(Register { request: 2, key: b"r", lease: None, act: RegisterAct::Get }));
    assert_eq!(peer.refusal(2).0, "not_found");
}
