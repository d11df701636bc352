//! The two worlds of `wit/policy.wit`, as wasmtime calls them.
//!
//! Owns the generated code; the records in it are [`crate::model`]'s. Must not decide anything.

use crate::inside::Inside;
use wasmtime::Store;
use wasmtime::component::{HasData, Linker};

/// What the generator expects beside the records of an interface that has no functions.
#[expect(unreachable_pub, reason = "the generated code exports it again")]
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

pub(crate) mod policy {
    wasmtime::component::bindgen!({
        path: "wit",
        world: "policy",
        with: { "sidelock:policy/types": super::types },
        imports: { default: trappable },
    });
}

pub(crate) mod observer {
    wasmtime::component::bindgen!({
        path: "wit",
        world: "observer",
        with: {
            "sidelock:policy/types": super::types,
            "sidelock:policy/host": super::policy::sidelock::policy::host,
        },
        imports: { default: trappable },
    });
}

/// Tells the generated code that the host's side of a call is [`Inside`].
pub(crate) struct ByInside;

impl HasData for ByInside {
    type Data<'a> = &'a mut Inside;
}

/// What a policy can call.
pub(crate) fn link_policy(linker: &mut Linker<Inside>) -> wasmtime::Result<()> {
    policy::Policy::add_to_linker::<_, ByInside>(linker, |inside| inside)
}

/// What an observer can call.
pub(crate) fn link_observer(linker: &mut Linker<Inside>) -> wasmtime::Result<()> {
    observer::Observer::add_to_linker::<_, ByInside>(linker, |inside| inside)
}

/// What both worlds export: how a guest takes its settings.
pub(crate) trait World: Sized + Send + 'static {
    /// An instance of it that wants only a store.
    type Pre: Clone + Send + Sync + 'static;

    /// Makes an instance.
    fn instantiate(pre: &Self::Pre, store: &mut Store<Inside>) -> wasmtime::Result<Self>;

    /// `settings.validate`.
    fn validate(&self, store: &mut Store<Inside>, json: &str) -> wasmtime::Result<Result<(), String>>;

    /// `settings.configure`.
    fn configure(
        &self,
        store: &mut Store<Inside>,
        json: &str,
    ) -> wasmtime::Result<Result<Vec<String>, String>>;
}

/// The same lines for both worlds: they differ in the types that were generated.
macro_rules! world {
    ($world:ty, $pre:ty) => {
        impl World for $world {
            type Pre = $pre;

            fn instantiate(pre: &$pre, store: &mut Store<Inside>) -> wasmtime::Result<Self> {
                pre.instantiate(store)
            }

            fn validate(
                &self,
                store: &mut Store<Inside>,
                json: &str,
            ) -> wasmtime::Result<Result<(), String>> {
                self.sidelock_policy_settings().call_validate(store, json)
            }

            fn configure(
                &self,
                store: &mut Store<Inside>,
                json: &str,
            ) -> wasmtime::Result<Result<Vec<String>, String>> {
                self.sidelock_policy_settings().call_configure(store, json)
            }
        }
    };
}

world!(policy::Policy, policy::PolicyPre<Inside>);
world!(observer::Observer, observer::ObserverPre<Inside>);
