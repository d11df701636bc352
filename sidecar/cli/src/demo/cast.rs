//! The processes of the demo: sidecars, a Redis, and clients that do what they are told.
//!
//! Owns their folder, their start, their signals and their end. Must not know the story.

use super::actor::KEY;
use crate::child::bound_to_us;
use crate::failure::Failure;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use sidelock_daemon::boottime;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

/// Nothing in the demo takes longer.
const EVENT_TIME_MAX: Duration = Duration::from_secs(20);
/// A Redis with nothing to load says within milliseconds that it is ready, or it will not.
const REDIS_TIME_MAX: Duration = Duration::from_secs(3);
/// The sidecar that is there from the beginning.
pub(super) const FIRST: &str = "demo";

/// All who take part, and the folder they meet in.
pub(super) struct Cast {
    folder: TempDir,
    /// Sidecars, and a Redis.
    servers: Vec<Child>,
    actors: Vec<Actor>,
}

/// One client process.
pub(super) struct Actor {
    child: Child,
    /// Its sidecar, as deadlocks call it.
    sidecar: String,
    orders: ChildStdin,
    events: Lines<BufReader<ChildStdout>>,
    /// Heard, and not asked for yet.
    pending: VecDeque<Event>,
}

/// Something that happened to an actor.
pub(super) struct Event {
    name: String,
    /// When, in nanoseconds of `CLOCK_BOOTTIME`, which all processes of a host share.
    pub(super) at: u64,
    /// What goes with it.
    pub(super) what: Value,
}

impl Cast {
    /// Nobody yet, and an empty folder.
    pub(super) fn gather() -> Result<Cast, Failure> {
        let folder = tempfile::Builder::new().prefix("sidelock-demo-").tempdir();
        let folder = folder.map_err(|error| broken("a temporary folder", error))?;
        Ok(Cast { folder, servers: Vec::new(), actors: Vec::new() })
    }

    /// Starts a sidecar, on a store of its own or on this Redis; returns when it serves, with its process id.
    pub(super) async fn start_sidecar(&mut self, name: &str, redis: Option<&Path>) -> Result<u32, Failure> {
        let store: [OsString; 2] = match redis {
            None => ["--store".into(), "memory".into()],
            Some(socket) => ["--redis".into(), format!("unix://{}", socket.display()).into()],
        };
        let mut arguments: Vec<OsString> = vec!["serve".into(), "--socket".into(), self.socket(name).into()];
        arguments.extend(store);
        let mut sidecar = spawn(&ourselves()?, arguments)?;
        let id = sidecar.id().unwrap_or_default();
        let greeted = says(&mut sidecar, "", EVENT_TIME_MAX).await;
        self.servers.push(sidecar);
        match greeted {
            true => Ok(id),
            false => Err(Failure::broken(
                "the demo's sidecar did not start; `sidelock serve --store memory` says why",
            )),
        }
    }

    /// Starts a Redis that keeps nothing; returns when it is ready, with its socket. `None`: there is none here that would.
    pub(super) async fn start_redis(&mut self) -> Option<PathBuf> {
        if !cfg!(feature = "redis") {
            return None;
        }
        let socket = self.folder.path().join("redis.sock");
        let mut arguments: Vec<OsString> = ["--port", "0", "--save", "", "--appendonly", "no", "--dir"]
            .into_iter()
            .map(OsString::from)
            .collect();
        arguments.extend([self.folder.path().into(), "--unixsocket".into(), socket.clone().into()]);
        let mut redis = spawn("redis-server".as_ref(), arguments).ok()?;
        let ready = says(&mut redis, "eady to accept connections", REDIS_TIME_MAX).await;
        self.servers.push(redis);
        ready.then_some(socket)
    }

    /// Starts a client of this sidecar; returns when it is connected. Its number.
    pub(super) async fn start_actor(&mut self, name: &str, sidecar: &str) -> Result<usize, Failure> {
        let arguments =
            ["demo".into(), "--play".into(), name.into(), "--at".into(), self.socket(sidecar).into()];
        let mut child = spawn(&ourselves()?, arguments)?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (orders, events) = pipes.ok_or_else(|| Failure::broken("a process of the demo has no pipes"))?;
        let events = BufReader::new(events).lines();
        let mut actor = Actor { child, sidecar: String::new(), orders, events, pending: VecDeque::new() };
        let ready = actor.event("ready").await?;
        actor.sidecar = ready.what.as_str().unwrap_or_default().to_owned();
        self.actors.push(actor);
        Ok(self.actors.len() - 1)
    }

