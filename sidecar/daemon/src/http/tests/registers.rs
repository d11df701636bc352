//! Registers: values, ETags, conditions, leases, long polls.

use super::{Answer, Rig, SOMEBODY, SOMEBODY_ELSE, with_config, with_sidecar};
use crate::config::Config;
use crate::http::register::WATCH_WAIT_DEFAULT;
use std::time::Duration;
use tokio::time::timeout;

const KEY: &str = "/v1/registers/stock/42";

impl Rig {
    async fn register(&self, method: &str, headers: &[&str], body: &str) -> Answer {
        self.ask_as(SOMEBODY, method, KEY, headers, body).await
    }

    /// A new value; its ETag.
    async fn put(&self, value: &str) -> String {
        let answer = self.register("PUT", &[], value).await;
        assert_eq!(answer.status, 204, "{answer:?}");
        answer.header("etag").expect("a version").to_owned()
    }
}

#[test]
fn a_value_is_opaque_and_its_etag_is_an_etag() {
    with_sidecar(|rig| async move {
        rig.register("GET", &[], "").await.is_refused(404, "not_found");
        let etag = rig.put("{\"left\": 7").await;
        assert!(etag.starts_with('"') && etag.ends_with('"'), "{etag}");
        let answer = rig.register("GET", &[], "").await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "{\"left\": 7"), "JSON or not");
        assert_eq!(answer.header("etag"), Some(etag.as_str()));
        assert_eq!(answer.header("content-type"), Some("application/octet-stream"));
        let head = rig.register("HEAD", &[], "").await;
        assert_eq!((head.status, head.body.as_str(), head.header("etag")), (200, "", Some(etag.as_str())));
        assert_ne!(rig.put("{\"left\": 7").await, etag, "another write is another version");
        assert_eq!(rig.register("DELETE", &[], "").await.status, 204);
        rig.register("DELETE", &[], "").await.is_refused(404, "not_found");
        rig.register("GET", &[], "").await.is_refused(404, "not_found");
        assert_eq!(rig.put("").await.len(), etag.len(), "an empty value is one");
        assert_eq!(rig.register("GET", &[], "").await.status, 200);
    });
}

#[test]
fn a_condition_that_fails_tells_what_is_there() {
    with_sidecar(|rig| async move {
        let answer = rig.register("PUT", &["If-Match: *"], "1").await;
        answer.is_refused(412, "conflict");
        assert_eq!((answer.header("etag"), answer.json()["value_base64"].as_str()), (None, None));
        let answer = rig.register("PUT", &["If-None-Match: *"], "1").await;
        let etag = answer.header("etag").expect("it was written").to_owned();
        for (method, condition) in
            [("PUT", "If-None-Match: *"), ("PUT", "If-Match: \"5\""), ("DELETE", "If-Match: \"5\"")]
        {
            let answer = rig.register(method, &[condition], "2").await;
            answer.is_refused(412, "conflict");
            assert_eq!(answer.header("etag"), Some(etag.as_str()), "{method} {condition}");
            assert_eq!(answer.json()["value_base64"], "MQ==");
            assert_eq!(answer.json()["etag"], etag.trim_matches('"'));
        }
        let matches = format!("If-Match: {etag}");
        let answer = rig.register("PUT", &[&matches], "2").await;
        let newer = answer.header("etag").expect("it was written").to_owned();
        rig.register("PUT", &[&matches], "3").await.is_refused(412, "conflict");
        assert_eq!(rig.register("DELETE", &[&format!("If-Match: {newer}")], "").await.status, 204);
        rig.register("DELETE", &[&format!("If-Match: {newer}")], "").await.is_refused(412, "conflict");
    });
}

/// RFC 9110, 13.1.1: If-Match compares strongly, and a weak tag is never equal then.
#[test]
fn a_weak_tag_matches_nothing_and_quotes_may_be_left_out() {
    with_sidecar(|rig| async move {
        let etag = rig.put("1").await;
        rig.register("PUT", &[&format!("If-Match: W/{etag}")], "2").await.is_refused(412, "conflict");
        let bare = etag.trim_matches('"');
        assert_eq!(rig.register("GET", &[&format!("If-None-Match: {bare}")], "").await.status, 304);
        assert_eq!(rig.register("PUT", &[&format!("If-Match: {bare}")], "2").await.status, 204);
    });
}

#[test]
fn who_has_the_value_is_not_sent_it_again() {
    with_sidecar(|rig| async move {
        let etag = rig.put("1").await;
        let answer = rig.register("GET", &[&format!("If-None-Match: {etag}")], "").await;
        assert_eq!(
            (answer.status, answer.body.as_str(), answer.header("etag")),
            (304, "", Some(etag.as_str()))
        );
        rig.put("2").await;
        let answer = rig.register("GET", &[&format!("If-None-Match: {etag}")], "").await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "2"));
    });
}

