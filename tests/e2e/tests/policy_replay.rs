//! Requests on record: what a sidecar writes of them, and that the same request has the same decision in the sidecar, in `policy
//! run` and in `policy replay`.

#[path = "../../../sidecar/policy/tests/host/guest.rs"]
#[expect(dead_code, reason = "the host's own tests need more of it")]
mod guest;

use guest::{Guest, request as at, store, store8};
use rustix::process::Signal;
use serde_json::Value;
use sidelock_e2e::process::{run, until};
use sidelock_e2e::sidecar::{self, Sidecar};
use sidelock_e2e::{PATIENCE, folder};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Where the moment is in a request, in milliseconds.
const UNIX_MS: u32 = 160;

/// Denies keys that begin with `x`, every other millisecond, and what is more than three in an hour.
fn fickle() -> Guest {
    let mut guest = Guest::new().wants(&["all/1h"]).counts("all");
    let list = format!("(i32.load offset={} (local.get $r))", at::KEYS);
    for (code, condition) in [
        (
            "quota",
            format!(
                "(i64.ge_u (i64.load offset=8 (i32.load offset={} (local.get $r))) (i64.const 3))",
                at::COUNTERS
            ),
        ),
        ("moment", format!("(i32.and (i32.load offset={UNIX_MS} (local.get $r)) (i32.const 1))")),
        ("key", format!("(i32.eq (i32.load8_u (i32.load {list})) (i32.const {}))", b'x')),
    ] {
        let (text, len) = guest.text(code);
        let deny = store8(0, 2) + &store(8, text) + &store(12, len);
        guest = guest.admit(&format!("(if {condition} (then {deny}))"));
    }
    guest
}

/// A folder with a record in it, and policies.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        Place(folder())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn log(&self) -> PathBuf {
        self.path("requests.ndjson")
    }

    fn policy(&self, folder: &str, guest: &Guest) -> PathBuf {
        let path = self.path(folder).join("gate.wasm");
        std::fs::create_dir(self.path(folder)).expect("our folder");
        std::fs::write(&path, guest.policy()).expect("our folder");
        path
    }

    /// A sidecar that keeps this record, with more settings.
    fn sidecar(&self, settings: &str) -> Sidecar {
        let settings = format!("policy_log = \"{}\"\n{settings}", self.log().display());
        Sidecar::configured(&settings, &["--store", "memory"])
    }

    /// The record, once it has so many lines.
    fn record(&self, lines: usize) -> Vec<Value> {
        record(&self.log(), lines)
    }
}

fn record(path: &Path, lines: usize) -> Vec<Value> {
    let read = || {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let read: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        (read.len() >= lines).then_some(read)
    };
    let (read, _) = until(PATIENCE, "the record is written", read);
    assert_eq!(read.len(), lines, "{read:#?}");
    read
}

/// `policy …`: exit code, and what it says.
fn policy<'a>(arguments: impl IntoIterator<Item = &'a str>) -> (i32, String) {
    run(sidecar::command(["policy"].into_iter().chain(arguments)))
}

fn json((code, said): (i32, String)) -> (i32, Value) {
    let value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
    (code, value)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("our folder")
}

/// The reason of a decision, if it is a denial.
fn reason(decision: &Value) -> Option<&str> {
    decision["reason-code"].as_str()
}

/// Ends it at once, whoever holds a lease. Two signals at a time are one.
fn ends(mut sidecar: Sidecar) {
    sidecar.signal(Signal::TERM);
    sidecar.line("that it drains", |line| line.contains("draining"));
    sidecar.signal(Signal::TERM);
    assert_eq!(sidecar.code(), 0, "{}", sidecar.output());
}

