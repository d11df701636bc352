//! Where a frame of Redis' protocol ends, and whether it is a message of a subscription.
//!
//! Owns just enough of RESP3 for the proxy to take pushes out of a stream.

/// How a message of a subscription begins. The confirmation of the subscription itself begins otherwise.
const MESSAGE: &[u8] = b">3\r\n$7\r\nmessage\r\n";

/// Cuts a stream into frames.
#[derive(Debug, Default)]
pub struct Frames {
    bytes: Vec<u8>,
}

impl Frames {
    /// Takes in what was read and gives out the frames that are complete, without the messages if `deaf`.
    pub fn pass(&mut self, read: &[u8], deaf: bool) -> Vec<u8> {
        self.bytes.extend_from_slice(read);
        let (mut out, mut done) = (Vec::with_capacity(self.bytes.len()), 0);
        while let Some(length) = frame(&self.bytes[done..]) {
            let whole = &self.bytes[done..done + length];
            if !(deaf && whole.starts_with(MESSAGE)) {
                out.extend_from_slice(whole);
            }
            done += length;
        }
        self.bytes.drain(..done);
        out
    }
}

/// The length of the first frame, if it is there completely.
fn frame(bytes: &[u8]) -> Option<usize> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")? + 2;
    let count = || std::str::from_utf8(&bytes[1..end - 2]).ok()?.parse::<i64>().ok();
    match bytes[0] {
        b'$' | b'!' | b'=' => match usize::try_from(count()?) {
            Ok(length) => (bytes.len() >= end + length + 2).then_some(end + length + 2),
            Err(_) => Some(end),
        },
        b'*' | b'~' | b'>' => frames(bytes, end, count()?),
        b'%' => frames(bytes, end, 2 * count()?),
        b'|' => frames(bytes, end, 2 * count()? + 1),
        _ => Some(end),
    }
}

/// The length of a frame with so many frames in it, the first at `from`.
fn frames(bytes: &[u8], from: usize, count: i64) -> Option<usize> {
    let mut end = from;
    for _ in 0..count.max(0) {
        end += frame(bytes.get(end..)?)?;
    }
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &[u8] = b"+OK\r\n>3\r\n$9\r\nsubscribe\r\n$2\r\nin\r\n:1\r\n*2\r\n$-1\r\n*1\r\n_\r\n\
        >3\r\n$7\r\nmessage\r\n$2\r\nin\r\n$4\r\n\r\n\r\n\r\n%1\r\n+a\r\n#t\r\n$3\r\nend\r\n";

    #[test]
    fn what_passes_is_what_came_however_it_is_cut() {
        for step in 1..STREAM.len() {
            let mut frames = Frames::default();
            let out: Vec<u8> = STREAM.chunks(step).flat_map(|chunk| frames.pass(chunk, false)).collect();
            assert_eq!(out, STREAM, "in steps of {step}");
        }
    }

    #[test]
    fn only_messages_are_taken_out() {
        for step in 1..STREAM.len() {
            let mut frames = Frames::default();
            let out: Vec<u8> = STREAM.chunks(step).flat_map(|chunk| frames.pass(chunk, true)).collect();
            let text = String::from_utf8(out).unwrap();
            assert!(text.contains("subscribe") && text.ends_with("$3\r\nend\r\n"), "{text:?}");
            assert!(!text.contains("message"), "{text:?}");
        }
    }
}
