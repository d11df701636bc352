//! JavaScript: componentize-qjs, which puts QuickJS and the script, already run, into a component.

use super::super::project::Project;
use super::tool::{is_there, run};
use crate::failure::Failure;
use std::path::Path;
use std::process::Command;

/// What npx fetches if it is not installed: the versions that were tried.
const PACKAGE: &str = "componentize-qjs@0.4";
const NEEDS: &str = "node 18 or newer with npm, and componentize-qjs (npm install --global componentize-qjs)";

/// Without WASI, so there is no clock and no randomness; `--sync`, since nothing in a policy waits.
pub(super) fn component(project: &Project) -> Result<Vec<u8>, Failure> {
    let made = project.build_folder()?.join("component.wasm");
    let mut command = componentize(&project.folder);
    command.arg("--wit").arg(project.wit_folder()?).args(["--world", project.world.name()]);
    command.arg("--js").arg(project.folder.join("main.js")).arg("--output").arg(&made);
    command.args(["--stub-wasi", "--sync"]);
    run(&mut command, NEEDS)?;
    super::read(&made)
}

/// The project's own, one that is installed, or one that npx gets.
fn componentize(folder: &Path) -> Command {
    let own = folder.join("node_modules/.bin/componentize-qjs");
    if own.is_file() {
        return Command::new(own);
    }
    if is_there("componentize-qjs") {
        return Command::new("componentize-qjs");
    }
    let mut npx = Command::new("npx");
    npx.args(["--yes", PACKAGE]);
    npx
}
