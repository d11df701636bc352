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
/// For one to answer before the next is asked, too.
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
        let (mut answers, mut failures) = (self.ask_each(), Vec::new());
        while let Some((_, said)) = answers.next().await {
            match said {
                Ok(address) => return Ok(address),
                Err(why) => failures.push(why),
            }
        }
        Err(format!("no sentinel names a primary ({})", failures.join("; ")))
    }

    /// Asks one after another until the answers are dropped, and does not wait for one that hangs: during a failover they write
    /// to their disks, and answer nobody meanwhile.
    pub(super) fn ask_each(self: &Arc<Self>) -> Answers {
        let mut asked = JoinSet::new();
        for (place, number) in (0..).zip(self.in_turn()) {
            let all = self.clone();
            asked.spawn(async move {
                sleep(HEAD_START * place).await;
                (number, all.ask_once(number).await)
            });
        }
        Answers(asked)
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
    async fn ask_once(&self, number: usize) -> Result<Address, String> {
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

/// What sentinels say, as they say it. Who is not heard when this is dropped is asked no more.
pub(super) struct Answers(JoinSet<(usize, Result<Address, String>)>);

impl Answers {
    /// Who answered, and whom it names; or what is wrong with it.
    pub(super) async fn next(&mut self) -> Option<(usize, Result<Address, String>)> {
        while let Some(ended) = self.0.join_next().await {
            // Whoever panicked has said so.
            if let Ok(answer) = ended {
                return Some(answer);
            }
        }
        None
    }
}

/// What sentinels say, all of them.
pub(super) struct Census {
    pub(super) asked: usize,
    pub(super) named: Vec<Address>,
    /// Why some name nobody.
    pub(super) silent: Vec<String>,
}
