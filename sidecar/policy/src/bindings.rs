//! How host and guest call each other.
//!
//! Owns both directions: what a guest can call, generated from `wit/policy.wit`, and what it exports. An export's type is
//! compared with ours once, when it is found, not in each of the instances that are made for one call each. The records in
//! both are [`crate::model`]'s. Must not decide anything.

use crate::inside::Inside;
use crate::model::{Decision, Event, Request};
use std::marker::PhantomData;
use wasmtime::Store;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{
    self, ComponentExportIndex, ComponentNamedList, HasData, InstancePre, Lift, Linker, Lower, TypedFunc,
};

/// What the generator expects beside the records of an interface that has no functions.
#[expect(unreachable_pub, dead_code, reason = "the generated code names it")]
pub mod types {
    pub use crate::model::*;
    use wasmtime::component::{HasData, Linker};

    pub trait Host {}
    impl<T: ?Sized> Host for T {}

    pub trait HostWithStore<T>: HasData {}
    impl<T, D: HasData + ?Sized> HostWithStore<T> for D {}

    pub fn add_to_linker<T: 'static, D: HasData>(
        linker: &mut Linker<T>,
        _: fn(&mut T) -> D::Data<'_>,
    ) -> wasmtime::Result<()> {
        linker.instance("sidelock:policy/types@0.1.0").map(|_| ())
    }
}

mod imports {
    wasmtime::component::bindgen!({
        path: "wit",
        inline: "
            package sidelock:sidecar;

            world imports {
                import sidelock:policy/host@0.1.0;
                import sidelock:policy/sink@0.1.0;
            }
        ",
        world: "sidelock:sidecar/imports",
        with: { "sidelock:policy/types": super::types },
        imports: { default: trappable },
    });
}

pub(crate) use imports::sidelock::policy::{host, sink};

/// Tells the generated code that the host's side of a call is [`Inside`].
pub(crate) struct ByInside;

impl HasData for ByInside {
    type Data<'a> = &'a mut Inside;
}

/// What a policy can call.
pub(crate) fn link_policy(linker: &mut Linker<Inside>) -> wasmtime::Result<()> {
    host::add_to_linker::<_, ByInside>(linker, |inside| inside)
}

/// What an observer can call.
pub(crate) fn link_observer(linker: &mut Linker<Inside>) -> wasmtime::Result<()> {
    link_policy(linker)?;
    sink::add_to_linker::<_, ByInside>(linker, |inside| inside)
}

/// A function that a guest exports.
pub(crate) trait Function {
    const INTERFACE: &str;
    const NAME: &str;
    type Params<'a>: ComponentNamedList + Lower;
    type Results: ComponentNamedList + Lift + 'static;
}

/// One of the two worlds: what its guests are there for.
pub(crate) trait World: Send + Sync + 'static {
    type Question: Function + Send + Sync;
}

/// The world of those that decide.
pub(crate) enum Policy {}

impl World for Policy {
    type Question = Admit;
}

/// The world of those that watch.
pub(crate) enum Observer {}

impl World for Observer {
    type Question = Observe;
}

pub(crate) enum Validate {}

impl Function for Validate {
    const INTERFACE: &str = "sidelock:policy/settings@0.1.0";
    const NAME: &str = "validate";
    type Params<'a> = (&'a str,);
    type Results = (Result<(), String>,);
}

pub(crate) enum Configure {}

impl Function for Configure {
    const INTERFACE: &str = Validate::INTERFACE;
    const NAME: &str = "configure";
    type Params<'a> = (&'a str,);
    type Results = (Result<Vec<String>, String>,);
}

pub(crate) enum Admit {}

impl Function for Admit {
    const INTERFACE: &str = "sidelock:policy/admission@0.1.0";
    const NAME: &str = "admit";
    type Params<'a> = (&'a Request,);
    type Results = (Decision,);
}

pub(crate) enum Observe {}

impl Function for Observe {
    const INTERFACE: &str = "sidelock:policy/observation@0.1.0";
    const NAME: &str = "observe";
    type Params<'a> = (&'a [Event],);
    type Results = ();
}

/// Where a component has the function, which is of the type that we call it with.
struct Export<F>(ComponentExportIndex, PhantomData<F>);

impl<F: Function> Export<F> {
    fn find(pre: &InstancePre<Inside>) -> wasmtime::Result<Export<F>> {
        let missing = || wasmtime::format_err!("no function `{}` of `{}`", F::NAME, F::INTERFACE);
        let interface = pre.component().get_export_index(None, F::INTERFACE).ok_or_else(missing)?;
        match pre.component().get_export(Some(&interface), F::NAME) {
            Some((ComponentItem::ComponentFunc(function), index)) => {
                function
                    .typecheck::<F::Params<'_>, F::Results>(&pre.instance_type())
                    .map_err(|error| error.context(format!("`{}` of `{}`", F::NAME, F::INTERFACE)))?;
                Ok(Export(index, PhantomData))
            }
            _ => Err(missing()),
        }
    }

    /// Calls that of an instance of the same component.
    fn call(
        &self,
        instance: component::Instance,
        store: &mut Store<Inside>,
        params: F::Params<'_>,
    ) -> wasmtime::Result<F::Results> {
        let function = instance
            .get_func(&mut *store, self.0)
            .ok_or_else(|| wasmtime::format_err!("an instance of another component"))?;
        #[expect(unsafe_code, reason = "see SAFETY")]
        // SAFETY: its type was compared with this one where it was found, and an index leads nowhere in another component.
        let function = unsafe { TypedFunc::<F::Params<'_>, F::Results>::new_unchecked(function) };
        function.call(store, params)
    }
}

/// A component of a world, ready to make instances of.
pub(crate) struct Pre<W: World> {
    pre: InstancePre<Inside>,
    validate: Export<Validate>,
    configure: Export<Configure>,
    question: Export<W::Question>,
}

impl<W: World> Pre<W> {
    /// Unless its functions are not those of the world.
    pub(crate) fn new(pre: InstancePre<Inside>) -> wasmtime::Result<Pre<W>> {
        let (validate, configure, question) = (Export::find(&pre)?, Export::find(&pre)?, Export::find(&pre)?);
        Ok(Pre { pre, validate, configure, question })
    }

    /// Makes an instance.
    pub(crate) fn instantiate(&self, store: &mut Store<Inside>) -> wasmtime::Result<component::Instance> {
        self.pre.instantiate(store)
    }

    /// `settings.validate`.
    pub(crate) fn validate(
        &self,
        guest: component::Instance,
        store: &mut Store<Inside>,
        json: &str,
    ) -> wasmtime::Result<Result<(), String>> {
        self.validate.call(guest, store, (json,)).map(|(valid,)| valid)
    }

    /// `settings.configure`.
    pub(crate) fn configure(
        &self,
        guest: component::Instance,
        store: &mut Store<Inside>,
        json: &str,
    ) -> wasmtime::Result<Result<Vec<String>, String>> {
        self.configure.call(guest, store, (json,)).map(|(counters,)| counters)
    }

    /// What its instances are there for.
    pub(crate) fn ask(
        &self,
        guest: component::Instance,
        store: &mut Store<Inside>,
        question: <W::Question as Function>::Params<'_>,
    ) -> wasmtime::Result<<W::Question as Function>::Results> {
        self.question.call(guest, store, question)
    }
}
