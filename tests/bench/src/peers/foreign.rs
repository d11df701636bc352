//! Peers that are processes: a small program around each library, which `tests/run bench` builds or installs. So are the
//! users of our own SDKs in other languages.
//!
//! Owns the processes and what is said to them. Must not know what their libraries do.

use crate::Outcome;
use crate::load::Crowd;
use crate::measure::Latency;
use sidelock_e2e::process::Process;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Those that are there; one that is not is left out of the table.
pub(crate) struct Peers {
    /// The `rslock` crate, in as many processes as a fleet has sidecars.
    pub(crate) rslock: Option<Peer>,
    /// redis-py's `Lock`.
    pub(crate) redis_py: Option<Peer>,
    /// node's `redlock`.
    pub(crate) redlock: Option<Peer>,
    folder: PathBuf,
}

/// One user of a lock in another language.
pub(crate) struct Single {
    /// As in its figures.
    pub(crate) name: &'static str,
    /// Of our SDK for that language, and not of another library.
    pub(crate) is_ours: bool,
    pub(crate) peer: Peer,
}

/// One library's processes, started once and used in every round.
pub(crate) struct Peer {
    processes: Vec<Process>,
    orders: u64,
}

/// What one sequential user did.
#[derive(Default)]
struct Account {
    waits: Vec<Duration>,
    cycles: Vec<Duration>,
}

impl Peers {
    /// Those that are installed below this folder.
    pub(crate) fn start(folder: &Path) -> Peers {
        let rslock = folder.join("rslock/release/rslock-peer");
        let python = python(folder);
        let node = folder.join("node");
        let redlock = node.join("node_modules/redlock");
        Peers {
            rslock: rslock.is_file().then(|| Peer::start(4, || Command::new(&rslock))),
            redis_py: python.exists().then(|| {
                Peer::start(16, || {
                    let mut command = Command::new(&python);
                    command.args(["-c", include_str!("../../peers/redis_py.py")]);
                    command
                })
            }),
            folder: folder.to_owned(),
            redlock: redlock.is_dir().then(|| {
                Peer::start(16, || {
                    let mut command = Command::new("node");
                    command.args(["-e", include_str!("../../peers/redlock.js")]).current_dir(&node);
                    command
                })
            }),
        }
    }

    /// Those of whom there is one, to be started where they are measured. Each reads an order a line, `NUMBER SERVER KEY
    /// SECONDS 1`, and answers `NUMBER WAIT:CYCLE …`, in microseconds; first it says `ready`. A program `swift` or `kotlin` in
    /// the peers' folder takes part if it is there.
    pub(crate) fn singles(&self) -> Vec<Single> {
        let python = python(&self.folder);
        let ours = include_str!("../../peers/sidelock_py.py");
        let theirs = include_str!("../../peers/redis_py.py");
        let scripts = [
            ("redis_py", theirs, ""),
            ("redis_aio", theirs, "asyncio"),
            ("python", ours, ""),
            ("aio", ours, "asyncio"),
        ];
        let scripts = scripts.into_iter().filter(|_| python.exists()).map(|(name, script, mode)| {
            let mut command = Command::new(&python);
            command.args(["-c", script, mode]);
            (name, command)
        });
        let programs = ["swift", "kotlin"].into_iter().map(|name| (name, self.folder.join(name)));
        let programs =
            programs.filter(|(_, path)| path.is_file()).map(|(name, path)| (name, Command::new(path)));
        let start = |(name, command): (&'static str, Command)| Single {
            name,
            is_ours: !name.starts_with("redis"),
            peer: Peer::of(vec![Process::spawn(command)]),
        };
        scripts.chain(programs).map(start).collect()
    }
}

fn python(folder: &Path) -> PathBuf {
    folder.join("python/bin/python")
}

impl Peer {
    fn of(processes: Vec<Process>) -> Peer {
        for process in &processes {
            process.line("that it is ready", |line| line == "ready");
        }
        Peer { processes, orders: 0 }
    }

    fn start(processes: usize, command: impl Fn() -> Command) -> Peer {
        Peer::of((0..processes).map(|_| Process::spawn(command())).collect())
    }

    /// One user alone, who talks to this server: each cycle.
    pub(crate) fn alone(&mut self, server: &str, span: Duration) -> Outcome<Latency> {
        let users = self.order(server, "peer/alone", span, 1, 1)?;
        Ok(users.into_iter().flat_map(|user| user.cycles).collect())
    }

    /// All processes on one key, a user each.
    pub(crate) fn processes(&mut self, redis: &str, span: Duration) -> Outcome<Crowd> {
        self.crowd(redis, span, self.processes.len(), 1)
    }

    /// Some processes on one key, each with so many users.
    pub(crate) fn crowd(
        &mut self,
        redis: &str,
        span: Duration,
        processes: usize,
        each: usize,
    ) -> Outcome<Crowd> {
        let users = self.order(redis, "peer/crowd", span, processes, each)?;
        Ok(Crowd {
            shares: users.iter().map(|user| user.waits.len() as u64).collect(),
            waits: users.into_iter().flat_map(|user| user.waits).collect(),
            span,
            ..Crowd::default()
        })
    }

    fn order(
        &mut self,
        server: &str,
        key: &str,
        span: Duration,
        processes: usize,
        each: usize,
    ) -> Outcome<Vec<Account>> {
        self.orders += 1;
        let number = self.orders.to_string();
        let order = format!("{number} {server} {key} {} {each}", span.as_secs_f64());
        let busy = &mut self.processes[..processes];
        busy.iter_mut().for_each(|process| process.say(&order));
        let mut users = Vec::new();
        for process in busy {
            let line = process.line("what it did", |line| line.split(' ').next() == Some(&number));
            let accounts = line[number.len()..].split('|').map(Account::read);
            users.extend(accounts.collect::<Outcome<Vec<_>>>()?);
        }
        Ok(users)
    }
}

impl Account {
    fn read(pairs: &str) -> Outcome<Account> {
        let mut account = Account::default();
        for pair in pairs.split_ascii_whitespace() {
            let (wait, cycle) = pair.split_once(':').ok_or_else(|| format!("no pair: {pair}"))?;
            account.waits.push(micros(wait)?);
            account.cycles.push(micros(cycle)?);
        }
        Ok(account)
    }
}

fn micros(text: &str) -> Outcome<Duration> {
    Ok(Duration::try_from_secs_f64(text.parse::<f64>()? / 1e6)?)
}
