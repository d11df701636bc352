//! Policies, where they are not built in: none are in force, and none can be loaded.
//!
//! The same names as `policies.rs`, so that nobody else needs to know which of the two there is.

use crate::config::Config;
use crate::gate::{Admitted, Gate};
use crate::identity::Identity;
use crate::metrics::Metrics;
use crate::rulings::{Loaded, Ruling};
use sidelock_engine::{Engine, Event, Input, Key, Reply, RequestId, SessionId, Time};
use std::convert::Infallible;
use std::path::Path;
use std::rc::Rc;
use tokio::sync::Notify;

pub(crate) struct Policies(());

impl Policies {
    pub(crate) const BUILT_IN: bool = false;

    pub(crate) fn new(_: Rc<Metrics>, _: &Identity) -> Policies {
        Policies(())
    }

    pub(crate) fn loaded(&self) -> Vec<Loaded> {
        Vec::new()
    }

    pub(crate) fn trouble(&self) -> Option<String> {
        None
    }

    pub(crate) fn happened(&self, _: &Event) {}

    pub(crate) fn flush(&self) {}

    pub(crate) fn rulings(&self, _: &Key) -> Vec<Ruling> {
        Vec::new()
    }

    pub(crate) fn keep_record(&self, path: Option<&Path>) -> Result<(), String> {
        match path {
            None => Ok(()),
            Some(_) => Err("policy_log: policies are not built in, and nothing is put to them".into()),
        }
    }

    pub(crate) fn end_record(&self) {}
}

pub(crate) enum Judged {
    Goes(Input),
    #[expect(dead_code, reason = "there is nobody to answer for")]
    Answered {
        session: SessionId,
        request: RequestId,
        reply: Reply,
        event: Option<Event>,
    },
    #[expect(dead_code, reason = "there is nothing to wait for")]
    Waits,
}

pub(crate) struct Desk(());

pub(crate) struct Decision(Infallible);

impl Desk {
    pub(crate) fn new(_: Rc<Policies>, _: Gate) -> Desk {
        Desk(())
    }

    pub(crate) fn judge(
        &mut self,
        _: Time,
        _: &Engine,
        _: impl Fn(SessionId) -> u32,
        admitted: Admitted,
    ) -> Judged {
        Judged::Goes(admitted.into_parts().0)
    }

    pub(crate) async fn news(&mut self) -> Decision {
        std::future::pending().await
    }

    pub(crate) fn hear(&mut self, _: Time, _: &Engine, decision: Decision) -> Judged {
        match decision.0 {}
    }

    pub(crate) fn forget(&mut self, _: SessionId) {}

    pub(crate) fn is_observed(&self) -> bool {
        false
    }

    pub(crate) fn is_empty(&self) -> bool {
        true
    }
}

pub(crate) struct Loader(());

pub(crate) async fn start(_: &Rc<Policies>, config: &Config) -> Result<Loader, String> {
    match config.policies.is_empty() {
        true => Ok(Loader(())),
        false => Err("policies: not built in; this is a build without the feature `policy`".into()),
    }
}

pub(crate) async fn watch(_: Loader, _: Rc<Notify>, _: impl Fn() -> Option<Config>) {}
