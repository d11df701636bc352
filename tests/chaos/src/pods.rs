//! Network namespaces as pods: what a kubelet and its network make of a host, as far as a lock can notice.
//!
//! Owns the namespaces, the links between them, the users of a pod's containers and the folder that these share. Redis is in
//! a namespace of its own, with a link to each pod; nothing else leads anywhere. A namespace lives as long as somebody is in
//! it or a value of these exists, and what is in it goes with it: nothing is left behind, however a round ends. Must not know
//! what goes wrong when.

use crate::fleet::this_program;
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};
use sidelock_e2e::sidecar::binary;
use std::fs::{File, Permissions, copy, create_dir, set_permissions};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::{io, thread};

/// Of this thread.
const OWN_NAMESPACE: &str = "/proc/thread-self/ns/net";
/// What a pod calls its link to Redis.
const LINK: &str = "eth0";
/// The group that lets an app in, whatever its user (`deploy/kubernetes/sidecar.yaml`).
const GROUP: &str = "65532";
/// Everybody may look into it.
const OPEN: u32 = 0o755;
/// Everybody may change what is in it.
const SHARED: u32 = 0o777;

/// Whose container it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    /// The image's user and group.
    Sidecar,
    /// Another user, who has the group besides.
    App,
}

/// Redis in a namespace, and room for pods around it.
pub struct Land {
    redis: Arc<Namespace>,
    /// Where programs are that every user may run.
    programs: PathBuf,
}

/// A pod, linked to Redis.
pub struct Pod {
    namespace: Namespace,
    redis: Arc<Namespace>,
    /// What Redis calls the link.
    link: String,
    /// Where Redis is, seen from the pod.
    gate: Ipv4Addr,
    folder: PathBuf,
    programs: PathBuf,
}

/// What is missing to make pods here, if something is.
pub fn missing() -> Option<String> {
    let needs = "pods of network namespaces need root (CAP_SYS_ADMIN and CAP_NET_ADMIN), `ip` (iproute2) and `setpriv` (util-linux)";
    if let Err(error) = Namespace::new() {
        return Some(format!("{needs}: no namespace of our own: {error}"));
    }
    ["ip", "setpriv"].into_iter().find_map(|program| {
        let answer = Command::new(program).arg("--help").output();
        answer.err().map(|error| format!("{needs}: {program}: {error}"))
    })
}

/// Makes a folder of mode 0777, whatever this process' umask is.
///
/// # Panics
/// If it is there already, or can not be made.
pub fn shared_folder(path: &Path) {
    create_dir(path).expect("a folder of our own");
    set_permissions(path, Permissions::from_mode(SHARED)).expect("a folder of our own");
}

/// Does this where Redis is: in its own namespace, if there are pods.
pub fn beside_redis<T>(land: Option<&Land>, work: impl FnOnce() -> T) -> T {
    match land {
        Some(land) => land.redis.within(work),
        None => work(),
    }
}

/// Starts this in the pod, in a container of this user, if there is a pod.
pub fn start_in<T>(pod: Option<&Pod>, user: User, command: Command, start: impl FnOnce(Command) -> T) -> T {
    match pod {
        Some(pod) => pod.namespace.within(|| start(pod.contained(user, &command))),
        None => start(command),
    }
}

impl Land {
    /// An empty one. All that belongs to it is in this folder, which other users may then look into.
    ///
    /// # Panics
    /// If the machine can not do that; see [`missing`].
    pub fn new(folder: &Path) -> Land {
        let programs = folder.join("programs");
        create_dir(&programs).expect("a folder of our own");
        let ours = [this_program(), binary()];
        // They may have been built where only their builder may look.
        for program in &ours {
            let at = programs.join(program.file_name().expect("a program has a name"));
            copy(program, &at).expect("a program can be copied");
            set_permissions(&at, Permissions::from_mode(OPEN)).expect("a file of our own");
        }
        for folder in [folder, &programs] {
            set_permissions(folder, Permissions::from_mode(OPEN)).expect("a folder of our own");
        }
        let redis = Namespace::new().expect("namespaces: `missing` says what they need");
        Land { redis: Arc::new(redis), programs }
    }

