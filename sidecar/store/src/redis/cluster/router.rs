//! The router: which links there are, and who is told what.
//!
//! Owns a link to each primary, when the cluster counts as up, looking for whose slots are whose, and passing messages on to the
//! nodes where inboxes are heard (P21). Must not know where a call goes: `routes.rs` does.

use super::Cluster;
use super::inbox::{Inbox, News};
use super::listing;
use super::look::Looks;
use super::routes::{Node, Routes, Todo};
use super::slots::slot_of;
use super::topology::{self, Ranges, Witness};
use crate::redis::address::Address;
use crate::redis::clock::Clock;
use crate::redis::connect::Connector;
use crate::redis::dial::Access;
use crate::redis::names::Names;
use crate::redis::outlet::{Heard, LinkId, Outlet};
use crate::redis::pipeline::Message;
use crate::redis::{RedisConfig, Request, StoreEvent, link};
use sidelock_engine::Incarnation;
use sidelock_engine::store::{Call, Fault, Outcome};
use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::ops::ControlFlow;
use std::pin::Pin;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

/// Events of links that wait for the router.
const HEARD_MAX: usize = 4096;

/// Whose slots are whose, when it is known.
type Look = Pin<Box<dyn Future<Output = Result<Ranges, String>> + Send>>;

/// Runs until every handle is dropped and answered, or nobody listens to events.
pub(crate) async fn run(
    cluster: Cluster,
    config: RedisConfig,
    incarnation: Incarnation,
    requests: mpsc::UnboundedReceiver<Request>,
    events: mpsc::Sender<StoreEvent>,
) {
    let names = Names::new(&config.prefix, &config.namespace);
    let (links, heard) = mpsc::channel(HEARD_MAX);
    let (tell, news) = mpsc::channel(HEARD_MAX);
    let (home, at_home) = watch::channel(None);
    let inbox = Inbox {
        name: names.inbox(incarnation),
        dialer: cluster.dialer.clone(),
        response_timeout: config.response_timeout,
        ping_interval: config.ping_interval,
        home: at_home,
        news: tell,
    };
    let inbox_name = inbox.name.clone();
    tokio::spawn(inbox.run());
    let mut router = Router {
        cluster,
        names,
        inbox: inbox_name,
        home,
        routes: Routes::default(),
        nodes: BTreeMap::new(),
        made: 0,
        links,
        events,
        config,
        looks: Looks::default(),
        witness: 0,
        state: State::default(),
    };
    let mut ears = Ears { requests, heard, news };
    // Its end is the end of what there is to serve.
    let _ = router.serve(&mut ears).await;
    let Router { nodes, links, .. } = router;
    drop((nodes, links));
    // Links end when what they were handed last has gone out: messages of the last releases, too.
    while ears.heard.recv().await.is_some() {}
}

/// A node to which there is a link.
struct Linked {
    /// The how manieth link it is.
    number: usize,
    requests: mpsc::UnboundedSender<Request>,
    /// It has slots. Otherwise one is on its way there.
    owner: bool,
    /// `None`: it has not said yet.
    up: Option<bool>,
}

/// What is known of the cluster as a whole.
#[derive(Default)]
struct State {
    /// The engine was told that the store is up.
    up: bool,
    heard: bool,
    /// The clock that is ahead of the others.
    clock: Option<Clock>,
    /// Why it is down, as last told.
    last_reason: Option<String>,
    /// No handle is left.
    closing: bool,
}

struct Router {
    cluster: Cluster,
    config: RedisConfig,
    names: Names,
    inbox: String,
    home: watch::Sender<Option<Address>>,
    routes: Routes,
    nodes: BTreeMap<Node, Linked>,
    /// Links that were ever made.
    made: usize,
    links: mpsc::Sender<(LinkId, Heard)>,
    events: mpsc::Sender<StoreEvent>,
    looks: Looks,
    /// Whom the next look begins with.
    witness: usize,
    state: State,
}

/// What the router hears.
struct Ears {
    requests: mpsc::UnboundedReceiver<Request>,
    heard: mpsc::Receiver<(LinkId, Heard)>,
    news: mpsc::Receiver<News>,
}

