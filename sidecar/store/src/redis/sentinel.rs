//! Sentinels: who is the primary now, and when it is another one.
//!
//! Owns in which order they are asked. Must not know what the primary is used for.
//!
//! Redis does not end a primary's connections when sentinels put another in its place, if it is alive: it goes on as a
//! primary of its own until one of them turns it into a replica (measured on 7.0.15: 10 s after `SENTINEL FAILOVER`). So
//! whoever uses one hears sentinels meanwhile.

use super::address::{self, Address};
use super::connect::reason;
use super::dial::{Access, Dialer, Wire};
use super::{RedisConfig, RedisConfigError, Sentinel};
use redis::{AsyncConnectionConfig, PushInfo, PushKind, RedisError, cmd};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Where sentinels say that a failover is done.
const SWITCHED: &str = "+switch-master";
/// After none of them could be heard.
const REST: Duration = Duration::from_millis(250);
/// For a road before the next is taken, too.
const HEAD_START: Duration = Duration::from_millis(50);

/// Those who watch one primary.
pub(super) struct Sentinels {
    /// Each with how it is reached.
    addresses: Vec<(Address, Dialer)>,
    told: Sentinel,
    /// Who is asked first.
    first: AtomicUsize,
    /// For a connection, and for an answer.
    patience: Duration,
    /// Between questions to the one that is heard: a connection that is dead does not say so.
    ask_every: Duration,
}

impl Sentinels {
    pub(super) fn new(config: &RedisConfig, told: &Sentinel) -> Result<Sentinels, RedisConfigError> {
        // One that does not answer must not use up the time for asking the next.
        let patience = config.connect_timeout / 2;
        let access = Access { credentials: told.credentials.clone(), tls: config.access.tls.clone() };
        let reached = |url: &String| {
            let (address, settings) = address::read(url)?;
            Ok((address, Dialer::new(settings.set_db(0), access.clone(), patience)))
        };
        let addresses = config.urls.iter().map(reached).collect::<Result<_, _>>()?;
        let (first, told) = (AtomicUsize::new(0), told.clone());
        Ok(Sentinels { addresses, told, first, patience, ask_every: config.ping_interval })
    }

    /// Whether what is needed to reach them is there and makes sense. Connects to nothing.
    pub(super) fn check(&self) -> Result<(), String> {
        self.addresses.iter().try_for_each(|(address, dialer)| dialer.check(address))
    }

    /// Whom we believe changed with this access; who we are to sentinels does not follow from it.
    pub(super) fn renew(&self, access: &Access) {
        for (_, dialer) in &self.addresses {
            dialer.renew(Access { credentials: self.told.credentials.clone(), tls: access.tls.clone() });
        }
    }

    /// Whether they are spoken to over TLS, and with them the primary.
    pub(super) fn has_tls(&self) -> bool {
        self.addresses.iter().any(|(address, _)| address.has_tls())
    }

    /// The primary, as the first of them says that answers.
    pub(super) async fn primary(self: &Arc<Self>) -> Result<Address, String> {
        let named = self.first_of(|all, number| async move { all.ask_once(number).await });
        named.await.map_err(|why| format!("no sentinel names a primary ({why})"))
    }

    /// What comes first of the roads that begin with one of them each. The next one is taken, too, when the one before does not
    /// lead anywhere within a moment: a sentinel that writes to its disk, as they do in a failover, answers nobody meanwhile, and
    /// one that is behind names a server that is gone. Where all roads end: why, each reason once.
    pub(super) async fn first_of<T, F>(
        self: &Arc<Self>,
        road: impl Fn(Arc<Self>, usize) -> F,
    ) -> Result<T, String>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, String>> + Send + 'static,
    {
        let mut roads = JoinSet::new();
        for (place, number) in (0..).zip(self.in_turn()) {
            let road = road(self.clone(), number);
            roads.spawn(async move {
                sleep(HEAD_START * place).await;
                road.await
            });
        }
        let mut failures = Vec::new();
        while let Some(ended) = roads.join_next().await {
            match ended {
                Ok(Ok(found)) => return Ok(found),
                Ok(Err(why)) => failures.push(why),
                // Whoever panicked has said so.
                Err(_) => {}
            }
        }
        failures.sort();
        failures.dedup();
        Err(failures.join("; "))
    }

