//! The command that `run` protects: its process group, its signals, its end.
//!
//! Owns starting the command in a group of its own, lending it the terminal, passing signals on, and what happens to it
//! when we die. Must not know leases: `run` decides when to send which signal.

use crate::child::bound_to_us;
use nix::sys::signal::{SigSet, Signal, killpg, raise};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::{Pid, getpgrp, tcgetpgrp, tcsetpgrp};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use tokio::process::{Child, Command};

/// Exit code of a shell for a command that exists but can not be run.
const CANNOT_RUN: u8 = 126;
/// Exit code of a shell for a command that does not exist.
const NOT_FOUND: u8 = 127;
/// A shell adds this to the number of the signal that ended a command.
const SIGNAL_BASE: i32 = 128;
/// The terminal that controls us, if there is one.
const TERMINAL: &str = "/dev/tty";

/// A command that runs.
pub(super) struct Job {
    child: Child,
    group: Pid,
    /// What the command may read from, whatever its input is: ssh asks there for a passphrase.
    terminal: Option<File>,
    /// We lent the terminal to the command's group and must take it back.
    lent: bool,
}

impl Job {
    /// Starts `command` with `environment` added. It leads a process group of its own, gets the terminal if we had it,
    /// is killed by the kernel if we die, and inherits no descriptor but the standard three (ours are close-on-exec).
    pub(super) fn start(command: &[OsString], environment: &[(&str, String)]) -> io::Result<Job> {
        let (program, arguments) = command
            .split_first()
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "there is no command to run"))?;
        let mut builder = Command::new(program);
        builder.args(arguments).envs(environment.iter().map(|(name, value)| (name, value)));
        let child = bound_to_us(&mut builder).spawn()?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        let group = group.ok_or_else(|| io::Error::other("the command has no process id"))?;
        let terminal = File::options().read(true).write(true).open(TERMINAL).ok();
        let mut job = Job { child, group, terminal, lent: false };
        // With another input the terminal may be somebody else's in our pipeline, until the command wants it.
        if io::stdin().is_terminal() {
            job.lend();
        }
        Ok(job)
    }

    /// Sends a signal to the command and all it started in its group. Nobody left there is no error.
    pub(super) fn signal(&self, signal: Signal) {
        let _ = killpg(self.group, signal);
        // Who is stopped hears of its end only when it goes on; what else there is to hear can wait.
        if !matches!(signal, Signal::SIGUSR1 | Signal::SIGUSR2) {
            let _ = killpg(self.group, Signal::SIGCONT);
        }
    }

    /// If the command was stopped at its terminal (Ctrl-Z), stops us too, so that the shell gets the terminal back; goes on
    /// with the command when the shell lets us go on. To be called at every SIGCHLD.
    pub(super) fn follow_stop(&mut self) {
        let news = waitid(Id::Pid(self.group), WaitPidFlag::WSTOPPED | WaitPidFlag::WNOHANG);
        let (Some(terminal), Ok(WaitStatus::Stopped(_, by))) = (&self.terminal, news) else { return };
        // Where the terminal is not its input and it has not wanted it yet, whoever else stops it means the command alone.
        let wanted_it = matches!(by, Signal::SIGTTIN | Signal::SIGTTOU);
        if !wanted_it && !self.lent && !io::stdin().is_terminal() {
            return;
        }
        // In the foreground without having lent the terminal, it was the command's reading that stopped it.
        if tcgetpgrp(terminal) != Ok(getpgrp()) {
            self.take_back();
            let _ = raise(Signal::SIGSTOP);
        }
        self.lend();
        let _ = killpg(self.group, Signal::SIGCONT);
    }

    /// If we are the foreground job of a terminal, the command's group becomes it: otherwise the terminal would stop the
    /// command at its first read, and Ctrl-C would reach us instead of it.
    fn lend(&mut self) {
        let Some(terminal) = self.terminal.as_ref().filter(|terminal| tcgetpgrp(terminal) == Ok(getpgrp()))
        else {
            return;
        };
        // Taking the terminal back happens from the background, where the kernel would stop us for it. Blocking the signal
        // allows it; the standard library gives commands an empty mask, so none inherits this.
        let mut stop = SigSet::empty();
        stop.add(Signal::SIGTTOU);
        if stop.thread_block().is_ok() && tcsetpgrp(terminal, self.group).is_ok() {
            // The command may have been stopped for reading before the terminal was its own.
            let _ = killpg(self.group, Signal::SIGCONT);
            self.lent = true;
        }
    }

    fn take_back(&mut self) {
        if std::mem::take(&mut self.lent)
            && let Some(terminal) = &self.terminal
        {
            let _ = tcsetpgrp(terminal, getpgrp());
        }
    }

    /// Whether the command itself has ended, asked of the kernel: [`Job::ended`] may yet have to hear of it.
    pub(super) fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// Waits until the command itself has ended.
    pub(super) async fn ended(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.take_back();
    }
}

/// The exit code that a shell would give for this end of a command.
pub(super) fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| SIGNAL_BASE + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

/// The exit code that a shell would give for a command that can not be started.
pub(super) fn start_failure_code(error: &io::Error) -> u8 {
    if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { CANNOT_RUN }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn end_of(script: &str) -> u8 {
        let command = ["sh", "-c", script].map(OsString::from);
        let mut job = Job::start(&command, &[("SIDELOCK_FENCE", "7".to_owned())]).expect("sh exists");
        exit_code(job.ended().await.expect("sh ends"))
    }

    #[tokio::test]
    async fn the_commands_code_is_passed_on_as_a_shell_would() {
        assert_eq!(end_of("exit 0").await, 0);
        assert_eq!(end_of("exit 42").await, 42);
        assert_eq!(end_of("kill -TERM $$").await, 143);
        assert_eq!(end_of("exit $SIDELOCK_FENCE").await, 7, "the environment is handed over");
    }

    #[tokio::test]
    async fn the_command_leads_its_own_group_and_dies_by_a_signal_to_it() {
        let command = ["sh", "-c", "sleep 60 & wait"].map(OsString::from);
        let mut job = Job::start(&command, &[]).expect("sh exists");
        job.signal(Signal::SIGKILL);
        assert_eq!(exit_code(job.ended().await.expect("sh ends")), 137);
    }

    #[tokio::test]
    async fn what_can_not_be_started_has_a_shells_code() {
        let missing = Job::start(&["/nonexistent/command".into()], &[]).err().expect("is not there");
        assert_eq!(start_failure_code(&missing), 127);
        let directory = Job::start(&["/".into()], &[]).err().expect("is no program");
        assert_eq!(start_failure_code(&directory), 126);
    }
}