    pub(super) fn actor(&mut self, number: usize) -> &mut Actor {
        &mut self.actors[number]
    }

    /// Waits until the sidecar counts so many waiters of the key.
    pub(super) async fn await_waiters(&self, wanted: usize) -> Result<(), Failure> {
        let socket = crate::socket::Socket::at(self.socket(FIRST));
        let path = format!("/v1/locks/{KEY}");
        let looked = timeout(EVENT_TIME_MAX, async {
            loop {
                let key = crate::door::ask(&socket, hyper::Method::GET, &path, None).await?;
                if key["queue"].as_array().map_or(0, Vec::len) >= wanted {
                    return Ok(());
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        looked.await.unwrap_or_else(|_| Err(Failure::broken("a process of the demo never queued")))
    }

    /// Ends everybody and removes the folder.
    pub(super) async fn leave(mut self) {
        for mut child in self.actors.drain(..).map(|actor| actor.child).chain(self.servers.drain(..)) {
            // Gone already is as good.
            let _ = child.kill().await;
        }
        // What can not be removed from a temporary folder is for the system to clean.
        let _ = self.folder.close();
    }

    fn socket(&self, sidecar: &str) -> PathBuf {
        self.folder.path().join(sidecar).join("s.sock")
    }
}

impl Actor {
    /// Its sidecar, as deadlocks call it.
    pub(super) fn sidecar(&self) -> &str {
        &self.sidecar
    }

    /// Tells it what to do.
    pub(super) async fn order(&mut self, order: &str) -> Result<(), Failure> {
        let line = format!("{order}\n");
        self.orders.write_all(line.as_bytes()).await.map_err(|error| broken("a process of the demo", error))
    }

    /// The next event of this name; others are kept for later.
    pub(super) async fn event(&mut self, name: &str) -> Result<Event, Failure> {
        if let Some(at) = self.pending.iter().position(|event| event.name == name) {
            return self.pending.remove(at).ok_or_else(|| stuck(name));
        }
        loop {
            let event = self.hear().await.ok_or_else(|| stuck(name))?;
            match event.name == name {
                true => return Ok(event),
                false => self.pending.push_back(event),
            }
        }
    }

    async fn hear(&mut self) -> Option<Event> {
        let line = timeout(EVENT_TIME_MAX, self.events.next_line()).await.ok()?.ok()??;
        let event: Value = serde_json::from_str(&line).ok()?;
        Some(Event {
            name: event["event"].as_str()?.to_owned(),
            at: event["at"].as_u64()?,
            what: event["what"].clone(),
        })
    }

    /// Sends a signal; when, in nanoseconds of `CLOCK_BOOTTIME`.
    pub(super) fn signal(&self, signal: Signal) -> u64 {
        let at = boottime().0;
        if let Some(id) = self.child.id().and_then(|id| i32::try_from(id).ok()) {
            // Gone already is as good.
            let _ = kill(Pid::from_raw(id), signal);
        }
        at
    }
}

/// This program again.
fn ourselves() -> Result<PathBuf, Failure> {
    std::env::current_exe().map_err(|error| broken("our own program", error))
}

/// A program that hears nothing of our settings, is quiet, and never outlives us.
fn spawn(program: &Path, arguments: impl IntoIterator<Item = OsString>) -> Result<Child, Failure> {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SIDELOCK_") {
            command.env_remove(name);
        }
    }
    command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    bound_to_us(&mut command).spawn().map_err(|error| broken("a process of the demo", error))
}

/// Waits for a line with these words. Whether it came, in time.
async fn says(server: &mut Child, words: &str, time: Duration) -> bool {
    let Some(out) = server.stdout.take() else { return false };
    let mut lines = BufReader::new(out).lines();
    let said = timeout(time, async {
        while let Ok(Some(line)) = lines.next_line().await {
            if line.contains(words) {
                return true;
            }
        }
        false
    });
    said.await.unwrap_or(false)
}

fn broken(what: &str, error: io::Error) -> Failure {
    Failure::broken(format!("{what}: {error}"))
}

fn stuck(name: &str) -> Failure {
    Failure::broken(format!(
        "a process of the demo ended or got stuck before it {name}; that is worth a report"
    ))
}
