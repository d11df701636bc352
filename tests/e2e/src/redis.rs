//! A Redis of our own, on a Unix socket in a folder of its own.
//!
//! Owns its start, its pauses, its end, and plain commands to it. Must not know what is stored there.

use crate::certificates::Identity;
use crate::folder;
use crate::process::Process;
use rustix::process::Signal;
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// Where a durable server keeps its log, in its folder.
const LOG_FOLDER: &str = "log";

/// A Redis server that lives as long as the value.
pub struct Redis {
    folder: TempDir,
    /// Beyond those that all of ours have.
    arguments: Vec<String>,
    durable: bool,
    process: Option<Process>,
}

impl Redis {
    /// A server that is up.
    pub fn start() -> Redis {
        let mut redis = Redis::absent();
        redis.up();
        redis
    }

    /// A server that is up and wants this password.
    pub fn with_password(password: &str) -> Redis {
        Redis::with(&["--requirepass", password])
    }

    /// A server that is up and was started with these arguments.
    pub fn with(arguments: &[&str]) -> Redis {
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let mut redis = Redis { arguments, ..Redis::absent() };
        redis.up();
        redis
    }

    /// A server that is up and answers a write only when it is on disk: what it stored survives [`Redis::down`].
    pub fn durable() -> Redis {
        let mut redis = Redis { durable: true, ..Redis::absent() };
        redis.up();
        redis
    }

    /// A server that is up and reached over loopback, as a Redis usually is over a network.
    pub fn on_loopback() -> Redis {
        Redis::with(&["--bind", "127.0.0.1", "--port", &free_port().to_string()])
    }

    /// A server that is up on loopback, as a replica of the server at this port there, or with replicas to come.
    pub fn replicated(primary: Option<u16>) -> Redis {
        let port = free_port().to_string();
        // Else a primary waits five seconds for more replicas before it sends them what it has.
        let flags = ["--bind", "127.0.0.1", "--port", &port, "--repl-diskless-sync-delay", "0"];
        let mut redis = Redis { arguments: flags.map(str::to_owned).to_vec(), ..Redis::absent() };
        match primary {
            Some(primary) => redis.up_as_replica_of(primary),
            None => redis.up(),
        }
        redis
    }

    /// Starts the server as a replica of the server at this port of loopback, whatever it was before.
    pub fn up_as_replica_of(&mut self, primary: u16) {
        let flag = "--replicaof";
        if let Some(at) = self.arguments.iter().position(|argument| argument == flag) {
            self.arguments.drain(at..at + 3);
        }
        self.arguments.extend([flag, "127.0.0.1", &primary.to_string()].map(str::to_owned));
        self.up();
    }

    /// A server that is up, reached over loopback by TLS, and shows this certificate. `clients` says whether it wants to see
    /// theirs, from an authority in this file.
    pub fn with_tls(identity: &Identity, authorities: &Path, clients: bool) -> Redis {
        let (cert, key) = (identity.cert.to_string_lossy(), identity.key.to_string_lossy());
        let (authorities, asked) = (authorities.to_string_lossy(), if clients { "yes" } else { "no" });
        let mut arguments = vec!["--bind", "127.0.0.1", "--tls-port"];
        let port = free_port().to_string();
        arguments.extend([&port, "--tls-cert-file", &cert, "--tls-key-file", &key]);
        arguments.extend(["--tls-ca-cert-file", &authorities, "--tls-auth-clients", asked]);
        Redis::with(&arguments)
    }

    /// A place where a server may come up later.
    pub fn absent() -> Redis {
        Redis { folder: folder(), arguments: Vec::new(), durable: false, process: None }
    }

    /// Starts the server, and waits until it says that it is ready.
    pub fn up(&mut self) {
        let mut command = Command::new(program());
        let log = if self.durable { "yes" } else { "no" };
        command.args(["--port", "0", "--save", "", "--appendonly", log, "--appendfsync", "always"]);
        command.args(["--appenddirname", LOG_FOLDER, "--loglevel", "notice", "--dir"]);
        command.arg(self.folder.path()).arg("--unixsocket").arg(self.socket());
        command.args(&self.arguments);
        let process = Process::spawn(command);
        process.line("that it is ready", |line| line.contains("eady to accept connections"));
        self.process = Some(process);
    }

    /// Kills the server; what it stored is gone, unless it is durable.
    pub fn down(&mut self) {
        self.process = None;
    }

    /// Removes what a durable server that is down has stored.
    ///
    /// # Panics
    /// If it can not be removed.
    pub fn forget(&self) {
        assert!(self.process.is_none(), "a server that is up remembers");
        let log = self.folder.path().join(LOG_FOLDER);
        if self.durable && log.exists() {
            std::fs::remove_dir_all(log).expect("the log can be removed");
        }
    }

