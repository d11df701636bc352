//! What a supervisor sees of a sidecar: systemd's notices and sockets, Kubernetes' probes, and in which order a drain goes.

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::Signal;
use sidelock_e2e::frames::{Peer, try_lock};
use sidelock_e2e::process::{Process, until};
use sidelock_e2e::redis::Redis;
use sidelock_e2e::sidecar::Sidecar;
use sidelock_e2e::{PATIENCE, folder, http};
use sidelock_wire::{LeaseName, ToClient, ToSidecar};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// How soon a sidecar notices that Redis is back, or gone (L6).
const NOTICED: Duration = Duration::from_secs(2);
/// What the tests' service manager wants to hear within.
const WATCHDOG: Duration = Duration::from_secs(1);

/// A service manager that listens, and the next thing it is told.
struct Manager(UnixDatagram);

impl Manager {
    fn at(path: &Path) -> Manager {
        let socket = UnixDatagram::bind(path).expect("our folder");
        socket.set_read_timeout(Some(PATIENCE)).expect("a socket takes a time-out");
        Manager(socket)
    }

    fn hears(&self) -> String {
        self.within(PATIENCE).expect("the sidecar says something")
    }

    fn within(&self, limit: Duration) -> Option<String> {
        let mut words = [0; 256];
        self.0.set_read_timeout(Some(limit)).expect("a socket takes a time-out");
        let length = self.0.recv(&mut words).ok()?;
        Some(String::from_utf8_lossy(&words[..length]).into_owned())
    }

    /// Whether nothing is said for as long as the watchdog waits, once what was said before is heard.
    fn hears_nothing(&self) -> bool {
        let patience = Instant::now() + 4 * WATCHDOG;
        while self.within(WATCHDOG).is_some() {
            if Instant::now() > patience {
                return false;
            }
        }
        true
    }
}

#[test]
fn a_service_manager_is_told_that_it_serves_that_it_still_does_and_that_it_goes() {
    let place = folder();
    let (socket, notices) = (place.path().join("s.sock"), place.path().join("notify"));
    let manager = Manager::at(&notices);
    let mut command = Sidecar::command(&socket, &["--store", "memory"]);
    command.env("NOTIFY_SOCKET", &notices).env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string());
    let mut sidecar = Process::spawn(command);
    assert_eq!(manager.hears(), "READY=1");
    let mut holder = Peer::greeted(&socket);
    assert_eq!(holder.acquires(try_lock(1, "k")), "granted", "it was true");

    for _ in 0..3 {
        let heard = manager.within(WATCHDOG);
        assert_eq!(heard.as_deref(), Some("WATCHDOG=1"), "in time");
    }
    sidecar.signal(Signal::STOP);
    assert!(manager.hears_nothing(), "a sidecar that stands still gives no sign of life");
    sidecar.signal(Signal::CONT);
    assert_eq!(manager.hears(), "WATCHDOG=1");

    sidecar.signal(Signal::TERM);
    let mut heard = manager.hears();
    while heard == "WATCHDOG=1" {
        heard = manager.hears();
    }
    // The grace of 10 s, and something on top.
    assert_eq!(heard, "STOPPING=1\nEXTEND_TIMEOUT_USEC=15000000");
    assert_eq!(manager.hears(), "WATCHDOG=1", "a sidecar that drains is no dead one");
    holder.say(&ToSidecar::Release { request: 2, lease: LeaseName::Session(1) });
    assert_eq!(sidecar.code(), 0, "{}", sidecar.output());
}

#[test]
fn a_manager_that_is_gone_or_a_watchdog_for_another_process_costs_nothing() {
    let place = folder();
    let (socket, notices) = (place.path().join("s.sock"), place.path().join("notify"));
    let mut command = Sidecar::command(&socket, &["--store", "memory"]);
    command.env("NOTIFY_SOCKET", place.path().join("nobody"));
    let mut sidecar = Process::spawn(command);
    sidecar.line("that it serves", |line| line.starts_with("sidelock serves at"));
    sidecar.line("that nobody is told", |line| line.contains("can not be told"));
    sidecar.signal(Signal::TERM);
    assert_eq!(sidecar.code(), 0, "{}", sidecar.output());

    let manager = Manager::at(&notices);
    let mut command = Sidecar::command(&socket, &["--store", "memory"]);
    command.env("NOTIFY_SOCKET", &notices).env("WATCHDOG_USEC", "1000").env("WATCHDOG_PID", "1");
    let _sidecar = Process::spawn(command);
    assert_eq!(manager.hears(), "READY=1");
    assert!(manager.hears_nothing());
}

/// A sidecar to which this listener was passed, as systemd passes it: as descriptor 3, for this process and no other.
fn activated(listener: &UnixListener) -> Process {
    fcntl_setfd(listener, FdFlags::empty()).expect("an open descriptor has flags");
    let pass = format!("exec 3<&{}; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$@\"", listener.as_raw_fd());
    let mut command = Command::new("bash");
    command.args(["-c", &pass, "bash"]).arg(sidelock_e2e::sidecar::binary());
    command.args(["serve", "--store", "memory"]).env_remove("SIDELOCK_SOCKET");
    Process::spawn(command)
}

