//! Wrong use, through HTTP and the SDK: an error of its own that says what to do, and nothing is changed by it. Over
//! memory, and at two sidecars on one Redis, so that the store's own refusals are read too.

use serde_json::Value;
use sidelock_client::{Client, Code, Entered, Error, Refusal, Window};
use sidelock_e2e::http::{self, Answer};
use sidelock_e2e::redis::Redis;
use sidelock_e2e::sidecar::Sidecar;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

/// Where it is done: the first sidecar has what the second is wrong about.
struct Place {
    sidecars: Vec<Sidecar>,
    _redis: Option<Redis>,
}

impl Place {
    /// On memory and on Redis.
    fn everywhere() -> [Place; 2] {
        let redis = Redis::start();
        let fleet = vec![Sidecar::connected_to(&redis), Sidecar::connected_to(&redis)];
        [
            Place { sidecars: vec![Sidecar::on_memory()], _redis: None },
            Place { sidecars: fleet, _redis: Some(redis) },
        ]
    }

    fn first(&self) -> &Sidecar {
        &self.sidecars[0]
    }

    fn second(&self) -> &Sidecar {
        self.sidecars.last().expect("there is one")
    }
}

/// A refusal over HTTP: its status and code, and what it says.
fn refused(answer: &Answer, status: u16, code: Code, says: &[&str]) {
    assert_eq!((answer.status, answer.code().as_str()), (status, code.name()), "{answer:?}");
    let detail = answer.json()["detail"].to_string();
    says.iter().for_each(|words| assert!(detail.contains(words), "{words:?} is said in {detail}"));
}

/// The same of the SDK's.
fn told(refusal: &Refusal, code: Code, says: &[&str]) {
    assert_eq!(refusal.code, code, "{refusal}");
    let text = refusal.to_string();
    says.iter().for_each(|words| assert!(text.contains(words), "{words:?} is said in {text}"));
}

/// The road to a timed lease.
fn path_of(lease: &Value) -> String {
    format!("/v1/leases/{}", lease["lease"].as_str().expect("a lease has an id"))
}

