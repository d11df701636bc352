//! What an operator finds in the log. One test, because a log is the whole process's.

mod support;

use std::io::{self, Write};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use support::{Client, Heard, PATIENCE};

struct Lines(Sender<String>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // After the test nobody listens.
        let _ = self.0.send(String::from_utf8_lossy(bytes).into_owned());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The next line about a wait.
fn slow_wait(written: &Receiver<String>) -> String {
    loop {
        let line = written.recv_timeout(PATIENCE).expect("a line about the wait");
        if line.contains("slow_wait") {
            return line;
        }
    }
}

#[test]
fn a_slow_wait_gets_one_line_that_names_who_is_in_the_way() {
    let (lines, written) = channel();
    tracing_subscriber::fmt().with_ansi(false).with_writer(Mutex::new(Lines(lines))).init();
    let sidecar = sidelock_daemon::embedded().unwrap();
    let mut holder = Client::greeted(&sidecar);
    holder.acquire(1, "orders/42", None);
    let fence = holder.granted(1);
    let mut waiter = Client::greeted(&sidecar);
    waiter.acquire(1, "orders/42", Some(PATIENCE));
    let line = slow_wait(&written);
    assert!(line.contains("orders/42") && line.contains("app \\\"test\\\""), "{line}");
    assert!(line.contains(&format!("fence {fence}")), "{line}");
    // Until another wait is slow, too, the first had time for a second line.
    holder.acquire(2, "orders/43", None);
    holder.granted(2);
    let mut later = Client::greeted(&sidecar);
    later.acquire(1, "orders/43", Some(PATIENCE));
    let line = slow_wait(&written);
    assert!(line.contains("orders/43"), "once is enough: {line}");
    holder.release(3, 1);
    assert_eq!(holder.hear(), Heard::Released(3));
    waiter.granted(1);
    let more: Vec<String> = written.try_iter().filter(|line| line.contains("slow_wait")).collect();
    assert!(more.is_empty(), "once is enough: {more:?}");
}
