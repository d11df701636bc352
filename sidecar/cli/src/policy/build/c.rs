//! C: clang and wasi-libc, as a library without an entry. What a policy does not use of libc is not linked, so no WASI gets
//! in; the bindings come from the WIT.

use super::super::project::{Project, World, cannot_write};
use super::tool::run;
use crate::failure::Failure;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use wit_bindgen_core::Files;

const NEEDS: &str = "clang, lld, wasi-libc and compiler-rt for wasm32 (Debian: apt-get install clang lld wasi-libc \
                     libclang-rt-dev-wasm32), or a WASI SDK named in WASI_SDK_PATH";
/// Settings and texts for policies in C.
const GUEST_H: &str = include_str!("../guest/guest.h");
/// What a policy keeps on its stack is small; the rest of its first page of memory is for its data.
const STACK: &str = "-Wl,-z,stack-size=32768";

/// Compiles all C files in the project's folder, with the bindings.
pub(super) fn core_module(project: &Project) -> Result<PathBuf, Failure> {
    let folder = project.build_folder()?;
    bindings(&project.wit_folder()?, project.world, &folder)?;
    let module = folder.join("core.wasm");
    let mut clang = Command::new(clang());
    clang.args(["--target=wasm32-wasi", "-mexec-model=reactor", "-nostartfiles", "-O2", "-flto"]);
    clang.args(["-Wall", "-Wextra", "-Wno-unused-parameter", "-I"]).arg(&folder);
    clang.args([STACK, "-Wl,--no-entry", "-Wl,--strip-all", "-o"]).arg(&module);
    clang.args(project.files(".c")?);
    clang.args([folder.join("policy.c"), folder.join("policy_component_type.o")]);
    run(&mut clang, NEEDS)?;
    Ok(module)
}

fn clang() -> OsString {
    match std::env::var_os("WASI_SDK_PATH") {
        Some(sdk) => Path::new(&sdk).join("bin/clang").into_os_string(),
        None => "clang".into(),
    }
}

/// `policy.h`, `policy.c` and the description of the world, with short names: `policy_request_t`, `host_log`.
fn bindings(wit: &Path, world: World, folder: &Path) -> Result<(), Failure> {
    let wrong =
        |error: &dyn std::fmt::Display| Failure::broken(format!("no bindings for C from the WIT: {error}"));
    let mut resolve = wit_parser::Resolve::default();
    let (package, _) = resolve.push_path(wit).map_err(|error| wrong(&error))?;
    let world = resolve.select_world(&[package], Some(world.name())).map_err(|error| wrong(&error))?;
    let named = [("types", "policy"), ("host", "host"), ("settings", "settings")];
    let named = named.into_iter().chain(
        match resolve.worlds[world].name.as_str() {
            "observer" => [("sink", "sink"), ("observation", "observation")].as_slice(),
            _ => [("admission", "admission")].as_slice(),
        }
        .iter()
        .copied(),
    );
    let options = wit_bindgen_c::Opts {
        rename_world: Some("policy".to_owned()),
        rename: named
            .map(|(long, short)| (format!("sidelock:policy/{long}@0.1.0"), short.to_owned()))
            .collect(),
        ..wit_bindgen_c::Opts::default()
    };
    let mut files = Files::default();
    options.build().generate(&mut resolve, world, &mut files).map_err(|error| wrong(&error))?;
    for (name, bytes) in files.iter().chain([("guest.h", GUEST_H.as_bytes())]) {
        let file = folder.join(name);
        fs::write(&file, bytes).map_err(|error| cannot_write(&file, &error))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bindings_have_short_names() {
        for (world, function) in [
            (World::Policy, "void exports_admission_admit(exports_admission_request_t *r"),
            (World::Observer, "void exports_observation_observe("),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let wit = folder.path().join("wit");
            fs::create_dir(&wit).unwrap();
            fs::write(wit.join("policy.wit"), sidelock_policy::WIT).unwrap();
            bindings(&wit, world, folder.path()).unwrap();
            let header = fs::read_to_string(folder.path().join("policy.h")).unwrap();
            assert!(header.contains(function) && header.contains("policy_string_t"), "{header}");
            for file in ["policy.c", "policy_component_type.o", "guest.h"] {
                assert!(folder.path().join(file).is_file(), "{file}");
            }
        }
    }
}
