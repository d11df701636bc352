//! The frame door from outside, on an embedded sidecar: greeting, requests, and the ways in which connections end.

mod support;

use sidelock_daemon::{boottime, embedded};
use sidelock_wire::{Acquire, Align, Code, Hello, LeaseName, Resume, ToSidecar, Window};
use std::io::Write;
use std::time::Duration;
use support::{Client, Heard, PATIENCE, ask, hello};

#[test]
fn a_lock_passes_from_client_to_client_in_order_with_rising_fences() {
    let sidecar = embedded().unwrap();
    let (mut a, mut b, mut c) =
        (Client::greeted(&sidecar), Client::greeted(&sidecar), Client::greeted(&sidecar));
    a.acquire(1, "k", None);
    let first = a.granted(1);
    b.say(&ToSidecar::Acquire(Acquire { notify_queued: true, ..ask(1, "k") }));
    assert_eq!(b.hear(), Heard::Queued(1));
    c.acquire(1, "k", Some(Duration::ZERO));
    assert!(matches!(c.hear(), Heard::Refused(1, Code::Held, _)));
    a.release(2, 1);
    assert_eq!(a.hear(), Heard::Released(2));
    let second = b.granted(1);
    assert!(second > first);
    drop(b);
    c.acquire(2, "k", Some(PATIENCE));
    assert!(c.granted(2) > second, "the end of a connection frees what it held");
}

#[test]
fn a_cancelled_acquire_is_answered_once_and_never_granted() {
    let sidecar = embedded().unwrap();
    let (mut a, mut b) = (Client::greeted(&sidecar), Client::greeted(&sidecar));
    a.acquire(1, "k", None);
    a.granted(1);
    b.say(&ToSidecar::Acquire(Acquire { notify_queued: true, ..ask(1, "k") }));
    assert_eq!(b.hear(), Heard::Queued(1));
    b.say(&ToSidecar::Cancel { request: 1 });
    assert_eq!(b.hear(), Heard::Cancelled(1));
    a.release(2, 1);
    assert_eq!(a.hear(), Heard::Released(2));
    b.acquire(2, "k", Some(Duration::ZERO));
    b.granted(2);
}

#[test]
fn what_the_gate_refuses_is_told_by_field_and_the_connection_goes_on() {
    let sidecar = embedded().unwrap();
    let mut client = Client::greeted(&sidecar);
    client.acquire(1, "", None);
    assert!(matches!(client.hear(), Heard::Refused(1, Code::BadRequest, message) if message.contains("key")));
    client.acquire(2, "k", None);
    client.granted(2);
}

#[test]
fn a_client_that_can_not_work_with_us_is_told_why() {
    let sidecar = embedded().unwrap();
    let refused = |hello: Hello<'static>| {
        let mut client = Client::connect(&sidecar);
        client.say(&ToSidecar::Hello(hello));
        let Heard::Goodbye(code, message) = client.hear() else { panic!("a goodbye") };
        assert_eq!(client.hear(), Heard::End);
        (code, message)
    };
    let (code, message) = refused(Hello { version_min: 9, version_max: 11, ..hello() });
    assert!(code == Code::BadRequest && message.contains("9..=11"), "{message}");
    let (ahead, behind) = (boottime().0 + 1_000_000_000, boottime().0 - 6_000_000_000);
    for boottime_ns in [ahead, behind] {
        let (code, _) = refused(Hello { boottime_ns, ..hello() });
        assert_eq!(code, Code::ClockMismatch);
    }
    let (code, _) = refused(Hello { require_scope: Some(sidelock_wire::Scope::Host), ..hello() });
    assert_eq!(code, Code::ScopeTooSmall);
    let mut rude = Client::connect(&sidecar);
    rude.acquire(1, "k", None);
    assert!(matches!(rude.hear(), Heard::Goodbye(Code::BadRequest, message) if message.contains("hello")));
}

/// On a busy host a hello may wait; the client's own check is the exact one.
#[test]
fn a_hello_that_waited_is_welcome() {
    let sidecar = embedded().unwrap();
    let mut late = Client::connect(&sidecar);
    late.say(&ToSidecar::Hello(Hello { boottime_ns: boottime().0 - 1_000_000_000, ..hello() }));
    assert!(matches!(late.hear(), Heard::Welcome { .. }));
}

/// A protocol error closes the connection, not the leases: they stay until their deadline, and the session can be resumed
/// with its secret by whom it was told (P6).
#[test]
fn a_session_that_was_cut_off_comes_back_with_its_leases() {
    let sidecar = embedded().unwrap();
    let mut a = Client::connect(&sidecar);
    a.say(&ToSidecar::Hello(hello()));
    let Heard::Welcome { session, secret, .. } = a.hear() else { panic!("a welcome") };
    a.acquire(1, "k", None);
    a.granted(1);
    a.say(&ToSidecar::Hello(hello()));
    assert!(matches!(a.hear(), Heard::Goodbye(Code::BadRequest, _)));
    assert_eq!(a.hear(), Heard::End);

    let mut other = Client::greeted(&sidecar);
    other.acquire(1, "k", Some(Duration::ZERO));
    assert!(matches!(other.hear(), Heard::Refused(1, Code::Held, _)), "still reserved");

    let mut stranger = Client::connect(&sidecar);
    let wrong = Resume { session, secret: sidelock_wire::Secret(secret.0 ^ 1) };
    stranger.say(&ToSidecar::Hello(Hello { resume: Some(wrong), ..hello() }));
    assert!(matches!(stranger.hear(), Heard::Welcome { resumed: None, .. }));

    let mut back = Client::connect(&sidecar);
    back.say(&ToSidecar::Hello(Hello { resume: Some(Resume { session, secret }), ..hello() }));
    let Heard::Welcome { session: same, resumed, .. } = back.hear() else { panic!("a welcome") };
    assert_eq!((same, resumed), (session, Some(vec![1])));
    back.release(2, 1);
    assert_eq!(back.hear(), Heard::Released(2));
    other.acquire(2, "k", Some(PATIENCE));
    other.granted(2);
}

