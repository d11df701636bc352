//! Python: componentize-py, which puts CPython and the module, already imported, into a component.

use super::super::project::Project;
use super::tool::{is_there, run};
use crate::failure::Failure;
use crate::output::tell;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What pip fetches if it is not installed: the versions that were tried.
const PACKAGE: &str = "componentize-py>=0.25,<0.26";
const NEEDS: &str =
    "python 3.10 or newer with venv and pip, and componentize-py (pip install componentize-py)";

/// Without WASI, so there is no clock and no randomness.
pub(super) fn component(project: &Project) -> Result<Vec<u8>, Failure> {
    let folder = project.build_folder()?;
    let made = folder.join("component.wasm");
    let mut command = Command::new(componentize(&folder)?);
    command.arg("--wit-path").arg(project.wit_folder()?).args([
        "--world",
        project.world.name(),
        "componentize",
    ]);
    command.arg("--python-path").arg(&project.folder).args(["--stub-wasi", "main", "--output"]).arg(&made);
    run(&mut command, NEEDS)?;
    super::read(&made)
}

/// One that is installed, or one in a virtual environment of its own.
fn componentize(folder: &Path) -> Result<PathBuf, Failure> {
    if is_there("componentize-py") {
        return Ok("componentize-py".into());
    }
    let venv = folder.join("venv");
    let installed = venv.join("bin/componentize-py");
    if !installed.is_file() {
        tell(format_args!("componentize-py is not installed; it is put into {}", venv.display()));
        run(Command::new("python3").args(["-m", "venv"]).arg(&venv), NEEDS)?;
        run(Command::new(venv.join("bin/pip")).args(["install", "--quiet", PACKAGE]), NEEDS)?;
    }
    Ok(installed)
}
