//! The player for raw HTTP: does over the sidecar's Unix socket what it is told on standard input, as `curl` would.
//!
//! Owns the actors: each is a thread of its own with one order at a time. `bindings/cases/README.md` describes the lines.

mod actor;
mod call;
mod say;

use actor::Actor;
use call::Call;
use sidelock_cases::line::Line;
use std::collections::HashMap;
use std::io::{BufRead, stdin};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

/// Where an actor's orders go, and the call that it waits for.
struct Desk {
    orders: Sender<Line>,
    call: Call,
}

fn main() -> std::io::Result<()> {
    let mut desks: HashMap<String, Desk> = HashMap::new();
    for line in stdin().lock().lines() {
        let order = Line::parse(&line?);
        let name = order.word(1).to_owned();
        let desk = desks.entry(name.clone()).or_insert_with(|| enter(Call::default()));
        if let Some(child) = order.get("child") {
            let call = Call::to_where(&desk.call);
            desks.insert(child, enter(call));
        }
        let desk = &desks[&name];
        match order.word(2) {
            "cancel" => desk.call.cancel(),
            verb => {
                let leaves = verb == "close";
                desk.call.begin();
                if let Err(gone) = desk.orders.send(order) {
                    panic!("{name} is gone and can not {}", gone.0.word(2));
                }
                if leaves {
                    desks.remove(&name);
                }
            }
        }
    }
    Ok(())
}

fn enter(call: Call) -> Desk {
    let (orders, inbox): (_, Receiver<Line>) = channel();
    let mut actor = Actor::new(call.clone());
    thread::spawn(move || {
        for order in inbox {
            let answer = actor.obey(&order);
            say::say(order.word(0), &answer);
        }
    });
    Desk { orders, call }
}
