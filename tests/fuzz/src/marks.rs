//! Where an input led.
//!
//! Owns the set of places. Must not know any target.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};

/// What an input led to, in words: `refused held`, `status 409`.
#[derive(Clone, Debug, Default)]
pub struct Marks(BTreeSet<String>);

impl Marks {
    /// It led here.
    pub fn saw(&mut self, what: impl Into<String>) {
        self.0.insert(what.into());
    }

    /// Whether it led here.
    pub fn has(&self, what: &str) -> bool {
        self.0.contains(what)
    }

    /// Everything it led to.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// A number for the whole set: two inputs with the same one led to the same places.
    pub(crate) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.0.hash(&mut hasher);
        hasher.finish()
    }
}
