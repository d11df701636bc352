//! A component with one operator's settings: ready to be asked.
//!
//! Owns the loading, what was measured then, and on which thread a call runs: here, if it is done in a moment; else on the
//! policy's lane, from its beginning. That is right because a call has no effect but its answer. Must not know chains.

use crate::bindings::{Policy, Pre, World};
use crate::code::Code;
use crate::counters::Wanted;
use crate::fault::Fault;
use crate::host::Host;
use crate::inside::{Means, Span, Stop};
use crate::instance::{Asked, Instance, Mould};
use crate::lane::Lane;
use crate::model::{Decision, Request};
use crate::pace::Pace;
use crate::settings::{DEADLINE, MEMORY_BYTES, MEMORY_BYTES_MAX, PREPARED, PREPARED_CHEAP, Settings};
use crate::stock::Stock;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What anything may take while a policy is loaded: nobody waits for that.
pub(crate) const LOADING: Span = Span::Whole(Duration::from_secs(2));
/// An instance that takes longer to make than this is not made on a thread on which others wait, unless none is to be prepared.
const DEAR: Duration = Duration::from_micros(30);
/// How many instances are made to measure one: the fastest counts, since a busy machine makes none faster.
pub(crate) const MEASURED: usize = 5;

/// See the module.
pub(crate) struct Plugin {
    mould: Arc<Mould<Policy>>,
    stock: Stock<Policy>,
    is_dear: bool,
    pace: Pace,
    deadline: Duration,
    pub(crate) lane: Arc<Lane>,
    pub(crate) code: Arc<Code>,
    pub(crate) wanted: Vec<Wanted>,
    pub(crate) measured: Measured,
}

/// What one instance costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Measured {
    /// Time to make one and give it its settings.
    pub(crate) fresh: Duration,
    /// Bytes of its linear memories.
    pub(crate) memory: u64,
}

/// Where a call may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// On a thread on which others wait: for a moment, or not at all.
    Here,
    /// On the lane of this policy.
    Lane,
    /// On a thread that nobody else needs.
    Alone,
}

/// Why settings do not fit a component.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// `validate` said so.
    #[error("settings: {0}")]
    Settings(String),
    /// Its functions are not those of the world.
    #[error("is not of the world that it names: {0}")]
    Types(String),
    /// What `configure` wants can not be.
    #[error("{0}")]
    Counters(String),
    /// It can not even be set up.
    #[error("{0}")]
    Fault(#[from] Fault),
}

impl From<Stop> for Unfit {
    fn from(stop: Stop) -> Unfit {
        match stop {
            Stop::Fault(fault) => Unfit::Fault(fault),
            Stop::SliceOver => Unfit::Fault(Fault::Deadline(Duration::ZERO)),
        }
    }
}

/// Instances of a component with these settings can be made from it, and were. From now on they may have as much memory as the
/// settings say, or as such a guest needs. `times` instances are made, to measure one.
pub(crate) fn trial<W: World>(mould: &mut Mould<W>, times: usize) -> Result<(Vec<Wanted>, Measured), Unfit> {
    let judge = Instance::bare(mould, LOADING)?;
    judge.validate(mould, LOADING).answer?.map_err(Unfit::Settings)?;
    let mut measured = Measured { fresh: Duration::MAX, memory: 0 };
    let mut wanted = Vec::new();
    for _ in 0..times {
        let begun = Instant::now();
        let (instance, wants) = Instance::fresh(mould, LOADING)?;
        measured.fresh = measured.fresh.min(begun.elapsed());
        measured.memory = instance.memory();
        wanted = wants;
    }
    if !mould.means.memory_is_said {
        let memory = MEMORY_BYTES.max(measured.memory * 2).min(MEMORY_BYTES_MAX);
        mould.means = Arc::new(Means { memory, ..Means::clone(&mould.means) });
    }
    Ok((Wanted::read_all(&wanted).map_err(Unfit::Counters)?, measured))
}

