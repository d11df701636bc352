//! One sidecar from its start to its end: sockets that are left behind, readers that do not read, signals, restarts.

use rustix::process::Signal;
use sidelock_e2e::folder;
use sidelock_e2e::frames::{Peer, try_lock};
use sidelock_e2e::process::until;
use sidelock_e2e::redis::Redis;
use sidelock_e2e::sidecar::Sidecar;
use sidelock_wire::{LeaseName, ToClient, ToSidecar};
use std::time::Duration;

/// How long something may take that needs no waiting at all, on a machine that is busy with something else.
const SOON: Duration = Duration::from_secs(5);

#[test]
fn sigterm_with_nothing_held_exits_0_and_takes_the_socket_along() {
    let place = folder();
    let socket = place.path().join("s.sock");
    let mut sidecar = Sidecar::at(&socket, &["--store", "memory"]);
    let mut idle = Peer::greeted(&socket);
    sidecar.signal(Signal::TERM);
    assert_eq!(sidecar.code(), 0, "{}", sidecar.output());
    assert!(!socket.exists(), "the socket is gone");
    assert!(!idle.hears("the end", |_| false), "an idle session is closed");
}

#[test]
fn a_drain_tells_the_sessions_refuses_newcomers_and_ends_with_the_last_lease() {
    let mut sidecar = Sidecar::on_memory();
    let mut holder = Peer::greeted(sidecar.socket());
    assert_eq!(holder.acquires(try_lock(1, "k")), "granted");
    sidecar.signal(Signal::TERM);
    assert!(holder.hears("that the sidecar drains", |message| matches!(message, ToClient::Draining)));
    assert_eq!(holder.acquires(try_lock(2, "other")), "draining");
    assert!(sidecar.is_running(), "somebody holds a lease");
    holder.say(&ToSidecar::Release { request: 3, lease: LeaseName::Session(1) });
    assert_eq!(sidecar.code(), 0, "{}", sidecar.output());
}

#[test]
fn a_second_sigterm_is_now() {
    let mut sidecar = Sidecar::on_memory();
    let mut holder = Peer::greeted(sidecar.socket());
    assert_eq!(holder.acquires(try_lock(1, "k")), "granted");
    sidecar.signal(Signal::TERM);
    assert!(holder.hears("that the sidecar drains", |message| matches!(message, ToClient::Draining)));
    sidecar.signal(Signal::TERM);
    assert_eq!(sidecar.code(), 0, "{}", sidecar.output());
}

/// A pod is drained, then deleted.
#[test]
fn the_first_signal_after_the_drain_verb_takes_nobodys_grace() {
    let mut sidecar = Sidecar::on_memory();
    let mut holder = Peer::greeted(sidecar.socket());
    assert_eq!(holder.acquires(try_lock(1, "k")), "granted");
    assert_eq!(sidecar.verb(["drain"]).0, 0);
    assert!(holder.hears("that the sidecar drains", |message| matches!(message, ToClient::Draining)));
    sidecar.signal(Signal::TERM);
    until(SOON, "it says so", || sidecar.output().contains("draining already").then_some(()));
    assert!(sidecar.is_running(), "somebody holds a lease");
    holder.say(&ToSidecar::Release { request: 2, lease: LeaseName::Session(1) });
    assert_eq!(sidecar.code(), 0, "{}", sidecar.output());
}

