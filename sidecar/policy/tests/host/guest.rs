//! Guests written by hand: small core modules in the text format, which the host's own `componentize` makes components of.
//!
//! Owns the layout of the records in a guest's memory (the canonical ABI of `wit/policy.wit`), as far as tests read or write
//! them. A test says what `admit` does, in WebAssembly; `$r` is the address of the request.

#![allow(clippy::unwrap_used, reason = "helpers of a test are a test")]

use sidelock_policy::componentize;
use std::fmt::Write as _;
use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// Where the parts of a request are, from its address.
pub(crate) mod request {
    /// The first key: address and length of its list's first element.
    pub(crate) const KEYS: u32 = 4;
    pub(crate) const WAIT_MS: u32 = 56;
    pub(crate) const UID: u32 = 120;
    pub(crate) const WEEKDAY: u32 = 170;
    pub(crate) const MINUTE_OF_DAY: u32 = 172;
    pub(crate) const COUNTERS: u32 = 208;
}

/// Where results are written: nothing lives there between calls.
const DECISION: u32 = 512;
const CONFIGURED: u32 = 640;
const VALIDATED: u32 = 656;
const COUNTERS: u32 = 704;
/// Where texts begin, and where the heap does.
const TEXTS: u32 = 1024;
const HEAP: u32 = 32_768;

/// A guest in the making.
pub(crate) struct Guest {
    texts: String,
    end: u32,
    imports: String,
    memory: String,
    globals: String,
    admit: String,
    configure: String,
    validate: String,
    counters: Vec<(u32, u32)>,
}

impl Guest {
    /// One that allows all.
    pub(crate) fn new() -> Guest {
        Guest {
            texts: String::new(),
            end: TEXTS,
            imports: String::new(),
            memory: "2".into(),
            globals: String::new(),
            admit: String::new(),
            configure: String::new(),
            validate: String::new(),
            counters: Vec::new(),
        }
    }

    /// Puts a text into its memory: address and length.
    pub(crate) fn text(&mut self, text: &str) -> (u32, u32) {
        let at = self.end;
        let bytes = text.bytes().fold(String::new(), |mut all, byte| {
            let _ = write!(all, "\\{byte:02x}");
            all
        });
        let _ = writeln!(self.texts, "(data (i32.const {at}) \"{bytes}\")");
        self.end += u32::try_from(text.len()).unwrap();
        assert!(self.end < HEAP, "too much text");
        (at, self.end - at)
    }

    /// Admits so many requests in an hour.
    pub(crate) fn quota(of: u32) -> Guest {
        Guest::quota_by("all", of)
    }

    /// … counted under this name.
    pub(crate) fn quota_by(name: &str, of: u32) -> Guest {
        let value = format!("(i64.load offset=8 (i32.load offset={} (local.get $r)))", request::COUNTERS);
        let mut guest = Guest::new().wants(&[&format!("{name}/1h")]).counts(name);
        let (code, len) = guest.text("full");
        let deny = store8(0, 2) + &store(8, code) + &store(12, len);
        guest.admit(&format!("(if (i64.ge_u {value} (i64.const {of})) (then {deny}))"))
    }

    /// More of what `admit` does before it returns.
    pub(crate) fn admit(mut self, code: &str) -> Guest {
        let _ = writeln!(self.admit, "{code}");
        self
    }

    /// What `configure` does.
    pub(crate) fn configure(mut self, code: &str) -> Guest {
        let _ = writeln!(self.configure, "{code}");
        self
    }

    /// What `validate` does.
    pub(crate) fn validate(mut self, code: &str) -> Guest {
        let _ = writeln!(self.validate, "{code}");
        self
    }

    /// What it imports besides.
    pub(crate) fn imports(mut self, code: &str) -> Guest {
        let _ = writeln!(self.imports, "{code}");
        self
    }

    /// Memory's limits, tables, globals: what else the module has.
    pub(crate) fn with(mut self, code: &str) -> Guest {
        let _ = writeln!(self.globals, "{code}");
        self
    }

    /// Pages of memory that it begins with.
    pub(crate) fn pages(mut self, pages: u32) -> Guest {
        self.memory = pages.to_string();
        self
    }

    /// Wants these counters.
    pub(crate) fn wants(mut self, counters: &[&str]) -> Guest {
        for counter in counters {
            let text = self.text(counter);
            self.counters.push(text);
        }
        self
    }

    /// `admit` denies.
    pub(crate) fn denies(self, code: &str, message: &str) -> Guest {
        self.denies_after(code, message, None)
    }

    /// `admit` denies, and says when to come again.
    pub(crate) fn denies_after(mut self, code: &str, message: &str, retry_after_ms: Option<u64>) -> Guest {
        let ((code, code_len), (message, message_len)) = (self.text(code), self.text(message));
        let mut out = store8(0, 2) + &store(8, code) + &store(12, code_len);
        out += &(store(16, message) + &store(20, message_len));
        if let Some(retry) = retry_after_ms {
            out +=
                &(store8(24, 1) + &format!("(i64.store (i32.const {}) (i64.const {retry}))", DECISION + 32));
        }
        self.admit(&out)
    }

    /// `admit` abstains.
    pub(crate) fn abstains(self) -> Guest {
        self.admit(&store8(0, 3))
    }

    /// `admit` changes the key.
    pub(crate) fn edits_key(mut self, key: &str) -> Guest {
        let (key, len) = self.text(key);
        self.admit(&(store8(0, 1) + &store8(8, 1) + &store(12, key) + &store(16, len)))
    }

