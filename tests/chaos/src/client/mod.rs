//! A client process: a few tasks that wish, hold, write and give back, on one connection of the SDK.
//!
//! Owns the process: its connection, its diary, its end. It ends when its standard input does, and tidily; a kill ends it
//! anywhere.

mod holding;
mod timed;
mod worker;

use crate::clock::Clock;
use crate::diary::Diary;
use crate::fleet::this_program;
use crate::register::Desk;
use crate::wish::Wish;
use fastrand::Rng;
use sidelock_client::{Client, Scope};
use std::cell::RefCell;
use std::io::Read;
use std::path::PathBuf;
use std::process::Command;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::LocalSet;
use worker::Worker;

/// Tasks of a client, each a sequential actor.
const TASKS: usize = 3;
/// A request fails if there was no sidecar for so long.
const UNREACHABLE_AFTER: Duration = Duration::from_secs(3);
/// Between attempts to make the first connection: the sidecar may be down just now.
const CONNECT_EVERY: Duration = Duration::from_millis(50);

/// What a client is told at its start.
#[derive(Clone, Debug)]
pub struct Orders {
    /// Where its sidecar is.
    pub socket: PathBuf,
    /// Where the register is.
    pub register: PathBuf,
    /// Where its diary goes.
    pub diary: PathBuf,
    /// When the recording began, in boottime.
    pub origin_ns: u64,
    /// What its dice begin with.
    pub seed: u64,
    /// One task more wants nothing but the key of this host's own.
    pub own: Option<u32>,
}

impl Orders {
    /// This program, as the client that they are for.
    pub fn command(&self) -> Command {
        let mut command = Command::new(this_program());
        command.arg("client").arg("--socket").arg(&self.socket);
        command.arg("--register").arg(&self.register).arg("--diary").arg(&self.diary);
        command.args(["--origin-ns", &self.origin_ns.to_string(), "--seed", &self.seed.to_string()]);
        command.args(self.own.iter().flat_map(|host| ["--own".into(), host.to_string()]));
        command
    }
}

/// Lives as a client until standard input ends.
///
/// # Panics
/// If it has no register, or can not keep its diary.
pub fn live(orders: &Orders) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let stop = end_of_input();
    LocalSet::new().block_on(&runtime.expect("the system gives a poller"), async {
        let Some(client) = connect(orders, stop.clone()).await else { return };
        let diary = Rc::new(RefCell::new(Diary::open(&orders.diary, Clock::since(orders.origin_ns))));
        let mut dice = Rng::with_seed(orders.seed);
        let tasks: Vec<_> = std::iter::repeat_n(None, TASKS)
            .chain(orders.own.map(|host| Some(Wish::own(host))))
            .map(|only| Worker {
                client: client.clone(),
                diary: diary.clone(),
                desk: Desk::at(&orders.register).expect("there is a register"),
                dice: dice.fork(),
                stop: stop.clone(),
                only,
            })
            .map(|worker| tokio::task::spawn_local(worker.work()))
            .collect();
        for task in tasks {
            task.await.expect("a task does not panic");
        }
    });
}

async fn connect(orders: &Orders, mut stop: watch::Receiver<bool>) -> Option<Client> {
    loop {
        let builder = Client::builder().socket(&orders.socket).app("chaos").require_scope(Scope::Fleet);
        match builder.unreachable_after(UNREACHABLE_AFTER).connect().await {
            Ok(client) => return Some(client),
            Err(_) => tokio::select! {
                () = tokio::time::sleep(CONNECT_EVERY) => {}
                _ = stop.wait_for(|stop| *stop) => return None,
            },
        }
    }
}

fn end_of_input() -> watch::Receiver<bool> {
    let (tell, stop) = watch::channel(false);
    std::thread::spawn(move || {
        // Whatever ends it ends it.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        tell.send_replace(true);
    });
    stop
}