/// A welcome that its client can not take would cost it the connection, again and again.
#[test]
fn a_session_with_more_leases_than_a_welcome_can_list_is_a_new_one() {
    for (leases, comes_back) in [(16_000_u64, true), (16_001, false)] {
        let sidecar = embedded().unwrap();
        let mut a = Client::connect(&sidecar);
        a.say(&ToSidecar::Hello(hello()));
        let Heard::Welcome { session, secret, .. } = a.hear() else { panic!("a welcome") };
        for request in 1..=leases {
            a.acquire(request, &format!("k/{request}"), None);
            a.granted(request);
        }
        a.say(&ToSidecar::Hello(hello()));
        assert!(matches!(a.hear(), Heard::Goodbye(Code::BadRequest, _)));
        let mut back = Client::connect(&sidecar);
        back.say(&ToSidecar::Hello(Hello { resume: Some(Resume { session, secret }), ..hello() }));
        let Heard::Welcome { resumed, .. } = back.hear() else { panic!("a welcome") };
        assert_eq!(resumed.map(|list| list.len() as u64), comes_back.then_some(leases));
    }
}

#[test]
fn bytes_that_are_no_frames_end_the_connection_and_nothing_else() {
    let sidecar = embedded().unwrap();
    let mut giant = Client::greeted(&sidecar);
    giant.bytes(&u32::MAX.to_le_bytes());
    assert!(matches!(giant.hear(), Heard::Goodbye(Code::TooLarge, _)));
    assert_eq!(giant.hear(), Heard::End);
    let mut unknown = Client::greeted(&sidecar);
    unknown.bytes(&[1, 0, 0, 0, 0x7f]);
    assert!(matches!(unknown.hear(), Heard::Goodbye(Code::BadRequest, _)));
    let mut half = Client::greeted(&sidecar);
    half.bytes(&[40, 0, 0, 0, 2, 1]);
    drop(half);
    let mut later = Client::greeted(&sidecar);
    later.acquire(1, "k", None);
    later.granted(1);
}

/// H11. A client that asks and never reads is cut off; its leases stay until their deadline, and others do not notice.
#[test]
fn a_client_that_never_reads_is_cut_off_and_keeps_its_leases() {
    let sidecar = embedded().unwrap();
    let mut deaf = Client::greeted(&sidecar);
    deaf.acquire(1, "k", None);
    deaf.granted(1);
    let mut pings = Vec::new();
    for _ in 0..1000 {
        ToSidecar::Ping.encode(&mut pings);
    }
    // Far more than the socket's buffers and the bound together.
    let cut_off = (0..10_000).any(|_| deaf.stream.write_all(&pings).is_err());
    assert!(cut_off);
    let mut other = Client::greeted(&sidecar);
    other.acquire(1, "k", Some(Duration::ZERO));
    assert!(matches!(other.hear(), Heard::Refused(1, Code::Held, _)));
    other.acquire(2, "another", None);
    other.granted(2);
}

#[test]
fn a_turn_is_finished_and_everybody_else_hears_what_it_left() {
    let sidecar = embedded().unwrap();
    let (mut a, mut b) = (Client::greeted(&sidecar), Client::greeted(&sidecar));
    let window = Window { per: Duration::from_secs(60), align: Align::Rolling };
    let turn = |request| ToSidecar::Acquire(Acquire { once: Some(window), ..ask(request, "k") });
    a.say(&turn(1));
    a.granted(1);
    b.say(&turn(1));
    let lease = LeaseName::Session(1);
    a.say(&ToSidecar::Finish { request: 2, lease, result: &[7; 65_537] });
    assert!(matches!(a.hear(), Heard::Refused(2, Code::TooLarge, _)));
    a.say(&ToSidecar::Finish { request: 3, lease, result: b"paid" });
    assert_eq!(a.hear(), Heard::Finished(3));
    assert_eq!(b.hear(), Heard::Done(1, b"paid".to_vec()));
    b.say(&turn(2));
    assert_eq!(b.hear(), Heard::Done(2, b"paid".to_vec()));
    a.say(&ToSidecar::Finish { request: 4, lease, result: b"" });
    assert!(matches!(a.hear(), Heard::Refused(4, Code::TurnClosed, _)));
    b.acquire(3, "k", Some(Duration::ZERO));
    b.granted(3);
}
