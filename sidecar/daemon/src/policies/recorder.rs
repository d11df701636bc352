//! Requests on record: a line for each that policies could be asked about, and what was decided.
//!
//! Owns the queue and the thread that empties it. Nobody waits for a disk: a line for which there is no room is left out,
//! counted, and missing from the numbers of the others. Must not know what stands in a line.

use super::log_file::LogFile;
use prometheus_client::metrics::counter::Counter;
use sidelock_policy::model::{Request, Verdict};
use sidelock_policy::{Outcome, Recorded};
use std::cell::{Cell, RefCell};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, channel, sync_channel};
use std::time::Duration;

/// Lines that wait for the disk: about a kilobyte each, a second of a busy sidecar.
const WAITING_MAX: usize = 8192;
/// What they may be long, together: a client's requests can name hundreds of keys, and what it holds.
const WAITING_BYTES_MAX: usize = 16 << 20;
/// Bytes of a line without its texts and steps.
const LINE_BYTES: usize = 1 << 10;
/// Bytes of a text beside its own: what it is kept in, and what says where that is.
const TEXT_BYTES: usize = 64;
/// Bytes of what one policy said, without its texts.
const STEP_BYTES: usize = 512;
/// Bytes after which lines are handed to the system, however many more wait.
const BATCH_BYTES: usize = 64 << 10;
/// What the end of a sidecar waits for the last of its lines.
const LAST_LINES: Duration = Duration::from_secs(1);

/// The record of a sidecar, if there is to be one.
pub(crate) struct Record {
    writer: RefCell<Option<Rc<Writer>>>,
    /// Of the last line, in whichever file.
    seq: Cell<u64>,
    dropped: Counter,
}

/// A request that will be on record, once it is decided.
pub(super) struct Entry {
    asked: Request,
    writer: Rc<Writer>,
}

/// The way to the thread.
struct Writer {
    path: PathBuf,
    /// Bytes that wait.
    waiting: Arc<AtomicUsize>,
    lines: RefCell<Option<SyncSender<Line>>>,
    /// Ends when the thread does.
    ended: Receiver<()>,
}

struct Line {
    seq: u64,
    asked: Request,
    outcome: Option<Box<Outcome>>,
    bytes: usize,
}

impl Record {
    /// None so far. What can not be written is counted there.
    pub(super) fn new(dropped: Counter) -> Record {
        Record { writer: RefCell::default(), seq: Cell::new(0), dropped }
    }

    /// From now on there, or nowhere. What waits for another file still gets there.
    pub(super) fn keep_at(&self, path: Option<&Path>) -> Result<(), String> {
        let now = self.writer.borrow().as_ref().map(|writer| writer.path.clone());
        if now.as_deref() == path {
            return Ok(());
        }
        let start = |path: &Path| {
            let started = Writer::start(path, self.dropped.clone());
            started.map(Rc::new).map_err(|error| format!("policy_log {}: {error}", path.display()))
        };
        *self.writer.borrow_mut() = path.map(start).transpose()?;
        Ok(())
    }

    /// Whether there is to be one.
    pub(super) fn is_kept(&self) -> bool {
        self.writer.borrow().is_some()
    }

    /// The place of a request in it.
    pub(super) fn entry(&self, asked: &Request) -> Option<Entry> {
        let writer = self.writer.borrow().clone()?;
        Some(Entry { asked: asked.clone(), writer })
    }

    /// This is what was decided about it. Nothing: the policies could not be asked.
    pub(super) fn decided(&self, entry: Entry, outcome: Option<Box<Outcome>>) {
        let Entry { asked, writer } = entry;
        self.seq.set(self.seq.get() + 1);
        let bytes = size(&asked, outcome.as_deref());
        let line = Line { seq: self.seq.get(), asked, outcome, bytes };
        let lines = writer.lines.borrow();
        let Some(lines) = &*lines else {
            self.dropped.inc();
            return;
        };
        let has_room = writer.waiting.fetch_add(bytes, Relaxed) + bytes <= WAITING_BYTES_MAX;
        if !has_room || lines.try_send(line).is_err() {
            writer.waiting.fetch_sub(bytes, Relaxed);
            self.dropped.inc();
        }
    }

