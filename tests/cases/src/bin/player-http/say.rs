//! What came of an order, as a line; and how the answers of the HTTP door are read.

use serde_json::Value;
use sidelock_cases::line::Line;
use sidelock_e2e::http::Answer;
use std::io::Write;

/// Says it, whole: the driver reads lines.
pub(crate) fn say(number: &str, answer: &Line) {
    // A driver that has gone wants to hear nothing.
    let _ = writeln!(std::io::stdout().lock(), "{number} {answer}");
}

/// There is no sidecar to talk to.
pub(crate) fn nobody(cause: &str) -> Line {
    Line::new(["error"]).with("code", "unreachable").with("message", format!("no sidecar answers: {cause}"))
}

/// A refusal, as the door writes it: all that a program can decide on.
pub(crate) fn refused(answer: &Answer) -> Line {
    problem(&serde_json::from_str(&answer.body).unwrap_or_default())
}

/// As [`refused`], of a document.
pub(crate) fn problem(problem: &Value) -> Line {
    let text = |name: &str| problem[name].as_str().unwrap_or_default().to_owned();
    let mut line = Line::new(["error"]).with("status", &problem["status"]).with("code", text("code"));
    line = line.with("message", text("detail"));
    for name in ["reason", "etag", "policy", "reason_code"] {
        if problem[name].is_string() {
            line = line.with(name, text(name));
        }
    }
    if let Some(limit) = problem["limit"].as_u64() {
        line = line.with("limit", limit);
    }
    if let Some(after) = problem["retry_after"].as_f64() {
        line = line.with("retry_after", (after * 1e3) as u64);
    }
    if let Some(current) = problem["value_base64"].as_str() {
        line = line.with("current", base64(current));
    }
    let Some(cycle) = problem["cycle"].as_array() else { return line };
    let of_each =
        |name: &str| cycle.iter().map(|edge| edge[name].as_str().unwrap_or_default()).collect::<Vec<_>>();
    line.with_list("cycle_owners", of_each("owner")).with_list("cycle_keys", of_each("key"))
}

/// The version in a register's answer.
pub(crate) fn etag(answer: &Answer) -> String {
    answer.header("etag").unwrap_or_default().trim_matches('"').to_owned()
}

/// What stands in base 64, as text.
pub(crate) fn base64(text: &str) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = text.bytes().filter_map(|byte| DIGITS.iter().position(|digit| *digit == byte));
    let (mut bytes, mut bits, mut have) = (Vec::new(), 0_usize, 0);
    for digit in digits {
        bits = (bits << 6 | digit) & 0xffff;
        have += 6;
        if have >= 8 {
            have -= 8;
            bytes.push((bits >> have & 0xff) as u8);
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
