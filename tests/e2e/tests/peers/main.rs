//! Cases from the test suites of locks that people use already, in our terms: what each asserts, not how. Every case
//! names its origin in a comment, and is played over memory and over two sidecars on one Redis.
//!
//! | suite | cases |
//! |---|---|
//! | .NET DistributedLock | 28 |
//! | Curator | 22 |
//! | Jepsen | 4 |
//! | Orleans | 2 |
//! | PostgreSQL | 2 |
//! | Redisson | 21 |
//! | ShedLock | 11 |
//! | dapr/components-contrib | 9 |
//! | etcd | 8 |
//! | redis-py | 10 |
//! | redislock | 5 |

mod deadlock;
mod etag;
mod lock;
mod models;
mod origins;
mod once;
mod read_write;
mod reentrant;
mod semaphore;
mod several;
mod stage;
mod upgrade;