#[test]
fn a_watch_answers_when_the_value_is_another() {
    with_sidecar(|rig| async move {
        let watch = |etag: Option<&str>, wait: &str| {
            let condition = etag.map(|etag| format!("If-None-Match: {etag}"));
            let path = format!("{KEY}?watch=1&wait={wait}");
            let rig = &rig;
            async move {
                let headers: Vec<&str> = condition.iter().map(String::as_str).collect();
                rig.ask_as(SOMEBODY, "GET", &path, &headers, "").await
            }
        };
        watch(None, "10ms").await.is_refused(404, "not_found");
        let pointless = format!("{KEY}?wait=10ms");
        for headers in [&[][..], &["If-None-Match: x"]] {
            rig.ask_as(SOMEBODY, "GET", &pointless, headers, "").await.is_refused(400, "bad_request");
        }
        let (found, etag) = tokio::join!(watch(None, "1m"), rig.put("1"));
        assert_eq!((found.status, found.body.as_str()), (200, "1"), "the first value");
        let waited = watch(Some(&etag), "10ms").await;
        assert_eq!((waited.status, waited.header("etag")), (304, Some(etag.as_str())));
        let (found, newer) = tokio::join!(watch(Some(&etag), "1m"), rig.put("2"));
        assert_eq!((found.status, found.body.as_str()), (200, "2"));
        assert_eq!(watch(Some(&etag), "1m").await.body, "2", "at once, for who comes late");
        let (gone, deleted) = tokio::join!(watch(Some(&newer), "1m"), rig.register("DELETE", &[], ""));
        gone.is_refused(404, "not_found");
        assert_eq!(deleted.status, 204);
    });
}

#[test]
fn a_lease_fences_while_it_stands() {
    with_sidecar(|rig| async move {
        let lease = rig.lock("stock/42", "").await;
        let header = |lease: &serde_json::Value| {
            format!("Sidelock-Lease: {}", lease["lease"].as_str().unwrap_or_default())
        };
        let mine = header(&lease);
        assert_eq!(rig.register("PUT", &[&mine], "1").await.status, 204);
        let read = rig.register("GET", &[&mine], "").await;
        assert_eq!(read.body, "1");
        // What the client has already is checked under the lease all the same, and not sent again.
        let known = format!("If-None-Match: {}", read.header("etag").expect("a version"));
        let again = rig.register("GET", &[&mine, &known], "").await;
        assert_eq!((again.status, again.header("etag")), (304, read.header("etag")), "{again:?}");
        rig.ask_as(SOMEBODY_ELSE, "PUT", KEY, &[&mine], "2").await.is_refused(403, "not_held");
        let other = header(&rig.lock("stock/43", "").await);
        rig.register("PUT", &[&other], "2").await.is_refused(400, "bad_request");
        rig.unlock(&lease).await;
        for method in ["PUT", "GET", "DELETE"] {
            rig.register(method, &[&mine], "2").await.is_refused(412, "stale_fence");
        }
        rig.register("GET", &[&mine, &known], "").await.is_refused(412, "stale_fence");
        let shared = header(&rig.lock("stock/42", r#"{"mode":"shared"}"#).await);
        rig.register("PUT", &[&shared], "2").await.is_refused(400, "bad_request");
        rig.register("PUT", &["Sidelock-Lease: nonsense"], "2").await.is_refused(400, "bad_request");
        let earlier_life = format!("Sidelock-Lease: {:040x}", 7);
        rig.register("PUT", &[&earlier_life], "2").await.is_refused(412, "stale_fence");
        assert_eq!(rig.register("GET", &[], "").await.body, "1");
    });
}

#[test]
fn contradictions_and_excesses_are_refused() {
    with_config(
        Config {
            limits: crate::config::Limits { value_bytes_max: 4, ..Default::default() },
            ..Config::default()
        },
        |rig| async move {
            let answer = rig.register("PUT", &[], "12345").await;
            answer.is_refused(413, "too_large");
            assert_eq!(answer.json()["limit"], 4);
            let wrong: [(&str, &[&str]); 8] = [
                ("PUT", &["If-Match: \"1\"", "If-None-Match: *"]),
                ("PUT", &["If-None-Match: \"1\""]),
                ("PUT", &["If-Match: \"1\", \"2\""]),
                ("PUT", &["If-Match: \"1\"", "If-Match: \"2\""]),
                ("GET", &["If-Match: \"1\""]),
                ("GET", &["If-None-Match: *"]),
                ("DELETE", &["If-None-Match: *"]),
                ("PUT", &["If-Match: \"\u{e9}\""]),
            ];
            for (method, headers) in wrong {
                rig.register(method, headers, "1").await.is_refused(400, "bad_request");
            }
            for query in ["wait=5s", "watch=2", "watch=1&wait=11m", "watch=1&wait=soon"] {
                rig.get(&format!("{KEY}?{query}")).await.is_refused(400, "bad_request");
            }
            rig.ask("POST", KEY, "").await.is_refused(405, "bad_request");
            rig.get("/v1/registers").await.is_refused(404, "not_found");
            rig.ask("PUT", "/v1/registers/", "1").await.is_refused(400, "bad_request");
        },
    );
}

#[test]
fn a_watch_that_says_no_wait_waits_no_longer_than_is_allowed() {
    let limits = crate::config::Limits { http_wait_max: Duration::from_millis(50), ..Default::default() };
    with_config(Config { limits, ..Config::default() }, |rig| async move {
        let watched = timeout(WATCH_WAIT_DEFAULT / 2, rig.get(&format!("{KEY}?watch=1"))).await;
        watched.expect("the longest wait is over").is_refused(404, "not_found");
    });
}
