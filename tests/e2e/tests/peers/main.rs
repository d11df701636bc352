//! Cases from the test suites of locks that people use already, in our terms: what each asserts, not how. Every case
//! names its origin in a comment, and is played over memory and over two sidecars on one Redis.
//!
//! | suite | cases |
//! |---|---|
//! | .NET DistributedLock | 0 |

mod deadlock;
mod etag;
mod lock;
mod models;
mod once;
mod read_write;
mod semaphore;
mod stage;
mod upgrade;
