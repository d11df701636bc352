//! Pages for who only looks: keys, events, the sidecar itself, health, metrics; and that no secret is on them.

use super::{Lines, SOMEBODY, request, with_sidecar};
use serde_json::Value;
use sidelock_store::listing::KEYS_LISTED_MAX;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;

#[test]
fn the_listing_shows_keys_by_prefix_and_no_secret() {
    with_sidecar(|rig| async move {
        let lease = rig.lock("a/1", "").await;
        rig.lock("b/1", "").await;
        let answer = rig.get("/v1/locks?prefix=a/").await;
        let secret = lease["lease"].as_str().expect("has an id");
        assert!(!answer.body.contains(&secret[..32]), "{answer:?}");
        let keys = answer.json();
        assert_eq!(keys["truncated"], false);
        let keys = keys["keys"].as_array().expect("a list").clone();
        assert_eq!(keys.len(), 1);
        assert_eq!(keys[0]["key"], "a/1");
        assert_eq!(keys[0]["holders"][0]["fence"], lease["fence"]);
        assert_eq!(keys[0]["holders"][0]["ref"].as_str().expect("a short name").len(), 8);
        assert_eq!(rig.get("/v1/locks").await.json()["keys"].as_array().expect("a list").len(), 2);
    });
}

#[test]
fn a_listing_is_cut_and_says_so() {
    with_sidecar(|rig| async move {
        for n in 0..crate::http::views::LIST_MAX {
            rig.lock(&format!("k/{n}"), "").await;
        }
        for path in ["/v1/locks", "/v1/locks?fleet=1"] {
            let listing = rig.get(path).await.json();
            assert_eq!(listing["keys"].as_array().expect("a list").len(), KEYS_LISTED_MAX);
            assert_eq!((&listing["truncated"], &listing["limit"]), (&false.into(), &Value::Null), "{path}");
        }
        rig.lock(&format!("k/{}", crate::http::views::LIST_MAX), "").await;
        let listing = rig.get("/v1/locks").await.json();
        assert_eq!(listing["keys"].as_array().expect("a list").len(), crate::http::views::LIST_MAX);
        assert_eq!(listing["truncated"], true);
        let listing = rig.get("/v1/locks?fleet=1").await.json();
        assert_eq!(listing["keys"].as_array().expect("a list").len(), KEYS_LISTED_MAX);
        assert_eq!((&listing["truncated"], &listing["why_truncated"]), (&true.into(), &"keys".into()));
        assert_eq!(listing["limit"], KEYS_LISTED_MAX);
        let listing = rig.get("/v1/locks?fleet=1&prefix=k/99").await.json();
        assert_eq!(listing["keys"].as_array().expect("a list").len(), 11);
        assert_eq!((&listing["truncated"], &listing["limit"]), (&false.into(), &Value::Null));
    });
}

