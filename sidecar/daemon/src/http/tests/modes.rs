//! Another mode for a timed lease: exclusive to shared, and back.

use super::{answer_on, path_of, with_sidecar};

const SHARED: &str = r#"{"mode":"shared"}"#;

#[test]
fn a_writer_becomes_a_reader_under_the_same_id() {
    with_sidecar(|rig| async move {
        let lease = rig.lock("k", "").await;
        rig.post("/v1/locks/k", SHARED).await.is_refused(409, "held");
        let shared = rig.post(&path_of(&lease), SHARED).await.json();
        for same in ["lease", "key", "fence", "deadline_boottime_ns"] {
            assert_eq!(shared[same], lease[same], "{same}");
        }
        assert_eq!(shared["mode"], "shared");
        let reader = rig.lock("k", SHARED).await;
        assert_eq!(rig.post(&path_of(&lease), SHARED).await.status, 200, "twice is no error");
        rig.unlock(&reader).await;
        rig.unlock(&lease).await;
    });
}

#[test]
fn a_reader_becomes_a_writer_under_another_id() {
    with_sidecar(|rig| async move {
        let shared = rig.lock("k", SHARED).await;
        let reader = rig.lock("k", SHARED).await;
        rig.post(&path_of(&shared), r#"{"mode":"exclusive"}"#).await.is_refused(409, "held");
        let upgrade = r#"{"mode":"exclusive","wait":"1ms"}"#;
        rig.post(&path_of(&shared), upgrade).await.is_refused(409, "wait_timeout");
        assert_eq!(rig.get(&path_of(&shared)).await.json()["mode"], "shared", "it is what it was");

        let mut events = rig.events();
        let waiting = rig.begin("POST", &path_of(&shared), r#"{"mode":"exclusive","wait":"10m"}"#).await;
        events.queued("k").await;
        rig.post(&path_of(&reader), upgrade).await.is_refused(409, "deadlock");
        rig.unlock(&reader).await;
        let whole = answer_on(waiting).await.json();
        assert_eq!((&whole["mode"], &whole["key"]), (&"exclusive".into(), &"k".into()));
        assert_ne!(whole["lease"], shared["lease"]);
        assert!(whole["fence"].as_u64() > reader["fence"].as_u64());
        assert!(whole["deadline_boottime_ns"].as_u64() <= shared["deadline_boottime_ns"].as_u64());
        rig.unlock(&shared).await;
        rig.post("/v1/locks/k", SHARED).await.is_refused(409, "held");
        rig.unlock(&whole).await;
        rig.lock("k", "").await;
    });
}

/// Whether the close or the grant comes first: the share stays, and nothing else is left.
#[test]
fn whoever_closes_while_it_waits_keeps_its_share() {
    with_sidecar(|rig| async move {
        for _ in 0..20 {
            let shared = rig.lock("k", SHARED).await;
            let reader = rig.lock("k", SHARED).await;
            let mut events = rig.events();
            let waiting = rig.begin("POST", &path_of(&shared), r#"{"mode":"exclusive","wait":"10m"}"#).await;
            events.queued("k").await;
            drop(waiting);
            rig.unlock(&reader).await;
            // In line behind the upgrade, should that be there still.
            let next = rig.lock("k", r#"{"mode":"shared","wait":"5s"}"#).await;
            assert_eq!(rig.get(&path_of(&shared)).await.json()["mode"], "shared");
            rig.unlock(&next).await;
            rig.unlock(&shared).await;
            let counts = rig.door.handle.counts().await.expect("the sidecar lives");
            assert_eq!((counts.leases, counts.waiters), (0, 0));
        }
    });
}

#[test]
fn what_makes_no_sense_is_refused() {
    with_sidecar(|rig| async move {
        let lease = rig.lock("k", "").await;
        let path = path_of(&lease);
        rig.post(&path, r#"{"mode":"exclusive"}"#).await.is_refused(409, "not_upgradable");
        for (body, field) in [
            ("", "mode"),
            (r#"{"mode":"permits"}"#, "mode"),
            (r#"{"mode":"shared","ttl":"5s"}"#, "ttl"),
            (r#"{"mode":"shared","wait":"11m"}"#, "wait"),
        ] {
            let answer = rig.post(&path, body).await;
            answer.is_refused(400, "bad_request");
            assert_eq!(answer.json()["field"], field, "{body}");
        }
        let permit = rig.post("/v1/semaphores/s", r#"{"limit":2}"#).await.json();
        for mode in ["shared", "exclusive"] {
            let body = format!(r#"{{"mode":"{mode}"}}"#);
            rig.post(&path_of(&permit), &body).await.is_refused(409, "not_upgradable");
        }
        rig.unlock(&lease).await;
        rig.post(&path, SHARED).await.is_refused(404, "not_found");
        let lost = rig.lock("short", r#"{"ttl":"100ms"}"#).await;
        rig.lock("short", r#"{"wait":"5s"}"#).await;
        rig.post(&path_of(&lost), SHARED).await.is_refused(410, "lease_lost");
    });
}

#[test]
fn an_owner_enters_what_it_holds_under_an_id_of_its_own() {
    with_sidecar(|rig| async move {
        let enter = |body: &str| format!(r#"{{"owner":"o","reentrant":true{body}}}"#);
        let outer = rig.lock("k", &enter("")).await;
        let inner = rig.lock("k", &enter(r#","mode":"shared","ttl":"10m","wait":"1s""#)).await;
        for same in ["key", "fence", "mode", "deadline_boottime_ns"] {
            assert_eq!(outer[same], inner[same], "{same}");
        }
        assert_ne!(outer["lease"], inner["lease"]);
        rig.post(&path_of(&inner), SHARED).await.is_refused(409, "not_upgradable");
        rig.post("/v1/locks/k", r#"{"owner":"o","wait":"1s"}"#).await.is_refused(409, "deadlock");
        // The lease of a stream would end with its connection, and this one would not.
        rig.post("/v1/locks/k?stream=1", &enter("")).await.is_refused(400, "bad_request");
        rig.unlock(&outer).await;
        rig.get(&path_of(&outer)).await.is_refused(404, "not_found");
        assert_eq!(rig.get(&path_of(&inner)).await.json()["lease"], inner["lease"]);
        rig.post("/v1/locks/k", "").await.is_refused(409, "held");
        rig.unlock(&inner).await;
        let share = rig.lock("k", &enter(r#","mode":"shared""#)).await;
        rig.post("/v1/locks/k", &enter("")).await.is_refused(409, "not_upgradable");
        rig.unlock(&share).await;
        let counts = rig.door.handle.counts().await.expect("the sidecar lives");
        assert_eq!((counts.leases, counts.waiters, counts.owners), (0, 0, 0));
    });
}
