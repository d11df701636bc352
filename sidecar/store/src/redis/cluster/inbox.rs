//! Hearing the inbox of a sidecar in a cluster.
//!
//! Owns one connection to the node that has the inbox's slot, and following the slot. Must not know what is heard.
//!
//! A connection of its own: when a slot moves, Redis says `sunsubscribe` unasked, which the crate takes for the answer to the
//! oldest request under way (1.8). Here that can only be a sign of life, and the connection is given up anyway.

use crate::redis::address::Address;
use crate::redis::codec;
use crate::redis::connect::reason;
use crate::redis::dial::{Dialer, Wire};
use redis::{AsyncConnectionConfig, PushKind, Value, cmd};
use sidelock_engine::store::Push;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};

/// Between attempts, unless another home is told: timers carry on meanwhile.
const REST_MIN: Duration = Duration::from_millis(20);
const REST_MAX: Duration = Duration::from_millis(250);

/// What the inbox tells.
#[derive(Debug)]
pub(crate) enum News {
    /// It is heard from now on; messages may have been lost until now.
    Subscribed,
    Push(Push),
    /// It is not heard at this node, and why, in words that may name the node that has it now.
    Lost(Address, String),
}

/// The ear.
pub(crate) struct Inbox {
    pub(crate) name: String,
    pub(crate) dialer: Arc<Dialer>,
    pub(crate) response_timeout: Duration,
    pub(crate) ping_interval: Duration,
    /// Who has its slot.
    pub(crate) home: watch::Receiver<Option<Address>>,
    pub(crate) news: mpsc::Sender<News>,
}

impl Inbox {
    /// Runs until nobody wants to know.
    pub(crate) async fn run(mut self) {
        let mut rest = REST_MIN;
        loop {
            let Ok(home) = self.home.wait_for(Option::is_some).await.map(|home| home.clone()) else { return };
            let Some(home) = home else { continue };
            self.home.mark_unchanged();
            let since = Instant::now();
            let Err(why) = self.hear(&home).await;
            if self.news.send(News::Lost(home, why)).await.is_err() {
                return;
            }
            // It was heard for a while: whatever ended that is new.
            rest = if since.elapsed() > REST_MAX { REST_MIN } else { rest };
            match timeout(rest, self.home.changed()).await {
                Ok(Ok(())) => rest = REST_MIN,
                Ok(Err(_)) => return,
                Err(_) => rest = (rest * 2).min(REST_MAX),
            }
        }
    }

    /// Hears it there until that is over. Why.
    async fn hear(&mut self, home: &Address) -> Result<Infallible, String> {
        let (tell, mut heard) = mpsc::unbounded_channel();
        let config = AsyncConnectionConfig::new()
            .set_response_timeout(Some(self.response_timeout))
            .set_push_sender(tell);
        let wire = self.dialer.dial(home, config, self.dialer.deadline()).await?;
        let mut subscribe = cmd("SSUBSCRIBE");
        subscribe.arg(&self.name);
        query(&wire, &subscribe).await?;
        self.tell(News::Subscribed).await?;
        loop {
            tokio::select! {
                info = heard.recv() => match info.as_ref().map(|info| (&info.kind, info.data.as_slice())) {
                    Some((PushKind::SMessage, [_channel, Value::BulkString(message)])) => {
                        if let Some(push) = codec::push(message) {
                            // A hint: with no room for it, timers carry on.
                            let _ = self.news.try_send(News::Push(push));
                        }
                    }
                    Some((PushKind::SUnsubscribe, _)) => return Err("the slot of the inbox moved".into()),
                    None | Some((PushKind::Disconnection, _)) => return Err("Redis closed the connection".into()),
                    Some(_) => {}
                },
                () = tokio::time::sleep(self.ping_interval) => query(&wire, &cmd("PING")).await?,
                changed = self.home.changed() => {
                    changed.map_err(|_| "nobody listens".to_owned())?;
                    if self.home.borrow().as_ref() != Some(home) {
                        // Not seen yet by who waits for it next.
                        self.home.mark_changed();
                        return Err("its slot is elsewhere".into());
                    }
                }
            }
        }
    }

    async fn tell(&self, news: News) -> Result<(), String> {
        self.news.send(news).await.map_err(|_| "nobody listens".into())
    }
}

async fn query(wire: &Wire, question: &redis::Cmd) -> Result<(), String> {
    let answered = question.query_async::<Value>(&mut wire.commands.clone()).await;
    answered.map(drop).map_err(|error| reason(&error))
}
