//! The processes of the demo: a sidecar, and clients that do what they are told.
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
use std::ffi::OsStr;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

/// Nothing in the demo takes longer.
const EVENT_TIME_MAX: Duration = Duration::from_secs(20);

/// All who take part, and the folder they meet in.
pub(super) struct Cast {
    folder: TempDir,
    sidecar: Option<Child>,
    actors: Vec<Actor>,
}

/// One client process.
pub(super) struct Actor {
    child: Child,
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
        Ok(Cast { folder, sidecar: None, actors: Vec::new() })
    }

    /// Starts the sidecar; returns when it serves, with its process id.
    pub(super) async fn start_sidecar(&mut self) -> Result<u32, Failure> {
        let socket = self.socket();
        let mut sidecar = spawn([
            "serve".as_ref(),
            "--store".as_ref(),
            "memory".as_ref(),
            "--socket".as_ref(),
            socket.as_os_str(),
        ])?;
        let id = sidecar.id().unwrap_or_default();
        let greeting = sidecar.stdout.take().map(|out| BufReader::new(out).lines());
        self.sidecar = Some(sidecar);
        let first = match greeting {
            Some(mut lines) => {
                timeout(EVENT_TIME_MAX, lines.next_line()).await.ok().and_then(Result::ok).flatten()
            }
            None => None,
        };
        match first {
            Some(_) => Ok(id),
            None => Err(Failure::broken(
                "the demo's sidecar did not start; `sidelock serve --store memory` says why",
            )),
        }
    }

    /// Starts a client; returns when it is connected. Its number.
    pub(super) async fn start_actor(&mut self, name: &str) -> Result<usize, Failure> {
        let socket = self.socket();
        let mut child = spawn([
            "demo".as_ref(),
            "--play".as_ref(),
            OsStr::new(name),
            "--at".as_ref(),
            socket.as_os_str(),
        ])?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (orders, events) = pipes.ok_or_else(|| Failure::broken("a process of the demo has no pipes"))?;
        let events = BufReader::new(events).lines();
        self.actors.push(Actor { child, orders, events, pending: VecDeque::new() });
        let number = self.actors.len() - 1;
        self.actor(number).event("ready").await?;
        Ok(number)
    }

    pub(super) fn actor(&mut self, number: usize) -> &mut Actor {
        &mut self.actors[number]
    }

    /// Waits until the sidecar counts so many waiters of the key.
    pub(super) async fn await_waiters(&self, wanted: usize) -> Result<(), Failure> {
        let socket = crate::socket::Socket::at(self.socket());
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
        for mut child in self.actors.drain(..).map(|actor| actor.child).chain(self.sidecar.take()) {
            // Gone already is as good.
            let _ = child.kill().await;
        }
        // What can not be removed from a temporary folder is for the system to clean.
        let _ = self.folder.close();
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("s").join("demo.sock")
    }
}

impl Actor {
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

/// This program again, hearing nothing of our settings, quiet, and never outliving us.
fn spawn<'a>(arguments: impl IntoIterator<Item = &'a OsStr>) -> Result<Child, Failure> {
    let program = std::env::current_exe().map_err(|error| broken("our own program", error))?;
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

fn broken(what: &str, error: io::Error) -> Failure {
    Failure::broken(format!("{what}: {error}"))
}

fn stuck(name: &str) -> Failure {
    Failure::broken(format!(
        "a process of the demo ended or got stuck before it {name}; that is worth a report"
    ))
}
