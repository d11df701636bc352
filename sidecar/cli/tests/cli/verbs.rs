//! The verbs, as a shell speaks them to a real sidecar.

use crate::support::{Sidecar, finish};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text}"))
}

#[test]
fn the_greeting_has_a_line_that_takes_a_lease_when_pasted() {
    let sidecar = Sidecar::start();
    let line = sidecar.greeting.lines().find(|line| line.contains("curl")).expect("there is such a line");
    let said = sidecar.script(line);
    assert_eq!(json(&said.out)["key"], "orders/42", "{said:?}");
}

#[test]
fn a_shell_takes_renews_and_releases_a_lease() {
    let sidecar = Sidecar::start();
    let said = sidecar.script(
        r#"eval "$(sidelock lock k --ttl 20s)"
           test -n "$SIDELOCK_FENCE"
           sidelock renew --ttl 1m -o json
           sidelock lock k --wait 0 || echo "code $?"
           sidelock unlock
           sidelock unlock "$SIDELOCK_LEASE"
           sidelock lock k --wait 0 -o json"#,
    );
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains("code 3"), "held while it is held: {said:?}");
    assert!(said.err.contains("sidelock:") && said.err.contains("held"), "{said:?}");
}

#[test]
fn a_lease_is_the_same_document_from_lock_and_from_renew() {
    let sidecar = Sidecar::start();
    let taken = json(&sidecar.say("lock k --shared -o json").out);
    let id = taken["lease"].as_str().expect("has an id");
    let renewed = json(&sidecar.say(&format!("renew {id} -o json")).out);
    let names = |lease: &Value| lease.as_object().expect("an object").keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&taken), names(&renewed));
    for name in ["lease", "key", "mode", "fence", "scope", "guarantee"] {
        assert_eq!(taken[name], renewed[name], "{name}");
    }
    assert!(taken["expires_in"].as_f64() > Some(25.0), "{taken}");
}

#[test]
fn an_id_that_is_none_is_refused_without_a_word_to_the_sidecar() {
    let sidecar = Sidecar::start();
    assert_eq!(sidecar.say("unlock ../locks/k").code, 2);
    assert_eq!(sidecar.say("unlock 00").code, 1, "not found");
    assert_eq!(sidecar.say("unlock").code, 2, "none is given and none is in the environment");
}

/// Its folder has one admin socket, which is the first one's.
#[test]
fn an_order_for_the_second_sidecar_of_a_folder_does_not_reach_the_first() {
    let first = Sidecar::start();
    let second = first.start_beside();
    second.say("lock k --ttl 1m");
    for order in ["drain", "force-unlock k --reason test"] {
        let said = second.say(order);
        assert!(said.code != 0 && said.err.contains("--admin-socket"), "{order}: {said:?}");
    }
    assert_eq!(first.say("force-unlock k --reason test").code, 0, "its own takes it");
    assert_eq!(first.say("lock other").code, 0, "and was not drained");
}

#[test]
fn keys_with_any_character_can_be_named() {
    let sidecar = Sidecar::start();
    for key in ["jobs/<id>", "a`b", "100%+?&#\"x"] {
        assert_eq!(finish(sidecar.command(["lock", key, "--ttl", "1m"])).code, 0, "{key}");
        let why = finish(sidecar.command(["why", key]));
        assert!(why.code == 0 && why.out.contains("timed lease"), "{key}: {why:?}");
        let listed = finish(sidecar.command(["ls", key]));
        assert!(listed.code == 0 && listed.out.contains(key), "{key}: {listed:?}");
        let forced = finish(sidecar.command(["force-unlock", key, "--reason", "test"]));
        assert!(forced.code == 0 && !forced.out.contains("free already"), "{key}: {forced:?}");
    }
}

#[test]
fn ls_and_why_show_a_holder_but_not_its_secret() {
    let sidecar = Sidecar::start();
    let lease = json(&sidecar.say("lock a/1 -o json").out);
    sidecar.say("lock b/1");
    let secret = &lease["lease"].as_str().expect("has an id")[..32];

    let listed = sidecar.say("ls a/");
    assert!(listed.out.contains("a/1") && !listed.out.contains("b/1"), "{listed:?}");
    let why = sidecar.say("why a/1");
    assert!(why.out.contains("timed lease") && why.out.contains(&lease["fence"].to_string()), "{why:?}");
    assert!(!why.out.contains("other sidecars"), "{why:?}");
    assert!(sidecar.say("why free").out.contains("at this sidecar; other sidecars are not shown"));
    assert!(!listed.out.contains(secret) && !why.out.contains(secret));

    assert_eq!(json(&sidecar.say("ls -o json").out)["keys"].as_array().expect("a list").len(), 2);
    assert_eq!(json(&sidecar.say("why a/1 -o json").out)["holders"][0]["fence"], lease["fence"]);
}

