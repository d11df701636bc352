//! What people and programs get wrong: each a clear typed error, and nothing changes.

use super::{Answer, Rig, SOMEBODY, request, with_config, with_sidecar};
use crate::config::Config;

/// One wrong request: method, path, body, and the status, code and field of its refusal.
type Case<'a> = (&'a str, &'a str, &'a str, u16, &'a str, &'a str);

async fn check(rig: &Rig, (method, path, body, status, code, field): Case<'_>) {
    let answer = rig.ask(method, path, body).await;
    assert_eq!(answer.refusal(), (status, code.to_owned()), "{method} {path} {body}: {answer:?}");
    let problem = answer.json();
    assert_eq!(problem["field"].as_str().unwrap_or(""), field, "{method} {path} {body}: {answer:?}");
}

async fn ask_with(rig: &Rig, header: &str) -> Answer {
    rig.ask_as(SOMEBODY, "POST", "/v1/locks/k", &[header], "{}").await
}

#[test]
fn each_mistake_is_named() {
    const LOCK: &str = "/v1/locks/k";
    const SEM: &str = "/v1/semaphores/k";
    const BAD: &str = "bad_request";
    let cases: &[Case<'_>] = &[
        ("POST", "/v1/locks/", "", 400, BAD, "key"),
        ("POST", "/v1/locks/%ff%fe", "", 400, BAD, "key"),
        ("GET", "/v1/locks/%ff", "", 400, BAD, "key"),
        ("POST", SEM, r#"{"limit":0}"#, 400, BAD, "limit"),
        ("POST", SEM, r#"{"limit":1000001}"#, 400, BAD, "limit"),
        ("POST", SEM, r#"{"limit":-1}"#, 400, BAD, "limit"),
        ("POST", SEM, "", 400, BAD, "limit"),
        ("POST", SEM, r#"{"limit":2,"permits":3}"#, 400, BAD, "permits"),
        ("POST", SEM, r#"{"limit":2,"permits":0}"#, 400, BAD, "permits"),
        ("POST", SEM, r#"{"limit":2,"per":"1ms"}"#, 400, BAD, "per"),
        ("POST", SEM, r#"{"limit":2,"per":"2h"}"#, 400, BAD, "per"),
        ("POST", SEM, r#"{"limit":2,"per":60}"#, 400, BAD, "per"),
        ("POST", SEM, r#"{"limit":2,"mode":"shared"}"#, 400, BAD, "mode"),
        ("POST", LOCK, r#"{"ttl":"0s"}"#, 400, BAD, "ttl"),
        ("POST", LOCK, r#"{"ttl":"99ms"}"#, 400, BAD, "ttl"),
        ("POST", LOCK, r#"{"ttl":"365d"}"#, 400, BAD, "ttl"),
        ("POST", LOCK, r#"{"ttl":"soon"}"#, 400, BAD, "ttl"),
        ("POST", LOCK, r#"{"ttl":30}"#, 400, BAD, "ttl"),
        ("POST", LOCK, r#"{"wait":"11m"}"#, 400, BAD, "wait"),
        ("POST", LOCK, r#"{"wait":"forever"}"#, 400, BAD, "wait"),
        ("POST", LOCK, r#"{"max_hold":"0s"}"#, 400, BAD, "max_hold"),
        ("POST", LOCK, r#"{"mode":"sideways"}"#, 400, BAD, "mode"),
        ("POST", LOCK, r#"{"owner":""}"#, 400, BAD, "owner"),
        ("POST", LOCK, r#"{"priority":101}"#, 400, BAD, "priority"),
        ("POST", LOCK, r#"{"reentrant":true}"#, 400, BAD, "owner"),
        ("POST", LOCK, r#"{"owner":"o","reentrant":1}"#, 400, BAD, "reentrant"),
        ("POST", SEM, r#"{"limit":2,"owner":"o","reentrant":true}"#, 400, BAD, "reentrant"),
        ("POST", LOCK, r#"{"colour":"red"}"#, 400, BAD, "colour"),
        ("POST", LOCK, r#"{"ttl":"#, 400, BAD, "body"),
        ("POST", LOCK, "[]", 400, BAD, "body"),
        ("POST", "/v1/locks/k?steam=1", "", 400, BAD, "steam"),
        ("POST", "/v1/locks/k?stream=yes", "", 400, BAD, "stream"),
        ("GET", "/v1/locks?prefx=a", "", 400, BAD, "prefx"),
        ("GET", "/v1/nonsense", "", 404, "not_found", ""),
        ("GET", "/", "", 404, "not_found", ""),
        ("GET", "/v1/leases/not-an-id", "", 404, "not_found", ""),
        ("DELETE", "/v1/leases/", "", 404, "not_found", ""),
        ("PATCH", LOCK, "", 405, BAD, ""),
        ("DELETE", LOCK, "", 405, BAD, ""),
        ("GET", SEM, "", 405, BAD, ""),
        ("POST", "/v1/locks", "", 400, BAD, "keys"),
        ("POST", "/v1/locks", r#"{"keys":["a",""]}"#, 400, BAD, "key"),
        ("POST", "/v1/locks?stream=1", r#"{"keys":["a"]}"#, 400, BAD, "stream"),
        ("DELETE", "/v1/locks", "", 405, BAD, ""),
        ("POST", "/livez", "", 405, BAD, ""),
    ];
    with_sidecar(|rig| async move {
        let held = rig.lock("bystander", "").await;
        for case in cases {
            check(&rig, *case).await;
        }
        let counts = rig.door.handle.counts().await.expect("the sidecar lives");
        assert_eq!((counts.leases, counts.waiters, counts.keys), (1, 0, 1), "nothing changed");
        rig.unlock(&held).await;
    });
}

#[test]
fn a_key_has_at_most_512_bytes() {
    with_sidecar(|rig| async move {
        let long = "k".repeat(512);
        rig.lock(&long, "").await;
        let answer = rig.post(&format!("/v1/locks/{long}k"), "").await;
        answer.is_refused(413, "too_large");
        assert!(answer.body.contains("513") && answer.body.contains("512"), "{answer:?}");
    });
}

#[test]
fn a_misspelt_field_is_told_the_right_one() {
    with_sidecar(|rig| async move {
        let answer = rig.post("/v1/locks/k", r#"{"wiat":"5s"}"#).await;
        assert!(answer.body.contains(r#"did you mean \"wait\""#), "{answer:?}");
    });
}

#[test]
fn a_wrong_method_is_told_the_right_ones() {
    with_sidecar(|rig| async move {
        let answer = rig.ask("PATCH", "/v1/locks/k", "").await;
        assert_eq!(answer.header("allow"), Some("get, head, post"), "{answer:?}");
    });
}

#[test]
fn the_content_type_does_not_matter_but_the_encoding_does() {
    with_sidecar(|rig| async move {
        let ask = |header: &'static str| ask_with(&rig, header);
        assert_eq!(ask("Content-Type: text/plain").await.status, 200);
        ask("Content-Encoding: gzip").await.is_refused(415, "bad_request");
        ask("Content-Encoding: identity").await.is_refused(409, "held");
    });
}

#[test]
fn a_body_has_a_limit_that_is_named() {
    let mut config = Config::default();
    config.limits.frame_bytes_max = 2048;
    with_config(config, |rig| async move {
        assert_eq!(rig.post("/v1/locks/fits", &" ".repeat(2048)).await.status, 200);
        let answer = rig.post("/v1/locks/k", &" ".repeat(2049)).await;
        answer.is_refused(413, "too_large");
        assert!(answer.body.contains("frame_bytes_max") && answer.body.contains("2048"), "{answer:?}");
        let chunked = "POST /v1/locks/k HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned();
        let chunk = format!("800\r\n{}\r\n", " ".repeat(0x800));
        rig.raw((chunked + &chunk + &chunk).as_bytes()).await.is_refused(413, "too_large");
    });
}

#[test]
fn meta_has_a_limit() {
    with_sidecar(|rig| async move {
        let meta = |bytes: usize| format!(r#"{{"meta":{{"a":"{}"}}}}"#, "x".repeat(bytes - 1));
        assert_eq!(rig.post("/v1/locks/fits", &meta(4096)).await.status, 200);
        rig.post("/v1/locks/k", &meta(4097)).await.is_refused(400, "bad_request");
    });
}

#[test]
fn a_head_has_a_limit() {
    with_sidecar(|rig| async move {
        let long = format!("X-Long: {}", "x".repeat(32 << 10));
        let answer = rig.raw(request("GET", "/livez", &[&long], "").as_bytes()).await;
        assert_eq!(answer.status, 431, "{answer:?}");
        let headers: Vec<String> = (0..100).map(|n| format!("X-{n}: y")).collect();
        let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
        let answer = rig.raw(request("GET", "/livez", &headers, "").as_bytes()).await;
        assert_eq!(answer.status, 431, "{answer:?}");
    });
}

#[test]
fn a_demanded_scope_is_kept_or_refused() {
    with_sidecar(|rig| async move {
        let ask = |header: &'static str| ask_with(&rig, header);
        ask("Sidelock-Require-Scope: fleet").await.is_refused(400, "scope_too_small");
        ask("Sidelock-Require-Scope: galaxy").await.is_refused(400, "bad_request");
        assert_eq!(ask("Sidelock-Require-Scope: host").await.status, 200);
    });
}
