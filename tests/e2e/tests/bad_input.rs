//! What people and programs get wrong, at every door: each a clear typed error, nothing lost, nothing leaked.

use sidelock_e2e::frames::{Peer, hello, try_lock};
use sidelock_e2e::http::{Answer, raw};
use sidelock_e2e::process::{Process, run};
use sidelock_e2e::redis::Redis;
use sidelock_e2e::sidecar::{self, Sidecar};
use sidelock_e2e::{folder, process};
use sidelock_wire::{Acquire, FRAME_BYTES_MAX, Hello, Life, MAGIC, Mode, ToSidecar};
use std::ffi::OsString;
use std::io::Write;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

const YEAR: Duration = Duration::from_secs(365 * 86_400);

/// Checks a refusal over HTTP: status, code, and that it speaks to a person.
fn refused(answer: &Answer, status: u16, code: &str, says: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (status, code), "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{answer:?}");
    assert!(answer.body.contains(says), "{says:?} is said in {}", answer.body);
}

#[test]
fn http_says_which_field_is_wrong_and_what_is_allowed() {
    let sidecar = Sidecar::on_memory();
    let held = sidecar.lock("bystander", r#"{"ttl":"1m"}"#);
    let post = |path: &str, body: &str| sidecar.request("POST", path, body);
    let long = "k".repeat(513);

    refused(&post("/v1/locks/", ""), 400, "bad_request", "empty");
    refused(&post(&format!("/v1/locks/{long}"), ""), 413, "too_large", "513");
    refused(&post("/v1/locks/%ff%fe", ""), 400, "bad_request", "UTF-8");
    assert_eq!(post(&format!("/v1/locks/{}", &long[..512]), "").status, 200, "512 bytes are a key");

    refused(&post("/v1/semaphores/s", r#"{"limit":0}"#), 400, "bad_request", "limit");
    refused(&post("/v1/semaphores/s", r#"{"limit":2,"permits":3}"#), 400, "bad_request", "permits");
    refused(&post("/v1/semaphores/s", r#"{"limit":2,"permits":0}"#), 400, "bad_request", "permits");
    refused(&post("/v1/semaphores/s", "{}"), 400, "bad_request", "limit");

    refused(&post("/v1/locks/t", r#"{"ttl":"0s"}"#), 400, "bad_request", "ttl");
    refused(&post("/v1/locks/t", r#"{"ttl":"365d"}"#), 400, "bad_request", "ttl");
    refused(&post("/v1/locks/t", r#"{"ttl":"soon"}"#), 400, "bad_request", "ttl");
    refused(&post("/v1/locks/t", r#"{"wait":"11m"}"#), 400, "bad_request", "wait");
    refused(&post("/v1/locks/t", r#"{"mode":"sideways"}"#), 400, "bad_request", "sideways");

    refused(&post("/v1/locks/f", r#"{"colour":"red"}"#), 400, "bad_request", "colour");
    refused(&post("/v1/locks/f", r#"{"ttl":"#), 400, "bad_request", "");
    refused(&post("/v1/locks/f", "[]"), 400, "bad_request", "");
    refused(
        &post("/v1/locks/f", &format!(r#"{{"owner":"{}"}}"#, "o".repeat(300))),
        400,
        "bad_request",
        "owner",
    );
    refused(&post("/v1/locks/f", &" ".repeat(4 << 20)), 413, "too_large", "");

    refused(&post("/v1/nonsense", ""), 404, "not_found", "");
    refused(&sidecar.request("PATCH", "/v1/locks/f", ""), 405, "bad_request", "");
    refused(&sidecar.get("/v1/leases/not-an-id"), 404, "not_found", "");
    refused(
        &sidecar.request("DELETE", &format!("/v1/leases/{}", "0".repeat(40)), ""),
        410,
        "lease_lost",
        "restarted",
    );

    sidecar.unlock(&held);
}

#[test]
fn garbage_on_the_http_door_is_answered_or_cut_off_and_changes_nothing() {
    let sidecar = Sidecar::on_memory();
    let held = sidecar.lock("bystander", r#"{"ttl":"1m"}"#);
    for garbage in [
        &b"GET\r\n\r\n"[..],
        b"POST /v1/locks/a HTTP/9.9\r\n\r\n",
        b"POST /v1/locks/a HTTP/1.1\r\nContent-Length: banana\r\n\r\n",
        b"POST /v1/locks/a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"Quite something else\n",
    ] {
        let answer = raw(sidecar.socket(), garbage);
        assert!(matches!(answer.status, 0 | 400 | 505), "{garbage:?}: {answer:?}");
    }
    let neither = raw(sidecar.socket(), b"Quite something else\n");
    refused(&neither, 400, "bad_request", "no request of HTTP/1.1");
    let endless = [&b"GET / HTTP/1.1\r\nX: "[..], &vec![b'x'; 1 << 20]].concat();
    assert!(matches!(raw(sidecar.socket(), &endless).status, 0 | 400 | 431), "an endless header is cut off");
    sidecar.unlock(&held);
}

#[test]
fn the_frame_door_says_goodbye_with_a_code_and_closes() {
    let sidecar = Sidecar::on_memory();
    let mut bystander = Peer::greeted(sidecar.socket());
    assert_eq!(bystander.acquires(try_lock(1, "bystander")), "granted");

    let first_bytes: [(&str, Vec<u8>, &str); 4] = [
        ("another protocol", vec![0xff, 0xfe, 0xfd, 0xfc], "bad_request"),
        ("4 GiB", [&MAGIC[..], &u32::MAX.to_le_bytes()].concat(), "too_large"),
        ("an empty frame", [&MAGIC[..], &[0; 4]].concat(), "bad_request"),
        ("a request before the hello", [&MAGIC[..], &[1, 0, 0, 0, 6]].concat(), "bad_request"),
    ];
    for (what, bytes, code) in first_bytes {
        let mut peer = Peer::connect(sidecar.socket());
        peer.bytes(&bytes);
        assert_eq!(peer.goodbye(), code, "{what}");
    }
    let later_bytes: [(&str, Vec<u8>, &str); 4] = [
        ("an unknown kind", vec![1, 0, 0, 0, 0x7e], "bad_request"),
        ("4 GiB", u32::MAX.to_le_bytes().to_vec(), "too_large"),
        (
            "one byte too many",
            u32::try_from(FRAME_BYTES_MAX + 1).expect("fits").to_le_bytes().to_vec(),
            "too_large",
        ),
        ("an acquire that ends in its number", vec![3, 0, 0, 0, 2, 1, 1], "bad_request"),
    ];
    for (what, bytes, code) in later_bytes {
        let mut peer = Peer::greeted(sidecar.socket());
        peer.bytes(&bytes);
        assert_eq!(peer.goodbye(), code, "{what}");
    }
    for (hello, code) in [
        (Hello { version_min: 200, version_max: 201, ..hello() }, "bad_request"),
        (Hello { boottime_ns: 1, ..hello() }, "clock_mismatch"),
        (Hello { require_scope: Some(sidelock_wire::Scope::Fleet), ..hello() }, "scope_too_small"),
    ] {
        let mut peer = Peer::connect(sidecar.socket());
        peer.bytes(&MAGIC);
        peer.say(&ToSidecar::Hello(hello));
        assert_eq!(peer.goodbye(), code);
    }
    // Half a frame and then nothing more, ever: the door must not wait with anybody else's work for it.
    let mut half = Peer::greeted(sidecar.socket());
    half.bytes(&[200, 0, 0, 0, 2, 1]);

    assert_eq!(bystander.acquires(try_lock(2, "other")), "granted");
    let mut thief = Peer::greeted(sidecar.socket());
    assert_eq!(thief.acquires(try_lock(1, "bystander")), "held", "nothing was lost meanwhile");
}

#[test]
fn the_frame_door_refuses_requests_that_make_no_sense_and_stays_open() {
    let sidecar = Sidecar::on_memory();
    let mut peer = Peer::greeted(sidecar.socket());
    let long = [b'k'; 513];
    let timed = |ttl| Life::Timed { ttl };
    let permits = |permits, limit| Mode::Permits { permits, limit };
    let cases: [(&str, Acquire<'_>); 8] = [
        ("an empty key", Acquire { key: b"", ..try_lock(1, "k") }),
        ("a key that is no UTF-8", Acquire { key: b"\xff\xfe", ..try_lock(3, "k") }),
        ("limit 0", Acquire { mode: permits(1, 0), ..try_lock(4, "k") }),
        ("permits above the limit", Acquire { mode: permits(3, 2), ..try_lock(5, "k") }),
        ("no permits", Acquire { mode: permits(0, 2), ..try_lock(6, "k") }),
        ("ttl 0", Acquire { life: timed(Duration::ZERO), ..try_lock(7, "k") }),
        ("ttl of a year", Acquire { life: timed(YEAR), ..try_lock(8, "k") }),
        ("a priority out of range", Acquire { priority: 1_000_000, ..try_lock(9, "k") }),
    ];
    for (what, acquire) in cases {
        assert_eq!(peer.acquires(acquire), "bad_request", "{what}");
    }
    assert_eq!(peer.acquires(Acquire { key: &long, ..try_lock(2, "k") }), "too_large");
    assert_eq!(peer.acquires(try_lock(10, "k")), "granted", "the session goes on");
}

/// H14. Memory is for what came, not for what was announced, and who talks without end is sent away.
#[test]
fn what_is_only_announced_costs_no_memory() {
    /// Connections of each kind, all open at once.
    const EACH: usize = 200;
    /// A session costs a few KiB, buffers included; the frames announced here are 128 KiB each, the rest 4 GiB.
    const KIB_PER_CONNECTION_MAX: u64 = 24;
    let sidecar = Sidecar::on_memory();
    let held = sidecar.lock("bystander", r#"{"ttl":"1m"}"#);
    let before_kib = sidecar.resident_kib();

    let mut half_said = Vec::new();
    let mut peers = Vec::new();
    for _ in 0..EACH {
        let mut giant = Peer::greeted(sidecar.socket());
        giant.bytes(&u32::MAX.to_le_bytes());
        assert_eq!(giant.goodbye(), "too_large");
        let mut largest = Peer::greeted(sidecar.socket());
        largest.bytes(&u32::try_from(FRAME_BYTES_MAX).expect("fits").to_le_bytes());
        largest.bytes(&[2]);
        peers.push(largest);
        for bytes in [
            "POST /v1/locks/k HTTP/1.1\r\nContent-Length: 4294967296\r\n\r\n{",
            "POST /v1/locks/k HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n100000000\r\n{",
            "GET /livez HTTP/1.1\r\nX: ",
        ] {
            let mut stream = UnixStream::connect(sidecar.socket()).expect("the sidecar listens");
            stream.write_all(bytes.as_bytes()).expect("the sidecar reads");
            half_said.push(stream);
        }
    }
    let mut endless = UnixStream::connect(sidecar.socket()).expect("the sidecar listens");
    endless.write_all(b"GET /livez HTTP/1.1\r\n").expect("the sidecar reads");
    let sent = (0..).take_while(|_| endless.write_all(b"X: endless\r\n").is_ok()).take(1 << 20).count();
    assert!(sent < 1 << 20, "who sends headers without end is cut off");

    // Answered after everything above was read.
    sidecar.unlock(&held);
    let connections = (half_said.len() + peers.len()) as u64;
    let grown_kib = sidecar.resident_kib().saturating_sub(before_kib);
    println!("{connections} connections announced much: {grown_kib} KiB");
    assert!(
        grown_kib < connections * KIB_PER_CONNECTION_MAX,
        "{grown_kib} KiB for {connections} connections"
    );
}

#[test]
fn the_command_line_says_what_is_wrong_and_exits_2() {
    let sidecar = Sidecar::on_memory();
    let not_utf8 = OsString::from_vec(vec![b'a', 0xff]);
    let long = "k".repeat(513);
    for arguments in [
        vec!["lock".into(), "".into()],
        vec!["lock".into(), long.into()],
        vec!["lock".into(), not_utf8],
        vec!["lock".into(), "k".into(), "--ttl".into(), "0s".into()],
        vec!["lock".into(), "k".into(), "--ttl".into(), "365d".into()],
        vec!["lock".into(), "k".into(), "--ttl".into(), "soon".into()],
        vec!["lock".into(), "k".into(), "--colour".into(), "red".into()],
        vec!["run".into(), "k".into(), "--limit".into(), "0".into(), "--".into(), "true".into()],
        vec![
            "run".into(),
            "k".into(),
            "--permits".into(),
            "3".into(),
            "--limit".into(),
            "2".into(),
            "--".into(),
            "true".into(),
        ],
        vec!["nonsense".into()],
    ] {
        let (code, output) = sidecar.verb::<OsString>(arguments.clone());
        assert_eq!(code, 2, "{arguments:?}: {output}");
        assert!(output.starts_with("sidelock: ") && !output.contains("panicked"), "{arguments:?}: {output}");
    }
}

#[test]
fn no_sidecar_is_exit_5_and_says_where_it_looked() {
    let nowhere = folder();
    let socket = nowhere.path().join("nobody.sock");
    let mut command = sidecar::command(["lock", "k"]);
    command.env("SIDELOCK_SOCKET", &socket);
    let (code, output) = run(command);
    assert_eq!(code, 5, "{output}");
    assert!(output.contains(&*socket.to_string_lossy()), "{output}");
}

/// Starts `serve` where it cannot work; what it says before it ends with this code.
fn does_not_start(socket: &Path, flags: &[&str], code: i32) -> String {
    let mut process = Process::spawn(Sidecar::command(socket, flags));
    assert_eq!(process.code(), code, "{}", process.output());
    let output = process.output();
    assert!(output.contains("sidelock:") && !output.contains("panicked"), "{output}");
    output
}

#[test]
fn a_second_sidecar_on_the_same_socket_does_not_start_and_does_not_disturb() {
    let first = Sidecar::on_memory();
    let held = first.lock("k", r#"{"ttl":"1m"}"#);
    let said = does_not_start(first.socket(), &["--store", "memory"], 1);
    assert!(said.contains(&*first.socket().to_string_lossy()), "{said}");
    assert_eq!(first.request("POST", "/v1/locks/k", "").code(), "held");
    first.unlock(&held);
}

#[test]
fn a_socket_path_that_the_kernel_cannot_take_is_refused_with_its_length() {
    let place = folder();
    let said = does_not_start(&place.path().join("x".repeat(200)), &["--store", "memory"], 2);
    assert!(said.contains("107"), "the limit is said: {said}");
}

#[test]
fn a_folder_that_everybody_may_write_is_refused() {
    let place = folder();
    let open = place.path().join("open");
    std::fs::create_dir(&open).expect("a folder can be made");
    std::fs::set_permissions(&open, PermissionsExt::from_mode(0o777)).expect("our folder");
    let said = does_not_start(&open.join("s.sock"), &["--store", "memory"], 1);
    assert!(said.contains(&*open.to_string_lossy()), "the folder is named: {said}");
}

#[test]
fn a_wrong_redis_password_is_a_clear_error_that_does_not_repeat_it() {
    let redis = Redis::with_password("correct-horse");
    let place = folder();
    let file = place.path().join("password");
    std::fs::write(&file, "wrong-battery\n").expect("our folder");
    let file = file.to_string_lossy().into_owned();

    let sidecar = Sidecar::with(&["--redis", &redis.url(), "--redis-password-file", &file]);
    sidecar.line("that Redis refuses the password", |line| line.contains("password"));
    refused(&sidecar.request("POST", "/v1/locks/k", ""), 503, "store_unavailable", "");
    assert!(!sidecar.output().contains("wrong-battery"), "{}", sidecar.output());

    std::fs::write(&file, "correct-horse\n").expect("our folder");
    sidecar.signal(rustix::process::Signal::HUP);
    process::until(Duration::from_secs(10), "the right password lets it in", || {
        (sidecar.request("POST", "/v1/locks/k", "").status == 200).then_some(())
    });
    assert!(!sidecar.output().contains("correct-horse"), "{}", sidecar.output());
}
