//! Who asks, said once for a stretch of a program.
//!
//! Owns the owner of a task's scope. Must not know requests.

use std::future::Future;
use std::sync::Arc;

tokio::task_local! {
    static OWNER: Arc<str>;
}

/// Runs `future` with `name` as the owner of every request in it that names none. Tasks that it spawns are others' and
/// inherit nothing.
///
/// An owner is one *sequential* actor: sidecars take it that it lets go of nothing while it waits, and refuse with
/// [`crate::Error::Deadlock`] one of those who wait for each other in a ring. That is why async code has no owner
/// unless it says so: the branches of a `join!` run in one task and do not wait for each other, and a name that they
/// share would make deadlocks of what is none. It is also why an owner that waits can not ask for something else.
///
/// ```no_run
/// # async fn f(sl: sidelock_client::Client) -> sidelock_client::Result<()> {
/// sidelock_client::owner("transfer 7", async {
///     let from = sl.lock("accounts/1").await?;
///     let to = sl.lock("accounts/2").await?; // Deadlock, if somebody does the same the other way round
///     # drop((from, to));
///     Ok(())
/// })
/// .await
/// # }
/// ```
pub fn owner<F: Future>(name: impl AsRef<str>, future: F) -> impl Future<Output = F::Output> {
    OWNER.scope(Arc::from(name.as_ref()), future)
}

/// The owner of the scope that is being polled, if it has one.
pub(crate) fn current() -> Option<Arc<str>> {
    OWNER.try_with(Arc::clone).ok()
}
