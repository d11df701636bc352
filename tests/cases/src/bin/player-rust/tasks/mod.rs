//! The player for async Rust: an actor is a task.
//!
//! Owns the actors of this process, each with one order at a time.

mod actor;

use actor::Actor;
use sidelock_cases::line::Line;
use sidelock_client::Client;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::{Notify, mpsc};
use tokio::task::{LocalSet, spawn_local};

/// What the actors of this process have in common.
#[derive(Default)]
struct Company {
    actors: RefCell<HashMap<String, Desk>>,
    clients: RefCell<HashMap<String, Client>>,
}

/// Where an actor's orders go.
struct Desk {
    orders: mpsc::UnboundedSender<Line>,
    cancel: Rc<Notify>,
}

impl Company {
    /// A new actor, as a task of whoever calls.
    fn enter(self: &Rc<Company>, name: &str, client: Option<Client>) {
        let (orders, inbox) = mpsc::unbounded_channel();
        let cancel = Rc::new(Notify::new());
        spawn_local(Actor::new(self.clone(), client, cancel.clone()).live(inbox));
        self.actors.borrow_mut().insert(name.to_owned(), Desk { orders, cancel });
    }

    fn deliver(self: &Rc<Company>, order: Line) {
        let name = order.word(1).to_owned();
        if !self.actors.borrow().contains_key(&name) {
            self.enter(&name, None);
        }
        let mut actors = self.actors.borrow_mut();
        let desk = &actors[&name];
        let leaves = order.word(2) == "close";
        match order.word(2) {
            "cancel" => desk.cancel.notify_one(),
            _ => desk.orders.send(order).expect("an actor listens until it is told to close"),
        }
        if leaves {
            actors.remove(&name);
        }
    }
}

/// Plays until its input ends.
#[tokio::main(flavor = "current_thread")]
pub(crate) async fn play() -> std::io::Result<()> {
    let company = Rc::new(Company::default());
    let listen = async {
        let mut lines = BufReader::new(tokio::io::stdin()).lines();
        while let Some(line) = lines.next_line().await? {
            company.deliver(Line::parse(&line));
        }
        Ok(())
    };
    LocalSet::new().run_until(listen).await
}
