//! The processes of a round: the store, sidecars with a network in front of it, clients, and the register.
//!
//! Owns who runs where, who died when, and healing. Must not know when what goes wrong.

use crate::client::Orders;
use crate::clock::Clock;
use crate::measure::Turns;
use crate::merge::Pages;
use crate::overslept;
use crate::pods::{self, Land, Pod, User};
use crate::proxy::{Flows, Proxy};
use crate::register::Register;
use crate::size::Size;
use crate::store::{Mark, Shape, Store};
use crate::wish;
use fastrand::Rng;
use rustix::process::Signal;
use serde_json::Value;
use sidelock_e2e::process::{Process, until};
use sidelock_e2e::redis::Redis;
use sidelock_e2e::sidecar::Sidecar;
use sidelock_e2e::{PATIENCE, folder};
use sidelock_sim::checker::history::{At, Event, Record};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Where clients keep their diaries, whatever user they are.
const DIARIES: &str = "diaries";
/// Between two looks whether a client has ended.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What Redis does at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It answers.
    Up,
    /// It is stopped.
    Stopped,
    /// It is not there.
    Down,
}

/// A host, or a pod of one: a sidecar, and its network to Redis.
struct Host {
    /// `None`: it is in the network that everybody is in.
    pod: Option<Pod>,
    /// `None`: killed, and not started again yet.
    sidecar: Option<Sidecar>,
    socket: PathBuf,
    /// `None`: nothing stands between it and Redis.
    network: Option<Proxy>,
}

/// A client, and where it writes.
struct Client {
    process: Process,
    host: usize,
    pages: Pages,
    /// It is stopped since then.
    stopped: Option<At>,
}

/// Everything that runs in a round. It all ends with the value.
pub struct Fleet {
    clock: Clock,
    size: Size,
    store: Store,
    health: Health,
    /// When another server took the place of a primary.
    promotions: Vec<At>,
    turns: Turns,
    hosts: Vec<Host>,
    clients: Vec<Client>,
    register: Register,
    /// Clients started so far.
    started: u64,
    /// Diaries of those who died, and when they had written their last word.
    died: Vec<Pages>,
    /// What the round itself did to the store.
    notes: Vec<Record>,
    /// What sidecars said that are gone.
    said: Vec<String>,
    folder: TempDir,
}

impl Fleet {
    /// A fleet that runs: sidecars are connected, clients are on their way.
    pub fn start(size: Size) -> Fleet {
        let folder = folder();
        let clock = Clock::start();
        pods::shared_folder(&folder.path().join(DIARIES));
        let land = (size.shape == Shape::Linked).then(|| Land::new(folder.path()));
        let store = pods::beside_redis(land.as_ref(), || Store::start(size.shape));
        let register = Register::serve(&folder.path().join("register.sock"), clock);
        std::fs::write(folder.path().join("sidelock.toml"), size.settings()).expect("a folder of our own");
        let mut fleet = Fleet {
            clock,
            size,
            store,
            health: Health::Up,
            promotions: Vec::new(),
            turns: Turns::default(),
            hosts: Vec::new(),
            clients: Vec::new(),
            register,
            started: 0,
            died: Vec::new(),
            notes: Vec::new(),
            said: Vec::new(),
            folder,
        };
        for host in 0..size.sidecars {
            let folder = fleet.folder.path().join(host.to_string());
            let pod = land.as_ref().map(|land| land.pod(u8::try_from(host).expect("a few pods"), &folder));
            let (socket, gate) = match &pod {
                Some(pod) => (pod.socket(), pod.gate()),
                None => (folder.with_extension("sock"), Ipv4Addr::LOCALHOST),
            };
            let proxy =
                |redis: &Redis| pods::beside_redis(land.as_ref(), || Proxy::before(&redis.socket(), gate));
            let network = fleet.store.single().map(proxy);
            fleet.hosts.push(Host { pod, sidecar: None, socket, network });
            fleet.start_sidecar(host);
        }
        for host in &fleet.hosts {
            host.sidecar.as_ref().expect("it was just started").await_store();
        }
        for client in 0..size.clients {
            let client = fleet.new_client(client % size.sidecars);
            fleet.clients.push(client);
        }
        fleet
    }

    /// The clock of the recording.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// How it was made.
    pub fn size(&self) -> Size {
        self.size
    }

    /// The register.
    pub fn register(&self) -> &Register {
        &self.register
    }

    /// How Redis is.
    pub fn health(&self) -> Health {
        self.health
    }

    /// The sockets of the sidecars.
    pub fn sockets(&self) -> Vec<PathBuf> {
        self.hosts.iter().map(|host| host.socket.clone()).collect()
    }

    /// A sidecar that runs.
    ///
    /// # Panics
    /// If it does not.
    pub fn sidecar(&self, host: usize) -> &Sidecar {
        self.hosts[host].sidecar.as_ref().expect("its sidecar runs")
    }

    /// Everything works again that did not, and everything is up.
    pub fn heal(&mut self) {
        self.continue_redis();
        self.start_redis();
        for host in 0..self.hosts.len() {
            self.mend_network(host);
            self.continue_sidecar(host);
            self.start_sidecar(host);
        }
        for client in 0..self.clients.len() {
            self.continue_client(client);
        }
    }