/// A lease that ran out, and has passed to another holder at the other sidecar since; and that one's.
fn lost(place: &Place, key: &str) -> (Value, Value) {
    let lost = place.first().lock(key, r#"{"ttl":"100ms"}"#);
    (lost, place.second().lock(key, r#"{"wait":"30s"}"#))
}

/// Runs the SDK's part of a test.
fn with_sdk<T>(part: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("the system gives a runtime").block_on(part)
}

async fn client(sidecar: &Sidecar) -> Client {
    Client::connect(sidecar.socket()).await.expect("it listens")
}

#[test]
fn limits_that_disagree() {
    let says = ["a semaphore of 3 permits", "use the limit in force"];
    for place in Place::everywhere() {
        let body = r#"{"limit":3,"permits":2,"wait":"5s"}"#;
        let held = place.first().request("POST", "/v1/semaphores/s", body).json();
        for (path, body) in [
            ("/v1/semaphores/s", r#"{"limit":4}"#),
            ("/v1/semaphores/s", r#"{"limit":2,"wait":"1m"}"#),
            ("/v1/locks/s", ""),
            ("/v1/locks/s", r#"{"mode":"shared"}"#),
        ] {
            let answer = place.second().request("POST", path, body);
            refused(&answer, 409, Code::LimitMismatch, &says);
            assert_eq!(answer.json()["limit"], 3, "{path} {body}");
        }
        with_sdk(async {
            let client = client(place.second()).await;
            let outcome = client.semaphore("s", 4).permits(1).wait(Duration::from_secs(60)).await;
            let Err(Error::Conflict(refusal)) = outcome else { panic!("{outcome:?}") };
            told(&refusal, Code::LimitMismatch, &says);
            assert_eq!(refusal.limit, Some(3));
            // It was not changed: the third permit is there for who agrees.
            let third = client.semaphore("s", 3).permits(1).wait(Duration::from_secs(5)).await;
            third.expect("one is left").release().await.expect("held");
        });
        place.first().unlock(&held);
    }
}

#[test]
fn a_lock_as_a_semaphore() {
    let says = ["in use as a lock, not as a semaphore"];
    for place in Place::everywhere() {
        let held = place.first().lock("k", "");
        refused(
            &place.second().request("POST", "/v1/semaphores/k", r#"{"limit":3}"#),
            409,
            Code::LimitMismatch,
            &says,
        );
        place.first().unlock(&held);
    }
}

#[test]
fn more_permits_than_there_are() {
    for place in Place::everywhere() {
        let answer = place.first().request("POST", "/v1/semaphores/s", r#"{"limit":3,"permits":4}"#);
        refused(&answer, 400, Code::BadRequest, &["permits", "1 to 3 (the limit) are allowed"]);
        with_sdk(async {
            let outcome = client(place.first()).await.semaphore("s", 3).permits(4).await;
            let Err(Error::Invalid(refusal)) = outcome else { panic!("{outcome:?}") };
            told(&refusal, Code::BadRequest, &["1 to 3 (the limit) are allowed"]);
        });
    }
}

#[test]
fn downgrade_of_a_lease_that_is_lost() {
    for place in Place::everywhere() {
        let (lost, held) = lost(&place, "k");
        let answer = place.first().request("POST", &path_of(&lost), r#"{"mode":"shared"}"#);
        refused(&answer, 410, Code::LeaseLost, &["the lease is gone (expired)", "acquire again"]);
        assert_eq!(
            place.second().get(&path_of(&held)).json()["mode"],
            "exclusive",
            "the other's is as it was"
        );
        place.second().unlock(&held);
    }
}

#[test]
fn upgrade_without_shared() {
    for place in Place::everywhere() {
        let whole = place.first().lock("k", "");
        let permits = place.first().request("POST", "/v1/semaphores/s", r#"{"limit":2}"#).json();
        for lease in [&whole, &permits] {
            let answer = place.first().request("POST", &path_of(lease), r#"{"mode":"exclusive"}"#);
            refused(&answer, 409, Code::NotUpgradable, &["shared"]);
            let stands = place.first().get(&path_of(lease)).json();
            assert_eq!((&stands["mode"], &stands["fence"]), (&lease["mode"], &lease["fence"]));
        }
    }
}

#[test]
fn finishing_a_turn_twice() {
    for place in Place::everywhere() {
        let enter =
            |sidecar: &Sidecar| sidecar.request("POST", "/v1/once/k", r#"{"per":"1h","wait":"30s"}"#).json();
        let result = format!("{}/result", path_of(&enter(place.first())["lease"]));
        assert_eq!(place.first().request("PUT", &result, "one").status, 200);
        let again = place.first().request("PUT", &result, "two");
        refused(&again, 409, Code::TurnClosed, &["the turn was finished or lost", "enter again"]);
        assert_eq!(enter(place.second())["result_base64"], "b25l", "the first result stands");
    }
}

#[test]
fn finishing_a_turn_that_is_lost() {
    for place in Place::everywhere() {
        let body = r#"{"per":"1h","ttl":"100ms"}"#;
        let turn = place.first().request("POST", "/v1/once/k", body).json();
        let next = place.second().request("POST", "/v1/once/k", r#"{"per":"1h","wait":"30s"}"#).json();
        assert_eq!(next["won"], true, "{next}");
        let late = place.first().request("PUT", &format!("{}/result", path_of(&turn["lease"])), "late");
        refused(&late, 410, Code::LeaseLost, &["the lease is gone (expired)"]);
        let in_time =
            place.second().request("PUT", &format!("{}/result", path_of(&next["lease"])), "in time");
        assert_eq!(in_time.status, 200, "{in_time:?}");
    }
}

#[test]
fn a_result_that_is_too_large() {
    let large = "x".repeat(64 * 1024 + 1);
    for place in Place::everywhere() {
        let turn = place.first().request("POST", "/v1/once/k", r#"{"per":"1h"}"#).json();
        let result = format!("{}/result", path_of(&turn["lease"]));
        let answer = place.first().request("PUT", &result, &large);
        refused(&answer, 413, Code::TooLarge, &["65537 bytes", "65536 are allowed"]);
        assert_eq!(place.first().request("PUT", &result, &large[1..]).status, 200, "it is still the turn");
        with_sdk(async {
            let client = client(place.second()).await;
            let entered = client.once("other", Window::rolling(HOUR)).enter().await.expect("free");
            let Entered::Won(turn) = entered else { panic!("{entered:?}") };
            let outcome = turn.finish(&large).await;
            let Err(Error::Invalid(refusal)) = outcome else { panic!("{outcome:?}") };
            told(&refusal, Code::TooLarge, &["65537 bytes", "65536 are allowed"]);
        });
    }
}

/// One request with `Sidelock-Lease`.
fn bound(sidecar: &Sidecar, method: &str, path: &str, lease: &Value, body: &str) -> Answer {
    let (id, length) = (lease["lease"].as_str().expect("a lease has an id"), body.len());
    let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close");
    let request = format!("{head}\r\nContent-Length: {length}\r\nSidelock-Lease: {id}\r\n\r\n{body}");
    http::raw(sidecar.socket(), request.as_bytes())
}

#[test]
fn putting_a_register_with_a_foreign_lease() {
    const PATH: &str = "/v1/registers/stock";
    for place in Place::everywhere() {
        let first = place.first();
        assert_eq!(first.request("PUT", PATH, "7").status, 204);
        // Of another key, and of the key, but beside others.
        let other = first.lock("another", "");
        refused(&bound(first, "PUT", PATH, &other, "0"), 400, Code::BadRequest, &["lease", "key"]);
        let shared = first.lock("stock", r#"{"mode":"shared"}"#);
        refused(&bound(first, "PUT", PATH, &shared, "0"), 400, Code::BadRequest, &["exclusive"]);
        first.unlock(&shared);
        // The right one once, which somebody else has by now.
        let (stale, held) = lost(&place, "stock");
        for method in ["PUT", "DELETE", "GET"] {
            refused(
                &bound(first, method, PATH, &stale, "0"),
                412,
                Code::StaleFence,
                &["no longer stands", "acquire the lock again"],
            );
        }
        // Of a sidecar that knows nothing of it: a lease is used where it was acquired.
        if !std::ptr::eq(first, place.second()) {
            refused(&bound(first, "PUT", PATH, &held, "0"), 412, Code::StaleFence, &[]);
        }
        assert_eq!(first.get(PATH).body, "7", "nobody changed it");
        assert_eq!(bound(place.second(), "PUT", PATH, &held, "6").status, 204);
        with_sdk(async {
            let (one, other) = (client(first).await, client(first).await);
            let lease = one.lock("tools").await.expect("free");
            let outcome = other.register("tools").put("0").fenced(&lease).await;
            let Err(Error::Invalid(refusal)) = outcome else { panic!("{outcome:?}") };
            told(&refusal, Code::BadRequest, &["acquired by another client"]);
            let outcome = one.register("stock").put("0").fenced(&lease).await;
            let Err(Error::Invalid(refusal)) = outcome else { panic!("{outcome:?}") };
            told(&refusal, Code::BadRequest, &["key"]);
            one.register("tools").put("3").fenced(&lease).await.expect("its own");
        });
    }
}
