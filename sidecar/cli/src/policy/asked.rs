//! A request, said in flags or in a file.
//!
//! Owns the flags. What is not said is as in a case (see `cases::Asked`), or as it was on record.

use super::read_text;
use crate::failure::Failure;
use clap::Args;
use sidelock_policy::cases::{Asked, AskedCounter, Moment, Span};
use sidelock_policy::model::{Counter, Mode, Operation, Request};
use sidelock_policy::{Recorded, Settings, parse_moment};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A request.
#[derive(Args, Debug)]
#[command(next_help_heading = "The request")]
pub(crate) struct AskedArgs {
    /// A request in a file, written as in a case, or a line of `policy_log`; the flags below stand in for what it says
    #[arg(long, value_name = "FILE")]
    request: Option<PathBuf>,
    /// When: 2026-03-04T10:00:00Z, or 2026-03-04T10:00:00 on the policy's clock; now if nothing says
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// A key; several are asked for together
    #[arg(long = "key", value_name = "KEY")]
    keys: Vec<String>,
    /// acquire, renew, release, force, once or register-write
    #[arg(long, value_name = "OPERATION", value_parser = word::<Operation>)]
    operation: Option<Operation>,
    /// exclusive, shared or permits
    #[arg(long, value_parser = word::<Mode>)]
    mode: Option<Mode>,
    #[arg(long)]
    permits: Option<u32>,
    #[arg(long)]
    limit: Option<u32>,
    #[arg(long, value_parser = Span::parse, value_name = "SPAN")]
    ttl: Option<Span>,
    #[arg(long, value_parser = Span::parse, value_name = "SPAN")]
    max_hold: Option<Span>,
    #[arg(long, value_parser = Span::parse, value_name = "SPAN")]
    wait: Option<Span>,
    #[arg(long, value_parser = Span::parse, value_name = "SPAN")]
    per: Option<Span>,
    #[arg(long, allow_hyphen_values = true)]
    priority: Option<i32>,
    #[arg(long)]
    attempt: Option<u32>,
    #[arg(long)]
    owner: Option<String>,
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    meta: Vec<(String, String)>,
    /// What the client says it is called
    #[arg(long)]
    app: Option<String>,
    #[arg(long)]
    uid: Option<u32>,
    #[arg(long)]
    gid: Option<u32>,
    #[arg(long)]
    namespace: Option<String>,
    /// A key that the owner holds
    #[arg(long, value_name = "KEY")]
    held: Vec<String>,
    /// Leases that the asking session holds
    #[arg(long, value_name = "N")]
    held_by_session: Option<u32>,
    /// Leases that the asking user holds
    #[arg(long, value_name = "N")]
    held_by_uid: Option<u32>,
    /// Requests that wait for the key
    #[arg(long, value_name = "N")]
    waiters: Option<u32>,
    /// What stands in a counter
    #[arg(long, value_name = "NAME=N", value_parser = count)]
    counter: Vec<(String, u64)>,
}

impl AskedArgs {
    /// The request to the policy with these settings, with the counters that were said; its time is in UTC, from which all
    /// else follows.
    pub(crate) fn request(&self, settings: &Settings) -> Result<Request, Failure> {
        let text = self.request.as_deref().map(read_text).transpose()?.unwrap_or_default();
        let wrong = |error: String| {
            let file = self.request.as_deref().unwrap_or(Path::new("")).display();
            Failure::usage(format!("{file}: {}", error.trim_end()))
        };
        // No TOML begins so, and every line of a record does.
        let is_recorded = text.trim_start().starts_with('{');
        let recorded = is_recorded.then(|| Recorded::parse(&text)).transpose().map_err(wrong)?;
        if let Some(recorded) = &recorded
            && recorded.step(&settings.name).is_none()
            && let Some(other) = recorded.steps.first()
        {
            let (own, other) = (&settings.name, &other.policy);
            return Err(wrong(format!(
                "no policy `{own}` was asked then: say which one it stands in for, as in --instead-of {other}"
            )));
        }
        let recorded = recorded.map(|recorded| recorded.question_to(&settings.name));
        let mut asked = match &recorded {
            Some(recorded) => Asked::from(recorded),
            None => toml::from_str(&text).map_err(|error| wrong(error.to_string()))?,
        };
        self.stand_in(&mut asked);
        let mut request = asked.request();
        request.clock.unix_ms = self.moment(&settings.timezone, recorded.map(|then| then.clock.unix_ms))?;
        request.counters = asked.counters.iter().map(counter).collect();
        Ok(request)
    }

