//! An actor: what each verb is in the blocking SDK.
//!
//! Owns the actor's client and leases. Must not know what has to come of anything.

use super::{Cancel, Company, locked};
use crate::order::{self, once, request, several, span, text};
use crate::say::{absent, error, fences, say, value};
use sidelock_cases::line::Line;
use sidelock_client::blocking::{Client, Entered, Lease, LeaseAll, Once, Request, RequestAll, Turn};
use sidelock_client::{Error, Result};
use std::collections::HashMap;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Barrier};

/// Of a thread that only waits.
const STACK_BYTES: usize = 128 * 1024;

/// See the module.
pub(crate) struct Actor {
    company: Arc<Company>,
    client: Option<Client>,
    /// The order that made the client.
    connected_by: Option<Line>,
    cancel: Arc<Cancel>,
    /// Named with every request: a thread has none by itself.
    owner: Option<String>,
    held: HashMap<String, Held>,
}

enum Held {
    One(Lease),
    Several(LeaseAll),
    Turn(Turn),
}

/// The same of each.
macro_rules! of_each {
    ($held:expr, $it:ident => $do:expr) => {
        match $held {
            Held::One($it) => $do,
            Held::Several($it) => $do,
            Held::Turn($it) => $do,
        }
    };
}

impl Actor {
    pub(crate) fn new(company: Arc<Company>, client: Option<Client>, cancel: Arc<Cancel>) -> Actor {
        cancel.is_with(client.clone());
        Actor { company, client, connected_by: None, cancel, owner: None, held: HashMap::new() }
    }

    /// One order after the other.
    pub(crate) fn live(mut self, inbox: &Receiver<Line>) {
        for order in inbox {
            let answer = match self.obey(&order) {
                Err(_) if self.cancel.was_cancelled() => self.go_on(),
                answer => answer,
            };
            say(order.word(0), &answer.unwrap_or_else(|failed| error(&failed)));
            if order.word(2) == "close" {
                return;
            }
        }
    }

    /// What it waited for was given up, and its client with it.
    fn go_on(&mut self) -> Result<Line> {
        assert!(self.held.is_empty(), "the client that was closed took these, too");
        let order = self.connected_by.clone().expect("the driver connects first");
        self.become_a_client(Client::connect_with(order::builder(&order))?);
        Ok(Line::new(["cancelled"]))
    }

    fn obey(&mut self, order: &Line) -> Result<Line> {
        let ok = || Line::new(["ok"]);
        let lease = text(order, "lease");
        match order.word(2) {
            "connect" => self.connect(order).map(|()| ok()),
            "spawn" => {
                self.company.enter(&text(order, "child"), self.client.clone());
                Ok(ok())
            }
            "owner" => {
                self.owner = order.get("owner");
                Ok(ok())
            }
            "close" => {
                self.held.clear();
                self.client = None;
                self.cancel.is_with(None);
                locked(&self.company.clients).clear();
                Ok(ok())
            }
            "acquire" => {
                let lease = self.request(order).acquire()?;
                Ok(self.keep(order, Held::One(lease)))
            }
            "try" => {
                let lease = self.request(order).try_acquire()?;
                Ok(self.keep_any(order, lease.map(Held::One)))
            }
            "lock_all" => {
                let leases = self.several(order).acquire()?;
                Ok(self.keep(order, Held::Several(leases)))
            }
            "try_all" => {
                let leases = self.several(order).try_acquire()?;
                Ok(self.keep_any(order, leases.map(Held::Several)))
            }
            "run" => self.run(order).map(|()| ok()),
            "once" => {
                let entered = self.once(order).enter()?;
                Ok(self.entered(order, entered))
            }
            "try_once" => {
                let entered = self.once(order).try_enter()?;
                Ok(entered.map_or_else(|| Line::new(["none"]), |entered| self.entered(order, entered)))
            }
            "upgrade" => self.upgrade(order),
            "downgrade" => self.one(&lease).downgrade().map(|()| ok()),
            "drop" => {
                self.held.remove(&lease);
                Ok(ok())
            }
            "storm" => self.storm(order).map(|()| ok()),
            "release" | "finish" => self.end(order).map(|()| ok()),
            "renew" => {
                let ttl = span(order, "ttl").unwrap_or_default();
                of_each!(self.held(&lease), it => it.renew(ttl)).map(|()| ok())
            }
            "valid" => {
                let valid = of_each!(self.held(&lease), it => it.is_valid());
                Ok(Line::new([if valid { "yes" } else { "no" }]))
            }
            "lost" => {
                let reason = of_each!(self.held(&lease), it => it.lost());
                Ok(Line::new(["lost"]).with("reason", reason.name()))
            }
            "get" | "put" | "delete" | "watch" => self.register(order),
            other => panic!("nobody can {other:?}"),
        }
    }

    fn connect(&mut self, order: &Line) -> Result<()> {
        let name = text(order, "client");
        let known = locked(&self.company.clients).get(&name).cloned();
        let client = match known {
            Some(client) => client,
            None => Client::connect_with(order::builder(order))?,
        };
        locked(&self.company.clients).insert(name, client.clone());
        self.become_a_client(client);
        self.connected_by = Some(order.clone());
        Ok(())
    }

    fn become_a_client(&mut self, client: Client) {
        self.cancel.is_with(Some(client.clone()));
        self.client = Some(client);
    }

