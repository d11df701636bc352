//! The threads on which components are compiled.
//!
//! Owns how many there are, and that they are there only as long as something is compiled. They are no nicer than others: where a
//! pod's processors are all in use, a new version would wait until they are not. Must not know what is compiled.

use rayon::{ThreadPoolBuildError, ThreadPoolBuilder};

/// Each costs memory while it compiles, and a pod rarely has more processors than this.
const THREADS_MAX: usize = 8;

/// Does it there, on all processors; on one where no more threads are to be had. An error: not even one is.
pub(crate) fn compile<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, ThreadPoolBuildError> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = |count| {
        let pool = ThreadPoolBuilder::new().num_threads(count);
        pool.thread_name(|number| format!("compiler {number}")).build()
    };
    Ok(threads(processors.min(THREADS_MAX)).or_else(|_| threads(1))?.install(work))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_compiles_is_no_thread_of_somebody_else() {
        let name = compile(|| std::thread::current().name().map(str::to_owned)).unwrap();
        assert!(name.is_some_and(|name| name.starts_with("compiler ")));
    }
}
