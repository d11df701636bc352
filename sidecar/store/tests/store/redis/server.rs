//! A Redis of the test's own: on a Unix socket in a temporary folder, stopped when dropped.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A running `redis-server`.
pub(crate) struct Server {
    dir: TempDir,
    extra: Vec<String>,
    process: Child,
}

impl Server {
    /// Starts one and waits until it answers. `extra` are further command line arguments.
    pub(crate) fn start(extra: &[&str]) -> Server {
        let dir = tempfile::tempdir().unwrap();
        let extra: Vec<String> = extra.iter().map(ToString::to_string).collect();
        let process = spawn(&dir, &extra);
        let server = Server { dir, extra, process };
        server.await_answer();
        server
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("redis.sock")
    }

    pub(crate) fn url(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// Kills it as a crash would.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        std::fs::remove_file(self.socket()).ok();
    }

    /// Starts it anew, empty, after [`Server::kill`].
    pub(crate) fn restart(&mut self) {
        self.process = spawn(&self.dir, &self.extra);
        self.await_answer();
    }

    /// SIGSTOP or SIGCONT.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(name).arg(self.process.id().to_string()).status().unwrap();
        assert!(status.success());
    }

    /// The socket appears when the server listens; connecting to it is the sign.
    fn await_answer(&self) {
        let end = Instant::now() + Duration::from_secs(10);
        while std::os::unix::net::UnixStream::connect(self.socket()).is_err() {
            assert!(Instant::now() < end, "redis-server did not start within 10 s");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Stopped processes do not die of what they can not handle, but of this they do.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

fn spawn(dir: &TempDir, extra: &[String]) -> Child {
    // `tests/run stores` has newer ones than this machine's.
    let mut command = Command::new(std::env::var_os("REDIS_SERVER").unwrap_or_else(|| "redis-server".into()));
    command.current_dir(dir.path()).args(["--port", "0", "--save", "", "--appendonly", "no"]);
    command.arg("--unixsocket").arg(dir.path().join("redis.sock")).args(extra);
    match command.stdout(Stdio::null()).spawn() {
        Ok(child) => child,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            panic!("redis-server is not installed; on Debian: apt-get install redis-server")
        }
        Err(error) => panic!("redis-server does not start: {error}"),
    }
}
