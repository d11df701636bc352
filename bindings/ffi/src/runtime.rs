//! The one thread of a process that moves bytes and keeps time for all clients in it.
//!
//! Owns that thread and its remaking: it does not survive a fork, so a child makes its own on first use.

use crate::error::{Failure, Result};
use sidelock_client::ProcessMark;
use std::future::Future;
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll};
use tokio::runtime::Handle;

/// The runtimes of a line of forks: each process appends its own, and uses no other. Nothing here waits for a lock that a
/// thread of the parent might have held when it forked.
static FIRST: OnceLock<Link> = OnceLock::new();

struct Link {
    mark: ProcessMark,
    runtime: Handle,
    child: OnceLock<Box<Link>>,
}

/// The runtime of this process.
pub(crate) fn handle() -> Result<Handle> {
    let mut link = match FIRST.get() {
        Some(link) => link,
        None => {
            let started = start()?;
            // If another thread was faster, its runtime is the one, and this one's thread ends with its last handle.
            FIRST.get_or_init(|| started)
        }
    };
    while !link.mark.is_here() {
        link = match link.child.get() {
            Some(child) => child,
            None => {
                let started = Box::new(start()?);
                link.child.get_or_init(|| started)
            }
        };
    }
    Ok(link.runtime.clone())
}

fn start() -> Result<Link> {
    let failed = |error: std::io::Error| Failure::no_thread(&error);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let handle = runtime.handle().clone();
    let drive = move || runtime.block_on(std::future::pending::<()>());
    std::thread::Builder::new().name("sidelock".into()).spawn(drive).map_err(failed)?;
    Ok(Link { mark: ProcessMark::here(), runtime: handle, child: OnceLock::new() })
}

/// A future of the SDK that is polled by a thread of another language: sockets and timers that it makes are the runtime's.
pub(crate) struct Guest<F> {
    runtime: Handle,
    future: Pin<Box<F>>,
}

impl<F: Future> Guest<F> {
    pub(crate) fn new(future: F) -> Result<Guest<F>> {
        Ok(Guest { runtime: handle()?, future: Box::pin(future) })
    }
}

impl<F: Future> Future for Guest<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let runtime = self.runtime.clone();
        let _context = runtime.enter();
        self.future.as_mut().poll(cx)
    }
}