    /// A counter that the policy does not want, it would not see either: most likely it is called otherwise.
    pub(crate) fn counters_are_among(&self, wanted: &[Arc<str>]) -> Result<(), Failure> {
        let unwanted = self.counter.iter().find(|(name, _)| !wanted.iter().any(|wanted| **wanted == **name));
        let Some((name, _)) = unwanted else { return Ok(()) };
        let wants = if wanted.is_empty() { "none".to_owned() } else { wanted.join(", ") };
        Err(Failure::usage(format!("--counter: the policy does not want {name:?}; it wants {wants}")))
    }

    fn stand_in(&self, asked: &mut Asked) {
        fn set<T: Clone>(to: &mut T, said: Option<&T>) {
            if let Some(said) = said {
                to.clone_from(said);
            }
        }
        if !self.keys.is_empty() {
            (asked.key, asked.keys) = (None, self.keys.clone());
        }
        set(&mut asked.operation, self.operation.as_ref());
        asked.mode = self.mode.or(asked.mode);
        asked.permits = self.permits.or(asked.permits);
        asked.limit = self.limit.or(asked.limit);
        asked.ttl = self.ttl.or(asked.ttl);
        asked.max_hold = self.max_hold.or(asked.max_hold);
        asked.wait = self.wait.or(asked.wait);
        asked.per = self.per.or(asked.per);
        set(&mut asked.priority, self.priority.as_ref());
        set(&mut asked.attempt, self.attempt.as_ref());
        asked.owner = self.owner.clone().or(asked.owner.take());
        self.meta.iter().for_each(|(name, value)| asked.add_meta(name, value));
        set(&mut asked.app, self.app.as_ref());
        set(&mut asked.uid, self.uid.as_ref());
        set(&mut asked.gid, self.gid.as_ref());
        set(&mut asked.namespace, self.namespace.as_ref());
        asked.held.extend(self.held.iter().cloned());
        set(&mut asked.load.held_by_session, self.held_by_session.as_ref());
        set(&mut asked.load.held_by_uid, self.held_by_uid.as_ref());
        set(&mut asked.load.waiters, self.waiters.as_ref());
        let counters = self
            .counter
            .iter()
            .map(|(name, value)| (name.clone(), AskedCounter { value: *value, resets_in: None }));
        asked.counters.extend(counters);
    }

    /// Milliseconds since 1970.
    fn moment(&self, timezone: &str, recorded: Option<u64>) -> Result<u64, Failure> {
        let Some(text) = &self.at else {
            if let Some(then) = recorded {
                return Ok(then);
            }
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            return Ok(u64::try_from(now.as_millis()).unwrap_or(u64::MAX));
        };
        if let Ok(exact) = parse_moment(text) {
            return Ok(exact);
        }
        let zone = jiff::tz::TimeZone::get(timezone).map_err(|error| error.to_string());
        let at = Moment::parse(text).and_then(|wall| wall.in_zone(&zone?)).map_err(Failure::usage)?;
        u64::try_from(at.timestamp().as_millisecond()).map_err(|_| Failure::usage("--at: before 1970"))
    }
}

fn counter((name, given): (&String, &AskedCounter)) -> Counter {
    Counter {
        name: name.as_str().into(),
        value: given.value,
        resets_in_ms: given.resets_in.map_or(0, |span| span.0),
    }
}

/// A word of the WIT.
pub(crate) fn word<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_value(serde_json::Value::from(text)).map_err(|error| error.to_string())
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn count(text: &str) -> Result<(String, u64), String> {
    let (name, value) = text.rsplit_once('=').ok_or("write NAME=N")?;
    Ok((name.to_owned(), value.parse().map_err(|_| format!("{value:?} is no number"))?))
}