    /// Stops it as a debugger would: connections stay, nothing answers.
    pub fn pause(&self) {
        self.running().signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.running().signal(Signal::CONT);
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("redis.sock")
    }

    /// What `--redis` wants to hear.
    pub fn url(&self) -> String {
        match (self.argument("--tls-port"), self.argument("--port")) {
            // By the name that certificates have.
            (Some(port), _) => format!("rediss://localhost:{port}"),
            (None, Some(port)) => format!("redis://127.0.0.1:{port}"),
            (None, None) => format!("unix://{}", self.socket().display()),
        }
    }

    /// Its port on loopback.
    ///
    /// # Panics
    /// If it is not there.
    pub fn port(&self) -> u16 {
        let port = self.argument("--tls-port").or(self.argument("--port"));
        port.and_then(|port| port.parse().ok()).expect("it listens on loopback")
    }

    /// Whether it was started, and not killed since.
    pub fn is_up(&self) -> bool {
        self.process.is_some()
    }

    fn argument(&self, name: &str) -> Option<&str> {
        let at = self.arguments.iter().position(|argument| argument == name)?;
        self.arguments.get(at + 1).map(String::as_str)
    }

    /// Runs one command and returns its answer as text: one line of a simple answer, or the bulk text.
    ///
    /// # Panics
    /// If the server is away, or answers an error.
    pub fn command(&self, words: &[&str]) -> String {
        let answer = ask(&self.socket(), self.argument("--requirepass"), words);
        answer.unwrap_or_else(|error| panic!("{words:?} was answered {error}"))
    }

    /// The same; nothing if the server answers an error, or hangs up: sentinels have one that they reconfigure hang up on everybody.
    pub fn try_command(&self, words: &[&str]) -> Option<String> {
        ask(&self.socket(), self.argument("--requirepass"), words).ok()
    }

    /// A number out of INFO.
    pub fn info(&self, section: &str, field: &str) -> u64 {
        let info = self.command(&["INFO", section]);
        let value = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        value
            .and_then(|value| value.trim().parse().ok())
            .unwrap_or_else(|| panic!("INFO {section} has {field}"))
    }

    /// The server's process.
    ///
    /// # Panics
    /// If the server is away.
    pub fn running(&self) -> &Process {
        self.process.as_ref().expect("the server is up")
    }
}

/// `$REDIS_SERVER`, or the one that is installed: `tests/run stores` has newer ones.
pub fn program() -> OsString {
    std::env::var_os("REDIS_SERVER").unwrap_or_else(|| "redis-server".into())
}

/// A port of loopback that nobody listens at.
pub fn free_port() -> u16 {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
    free.expect("loopback has a free port").port()
}

/// Runs one command at the server that listens at this socket: its answer as text, or its error, or why there is none.
///
/// # Panics
/// If the server is away.
pub(crate) fn ask(socket: &Path, password: Option<&str>, words: &[&str]) -> Result<String, String> {
    let stream = UnixStream::connect(socket).expect("the server listens");
    let mut reader = BufReader::new(stream);
    if let Some(password) = password {
        exchange(&mut reader, &["AUTH", password])?;
    }
    exchange(&mut reader, words)
}

fn exchange(reader: &mut BufReader<UnixStream>, words: &[&str]) -> Result<String, String> {
    let mut request = format!("*{}\r\n", words.len());
    for word in words {
        request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    reader.get_mut().write_all(request.as_bytes()).map_err(hung_up)?;
    answer(reader)
}

fn hung_up(error: io::Error) -> String {
    format!("nothing: {error}")
}

/// Reads one answer, of an array a line for each of its elements; or the server's error.
fn answer(reader: &mut BufReader<UnixStream>) -> Result<String, String> {
    let mut head = String::new();
    reader.read_line(&mut head).map_err(hung_up)?;
    let (kind, rest) = head.trim_end().split_at_checked(1).ok_or("nothing: it hung up")?;
    match kind {
        "+" | ":" => Ok(rest.to_owned()),
        "$" if rest == "-1" => Ok(String::new()),
        "$" => {
            let mut bulk = vec![0; rest.parse::<usize>().expect("a length") + 2];
            reader.read_exact(&mut bulk).map_err(hung_up)?;
            Ok(String::from_utf8_lossy(&bulk).trim_end().to_owned())
        }
        "*" => {
            let count = rest.parse::<usize>().expect("a length");
            let elements: Vec<_> = (0..count).map(|_| answer(reader)).collect::<Result<_, _>>()?;
            Ok(elements.join("\n"))
        }
        "-" => Err(rest.to_owned()),
        _ => panic!("the server speaks RESP2, but said {head}"),
    }
}