    fn client(&self) -> &Client {
        self.client.as_ref().expect("the driver connects first")
    }

    fn held(&self, name: &str) -> &Held {
        self.held.get(name).expect("the driver names leases that there are")
    }

    fn one(&self, name: &str) -> &Lease {
        let Held::One(lease) = self.held(name) else { panic!("only a lease of one key can do this") };
        lease
    }

    fn keep(&mut self, order: &Line, held: Held) -> Line {
        let line = match &held {
            Held::One(lease) => Line::new(["lease"]).with("fence", lease.fence()),
            Held::Several(leases) => fences(leases.fences()),
            Held::Turn(turn) => Line::new(["turn"]).with("fence", turn.fence()),
        };
        self.held.insert(text(order, "as"), held);
        line
    }

    fn keep_any(&mut self, order: &Line, held: Option<Held>) -> Line {
        held.map_or_else(|| Line::new(["none"]), |held| self.keep(order, held))
    }

    fn entered(&mut self, order: &Line, entered: Entered) -> Line {
        match entered {
            Entered::Won(turn) => self.keep(order, Held::Turn(turn)),
            Entered::Done(outcome) => {
                Line::new(["done"]).with("result", String::from_utf8_lossy(&outcome.result))
            }
        }
    }

    fn request(&self, order: &Line) -> Request {
        let request = request!(self.client(), order);
        self.owner.iter().fold(request, Request::owner)
    }

    fn several(&self, order: &Line) -> RequestAll {
        let request = several!(self.client(), order);
        self.owner.iter().fold(request, RequestAll::owner)
    }

    fn once(&self, order: &Line) -> Once {
        let once = once!(self.client(), order);
        self.owner.iter().fold(once, Once::owner)
    }

    /// A body that stops itself, because nothing else could.
    fn run(&self, order: &Line) -> Result<()> {
        let lease = self.request(order).acquire()?;
        lease.lost();
        lease.release()
    }

    /// The lease is kept while it is upgraded, and has another name afterwards.
    fn upgrade(&mut self, order: &Line) -> Result<Line> {
        let name = text(order, "lease");
        let Some(Held::One(lease)) = self.held.get_mut(&name) else {
            panic!("only a lease of one key is upgraded")
        };
        lease.upgrade(span(order, "wait"))?;
        let held = self.held.remove(&name).expect("it was there");
        Ok(self.keep(order, held))
    }

    /// So many waits at once, on as many threads; all given up by closing their client.
    fn storm(&self, order: &Line) -> Result<()> {
        let connected_by = self.connected_by.as_ref().expect("the driver connects first");
        let client = Client::connect_with(order::builder(connected_by))?;
        let times = usize::try_from(order.number("times").unwrap_or(0)).unwrap_or(0);
        let begun = Arc::new(Barrier::new(times + 1));
        let wait = || {
            let (request, begun) = (request!(&client, order), begun.clone());
            let wait = move || {
                begun.wait();
                request.acquire()
            };
            std::thread::Builder::new().stack_size(STACK_BYTES).spawn(wait).expect("the system has a thread")
        };
        let waits: Vec<_> = (0..times).map(|_| wait()).collect();
        begun.wait();
        client.close();
        for wait in waits {
            let ended = wait.join().expect("it only waits");
            assert!(matches!(ended, Err(Error::Invalid(_))), "nobody else lets go of the key: {ended:?}");
        }
        Ok(())
    }

    fn end(&mut self, order: &Line) -> Result<()> {
        let held = self.held.remove(&text(order, "lease")).expect("the driver names leases that there are");
        match (held, order.get("result")) {
            (Held::Turn(turn), Some(result)) => turn.finish(result),
            (Held::Turn(turn), None) => turn.give_back(),
            (Held::One(lease), _) => lease.release(),
            (Held::Several(leases), _) => leases.release(),
        }
    }

    fn register(&self, order: &Line) -> Result<Line> {
        let register = self.client().register(text(order, "key"));
        let fenced = order.get("fenced").map(|name| self.one(&name));
        match order.word(2) {
            "get" => {
                let get = register.get();
                Ok(value(&fenced.map_or(get.clone(), |lease| get.fenced(lease)).send()?))
            }
            "put" => {
                let mut put = register.put(text(order, "value"));
                if let Some(etag) = order.get("if_match") {
                    put = put.if_match(etag);
                }
                if order.has("if_absent") {
                    put = put.if_absent();
                }
                let etag = fenced.map_or(put.clone(), |lease| put.fenced(lease)).send()?;
                Ok(Line::new(["etag"]).with("etag", etag))
            }
            "delete" => {
                let mut delete = register.delete();
                if let Some(etag) = order.get("if_match") {
                    delete = delete.if_match(etag);
                }
                fenced.map_or(delete.clone(), |lease| delete.fenced(lease)).send()?;
                Ok(Line::new(["ok"]))
            }
            _ => self.watch(order),
        }
    }

    fn watch(&self, order: &Line) -> Result<Line> {
        let mut watch = self.client().register(text(order, "key")).watch();
        match order.get("after").as_deref() {
            // What a watch told first is what it goes on after; unless there is something by now.
            Some("absent") => {
                if let Some(found) = watch.next()? {
                    return Ok(value(&found));
                }
            }
            Some(etag) => watch = watch.after(etag),
            None => {}
        }
        Ok(watch.next()?.map_or_else(absent, |found| value(&found)))
    }
}
