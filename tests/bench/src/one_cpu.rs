//! Latencies on one processor.
//!
//! Whether the kernel runs both ends of a connection on one processor or wakes another, sleeping one for each message makes
//! a factor of ten on a virtual machine. It changes from moment to moment, and is nobody's merit. So what is compared as a
//! latency runs on one processor, all of it.
//!
//! Owns who is bound, and that they are let go. Must not know what is measured.

use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use sidelock_e2e::process::Process;
use std::{fs, io};

/// As long as it lives, this thread, whatever it starts meanwhile, and a server run on one processor.
pub(crate) struct OneCpu {
    server: Option<Pid>,
    before: CpuSet,
    /// All but the one, if there are others.
    others: Option<CpuSet>,
}

impl OneCpu {
    /// Binds this thread and `server`.
    pub(crate) fn with(server: &Process) -> io::Result<OneCpu> {
        let before = sched_getaffinity(None)?;
        let server = i32::try_from(server.id()).ok().and_then(Pid::from_raw);
        let mut first = CpuSet::new();
        if let Some(cpu) = (0..CpuSet::MAX_CPU).find(|cpu| before.is_set(*cpu)) {
            first.set(cpu);
        }
        let mut others = CpuSet::new();
        let rest = (0..CpuSet::MAX_CPU).filter(|cpu| before.is_set(*cpu) && !first.is_set(*cpu));
        rest.for_each(|cpu| others.set(cpu));
        let others = (others.count() > 0).then_some(others);
        let bound = OneCpu { server, before, others };
        bound.bind(&first)?;
        Ok(bound)
    }

    /// Those threads of a process work ahead or clear up, and nobody waits for them: they have the other processors, where there
    /// are any, as they would in a pod that has work for them.
    pub(crate) fn spare(&self, process: &Process, named: &str) -> io::Result<()> {
        let Some(others) = &self.others else { return Ok(()) };
        for task in fs::read_dir(format!("/proc/{}/task", process.id()))? {
            let task = task?.path();
            let number = task.file_name().and_then(|name| name.to_str()?.parse().ok());
            if fs::read_to_string(task.join("comm"))?.starts_with(named) {
                sched_setaffinity(number.and_then(Pid::from_raw), others)?;
            }
        }
        Ok(())
    }

    fn bind(&self, to: &CpuSet) -> io::Result<()> {
        sched_setaffinity(None, to)?;
        Ok(sched_setaffinity(self.server, to)?)
    }
}

impl Drop for OneCpu {
    fn drop(&mut self) {
        // What can not be let go spoils the figures that follow, and shows in them.
        let _ = self.bind(&self.before);
    }
}