#[test]
fn of_a_crowd_as_many_are_shown_as_are_wanted() {
    with_sidecar(|rig| async move {
        for _ in 0..130 {
            rig.post("/v1/semaphores/crowd", r#"{"limit":200}"#).await;
        }
        let seen = |key: &Value| {
            (key["holders"].as_array().expect("a list").len(), key["holders_left_out"].as_u64())
        };
        assert_eq!(seen(&rig.get("/v1/locks/crowd").await.json()), (130, Some(0)));
        assert_eq!(seen(&rig.get("/v1/locks/crowd?shown=3").await.json()), (3, Some(127)));
        let listed = rig.get("/v1/locks/crowd?shown=0").await.json();
        assert_eq!(seen(&listed), (0, Some(130)));
        assert!(listed["why"].as_str().expect("a sentence").starts_with("130 hold it"), "{listed}");
        for shown in ["10001", "-1", "x"] {
            rig.get(&format!("/v1/locks/crowd?shown={shown}")).await.is_refused(400, "bad_request");
        }
    });
}

#[test]
fn a_key_says_why_it_is_not_free() {
    with_sidecar(|rig| async move {
        let unknown = rig.get("/v1/locks/k").await.json();
        assert_eq!((&unknown["holders"], &unknown["queue"]), (&Value::Array(vec![]), &Value::Array(vec![])));
        let body = r#"{"owner":"importer"}"#;
        rig.ask_as(SOMEBODY, "POST", "/v1/locks/k", &["User-Agent: billing/2"], body).await;
        let mut events = rig.events();
        let waiting = rig.begin("POST", "/v1/locks/k", r#"{"wait":"10m","priority":3}"#).await;
        events.queued("k").await;
        let key = rig.get("/v1/locks/k").await.json();
        assert_eq!(
            (&key["holders"][0]["owner"], &key["holders"][0]["uid"]),
            (&"importer".into(), &1000.into())
        );
        assert_eq!(key["queue"][0]["priority"], 3);
        let why = key["why"].as_str().expect("a sentence");
        assert!(why.starts_with("held (exclusive) by") && why.ends_with("one waits"), "{why}");
        drop(waiting);
    });
}

#[test]
fn events_come_as_lines_or_as_server_sent_events() {
    with_sidecar(|rig| async move {
        let mut lines = Lines::of(rig.begin("GET", "/v1/watch?prefix=a/", "").await);
        let mut stream = rig.connect();
        let bytes = request("GET", "/v1/watch", &["Accept: text/event-stream"], "");
        stream.write_all(bytes.as_bytes()).await.expect("the door reads");
        let mut sent = Lines::of(stream);
        // Both heads are out before anything happens.
        for reader in [&mut lines, &mut sent] {
            while !reader.next().await.expect("a head").is_empty() {}
        }
        rig.lock("b/1", "").await;
        let lease = rig.lock("a/1", "").await;
        rig.unlock(&lease).await;

        lines.expect("queued").await;
        let granted = lines.expect("granted").await;
        assert_eq!((&granted["key"], &granted["fence"]), (&"a/1".into(), &lease["fence"]));
        let released = lines.expect("released").await;
        let secret = &lease["lease"].as_str().expect("has an id")[..32];
        assert!(!granted.to_string().contains(secret) && !released.to_string().contains(secret));

        let mut seen = Vec::new();
        while seen.len() < 4 {
            let line = sent.next().await.expect("the stream goes on");
            if line.starts_with("event: ") || line.starts_with("data: {") {
                seen.push(line);
            }
        }
        assert_eq!((seen[0].as_str(), seen[2].as_str()), ("event: queued", "event: granted"));
        assert!(seen[3].contains(r#""key":"b/1""#), "{seen:?}");
    });
}

#[test]
fn info_says_who_answers() {
    with_sidecar(|rig| async move {
        rig.lock("k", "").await;
        let info = rig.get("/v1/info").await.json();
        assert_eq!((&info["store"], &info["scope"]), (&"memory".into(), &"host".into()));
        assert_eq!((&info["leases"], &info["keys"]), (&1.into(), &1.into()));
        assert_eq!(info["version"], env!("CARGO_PKG_VERSION"));
    });
}

#[test]
fn probes_answer_and_change_when_it_drains() {
    with_sidecar(|rig| async move {
        for path in ["/livez", "/readyz", "/readyz/store", "/startupz"] {
            assert_eq!(rig.get(path).await.status, 200, "{path}");
            let head = rig.ask("HEAD", path, "").await;
            assert_eq!((head.status, head.body.as_str()), (200, ""), "{path}");
        }
        rig.leaving.send_replace(true);
        rig.door.handle.drain().await;
        let answer = rig.get("/readyz").await;
        assert_eq!((answer.status, answer.body.as_str()), (503, "draining\n"), "a newcomer is told");
        assert_eq!(rig.get("/livez").await.status, 200);
    });
}

#[test]
fn metrics_are_in_the_format_that_prometheus_reads() {
    with_sidecar(|rig| async move {
        rig.lock("secret", "").await;
        let answer = rig.get("/metrics").await;
        assert!(answer.header("content-type").expect("a type").starts_with("application/openmetrics-text"));
        assert!(answer.body.contains("sidelock_leases 1\n"), "{answer:?}");
        assert!(answer.body.ends_with("# EOF\n"), "{answer:?}");
        assert!(!answer.body.contains("secret"), "a key is no label");
    });
}

#[test]
fn turns_several_keys_registers_and_deadlocks_are_counted() {
    with_sidecar(|rig| async move {
        rig.post("/v1/once/k", r#"{"per":"1h"}"#).await;
        rig.post("/v1/once/k", r#"{"per":"1h"}"#).await.is_refused(409, "held");
        rig.post("/v1/locks", r#"{"keys":["a","b"]}"#).await;
        rig.ask("PUT", "/v1/registers/r", "{}").await;
        rig.lock("d", r#"{"owner":"o"}"#).await;
        rig.post("/v1/locks/d", r#"{"owner":"o","wait":"5s"}"#).await.is_refused(409, "deadlock");
        rig.post("/v1/semaphores/s", r#"{"limit":3}"#).await;
        rig.post("/v1/semaphores/s", r#"{"limit":4}"#).await.is_refused(409, "limit_mismatch");
        let page = rig.get("/metrics").await.body;
        for line in [
            r#"sidelock_requests_total{op="once",mode="exclusive",class="",outcome="granted"} 1"#,
            r#"sidelock_requests_total{op="once",mode="exclusive",class="",outcome="held"} 1"#,
            r#"sidelock_requests_total{op="lock_all",mode="",class="",outcome="granted"} 1"#,
            r#"sidelock_requests_total{op="acquire",mode="permits",class="",outcome="limit_mismatch"} 1"#,
            r#"sidelock_requests_total{op="register",mode="",class="",outcome="written"} 1"#,
            "sidelock_deadlocks_total 1",
        ] {
            assert!(page.contains(line), "{line} is missing in\n{page}");
        }
    });
}

#[test]
fn the_probe_listener_has_probes_and_nothing_else() {
    with_sidecar(|rig| async move {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback exists");
        let address = listener.local_addr().expect("is bound");
        let door = rig.door.clone();
        spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                door.clone().serve_probe(stream).await;
            }
        });
        let ask = |method: &'static str, path: &'static str| async move {
            let mut stream = TcpStream::connect(address).await.expect("listens");
            let bytes = request(method, path, &["Connection: close"], "");
            stream.write_all(bytes.as_bytes()).await.expect("reads");
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.expect("answers");
            super::Answer::parse(&answer)
        };
        for path in ["/livez", "/readyz", "/readyz/store", "/startupz", "/metrics"] {
            assert_eq!(ask("GET", path).await.status, 200, "{path}");
        }
        for path in ["/v1/info", "/v1/locks", "/v1/openapi.json", "/v1/locks/k", "/"] {
            ask("GET", path).await.is_refused(404, "not_found");
        }
        ask("POST", "/livez").await.is_refused(405, "bad_request");
        ask("POST", "/v1/locks/k").await.is_refused(404, "not_found");
    });
}

#[test]
fn the_description_is_served() {
    with_sidecar(|rig| async move {
        let document = rig.get("/v1/openapi.json").await.json();
        assert!(document["openapi"].as_str().expect("a version").starts_with("3."));
        assert!(document["paths"]["/v1/locks/{key}"]["post"].is_object());
    });
}