    /// Whom to ask, one after another.
    fn in_turn(&self) -> impl Iterator<Item = usize> + use<> {
        let (first, count) = (self.first.load(Relaxed), self.addresses.len());
        (0..count).map(move |offset| (first + offset) % count)
    }

    /// What this one named can be used: it is the first to be asked from now on, and to be heard.
    pub(super) fn trust(&self, number: usize) {
        self.first.store(number, Relaxed);
    }

    /// The primary as one of them knows it.
    pub(super) async fn ask_once(&self, number: usize) -> Result<Address, String> {
        let (wire, _news) = self.open(number).await?;
        self.ask(number, &wire).await
    }

    /// Waits until they name another primary than this one. Which.
    pub(super) async fn another_than(&self, known: &Address) -> Address {
        loop {
            for number in self.in_turn() {
                // Whoever can not be heard any more is of no interest: the next one is.
                if let Ok(other) = self.hear(number, known).await {
                    return other;
                }
            }
            sleep(REST).await;
        }
    }

    /// How many answer, what each of the others says instead, and which primaries are named.
    pub(super) async fn census(&self) -> Census {
        let mut census = Census { asked: self.addresses.len(), named: Vec::new(), silent: Vec::new() };
        for number in self.in_turn() {
            match self.ask_once(number).await {
                Ok(address) => census.named.push(address),
                Err(why) => census.silent.push(why),
            }
        }
        census
    }

    /// Hears one of them until it names another primary. Asks after subscribing, so that nothing is missed between.
    async fn hear(&self, number: usize, known: &Address) -> Result<Address, String> {
        let (wire, mut news) = self.open(number).await?;
        wire.commands.clone().subscribe(SWITCHED).await.map_err(|error| self.complaint(number, &error))?;
        loop {
            let named = self.ask(number, &wire).await?;
            if named != *known {
                return Ok(named);
            }
            let heard = timeout(self.ask_every, news.recv()).await;
            if let Ok(None | Some(PushInfo { kind: PushKind::Disconnection, .. })) = heard {
                return Err("it closed the connection".into());
            }
        }
    }

    async fn open(&self, number: usize) -> Result<(Wire, mpsc::UnboundedReceiver<PushInfo>), String> {
        let (tell, news) = mpsc::unbounded_channel();
        let config =
            AsyncConnectionConfig::new().set_response_timeout(Some(self.patience)).set_push_sender(tell);
        let (address, dialer) = &self.addresses[number];
        let opened = dialer.dial(address, config, dialer.deadline()).await;
        Ok((opened.map_err(|why| format!("sentinel {address}: {why}"))?, news))
    }

    async fn ask(&self, number: usize, wire: &Wire) -> Result<Address, String> {
        let mut question = cmd("SENTINEL");
        question.arg("GET-MASTER-ADDR-BY-NAME").arg(&self.told.service);
        let named: Option<(String, u16)> = question
            .query_async(&mut wire.commands.clone())
            .await
            .map_err(|error| self.complaint(number, &error))?;
        let (sentinel, _) = &self.addresses[number];
        let (host, port) =
            named.ok_or_else(|| format!("sentinel {sentinel} watches no `{}`", self.told.service))?;
        Ok(Address::Tcp { host, port, tls: self.has_tls() })
    }

    fn complaint(&self, number: usize, error: &RedisError) -> String {
        format!("sentinel {}: {}", self.addresses[number].0, reason(error))
    }
}

/// What sentinels say, all of them.
pub(super) struct Census {
    pub(super) asked: usize,
    pub(super) named: Vec<Address>,
    /// Why some name nobody.
    pub(super) silent: Vec<String>,
}