#[test]
fn a_socket_that_was_passed_is_served_and_outlives_the_sidecar_so_nobody_is_refused_meanwhile() {
    let place = folder();
    let socket = place.path().join("sidelock.sock");
    let listener = UnixListener::bind(&socket).expect("our folder");
    let mut first = activated(&listener);
    let said = first.line("that it serves", |line| line.starts_with("sidelock serves at"));
    assert!(said.contains(&*socket.to_string_lossy()), "{said}");
    assert_eq!(http::request(&socket, "GET", "/readyz", "").status, 200);
    assert!(place.path().join("admin.sock").exists(), "operators have their socket beside it");
    first.signal(Signal::TERM);
    assert_eq!(first.code(), 0, "{}", first.output());
    assert!(socket.exists(), "it is its manager's");

    // Who comes between two lives waits for an answer instead of being refused.
    let between = {
        let socket = socket.clone();
        std::thread::spawn(move || http::request(&socket, "GET", "/readyz", ""))
    };
    let _second = activated(&listener);
    assert_eq!(between.join().expect("it was answered").status, 200);
}

/// A sidecar that a kubelet can probe, and where.
fn probed(redis: &Redis) -> (Sidecar, SocketAddr) {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
    let address = free.expect("loopback has a free port");
    let sidecar = Sidecar::with(&["--redis", &redis.url(), "--probe-listen", &address.to_string()]);
    (sidecar, address)
}

#[test]
fn a_sidecar_that_begins_without_redis_starts_is_ready_says_so_and_recovers() {
    let mut redis = Redis::absent();
    let (sidecar, address) = probed(&redis);
    let probe = |path: &str| http::probe(address, path).status;
    let store_is = |status: u16, what: &str| {
        until(NOTICED, what, || (probe("/readyz/store") == status).then_some(()));
    };
    for round in 0..2 {
        store_is(503, "Redis is away");
        for path in ["/startupz", "/livez", "/readyz"] {
            assert_eq!(probe(path), 200, "{path} is not tied to Redis, round {round}");
        }
        assert_eq!(sidecar.verb(["healthcheck"]).0, 0);
        let (code, said) = sidecar.verb(["healthcheck", "--store"]);
        assert_eq!(code, 1, "{said}");
        let answer = sidecar.request("POST", "/v1/locks/k", "");
        assert_eq!((answer.status, answer.code().as_str()), (503, "store_unavailable"), "{answer:?}");
        assert!(http::probe(address, "/metrics").body.contains("\nsidelock_store_up 0\n"));
        redis.up();
        store_is(200, "Redis is there");
        sidecar.unlock(&sidecar.lock("k", ""));
        redis.down();
    }
    assert_eq!(probe("/v1/info"), 404, "health and metrics, and nothing else");
}

/// A kubelet that finds no place takes the sidecar for dead, and a restart costs every lease of the pod.
#[test]
fn connections_that_say_nothing_do_not_keep_a_probe_out() {
    let redis = Redis::start();
    let (_sidecar, address) = probed(&redis);
    let idle: Vec<TcpStream> = (0..320).map(|_| TcpStream::connect(address).expect("it listens")).collect();
    let begun = Instant::now();
    assert_eq!(http::probe(address, "/livez").status, 200);
    assert!(begun.elapsed() < Duration::from_secs(8), "after {:?}", begun.elapsed());
    drop(idle);
}

#[test]
fn a_drain_gives_back_what_is_idle_at_once_and_what_is_held_when_its_holder_does() {
    let redis = Redis::start();
    let settings = format!("redis.url = [{:?}]\ntenure.retention = \"5s\"", redis.url());
    let mut a = Sidecar::configured(&settings, &[]);
    a.await_store();
    let mut holder = Peer::greeted(a.socket());
    assert_eq!(holder.acquires(try_lock(1, "busy")), "granted");
    // Used repeatedly, a key is kept.
    for _ in 0..3 {
        a.unlock(&a.lock("idle", ""));
    }
    let record = |key: &str| redis.command(&["EXISTS", &format!("sl:1:default:{{{key}}}:lock")]);
    assert_eq!((record("idle").as_str(), record("busy").as_str()), ("1", "1"));

    a.signal(Signal::TERM);
    // Its retention would be five seconds.
    until(Duration::from_secs(2), "the idle key is back", || (record("idle") == "0").then_some(()));
    assert!(holder.hears("that the sidecar drains", |message| matches!(message, ToClient::Draining)));
    assert_eq!(record("busy"), "1", "its holder has not given it back");
    assert!(a.is_running());
    holder.say(&ToSidecar::Release { request: 2, lease: LeaseName::Session(1) });
    assert_eq!(a.code(), 0, "{}", a.output());
    assert_eq!(record("busy"), "0", "it is given back before the sidecar ends");
}
