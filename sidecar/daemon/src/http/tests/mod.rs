//! The door against a whole sidecar in this process, on the memory store: requests go in as bytes, answers come out.
//!
//! Owns the rig. Nothing here sleeps: what must have happened is awaited as an event.

mod bad_input;
mod leases;
mod modes;
mod once;
mod noise;
mod pages;
mod registers;
mod repeats;
mod streams;
mod waiting;

use super::Door;
use crate::config::Config;
use crate::handle::Peer;
use crate::sidecar::{Home, Sidecar};
use crate::watch::Watch;
use serde_json::Value;
use sidelock_engine::EventKind;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{broadcast, watch};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::timeout;

/// How long something may take that must come. Far above anything measured.
const PATIENCE: Duration = Duration::from_secs(60);
/// Who connects unless a test says otherwise.
const SOMEBODY: Peer = Peer { uid: 1000, gid: 1000 };
/// Another user.
const SOMEBODY_ELSE: Peer = Peer { uid: 1001, gid: 1001 };

/// A sidecar with nothing but this door.
struct Rig {
    door: Rc<Door>,
    leaving: watch::Sender<bool>,
}

/// An answer.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

/// Runs a test against a new sidecar. A test that hangs fails.
fn with_sidecar<F: Future<Output = ()>>(test: impl FnOnce(Rig) -> F) {
    with_config(Config::default(), test);
}

/// As [`with_sidecar`], with these settings.
fn with_config<F: Future<Output = ()>>(config: Config, test: impl FnOnce(Rig) -> F) {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
    runtime.expect("the system has an event queue").block_on(async {
        let sidecar = Sidecar::start(&config, Home::Host(None)).expect("the memory store needs nothing");
        let door = Door::new(sidecar.handle.clone(), sidecar.handle.gate().clone(), sidecar.metrics.clone());
        let (leaving, _) = watch::channel(false);
        sidecar.handle.health().set_started();
        timeout(PATIENCE, test(Rig { door, leaving })).await.expect("the test ends");
    });
}

impl Rig {
    /// A connection, and the task that serves it.
    fn connect_as(&self, peer: Peer) -> (UnixStream, JoinHandle<()>) {
        let (ours, theirs) = UnixStream::pair().expect("there are descriptors left");
        let mut leaving = self.leaving.subscribe();
        let leaving = async move { drop(leaving.wait_for(|leaving| *leaving).await) };
        (theirs, spawn_local(self.door.clone().serve(ours, peer, leaving)))
    }

    fn connect(&self) -> UnixStream {
        self.connect_as(SOMEBODY).0
    }

    /// These bytes as a connection of its own, and all that comes back until the door hangs up.
    async fn raw_as(&self, peer: Peer, bytes: &[u8]) -> Answer {
        let (mut stream, served) = self.connect_as(peer);
        // A door that refuses early closes before it has read everything; its answer is what counts.
        drop(stream.write_all(bytes).await);
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer).await);
        drop(stream);
        served.await.expect("the door does not panic");
        Answer::parse(&answer)
    }

    /// As [`Rig::raw`]; nothing more will be sent, and the door is told so.
    async fn raw_half_closed(&self, bytes: &[u8]) -> Answer {
        let (mut stream, served) = self.connect_as(SOMEBODY);
        drop(stream.write_all(bytes).await);
        drop(stream.shutdown().await);
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer).await);
        served.await.expect("the door does not panic");
        Answer::parse(&answer)
    }

    async fn raw(&self, bytes: &[u8]) -> Answer {
        self.raw_as(SOMEBODY, bytes).await
    }

    /// One request; `headers` are whole lines.
    async fn ask_as(&self, peer: Peer, method: &str, path: &str, headers: &[&str], body: &str) -> Answer {
        self.raw_as(peer, request(method, path, &[headers, &["Connection: close"]].concat(), body).as_bytes())
            .await
    }

    async fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        self.ask_as(SOMEBODY, method, path, &[], body).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "").await
    }

    async fn post(&self, path: &str, body: &str) -> Answer {
        self.ask("POST", path, body).await
    }

    /// Sends a request whose answer will take a while, and keeps the connection.
    async fn begin(&self, method: &str, path: &str, body: &str) -> UnixStream {
        let mut stream = self.connect();
        stream.write_all(request(method, path, &[], body).as_bytes()).await.expect("the door reads");
        stream
    }

    /// Takes a timed lease.
    async fn lock(&self, key: &str, body: &str) -> Value {
        let answer = self.post(&format!("/v1/locks/{key}"), body).await;
        assert_eq!(answer.status, 200, "{key} is granted: {answer:?}");
        answer.json()
    }

    /// Gives a timed lease back.
    async fn unlock(&self, lease: &Value) {
        let answer = self.ask("DELETE", &path_of(lease), "").await;
        assert_eq!(answer.status, 204, "{lease} is released: {answer:?}");
    }

    /// Events from now on.
    fn events(&self) -> Events {
        Events(self.door.handle.watch())
    }
}

