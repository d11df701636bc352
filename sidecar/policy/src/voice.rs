//! A guest's lines in the sidecar's log.
//!
//! Owns how many: a policy that writes a line for every request must not drown the sidecar's own. Must not know why a guest
//! wrote.

use crate::inside::Line;
use crate::model::Level;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lines that a guest may write to the log in a second.
const LINES_PER_SECOND_MAX: u32 = 50;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Voice(Mutex<Second>);

#[derive(Debug, Default)]
struct Second {
    begun: Option<Instant>,
    lines: u32,
    left_out: u64,
}

impl Voice {
    /// Writes these lines, as far as there is room for them in this second.
    pub(crate) fn tell(&self, name: &str, lines: &[Line]) {
        if lines.is_empty() {
            return;
        }
        let mut second = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(left_out) = second.begin(Instant::now()) {
            tracing::warn!(target: "sidelock::policy", policy = name, left_out, "lines of a policy were left out");
        }
        for line in lines {
            if second.has_room() {
                write(name, line);
            }
        }
    }
}

impl Second {
    /// Begins another one when this is over. Tells how many lines the last one had no room for.
    fn begin(&mut self, now: Instant) -> Option<u64> {
        if self.begun.is_some_and(|begun| now < begun + Duration::from_secs(1)) {
            return None;
        }
        let last = std::mem::replace(self, Second { begun: Some(now), ..Second::default() });
        (last.left_out > 0).then_some(last.left_out)
    }

    fn has_room(&mut self) -> bool {
        let room = self.lines < LINES_PER_SECOND_MAX;
        match room {
            true => self.lines += 1,
            false => self.left_out += 1,
        }
        room
    }
}

fn write(policy: &str, line: &Line) {
    let text = &*line.text;
    match line.level {
        Level::Debug => tracing::debug!(target: "sidelock::policy", policy, "{text}"),
        Level::Info => tracing::info!(target: "sidelock::policy", policy, "{text}"),
        Level::Warn => tracing::warn!(target: "sidelock::policy", policy, "{text}"),
        Level::Error => tracing::error!(target: "sidelock::policy", policy, "{text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_room_for_so_many_lines_and_the_next_one_tells_how_many_were_left_out() {
        let mut second = Second::default();
        let now = Instant::now();
        assert_eq!(second.begin(now), None);
        assert_eq!((0..60).filter(|_| second.has_room()).count(), 50);
        assert_eq!(second.begin(now + Duration::from_millis(999)), None);
        assert!(!second.has_room());
        assert_eq!(second.begin(now + Duration::from_secs(1)), Some(11));
        assert!(second.has_room());
        assert_eq!(second.begin(now + Duration::from_secs(2)), None);
    }
}
