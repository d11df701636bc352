//! What compilers write becomes a component.
//!
//! Owns that step, for those whose toolchain ends at a core module: C, Zig, Rust's `wasm32-unknown-unknown`. Must not know
//! toolchains.

use crate::code::World;
use wasmparser::{Parser, Payload};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// `wit/policy.wit`: what policies are written against.
pub const WIT: &str = include_str!("../wit/policy.wit");

/// What the bindings of a language leave in a core module, for who makes a component of it.
const METADATA: &str = "component-type";
const ADMIT: &str = "sidelock:policy/admission@0.1.0#admit";
const OBSERVE: &str = "sidelock:policy/observation@0.1.0#observe";

/// Why bytes can not be made a component.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoComponent(String);

/// A component of this core module. What is a component already stays as it is.
pub fn componentize(module: &[u8]) -> Result<Vec<u8>, NoComponent> {
    if Parser::is_component(module) {
        return Ok(module.to_owned());
    }
    let about =
        About::of(module).map_err(|error| NoComponent(format!("is no WebAssembly module: {error}")))?;
    let mut module = module.to_owned();
    if !about.has_metadata {
        let world = about.world.ok_or_else(|| {
            NoComponent(format!("exports neither `{ADMIT}` nor `{OBSERVE}`: it is no policy"))
        })?;
        embed(&mut module, world)?;
    }
    let encoder = ComponentEncoder::default().validate(true).module(&module);
    encoder.and_then(|mut encoder| encoder.encode()).map_err(told)
}

/// Tells in the module which world its functions are of, where the bindings of its language did not.
fn embed(module: &mut Vec<u8>, world: World) -> Result<(), NoComponent> {
    let mut resolve = Resolve::default();
    let package = resolve.push_str("policy.wit", WIT).map_err(told)?;
    let world = match world {
        World::Policy => "policy",
        World::Observer => "observer",
    };
    let world = resolve.select_world(&[package], Some(world)).map_err(told)?;
    embed_component_metadata(module, &resolve, world, StringEncoding::UTF8).map_err(told)
}

fn told(error: impl std::fmt::Display) -> NoComponent {
    NoComponent(format!("{error:#}"))
}

/// What a core module tells of itself.
#[derive(Default)]
struct About {
    has_metadata: bool,
    world: Option<World>,
}

impl About {
    fn of(module: &[u8]) -> wasmparser::Result<About> {
        let mut about = About::default();
        for payload in Parser::new(0).parse_all(module) {
            match payload? {
                Payload::CustomSection(section) => about.has_metadata |= section.name().starts_with(METADATA),
                Payload::ExportSection(exports) => {
                    for export in exports {
                        match export?.name {
                            ADMIT => about.world = Some(World::Policy),
                            OBSERVE => about.world = Some(World::Observer),
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(about)
    }
}
