//! The engine that all policies share.
//!
//! Owns wasmtime's settings, the allocator's room, the ticker, and what was compiled before. Must not know chains or requests.

use crate::bindings::{link_observer, link_policy};
use crate::functions::Functions;
use crate::inside::{Inside, TABLE_ELEMENTS_MAX};
use crate::precompiled::Precompiled;
use crate::settings::MEMORY_BYTES_MAX;
use crate::ticker::Ticker;
use std::path::PathBuf;
use std::sync::Arc;
use wasmtime::component::Linker;
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

/// Instances at a time: those that run, those that are prepared, and those of versions that are on their way out. The
/// longest chain of compiled guests has a quarter of them prepared, and another version of it as many. Each is address space, and nothing
/// else until it is used.
const INSTANCES_MAX: u32 = 512;
/// What a component of Python or JavaScript is made of: its runtime, its libraries, the adapters between them.
const CORE_INSTANCES_PER_COMPONENT_MAX: u32 = 64;
const MEMORIES_PER_COMPONENT_MAX: u32 = 4;
const TABLES_PER_COMPONENT_MAX: u32 = 16;
/// Bytes of the bookkeeping of one core instance: Python's has several thousand functions.
const CORE_INSTANCE_BYTES_MAX: usize = 4 << 20;
/// Address space for each memory: all that 32 bits can name, so that machine code need not look whether an access is in bounds.
const RESERVED_BYTES: u64 = 4 << 30;
/// What an instance may leave in memory for the next one of its kind, instead of giving it back to the kernel page by page: a
/// runtime such as that of JavaScript writes to hundreds of pages, and to fetch them anew takes longer than to run it.
const MEMORY_KEPT_BYTES: usize = 4 << 20;
/// How many may.
const WARM_MAX: u32 = 16;
const TABLE_KEPT_BYTES: usize = 16 << 10;
/// What a guest's calls may be nested to, in bytes of the calling thread's stack.
pub(crate) const STACK_BYTES_MAX: usize = 512 << 10;

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Host(Arc<Parts>);

struct Parts {
    engine: Engine,
    functions: Arc<Functions>,
    ticker: Ticker,
    policies: Linker<Inside>,
    observers: Linker<Inside>,
    precompiled: Option<Precompiled>,
}

/// The host can not be set up.
#[derive(Debug, thiserror::Error)]
#[error("policies can not run here: {0}")]
pub struct NoHost(String);

impl Host {
    /// Sets the engine up. Machine code is kept in `cache`, if one is given and only this user can write there.
    pub fn new(cache: Option<PathBuf>) -> Result<Host, NoHost> {
        let functions = Arc::new(Functions::default());
        let engine = |reserved| config(functions.clone(), reserved).and_then(|config| Engine::new(&config));
        let engine = engine(RESERVED_BYTES)
            // Where address space is scarce: machine code that looks at the bound at each access, and is slower.
            .or_else(|_| engine(MEMORY_BYTES_MAX))
            .map_err(|error| NoHost(format!("{error:#}")))?;
        let ticker = Ticker::start(engine.weak()).map_err(|error| NoHost(error.to_string()))?;
        let (mut policies, mut observers) = (Linker::new(&engine), Linker::new(&engine));
        link_policy(&mut policies)
            .and_then(|()| link_observer(&mut observers))
            .map_err(|error| NoHost(format!("{error:#}")))?;
        let precompiled = cache.and_then(|folder| {
            let opened = Precompiled::open(&folder, &engine);
            opened
                .inspect_err(
                    |error| tracing::warn!(folder = %folder.display(), %error, "no cache of policies"),
                )
                .ok()
        });
        Ok(Host(Arc::new(Parts { engine, functions, ticker, policies, observers, precompiled })))
    }

    /// Gives memory back that is of use only while new versions come: to compile one takes tens of MiB, and what is kept of it
    /// makes the next one quick. Takes milliseconds, in which whoever allocates waits.
    pub fn rest(&self) {
        self.0.functions.forget();
        #[cfg(target_env = "gnu")]
        #[expect(unsafe_code, reason = "see SAFETY")]
        // SAFETY: it may be called at any time; the allocator takes its own locks.
        unsafe {
            libc::malloc_trim(0);
        }
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.0.engine
    }

    pub(crate) fn ticker(&self) -> &Ticker {
        &self.0.ticker
    }

    pub(crate) fn precompiled(&self) -> Option<&Precompiled> {
        self.0.precompiled.as_ref()
    }

    /// What a policy's imports are looked up in.
    pub(crate) fn policies(&self) -> Linker<Inside> {
        self.0.policies.clone()
    }

    /// What an observer's imports are looked up in.
    pub(crate) fn observers(&self) -> Linker<Inside> {
        self.0.observers.clone()
    }
}

fn config(functions: Arc<Functions>, reserved: u64) -> wasmtime::Result<Config> {
    let mut config = Config::new();
    config.enable_incremental_compilation(functions)?;
    config.epoch_interruption(true);
    config.max_wasm_stack(STACK_BYTES_MAX);
    // The same request is decided alike on every processor.
    config.cranelift_nan_canonicalization(true);
    config.relaxed_simd_deterministic(true);
    // Guests have no threads and no async calls, and a store need not be ready for them.
    config.concurrency_support(false);
    config.memory_reservation(reserved);
    config.memory_guard_size(64 << 10);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool()));
    Ok(config)
}

fn pool() -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::default();
    pool.total_component_instances(INSTANCES_MAX);
    pool.max_core_instances_per_component(CORE_INSTANCES_PER_COMPONENT_MAX);
    pool.max_memories_per_component(MEMORIES_PER_COMPONENT_MAX);
    pool.max_tables_per_component(TABLES_PER_COMPONENT_MAX);
    pool.total_core_instances(INSTANCES_MAX * 8);
    // A guest in JavaScript has three, of which two are empty.
    pool.total_memories(INSTANCES_MAX * 3);
    pool.total_tables(INSTANCES_MAX * 2);
    pool.table_elements(TABLE_ELEMENTS_MAX);
    pool.max_core_instance_size(CORE_INSTANCE_BYTES_MAX);
    pool.max_memory_size(usize::try_from(MEMORY_BYTES_MAX).unwrap_or(usize::MAX));
    pool.linear_memory_keep_resident(MEMORY_KEPT_BYTES);
    pool.max_unused_warm_slots(WARM_MAX);
    pool.table_keep_resident(TABLE_KEPT_BYTES);
    // The kernel tells which pages were written to, where it can: nothing else need be reset.
    pool.pagemap_scan(Enabled::Auto);
    pool
}
