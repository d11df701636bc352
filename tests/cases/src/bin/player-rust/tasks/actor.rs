//! An actor: what each verb is in the SDK.
//!
//! Owns the actor's client and leases. Must not know what has to come of anything.

use super::Company;
use crate::order::{self, once, request, several, span, text};
use crate::say::{absent, error, fences, say, value};
use sidelock_cases::line::Line;
use sidelock_client::{
    Client, Entered, Error, Lease, LeaseAll, Once, Request, RequestAll, Result, Turn, owner,
};
use std::collections::HashMap;
use std::future::pending;
use std::pin::Pin;
use std::rc::Rc;
use tokio::sync::{Notify, mpsc};
use tokio::task::{spawn_local, yield_now};

/// See the module.
pub(crate) struct Actor {
    company: Rc<Company>,
    client: Option<Client>,
    cancel: Rc<Notify>,
    held: HashMap<String, Held>,
}

enum Held {
    One(Lease),
    Several(LeaseAll),
    Turn(Turn),
}

impl Actor {
    pub(crate) fn new(company: Rc<Company>, client: Option<Client>, cancel: Rc<Notify>) -> Actor {
        Actor { company, client, cancel, held: HashMap::new() }
    }

    /// One order after the other.
    pub(crate) fn live(
        mut self,
        mut inbox: mpsc::UnboundedReceiver<Line>,
    ) -> Pin<Box<dyn Future<Output = ()>>> {
        Box::pin(async move {
            while let Some(order) = inbox.recv().await {
                let cancel = self.cancel.clone();
                let answer = tokio::select! {
                    biased;
                    answer = self.obey(&order) => answer.unwrap_or_else(|failed| error(&failed)),
                    () = cancel.notified() => Line::new(["cancelled"]),
                };
                say(order.word(0), &answer);
                match order.word(2) {
                    "close" => return,
                    // Everything from here on is done as this owner, by tasks that begin here too if they inherit it.
                    "owner" => return owner(text(&order, "owner"), self.live(inbox)).await,
                    _ => {}
                }
            }
        })
    }

    async fn obey(&mut self, order: &Line) -> Result<Line> {
        let ok = || Line::new(["ok"]);
        let lease = text(order, "lease");
        match order.word(2) {
            "connect" => self.connect(order).await.map(|()| ok()),
            "spawn" => {
                self.company.enter(&text(order, "child"), self.client.clone());
                Ok(ok())
            }
            "owner" => Ok(ok()),
            "close" => {
                self.held.clear();
                self.client = None;
                self.company.clients.borrow_mut().clear();
                Ok(ok())
            }
            "acquire" => {
                let lease = self.request(order).await?;
                Ok(self.keep(order, Held::One(lease)))
            }
            "try" => match self.request(order).try_acquire().await? {
                Some(lease) => Ok(self.keep(order, Held::One(lease))),
                None => Ok(Line::new(["none"])),
            },
            "lock_all" => {
                let leases = self.several(order).await?;
                Ok(self.keep(order, Held::Several(leases)))
            }
            "try_all" => match self.several(order).try_acquire().await? {
                Some(leases) => Ok(self.keep(order, Held::Several(leases))),
                None => Ok(Line::new(["none"])),
            },
            "run" => self.request(order).run(|_| pending::<()>()).await.map(|()| ok()),
            "once" => {
                let entered = self.once(order).await?;
                Ok(self.entered(order, entered))
            }
            "try_once" => match self.once(order).try_enter().await? {
                Some(entered) => Ok(self.entered(order, entered)),
                None => Ok(Line::new(["none"])),
            },
            "upgrade" => self.upgrade(order).await,
            "drop" => {
                self.held.remove(&lease);
                Ok(ok())
            }
            "storm" => {
                self.storm(order).await;
                Ok(ok())
            }
            "release" | "finish" => self.end(order).await.map(|()| ok()),
            "renew" => match self.held(&lease) {
                Held::One(held) => held.renew(span(order, "ttl").unwrap_or_default()).await.map(|()| ok()),
                Held::Several(held) => {
                    held.renew(span(order, "ttl").unwrap_or_default()).await.map(|()| ok())
                }
                Held::Turn(held) => held.renew(span(order, "ttl").unwrap_or_default()).await.map(|()| ok()),
            },
            "downgrade" => match self.held(&lease) {
                Held::One(held) => held.downgrade().await.map(|()| ok()),
                Held::Several(_) | Held::Turn(_) => panic!("only a lease of one key has a mode to change"),
            },
            "valid" => Ok(Line::new([if self.is_valid(&lease) { "yes" } else { "no" }])),
            "lost" => {
                let reason = match self.held(&lease) {
                    Held::One(held) => held.lost().await,
                    Held::Several(held) => held.lost().await,
                    Held::Turn(held) => held.lost().await,
                };
                Ok(Line::new(["lost"]).with("reason", reason.name()))
            }
            "get" | "put" | "delete" | "watch" => self.register(order).await,
            other => panic!("nobody can {other:?}"),
        }
    }