    // ── clients ──

    /// Clients that run.
    pub fn clients(&self) -> usize {
        self.clients.len()
    }

    /// Kills a client, as by kill -9, and starts another one in its place.
    pub fn replace_client(&mut self, client: usize) {
        let host = self.clients[client].host;
        let newcomer = self.new_client(host);
        // From here on it may be dead: what it writes after is not its word any more.
        let at = self.clock.now();
        let mut old = std::mem::replace(&mut self.clients[client], newcomer);
        old.process.kill();
        self.died.push(Pages { died: Some(at), ..old.pages });
    }

    /// Stops a client.
    pub fn stop_client(&mut self, client: usize) {
        self.clients[client].process.signal(Signal::STOP);
        self.clients[client].stopped.get_or_insert(self.clock.now());
    }

    /// Lets it go on.
    pub fn continue_client(&mut self, client: usize) {
        let Client { process, pages, stopped, .. } = &mut self.clients[client];
        pages.stops.extend(stopped.take().map(|since| since..self.clock.now()));
        process.signal(Signal::CONT);
    }

    /// The client whose diary says that it holds this key just now.
    pub fn holder(&self, key: u32) -> Option<usize> {
        let now = self.clock.now();
        self.clients.iter().position(|client| {
            let records = client.pages.read();
            records.is_ok_and(|records| overslept::holds(&records, key, now))
        })
    }

    fn new_client(&mut self, host: usize) -> Client {
        let number = self.started;
        self.started += 1;
        let diary = self.folder.path().join(DIARIES).join(format!("client-{number}.jsonl"));
        let orders = Orders {
            socket: self.hosts[host].socket.clone(),
            register: self.folder.path().join("register.sock"),
            diary: diary.clone(),
            origin_ns: self.clock.origin_ns(),
            seed: self.size.seed ^ (number << 32),
            own: (self.size.shape == Shape::Linked).then(|| u32::try_from(host).expect("a few hosts")),
        };
        let pages = Pages { diary, died: None, stops: Vec::new() };
        let process =
            pods::start_in(self.hosts[host].pod.as_ref(), User::App, orders.command(), Process::spawn);
        Client { process, host, pages, stopped: None }
    }

    /// Tells all clients to come to their end, and waits for it.
    ///
    /// # Errors
    /// With what they said, if some did not end well, or not at all.
    pub fn dismiss_clients(&mut self) -> Result<(), String> {
        let mut clients = std::mem::take(&mut self.clients);
        clients.iter_mut().for_each(|client| client.process.close_stdin());
        let deadline = Instant::now() + PATIENCE;
        let mut said = Vec::new();
        for Client { mut process, pages, .. } in clients {
            while process.is_running() && Instant::now() < deadline {
                thread::sleep(LOOK_EVERY);
            }
            let died = process.is_running().then(|| self.clock.now());
            process.kill();
            match (died, process.code()) {
                (None, 0) => {}
                (None, code) => said.push(format!("a client ended with {code}: {}", process.output())),
                (Some(_), _) => said.push(format!("a client did not end: {}", process.output())),
            }
            self.died.push(Pages { died, ..pages });
        }
        if said.is_empty() { Ok(()) } else { Err(said.join("\n")) }
    }

    /// The diaries of all clients that are gone.
    pub fn diaries(&self) -> &[Pages] {
        &self.died
    }

    // ── sidecars ──

    /// Sidecars, running or not.
    pub fn hosts(&self) -> usize {
        self.hosts.len()
    }

    /// Kills a sidecar, as by kill -9.
    pub fn kill_sidecar(&mut self, host: usize) {
        if let Some(mut sidecar) = self.hosts[host].sidecar.take() {
            sidecar.kill();
            self.said.push(sidecar.output());
        }
    }

    /// Starts a sidecar that was killed.
    pub fn start_sidecar(&mut self, host: usize) {
        let way = self.way(host);
        let Host { pod, sidecar, socket, .. } = &mut self.hosts[host];
        if sidecar.is_none() {
            let config = self.folder.path().join("sidelock.toml");
            let config = config.to_str().expect("a path that is text");
            let namespace = if self.size.divided { format!("of-{host}") } else { "chaos".to_owned() };
            let flags = ["--config", config, "--namespace", &namespace].into_iter();
            let flags: Vec<_> = flags.chain(way.iter().map(String::as_str)).collect();
            let command = Sidecar::command(socket, &flags);
            let start = |command| Sidecar::started(command, socket);
            *sidecar = Some(pods::start_in(pod.as_ref(), User::Sidecar, command, start));
        }
    }

    /// Flags that lead a sidecar to its store.
    fn way(&self, host: usize) -> Vec<String> {
        match (&self.store, &self.hosts[host].network) {
            (Store::Watched(ensemble), _) => ensemble.flags(),
            (Store::Sharded(cluster), _) => cluster.flags(),
            (Store::Single(_), Some(network)) => vec!["--redis".into(), network.url()],
            (Store::Single(redis), None) => vec!["--redis".into(), redis.url()],
        }
    }

