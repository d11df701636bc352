//! Answers: what comes back on a connection, cut into answers.
//!
//! Owns the reading of HTTP/1 answers, strictly: bytes that are none are a failure. Must not know what they should say.

use super::requests::Complete;
use httparse::{EMPTY_HEADER, Response, Status};
use serde_json::Value;

/// An answer, or as much of it as came.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// Names in lower case.
    headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    pub(super) is_complete: bool,
    /// It answers a HEAD: there is no body.
    pub(super) to_head: bool,
    /// It has an end only where the connection does, or where its story ends.
    is_story: bool,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }
}

/// Everything that came back so far.
pub(super) struct Answers {
    /// For each request that is known, whether it is a HEAD.
    heads: Vec<bool>,
    bytes: Vec<u8>,
    read: Vec<Answer>,
    has_ended: bool,
}

impl Answers {
    pub(super) fn of(requests: &[Complete]) -> Answers {
        let heads = requests.iter().map(|request| request.is_head).collect();
        Answers { heads, bytes: Vec::new(), read: Vec::new(), has_ended: false }
    }

    pub(super) fn take(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.read_all();
    }

    /// The door hung up.
    pub(super) fn ended(&mut self) {
        self.has_ended = true;
        self.read_all();
    }

    /// So many answers are there, or as many as there will be.
    pub(super) fn answered(&self, count: usize) -> bool {
        let complete = self.read.iter().filter(|answer| answer.is_complete).count();
        complete >= count || self.is_endless()
    }

    /// The last answer goes on as long as the connection: nothing will come after it.
    pub(super) fn is_endless(&self) -> bool {
        self.read.last().is_some_and(|answer| answer.is_story && !answer.is_complete)
    }

    pub(super) fn all(self) -> Vec<Answer> {
        self.read
    }

    fn read_all(&mut self) {
        self.read.clear();
        let mut rest = &self.bytes[..];
        while !rest.is_empty() {
            let to_head = self.heads.get(self.read.len()).copied();
            let Some((answer, length)) = first(rest, to_head, self.has_ended) else { return };
            rest = &rest[length..];
            // 100: the answer proper follows.
            if answer.status >= 200 {
                self.read.push(answer);
            }
        }
    }
}

fn first(bytes: &[u8], to_head: Option<bool>, has_ended: bool) -> Option<(Answer, usize)> {
    let mut headers = [EMPTY_HEADER; 32];
    let mut response = Response::new(&mut headers);
    let parsed = response.parse(bytes);
    let head = match parsed.unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(bytes))) {
        Status::Complete(head) => head,
        Status::Partial => return None,
    };
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    let headers: Vec<_> = response.headers.iter().map(|h| (h.name.to_lowercase(), text(h.value))).collect();
    let status = response.code.expect("a complete head has a status");
    let mut answer =
        Answer { status, headers, body: Vec::new(), is_complete: true, to_head: false, is_story: false };
    let rest = &bytes[head..];
    // Of a request that was not understood it is not known whether it was a HEAD; no body of ours begins like an answer.
    answer.to_head =
        to_head.unwrap_or_else(|| rest.starts_with(b"HTTP/1.") || (has_ended && rest.is_empty()));
    if answer.to_head || matches!(status, 100..200 | 204 | 304) {
        return Some((answer, head));
    }
    let length = answer.header("content-length").map(|length| length.parse().expect("a length is a number"));
    let taken = match length {
        Some(length) => {
            answer.is_complete = rest.len() >= length;
            answer.body = rest[..length.min(rest.len())].to_vec();
            answer.body.len()
        }
        None if answer.header("transfer-encoding") == Some("chunked") => {
            answer.is_story = true;
            unchunk(rest, &mut answer)
        }
        None => {
            answer.is_story = true;
            answer.is_complete = has_ended;
            answer.body = rest.to_vec();
            rest.len()
        }
    };
    Some((answer, head + taken))
}

/// Reads chunks as far as they came; how many bytes they took.
fn unchunk(bytes: &[u8], answer: &mut Answer) -> usize {
    let mut at = 0;
    answer.is_complete = false;
    while let Ok(Status::Complete((line, size))) = httparse::parse_chunk_size(&bytes[at..]) {
        let (from, size) = (at + line, usize::try_from(size).expect("a chunk fits"));
        let Some(chunk) = bytes.get(from..from + size + 2) else { break };
        answer.body.extend_from_slice(&chunk[..size]);
        at = from + size + 2;
        if size == 0 {
            answer.is_complete = true;
            break;
        }
    }
    // What came of a chunk that is not complete belongs to this answer, too.
    if answer.is_complete { at } else { bytes.len() }
}
