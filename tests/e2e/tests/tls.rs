//! TLS to Redis: who is believed, what is said where nobody is, and that locks do not notice a renewal.

use sidelock_e2e::certificates::{Authority, Identity, Valid};
use sidelock_e2e::doctor::Verdicts;
use sidelock_e2e::process::until;
use sidelock_e2e::redis::Redis;
use sidelock_e2e::sidecar::Sidecar;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

/// Flags for TLS.
struct Flags(Vec<String>);

impl Flags {
    fn to(url: &str) -> Flags {
        Flags(vec!["--redis".into(), url.into()])
    }

    fn and(mut self, name: &str, path: &Path) -> Flags {
        self.0.extend([name.into(), path.to_string_lossy().into_owned()]);
        self
    }

    fn believing(self, authority: &Authority) -> Flags {
        self.and("--redis-ca-file", &authority.file())
    }

    fn showing(self, identity: &Identity) -> Flags {
        self.and("--redis-cert-file", &identity.cert).and("--redis-key-file", &identity.key)
    }

    fn words(&self) -> Vec<&str> {
        self.0.iter().map(String::as_str).collect()
    }
}

/// Doctor says that this Redis can not be used, and why; and so does a sidecar, which goes on trying.
#[track_caller]
fn refused(flags: &Flags, says: &str) {
    Verdicts::of(&flags.words()).expect("redis", "fail", says);
    let sidecar = Sidecar::with(&flags.words());
    let line = sidecar.line("why the store is down", |line| line.contains("store_down"));
    assert!(line.contains(says), "{line}");
    assert_eq!(sidecar.request("POST", "/v1/locks/k", "").code(), "store_unavailable");
}

/// The settings are wrong in themselves: doctor says so, and a sidecar does not start.
#[track_caller]
fn wrong(flags: &Flags, says: &str) {
    let (code, text) = sidelock_e2e::process::run(sidelock_e2e::sidecar::command(
        ["config", "check"].into_iter().chain(flags.words()),
    ));
    assert!(code == 2 && text.contains(says), "{code}: {text}");
}

/// Puts another identity in the place of one.
fn put(next: &Identity, place: &Identity) {
    // The key first: a sidecar that reads between the two says that they do not fit, and reads again.
    std::fs::copy(&next.key, &place.key).expect("our folder");
    std::fs::copy(&next.cert, &place.cert).expect("our folder");
}

fn works(flags: &Flags, key: &str) {
    let sidecar = Sidecar::with(&flags.words());
    sidecar.await_store();
    sidecar.unlock(&sidecar.lock(key, ""));
}

#[test]
fn locks_and_doctor_work_over_tls() {
    let authority = Authority::new();
    let redis = Redis::with_tls(&authority.issue("redis", &["localhost"]), &authority.file(), false);
    works(&Flags::to(&redis.url()).believing(&authority), "redis");
    works(&Flags::to(&redis.url().replace("rediss://", "valkeys://")).believing(&authority), "valkey");
    let found = Verdicts::of(&Flags::to(&redis.url()).believing(&authority).words());
    for check in ["redis", "version", "topology", "eviction", "rights", "clock", "guarantee"] {
        found.expect(check, "ok", "");
    }
    found.expect("redis", "ok", "TLS");
    // What the system trusts, where no file is named.
    let url = redis.url();
    let trusted = authority.file();
    let trusted = [("SSL_CERT_FILE", &*trusted.to_string_lossy())];
    Verdicts::in_environment(&["--redis", &url], &trusted).expect("redis", "ok", "TLS");
}

#[test]
fn a_certificate_that_proves_nothing_is_refused_with_what_to_do() {
    let (authority, other) = (Authority::new(), Authority::new());
    let on = |identity: &Identity| Redis::with_tls(identity, &authority.file(), false);
    let good = on(&authority.issue("redis", &["localhost"]));
    let flags = Flags::to(&good.url()).believing(&other);
    refused(&flags, &format!("not from an authority in {}", other.file().display()));
    refused(&Flags::to(&good.url()), "name that one in redis.ca_file");
    let address = good.url().replace("localhost", "127.0.0.1");
    refused(&Flags::to(&address).believing(&authority), "is for localhost, not for 127.0.0.1");

    let elsewhere = on(&authority.issue("elsewhere", &["redis.example"]));
    refused(&Flags::to(&elsewhere.url()).believing(&authority), "is for redis.example, not for localhost");
    let nameless = on(&authority.issue("nameless", &[]));
    refused(&Flags::to(&nameless.url()).believing(&authority), "subjectAltName");
    let expired = on(&authority.issue_for("expired", &["localhost"], Valid::Before));
    refused(&Flags::to(&expired.url()).believing(&authority), "has expired");
    let early = on(&authority.issue_for("early", &["localhost"], Valid::Later));
    refused(&Flags::to(&early.url()).believing(&authority), "not valid yet");
}

#[test]
fn a_redis_that_asks_clients_for_certificates_gets_ours() {
    let (authority, other) = (Authority::new(), Authority::new());
    let redis = Redis::with_tls(&authority.issue("redis", &["localhost"]), &authority.file(), true);
    let ours = authority.issue("sidecar", &["sidecar"]);
    let flags = || Flags::to(&redis.url()).believing(&authority);
    works(&flags().showing(&ours), "k");
    refused(&flags(), "name ours in redis.cert_file and redis.key_file");
    refused(&flags().showing(&other.issue("stranger", &["sidecar"])), "tls-ca-cert-file");
    let late = authority.issue_for("late", &["sidecar"], Valid::Before);
    refused(&flags().showing(&late), "has expired: renew it");
}

