//! A child process whose output is watched, and which never outlives its test.
//!
//! Owns starting, signals, waiting for a line or for the end. Must not know what program it is.

use crate::PATIENCE;
use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};
use std::ffi::OsStr;
use std::fmt::Display;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// A running program.
pub struct Process {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    output: Arc<Output>,
}

/// Everything the program has written so far, standard output and error together.
#[derive(Default)]
struct Output {
    state: Mutex<OutputState>,
    changed: Condvar,
}

#[derive(Default)]
struct OutputState {
    lines: Vec<String>,
    /// Streams that have reached their end, of two.
    ended: u8,
}

impl Process {
    /// Starts the command with its output watched. It is killed when this thread ends or the value is dropped.
    pub fn spawn(mut command: Command) -> Process {
        let name = program_name(command.get_program());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // SAFETY: between fork and exec the closure makes one system call and allocates nothing.
        unsafe { command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?)) };
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        let output = Arc::new(Output::default());
        output.clone().follow(child.stdout.take().expect("stdout is piped"));
        output.clone().follow(child.stderr.take().expect("stderr is piped"));
        let stdin = child.stdin.take();
        Process { name, child, stdin, output }
    }

    /// Waits until a line satisfies `wanted`, also one that was there before, and returns it.
    ///
    /// # Panics
    /// If the program ends or [`PATIENCE`] passes without such a line; the message shows what it wrote instead.
    pub fn line(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let line = self.line_within(PATIENCE, wanted);
        line.unwrap_or_else(|| panic!("{} never said {what}; it said:\n{}", self.name, self.output()))
    }

    /// The first line that satisfies `wanted`, if it is there within `limit`; `None` at once if the program ends without.
    pub fn line_within(&self, limit: Duration, wanted: impl Fn(&str) -> bool) -> Option<String> {
        let deadline = Instant::now() + limit;
        let mut state = self.output.lock();
        let mut seen = 0;
        loop {
            if let Some(line) = state.lines[seen..].iter().find(|line| wanted(line)) {
                return Some(line.clone());
            }
            seen = state.lines.len();
            let left = deadline.saturating_duration_since(Instant::now());
            if state.ended == 2 || left.is_zero() {
                return None;
            }
            state = self.output.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// All it wrote so far.
    pub fn output(&self) -> String {
        self.output.lock().lines.join("\n")
    }

    /// Writes a line to its standard input.
    pub fn say(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("stdin is open until it is closed");
        writeln!(stdin, "{line}").expect("the program reads its standard input");
    }

    /// Ends its standard input.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal. That it is gone already is no error.
    pub fn signal(&self, signal: Signal) {
        let pid =
            i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a child has a process id");
        let _ = kill_process(pid, signal);
    }

    /// Kills it with SIGKILL and waits until it is gone.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        let _ = self.child.wait();
    }

    /// Waits for its end and for the last of its output.
    ///
    /// # Panics
    /// If it still runs after `limit`.
    pub fn ended_within(&mut self, limit: Duration) -> ExitStatus {
        let deadline = Instant::now() + limit;
        let mut state = self.output.lock();
        while state.ended < 2 {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{} does not end; it said:\n{}", self.name, state.lines.join("\n"));
            state = self.output.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(state);
        self.child.wait().expect("a child can be waited for")
    }

    /// Waits for its end and returns its exit code, 128 + n for signal n as a shell says it.
    ///
    /// # Panics
    /// If it still runs after [`PATIENCE`].
    pub fn code(&mut self) -> i32 {
        let status = self.ended_within(PATIENCE);
        status
            .code()
            .or_else(|| status.signal().map(|signal| 128 + signal))
            .expect("ended by exit or by signal")
    }

    /// Has it ended by itself?
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child can be asked for").is_none()
    }

    /// Resident memory, in KiB, as the kernel counts it.
    pub fn resident_kib(&self) -> u64 {
        self.status_kib("VmRSS:")
    }

    /// The most that [`Process::resident_kib`] ever was, or has been since [`Process::forget_resident_peak`].
    pub fn resident_peak_kib(&self) -> u64 {
        self.status_kib("VmHWM:")
    }

    /// The peak begins anew, with what is resident now (proc(5), `clear_refs`).
    ///
    /// # Panics
    /// If the process is gone.
    pub fn forget_resident_peak(&self) {
        std::fs::write(format!("/proc/{}/clear_refs", self.id()), "5").expect("it runs");
    }

    fn status_kib(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let line = line.expect("the kernel says how much memory a process has");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// Descriptors that are open.
    ///
    /// # Panics
    /// If the process is gone.
    pub fn descriptors(&self) -> u64 {
        std::fs::read_dir(format!("/proc/{}/fd", self.id())).expect("it runs").count() as u64
    }

    /// Processor time used so far, by itself and in the kernel (proc(5), fields 14 and 15 of `stat`, in hundredths).
    pub fn processor_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id())).expect("it runs");
        let fields = stat.rsplit_once(") ").expect("the name ends").1.split(' ');
        let ticks = fields.skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("a number"));
        Duration::from_millis(10) * u32::try_from(ticks.sum::<u64>()).expect("less than a year")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A stopped process dies by SIGKILL too.
        self.kill();
    }
}

impl Output {
    fn lock(&self) -> std::sync::MutexGuard<'_, OutputState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn follow(self: Arc<Self>, stream: impl Read + Send + 'static) {
        thread::spawn(move || {
            let mut reader = BufReader::new(stream);
            let mut bytes = Vec::new();
            while reader.read_until(b'\n', &mut bytes).is_ok_and(|read| read > 0) {
                let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
                self.lock().lines.push(line);
                self.changed.notify_all();
                bytes.clear();
            }
            self.lock().ended += 1;
            self.changed.notify_all();
        });
    }
}

/// Runs a command to its end; its exit code and all it wrote.
pub fn run(command: Command) -> (i32, String) {
    let mut process = Process::spawn(command);
    process.close_stdin();
    let code = process.code();
    (code, process.output())
}

/// Asks until the answer is there or `limit` has passed; how long it took. For what gives no event to wait for.
pub fn until<T>(limit: Duration, what: impl Display, mut ask: impl FnMut() -> Option<T>) -> (T, Duration) {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return (answer, start.elapsed());
        }
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn program_name(program: &OsStr) -> String {
    let path = std::path::Path::new(program);
    path.file_name().unwrap_or(program).to_string_lossy().into_owned()
}
