//! The real binary, serving.
//!
//! Owns where the binary is, how it is started, and the road of a plain request to it. Must not know what is asked.

use crate::http::{self, Answer};
use crate::process::{self, Process};
use crate::redis::Redis;
use crate::{PATIENCE, folder};
use serde_json::Value;
use std::ffi::OsStr;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// The binary under test: `$SIDELOCK_BIN`, or the one that was built beside this test.
///
/// # Panics
/// If there is none, with what to do.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("SIDELOCK_BIN") {
        return path.into();
    }
    let this = std::env::current_exe().expect("a program knows where it is");
    let beside =
        this.ancestors().skip(1).take(2).map(|folder| folder.join("sidelock")).find(|path| path.is_file());
    beside.expect("there is no `sidelock` beside this test: `tests/run compile`, or set SIDELOCK_BIN")
}

/// The binary with these arguments, and nothing of our environment that it would listen to.
pub fn command<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(binary());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SIDELOCK_") {
            command.env_remove(name);
        }
    }
    command.args(arguments);
    command
}

/// A sidecar that serves as long as the value lives.
pub struct Sidecar {
    process: Process,
    socket: PathBuf,
    folder: Option<TempDir>,
}

impl Sidecar {
    /// On the memory store.
    pub fn on_memory() -> Sidecar {
        Sidecar::with(&["--store", "memory"])
    }

    /// On this Redis. Returns when it serves; whether it has reached Redis by then is another question.
    pub fn on_redis(redis: &Redis) -> Sidecar {
        Sidecar::with(&["--redis", &redis.url()])
    }

    /// On this Redis, and connected to it.
    pub fn connected_to(redis: &Redis) -> Sidecar {
        let sidecar = Sidecar::on_redis(redis);
        sidecar.await_store();
        sidecar
    }

    /// With these flags, on a socket of its own.
    pub fn with(flags: &[&str]) -> Sidecar {
        let folder = folder();
        let mut sidecar = Sidecar::at(&folder.path().join("sidelock.sock"), flags);
        sidecar.folder = Some(folder);
        sidecar
    }

    /// With these settings (TOML) and flags, on a socket of its own.
    pub fn configured(settings: &str, flags: &[&str]) -> Sidecar {
        let folder = folder();
        let file = folder.path().join("sidelock.toml");
        std::fs::write(&file, settings).expect("our folder");
        let file = file.to_string_lossy();
        let flags = [&["--config", file.as_ref()], flags].concat();
        let mut sidecar = Sidecar::at(&folder.path().join("sidelock.sock"), &flags);
        sidecar.folder = Some(folder);
        sidecar
    }

    /// With these flags, on this socket.
    pub fn at(socket: &Path, flags: &[&str]) -> Sidecar {
        Sidecar::started(Sidecar::command(socket, flags), socket)
    }

    /// By this command, which makes one that serves at this socket.
    pub fn started(command: Command, socket: &Path) -> Sidecar {
        let process = Process::spawn(command);
        process.line("that it serves", |line| line.starts_with("sidelock serves at"));
        Sidecar { process, socket: socket.to_owned(), folder: None }
    }

    /// The command that [`Sidecar::at`] starts.
    pub fn command(socket: &Path, flags: &[&str]) -> Command {
        let mut command = command(["serve", "--socket"]);
        command.arg(socket).args(flags);
        command
    }

    /// Waits until the sidecar says that its store answers.
    pub fn await_store(&self) {
        process::until(PATIENCE, "/readyz/store is 200", || {
            (self.get("/readyz/store").status == 200).then_some(())
        });
    }

    /// Where clients connect.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// One HTTP request.
    pub fn request(&self, method: &str, path: &str, body: &str) -> Answer {
        http::request(&self.socket, method, path, body)
    }

    /// GET.
    pub fn get(&self, path: &str) -> Answer {
        self.request("GET", path, "")
    }

    /// Takes a timed lease of a lock.
    ///
    /// # Panics
    /// If it is not granted.
    pub fn lock(&self, key: &str, body: &str) -> Value {
        let answer = self.request("POST", &format!("/v1/locks/{key}"), body);
        assert_eq!(answer.status, 200, "{key} is granted: {answer:?}");
        answer.json()
    }

    /// Gives a timed lease back.
    ///
    /// # Panics
    /// If it is not there any more.
    pub fn unlock(&self, lease: &Value) {
        let id = lease["lease"].as_str().expect("a lease has an id");
        let answer = self.request("DELETE", &format!("/v1/leases/{id}"), "");
        assert_eq!(answer.status, 204, "{lease} is released: {answer:?}");
    }

    /// A verb of the binary, spoken to this sidecar: exit code and all output.
    pub fn verb<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> (i32, String) {
        let mut command = command(arguments);
        command.env("SIDELOCK_SOCKET", &self.socket);
        process::run(command)
    }
}

impl Deref for Sidecar {
    type Target = Process;
    fn deref(&self) -> &Process {
        &self.process
    }
}

impl DerefMut for Sidecar {
    fn deref_mut(&mut self) -> &mut Process {
        &mut self.process
    }
}

/// The fence of a lease.
pub fn fence(lease: &Value) -> u64 {
    lease["fence"].as_u64().expect("a lease has a fence")
}
