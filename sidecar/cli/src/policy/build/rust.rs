//! Rust: cargo, for `wasm32-unknown-unknown`. No WASI gets in that way.

use super::super::project::Project;
use super::tool::run_talkative;
use crate::failure::Failure;
use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;

const TARGET: &str = "wasm32-unknown-unknown";
const NEEDS: &str = "Rust by rustup, and `rustup target add wasm32-unknown-unknown`";

/// Builds the crate in the project's folder. Where it is put is cargo's business, so cargo is asked.
pub(super) fn core_module(project: &Project) -> Result<PathBuf, Failure> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo.current_dir(&project.folder);
    cargo.args(["build", "--release", "--target", TARGET, "--message-format", "json-render-diagnostics"]);
    let messages = run_talkative(&mut cargo, NEEDS)?;
    let messages = String::from_utf8_lossy(&messages);
    last_module(&messages).ok_or_else(|| {
        Failure::usage("cargo made no module: `[lib] crate-type = [\"cdylib\"]` is missing in Cargo.toml")
    })
}

/// What cargo built last is the crate itself.
fn last_module(messages: &str) -> Option<PathBuf> {
    messages.lines().rev().find_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        let files = message["filenames"].as_array()?;
        files.iter().filter_map(Value::as_str).find(|file| file.ends_with(".wasm")).map(PathBuf::from)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_module_is_the_last_that_cargo_names() {
        let messages = r#"{"reason":"compiler-artifact","filenames":["/t/libserde.rlib"]}
{"reason":"compiler-artifact","filenames":["/t/my_acl.wasm","/t/my_acl.d"]}
{"reason":"build-finished","success":true}"#;
        assert_eq!(last_module(messages), Some(PathBuf::from("/t/my_acl.wasm")));
        assert_eq!(last_module("{\"reason\":\"build-finished\"}\nnonsense"), None);
    }
}
