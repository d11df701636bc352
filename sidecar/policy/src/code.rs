//! A component, compiled.
//!
//! Owns what is accepted as one: which world it is of, what it may import. Compiling takes from milliseconds to seconds, so
//! nobody who waits for locks may wait for it. Must not know settings.

use crate::compiler;
use crate::digest::Digest;
use crate::host::Host;
use crate::inside::Inside;
use crate::instance::Forbidden;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wasmtime::component::types::{ComponentInstance, ComponentItem};
use wasmtime::component::{Component, Linker, LinkerInstance, ResourceType};

/// The package of `wit/policy.wit`, as far as its version.
const PACKAGE: &str = "sidelock:policy/";
const VERSION: &str = "@0.1.0";

/// Which of the two worlds a component is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum World {
    /// It decides.
    Policy,
    /// It watches.
    Observer,
}

/// See the module.
pub(crate) struct Code {
    pub(crate) component: Component,
    pub(crate) world: World,
    pub(crate) digest: Digest,
    /// Bytes of the component's file.
    pub(crate) bytes: usize,
    /// Whether its machine code was there already.
    pub(crate) precompiled: bool,
    /// How long it took to have machine code.
    pub(crate) compiled_in: Duration,
    pub(crate) imports: Vec<String>,
}

/// Why bytes are no policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoCode {
    /// It is the kind of file that compilers write before it is made a component.
    #[error("is a core module, not a component; `sidelock policy build` makes a component of it")]
    CoreModule,
    /// It is something else.
    #[error("is no WebAssembly component")]
    NoComponent,
    /// It is broken, or uses what is not supported.
    #[error("can not be compiled: {0}")]
    Invalid(String),
    /// It exports neither world, or both.
    #[error("exports {0}")]
    World(String),
    /// It needs what a policy does not have.
    #[error("imports {0}, which a policy does not have")]
    Import(String),
}

impl Code {
    /// Compiles a component, or finds its machine code.
    pub(crate) fn make(host: &Host, bytes: &[u8]) -> Result<Code, NoCode> {
        match bytes.get(..8) {
            Some(b"\0asm\x0d\0\x01\0") => {}
            Some(b"\0asm\x01\0\0\0") => return Err(NoCode::CoreModule),
            _ => return Err(NoCode::NoComponent),
        }
        let begun = Instant::now();
        let digest = Digest::of(bytes);
        let kept = host.precompiled().and_then(|kept| kept.load(host.engine(), &digest));
        let precompiled = kept.is_some();
        let component = match kept {
            Some(component) => component,
            None => compiler::compile(|| Component::new(host.engine(), bytes))
                .map_err(|error| NoCode::Invalid(error.to_string()))?
                .map_err(|error| NoCode::Invalid(format!("{error:#}")))?,
        };
        let compiled_in = begun.elapsed();
        let (world, imports) = (world(host, &component)?, imports(host, &component)?);
        if let Some(kept) = host.precompiled().filter(|_| !precompiled) {
            kept.store(&digest, &component);
        }
        Ok(Code { component, world, digest, bytes: bytes.len(), precompiled, compiled_in, imports })
    }

    /// Bytes of its machine code, and of what is in memory beside it for all of its instances together.
    pub(crate) fn machine_code(&self) -> usize {
        let image = self.component.image_range();
        image.end.addr() - image.start.addr()
    }

    /// The linker of its world, with stubs for what its toolchain dragged in.
    pub(crate) fn linker(&self, host: &Host) -> wasmtime::Result<Linker<Inside>> {
        let mut linker = match self.world {
            World::Policy => host.policies(),
            World::Observer => host.observers(),
        };
        let kind = self.component.component_type();
        for (name, item) in kind.imports(host.engine()) {
            if let (true, ComponentItem::ComponentInstance(instance)) = (is_wasi(name), item.ty) {
                stub(host, &mut linker.instance(name)?, name, &instance)?;
            }
        }
        Ok(linker)
    }
}

fn world(host: &Host, component: &Component) -> Result<World, NoCode> {
    let kind = component.component_type();
    let exports: Vec<String> = kind.exports(host.engine()).map(|(name, _)| name.to_owned()).collect();
    let has = |interface: &str| exports.iter().any(|name| *name == format!("{PACKAGE}{interface}{VERSION}"));
    let found = match (has("admission"), has("observation")) {
        (true, false) if has("settings") => return Ok(World::Policy),
        (false, true) if has("settings") => return Ok(World::Observer),
        (true, true) => "both `admission` and `observation`; a policy is one or the other".to_owned(),
        (true, false) | (false, true) => format!("no `{PACKAGE}settings{VERSION}`"),
        (false, false) => match exports.iter().find(|name| name.starts_with(PACKAGE)) {
            Some(other) => format!("`{other}`; this sidecar asks policies of {PACKAGE}…{VERSION}"),
            None => format!("neither `{PACKAGE}admission{VERSION}` nor `{PACKAGE}observation{VERSION}`"),
        },
    };
    Err(NoCode::World(found))
}

/// What it imports; only what is ours, and WASI, is accepted.
fn imports(host: &Host, component: &Component) -> Result<Vec<String>, NoCode> {
    let kind = component.component_type();
    let imports: Vec<String> = kind.imports(host.engine()).map(|(name, _)| name.to_owned()).collect();
    match imports.iter().find(|name| !is_wasi(name) && !name.starts_with(PACKAGE)) {
        Some(name) => Err(NoCode::Import(format!("`{name}`"))),
        None => Ok(imports),
    }
}

fn is_wasi(import: &str) -> bool {
    import.starts_with("wasi:")
}

/// Functions of WASI that trap: toolchains import them whether they call them or not.
fn stub(
    host: &Host,
    linker: &mut LinkerInstance<'_, Inside>,
    interface: &str,
    instance: &ComponentInstance,
) -> wasmtime::Result<()> {
    for (name, item) in instance.exports(host.engine()) {
        match item.ty {
            ComponentItem::ComponentFunc(_) => {
                let forbidden = Forbidden(Arc::from(format!("{interface}#{name}")));
                linker.func_new(name, move |_, _, _, _| Err(forbidden.clone().into()))?;
            }
            ComponentItem::Resource(_) => linker.resource(name, ResourceType::host::<()>(), |_, _| Ok(()))?,
            _ => {}
        }
    }
    Ok(())
}
