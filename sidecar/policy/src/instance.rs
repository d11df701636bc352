//! One instance of a guest: made, asked once, thrown away.
//!
//! Owns that order: [`Instance::ask`] takes the instance, so nothing that a call left behind can reach the next one. A call
//! is never dropped half-way: it returns, traps, or is trapped by the host, and only then its store goes. Must not know
//! where instances wait, or on which thread they run.

use crate::bindings::{Function, Pre, World};
use crate::fault::Fault;
use crate::inside::{Inside, LIFTED_BYTES_MAX, Line, Means, Span, Stop};
use crate::ticker::Ticker;
use std::marker::PhantomData;
use std::sync::Arc;
use wasmtime::component;
use wasmtime::{Engine, PoolConcurrencyLimitError, Store, Trap, WasmBacktrace};

/// All that instances are made of.
pub(crate) struct Mould<W: World> {
    pub(crate) engine: Engine,
    pub(crate) ticker: Ticker,
    pub(crate) pre: Pre<W>,
    pub(crate) means: Arc<Means>,
}

/// See the module.
pub(crate) struct Instance<W> {
    store: Store<Inside>,
    guest: component::Instance,
    world: PhantomData<W>,
}

/// How a call went, and what it wrote.
pub(crate) struct Asked<T> {
    pub(crate) answer: Result<T, Stop>,
    pub(crate) lines: Vec<Line>,
    pub(crate) emitted: Vec<String>,
    pub(crate) spent: Option<Spent>,
}

/// An instance that was asked. Nothing can be done with it but drop it, and that may take as long as the call did.
pub(crate) struct Spent {
    _store: Store<Inside>,
}

impl<T> Asked<T> {
    /// There was no instance to ask.
    pub(crate) fn failed(stop: Stop) -> Asked<T> {
        Asked { answer: Err(stop), lines: Vec::new(), emitted: Vec::new(), spent: None }
    }
}

impl<W: World> Instance<W> {
    /// One that has not taken its settings yet.
    pub(crate) fn bare(mould: &Mould<W>, span: Span) -> Result<Instance<W>, Stop> {
        let mut store = Inside::store(&mould.engine, mould.means.clone());
        let running = mould.ticker.run();
        Inside::begin(&mut store, span);
        let made = mould.pre.instantiate(&mut store);
        drop(running);
        match made {
            Ok(guest) => Ok(Instance { store, guest, world: PhantomData }),
            Err(error) => Err(stop(&error, store.data_mut())),
        }
    }

    /// One that can be asked, and the counters that it wants.
    pub(crate) fn fresh(mould: &Mould<W>, span: Span) -> Result<(Instance<W>, Vec<String>), Stop> {
        let mut instance = Self::bare(mould, span)?;
        let running = mould.ticker.run();
        let taken = mould.pre.configure(instance.guest, &mut instance.store, &mould.means.settings);
        drop(running);
        match taken {
            Ok(Ok(counters)) => Ok((instance, counters)),
            Ok(Err(message)) => Err(Stop::Fault(Fault::Settings(message))),
            Err(error) => Err(stop(&error, instance.store.data_mut())),
        }
    }

    /// The one question.
    pub(crate) fn ask(
        self,
        mould: &Mould<W>,
        span: Span,
        question: <W::Question as Function>::Params<'_>,
    ) -> Asked<<W::Question as Function>::Results> {
        self.call(mould, span, |guest, store| mould.pre.ask(guest, store, question))
    }

    /// Or whether the settings are good.
    pub(crate) fn validate(self, mould: &Mould<W>, span: Span) -> Asked<Result<(), String>> {
        self.call(mould, span, |guest, store| mould.pre.validate(guest, store, &mould.means.settings))
    }

    fn call<T>(
        mut self,
        mould: &Mould<W>,
        span: Span,
        question: impl FnOnce(component::Instance, &mut Store<Inside>) -> wasmtime::Result<T>,
    ) -> Asked<T> {
        let running = mould.ticker.run();
        Inside::begin(&mut self.store, span);
        let answer = question(self.guest, &mut self.store);
        drop(running);
        let inside = self.store.data_mut();
        let answer = answer.map_err(|error| stop(&error, inside));
        let (lines, emitted) = (inside.lines(), inside.emitted());
        Asked { answer, lines, emitted, spent: Some(Spent { _store: self.store }) }
    }

    /// Bytes of its linear memories.
    pub(crate) fn memory(&self) -> u64 {
        self.store.data().memory()
    }
}

/// Why a call ended with this error.
fn stop(error: &wasmtime::Error, inside: &mut Inside) -> Stop {
    inside.stopped().unwrap_or_else(|| Stop::Fault(fault(error)))
}

/// What the guest did, if the host did not stop it.
fn fault(error: &wasmtime::Error) -> Fault {
    if let Some(forbidden) = error.downcast_ref::<Forbidden>() {
        return Fault::Forbidden(forbidden.0.to_string());
    }
    if error.is::<PoolConcurrencyLimitError>() {
        return Fault::Room(error.root_cause().to_string());
    }
    let cause = error.root_cause().to_string();
    match error.downcast_ref::<Trap>() {
        Some(Trap::StackOverflow) => Fault::Stack,
        Some(trap) => Fault::Trap(format!("{trap}{}", place(error))),
        // The error's type is private to wasmtime.
        None if cause.contains("fuel allocated for hostcalls") => Fault::Lists { allowed: LIFTED_BYTES_MAX },
        None => Fault::Answer(cause),
    }
}

/// In which function of the guest it happened, where the guest tells names.
fn place(error: &wasmtime::Error) -> String {
    let name = error
        .downcast_ref::<WasmBacktrace>()
        .and_then(|trace| trace.frames().iter().find_map(|frame| frame.func_name().map(str::to_owned)));
    name.map(|name| format!(", in `{name}`")).unwrap_or_default()
}

/// A guest called what it does not have.
#[derive(Clone, Debug, thiserror::Error)]
#[error("called `{0}`, which a policy does not have")]
pub(crate) struct Forbidden(pub(crate) Arc<str>);