/// What instances of this component with these settings are made of.
pub(crate) fn mould<W: World>(host: &Host, code: &Code, settings: &Settings) -> Result<Mould<W>, Unfit> {
    let linked = code.linker(host).and_then(|linker| linker.instantiate_pre(&code.component));
    let pre = linked.and_then(Pre::new).map_err(|error| Unfit::Types(format!("{error:#}")))?;
    let Settings { memory, tables, settings, .. } = settings;
    let means = Means {
        memory: memory.unwrap_or(MEMORY_BYTES_MAX),
        memory_is_said: memory.is_some(),
        tables: tables.clone(),
        settings: settings.clone(),
    };
    let (engine, ticker) = (host.engine().clone(), host.ticker().clone());
    Ok(Mould { engine, ticker, pre, means: Arc::new(means) })
}

impl Plugin {
    /// Makes `code` ready with these settings; with so many instances prepared at most where they say nothing of it.
    pub(crate) fn new(
        host: &Host,
        code: Arc<Code>,
        settings: &Settings,
        unsaid: usize,
    ) -> Result<Plugin, Unfit> {
        let mut mould = mould(host, &code, settings)?;
        let (wanted, measured) = trial(&mut mould, MEASURED)?;
        let mould = Arc::new(mould);
        let is_dear = measured.fresh > DEAR;
        let usual = if is_dear { PREPARED } else { PREPARED_CHEAP } as usize;
        let prepared = settings.prepared.map_or(usual.min(unsaid), |said| said as usize);
        let lane = Arc::new(Lane::new(settings.name.clone()));
        let stock = Stock::filled(mould.clone(), lane.clone(), LOADING, prepared);
        Ok(Plugin {
            mould,
            stock,
            is_dear,
            pace: Pace::default(),
            deadline: settings.deadline.unwrap_or(DEADLINE),
            lane,
            code,
            wanted,
            measured,
        })
    }

    /// Puts the request to an instance of its own. Nothing if that can not be done here in a moment: then it is to be done on
    /// the lane.
    pub(crate) fn decide(&self, request: &Request, place: Place) -> Option<Asked<Decision>> {
        match place {
            Place::Here if !self.pace.is_quick() => None,
            Place::Here => {
                if let Some(prepared) = self.stock.take() {
                    let mut asked = self.ask(prepared, request, Span::Slice);
                    self.stock.bury(asked.spent.take());
                    return self.unless_over(asked);
                }
                if self.is_dear && self.stock.wanted() > 0 {
                    return None;
                }
                match Instance::fresh(&self.mould, Span::Slice) {
                    Ok((fresh, _)) => self.unless_over(self.ask(fresh, request, Span::Slice)),
                    // Others may have gone when it is its turn there.
                    Err(Stop::Fault(Fault::Room(_))) => None,
                    Err(stop) => self.unless_over(Asked::failed(stop)),
                }
            }
            Place::Lane => {
                let begun = Instant::now();
                let asked = self.decide_in(request, Span::Whole(self.deadline));
                self.pace.took(begun.elapsed());
                Some(asked)
            }
            Place::Alone => Some(self.decide_in(request, Span::Whole(self.deadline))),
        }
    }

    fn decide_in(&self, request: &Request, span: Span) -> Asked<Decision> {
        let instance = match self.stock.take() {
            Some(prepared) => prepared,
            // Beginning a runtime may take longer than a decision: the deadline is the decision's.
            None => match Instance::fresh(&self.mould, LOADING) {
                Ok((fresh, _)) => fresh,
                Err(stop) => return Asked::failed(stop),
            },
        };
        self.ask(instance, request, span)
    }

    fn ask(&self, instance: Instance<Policy>, request: &Request, span: Span) -> Asked<Decision> {
        let Asked { answer, lines, emitted, spent } = instance.ask(&self.mould, span, (request,));
        Asked { answer: answer.map(|(decision,)| decision), lines, emitted, spent }
    }

    fn unless_over(&self, asked: Asked<Decision>) -> Option<Asked<Decision>> {
        if asked.answer == Err(Stop::SliceOver) {
            self.pace.too_slow();
            return None;
        }
        Some(asked)
    }

    /// How long a call takes at most, and the instance that it may have to begin with, where the machine is not busy.
    pub(crate) fn longest_call(&self) -> Duration {
        self.measured.fresh + self.deadline
    }

    /// Instances that are prepared when none is in use, and those that are now.
    pub(crate) fn prepared(&self) -> (usize, usize) {
        (self.stock.wanted(), self.stock.ready())
    }
}