#[test]
fn files_that_can_not_be_used_are_named_before_anything_is_connected() {
    let authority = Authority::new();
    let (ours, another) = (authority.issue("ours", &["a"]), authority.issue("another", &["a"]));
    let flags = || Flags::to("rediss://localhost:1").believing(&authority);
    let absent = ours.key.with_file_name("absent.key");
    let pair = |cert: &Path, key: &Path| Identity { cert: cert.into(), key: key.into() };
    wrong(&flags().showing(&pair(&ours.cert, &absent)), "absent.key: No such file");
    wrong(&flags().showing(&pair(&ours.cert, &another.key)), "is not the key of redis.cert_file");
    wrong(&flags().showing(&pair(&ours.cert, &ours.cert)), "holds no private key");
    wrong(&flags().showing(&pair(&ours.key, &ours.key)), "holds no certificate");
    wrong(&flags().and("--redis-cert-file", &ours.cert), "needs its key");
    wrong(&Flags::to("redis://localhost:1").believing(&authority), "write rediss://");
    wrong(&Flags::to("rediss://localhost:1/#insecure"), "#insecure is not offered");
}

#[test]
fn one_side_with_tls_and_one_without_are_told_what_to_write() {
    let authority = Authority::new();
    let plain = Redis::on_loopback();
    let with = plain.url().replace("redis://127.0.0.1", "rediss://localhost");
    refused(&Flags::to(&with).believing(&authority), "edis://");
    let tls = Redis::with_tls(&authority.issue("redis", &["localhost"]), &authority.file(), false);
    refused(&Flags::to(&tls.url().replace("rediss://", "redis://")), "write rediss://");
}

#[test]
fn renewed_certificates_are_read_at_the_next_connection() {
    let (old, new) = (Authority::new(), Authority::new());
    let server = old.issue("redis", &["localhost"]);
    let mut redis = Redis::with_tls(&server, &old.file(), true);
    let ours = old.issue("sidecar", &["sidecar"]);
    let sidecar = Sidecar::with(&Flags::to(&redis.url()).believing(&old).showing(&ours).words());
    sidecar.await_store();

    // All of it from another authority, Redis' side first.
    put(&new.issue("redis", &["localhost"]), &server);
    redis.down();
    redis.up();
    let line = sidecar.line("that the authority is another", |line| line.contains("not from an authority"));
    assert!(line.contains("redis.ca_file"), "{line}");
    std::fs::copy(new.file(), old.file()).expect("our folder");
    redis.down();
    redis.up();
    sidecar.line("that ours is not taken any more", |line| line.contains("tls-ca-cert-file"));
    put(&new.issue("sidecar", &["sidecar"]), &ours);
    sidecar.await_store();
    sidecar.unlock(&sidecar.lock("k", ""));
}

#[test]
fn what_the_system_trusts_is_read_at_the_next_connection_too() {
    let (old, new) = (Authority::new(), Authority::new());
    let server = old.issue("redis", &["localhost"]);
    let mut redis = Redis::with_tls(&server, &old.file(), false);
    let folder = sidelock_e2e::folder();
    let socket = folder.path().join("s");
    let mut command = Sidecar::command(&socket, &["--redis", &redis.url()]);
    command.env("SSL_CERT_FILE", old.file());
    let sidecar = Sidecar::started(command, &socket);
    sidecar.await_store();

    put(&new.issue("redis", &["localhost"]), &server);
    redis.down();
    redis.up();
    sidecar.line("that the authority is another", |line| line.contains("that this system does not know"));
    std::fs::copy(new.file(), old.file()).expect("our folder");
    sidecar.await_store();
    sidecar.unlock(&sidecar.lock("k", ""));
}

/// The connections of sidecars, by their ids: this test's own commands speak the older protocol.
fn links(redis: &Redis) -> BTreeSet<String> {
    let listed = redis.command(&["CLIENT", "LIST"]);
    let of_sidecars = listed.lines().filter(|line| line.contains(" resp=3"));
    of_sidecars.filter_map(|line| line.strip_prefix("id=")?.split(' ').next()).map(str::to_owned).collect()
}

/// Time to live of a tenure: connections are killed for longer, so it has to be renewed meanwhile.
const TENURE_TTL: Duration = Duration::from_secs(3);

#[test]
fn leases_outlive_a_connection_that_redis_kills() {
    let authority = Authority::new();
    let redis = Redis::with_tls(&authority.issue("redis", &["localhost"]), &authority.file(), false);
    let settings = format!("[tenure]\nttl = \"{}s\"\nretention = \"100ms\"\n", TENURE_TTL.as_secs());
    let sidecar = Sidecar::configured(&settings, &Flags::to(&redis.url()).believing(&authority).words());
    sidecar.await_store();
    let lease = sidecar.lock("k", r#"{"ttl":"5s"}"#);
    let other = Sidecar::with(&Flags::to(&redis.url()).believing(&authority).words());
    other.await_store();
    let begun = Instant::now();
    while begun.elapsed() <= TENURE_TTL {
        let before = links(&redis);
        redis.command(&["CLIENT", "KILL", "SKIPME", "yes"]);
        until(Duration::from_secs(5), "both are back", || {
            let now = links(&redis);
            (now.len() == 2 && now.is_disjoint(&before)).then_some(())
        });
        sidecar.await_store();
        other.await_store();
        let id = lease["lease"].as_str().expect("a lease has an id");
        assert_eq!(sidecar.request("PUT", &format!("/v1/leases/{id}"), r#"{"ttl":"5s"}"#).status, 200);
        assert_eq!(other.request("POST", "/v1/locks/k", "").code(), "held");
    }
    sidecar.unlock(&lease);
    other.unlock(&other.lock("k", r#"{"wait":"5s"}"#));
}
