//! A Redis with two replicas, and three sentinels that watch them, on loopback.
//!
//! Owns their start, who is the primary, and making another one of them it. Must not know what is stored there.

use crate::process::{Process, until};
use crate::redis::{Redis, ask, free_port, program};
use crate::{PATIENCE, folder};
use std::fmt::{self, Display};
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;
use tempfile::TempDir;

/// What sentinels call the primary: the name that sidecars ask for unless told otherwise.
pub const SERVICE: &str = "mymaster";
/// Servers, and sentinels.
const EACH: usize = 3;
/// After so long without an answer a sentinel counts the primary as down, in milliseconds …
const DOWN_AFTER_MS: u32 = 500;
/// … and one that leaves it to another to notice first.
const DOWN_LATER_MS: u32 = 2000;

/// A primary, its replicas and their sentinels. All of them end with the value.
pub struct Ensemble {
    nodes: Vec<Redis>,
    sentinels: Vec<Watcher>,
    _folder: TempDir,
}

/// A failover under way.
pub struct Succession {
    /// The primary that is replaced.
    pub old: usize,
    /// Servers that counted themselves as primaries when it began, and do so still.
    before: Vec<usize>,
    /// Those that do so now, and since when they were seen to.
    promoted: Vec<(usize, Instant)>,
}

/// One sentinel.
struct Watcher {
    _process: Process,
    socket: PathBuf,
    port: u16,
}

impl Ensemble {
    /// All of them, when a failover would work: replicas have what the primary has, sentinels know each other. One of them
    /// notices first, alone, and is elected. Where all notice in the same moment, as they do on one machine, two are elected in
    /// half of all failovers (measured on Redis 7.0.15), and each replaces whom the other has promoted, up to four times in
    /// five seconds.
    pub fn start() -> Ensemble {
        let folder = beside_disks();
        let first = Redis::replicated(None);
        let port = first.port();
        let replicas = (1..EACH).map(|_| Redis::replicated(Some(port)));
        let nodes: Vec<_> = [first].into_iter().chain(replicas).collect();
        let sentinels = (0..EACH).map(|number| Watcher::start(&folder, number, port)).collect();
        let ensemble = Ensemble { nodes, sentinels, _folder: folder };
        ensemble.await_settled();
        ensemble
    }

    /// What `--redis` wants to hear: all sentinels.
    pub fn urls(&self) -> Vec<String> {
        self.sentinels.iter().map(|sentinel| format!("redis://127.0.0.1:{}", sentinel.port)).collect()
    }

    /// Flags of a sidecar that uses it.
    pub fn flags(&self) -> Vec<String> {
        let mode = ["--redis-mode".to_owned(), "sentinel".to_owned()];
        self.urls().into_iter().flat_map(|url| ["--redis".to_owned(), url]).chain(mode).collect()
    }

    /// A server.
    pub fn node(&self, number: usize) -> &Redis {
        &self.nodes[number]
    }

    /// The server that all sentinels name, if they agree.
    pub fn primary(&self) -> Option<usize> {
        let named: Vec<_> = self.sentinels.iter().map(Watcher::named).collect();
        let first = named.first().cloned().flatten()?;
        let agreed = named.iter().all(|address| address.as_ref() == Some(&first));
        let at = |node: &Redis| first == format!("127.0.0.1:{}", node.port());
        agreed.then(|| self.nodes.iter().position(at))?
    }

    /// Sentinels put another server in the primary's place, which goes on as if it were one still. Returns as soon as another
    /// one takes writes.
    pub fn fail_over(&self) -> Succession {
        let succession = self.succession();
        until(PATIENCE, self.said_of("a failover begins"), || {
            self.sentinels[0].ask(&["SENTINEL", "FAILOVER", SERVICE]).ok()
        });
        self.await_promoted(succession)
    }

    /// Kills the primary as a crash would. Returns as soon as another one takes writes.
    pub fn kill_primary(&mut self) -> Succession {
        let succession = self.succession();
        self.nodes[succession.old].down();
        self.await_promoted(succession)
    }

    /// Starts a server that was killed again, as a replica of this one.
    pub fn start_again(&mut self, killed: usize, primary: usize) {
        let port = self.nodes[primary].port();
        self.nodes[killed].up_as_replica_of(port);
    }

    /// Waits until all sentinels name the same server again, and not the old one. Which, and since when it takes writes: when
    /// two of them led a failover at a time, that is not the one that took writes first. Calls `meanwhile` now and then.
    pub fn await_successor(
        &self,
        succession: &mut Succession,
        mut meanwhile: impl FnMut(),
    ) -> (usize, Instant) {
        let (successor, _) = until(PATIENCE, self.said_of("the sentinels name the new primary"), || {
            meanwhile();
            succession.look(self);
            self.primary().filter(|primary| *primary != succession.old)
        });
        let seen = succession.promoted.iter().find(|(number, _)| *number == successor);
        (successor, seen.map_or_else(Instant::now, |(_, at)| *at))
    }

    /// The primary, once the sentinels agree.
    pub fn await_primary(&self) -> &Redis {
        &self.nodes[until(PATIENCE, self.said_of("the sentinels agree"), || self.primary()).0]
    }

    /// Waits until no sidecar is connected to this server, if it is up. Calls `meanwhile` now and then.
    pub fn await_left(&self, number: usize, mut meanwhile: impl FnMut()) {
        let node = &self.nodes[number];
        // Sentinels and replicas speak the older protocol.
        let sidecars = || Some(node.try_command(&["CLIENT", "LIST"])?.matches(" resp=3").count());
        let left = || {
            meanwhile();
            (!node.is_up() || sidecars() == Some(0)).then_some(())
        };
        until(PATIENCE, "nobody uses the old primary", left);
    }

