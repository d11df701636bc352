//! Before the other language ends.

use crate::runtime;
use std::pin::pin;
use std::sync::mpsc::channel;
use std::time::Duration;

/// A runtime thread that does not come to it within so long is stopped; a program's end does not wait for it.
const QUIET_WITHIN: Duration = Duration::from_secs(1);

/// Waits until the runtime thread has come back from the other language, if it is there: an interpreter that ends while a
/// thread of somebody else's is in it aborts the program. To be called when nothing is under way any more.
#[uniffi::export]
pub fn quiet() {
    let Some(runtime) = runtime::started() else { return };
    let (back, came_back) = channel();
    let turn = runtime.handle().spawn(async move { back.send(()) });
    // Here, as soon as that thread has left the driver's seat to this one; or there.
    let _ = runtime.drive(pin!(turn));
    // Late is as good as never: there is nothing else to do about it.
    let _ = came_back.recv_timeout(QUIET_WITHIN);
}