#[test]
fn keys_of_any_spelling_come_through() {
    let sidecar = Sidecar::start();
    for key in ["a b", "50%", "a?b#c&d+e", "€/ü", "../x"] {
        let taken = finish(sidecar.command(["lock", key, "-o", "json"]));
        assert_eq!(json(&taken.out)["key"], key, "{taken:?}");
        let why = finish(sidecar.command(["why", key, "-o", "json"]));
        assert_eq!(json(&why.out)["key"], key, "{why:?}");
        assert_eq!(json(&why.out)["holders"].as_array().expect("a list").len(), 1, "{key}");
    }
}

#[test]
fn watch_tells_what_happens() {
    let sidecar = Sidecar::start();
    let mut command = sidecar.command(["watch", "a/", "-o", "json"]);
    let mut watching = command.stdout(Stdio::piped()).spawn().expect("it starts");
    let mut lines = BufReader::new(watching.stdout.take().expect("stdout is piped")).lines();
    // Whether it watches already shows only in what it tells: something happens until it does.
    let first = std::thread::scope(|scope| {
        let first = scope.spawn(|| lines.next().expect("an event").expect("text"));
        while !first.is_finished() {
            sidecar.script(
                "sidelock unlock $(sidelock lock a/1 -o json | sed -n 's/.*\"lease\": \"\\(.*\\)\".*/\\1/p')",
            );
        }
        first.join().expect("it was read")
    });
    assert_eq!(json(&first)["key"], "a/1");
    watching.kill().expect("it still watches");
    watching.wait().expect("it ends");
}

#[test]
fn wait_and_healthcheck_see_a_sidecar_come_and_go() {
    let mut sidecar = Sidecar::start();
    assert_eq!(sidecar.say("wait --timeout 30s --store").code, 0);
    assert_eq!(sidecar.say("healthcheck --store").code, 0);
    assert_eq!(sidecar.say("drain").code, 0);
    assert_eq!(sidecar.ended(), 0);
    let said = sidecar.say("healthcheck");
    assert_eq!(said.code, 5, "{said:?}");
    assert!(said.err.contains("s.sock") && said.err.contains("sidelock serve"), "{said:?}");
    assert_eq!(sidecar.say("wait --timeout 0").code, 5);
}

/// Nobody could give back what nobody knows of.
#[test]
fn a_lease_that_can_not_be_written_is_given_back() {
    let sidecar = Sidecar::start();
    let said = sidecar.script("sidelock lock k --ttl 5m > /dev/full");
    assert!(said.code == 1 && said.err.contains("so it was given back"), "{said:?}");
    let said = sidecar.say("lock k --wait 5s -o json");
    assert_eq!(said.code, 0, "it is free again: {said:?}");
}

#[test]
fn a_flag_goes_before_the_variable_of_another_socket() {
    let (first, second) = (Sidecar::start(), Sidecar::start());
    let admin = first.socket().with_file_name("admin.sock");
    let admin = admin.to_str().expect("it is text");
    let said =
        second.script(&format!("SIDELOCK_ADMIN_SOCKET={admin} sidelock drain --socket \"$SIDELOCK_SOCKET\""));
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(first.say("lock k -o json").code, 0, "it was not meant");
    let said = second.script(&format!("SIDELOCK_ADMIN_SOCKET={admin} sidelock drain"));
    assert_eq!(said.code, 0, "{said:?}");
    assert_ne!(first.say("lock l --wait 0").code, 0, "now it was");
}

#[test]
fn nobody_waits_for_ever_for_a_sidecar_that_is_stopped() {
    let sidecar = Sidecar::start();
    let lease =
        json(&sidecar.say("lock k --ttl 1m -o json").out)["lease"].as_str().expect("an id").to_owned();
    sidecar.signal(Signal::SIGSTOP);
    for (words, at_most) in [
        ("wait --timeout 100ms".to_owned(), 5),
        ("drain".to_owned(), 4),
        (format!("renew {lease} --ttl 2m"), 15),
    ] {
        let begun = Instant::now();
        let said = sidecar.say(&words);
        assert!(said.code == 1 && said.err.contains("does not answer"), "{words}: {said:?}");
        // What is left of its own time, and not the time that all others give.
        assert!(!words.starts_with("wait") || said.err.contains("ms: it is stopped"), "{said:?}");
        assert!(begun.elapsed() < Duration::from_secs(at_most), "{words}: after {:?}", begun.elapsed());
    }
    sidecar.signal(Signal::SIGCONT);
}