    /// A new pod, whose shared folder is this, of mode 0777 as an emptyDir is.
    pub fn pod(&self, number: u8, folder: &Path) -> Pod {
        shared_folder(folder);
        let (gate, own) = (Ipv4Addr::new(10, 77, number, 1), Ipv4Addr::new(10, 77, number, 2));
        let (link, namespace) = (format!("pod{number}"), Namespace::new().expect("namespaces are to be had"));
        self.redis.within(|| {
            let there = namespace.path();
            ip(&["link", "add", &link, "type", "veth", "peer", "name", LINK, "netns", &there]);
            ip(&["address", "add", &format!("{gate}/30"), "dev", &link]);
            ip(&["link", "set", &link, "up"]);
        });
        namespace.within(|| {
            ip(&["address", "add", &format!("{own}/30"), "dev", LINK]);
            ip(&["link", "set", LINK, "up"]);
        });
        let (redis, programs) = (self.redis.clone(), self.programs.clone());
        Pod { namespace, redis, link, gate, folder: folder.to_owned(), programs }
    }
}

impl Pod {
    /// Where Redis is, seen from here.
    pub fn gate(&self) -> Ipv4Addr {
        self.gate
    }

    /// Where the containers meet: the sidecar makes a folder of its own in what they share.
    pub fn socket(&self) -> PathBuf {
        self.folder.join("s").join("sidelock.sock")
    }

    fn contained(&self, user: User, command: &Command) -> Command {
        let identity: &[&str] = match user {
            User::Sidecar => &["--reuid=65532", "--regid=65532", "--clear-groups"],
            User::App => &["--reuid=1000", "--regid=1000", "--groups", GROUP],
        };
        let program = Path::new(command.get_program()).file_name().expect("a program has a name");
        let mut contained = Command::new("setpriv");
        // The kernel forgets with the old user what was to end with us.
        contained.args(identity).args(["--no-new-privs", "--pdeathsig=KILL", "--"]);
        contained.arg(self.programs.join(program)).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => contained.env(name, value),
                None => contained.env_remove(name),
            };
        }
        contained
    }

    /// Pulls the plug of the link, at the end of Redis: what either side sends gets lost, and nobody is told.
    pub fn unplug(&self) {
        self.redis.within(|| ip(&["link", "set", &self.link, "down"]));
    }

    /// Puts it back.
    pub fn plug(&self) {
        self.redis.within(|| ip(&["link", "set", &self.link, "up"]));
    }
}

/// A network namespace, alive as long as the value.
struct Namespace(File);

impl Namespace {
    fn new() -> io::Result<Namespace> {
        let made = thread::spawn(|| {
            // SAFETY: nothing but the network of this thread changes, and it ends with the next line.
            unsafe { unshare_unsafe(UnshareFlags::NEWNET) }?;
            File::open(OWN_NAMESPACE).map(Namespace)
        });
        made.join().unwrap_or_else(|_| Err(io::Error::other("the thread that makes it panicked")))
    }

    /// A name of it, for other programs.
    fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    /// Does this in it: sockets that are made and programs that are started belong to it.
    fn within<T>(&self, work: impl FnOnce() -> T) -> T {
        let home = Home(File::open(OWN_NAMESPACE).expect("a thread has a network"));
        enter(&self.0).expect("a namespace of ours can be entered");
        let done = work();
        drop(home);
        done
    }
}

/// Where a thread came from, and goes back to.
struct Home(File);

impl Drop for Home {
    fn drop(&mut self) {
        enter(&self.0).expect("the way back is open");
    }
}

fn enter(namespace: &File) -> rustix::io::Result<()> {
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
}

fn ip(words: &[&str]) {
    let done = Command::new("ip").args(words).output().expect("there is iproute2");
    assert!(done.status.success(), "ip {words:?}: {}", String::from_utf8_lossy(&done.stderr));
}
