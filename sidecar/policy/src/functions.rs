//! Machine code of single functions, kept while the sidecar runs.
//!
//! A new version of a policy in JavaScript or Python is another script in the same runtime: of its thousands of functions none
//! has changed, and compiling them takes seconds. Owns what is kept, and how much: what the last versions were made of. The
//! compiler looks a function up by all that its code depends on, so what is found always fits. Must not know components.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use wasmtime::CacheStore;

/// Bytes kept in each of the two generations.
const KEPT_BYTES_MAX: usize = 48 << 20;

/// See the module.
#[derive(Default)]
pub(crate) struct Functions(Mutex<Generations>);

/// What is asked for lives on. What was not asked for while one generation filled up goes.
#[derive(Default)]
struct Generations {
    young: HashMap<Box<[u8]>, Box<[u8]>>,
    young_bytes: usize,
    old: HashMap<Box<[u8]>, Box<[u8]>>,
}

impl Generations {
    fn get(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        if let Some((key, code)) = self.old.remove_entry(key) {
            self.put(key, code);
        }
        self.young.get(key).map(|code| code.to_vec())
    }

    fn put(&mut self, key: Box<[u8]>, code: Box<[u8]>) {
        let bytes = key.len() + code.len();
        if self.young_bytes + bytes > KEPT_BYTES_MAX {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        self.young_bytes += bytes;
        self.young.insert(key, code);
    }
}

impl Functions {
    /// Lets all of them go.
    pub(crate) fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Generations::default();
    }
}

impl CacheStore for Functions {
    fn get(&self, key: &[u8]) -> Option<Cow<'_, [u8]>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key).map(Cow::Owned)
    }

    fn insert(&self, key: &[u8], code: Vec<u8>) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).put(key.into(), code.into());
        true
    }
}

impl fmt::Debug for Functions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Functions")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use wasmtime::component::Component;
    use wasmtime::{Config, Engine};

    fn kept(functions: &Functions) -> usize {
        functions.0.lock().unwrap().young.len()
    }

    #[test]
    fn another_script_in_the_same_runtime_compiles_nothing() {
        let functions = Arc::new(Functions::default());
        let mut config = Config::new();
        config.enable_incremental_compilation(functions.clone()).unwrap();
        // On several threads a key or two of seven were new the second time, now and then: those are compiled again. Why is not known.
        config.parallel_compilation(false);
        let engine = Engine::new(&config).unwrap();
        let compile = |script: &str, more: &str| {
            let text = format!(
                r#"(component (core module (memory 1) (data (i32.const 0) "{script}")
                    (func (export "f") (result i32) (i32.load8_u (i32.const 1))) {more}))"#
            );
            Component::new(&engine, wat::parse_str(text).unwrap()).unwrap();
            kept(&functions)
        };
        let first = compile("one", "");
        assert!(first > 0);
        assert_eq!(compile("two", ""), first);
        assert!(compile("two", r#"(func (export "g"))"#) > first);
        functions.forget();
        assert_eq!(kept(&functions), 0);
        assert_eq!(compile("two", ""), first);
    }

    #[test]
    fn what_was_not_asked_for_lately_goes() {
        let functions = Functions::default();
        let quarter = || vec![0; KEPT_BYTES_MAX / 4];
        let is_kept = |key: &[u8]| functions.get(key).is_some();
        for key in 0..8_u8 {
            functions.insert(&[key], quarter());
            assert!(is_kept(&[0]), "asked for each time, {key}");
        }
        assert!(is_kept(&[7]) && !is_kept(&[1]) && !is_kept(&[2]));
        let generations = functions.0.lock().unwrap();
        let bytes =
            |kept: &HashMap<Box<[u8]>, Box<[u8]>>| kept.values().map(|code| code.len()).sum::<usize>();
        assert!(
            generations.young_bytes <= KEPT_BYTES_MAX && bytes(&generations.young) <= generations.young_bytes
        );
        assert!(bytes(&generations.old) <= KEPT_BYTES_MAX);
    }
}
