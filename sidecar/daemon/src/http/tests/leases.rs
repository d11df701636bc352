//! Timed leases: taken, looked at, renewed, released, and by whom.

use super::{SOMEBODY, SOMEBODY_ELSE, path_of, with_config, with_sidecar};
use crate::config::Config;
use std::collections::BTreeSet;

#[test]
fn a_lease_says_all_that_is_promised() {
    with_sidecar(|rig| async move {
        let lease = rig.lock("orders/42", "").await;
        let names: BTreeSet<_> = lease.as_object().expect("an object").keys().map(String::as_str).collect();
        let promised =
            ["deadline_boottime_ns", "expires_in", "fence", "guarantee", "key", "lease", "mode", "scope"];
        assert_eq!(names, BTreeSet::from(promised));
        assert_eq!((&lease["key"], &lease["mode"]), (&"orders/42".into(), &"exclusive".into()));
        assert_eq!((&lease["scope"], &lease["guarantee"]), (&"host".into(), &"local".into()));
        let left = lease["expires_in"].as_f64().expect("a number");
        assert!((29.0..=30.0).contains(&left), "30 s is the default: {lease}");
        let boottime = crate::clock::boottime().0;
        let deadline = lease["deadline_boottime_ns"].as_u64().expect("a whole number");
        assert!(deadline > boottime && deadline - boottime <= 30_000_000_000, "{lease}");
        assert!(lease["fence"].as_u64().expect("a whole number") < 1 << 53);
    });
}

#[test]
fn what_is_held_is_refused_and_says_when_to_come_back() {
    with_sidecar(|rig| async move {
        let lease = rig.lock("k", "").await;
        let answer = rig.post("/v1/locks/k", "").await;
        answer.is_refused(409, "held");
        assert_eq!(answer.header("retry-after"), Some("1"));
        rig.post("/v1/locks/k", r#"{"wait":"1ms"}"#).await.is_refused(409, "wait_timeout");
        rig.unlock(&lease).await;
        let next = rig.lock("k", "").await;
        assert!(next["fence"].as_u64() > lease["fence"].as_u64());
    });
}

#[test]
fn a_slash_and_its_escape_are_the_same_key() {
    with_sidecar(|rig| async move {
        rig.lock("a/b", "").await;
        rig.post("/v1/locks/a%2Fb", "").await.is_refused(409, "held");
        assert_eq!(rig.lock("a%2fc", "").await["key"], "a/c");
    });
}

#[test]
fn shared_leases_stand_side_by_side_and_exclude_a_writer() {
    with_sidecar(|rig| async move {
        for _ in 0..2 {
            assert_eq!(rig.lock("k", r#"{"mode":"shared"}"#).await["mode"], "shared");
        }
        rig.post("/v1/locks/k", "").await.is_refused(409, "held");
    });
}

#[test]
fn permits_add_up_to_the_limit_and_limits_must_agree() {
    with_sidecar(|rig| async move {
        let take = |body: &'static str| rig.post("/v1/semaphores/k", body);
        let lease = take(r#"{"limit":3,"permits":2}"#).await.json();
        assert_eq!((&lease["mode"], &lease["permits"]), (&"permits".into(), &2.into()));
        take(r#"{"limit":3,"permits":2}"#).await.is_refused(409, "held");
        assert_eq!(take(r#"{"limit":3}"#).await.status, 200);
        let answer = take(r#"{"limit":4}"#).await;
        answer.is_refused(409, "limit_mismatch");
        assert_eq!(answer.json()["limit"], 3);
        rig.post("/v1/locks/k", "").await.is_refused(409, "limit_mismatch");
    });
}

#[test]
fn a_lease_is_looked_at_renewed_and_released() {
    with_sidecar(|rig| async move {
        let lease = rig.lock("k", r#"{"ttl":"5s"}"#).await;
        let path = path_of(&lease);
        let seen = rig.get(&path).await.json();
        assert_eq!((&seen["lease"], &seen["fence"]), (&lease["lease"], &lease["fence"]));

        let renewed = rig.ask("PUT", &path, r#"{"ttl":"1m"}"#).await.json();
        assert!(renewed["expires_in"].as_f64() > Some(50.0), "{renewed}");
        assert_eq!((&renewed["key"], &renewed["fence"]), (&lease["key"], &lease["fence"]));
        let renewed = rig.ask("PUT", &path, "").await.json();
        assert!(renewed["expires_in"].as_f64() < Some(31.0), "30 s is the default: {renewed}");
        rig.ask("PUT", &path, r#"{"ttl":"365d"}"#).await.is_refused(400, "bad_request");

        rig.unlock(&lease).await;
        rig.unlock(&lease).await;
        rig.get(&path).await.is_refused(404, "not_found");
        let (status, _) = rig.ask("PUT", &path, "").await.refusal();
        assert!([404, 410].contains(&status));
    });
}

#[test]
fn an_expired_lease_is_lost_and_says_why() {
    with_sidecar(|rig| async move {
        let lease = rig.lock("k", r#"{"ttl":"100ms"}"#).await;
        // Its end is the next one's beginning.
        rig.lock("k", r#"{"wait":"5s"}"#).await;
        for method in ["GET", "PUT", "DELETE"] {
            let answer = rig.ask(method, &path_of(&lease), "").await;
            answer.is_refused(410, "lease_lost");
            assert_eq!(answer.json()["reason"], "expired", "{method}");
        }
    });
}

#[test]
fn a_lease_is_its_users_own() {
    with_sidecar(|rig| async move {
        let lease = rig.lock("k", "").await;
        for method in ["GET", "PUT", "DELETE"] {
            rig.ask_as(SOMEBODY_ELSE, method, &path_of(&lease), &[], "").await.is_refused(403, "not_held");
        }
        assert_eq!(rig.ask_as(SOMEBODY, "GET", &path_of(&lease), &[], "").await.status, 200);
    });
}

#[test]
fn a_lease_of_an_earlier_life_is_lost_and_an_unknown_one_is_unknown() {
    with_sidecar(|rig| async move {
        let lease = rig.lock("k", "").await;
        let id = lease["lease"].as_str().expect("has an id");
        let unknown = format!("/v1/leases/{}{}", "0".repeat(32), &id[32..]);
        let earlier = format!("/v1/leases/{}{:08x}", &id[..32], 7);
        for method in ["GET", "PUT", "DELETE"] {
            rig.ask(method, &unknown, "").await.is_refused(404, "not_found");
            let answer = rig.ask(method, &earlier, "").await;
            answer.is_refused(410, "lease_lost");
            assert_eq!(answer.json()["reason"], "sidecar_restarted");
        }
    });
}

#[test]
fn a_class_gives_its_defaults() {
    let class = toml::from_str("[[class]]\nname='slow'\nmatch='slow/**'\ndefault_wait='5s'\nmax_hold='1s'");
    let config: Config = class.expect("is a setting");
    with_config(config, |rig| async move {
        rig.lock("slow/a", "").await;
        // Waits, as the class has it, for the second that the class allows the holder.
        rig.lock("slow/a", "").await;
    });
}
