//! `stat` and `watch`: what a sidecar does, as long as somebody looks.

use crate::support::{Said, Sidecar, finish};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStderr, ChildStdout, Stdio};

/// A verb that goes on until it is dropped.
struct Going {
    process: Child,
    out: Lines<BufReader<ChildStdout>>,
    err: Lines<BufReader<ChildStderr>>,
}

impl Going {
    fn start(sidecar: &Sidecar, words: &str) -> Going {
        let mut command = sidecar.command(words.split(' '));
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let out = BufReader::new(process.stdout.take().expect("stdout is piped")).lines();
        let err = BufReader::new(process.stderr.take().expect("stderr is piped")).lines();
        Going { process, out, err }
    }

    fn line(&mut self) -> String {
        self.out.next().expect("it goes on").expect("output is text")
    }

    fn told(&mut self) -> String {
        self.err.next().expect("it goes on").expect("output is text")
    }
}

impl Going {
    /// Waits for its end; its exit code, and what else it told.
    fn end(mut self) -> (i32, String) {
        let told: Vec<_> = self.err.by_ref().map(|line| line.expect("output is text")).collect();
        let status = self.process.wait().expect("a child can be waited for");
        (status.code().unwrap_or(-1), told.join("\n"))
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        // Already gone is as good.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn json(said: &Said) -> Value {
    serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error} in {said:?}"))
}

#[test]
fn stat_counts_what_happened() {
    let sidecar = Sidecar::start();
    let before = json(&sidecar.say("stat -o json"));
    assert_eq!(
        (&before["leases"], &before["store"], &before["store_up"]),
        (&0.into(), &"memory".into(), &true.into())
    );
    sidecar.say("lock a");
    sidecar.say("run --max-hold 1s b -- sleep 60");
    let after = json(&sidecar.say("stat -o json"));
    let grants: u64 =
        ["handoff", "retained", "store"].iter().filter_map(|path| after["grants"][path].as_u64()).sum();
    assert_eq!(
        (grants, &after["leases"], &after["lost"]["max_hold"]),
        (2, &1.into(), &1.into()),
        "{after:#}"
    );
    assert!(after["uptime"].as_f64() > before["uptime"].as_f64(), "{after:#}");
    assert!(after["memory_bytes"].as_u64() > Some(100_000), "{after:#}");

    let page = sidecar.say("stat").out;
    assert!(page.contains("leases    1 on") && page.contains("max_hold 1 so far"), "{page}");
}

#[test]
fn stat_line_by_line_ends_after_its_count() {
    let sidecar = Sidecar::start();
    let said = sidecar.say("stat --every 20ms --count 22");
    let headers = said.out.lines().filter(|line| line.contains("grants/s")).count();
    assert_eq!((said.code, headers, said.out.lines().count()), (0, 2, 24), "{said:?}");
    let lines = sidecar.say("stat --every 20ms --count 2 -o json").out;
    let seconds = |line: &str| {
        let now: Value = serde_json::from_str(line).expect("a line is a document");
        now["last"]["seconds"].as_f64().unwrap_or_else(|| panic!("no time in {now}"))
    };
    // One of them may be short, if the look before it was slow.
    assert!(lines.lines().map(seconds).sum::<f64>() >= 0.04, "{lines}");
    assert_eq!(lines.lines().count(), 2);
    assert_eq!(sidecar.say("stat --count 2").code, 2, "of what?");
}

#[test]
fn watch_and_stat_go_on_with_the_next_sidecar() {
    let mut sidecar = Sidecar::start();
    let mut stat = Going::start(&sidecar, "stat --every 20ms -o json");
    let mut watch = Going::start(&sidecar, "watch -o json");
    let first: Value = serde_json::from_str(&stat.line()).expect("a document");
    // Nothing says that it watches but an event.
    std::thread::scope(|scope| {
        let event = scope.spawn(|| watch.line());
        while !event.is_finished() {
            sidecar.say("run k -- true");
        }
    });
    sidecar.kill();
    assert!(stat.told().contains("waiting for it to come back"));
    assert!(watch.told().starts_with("sidelock: the sidecar ended"));
    sidecar.start_again();
    assert!(stat.told().contains("a new sidecar"));
    assert!(watch.told().contains("answers again"));
    let next = loop {
        let line: Value = serde_json::from_str(&stat.line()).expect("a document");
        if line["incarnation"] != first["incarnation"] {
            break line;
        }
    };
    assert_eq!(next["store_up"], true);
    sidecar.say("lock a");
    while serde_json::from_str::<Value>(&watch.line()).expect("an event")["key"] != "a" {}
}

