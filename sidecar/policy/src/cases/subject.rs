//! A component that is asked cases.
//!
//! Owns how a case becomes a request: the same instances and checks as in a chain, for one policy with the case's own
//! settings. The deadline alone is as when a policy is loaded: whether a test passes must not depend on how fast the machine
//! is. Must not know what was expected.

use super::file::{Asked, AskedCounter, AskedLoad, Case, Seen, Suite};
use super::judge::{Outcome, judge};
use super::{Span, embedded, value::Moment};
use crate::bindings::{Observer, Policy};
use crate::code::{Code, NoCode, World};
use crate::counters::{Counters, Wanted};
use crate::edits::{self, Bounds};
use crate::fault::Fault;
use crate::host::Host;
use crate::inside::Stop;
use crate::inspect::Inspection;
use crate::instance::{self, Instance};
use crate::model::{Clock, Counter, Event, Load, Mode, Peer, Request};
use crate::plugin::{LOADING, MEASURED, Unfit, mould, trial};
use crate::settings::Settings;
use crate::zone::Zone;
use jiff::tz::TimeZone;
use std::sync::Arc;

/// See the module.
pub struct Subject {
    host: Host,
    code: Arc<Code>,
}

/// What a case has instead of an answer, if it comes to none.
type Ended = Box<Outcome>;

impl Subject {
    /// Compiles a component.
    pub fn new(host: &Host, bytes: &[u8]) -> Result<Subject, NoCode> {
        Ok(Subject { host: host.clone(), code: Arc::new(Code::make(host, bytes)?) })
    }

    /// Whether it passes the tests that it brings along, `bytes` being what it was compiled from. The error is the first that
    /// it fails, for people.
    pub fn self_test(&self, bytes: &[u8]) -> Result<(), String> {
        self_test(&self.host, &self.code, bytes)
    }

    /// Which world it is of.
    pub fn world(&self) -> World {
        self.code.world
    }

    /// Whether it takes these settings; and what it is, and costs.
    pub fn fits(&self, settings: &Settings) -> Result<Inspection, Unfit> {
        settings.check().map_err(Unfit::Counters)?;
        Zone::named(&settings.timezone).map_err(Unfit::Counters)?;
        let (host, code) = (&self.host, &self.code);
        let (_, measured) = match code.world {
            World::Policy => trial(&mut mould::<Policy>(host, code, settings)?, MEASURED)?,
            World::Observer => trial(&mut mould::<Observer>(host, code, settings)?, MEASURED)?,
        };
        Ok(Inspection::of_code(settings.name.clone(), &self.code, measured))
    }

    /// Asks it a case, twice: the same question has to have the same answer.
    pub fn ask(&self, suite: &Suite, case: &Case) -> Outcome {
        let (first, second) = (self.ask_once(suite, case), self.ask_once(suite, case));
        match first == second {
            true => first,
            false => Outcome::Impossible(format!("asked twice, it answered {first:?} and then {second:?}")),
        }
    }

    fn ask_once(&self, suite: &Suite, case: &Case) -> Outcome {
        let answer = match self.code.world {
            World::Policy => self.decide(suite, case),
            World::Observer => self.observe(suite, case),
        };
        answer.unwrap_or_else(|ended| *ended)
    }

    fn decide(&self, suite: &Suite, case: &Case) -> Result<Outcome, Ended> {
        let settings = settings(suite, case);
        let mut mould = mould::<Policy>(&self.host, &self.code, &settings).map_err(unfit)?;
        let (wanted, _) = trial(&mut mould, 1).map_err(unfit)?;
        let (instance, counters) = Instance::fresh(&mould, LOADING).map_err(stopped)?;
        let request = request(suite, case, &wanted).map_err(impossible)?;
        let instance::Asked { answer, lines: log, .. } = instance.ask(&mould, LOADING, (&request,));
        let (decision,) = answer.map_err(stopped)?;
        let decision = edits::accept(decision, &request, &Bounds::default()).map_err(failed)?;
        Counters::counted(&wanted, &decision.count, &request).map_err(failed)?;
        Ok(Outcome::Decided { decision, counters, log })
    }

