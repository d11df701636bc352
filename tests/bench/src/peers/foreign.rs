//! Peers that are processes: a small program around each library, which `tests/run bench` builds or installs.
//!
//! Owns the processes and what is said to them. Must not know what their libraries do.

use crate::Outcome;
use crate::load::Crowd;
use crate::measure::Latency;
use sidelock_e2e::process::Process;
use std::path::Path;
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
        let python = folder.join("python/bin/python");
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
            redlock: redlock.is_dir().then(|| {
                Peer::start(16, || {
                    let mut command = Command::new("node");
                    command.args(["-e", include_str!("../../peers/redlock.js")]).current_dir(&node);
                    command
                })
            }),
        }
    }
}

impl Peer {
    fn start(processes: usize, command: impl Fn() -> Command) -> Peer {
        let processes: Vec<_> = (0..processes).map(|_| Process::spawn(command())).collect();
        for process in &processes {
            process.line("that it is ready", |line| line == "ready");
        }
        Peer { processes, orders: 0 }
    }

    /// One user alone: each cycle.
    pub(crate) fn alone(&mut self, redis: &str, span: Duration) -> Outcome<Latency> {
        let users = self.order(redis, "peer/alone", span, 1, 1)?;
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
        redis: &str,
        key: &str,
        span: Duration,
        processes: usize,
        each: usize,
    ) -> Outcome<Vec<Account>> {
        self.orders += 1;
        let number = self.orders.to_string();
        let order = format!("{number} {} {key} {} {each}", redis, span.as_secs_f64());
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
            account.waits.push(Duration::from_micros(wait.parse()?));
            account.cycles.push(Duration::from_micros(cycle.parse()?));
        }
        Ok(account)
    }
}
