//! `policy build`: a component, from source in any of the languages.
//!
//! Owns the way from a language's own tools to the finished file: core module, component, its cases inside, put in place
//! whole. Each language has a file of its own.

mod c;
mod js;
mod python;
mod rust;
mod tool;

use super::project::{Language, Project, cannot_write};
use crate::failure::Failure;
use crate::output::say;
use clap::Args;
use sidelock_policy::cases;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Arguments of `policy build`.
#[derive(Args, Debug)]
pub(crate) struct BuildArgs {
    /// The policy's folder
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// Where the component goes, and what is made on the way to it; the policy's folder if not said
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

/// What the language's tools need, told where their absence is.
pub(crate) const AFTER_HELP: &str = "\
What it needs besides this program:
  rust    rustup, with: rustup target add wasm32-unknown-unknown
  c       clang, lld, wasi-libc and compiler-rt for wasm32, or a WASI SDK named in WASI_SDK_PATH
          (Debian: apt-get install clang lld wasi-libc libclang-rt-dev-wasm32)
  js      node 18 or newer; componentize-qjs is fetched by npx if it is not installed
  python  python 3.10 or newer; componentize-py is put into a virtual environment below `build` if it is not installed";

/// Builds a policy.
pub(crate) fn build(args: &BuildArgs) -> Result<(), Failure> {
    let started = Instant::now();
    let project = Project::open(&args.folder, args.out.as_deref())?;
    let component = match project.language {
        Language::Rust => component(&rust::core_module(&project)?)?,
        Language::C => component(&c::core_module(&project)?)?,
        Language::Js => js::component(&project)?,
        Language::Python => python::component(&project)?,
    };
    let component = with_cases(&project, component)?;
    let file = project.component();
    put(&file, &component)?;
    let (size, seconds) = (component.len().div_ceil(1000), started.elapsed().as_secs_f64());
    say(&format!("{}: {size} kB, made in {seconds:.1} s\n", file.display()))
}

/// Of a core module whose bindings have put the description of its world into it.
fn component(module: &Path) -> Result<Vec<u8>, Failure> {
    sidelock_policy::componentize(&read(module)?)
        .map_err(|error| Failure::broken(format!("{} makes no component: {error}", module.display())))
}

/// The policy's own tests travel with it. They are read here, so that a mistake in them is found now.
fn with_cases(project: &Project, mut component: Vec<u8>) -> Result<Vec<u8>, Failure> {
    for file in project.files(".case.toml")? {
        let text = super::read_text(&file)?;
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        cases::Suite::parse(&name, &text)
            .map_err(|error| Failure::usage(format!("{}: {error}", file.display())))?;
        component = cases::embed(component, &name, &text);
    }
    Ok(component)
}

/// All at once: a sidecar that watches the file never sees half of it.
fn put(file: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let folder = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let file_mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    fs::create_dir_all(folder)
        .and_then(|()| tempfile::Builder::new().permissions(file_mode).tempfile_in(folder))
        .and_then(|mut temporary| {
            temporary.write_all(bytes)?;
            temporary.persist(file).map_err(|error| error.error)
        })
        .map(drop)
        .map_err(|error| cannot_write(file, &error))
}

/// A file that a tool has made.
fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(file).map_err(|error| Failure::broken(format!("{} can not be read: {error}", file.display())))
}