    async fn connect(&mut self, order: &Line) -> Result<()> {
        let name = text(order, "client");
        let known = self.company.clients.borrow().get(&name).cloned();
        let client = match known {
            Some(client) => client,
            None => order::builder(order).connect().await?,
        };
        self.company.clients.borrow_mut().insert(name, client.clone());
        self.client = Some(client);
        Ok(())
    }

    fn client(&self) -> &Client {
        self.client.as_ref().expect("the driver connects first")
    }

    fn held(&self, name: &str) -> &Held {
        self.held.get(name).expect("the driver names leases that there are")
    }

    fn is_valid(&self, name: &str) -> bool {
        match self.held(name) {
            Held::One(held) => held.is_valid(),
            Held::Several(held) => held.is_valid(),
            Held::Turn(held) => held.is_valid(),
        }
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

    fn entered(&mut self, order: &Line, entered: Entered) -> Line {
        match entered {
            Entered::Won(turn) => self.keep(order, Held::Turn(turn)),
            Entered::Done(outcome) => {
                Line::new(["done"]).with("result", String::from_utf8_lossy(&outcome.result))
            }
        }
    }

    fn request(&self, order: &Line) -> Request {
        request!(self.client(), order)
    }

    fn several(&self, order: &Line) -> RequestAll {
        several!(self.client(), order)
    }

    fn once(&self, order: &Line) -> Once {
        once!(self.client(), order)
    }

    /// The lease is kept while it is upgraded, and has another name afterwards.
    async fn upgrade(&mut self, order: &Line) -> Result<Line> {
        let name = text(order, "lease");
        let Some(Held::One(lease)) = self.held.get_mut(&name) else {
            panic!("only a lease of one key is upgraded")
        };
        let upgrade = lease.upgrade();
        match span(order, "wait") {
            Some(wait) => upgrade.wait(wait).await?,
            None => upgrade.await?,
        }
        let held = self.held.remove(&name).expect("it was there");
        Ok(self.keep(order, held))
    }

    /// So many waits at once, each given up when it has begun.
    async fn storm(&self, order: &Line) {
        let waits: Vec<_> = (0..order.number("times").unwrap_or(0))
            .map(|_| spawn_local(self.request(order).acquire()))
            .collect();
        yield_now().await;
        for wait in waits {
            wait.abort();
            assert!(wait.await.is_err_and(|ended| ended.is_cancelled()), "nobody else lets go of the key");
        }
    }

    async fn end(&mut self, order: &Line) -> Result<()> {
        let held = self.held.remove(&text(order, "lease")).expect("the driver names leases that there are");
        match (held, order.get("result")) {
            (Held::Turn(turn), Some(result)) => turn.finish(result).await,
            (Held::Turn(turn), None) => turn.give_back().await,
            (Held::One(lease), _) => lease.release().await,
            (Held::Several(leases), _) => leases.release().await,
        }
    }

    async fn register(&self, order: &Line) -> Result<Line> {
        let register = self.client().register(text(order, "key"));
        let fenced = order.get("fenced").map(|name| match self.held(&name) {
            Held::One(lease) => lease.view(),
            Held::Several(_) | Held::Turn(_) => panic!("a write is bound to a lease of one key"),
        });
        match order.word(2) {
            "get" => {
                let get = register.get();
                Ok(value(&fenced.map_or(get.clone(), |lease| get.fenced(lease)).await?))
            }
            "put" => {
                let mut put = register.put(text(order, "value"));
                if let Some(etag) = order.get("if_match") {
                    put = put.if_match(etag);
                }
                if order.has("if_absent") {
                    put = put.if_absent();
                }
                let etag = fenced.map_or(put.clone(), |lease| put.fenced(lease)).await?;
                Ok(Line::new(["etag"]).with("etag", etag))
            }
            "delete" => {
                let mut delete = register.delete();
                if let Some(etag) = order.get("if_match") {
                    delete = delete.if_match(etag);
                }
                fenced.map_or(delete.clone(), |lease| delete.fenced(lease)).await?;
                Ok(Line::new(["ok"]))
            }
            _ => self.watch(order).await,
        }
    }

    async fn watch(&self, order: &Line) -> Result<Line, Error> {
        let mut watch = self.client().register(text(order, "key")).watch();
        match order.get("after").as_deref() {
            // What a watch told first is what it goes on after; unless there is something by now.
            Some("absent") => {
                if let Some(found) = watch.next().await? {
                    return Ok(value(&found));
                }
            }
            Some(etag) => watch = watch.after(etag),
            None => {}
        }
        Ok(watch.next().await?.map_or_else(absent, |found| value(&found)))
    }
}
