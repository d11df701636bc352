//! Who may know whom, and how long a file may be: the layout that ARCHITECTURE.md draws, held to.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Lines a source file may have. A file that wants more wants to be two.
const LINES_MAX: usize = 500;

/// One arrow diagram: with these features, this package may reach these packages of ours, and none of those libraries.
struct Rule {
    package: &'static str,
    features: &'static [&'static str],
    ours: &'static [&'static str],
    never: &'static [&'static str],
}

const RULES: [Rule; 10] = [
    Rule {
        package: "sidelock-policy",
        features: &["--all-features"],
        ours: &["sidelock-notation"],
        never: &["hyper", "redis", "wasmtime-wasi"],
    },
    Rule {
        package: "sidelock-engine",
        features: &["--all-features"],
        ours: &[],
        never: &["tokio", "redis", "rustix", "libc"],
    },
    Rule {
        package: "sidelock-wire",
        features: &["--all-features"],
        ours: &[],
        never: &["tokio", "redis", "rustix", "libc"],
    },
    Rule { package: "sidelock-socket", features: &["--all-features"], ours: &[], never: &["redis", "hyper"] },
    Rule {
        package: "sidelock-store",
        features: &["--all-features"],
        ours: &["sidelock-engine"],
        never: &["hyper"],
    },
    Rule {
        package: "sidelock-daemon",
        features: &["--all-features"],
        ours: &[
            "sidelock-engine",
            "sidelock-notation",
            "sidelock-policy",
            "sidelock-socket",
            "sidelock-store",
            "sidelock-wire",
        ],
        never: &[],
    },
    Rule {
        package: "sidelock-daemon",
        features: &[],
        ours: &["sidelock-engine", "sidelock-notation", "sidelock-socket", "sidelock-store", "sidelock-wire"],
        never: &["hyper", "redis", "wasmtime"],
    },
    Rule {
        package: "sidelock-client",
        features: &[],
        ours: &["sidelock-socket", "sidelock-wire"],
        never: &["hyper", "redis"],
    },
    Rule {
        package: "sidelock-client",
        features: &["--features=embedded"],
        ours: &[
            "sidelock-socket",
            "sidelock-wire",
            "sidelock-daemon",
            "sidelock-engine",
            "sidelock-notation",
            "sidelock-store",
        ],
        never: &["hyper", "redis"],
    },
    Rule {
        package: "sidelock-ffi",
        features: &[],
        ours: &[
            "sidelock-client",
            "sidelock-socket",
            "sidelock-wire",
            "sidelock-daemon",
            "sidelock-engine",
            "sidelock-notation",
            "sidelock-store",
        ],
        never: &["hyper", "redis", "wasmtime", "uniffi_bindgen"],
    },
];

#[test]
fn nobody_knows_more_than_the_architecture_allows() {
    for rule in RULES {
        let reached = dependencies(rule.package, rule.features);
        let ours: BTreeSet<_> =
            reached.iter().map(String::as_str).filter(|name| name.starts_with("sidelock")).collect();
        let allowed: BTreeSet<_> = rule.ours.iter().copied().chain([rule.package]).collect();
        let who = format!("{} {}", rule.package, rule.features.join(" "));
        assert!(ours.is_subset(&allowed), "{who} reaches {:?}", ours.difference(&allowed));
        for library in rule.never {
            assert!(!reached.contains(*library), "{who} pulls {library} in");
        }
    }
}

#[test]
fn the_command_line_speaks_to_the_daemon_the_sdk_and_the_policies_alone() {
    let direct = dependencies("sidelock", &["--depth=1"]);
    let ours: Vec<_> = direct.iter().filter(|name| name.starts_with("sidelock-")).collect();
    assert_eq!(ours, ["sidelock-client", "sidelock-daemon", "sidelock-policy"]);
}

#[test]
fn the_binary_carries_no_test_package_and_no_mutants() {
    let reached = dependencies("sidelock", &[]);
    for package in ["sidelock-sim", "sidelock-e2e", "sidelock-bench", "sidelock-fuzz", "sidelock-chaos"] {
        assert!(!reached.contains(package), "sidelock pulls {package} in");
    }
    let features = tree(&["--package", "sidelock", "--edges", "features"]);
    assert!(features.contains("sidelock-engine"), "cargo tree shows the features of the engine");
    assert!(
        !features.contains("sidelock-engine feature \"mutants\""),
        "a released build has seeded bugs in it"
    );
    let ours = |line: &&str| line.contains("sidelock") && line.contains("feature \"fuzz\"");
    assert_eq!(features.lines().find(ours), None, "a released build has the ways in of the fuzz targets");
}

#[test]
fn no_source_file_is_longer_than_a_reader_likes() {
    let mut files = Vec::new();
    for folder in ["sidecar", "sdk", "bindings", "tests", "deploy"] {
        sources(&root().join(folder), &mut files);
    }
    assert!(files.len() > 50, "the search finds the sources: {}", files.len());
    for file in files {
        let lines = std::fs::read_to_string(&file).expect("a source file is text").lines().count();
        assert!(lines <= LINES_MAX, "{} has {lines} lines; {LINES_MAX} are enough", file.display());
    }
}

#[test]
fn every_proof_that_the_guarantees_name_exists() {
    let text = std::fs::read_to_string(root().join("GUARANTEES.md")).expect("there are GUARANTEES");
    let mut files = Vec::new();
    for folder in ["sidecar", "sdk", "tests"] {
        sources(&root().join(folder), &mut files);
    }
    let mut named = 0;
    for (place, name) in text.split('`').filter_map(|word| word.split_once("::")) {
        let exists = match place {
            "scenario" => root().join(format!("sidecar/engine/tests/scenarios/{name}.txt")).exists(),
            "mutant" => contains(&root().join("sidecar/engine/src/mutant.rs"), &format!("Mutant::{name},")),
            // A round, not a test: `tests/run chaos` runs them all.
            "chaos" => contains(&root().join("tests/chaos/src/rounds.rs"), &format!("fn {name}(")),
            stem => files
                .iter()
                .filter(|file| file.file_stem().is_some_and(|found| found == stem))
                .any(|file| contains(file, &format!("fn {name}("))),
        };
        assert!(exists, "GUARANTEES.md names {place}::{name}, which is not there");
        named += 1;
    }
    assert!(named > 50, "the proofs are found: {named}");
}

/// The names of everything the package needs at run time, itself included.
fn dependencies(package: &str, features: &[&str]) -> BTreeSet<String> {
    let mut arguments =
        vec!["--package", package, "--edges", "normal", "--prefix", "none", "--format", "{p}"];
    arguments.extend(features);
    let names =
        tree(&arguments).lines().filter_map(|line| line.split(' ').next().map(str::to_owned)).collect();
    assert!(BTreeSet::contains(&names, package), "cargo tree shows {package} itself");
    names
}

fn tree(arguments: &[&str]) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output =
        Command::new(cargo).arg("tree").args(arguments).current_dir(root()).output().expect("cargo runs");
    assert!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("cargo writes text")
}

fn sources(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder of the workspace") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() && path.file_name().is_none_or(|name| name != "target") {
            sources(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs" || extension == "lua") {
            files.push(path);
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn contains(file: &Path, text: &str) -> bool {
    std::fs::read_to_string(file).expect("a source file is text").contains(text)
}
