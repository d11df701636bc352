//! `Idempotency-Key`: a repeated POST gets the lease that the first one got.

use super::{Answer, Rig, SOMEBODY, SOMEBODY_ELSE, answer_on, request, with_sidecar};
use crate::handle::Peer;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

const NAME: &str = "Idempotency-Key: 7f9c";

async fn repeat_as(rig: &Rig, peer: Peer, path: &str, body: &str) -> Answer {
    rig.ask_as(peer, "POST", path, &[NAME], body).await
}

async fn repeat(rig: &Rig, path: &str, body: &str) -> Answer {
    repeat_as(rig, SOMEBODY, path, body).await
}

async fn begin(rig: &Rig, body: &str) -> UnixStream {
    let mut stream = rig.connect();
    let bytes = request("POST", "/v1/locks/k", &[NAME], body);
    stream.write_all(bytes.as_bytes()).await.expect("the door reads");
    stream
}

#[test]
fn a_repeat_gets_the_same_lease() {
    with_sidecar(|rig| async move {
        let first = repeat(&rig, "/v1/locks/k", "").await.json();
        let again = repeat(&rig, "/v1/locks/k", "").await.json();
        assert_eq!((&first["lease"], &first["fence"]), (&again["lease"], &again["fence"]));
        assert!(again["expires_in"].as_f64() < first["expires_in"].as_f64(), "as it stands now");
        rig.post("/v1/locks/k", "").await.is_refused(409, "held");
    });
}

#[test]
fn another_request_under_the_same_name_is_an_error() {
    with_sidecar(|rig| async move {
        assert_eq!(repeat(&rig, "/v1/locks/k", "").await.status, 200);
        repeat(&rig, "/v1/locks/other", "").await.is_refused(400, "bad_request");
        repeat(&rig, "/v1/locks/k", r#"{"ttl":"1m"}"#).await.is_refused(400, "bad_request");
    });
}

#[test]
fn another_user_has_names_of_their_own() {
    with_sidecar(|rig| async move {
        assert_eq!(repeat(&rig, "/v1/locks/k", "").await.status, 200);
        repeat_as(&rig, SOMEBODY_ELSE, "/v1/locks/k", "").await.is_refused(409, "held");
    });
}

#[test]
fn a_refusal_is_not_remembered() {
    with_sidecar(|rig| async move {
        let held = rig.lock("k", "").await;
        repeat(&rig, "/v1/locks/k", "").await.is_refused(409, "held");
        rig.unlock(&held).await;
        assert_eq!(repeat(&rig, "/v1/locks/k", "").await.status, 200);
    });
}

#[test]
fn a_lease_that_is_gone_is_not_taken_again() {
    with_sidecar(|rig| async move {
        let lease = repeat(&rig, "/v1/locks/k", "").await.json();
        rig.unlock(&lease).await;
        repeat(&rig, "/v1/locks/k", "").await.is_refused(404, "not_found");
        assert_eq!(rig.post("/v1/locks/k", "").await.status, 200, "a late repeat holds nothing");
    });
}

#[test]
fn a_repeat_takes_over_from_a_client_that_left_while_waiting() {
    with_sidecar(|rig| async move {
        let held = rig.lock("k", "").await;
        let mut events = rig.events();
        let body = r#"{"wait":"10m"}"#;
        let first = begin(&rig, body).await;
        events.queued("k").await;
        let second = begin(&rig, body).await;
        let info = rig.get("/v1/info").await.json();
        assert_eq!(info["waiters"], 1, "the repeat waits for the first, not in the queue");
        drop(first);
        events.cancelled("k").await;
        events.queued("k").await;
        rig.unlock(&held).await;
        assert!(answer_on(second).await.json()["lease"].is_string());
    });
}

#[test]
fn a_name_has_limits_and_none_belongs_to_a_stream() {
    with_sidecar(|rig| async move {
        let long = format!("Idempotency-Key: {}", "n".repeat(256));
        rig.ask_as(SOMEBODY, "POST", "/v1/locks/k", &[&long], "").await.is_refused(400, "bad_request");
        repeat(&rig, "/v1/locks/k?stream=1", "").await.is_refused(400, "bad_request");
        let lease = rig.lock("k", r#"{"mode":"shared"}"#).await;
        repeat(&rig, &super::path_of(&lease), r#"{"mode":"exclusive"}"#).await.is_refused(400, "bad_request");
        let twice = [NAME, "idempotency-key: another"];
        rig.ask_as(SOMEBODY, "POST", "/v1/locks/l", &twice, "").await.is_refused(400, "bad_request");
    });
}
