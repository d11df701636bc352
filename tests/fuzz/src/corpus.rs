//! Inputs that are kept: found by a hunt, or failed once.
//!
//! Owns where they are. Must not know what they mean.

use std::path::{Path, PathBuf};

fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target)
}

/// The kept inputs of a target, in the order of their names, so that a hunt from the same seed finds them in the same
/// places.
pub(crate) fn inputs(target: &str) -> Vec<Vec<u8>> {
    let Ok(entries) = std::fs::read_dir(folder(target)) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("a readable entry").path()).collect();
    files.sort();
    files.iter().map(|file| std::fs::read(file).expect("a kept input can be read")).collect()
}