    /// Waits until sentinels agree who is the primary, and another server could take its place. Who.
    fn await_settled(&self) -> usize {
        let settled = || {
            let primary = self.primary()?;
            let known = |sentinel: &Watcher| sentinel.says("slaves=2") && sentinel.says("sentinels=3");
            let node = &self.nodes[primary];
            (node.is_up() && self.sentinels.iter().all(known) && self.follower_of(primary)).then_some(primary)
        };
        until(PATIENCE, self.said_of("the sentinels agree, and replicas follow"), settled).0
    }

    /// Whether a server has all that the primary has.
    fn follower_of(&self, primary: usize) -> bool {
        let port = self.nodes[primary].port().to_string();
        let follows = |node: &Redis| {
            let said = node.try_command(&["INFO", "replication"]).unwrap_or_default();
            let has = |line: &str| said.lines().any(|said| said.trim_end() == line);
            has("role:slave") && has(&format!("master_port:{port}")) && has("master_link_status:up")
        };
        self.nodes.iter().filter(|node| node.is_up()).any(follows)
    }

    /// Servers that count themselves as primaries: one that was replaced does so for ten seconds more.
    fn primaries(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|number| self.is_primary(*number) == Some(true)).collect()
    }

    /// Whether a server counts itself as a primary; nothing if it is up and does not say.
    fn is_primary(&self, number: usize) -> Option<bool> {
        let node = &self.nodes[number];
        if !node.is_up() {
            return Some(false);
        }
        node.try_command(&["INFO", "replication"]).map(|said| said.contains("role:master"))
    }

    /// One that begins now.
    fn succession(&self) -> Succession {
        Succession { old: self.await_settled(), before: self.primaries(), promoted: Vec::new() }
    }

    fn await_promoted(&self, mut succession: Succession) -> Succession {
        until(PATIENCE, self.said_of("another primary"), || {
            succession.look(self);
            (!succession.promoted.is_empty()).then_some(())
        });
        succession
    }

    /// For whoever waits in vain for this.
    fn said_of(&self, awaited: &'static str) -> Absent<'_> {
        Absent { awaited, ensemble: self }
    }
}

/// What did not come, and what servers and sentinels say instead.
struct Absent<'a> {
    awaited: &'static str,
    ensemble: &'a Ensemble,
}

impl Display for Absent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Absent { awaited, ensemble: Ensemble { nodes, sentinels, .. } } = self;
        f.write_str(awaited)?;
        // Nothing may panic here: this is read in a panic.
        for sentinel in sentinels {
            let said = sentinel.ask(&["INFO", "sentinel"]).unwrap_or_else(|error| error);
            write!(f, "\na sentinel says {}", said.trim_end())?;
        }
        for node in nodes.iter().filter(|node| node.is_up()) {
            let said = node.try_command(&["INFO", "replication"]).unwrap_or_default();
            write!(f, "\n{} says {}", node.port(), said.trim_end())?;
        }
        Ok(())
    }
}

/// A folder in memory, where there is one. A sentinel writes its settings through to the disk at each turn of a failover, and
/// one that waited two seconds for it does nothing at all for the next thirty.
fn beside_disks() -> TempDir {
    tempfile::Builder::new().prefix("sl-").tempdir_in("/dev/shm").unwrap_or_else(|_| folder())
}

impl Succession {
    /// Who takes writes now that did not before? One that was turned into a replica may do so anew.
    fn look(&mut self, ensemble: &Ensemble) {
        for number in 0..EACH {
            match ensemble.is_primary(number) {
                Some(false) => {
                    self.before.retain(|other| *other != number);
                    self.promoted.retain(|(other, _)| *other != number);
                }
                Some(true)
                    if !self.before.contains(&number)
                        && !self.promoted.iter().any(|(other, _)| *other == number) =>
                {
                    self.promoted.push((number, Instant::now()));
                }
                _ => {}
            }
        }
    }
}

impl Watcher {
    fn start(folder: &TempDir, number: usize, primary: u16) -> Watcher {
        let (agree, down_after) = if number == 0 { (1, DOWN_AFTER_MS) } else { (2, DOWN_LATER_MS) };
        let (home, port) = (folder.path().join(number.to_string()), free_port());
        std::fs::create_dir(&home).expect("a folder of our own");
        let (socket, file) = (home.join("sentinel.sock"), home.join("sentinel.conf"));
        let settings = format!(
            "port {port}\nbind 127.0.0.1\nunixsocket {}\ndir {}\nsentinel monitor {SERVICE} 127.0.0.1 {primary} {agree}\n\
             sentinel down-after-milliseconds {SERVICE} {down_after}\nsentinel failover-timeout {SERVICE} 3000\n",
            socket.display(),
            home.display()
        );
        std::fs::write(&file, settings).expect("a folder of our own");
        let mut command = Command::new(program());
        command.arg(&file).arg("--sentinel");
        let process = Process::spawn(command);
        process.line("that it watches", |line| line.contains("+monitor"));
        Watcher { _process: process, socket, port }
    }

    fn ask(&self, words: &[&str]) -> Result<String, String> {
        ask(&self.socket, None, words)
    }

    /// What it says of the primary.
    fn view(&self) -> String {
        self.ask(&["INFO", "sentinel"]).expect("a sentinel says what it sees")
    }

    fn says(&self, field: &str) -> bool {
        self.view().lines().any(|line| line.split(',').any(|said| said.trim_end() == field))
    }

    fn named(&self) -> Option<String> {
        let view = self.view();
        let line = view.lines().find(|line| line.contains(SERVICE))?;
        line.split(',').find_map(|field| field.strip_prefix("address=")).map(str::to_owned)
    }
}