    fn observe(&self, suite: &Suite, case: &Case) -> Result<Outcome, Ended> {
        let settings = settings(suite, case);
        let mut mould = mould::<Observer>(&self.host, &self.code, &settings).map_err(unfit)?;
        trial(&mut mould, 1).map_err(unfit)?;
        let (instance, _) = Instance::fresh(&mould, LOADING).map_err(stopped)?;
        let events = events(suite, case).map_err(impossible)?;
        let instance::Asked { answer, lines: log, emitted: lines, .. } =
            instance.ask(&mould, LOADING, (&events,));
        answer.map_err(stopped)?;
        Ok(Outcome::Observed { lines, log })
    }
}

/// Asks a component, compiled from these bytes, the cases that it brings along. The error is the first that it fails, for
/// people.
pub(crate) fn self_test(host: &Host, code: &Arc<Code>, bytes: &[u8]) -> Result<(), String> {
    let subject = Subject { host: host.clone(), code: code.clone() };
    for (name, text) in embedded(bytes) {
        let suite = Suite::parse(&name, &text).map_err(|error| format!("its own {name}: {error}"))?;
        for case in &suite.cases {
            if let Some(difference) = judge(&case.expect, &subject.ask(&suite, case)).first() {
                return Err(format!("it fails its own test {:?} of {name}: {difference}", case.name));
            }
        }
    }
    Ok(())
}

fn impossible(why: String) -> Ended {
    Box::new(Outcome::Impossible(why))
}

fn unfit(unfit: Unfit) -> Ended {
    Box::new(match unfit {
        Unfit::Settings(error) => Outcome::BadSettings(error),
        Unfit::Fault(fault) => Outcome::Failed(fault),
        Unfit::Types(why) | Unfit::Counters(why) => Outcome::Impossible(why),
    })
}

fn failed(fault: Fault) -> Ended {
    Box::new(Outcome::Failed(fault))
}

fn stopped(stop: Stop) -> Ended {
    match stop {
        Stop::Fault(fault) => failed(fault),
        Stop::SliceOver => impossible("it was stopped before its deadline".into()),
    }
}

/// Those of a chain, with what the file says.
fn settings(suite: &Suite, case: &Case) -> Settings {
    let table = |(name, table): (&String, &std::collections::BTreeMap<String, String>)| {
        let entries = table.iter().map(|(key, value)| (key.as_str().into(), value.as_str().into()));
        (name.as_str().into(), entries.collect())
    };
    Settings {
        name: suite.name.as_str().into(),
        timezone: suite.timezone.clone(),
        settings: suite.settings_of(case),
        tables: suite.tables.iter().map(table).collect(),
        ..Settings::at("")
    }
}

fn clock(suite: &Suite, moment: Moment) -> Result<Clock, String> {
    let zone = Zone::named(&suite.timezone)?;
    let at = moment.in_zone(&TimeZone::get(&suite.timezone).map_err(|error| error.to_string())?)?;
    let unix_ms = at.timestamp().as_millisecond();
    u64::try_from(unix_ms).map(|unix_ms| zone.clock(unix_ms)).map_err(|_| format!("{at} is before 1970"))
}

fn request(suite: &Suite, case: &Case, wanted: &[Wanted]) -> Result<Request, String> {
    let asked = &case.request;
    let mut request = Request { clock: clock(suite, case.moment())?, ..asked.request() };
    request.counters = Counters::default().read(wanted, &request);
    for (name, given) in &asked.counters {
        let counter = request.counters.iter_mut().find(|counter| *counter.name == **name);
        let counter = counter.ok_or_else(|| format!("the policy does not want the counter {name:?}"))?;
        counter.value = given.value;
        counter.resets_in_ms = given.resets_in.map_or(0, |span| span.0);
    }
    Ok(request)
}