    /// Stops a sidecar that runs.
    pub fn stop_sidecar(&self, host: usize) {
        if let Some(sidecar) = &self.hosts[host].sidecar {
            sidecar.signal(Signal::STOP);
        }
    }

    /// Lets it go on.
    pub fn continue_sidecar(&self, host: usize) {
        if let Some(sidecar) = &self.hosts[host].sidecar {
            sidecar.signal(Signal::CONT);
        }
    }

    /// Something is wrong with the network between a sidecar and Redis.
    pub fn strike_network(&mut self, host: usize, flows: Flows) {
        self.turns.struck(host, self.clock.now());
        if let Some(network) = &self.hosts[host].network {
            network.set(flows);
        }
    }

    /// The link between a pod and Redis is down.
    ///
    /// # Panics
    /// If it is no pod.
    pub fn unplug(&mut self, host: usize) {
        self.turns.struck(host, self.clock.now());
        self.hosts[host].pod.as_ref().expect("this round is in pods").unplug();
    }

    /// Everything passes again between a sidecar and Redis.
    pub fn mend_network(&mut self, host: usize) {
        let Host { network, pod, .. } = &self.hosts[host];
        if let Some(network) = network {
            network.set(Flows::PASS);
        }
        if let Some(pod) = pod {
            pod.plug();
        }
        self.turns.mended(host, self.clock.now());
    }

    /// When networks were struck and mended.
    pub fn turns(&self) -> &Turns {
        &self.turns
    }

    /// What `/v1/info` says of a sidecar.
    pub fn info(&self, host: usize) -> Value {
        self.sidecar(host).get("/v1/info").json()
    }

    /// What each life of a sidecar has said.
    pub fn said(&self) -> Vec<String> {
        let running = self.hosts.iter().filter_map(|host| host.sidecar.as_ref());
        self.said.iter().cloned().chain(running.map(|sidecar| sidecar.output())).collect()
    }

    // ── Redis ──

    /// Stops Redis.
    pub fn stop_redis(&mut self) {
        if self.health == Health::Up {
            self.store.single_mut().pause();
            self.health = Health::Stopped;
        }
    }

    /// Lets it go on.
    pub fn continue_redis(&mut self) {
        if self.health == Health::Stopped {
            self.store.single_mut().resume();
            self.health = Health::Up;
        }
    }

    /// Kills Redis, and its data with it unless they are kept.
    pub fn kill_redis(&mut self, keep: bool) {
        if self.health == Health::Up {
            self.forgetting(keep);
            self.store.single_mut().down();
            if !keep {
                self.store.single_mut().forget();
            }
            self.forgetting(keep);
            self.health = Health::Down;
        }
    }

    /// Starts it again.
    pub fn start_redis(&mut self) {
        if self.health == Health::Down {
            self.store.single_mut().up();
            self.health = Health::Up;
        }
    }

    /// Redis forgets all data.
    pub fn flush(&mut self) {
        self.forgetting(false);
        self.redis(&["FLUSHALL"]);
        self.forgetting(false);
    }

    /// Sends a command to each Redis that keeps records; it must be up.
    pub fn redis(&self, words: &[&str]) -> Vec<String> {
        self.store.command(words)
    }

    /// Another server takes a primary's place: because it is killed, or though it is alive.
    pub fn fail_over(&mut self, kill: bool, dice: &mut Rng) {
        let (clock, mut marks) = (self.clock, Vec::new());
        self.store.fail_over(kill, dice, |mark| marks.push((clock.now(), mark)));
        for (at, mark) in marks {
            match mark {
                Mark::Promoted(since) => self.promotions.push(clock.at(since)),
                Mark::Lossy => self.add_note(at, Event::Flushed),
            }
        }
    }

    /// The slot of a key that clients use moves to another primary.
    pub fn move_slot(&mut self, dice: &mut Rng) {
        let name = wish::name(dice.u32(..wish::KEYS));
        self.store.move_slot(&format!("sl:1:chaos:{{{name}}}:lock"), dice);
    }

    /// When another server took the place of a primary.
    pub fn promotions(&self) -> &[At] {
        &self.promotions
    }

    /// Notes that data are lost about now; called before and after, so that the whole time between counts.
    fn forgetting(&mut self, keep: bool) {
        if !keep {
            self.note(Event::Flushed);
        }
    }

    /// Writes down something that the round saw or did just now.
    pub fn note(&mut self, event: Event) {
        let at = self.clock.now();
        self.add_note(at, event);
    }

    /// The same, with a stamp.
    pub fn add_note(&mut self, at: At, event: Event) {
        self.notes.push(Record { at, event });
    }

    /// What the round wrote down.
    pub fn notes(&self) -> &[Record] {
        &self.notes
    }

    /// Waits until the clients have really begun: so many writes were taken.
    pub fn await_writes(&self, count: u32) {
        until(PATIENCE, "clients write", || (self.register.updates().taken >= count).then_some(()));
    }
}

/// Where this program is.
pub fn this_program() -> PathBuf {
    std::env::current_exe().expect("a program knows where it is")
}
