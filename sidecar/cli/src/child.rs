//! Processes that we start and that must not outlive us.
//!
//! Owns the arrangement with the kernel. Must not know what is started.

use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{getpid, getppid};
use std::io;
use tokio::process::Command;

/// The kernel kills what this command starts when we die, however we die. It leads a process group of its own, so that a
/// Ctrl-C meant for us does not reach it first.
pub(crate) fn bound_to_us(command: &mut Command) -> &mut Command {
    let us = getpid();
    let die_with_us = move || {
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        // We may have died between fork and prctl: then nobody would ever send that signal.
        if getppid() == us { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
    };
    // SAFETY: between fork and exec the closure makes two system calls and allocates nothing.
    unsafe { command.process_group(0).pre_exec(die_with_us) }
}