    /// `admit` changes the time to live.
    pub(crate) fn edits_ttl(self, ttl_ms: u64) -> Guest {
        let ttl = format!("(i64.store (i32.const {}) (i64.const {ttl_ms}))", DECISION + 32);
        self.admit(&(store8(0, 1) + &store8(24, 1) + &ttl))
    }

    /// `admit` changes the longest wait.
    pub(crate) fn edits_wait(self, wait_ms: u64) -> Guest {
        let wait = format!("(i64.store (i32.const {}) (i64.const {wait_ms}))", DECISION + 64);
        self.admit(&(store8(0, 1) + &store8(56, 1) + &wait))
    }

    /// `admit` changes the number of waiters that there may be.
    pub(crate) fn edits_max_waiters(self, max: u32) -> Guest {
        self.admit(&(store8(0, 1) + &store8(80, 1) + &store(84, max)))
    }

    /// `admit` counts under this name.
    pub(crate) fn counts(mut self, name: &str) -> Guest {
        let (name, len) = self.text(name);
        let list = self.end.next_multiple_of(4);
        self.end = list + 8;
        let list_of_one = format!(
            "(i32.store (i32.const {list}) (i32.const {name})) (i32.store (i32.const {}) (i32.const {len}))",
            list + 4
        );
        self.admit(&(list_of_one + &store(88, list) + &store(92, 1)))
    }

    /// `admit` allows its answer to be repeated.
    pub(crate) fn caches(self, ms: u32) -> Guest {
        self.admit(&store(96, ms))
    }

    /// The component of the world `policy`.
    pub(crate) fn policy(&self) -> Vec<u8> {
        componentize(&self.policy_module()).unwrap()
    }

    /// What a compiler writes before it is made a component.
    pub(crate) fn policy_module(&self) -> Vec<u8> {
        let admit = &self.admit;
        self.module(&format!(
            r#"(func (export "sidelock:policy/admission@0.1.0#admit") (param $r i32) (result i32) (local $i i32)
                 {admit} (i32.const {DECISION}))"#
        ))
    }

    /// The component of the world `observer`: `admit`'s code is what it does with the list of events at `$events`.
    pub(crate) fn observer(&self) -> Vec<u8> {
        let observe = &self.admit;
        let module = self.module(&format!(
            r#"(func (export "sidelock:policy/observation@0.1.0#observe") (param $events i32) (param $len i32) (local $i i32)
                 {observe})"#
        ));
        componentize(&module).unwrap()
    }

    fn module(&self, export: &str) -> Vec<u8> {
        let Guest { texts, imports, memory, globals, configure, validate, .. } = self;
        let sink = match export.contains("#observe") {
            true => r#"(import "sidelock:policy/sink@0.1.0" "emit" (func $emit (param i32 i32)))"#,
            false => "",
        };
        let mut counters = String::new();
        for (at, (text, len)) in (COUNTERS..).step_by(8).zip(&self.counters) {
            let _ = write!(counters, "(i32.store (i32.const {at}) (i32.const {text}))");
            let _ = write!(counters, "(i32.store (i32.const {}) (i32.const {len}))", at + 4);
        }
        let wanted = self.counters.len();
        let module = format!(
            r#"(module
            (import "sidelock:policy/host@0.1.0" "log" (func $log (param i32 i32 i32)))
            (import "sidelock:policy/host@0.1.0" "lookup" (func $lookup (param i32 i32 i32 i32 i32)))
            {sink} {imports}
            (memory (export "memory") {memory})
            {globals}
            {texts}
            (global $heap (mut i32) (i32.const {HEAP}))
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
              (global.set $heap (i32.and (i32.add (global.get $heap) (i32.const 15)) (i32.const -16)))
              (global.get $heap)
              (global.set $heap (i32.add (global.get $heap) (local.get 3))))
            (func (export "sidelock:policy/settings@0.1.0#validate") (param $json i32) (param $len i32) (result i32)
              {validate} (i32.const {VALIDATED}))
            (func (export "sidelock:policy/settings@0.1.0#configure") (param $json i32) (param $len i32) (result i32)
              {counters}
              (i32.store (i32.const {}) (i32.const {COUNTERS}))
              (i32.store (i32.const {}) (i32.const {wanted}))
              {configure} (i32.const {CONFIGURED}))
            {export})"#,
            CONFIGURED + 4,
            CONFIGURED + 8,
        );
        wat::parse_str(module).unwrap()
    }
}

/// Code of `validate` or `configure` that says no.
pub(crate) fn says_no((text, len): (u32, u32), validate: bool) -> String {
    let at = if validate { VALIDATED } else { CONFIGURED };
    format!(
        "(i32.store8 (i32.const {at}) (i32.const 1)) (i32.store (i32.const {}) (i32.const {text}))
         (i32.store (i32.const {}) (i32.const {len}))",
        at + 4,
        at + 8
    )
}

/// Writes a word of the decision.
pub(crate) fn store(at: u32, value: u32) -> String {
    format!("(i32.store (i32.const {}) (i32.const {value}))\n", DECISION + at)
}

/// Writes a byte of the decision.
pub(crate) fn store8(at: u32, value: u8) -> String {
    format!("(i32.store8 (i32.const {}) (i32.const {value}))\n", DECISION + at)
}

/// A component of a module that is of a world of its own: `world` is what stands in it, `packages` what that refers to.
pub(crate) fn component_of(module: &[u8], packages: &[&str], world: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    for package in packages {
        resolve.push_str("package.wit", package).unwrap();
    }
    let package =
        resolve.push_str("world.wit", &format!("package test:test; world test {{ {world} }}")).unwrap();
    let world = resolve.select_world(&[package], Some("test")).unwrap();
    let mut module = module.to_owned();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    componentize(&module).unwrap()
}