/// Events of the sidecar.
struct Events(broadcast::Receiver<Watch>);

impl Events {
    /// Waits for an event of this kind on `key`.
    async fn until(&mut self, key: &str, wanted: impl Fn(&EventKind) -> bool) {
        loop {
            let watch = self.0.recv().await.expect("the sidecar lives");
            if watch.event.key.as_str() == key && wanted(&watch.event.kind) {
                return;
            }
        }
    }

    async fn queued(&mut self, key: &str) {
        self.until(key, |kind| matches!(kind, EventKind::Queued)).await;
    }

    async fn released(&mut self, key: &str) {
        self.until(key, |kind| matches!(kind, EventKind::Released { .. })).await;
    }

    async fn cancelled(&mut self, key: &str) {
        self.until(key, |kind| matches!(kind, EventKind::Cancelled { .. })).await;
    }
}

/// The answer to a request that was begun, from a connection that stays open.
async fn answer_on(mut stream: UnixStream) -> Answer {
    let mut bytes = vec![0; 4096];
    let read = stream.read(&mut bytes).await.expect("the door answers");
    Answer::parse(&bytes[..read])
}

fn request(method: &str, path: &str, headers: &[&str], body: &str) -> String {
    let mut head =
        format!("{method} {path} HTTP/1.1\r\nHost: sidelock\r\nContent-Length: {}\r\n", body.len());
    for header in headers {
        head.push_str(header);
        head.push_str("\r\n");
    }
    head + "\r\n" + body
}

/// The path of a timed lease.
fn path_of(lease: &Value) -> String {
    format!("/v1/leases/{}", lease["lease"].as_str().expect("a timed lease has an id"))
}

impl Answer {
    fn parse(bytes: &[u8]) -> Answer {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        Answer { status: status.unwrap_or(0), head: head.to_lowercase(), body: body.to_owned() }
    }

    /// A header's value, in lower case.
    fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(n, _)| *n == name)
            .map(|(_, value)| value)
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// Status and code of a refusal.
    fn refusal(&self) -> (u16, String) {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], self.status, "{self:?}");
        assert!(!problem["detail"].as_str().expect("says what").is_empty(), "{self:?}");
        (self.status, problem["code"].as_str().expect("has a code").to_owned())
    }

    #[track_caller]
    fn is_refused(&self, status: u16, code: &str) {
        assert_eq!(self.refusal(), (status, code.to_owned()), "{self:?}");
    }
}

/// An answer that comes line by line, read as it comes.
struct Lines {
    stream: UnixStream,
    pending: String,
}

impl Lines {
    fn of(stream: UnixStream) -> Lines {
        Lines { stream, pending: String::new() }
    }

    /// The next line of the connection; `None` at its end.
    async fn next(&mut self) -> Option<String> {
        loop {
            if let Some((line, rest)) = self.pending.split_once('\n') {
                let line = line.trim_end().to_owned();
                self.pending = rest.to_owned();
                return Some(line);
            }
            let mut chunk = [0; 4096];
            match self.stream.read(&mut chunk).await {
                Ok(0) | Err(_) => return None,
                Ok(read) => self.pending.push_str(&String::from_utf8_lossy(&chunk[..read])),
            }
        }
    }

    /// The next line that is JSON; what HTTP puts around is skipped.
    async fn event(&mut self) -> Option<Value> {
        loop {
            let line = self.next().await?;
            // The end of a chunked body: an answer may end while its connection goes on.
            if line == "0" {
                return None;
            }
            if line.starts_with('{') {
                return Some(serde_json::from_str(&line).expect("events are JSON"));
            }
        }
    }

    /// The next event, which is this one.
    async fn expect(&mut self, name: &str) -> Value {
        let event = self.event().await.unwrap_or_else(|| panic!("the answer ended before {name}"));
        assert_eq!(event["event"], name, "{event}");
        event
    }
}
