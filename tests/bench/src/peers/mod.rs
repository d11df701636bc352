//! What a user would use instead of us: the `redis` crate in this process, other libraries in processes of their own.

pub(crate) mod redis_crate;
pub(crate) mod foreign;

use std::time::Duration;

/// How long a peer's lock lives: long enough that none runs out while it is measured.
const TTL: Duration = Duration::from_secs(10);