#[test]
fn a_request_on_record_is_decided_alike_in_the_sidecar_in_run_and_in_replay() {
    let place = Place::new();
    let gate = place.policy("fickle", &fickle());
    let settings = format!("[[policy]]\npath = \"{}\"\ntimezone = \"Europe/Berlin\"\n", gate.display());
    let sidecar = place.sidecar(&settings);
    // Until each kind of answer was given: which of them the clock gives is its own business.
    let mut answers: Vec<(String, Option<String>)> = Vec::new();
    let mut seen: BTreeMap<String, u64> = BTreeMap::new();
    while ["none", "key", "moment", "quota"].iter().any(|kind| !seen.contains_key(*kind)) {
        for first in ["x", "y"] {
            let key = format!("{first}/{}", answers.len());
            let answer = sidecar.request("POST", &format!("/v1/locks/{key}"), "");
            let reason =
                (answer.status == 403).then(|| answer.json()["reason_code"].as_str().map(str::to_owned));
            let reason = reason.flatten();
            *seen.entry(reason.clone().unwrap_or("none".into())).or_default() += 1;
            answers.push((key, reason));
        }
        assert!(answers.len() < 10_000, "{seen:?}");
    }
    let record = place.record(answers.len());
    for (line, (key, told)) in record.iter().zip(&answers) {
        assert_eq!(
            (line["request"]["keys"][0].as_str(), reason(&line["denied"])),
            (Some(&**key), told.as_deref())
        );
        assert_eq!(line["steps"][0]["counters"][0]["name"], "all", "what it saw is on record: {line}");
    }

    let mut explained = BTreeMap::new();
    for (line, (key, told)) in record.iter().zip(&answers) {
        // One of each kind: each is a process.
        if explained.insert(told.clone(), key).is_some() {
            continue;
        }
        let one = place.path("one.json");
        std::fs::write(&one, line.to_string()).expect("our folder");
        let arguments =
            ["run", text(&gate), "--timezone", "Europe/Berlin", "--request", text(&one), "-o", "json"];
        let (code, said) = json(policy(arguments));
        let expected = (if told.is_some() { 4 } else { 0 }, told.as_deref());
        assert_eq!((code, reason(&said["steps"][0]["details"])), expected, "{key}: {said}");
    }
    let log = place.log();
    for counters in ["anew", "recorded"] {
        let arguments =
            ["replay", text(&gate), text(&log), "--timezone", "Europe/Berlin", "--exit-code", "-o", "json"];
        let (code, said) = json(policy(arguments.into_iter().chain(["--counters", counters])));
        assert_eq!(
            (code, &said["newly"]),
            (0, &serde_json::json!({"denied": 0, "admitted": 0, "edited": 0})),
            "{said}"
        );
        let mut again: BTreeMap<String, u64> = serde_json::from_value(said["deny"].clone()).expect("counts");
        again.insert("none".into(), said["allow"].as_u64().expect("a count"));
        assert_eq!(again, seen, "{counters}: {said}");
    }

    // What another would have done in its place.
    let denied: u64 = seen.iter().filter(|(kind, _)| *kind != "none").map(|(_, count)| count).sum();
    let open = place.policy("open", &Guest::new());
    let (code, said) = json(policy(["replay", text(&open), text(&log), "--exit-code", "-o", "json"]));
    assert_eq!((code, said["newly"]["admitted"].as_u64()), (1, Some(denied)), "{said}");
    let shut = place.policy("shut", &Guest::new().denies("shut", "no"));
    let (code, said) = policy(["replay", text(&shut), text(&log)]);
    let newly = format!("{} newly denied, 0 newly admitted, 0 edited otherwise", seen["none"]);
    assert!(code == 0 && said.contains(&newly) && said.contains("deny: shut"), "{code}: {said}");
    let (_, said) =
        json(policy(["replay", text(&open), text(&log), "--instead-of", "stranger", "-o", "json"]));
    assert_eq!(said["denied_by_another"].as_u64(), Some(denied), "{said}");
    assert_eq!(said["newly"]["admitted"], 0, "who was denied by another stays so: {said}");
    let broken = place.policy("broken", &Guest::new().admit("unreachable"));
    let as_then = ["--on-error", "abstain", "--instead-of", "stranger"];
    let (_, said) =
        json(policy([&["replay", text(&broken), text(&log), "-o", "json"], &as_then[..]].concat()));
    assert_eq!(said["newly"]["denied"], 0, "what can not decide abstains: {said}");
}

