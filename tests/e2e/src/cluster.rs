//! A Redis Cluster of three primaries with a replica each, on loopback.
//!
//! Owns its start, who has which slot, moving slots, and making a replica a primary. Must not know what is stored there.

use crate::PATIENCE;
use crate::certificates::Identity;
use crate::process::{run, until};
use crate::redis::{Redis, ask, free_port};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Primaries, and as many replicas.
const PRIMARIES: usize = 3;
/// After so long without an answer a node counts as down, in milliseconds.
const NODE_TIMEOUT_MS: &str = "1500";
/// For so long, four times that, the votes that a replica won with count for its next election too, which it then holds without
/// asking anybody (measured on 7.0.15): the others tell it that it is none, and a primary that hands over to it waits five seconds.
const VOTES_KEPT: Duration = Duration::from_secs(6);
/// Nodes speak with each other at a port so far above their own.
const BUS: u16 = 10_000;
/// Slots of a cluster.
pub const SLOTS: u16 = 16_384;

/// The nodes. All of them end with the value.
pub struct Cluster {
    nodes: Vec<Redis>,
    /// Which of them took the place of its primary, and when.
    elected: Vec<(usize, Instant)>,
}

impl Cluster {
    /// A cluster that serves every slot, with replicas that have what their primaries have.
    pub fn start() -> Cluster {
        Cluster::made(&[], &[], |port| vec!["--port".into(), port])
    }

    /// One that speaks TLS, among its nodes too, and shows this certificate, which is good for `localhost`: nodes announce themselves
    /// by that name.
    pub fn start_with_tls(identity: &Identity, authorities: &Path) -> Cluster {
        let path = |path: &Path| path.to_string_lossy().into_owned();
        let (cert, key, authorities) = (path(&identity.cert), path(&identity.key), path(authorities));
        let flags = ["--tls-cluster", "yes", "--tls-replication", "yes", "--tls-auth-clients", "no"];
        let files = ["--tls-cert-file", &cert, "--tls-key-file", &key, "--tls-ca-cert-file", &authorities];
        let announced = ["--cluster-announce-hostname", "localhost"];
        let named = ["--cluster-preferred-endpoint-type", "hostname"];
        let more = [&flags[..], &files, &announced, &named].concat();
        Cluster::made(&more, &["--tls", "--cacert", &authorities], |port| vec!["--tls-port".into(), port])
    }

    fn made(more: &[&str], how: &[&str], at: impl Fn(String) -> Vec<String>) -> Cluster {
        let nodes: Vec<_> = (0..2 * PRIMARIES).map(|_| node(&at, more)).collect();
        let mut create = Command::new("redis-cli");
        create.args(how).args(["--cluster", "create"]);
        create.args(nodes.iter().map(|node| format!("127.0.0.1:{}", node.port())));
        create.args(["--cluster-replicas", "1", "--cluster-yes"]);
        let (code, said) = run(create);
        assert_eq!(code, 0, "the cluster is made: {said}");
        let cluster = Cluster { nodes, elected: Vec::new() };
        cluster.await_settled();
        cluster
    }

    /// Flags of a sidecar that uses it: two of its nodes are named.
    pub fn flags(&self) -> Vec<String> {
        let urls = self.nodes.iter().take(2).map(Redis::url);
        let mode = ["--redis-mode".to_owned(), "cluster".to_owned()];
        urls.flat_map(|url| ["--redis".to_owned(), url]).chain(mode).collect()
    }

    /// Its nodes, primaries and replicas.
    pub fn nodes(&self) -> &[Redis] {
        &self.nodes
    }

    /// One more node, which has no slots yet: its number.
    pub fn join(&mut self) -> usize {
        let known = self.nodes[0].port().to_string();
        // It stays a primary when it has no slots any more.
        let flags = ["--cluster-allow-replica-migration", "no"];
        self.nodes.push(node(|port| vec!["--port".into(), port], &flags));
        let number = self.nodes.len() - 1;
        self.nodes[number].command(&["CLUSTER", "MEET", "127.0.0.1", &known]);
        let (wanted, count) = (id(&self.nodes[number]), self.nodes.len());
        let known = |node: &Redis| {
            let nodes = node.command(&["CLUSTER", "NODES"]);
            let met = nodes.lines().filter(|line| !line.contains("handshake")).count() == count;
            // A node that is new among them serves nobody for two seconds.
            met && nodes.contains(&wanted) && node.command(&["CLUSTER", "INFO"]).contains("cluster_state:ok")
        };
        until(PATIENCE, "all know the new node", || self.nodes.iter().all(known).then_some(()));
        self.await_agreed();
        number
    }

