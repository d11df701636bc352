//! The built binary: one sidecar on the memory store per test, and verbs spoken to it.
//!
//! Owns starting and stopping. Nothing sleeps: a sidecar serves once it has said so.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use tempfile::TempDir;

/// A sidecar that serves as long as the value lives.
pub(crate) struct Sidecar {
    process: Child,
    folder: Arc<TempDir>,
    /// Its name there.
    name: &'static str,
    /// What it said on standard output up to the line to paste.
    pub(crate) greeting: String,
}

/// What a verb said, and its exit code.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// The binary, hearing nothing of our own environment.
pub(crate) fn sidelock<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sidelock"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SIDELOCK_") {
            command.env_remove(name);
        }
    }
    command.args(arguments);
    command
}

/// Runs a command to its end.
pub(crate) fn finish(mut command: Command) -> Said {
    let Output { status, stdout, stderr } = command.stdin(Stdio::null()).output().expect("it starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("output is text");
    Said { code: status.code().unwrap_or(-1), out: text(stdout), err: text(stderr) }
}

/// Starts a sidecar at this place; returns when it serves, with what it said.
fn serve(socket: PathBuf, flags: &[&str]) -> (Child, String) {
    let mut command = sidelock(["serve", "--store", "memory", "--socket"]);
    command.arg(socket).args(flags);
    let mut process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
    let out = BufReader::new(process.stdout.take().expect("stdout is piped"));
    let mut greeting = String::new();
    for line in out.lines() {
        greeting.push_str(&line.expect("output is text"));
        greeting.push('\n');
        if greeting.contains("curl") {
            break;
        }
    }
    (process, greeting)
}

impl Sidecar {
    /// Starts one and waits until it serves.
    pub(crate) fn start() -> Sidecar {
        let folder = tempfile::tempdir().expect("there is a folder for temporary files");
        Sidecar::start_in(Arc::new(folder), "s.sock")
    }

    /// Starts another one in the same folder.
    pub(crate) fn start_beside(&self) -> Sidecar {
        Sidecar::start_in(self.folder.clone(), "second.sock")
    }

    fn start_in(folder: Arc<TempDir>, name: &'static str) -> Sidecar {
        let (process, greeting) = serve(folder.path().join(name), &[]);
        Sidecar { process, folder, name, greeting }
    }

    /// Starts the next one at the same place.
    pub(crate) fn start_again(&mut self) {
        self.start_again_with(&[]);
    }

    /// Starts the next one at the same place, with these flags.
    pub(crate) fn start_again_with(&mut self, flags: &[&str]) {
        (self.process, self.greeting) = serve(self.socket(), flags);
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.process.id()).expect("process ids are small");
        kill(Pid::from_raw(id), signal).expect("it runs");
    }

    /// Where it serves.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join(self.name)
    }

    /// A verb for this sidecar.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = sidelock(arguments);
        command.env("SIDELOCK_SOCKET", self.socket());
        command
    }

    /// A verb, spoken to this sidecar; the words are separated by spaces.
    pub(crate) fn say(&self, words: &str) -> Said {
        finish(self.command(words.split(' ')))
    }

    /// A shell script whose `sidelock` is ours.
    pub(crate) fn script(&self, script: &str) -> Said {
        let mut command = Command::new("sh");
        let folder = PathBuf::from(env!("CARGO_BIN_EXE_sidelock"));
        let folder = folder.parent().expect("a file is in a folder").to_string_lossy().into_owned();
        let path = format!("{folder}:{}", std::env::var("PATH").unwrap_or_default());
        command.args(["-ec", script]).env("PATH", path).env("SIDELOCK_SOCKET", self.socket());
        finish(command)
    }

    /// Kills it.
    pub(crate) fn kill(&mut self) {
        self.process.kill().expect("it runs");
        self.ended();
    }

    /// Waits for its end; its exit code.
    pub(crate) fn ended(&mut self) -> i32 {
        self.process.wait().expect("a child can be waited for").code().unwrap_or(-1)
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        // Already gone is as good.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