/// First the record, then the policy: all that policies can be asked about is there, with no policy at all.
#[test]
fn every_operation_is_on_record_without_a_policy_too() {
    let place = Place::new();
    let sidecar = place.sidecar("");
    let lease = sidecar.lock("k", r#"{"owner":"o"}"#);
    let path = format!("/v1/leases/{}", lease["lease"].as_str().expect("an id"));
    assert_eq!(sidecar.request("PUT", &path, r#"{"ttl":"1m"}"#).status, 200);
    assert_eq!(sidecar.request("DELETE", &path, "").status, 204);
    assert_eq!(sidecar.request("POST", "/v1/once/o", r#"{"per":"1h"}"#).status, 200);
    assert_eq!(sidecar.request("PUT", "/v1/registers/r", "v").status, 204);
    sidecar.get("/v1/registers/r");
    let (code, said) = sidecar.verb(["force-unlock", "k", "--reason", "a test"]);
    assert_eq!(code, 0, "{said}");
    let record = place.record(6);
    let operations: Vec<_> = record.iter().filter_map(|line| line["request"]["operation"].as_str()).collect();
    assert_eq!(operations, ["acquire", "renew", "release", "once", "register-write", "force"]);
    for (line, seq) in record.iter().zip(1..) {
        assert_eq!((&line["seq"], &line["decided"]), (&Value::from(seq), &Value::from("admitted")));
    }
    assert_eq!(std::fs::metadata(place.log()).expect("it is there").permissions().mode() & 0o137, 0);

    let gate = place.policy("shut", &Guest::new().denies("shut", "no"));
    let log = place.log();
    let mut whole = std::fs::read_to_string(&log).expect("it is there");
    whole.insert_str(0, "{\"half a li\n");
    let third = whole.lines().nth(3).expect("there are seven").to_owned();
    std::fs::write(&log, whole.replace(&format!("{third}\n"), "")).expect("our folder");
    let arguments = ["replay", text(&gate), text(&log), "--ops", "acquire,renew,force", "-o", "json"];
    let (code, said) = json(policy(arguments.into_iter().chain(["--exit-code"])));
    assert_eq!((code, &said["newly"]["denied"], &said["not_asked"]), (1, &3.into(), &2.into()), "{said}");
    assert_eq!((&said["missing"], &said["unreadable"]["count"]), (&1.into(), &1.into()), "{said}");
    let place_of_it = said["unreadable"]["lines"][0]["line"].as_str().expect("a place");
    assert_eq!(place_of_it, format!("{}:1", log.display()));
    let (code, said) = policy(["replay", text(&gate), text(&gate)]);
    assert!(code == 2 && said.contains("no request on record"), "{code}: {said}");
}

/// Whoever asks the wrong thing is told so, and not that nothing would be different.
#[test]
fn who_can_not_be_asked_says_why() {
    let place = Place::new();
    let observer = place.path("watcher.wasm");
    std::fs::write(&observer, Guest::new().observer()).expect("our folder");
    let log = place.log();
    std::fs::write(&log, "").expect("our folder");
    for arguments in [
        vec!["run", text(&observer), "--key", "k"],
        vec!["bench", text(&observer)],
        vec!["replay", text(&observer), text(&log)],
    ] {
        let (code, said) = policy(arguments);
        assert!(code == 2 && said.contains("is an observer and decides nothing"), "{code}: {said}");
    }
    let (code, said) = policy(["run", "unbuilt.wasm", "--key", "k"]);
    assert!(code == 2 && said.contains("`sidelock policy build` makes it"), "{code}: {said}");

    let gate = place.policy("counts", &Guest::new().wants(&["all/1h"]).counts("all"));
    let counted = |name: &str| policy(["run", text(&gate), "--key", "k", "--counter", name]);
    let (code, said) = counted("al=7");
    assert!(code == 2 && said.contains("does not want \"al\"; it wants all"), "{code}: {said}");
    assert_eq!(counted("all=7").0, 0);
}

#[test]
fn a_record_moves_with_its_rotation_and_begins_with_a_signal() {
    let place = Place::new();
    let settings = place.path("sidelock.toml");
    std::fs::write(&settings, "").expect("our folder");
    let sidecar = Sidecar::at(&place.path("s.sock"), &["--store", "memory", "--config", text(&settings)]);
    sidecar.lock("before", "{}");
    std::fs::write(&settings, format!("policy_log = \"{}\"\n", place.log().display())).expect("our folder");
    sidecar.signal(Signal::HUP);
    sidecar.line("that settings are read anew", |line| line.contains("reloaded"));
    sidecar.lock("one", "{}");
    assert_eq!(place.record(1)[0]["request"]["keys"][0], "one");
    let moved = place.path("requests.1");
    std::fs::rename(place.log(), &moved).expect("our folder");
    sidecar.lock("two", "{}");
    assert_eq!(place.record(1)[0]["request"]["keys"][0], "two");
    assert_eq!((record(&moved, 1).len(), &place.record(1)[0]["seq"]), (1, &2.into()));
    std::fs::write(&settings, "").expect("our folder");
    sidecar.signal(Signal::HUP);
    until(PATIENCE, "settings are read anew again", || {
        (sidecar.output().matches("reloaded").count() == 2).then_some(())
    });
    sidecar.lock("after", "{}");
    // Its end waits for the last lines, if there are any.
    ends(sidecar);
    assert_eq!(place.record(1).len(), 1);
}

/// What was asked last is there when the sidecar has ended.
#[test]
fn the_end_of_a_sidecar_waits_for_the_last_lines() {
    let place = Place::new();
    let sidecar = place.sidecar("");
    for number in 0..200 {
        sidecar.lock(&format!("k/{number}"), "{}");
    }
    ends(sidecar);
    let lines = std::fs::read_to_string(place.log()).expect("it is there");
    assert_eq!(lines.lines().count(), 200);
}

/// A full disk costs lines, which are counted, and nobody a lock.
#[test]
fn a_disk_that_is_full_is_nobodys_trouble_but_the_records() {
    let sidecar = Sidecar::configured("policy_log = \"/dev/full\"\n", &["--store", "memory"]);
    sidecar.lock("k", "{}");
    sidecar.line("that lines are missing", |line| line.contains("policy_log can not be written"));
    let counted =
        || sidecar.get("/metrics").body.contains("sidelock_policy_log_dropped_total 1").then_some(());
    until(PATIENCE, "it is counted", counted);
    let missing = folder().path().join("no/such/folder/log");
    let command = Sidecar::command(&folder().path().join("s.sock"), &["--store", "memory"]);
    let mut command = command;
    command.env("SIDELOCK_POLICY_LOG", &missing);
    let (code, said) = run(command);
    assert!(code == 2 && said.contains("policy_log") && said.contains("no/such/folder"), "{code}: {said}");
}

#[test]
fn a_listing_shows_what_is_in_force_and_first_why_the_newest_is_not() {
    let place = Place::new();
    let gate = place.policy("gate", &fickle());
    let sidecar = place.sidecar(&format!("[[policy]]\npath = \"{}\"\n", gate.display()));
    let (code, said) = sidecar.verb(["policy", "ls"]);
    let (_, digest) = policy(["digest", text(&gate)]);
    assert!(code == 0 && said.starts_with("POLICY"), "{code}: {said}");
    assert!(said.contains("gate") && said.contains(&digest[..12]) && said.contains("128 KiB"), "{said}");
    std::fs::write(&gate, b"no wasm at all").expect("our folder");
    sidecar.line("that it is refused", |line| line.contains("the policies before stay in force"));
    let (code, said) = sidecar.verb(["policy", "ls"]);
    assert!(
        code == 1 && said.starts_with("not in force: policy gate") && said.contains(&digest[..12]),
        "{code}: {said}"
    );
    let (code, said) = json(sidecar.verb(["policy", "ls", "-o", "json"]));
    assert!(
        code == 1 && said["trouble"].is_string() && said["policies"][0]["name"] == "gate",
        "{code}: {said}"
    );
}
