//! Once per window: who runs, who skips and with what, and how a turn ends.

use super::{SOMEBODY_ELSE, answer_on, path_of, with_sidecar};
use serde_json::Value;
use sidelock_engine::EventKind;

const DAY: &str = r#"{"per":"24h"}"#;
const WAITING: &str = r#"{"per":"24h","wait":"5s"}"#;

fn result_of(turn: &Value) -> String {
    format!("{}/result", path_of(&turn["lease"]))
}

#[test]
fn the_first_runs_and_the_others_have_its_result() {
    with_sidecar(|rig| async move {
        let turn = rig.post("/v1/once/pay/42", DAY).await.json();
        assert_eq!((&turn["won"], &turn["lease"]["key"]), (&true.into(), &"pay/42".into()));
        rig.post("/v1/once/pay/42", DAY).await.is_refused(409, "held");
        let mut events = rig.events();
        let (waited, finished) = tokio::join!(rig.post("/v1/once/pay/42", WAITING), async {
            events.queued("pay/42").await;
            rig.ask("PUT", &result_of(&turn), "paid").await
        });
        assert_eq!((finished.status, &finished.json()["durability"]), (200, &"memory".into()));
        let at = finished.json()["finished_at"].as_u64().expect("a number");
        let end = finished.json()["window_end"].as_u64().expect("a number");
        assert!((86_390_000..=86_400_000).contains(&(end - at)), "{finished:?}");
        let later = rig.post("/v1/once/pay/42", DAY).await;
        for done in [waited.json(), later.json()] {
            assert_eq!((&done["won"], &done["result_base64"]), (&false.into(), &"cGFpZA==".into()));
            assert_eq!((&done["finished_at"], &done["window_end"]), (&at.into(), &end.into()));
            assert!(done.get("lease").is_none());
        }
        rig.lock("pay/42", "").await;
        assert_eq!(rig.post("/v1/once/pay/43", DAY).await.json()["won"], true);
    });
}

