//! The player for Rust programs that block: an actor is a thread.
//!
//! Owns the actors of this process, each with one order at a time.

mod actor;

use actor::Actor;
use sidelock_cases::line::Line;
use sidelock_client::blocking::Client;
use std::collections::HashMap;
use std::io::BufRead;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};

/// What the actors of this process have in common.
#[derive(Default)]
struct Company {
    actors: Mutex<HashMap<String, Desk>>,
    clients: Mutex<HashMap<String, Client>>,
}

/// Where an actor's orders go.
struct Desk {
    orders: mpsc::Sender<Line>,
    cancel: Arc<Cancel>,
}

/// Gives up what an actor waits for. A call that blocks a thread is given up from another one by closing its client: the
/// actor goes on with a new one.
#[derive(Default)]
struct Cancel(Mutex<Cancelling>);

#[derive(Default)]
struct Cancelling {
    /// The actor's, while it has one.
    client: Option<Client>,
    is_cancelled: bool,
}

impl Company {
    /// A new actor, on a thread of its own.
    fn enter(self: &Arc<Company>, name: &str, client: Option<Client>) {
        let (orders, inbox) = mpsc::channel();
        let cancel = Arc::new(Cancel::default());
        let actor = Actor::new(self.clone(), client, cancel.clone());
        std::thread::spawn(move || actor.live(&inbox));
        locked(&self.actors).insert(name.to_owned(), Desk { orders, cancel });
    }

    fn deliver(self: &Arc<Company>, order: Line) {
        let name = order.word(1).to_owned();
        if !locked(&self.actors).contains_key(&name) {
            self.enter(&name, None);
        }
        let mut actors = locked(&self.actors);
        let desk = &actors[&name];
        let leaves = order.word(2) == "close";
        match order.word(2) {
            "cancel" => desk.cancel.cancel(),
            _ => desk.orders.send(order).expect("an actor listens until it is told to close"),
        }
        if leaves {
            actors.remove(&name);
        }
    }
}

impl Cancel {
    fn cancel(&self) {
        let mut cancelling = locked(&self.0);
        cancelling.is_cancelled = true;
        cancelling.client.as_ref().expect("the driver connects first").close();
    }

    /// It works with this client from now on.
    fn is_with(&self, client: Option<Client>) {
        locked(&self.0).client = client;
    }

    /// Whether it was cancelled since this was asked last.
    fn was_cancelled(&self) -> bool {
        std::mem::take(&mut locked(&self.0).is_cancelled)
    }
}

/// Nothing is left half done by a panic: it ends the case.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Plays until its input ends.
pub(crate) fn play() -> std::io::Result<()> {
    let company = Arc::new(Company::default());
    for line in std::io::stdin().lock().lines() {
        company.deliver(Line::parse(&line?));
    }
    Ok(())
}