#[test]
fn the_drain_verb_does_the_same() {
    let mut sidecar = Sidecar::on_memory();
    let (code, said) = sidecar.verb(["drain"]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(sidecar.code(), 0, "{}", sidecar.output());
}

#[test]
fn a_drained_sidecar_leaves_nothing_behind_for_the_next_one() {
    let redis = Redis::start();
    let mut a = Sidecar::connected_to(&redis);
    let b = Sidecar::connected_to(&redis);
    for key in ["x", "y", "z"] {
        a.unlock(&a.lock(key, ""));
    }
    a.signal(Signal::TERM);
    assert_eq!(a.code(), 0, "{}", a.output());
    for key in ["x", "y", "z"] {
        b.unlock(&b.lock(key, ""));
    }
}

#[test]
fn a_sidecar_killed_while_it_drains_delays_the_next_holder_by_its_ttl_at_most() {
    let redis = Redis::start();
    let b = Sidecar::connected_to(&redis);
    for (key, pause) in [("at once", 0), ("after 100 ms", 100)] {
        let mut a = Sidecar::connected_to(&redis);
        let mut holder = Peer::greeted(a.socket());
        assert_eq!(holder.acquires(try_lock(1, key)), "granted");
        a.signal(Signal::TERM);
        std::thread::sleep(Duration::from_millis(pause));
        a.kill();
        b.unlock(&b.lock(&key.replace(' ', "%20"), r#"{"wait":"11s"}"#));
    }
}

#[test]
fn a_socket_left_by_a_killed_sidecar_is_no_obstacle_and_old_leases_are_lost() {
    let place = folder();
    let socket = place.path().join("s.sock");
    let mut first = Sidecar::at(&socket, &["--store", "memory"]);
    let lease = first.lock("k", r#"{"ttl":"1m"}"#);
    first.kill();
    assert!(socket.exists(), "a killed sidecar cannot tidy up");
    let second = Sidecar::at(&socket, &["--store", "memory"]);
    let path = format!("/v1/leases/{}", lease["lease"].as_str().expect("a lease has an id"));
    for (method, body) in [("PUT", r#"{"ttl":"30s"}"#), ("DELETE", "")] {
        let answer = second.request(method, &path, body);
        assert_eq!((answer.status, answer.code().as_str()), (410, "lease_lost"), "{method}: {answer:?}");
        assert!(answer.body.contains("sidecar_restarted"), "{method}: {answer:?}");
    }
}

#[test]
fn a_socket_that_somebody_deleted_is_made_again() {
    let sidecar = Sidecar::on_memory();
    std::fs::remove_file(sidecar.socket()).expect("it is there");
    until(SOON * 2, "the socket is back", || {
        let there = sidecar.socket().exists();
        (there && sidecar.get("/livez").status == 200).then_some(())
    });
}

#[test]
fn a_reader_that_does_not_read_is_cut_off_and_keeps_what_it_was_told_it_has() {
    let sidecar = Sidecar::on_memory();
    let mut slow = Peer::greeted(sidecar.socket());
    assert_eq!(slow.acquires(try_lock(1, "k")), "granted");
    // Pongs for which nobody is there: more than the socket's buffers and `outbound_bytes_max` together.
    let mut pings = Vec::new();
    (0..10_000).for_each(|_| ToSidecar::Ping.encode(&mut pings));
    for _ in 0..100 {
        slow.bytes(&pings);
    }
    let mut bystander = Peer::greeted(sidecar.socket());
    assert_eq!(bystander.acquires(try_lock(1, "other")), "granted", "others go on");
    assert!(!slow.hears("the end", |_| false), "it is cut off");
    assert_eq!(
        bystander.acquires(try_lock(2, "k")),
        "held",
        "its lease stays until the deadline it was told"
    );
}

#[test]
fn a_client_that_ends_frees_what_it_held_and_leaves_the_queue() {
    let sidecar = Sidecar::on_memory();
    let mut first = Peer::greeted(sidecar.socket());
    assert_eq!(first.acquires(try_lock(1, "k")), "granted");
    let mut second = Peer::greeted(sidecar.socket());
    let waits =
        |request| sidelock_wire::Acquire { wait: None, notify_queued: true, ..try_lock(request, "k") };
    second.say(&ToSidecar::Acquire(waits(1)));
    assert!(second.hears("that it queues", |message| matches!(message, ToClient::Queued { .. })));
    let mut third = Peer::greeted(sidecar.socket());
    third.say(&ToSidecar::Acquire(waits(1)));
    assert!(third.hears("that it queues", |message| matches!(message, ToClient::Queued { ahead: 1, .. })));
    drop(second);
    drop(first);
    assert!(third.hears("its grant", |message| matches!(message, ToClient::Granted(_))));
}

#[test]
fn half_a_frame_and_then_the_end_frees_the_session() {
    let sidecar = Sidecar::on_memory();
    let mut half = Peer::greeted(sidecar.socket());
    assert_eq!(half.acquires(try_lock(1, "k")), "granted");
    half.bytes(&[200, 0, 0, 0, 2]);
    drop(half);
    until(SOON, "the lock is free", || {
        let answer = sidecar.request("POST", "/v1/locks/k", "");
        (answer.status == 200).then_some(())
    });
}

#[test]
fn a_paused_sidecar_says_lost_before_anything_else() {
    let redis = Redis::start();
    let a = Sidecar::connected_to(&redis);
    let b = Sidecar::connected_to(&redis);
    let mut holder = Peer::greeted(a.socket());
    assert_eq!(holder.acquires(try_lock(1, "k")), "granted");
    a.signal(Signal::STOP);
    // The tenure runs out at the store while its sidecar cannot do anything about it.
    let lease = b.lock("k", r#"{"wait":"12s"}"#);
    a.signal(Signal::CONT);
    holder.say(&ToSidecar::Release { request: 2, lease: LeaseName::Session(1) });
    let mut first = String::new();
    holder.hears("what became of it", |message| {
        first = format!("{message:?}");
        matches!(
            message,
            ToClient::Lost { request: 1, .. } | ToClient::Released { .. } | ToClient::Refused(_)
        )
    });
    assert!(first.contains("Lost"), "{first}");
    assert_eq!(a.request("POST", "/v1/locks/k", "").code(), "held", "the other sidecar has it");
    b.unlock(&lease);
}
