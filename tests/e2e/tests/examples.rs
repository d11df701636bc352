//! The SDK's examples, run as a reader would run them: each against a sidecar of its own, over memory and over Redis.
//! Every file in the folder is one; there is no list to forget.

use sidelock_e2e::process::run;
use sidelock_e2e::redis::Redis;
use sidelock_e2e::sidecar::Sidecar;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

/// Lines an example may have: what fits on a screen.
const LINES_MAX: usize = 60;

/// Sources of the examples, in the order of their names.
fn sources() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sdk/client/examples");
    let entries = std::fs::read_dir(folder).expect("the SDK has examples");
    let mut sources: Vec<_> = entries.map(|entry| entry.expect("a readable entry").path()).collect();
    sources.sort();
    assert!(sources.len() >= 5, "the search finds the examples: {sources:?}");
    sources
}

fn name(source: &Path) -> String {
    source.file_stem().expect("a file has a name").to_string_lossy().into_owned()
}

/// What cargo built of it, beside this test: `TARGET/PROFILE/examples/NAME`.
fn built(source: &Path) -> PathBuf {
    let this = std::env::current_exe().expect("a program knows where it is");
    let profile = this.ancestors().nth(2).expect("tests are built into TARGET/PROFILE/deps");
    let program = profile.join("examples").join(name(source));
    let changed = |path: &Path| path.metadata().and_then(|metadata| metadata.modified()).ok();
    let is_current = changed(&program) >= changed(source).or(Some(SystemTime::now()));
    assert!(is_current, "{} is not built, or older than its source: `tests/run compile`", program.display());
    program
}

fn passes(source: &Path, sidecar: &Sidecar, store: &str) {
    let mut command = Command::new(built(source));
    command.env("SIDELOCK_SOCKET", sidecar.socket());
    let (code, output) = run(command);
    assert_eq!(code, 0, "{} on {store}:\n{output}", name(source));
}

#[test]
fn every_example_passes_on_the_memory_store() {
    for source in sources() {
        passes(&source, &Sidecar::on_memory(), "memory");
    }
}

#[test]
fn every_example_passes_on_redis() {
    for source in sources() {
        let redis = Redis::start();
        passes(&source, &Sidecar::connected_to(&redis), "Redis");
    }
}

#[test]
fn every_example_fits_on_a_screen() {
    for source in sources() {
        let lines = std::fs::read_to_string(&source).expect("a source file is text").lines().count();
        assert!(lines <= LINES_MAX, "{} has {lines} lines; {LINES_MAX} are enough", name(&source));
    }
}
