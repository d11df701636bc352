//! One history out of many diaries.
//!
//! Owns numbering sessions and sidecars' lives over all processes, the order of time, which sessions slept when, and what
//! the word of a dead process is worth: nothing from the moment on at which it may have been dead.

use sidelock_sim::checker::history::{Acquire, Answer, At, Bounds, Event, History, Record, Req, Sent};
use std::collections::HashMap;
use std::ops::Range;
use std::path::PathBuf;
use std::{fs, io};

/// The diary of a process that is gone.
#[derive(Clone, Debug)]
pub struct Pages {
    /// Where it stands. A process that had nothing to say has none.
    pub diary: PathBuf,
    /// It was killed, soon after this instant.
    pub died: Option<At>,
    /// It was stopped all the time between.
    pub stops: Vec<Range<At>>,
}

impl Pages {
    /// What stands there, up to the line that its writer was killed in.
    ///
    /// # Errors
    /// If it can not be read, or has a line in the middle that is none.
    pub fn read(&self) -> io::Result<Vec<Record>> {
        let text = match fs::read(&self.diary) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            read => read?,
        };
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let lines = text[..whole].split_inclusive(|byte| *byte == b'\n');
        lines.map(|line| serde_json::from_slice(line).map_err(io::Error::from)).collect()
    }
}

/// A process was stopped for a time.
#[derive(Clone, Debug)]
pub struct Stop {
    /// Its sessions.
    pub sessions: Range<u32>,
    /// From when till when, at least.
    pub span: Range<At>,
}

/// One history, and what is known of those in it.
#[derive(Clone, Debug)]
pub struct Merged {
    /// What happened.
    pub history: History,
    /// Who slept when.
    pub stops: Vec<Stop>,
    /// The numbers of sidecars' lives, by what diaries call them.
    pub lives: HashMap<u32, u32>,
}

/// Merges.
///
/// # Errors
/// If a diary can not be read, or has a line in the middle that is none.
pub fn merge(bounds: Bounds, pages: &[Pages], others: &[&[Record]]) -> io::Result<Merged> {
    let mut merger = Merger::default();
    let mut stops = Vec::new();
    for page in pages {
        let first = merger.sessions;
        merger.add(&page.read()?, page.died);
        let sessions = first..merger.sessions;
        stops.extend(page.stops.iter().map(|span| Stop { sessions: sessions.clone(), span: span.clone() }));
    }
    for records in others {
        merger.add(records, None);
    }
    let Merger { mut records, lives, .. } = merger;
    // Stable: what one process wrote with one stamp stays in its order.
    records.sort_by_key(|record| record.at);
    Ok(Merged { history: History { bounds, records }, stops, lives })
}

#[derive(Default)]
struct Merger {
    records: Vec<Record>,
    /// Sessions numbered so far.
    sessions: u32,
    /// Lives by what diaries call them.
    lives: HashMap<u32, u32>,
}

impl Merger {
    fn add(&mut self, records: &[Record], died: Option<At>) {
        let base = self.sessions;
        for &Record { at, event } in records {
            if died.is_some_and(|died| at > died) {
                continue;
            }
            if let Event::Opened { session, .. } = event {
                self.sessions = self.sessions.max(base + session + 1);
            }
            let event = self.renumbered(base, event);
            self.records.push(Record { at, event });
        }
        let opened = base..self.sessions;
        if let Some(at) = died {
            self.records.extend(opened.map(|session| Record { at, event: Event::HungUp { session } }));
        }
    }

    fn renumbered(&mut self, base: u32, event: Event) -> Event {
        let req = |of: Req| Req { session: base + of.session, ..of };
        match event {
            Event::Opened { session, sidecar, uid } => {
                let count = u32::try_from(self.lives.len()).expect("few lives");
                let sidecar = *self.lives.entry(sidecar).or_insert(count);
                Event::Opened { session: base + session, sidecar, uid }
            }
            Event::Sent { of, what } => {
                let what = match what {
                    Sent::Renew { lease } => Sent::Renew { lease: req(lease) },
                    Sent::Release { lease } => Sent::Release { lease: req(lease) },
                    Sent::Downgrade { lease } => Sent::Downgrade { lease: req(lease) },
                    Sent::Finish { lease } => Sent::Finish { lease: req(lease) },
                    Sent::Acquire(acquire) => {
                        Sent::Acquire(Acquire { upgrades: acquire.upgrades.map(req), ..acquire })
                    }
                    Sent::Register(_) | Sent::Cancel => what,
                };
                Event::Sent { of: req(of), what }
            }
            Event::Answered { of, answer } => {
                let answer = match answer {
                    Answer::Done { by } => Answer::Done { by: req(by) },
                    other => other,
                };
                Event::Answered { of: req(of), answer }
            }
            Event::Extended { lease, until } => Event::Extended { lease: req(lease), until },
            Event::LostSeen { lease } => Event::LostSeen { lease: req(lease) },
            // Diaries of clients have no other event with a session in it.
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn opened(at: u64, session: u32, sidecar: u32) -> Record {
        Record { at: At(at), event: Event::Opened { session, sidecar, uid: 1 } }
    }

    fn diary(folder: &tempfile::TempDir, name: &str, records: &[Record], torn: &str) -> PathBuf {
        let path = folder.path().join(name);
        let mut file = fs::File::create(&path).unwrap();
        for record in records {
            writeln!(file, "{}", serde_json::to_string(record).unwrap()).unwrap();
        }
        file.write_all(torn.as_bytes()).unwrap();
        path
    }

    #[test]
    fn processes_are_told_apart_and_the_word_of_the_dead_ends() {
        let folder = tempfile::tempdir().unwrap();
        let killed =
            diary(&folder, "a", &[opened(1, 0, 77), opened(9, 1, 77), opened(30, 2, 78)], "{\"at\":3");
        let ended = diary(&folder, "b", &[opened(5, 0, 78)], "");
        let pages = [
            Pages { diary: killed, died: Some(At(20)), stops: Vec::new() },
            Pages { diary: ended, died: None, stops: vec![At(6)..At(8)] },
            Pages { diary: folder.path().join("never written"), died: Some(At(3)), stops: Vec::new() },
        ];
        let Merged { history, stops, lives } =
            merge(Bounds::default(), &pages, &[&[opened(2, 0, 77)]]).unwrap();
        assert_eq!(lives, HashMap::from([(77, 0), (78, 1)]));
        let slept: Vec<_> = stops.into_iter().map(|stop| (stop.sessions, stop.span)).collect();
        assert_eq!(slept, [(2..3, At(6)..At(8))]);
        let hung_up = |session| Record { at: At(20), event: Event::HungUp { session } };
        let wanted =
            [opened(1, 0, 0), opened(2, 3, 0), opened(5, 2, 1), opened(9, 1, 0), hung_up(0), hung_up(1)];
        assert_eq!(history.records, wanted);
    }

    #[test]
    fn a_broken_line_before_the_last_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let diary = diary(&folder, "a", &[], "{\"at\":3\n{}\n");
        assert!(merge(Bounds::default(), &[Pages { diary, died: None, stops: Vec::new() }], &[]).is_err());
    }
}