    /// A node without slots is forgotten by all others, and ends.
    pub fn leave(&mut self, number: usize) {
        let leaving = id(&self.nodes[number]);
        for node in self.nodes.iter().enumerate().filter(|(other, _)| *other != number).map(|(_, node)| node)
        {
            node.command(&["CLUSTER", "FORGET", &leaving]);
        }
        self.nodes[number].down();
    }

    /// The inboxes that are heard, and the number of the node where each is.
    pub fn inboxes(&self) -> Vec<(String, usize)> {
        let heard = |number: usize| {
            let names = self.nodes[number].command(&["PUBSUB", "SHARDCHANNELS"]);
            names.lines().map(|name| (name.to_owned(), number)).collect::<Vec<_>>()
        };
        self.primaries().into_iter().flat_map(heard).collect()
    }

    /// The numbers of those that are primaries and have slots.
    pub fn primaries(&self) -> Vec<usize> {
        let is = |number: &usize| {
            let node = &self.nodes[*number];
            node.is_up()
                && myself(node).is_some_and(|line| line.contains("master") && line.split(' ').count() > 8)
        };
        (0..self.nodes.len()).filter(is).collect()
    }

    /// The slots of a primary: from which to which, several times.
    pub fn ranges(&self, primary: usize) -> Vec<(u16, u16)> {
        let line = myself(&self.nodes[primary]).expect("a node knows itself");
        let range = |word: &str| {
            let (first, last) = word.split_once('-').unwrap_or((word, word));
            Some((first.parse().ok()?, last.parse().ok()?))
        };
        line.split(' ').skip(8).filter_map(range).collect()
    }

    /// Whether a primary has a slot.
    pub fn has(&self, primary: usize, slot: u16) -> bool {
        self.ranges(primary).iter().any(|(first, last)| (*first..=*last).contains(&slot))
    }

    /// The slot of a name.
    pub fn slot_of(&self, name: &str) -> u16 {
        let up = self.nodes.iter().find(|node| node.is_up()).expect("a node is up");
        up.command(&["CLUSTER", "KEYSLOT", name]).parse().expect("a number")
    }

    /// Sends a command to every primary; the answers.
    pub fn command(&self, words: &[&str]) -> Vec<String> {
        self.primaries().into_iter().map(|number| self.nodes[number].command(words)).collect()
    }

    /// Waits until every node that is up sees a cluster that serves everything, with all replicas, and those are up to date.
    pub fn await_settled(&self) {
        let replicas = self.nodes.iter().filter(|node| node.is_up()).count() - PRIMARIES;
        let settled = |node: &Redis| {
            let state = node.command(&["CLUSTER", "INFO"]).contains("cluster_state:ok");
            let nodes = node.command(&["CLUSTER", "NODES"]);
            let known = nodes.lines().filter(|line| line.contains("slave") && !line.contains("fail")).count();
            let said = node.command(&["INFO", "replication"]);
            let is_ready = said.contains("role:master") || said.contains("master_link_status:up");
            state && known == replicas && is_ready
        };
        let all = || {
            let up = || self.nodes.iter().filter(|node| node.is_up());
            (self.primaries().len() == PRIMARIES && up().all(settled)).then_some(())
        };
        until(PATIENCE, "the cluster serves everything", all);
    }