impl From<&Request> for Asked {
    /// The request, without its clock.
    fn from(request: &Request) -> Asked {
        let texts = |all: &[Arc<str>]| all.iter().map(|text| text.to_string()).collect();
        let (peer, load) = (&request.peer, &request.load);
        let counter = |counter: &Counter| {
            let resets_in = Some(Span(counter.resets_in_ms));
            (counter.name.to_string(), AskedCounter { value: counter.value, resets_in })
        };
        Asked {
            operation: request.operation,
            key: None,
            keys: texts(&request.keys),
            mode: Some(request.mode),
            permits: Some(request.permits),
            limit: Some(request.limit),
            ttl: request.ttl_ms.map(Span),
            max_hold: request.max_hold_ms.map(Span),
            wait: request.wait_ms.map(Span),
            per: request.per_ms.map(Span),
            priority: request.priority,
            attempt: request.attempt,
            owner: request.owner.as_ref().map(ToString::to_string),
            meta: request.meta.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
            uid: peer.uid,
            gid: peer.gid,
            session: peer.session,
            app: peer.app.to_string(),
            namespace: peer.namespace.to_string(),
            sidecar: peer.sidecar.to_string(),
            load: AskedLoad {
                held: load.held,
                waiters: load.waiters,
                oldest_wait: Some(Span(load.oldest_wait_ms)),
                held_by_session: load.held_by_session,
                held_by_uid: load.held_by_uid,
            },
            held: texts(&request.held),
            counters: request.counters.iter().map(counter).collect(),
        }
    }
}

impl Asked {
    /// The request, without clock and counters.
    pub fn request(&self) -> Request {
        let shared = |texts: &[String]| texts.iter().map(|text| text.as_str().into()).collect();
        let counts = self.permits.is_some() || self.limit.is_some();
        let permits = self.permits.unwrap_or(1);
        let ms = |span: Option<Span>| span.map(|span| span.0);
        Request {
            operation: self.operation,
            keys: shared(&self.all_keys()),
            mode: self.mode.unwrap_or(if counts { Mode::Permits } else { Mode::Exclusive }),
            permits,
            limit: self.limit.unwrap_or(permits),
            ttl_ms: ms(self.ttl),
            max_hold_ms: ms(self.max_hold),
            wait_ms: ms(self.wait),
            per_ms: ms(self.per),
            priority: self.priority,
            attempt: self.attempt,
            owner: self.owner.as_deref().map(Into::into),
            meta: self
                .meta
                .iter()
                .map(|(name, value)| (name.as_str().into(), value.as_str().into()))
                .collect(),
            peer: Peer {
                uid: self.uid,
                gid: self.gid,
                session: self.session,
                app: self.app.as_str().into(),
                namespace: self.namespace.as_str().into(),
                sidecar: self.sidecar.as_str().into(),
            },
            clock: Clock::default(),
            load: Load {
                held: self.load.held,
                waiters: self.load.waiters,
                oldest_wait_ms: self.load.oldest_wait.map_or(0, |span| span.0),
                held_by_session: self.load.held_by_session,
                held_by_uid: self.load.held_by_uid,
            },
            held: shared(&self.held),
            counters: Vec::new(),
        }
    }
}

fn events(suite: &Suite, case: &Case) -> Result<Vec<Event>, String> {
    let event = |seen: &Seen| {
        Ok(Event {
            seq: seen.seq,
            unix_ms: clock(suite, seen.at.unwrap_or(case.moment()))?.unix_ms,
            kind: seen.kind.as_str().into(),
            key: seen.key.as_str().into(),
            fence: seen.fence,
            uid: seen.uid,
            app: seen.app.as_str().into(),
            wait_ms: seen.wait.map_or(0, |span| span.0),
            hold_ms: seen.hold.map_or(0, |span| span.0),
            detail: seen.detail.as_str().into(),
        })
    };
    case.events.iter().map(event).collect()
}