impl Router {
    async fn serve(&mut self, ears: &mut Ears) -> ControlFlow<()> {
        let mut look: Option<Look> = None;
        loop {
            if look.is_none() {
                look = self.looks.begin(Instant::now()).map(|earliest| self.look_at(earliest));
            }
            if self.state.closing && self.routes.is_idle() {
                return ControlFlow::Break(());
            }
            tokio::select! {
                Some((link, heard)) = ears.heard.recv() => self.link_said(link, heard).await?,
                Some(news) = ears.news.recv() => self.inbox_said(news).await?,
                ranges = async { match &mut look { Some(look) => look.await, None => pending().await } } => {
                    look = None;
                    self.looked(ranges).await?;
                }
                request = ears.requests.recv(), if !self.state.closing => {
                    let mut next = request;
                    self.state.closing = next.is_none();
                    while let Some(request) = next {
                        self.request(request).await?;
                        next = ears.requests.try_recv().ok();
                    }
                }
            }
            self.follow().await?;
        }
    }

    async fn tell(&mut self, event: StoreEvent) -> ControlFlow<()> {
        match self.events.send(event).await {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    }

    // ── requests ──

    async fn request(&mut self, request: Request) -> ControlFlow<()> {
        match request {
            Request::Calls(calls) if self.state.up => self.call(calls),
            Request::Calls(calls) => {
                for Call { id: call, .. } in calls {
                    let outcome = Outcome::NotApplied(Fault::Down);
                    self.tell(StoreEvent::Answer { call, outcome }).await?;
                }
            }
            Request::List(wish) => listing::start(self.nodes.values().map(|node| &node.requests), wish),
            Request::Renew(access) => self.renew(&access).await?,
            // Between router and links only.
            Request::Asking(_) | Request::Messages(_) | Request::Slots(_) => {}
        }
        ControlFlow::Continue(())
    }

    fn call(&mut self, calls: Vec<Call>) {
        for call in calls {
            let slot = slot_of(&self.names.record(call.op.key()));
            self.routes.call(slot, call);
        }
    }

    /// Each link says it on its connection, and tells what came of it; new connections say it anyway.
    async fn renew(&mut self, access: &Access) -> ControlFlow<()> {
        self.cluster.dialer.renew(access.clone());
        for Linked { requests, .. } in self.nodes.values() {
            let _ = requests.send(Request::Renew(Box::new(access.clone())));
        }
        match self.nodes.is_empty() {
            true => self.tell(StoreEvent::Renewed(Ok(()))).await,
            false => ControlFlow::Continue(()),
        }
    }

    // ── what is heard ──

    async fn link_said(&mut self, link: LinkId, heard: Heard) -> ControlFlow<()> {
        match heard {
            Heard::Messages(messages) => self.pass_on(messages),
            Heard::Astray(messages) => self.pass_on_again(link.node, messages),
            Heard::Event(StoreEvent::Answer { call, outcome }) => {
                self.routes.answered(link.node, call, outcome)
            }
            Heard::Event(StoreEvent::Up { at }) => {
                let counts = |clock: Clock| clock.is_old() || clock.now() < at;
                if self.state.clock.is_none_or(counts) {
                    self.state.clock = Some(Clock::heard(at));
                }
                return self.link_is(link, true, None).await;
            }
            Heard::Event(StoreEvent::Down { reason }) => {
                return self.link_is(link, false, Some(reason)).await;
            }
            Heard::Event(StoreEvent::Warning(text)) => {
                let text = format!("{}: {text}", self.routes.address(link.node));
                return self.tell(StoreEvent::Warning(text)).await;
            }
            Heard::Event(event) => return self.tell(event).await,
        }
        ControlFlow::Continue(())
    }

    /// To the nodes where the inboxes are heard.
    fn pass_on(&mut self, messages: Vec<Message>) {
        let mut by_node: BTreeMap<Node, Vec<Message>> = BTreeMap::new();
        for message in messages {
            let name = std::str::from_utf8(&message.inbox).ok();
            if let Some(owner) = name.and_then(|name| self.routes.owner(slot_of(name))) {
                by_node.entry(owner).or_default().push(message);
            }
        }
        for (node, messages) in by_node {
            if let Some(Linked { requests, .. }) = self.nodes.get(&node) {
                let _ = requests.send(Request::Messages(messages));
            }
        }
    }

    /// Nobody else tells where an inbox moved to: who has no calls for its slot would miss it for ever.
    fn pass_on_again(&mut self, node: Node, astray: Vec<(Message, String)>) {
        let by = self.routes.address(node).clone();
        let mut messages = Vec::new();
        for (message, said) in astray {
            self.routes.told(&by, &said);
            if !message.again {
                messages.push(Message { again: true, ..message });
            }
        }
        self.pass_on(messages);
    }

    async fn link_is(&mut self, link: LinkId, up: bool, reason: Option<String>) -> ControlFlow<()> {
        // One that was given up has nothing to say of its node any more.
        let Some(linked) = self.nodes.get_mut(&link.node).filter(|linked| linked.number == link.number)
        else {
            return ControlFlow::Continue(());
        };
        linked.up = Some(up);
        if !linked.owner {
            // Who is asked something there once more connects once more.
            if !up {
                self.nodes.remove(&link.node);
            }
            return ControlFlow::Continue(());
        }
        self.looks.want(!up);
        if self.state.up && !up && self.is_any_up() {
            let (address, reason) = (self.routes.address(link.node), reason.unwrap_or_default());
            let text = format!("the primary at {address} is away, and its keys wait: {reason}");
            return self.tell(StoreEvent::Warning(text)).await;
        }
        // Told again where it was up: who comes back may have lost what it had (P1).
        if up && self.state.up {
            return self.rise().await;
        }
        self.weigh(reason).await
    }

    fn owners(&self) -> impl Iterator<Item = &Linked> {
        self.nodes.values().filter(|linked| linked.owner)
    }

    fn is_any_up(&self) -> bool {
        self.owners().any(|linked| linked.up == Some(true))
    }

    /// Up once every primary has said what it is; down when none is up.
    async fn weigh(&mut self, reason: Option<String>) -> ControlFlow<()> {
        let known = self.owners().all(|linked| linked.up.is_some());
        match (self.state.up, self.is_any_up()) {
            (false, true) if known => self.rise().await,
            (true, false) => {
                self.state.up = false;
                self.down(reason.unwrap_or_else(|| "all primaries are others than before".into())).await
            }
            (false, false) => match reason {
                Some(reason) => self.down(reason).await,
                None => ControlFlow::Continue(()),
            },
            _ => ControlFlow::Continue(()),
        }
    }

    async fn rise(&mut self) -> ControlFlow<()> {
        let Some(clock) = self.state.clock else { return ControlFlow::Continue(()) };
        self.state.up = true;
        self.state.last_reason = None;
        self.tell(StoreEvent::Up { at: clock.now() }).await?;
        match self.state.heard {
            true => self.tell(StoreEvent::Subscribed).await,
            false => ControlFlow::Continue(()),
        }
    }

    async fn down(&mut self, reason: String) -> ControlFlow<()> {
        if self.state.last_reason.as_ref() == Some(&reason) {
            return ControlFlow::Continue(());
        }
        self.state.last_reason = Some(reason.clone());
        self.tell(StoreEvent::Down { reason }).await
    }

    async fn inbox_said(&mut self, news: News) -> ControlFlow<()> {
        match news {
            News::Subscribed => {
                self.state.heard = true;
                match self.state.up {
                    true => self.tell(StoreEvent::Subscribed).await,
                    false => ControlFlow::Continue(()),
                }
            }
            News::Push(push) => {
                // A hint: with no room for it, timers carry on.
                let _ = self.events.try_send(StoreEvent::Push(push));
                ControlFlow::Continue(())
            }
            News::Lost(home, why) => {
                self.state.heard = false;
                self.looks.want(true);
                self.routes.told(&home, &why);
                tracing::debug!(%home, why, "the inbox is not heard");
                ControlFlow::Continue(())
            }
        }
    }

    // ── whose slots are whose ──

    /// Asks primaries that are there, then those that the settings name, then those that are away.
    fn look_at(&mut self, earliest: Instant) -> Look {
        let (up, away): (Vec<_>, Vec<_>) = self.nodes.iter().partition(|(_, linked)| linked.up == Some(true));
        let address = |node: &Node| self.routes.address(*node).clone();
        let mut witnesses: Vec<_> =
            up.iter().map(|(node, linked)| Witness::Linked(address(node), linked.requests.clone())).collect();
        if !witnesses.is_empty() {
            // Another one each time: the one asked first may be cut off from the others.
            let first = self.witness % witnesses.len();
            witnesses.rotate_left(first);
        }
        let is_up = |seed: &Address| up.iter().any(|(node, _)| self.routes.address(**node) == seed);
        let seeds = self.cluster.seeds.iter().filter(|seed| !is_up(seed)).cloned();
        let others = seeds.chain(away.iter().map(|(node, _)| address(node)));
        witnesses.extend(others.map(Witness::Other));
        self.witness = self.witness.wrapping_add(1);
        let (dialer, patience) = (self.cluster.dialer.clone(), self.config.response_timeout);
        Box::pin(async move {
            sleep_until(earliest).await;
            topology::ask(dialer, witnesses, patience).await
        })
    }

    async fn looked(&mut self, ranges: Result<Ranges, String>) -> ControlFlow<()> {
        let mut news = false;
        match ranges {
            Ok(ranges) => news = self.routes.learn(ranges),
            Err(why) => {
                self.looks.want(true);
                if !self.state.up {
                    self.down(why).await?;
                }
            }
        }
        self.looks.done(Instant::now(), news);
        // Somebody who is away may be replaced at any moment.
        let is_away = self.owners().any(|linked| linked.up == Some(false));
        self.looks.want(is_away);
        ControlFlow::Continue(())
    }

    // ── what follows ──

    /// Keeps links to those who have slots, tells the inbox where it is, and does what routes want done.
    async fn follow(&mut self) -> ControlFlow<()> {
        let Todo { send, answers, look, moved } = self.routes.take();
        self.looks.want(look);
        if moved {
            self.settle();
        }
        for ((node, asking), calls) in send {
            // Where a slot is on its way to there may be no other yet.
            let linked = self.linked(node);
            let _ = linked.requests.send(match asking {
                true => Request::Asking(calls),
                false => Request::Calls(calls),
            });
        }
        for (call, outcome) in answers {
            self.tell(StoreEvent::Answer { call, outcome }).await?;
        }
        if moved { self.weigh(None).await } else { ControlFlow::Continue(()) }
    }

    /// Slots have other owners: links to all of them and to nobody else, and the inbox is where its slot is.
    fn settle(&mut self) {
        let owners: BTreeSet<Node> = self.routes.owners().into_iter().collect();
        // Who is dropped answers what it still has.
        self.nodes.retain(|node, _| owners.contains(node));
        for node in owners {
            self.linked(node).owner = true;
        }
        let home = self.routes.owner(slot_of(&self.inbox)).map(|node| self.routes.address(node).clone());
        self.home.send_if_modified(|known| {
            let differs = *known != home;
            *known = home;
            differs
        });
    }

    /// The link to this node, made if there is none.
    fn linked(&mut self, node: Node) -> &mut Linked {
        self.nodes.entry(node).or_insert_with(|| {
            let address = self.routes.address(node).clone();
            let connector = Connector::of_node(address, self.cluster.dialer.clone(), &self.config);
            let (requests, received) = mpsc::unbounded_channel();
            let number = self.made;
            self.made += 1;
            let outlet = Outlet::Router(LinkId { node, number }, self.links.clone());
            tokio::spawn(link::run(self.config.clone(), connector, received, outlet));
            Linked { number, requests, owner: false, up: None }
        })
    }
}