    /// Moves a slot with all its keys, as an operator would; every call on it is redirected in some stage of that.
    pub fn move_slot(&self, slot: u16, from: usize, to: usize) {
        let (source, target) = (&self.nodes[from], &self.nodes[to]);
        let (slot, port) = (slot.to_string(), target.port().to_string());
        let (source_id, target_id) = (id(source), id(target));
        target.command(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &source_id]);
        source.command(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &target_id]);
        // What comes to be there meanwhile comes to be at the target.
        loop {
            let keys = source.command(&["CLUSTER", "GETKEYSINSLOT", &slot, "100"]);
            if keys.is_empty() {
                break;
            }
            let words = ["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"];
            let words: Vec<_> = words.into_iter().chain(keys.lines()).collect();
            // A key may be gone by then: NOKEY is an answer, too.
            source.command(&words);
        }
        let others = self.primaries().into_iter().filter(|number| ![from, to].contains(number));
        for node in [target, source].into_iter().chain(others.map(|number| &self.nodes[number])) {
            node.command(&["CLUSTER", "SETSLOT", &slot, "NODE", &target_id]);
        }
        self.await_agreed();
    }

    /// Waits until all primaries know the highest epoch. A node takes a slot under an epoch above all that it knows: if it did not
    /// know its predecessor's, word that the predecessor sent before would take the slot away again, and nobody would have it.
    fn await_agreed(&self) {
        let epoch = |number: usize| {
            let said = self.nodes[number].command(&["CLUSTER", "INFO"]);
            said.lines().find(|line| line.starts_with("cluster_current_epoch")).map(str::to_owned)
        };
        let agreed = || {
            let mut epochs: Vec<_> = self.primaries().into_iter().map(epoch).collect();
            epochs.dedup();
            (epochs.len() == 1).then_some(())
        };
        until(PATIENCE, "the primaries know the highest epoch", agreed);
    }

    /// The replica of a primary.
    pub fn replica_of(&self, primary: usize) -> Option<usize> {
        let wanted = id(&self.nodes[primary]);
        let follows = |node: &Redis| {
            node.is_up() && myself(node).is_some_and(|line| line.contains(&wanted) && line.contains("slave"))
        };
        self.nodes.iter().position(follows)
    }

    /// Kills a primary as a crash would. Returns as soon as its replica has taken its place.
    pub fn kill_primary(&mut self, primary: usize) {
        let replica = self.replica_of(primary).expect("each primary has a replica");
        self.nodes[primary].down();
        self.await_elected(replica);
    }

    /// Kills a node.
    pub fn kill(&mut self, number: usize) {
        self.nodes[number].down();
    }

    /// Starts a node again that was killed; it becomes a replica of who took its place.
    pub fn start_again(&mut self, killed: usize) {
        self.nodes[killed].up();
    }

    /// A replica takes the place of its primary, which hands over what it has and becomes its replica.
    pub fn hand_over(&mut self, primary: usize) {
        let replica = self.replica_of(primary).expect("each primary has a replica");
        let begun = || ask(&self.nodes[replica].socket(), None, &["CLUSTER", "FAILOVER"]).ok();
        until(PATIENCE, "a failover begins", begun);
        self.await_elected(replica);
    }

    /// Whether the replica of this primary can be elected properly: it was not a moment ago.
    pub fn can_be_replaced(&self, primary: usize) -> bool {
        let recent = |(number, at): &(usize, Instant)| (at.elapsed() < VOTES_KEPT).then_some(*number);
        let replica = self.replica_of(primary);
        replica.is_some_and(|replica| !self.elected.iter().filter_map(recent).any(|number| number == replica))
    }

    fn await_elected(&mut self, replica: usize) {
        until(PATIENCE, "its replica takes its place", || self.primaries().contains(&replica).then_some(()));
        self.elected.push((replica, Instant::now()));
    }
}

/// A server whose bus has a free port too. `at` says how it is told its port.
fn node(at: impl Fn(String) -> Vec<String>, more: &[&str]) -> Redis {
    let port = std::iter::repeat_with(free_port)
        .find(|port| {
            port.checked_add(BUS).is_some_and(|bus| std::net::TcpListener::bind(("127.0.0.1", bus)).is_ok())
        })
        .expect("there is a free port");
    let port = at(port.to_string());
    let flags = ["--bind", "127.0.0.1", "--cluster-enabled", "yes"];
    // A replica that nothing was sent to counts for none yet.
    let quick = ["--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"];
    let patience = [&quick[..], &["--cluster-node-timeout", NODE_TIMEOUT_MS]].concat();
    let port: Vec<_> = port.iter().map(String::as_str).collect();
    Redis::with(&[&flags[..], &patience, &port, more].concat())
}

fn id(node: &Redis) -> String {
    node.command(&["CLUSTER", "MYID"])
}

/// The line of CLUSTER NODES about the node itself.
fn myself(node: &Redis) -> Option<String> {
    let nodes = node.command(&["CLUSTER", "NODES"]);
    nodes.lines().find(|line| line.contains("myself")).map(str::to_owned)
}
