//! The log of `serve`: standard error, written by a thread.
//!
//! Owns which lines are written, how they look, and that nobody waits for them: whoever reads the log may be slow, stopped
//! (Ctrl-S) or gone, and renewals must not be late for that (H15). Must not know who writes.

use crate::failure::Failure;
use std::io::{IsTerminal, Stderr, Write, stderr};
use std::sync::{Arc, OnceLock};
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

/// Which log lines are written: `info`, `debug`, `sidelock_daemon=trace`, …
const LOG_VARIABLE: &str = "SIDELOCK_LOG";
/// `json` for machines, else text.
const LOG_FORMAT_VARIABLE: &str = "SIDELOCK_LOG_FORMAT";
/// Lines that may wait to be written. Further ones are lost, and it is said how many.
const LINES_MAX: usize = 4_096;

/// Starts it, until the value is dropped: that waits a second at most for what is not written yet.
pub(crate) fn start() -> Result<WorkerGuard, Failure> {
    // Empty is unset, as for settings.
    let wanted = std::env::var(LOG_VARIABLE).ok().filter(|wanted| !wanted.is_empty());
    let wanted = wanted.unwrap_or_else(|| "info".to_owned());
    let filter = EnvFilter::builder().parse(&wanted).map_err(|error| {
        Failure::usage(format!("{LOG_VARIABLE}={wanted}: {error}; write info, debug or target=level"))
    })?;
    let lost = Arc::new(OnceLock::new());
    let paper = Paper { to: stderr(), lost: lost.clone(), told: 0 };
    let pen = NonBlockingBuilder::default().buffered_lines_limit(LINES_MAX).thread_name("log");
    let (pen, guard) = pen.finish(paper);
    lost.get_or_init(|| pen.error_counter());
    // What spans there are is told when they end: with how long they took. A line that can not be written is nobody's fault
    // here: to complain of it would be another one, and a panic.
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_span_events(FmtSpan::CLOSE);
    let log = log.log_internal_errors(false).with_writer(pen);
    match std::env::var(LOG_FORMAT_VARIABLE).as_deref() {
        Ok("json") => log.json().init(),
        _ => log.with_ansi(stderr().is_terminal()).with_target(false).init(),
    }
    Ok(guard)
}

/// What the thread writes on.
struct Paper<W = Stderr> {
    to: W,
    lost: Arc<OnceLock<ErrorCounter>>,
    told: usize,
}

impl<W: Write> Write for Paper<W> {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        let lost = self.lost.get().map_or(0, ErrorCounter::dropped_lines);
        if lost > self.told {
            let lines = lost - std::mem::replace(&mut self.told, lost);
            writeln!(self.to, "sidelock: {lines} lines of the log are missing here: it is read too slowly")?;
        }
        // As a whole: nothing may be said in the middle of a line.
        self.to.write_all(line)?;
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes a line when it is told to.
    struct Slow(std::sync::mpsc::Receiver<()>, Arc<std::sync::Mutex<Vec<u8>>>);

    impl Write for Slow {
        fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
            let _ = self.0.recv();
            self.1.lock().expect("nobody panics").write(line)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn who_reads_slowly_is_told_how_many_lines_are_missing() {
        let (read, wait) = std::sync::mpsc::channel();
        let (lost, text) = (Arc::new(OnceLock::new()), Arc::default());
        let paper = Paper { to: Slow(wait, Arc::clone(&text)), lost: lost.clone(), told: 0 };
        let (mut pen, guard) = NonBlockingBuilder::default().buffered_lines_limit(2).finish(paper);
        let counter = lost.get_or_init(|| pen.error_counter());
        for number in 0..20 {
            pen.write_all(format!("line {number}\n").as_bytes()).expect("nobody waits");
        }
        // One is being written, two wait.
        let missing = counter.dropped_lines();
        assert!((17..=18).contains(&missing), "{missing}");
        drop(read);
        drop(guard);
        let text = String::from_utf8(text.lock().expect("nobody panics").clone()).expect("text");
        assert!(text.contains("line 0\n"), "{text}");
        // It may be said before all are missing, and again.
        let said =
            text.lines().filter_map(|line| line.strip_prefix("sidelock: ")?.split_once(" lines of the log"));
        assert_eq!(
            said.map(|(lines, _)| lines.parse::<usize>().expect("a number")).sum::<usize>(),
            missing,
            "{text}"
        );
    }
}