#[test]
fn a_sidecar_that_was_stopped_is_told_of_and_is_the_same_when_it_goes_on() {
    let sidecar = Sidecar::start();
    let mut stat = Going::start(&sidecar, "stat --every 20ms -o json");
    stat.line();
    sidecar.signal(Signal::SIGSTOP);
    let told = stat.told();
    assert!(told.contains("does not answer") && told.contains("waiting for it to come back"), "{told}");
    sidecar.signal(Signal::SIGCONT);
    let spans_the_pause = |line: String| {
        serde_json::from_str::<Value>(&line).expect("a document")["last"]["seconds"].as_f64() > Some(1.0)
    };
    // Those before it are few.
    assert!((0..100).any(|_| spans_the_pause(stat.line())), "it is counted on");
    stat.process.kill().expect("it goes on");
    assert_eq!(stat.end().1, "", "nobody new answered");
}

#[test]
fn a_sidecar_that_is_stopped_fails_whoever_asks_it_first() {
    let sidecar = Sidecar::start();
    sidecar.signal(Signal::SIGSTOP);
    std::thread::scope(|scope| {
        let sidecar = &sidecar;
        for verb in ["stat", "stat --every 1s", "watch", "ls", "why k", "wait --timeout 0"] {
            scope.spawn(move || {
                let said = sidecar.say(verb);
                assert!(said.code == 1 && said.err.contains("does not answer within"), "{verb}: {said:?}");
            });
        }
    });
    sidecar.signal(Signal::SIGCONT);
}

#[test]
fn a_successor_that_refuses_this_user_ends_them() {
    let mut sidecar = Sidecar::start();
    let mut going = [Going::start(&sidecar, "stat --every 20ms"), Going::start(&sidecar, "watch -o json")];
    going[0].line();
    std::thread::scope(|scope| {
        let event = scope.spawn(|| going[1].line());
        while !event.is_finished() {
            sidecar.say("run k -- true");
        }
    });
    sidecar.kill();
    going.iter_mut().for_each(|verb| drop(verb.told()));
    sidecar.start_again_with(&["--allow-uid", "4000000000"]);
    for verb in going {
        let (code, told) = verb.end();
        assert!(code == 5 && told.contains("--allow-uid"), "{code}: {told}");
    }
    for verb in ["wait", "healthcheck"] {
        let said = sidecar.say(verb);
        assert!(said.code == 5 && said.err.contains("--allow-uid"), "{verb}: {said:?}");
    }
}

#[test]
fn without_a_sidecar_they_fail_as_every_verb_does() {
    let mut sidecar = Sidecar::start();
    sidecar.kill();
    for verb in ["stat", "stat --every 1s", "watch"] {
        let said = sidecar.say(verb);
        assert!(said.code == 5 && said.err.contains("sidelock serve"), "{said:?}");
    }
}

#[test]
fn doctor_examines_the_sidecar_it_finds() {
    let mut sidecar = Sidecar::start();
    let said = sidecar.say("doctor");
    assert_eq!(said.code, 0, "the memory store is a warning: {said:?}");
    assert!(said.out.contains("warn  scope") && said.out.contains("--redis URL"), "{said:?}");
    let checks = json(&sidecar.say("doctor -o json"));
    assert_eq!((&checks["fit"], &checks["checks"][0]["verdict"]), (&true.into(), &"ok".into()), "{checks:#}");
    sidecar.kill();
    let said = sidecar.say("doctor");
    assert!(said.code == 1 && !said.out.contains("memory"), "nobody said which store: {said:?}");
    assert!(said.out.contains("is stale") && said.err.starts_with("sidelock: not fit"), "{said:?}");
    assert_eq!(sidecar.say("doctor --redis rediss://h").code, 1);
}

#[test]
fn doctor_of_an_app_in_kubernetes_looks_at_the_sidecar() {
    let sidecar = Sidecar::start();
    let mut doctor = sidecar.command(["doctor"]);
    doctor.env("KUBERNETES_SERVICE_HOST", "10.0.0.1");
    let said = finish(doctor);
    assert!(said.code == 0 && said.out.contains("ok    boottime"), "{said:?}");
}

#[test]
fn doctor_notices_that_the_sidecar_was_started_without_the_redis_that_the_settings_name() {
    let sidecar = Sidecar::start();
    let mut doctor = sidecar.command(["doctor"]);
    // Nobody is there, which is another finding.
    doctor.env("SIDELOCK_REDIS", "unix:///nonexistent/redis.sock");
    let said = finish(doctor);
    assert!(
        said.code == 1 && said.out.contains("fail  store") && said.out.contains("this host only"),
        "{said:?}"
    );
    assert!(said.out.contains("fail  redis"), "what the settings name is examined too: {said:?}");
}