    /// Waits for the last lines, as long as the end of a sidecar can.
    pub(super) fn end(&self) {
        let Some(writer) = self.writer.borrow_mut().take() else { return };
        drop(writer.lines.take());
        // An error means that the thread is done.
        if writer.ended.recv_timeout(LAST_LINES) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!(
                path = %writer.path.display(),
                "the last lines of policy_log are not written: the disk is too slow"
            );
        }
    }
}

impl Writer {
    fn start(path: &Path, dropped: Counter) -> io::Result<Writer> {
        let (lines, taken) = sync_channel(WAITING_MAX);
        let waiting = Arc::new(AtomicUsize::new(0));
        let written = waiting.clone();
        let (is_ending, ended) = channel::<()>();
        let mut log = LogFile::open(path)?;
        std::thread::Builder::new().name("policy-log".into()).spawn(move || {
            write_all(&mut log, &taken, &written, &dropped);
            drop(is_ending);
        })?;
        Ok(Writer { path: path.to_owned(), waiting, lines: RefCell::new(Some(lines)), ended })
    }
}

/// What a line about it keeps in memory, roughly: its texts are what a client can make many of.
fn size(asked: &Request, outcome: Option<&Outcome>) -> usize {
    let keys = asked.keys.iter().chain(&asked.held).map(|key| key.len());
    let meta = asked.meta.iter().map(|(name, value)| name.len() + value.len());
    let texts = keys.chain(meta).map(|text| text + TEXT_BYTES);
    let steps = outcome.iter().flat_map(|outcome| &outcome.steps).map(|step| {
        // A denial's is kept twice: by the policy that said it, and as what was decided.
        let said = if let Ok(Verdict::Deny(denial)) = &step.ruling { 2 * denial.message.len() } else { 0 };
        STEP_BYTES + said + step.lines.iter().map(|line| line.text.len()).sum::<usize>()
    });
    LINE_BYTES + texts.sum::<usize>() + steps.sum::<usize>()
}

/// Writes what comes, until nobody is left who could send more.
fn write_all(log: &mut LogFile, lines_taken: &Receiver<Line>, waiting: &AtomicUsize, dropped: &Counter) {
    let (mut batch, mut fails) = (Vec::new(), false);
    while let Ok(first) = lines_taken.recv() {
        batch.clear();
        let (mut next, mut lines) = (Some(first), 0);
        while let Some(Line { seq, asked, outcome, bytes }) = next {
            let recorded = Recorded::new(seq, asked, outcome.as_deref());
            // A vector takes all that is written to it, and nothing in a line has no form in JSON.
            drop(serde_json::to_writer(&mut batch, &recorded));
            batch.push(b'\n');
            lines += 1;
            waiting.fetch_sub(bytes, Relaxed);
            next = if batch.len() < BATCH_BYTES { lines_taken.try_recv().ok() } else { None };
        }
        match log.append(&batch) {
            Ok(()) => fails = false,
            Err(error) => {
                dropped.inc_by(lines);
                if !std::mem::replace(&mut fails, true) {
                    let path = log.path().display();
                    tracing::error!(%path, %error, "policy_log can not be written; requests go on, lines are missing");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A way to a thread that never takes anything.
    fn stuck(record: &Record) -> Receiver<Line> {
        let (lines, taken) = sync_channel(WAITING_MAX);
        let (waiting, lines) = (Arc::new(AtomicUsize::new(0)), RefCell::new(Some(lines)));
        let writer = Writer { path: PathBuf::new(), waiting, lines, ended: channel().1 };
        *record.writer.borrow_mut() = Some(Rc::new(writer));
        taken
    }

    /// 256 keys of 512 bytes are what a client can have each of its requests carry along.
    #[test]
    fn what_waits_for_a_slow_disk_is_bounded_in_bytes() {
        let record = Record::new(Counter::default());
        let taken = stuck(&record);
        let decided = |held: usize| {
            let held = (0..held).map(|key| format!("{key:0512}").into()).collect();
            let asked = Request { held, ..Request::default() };
            record.decided(record.entry(&asked).expect("it is kept"), None);
        };
        (0..200).for_each(|_| decided(256));
        let fit = WAITING_BYTES_MAX / (256 * (512 + TEXT_BYTES) + LINE_BYTES);
        assert_eq!((taken.try_iter().count(), record.dropped.get()), (fit, 200 - fit as u64));
        decided(256);
        assert_eq!(record.dropped.get(), 201 - fit as u64, "what was taken and not written yet counts");
        decided(0);
        assert_eq!(taken.try_iter().count(), 1, "there is room for a small one");
    }
}