#[test]
fn a_turn_given_back_or_expired_is_the_next_ones() {
    with_sidecar(|rig| async move {
        let first = rig.post("/v1/once/k", DAY).await.json();
        let mut events = rig.events();
        let (second, ()) = tokio::join!(rig.post("/v1/once/k", WAITING), async {
            events.queued("k").await;
            rig.unlock(&first["lease"]).await;
        });
        assert_eq!(second.json()["won"], true);
        rig.unlock(&second.json()["lease"]).await;
        let short = rig.post("/v1/once/k", r#"{"per":"24h","ttl":"100ms"}"#).await.json();
        assert_eq!(rig.post("/v1/once/k", WAITING).await.json()["won"], true);
        rig.ask("PUT", &result_of(&short), "").await.is_refused(410, "lease_lost");
    });
}

#[test]
fn what_is_wished_of_a_turn_is_heeded() {
    with_sidecar(|rig| async move {
        let mut events = rig.events();
        let body = r#"{"per":"24h","owner":"importer","ttl":"10m","priority":1,"meta":{"a":"b"}}"#;
        let turn = rig.post("/v1/once/k", body).await.json();
        let waiting = rig.begin("POST", "/v1/once/k", r#"{"per":"24h","wait":"10m","priority":3}"#).await;
        events.queued("k").await;
        let seen = rig.get("/v1/locks/k?space=once").await.json();
        assert_eq!(
            (&seen["holders"][0]["owner"], &seen["queue"][0]["priority"]),
            (&"importer".into(), &3.into())
        );
        let left = seen["holders"][0]["expires_in"].as_f64().expect("seconds");
        assert!((500.0..=600.0).contains(&left), "{seen}");
        rig.unlock(&turn["lease"]).await;
        assert_eq!(answer_on(waiting).await.json()["won"], true);
        let short = rig.post("/v1/once/other", r#"{"per":"24h","max_hold":"50ms"}"#).await.json();
        events.until("other", |kind| matches!(kind, EventKind::Lost { .. })).await;
        let late = rig.ask("PUT", &result_of(&short), "").await;
        late.is_refused(410, "lease_lost");
        assert_eq!(late.json()["reason"], "max_hold");
        let chatty = format!(r#"{{"per":"1h","meta":{{"a":"{}"}}}}"#, "x".repeat(4_097));
        let refused = rig.post("/v1/once/k", &chatty).await;
        refused.is_refused(400, "bad_request");
        assert_eq!(refused.json()["field"], "meta");
    });
}

#[test]
fn a_turn_is_finished_once_by_who_has_it() {
    with_sidecar(|rig| async move {
        let turn = rig.post("/v1/once/k", DAY).await.json();
        let path = result_of(&turn);
        rig.ask_as(SOMEBODY_ELSE, "PUT", &path, &[], "mine").await.is_refused(403, "not_held");
        let large = rig.ask("PUT", &path, &"x".repeat(65_537)).await;
        large.is_refused(413, "too_large");
        assert_eq!(large.json()["limit"], 65_536);
        assert_eq!(rig.ask("PUT", &path, &"x".repeat(65_536)).await.status, 200);
        rig.ask("PUT", &path, "").await.is_refused(409, "turn_closed");
        let given_back = rig.post("/v1/once/other", DAY).await.json();
        rig.unlock(&given_back["lease"]).await;
        rig.ask("PUT", &result_of(&given_back), "").await.is_refused(409, "turn_closed");
        let lock = rig.lock("k", "").await;
        let no_turn = rig.ask("PUT", &format!("{}/result", path_of(&lock)), "").await;
        no_turn.is_refused(400, "bad_request");
        assert!(no_turn.json()["detail"].as_str().is_some_and(|detail| detail.contains("no turn")));
        let earlier_life = rig.ask("PUT", &format!("/v1/leases/{}/result", "0".repeat(40)), "").await;
        earlier_life.is_refused(410, "lease_lost");
        rig.ask("GET", &path, "").await.is_refused(405, "bad_request");
    });
}

#[test]
fn a_window_has_a_length_and_an_end() {
    with_sidecar(|rig| async move {
        for (body, field) in [
            ("{}", "per"),
            (r#"{"per":"0"}"#, "per"),
            (r#"{"per":"367d"}"#, "per"),
            (r#"{"per":24}"#, "per"),
            (r#"{"per":"1h","align":"local"}"#, "align"),
            (r#"{"per":"1h","mode":"shared"}"#, "mode"),
        ] {
            let answer = rig.post("/v1/once/k", body).await;
            answer.is_refused(400, "bad_request");
            assert_eq!(answer.json()["field"], field, "{body}");
        }
        let turn = rig.post("/v1/once/k", r#"{"per":"1h","align":"utc"}"#).await.json();
        let finished = rig.ask("PUT", &result_of(&turn), "").await.json();
        assert_eq!(finished["window_end"].as_u64().map(|end| end % 3_600_000), Some(0));
        let short = rig.post("/v1/once/short", r#"{"per":"1ms"}"#).await.json();
        rig.ask("PUT", &result_of(&short), "").await;
        while rig.post("/v1/once/short", r#"{"per":"1ms"}"#).await.json()["won"] == false {}
    });
}

#[test]
fn a_repeated_request_has_the_same_turn() {
    with_sidecar(|rig| async move {
        let post = || rig.ask_as(super::SOMEBODY, "POST", "/v1/once/k", &["Idempotency-Key: a"], DAY);
        let turn = post().await.json();
        assert_eq!(post().await.json()["lease"]["lease"], turn["lease"]["lease"]);
        rig.ask("PUT", &result_of(&turn), "paid").await;
        let again = post().await.json();
        assert_eq!((&again["won"], &again["result_base64"]), (&false.into(), &"cGFpZA==".into()));
        let done = rig.post("/v1/once/other", DAY).await.json();
        rig.ask("PUT", &result_of(&done), "x").await;
        let other =
            rig.ask_as(super::SOMEBODY, "POST", "/v1/once/other", &["Idempotency-Key: b"], DAY).await.json();
        assert_eq!(other["won"], false);
    });
}

#[test]
fn a_request_that_has_a_name_is_refused_as_any_other() {
    with_sidecar(|rig| async move {
        let done = rig.post("/v1/once/k", DAY).await.json();
        rig.ask("PUT", &result_of(&done), "paid").await;
        for (name, body, field) in
            [("a", r#"{"per":"0"}"#, "per"), ("b", r#"{"per":"24h","wait":"11m"}"#, "wait")]
        {
            let name = format!("Idempotency-Key: {name}");
            let named = rig.ask_as(super::SOMEBODY, "POST", "/v1/once/k", &[&name], body).await;
            assert_eq!(named.json()["field"], field, "{named:?}");
            named.is_refused(400, "bad_request");
        }
    });
}

#[test]
fn whoever_looks_sees_a_turn_beside_the_lock_of_the_same_name() {
    with_sidecar(|rig| async move {
        let turn = rig.post("/v1/once/k", DAY).await.json();
        let once = rig.get("/v1/locks/k?space=once").await.json();
        assert_eq!((&once["space"], &once["holders"][0]["fence"]), (&"once".into(), &turn["lease"]["fence"]));
        let lock = rig.get("/v1/locks/k").await.json();
        assert_eq!((&lock["space"], lock["holders"].as_array().map(Vec::len)), (&"lock".into(), Some(0)));
        assert_eq!(rig.get("/v1/locks").await.json()["keys"][0]["space"], "once");
        rig.get("/v1/locks/k?space=board").await.is_refused(400, "bad_request");
    });
}
