//! What a forked child inherits and must not touch.

use sidelock_client::ProcessMark;

/// Something of one process. In a forked child it is neither used nor dropped: its destructor would wait for threads, or
/// take locks, that only the parent has.
#[derive(Debug)]
pub(crate) struct OwnProcess<T> {
    mark: ProcessMark,
    /// `None` only while dropping.
    inner: Option<T>,
}

impl<T> OwnProcess<T> {
    pub(crate) fn new(inner: T) -> OwnProcess<T> {
        OwnProcess { mark: ProcessMark::here(), inner: Some(inner) }
    }

    /// Takes it out, unless it was inherited.
    pub(crate) fn into_inner(mut self) -> Option<T> {
        self.inner.take_if(|_| self.mark.is_here())
    }

    /// It, unless it was inherited.
    pub(crate) fn get(&self) -> Option<&T> {
        self.inner.as_ref().filter(|_| self.mark.is_here())
    }
}

impl<T> Drop for OwnProcess<T> {
    fn drop(&mut self) {
        if !self.mark.is_here() {
            std::mem::forget(self.inner.take());
        }
    }
}
