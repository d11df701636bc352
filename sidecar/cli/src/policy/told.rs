//! What `policy replay` found, for people.
//!
//! Owns the words and the columns. Must not count anything.

use crate::show::{list, word};
use crate::table::{shown, table};
use jiff::Timestamp;
use serde_json::Value;

/// The page.
pub(crate) fn page(answer: &Value) -> String {
    [head(answer), says(answer), differences(answer), keys(answer)].concat()
}

fn head(answer: &Value) -> String {
    let (first, last) = (moment(&answer["first_unix_ms"]), moment(&answer["last_unix_ms"]));
    let mut text = format!("{} requests, {first} to {last}\n", answer["requests"]);
    let unreadable = &answer["unreadable"];
    if unreadable["count"] != 0 {
        text += &format!("{} lines can not be read:\n", unreadable["count"]);
        for line in list(&unreadable["lines"]) {
            text += &format!("    {}: {}\n", word(&line["line"]), word(&line["why"]));
        }
        text += &more(&unreadable["count"], &unreadable["lines"]);
    }
    if answer["missing"] != 0 {
        text += &format!(
            "{} more were asked, and are not on record: the disk was too slow, or failed\n",
            answer["missing"]
        );
    }
    text
}

fn says(answer: &Value) -> String {
    let counters = match answer["counters"].as_str() {
        Some("recorded") => "its counters are those on record",
        _ => "its counters begin at 0 here, and go along with what it lets pass and no other policy denied",
    };
    let mut text = format!("\n{} says ({counters}):\n", word(&answer["policy"]));
    let mut row = |count: &Value, what: &str| {
        if *count != 0 {
            text += &format!("{:>8}  {what}\n", count.as_u64().unwrap_or_default());
        }
    };
    row(&answer["allow"], "allow");
    row(&answer["edit"], "edit");
    for (reason, count) in answer["deny"].as_object().into_iter().flatten() {
        row(count, &format!("deny: {}", shown(reason)));
    }
    row(&answer["abstain"], "abstain");
    for (limit, count) in answer["fault"].as_object().into_iter().flatten() {
        row(count, &format!("could not decide: {limit}"));
    }
    row(&answer["not_asked"], "not asked: other keys, other operations");
    row(&answer["denied_by_another"], "of these were denied by another policy, and stay so");
    text
}

fn differences(answer: &Value) -> String {
    let newly = &answer["newly"];
    let count = |name: &str| newly[name].as_u64().unwrap_or_default();
    let all = count("denied") + count("admitted") + count("edited");
    if all == 0 {
        return "\nnothing would have been different\n".to_owned();
    }
    let rows: Vec<_> = list(&answer["differences"]).map(difference).collect();
    let header = ["NEWLY", "AT", "KEY", "APP", "UID", "THEN", "NOW", "LINE"];
    format!(
        "\n{all} would have been different: {} newly denied, {} newly admitted, {} edited otherwise\n\n{}{}",
        count("denied"),
        count("admitted"),
        count("edited"),
        table(&header, &rows),
        more(&Value::from(all), &answer["differences"])
    )
}

fn difference(one: &Value) -> Vec<String> {
    let keys: Vec<String> = list(&one["keys"]).map(word).collect();
    let of = |field: &str| word(&one[field]);
    let (then, now) = (said(&one["then"]), said(&one["now"]));
    vec![of("newly"), moment(&one["unix_ms"]), keys.join(" "), of("app"), of("uid"), then, now, of("line")]
}

/// A verdict in a few words.
fn said(verdict: &Value) -> String {
    if let Some(word) = verdict.as_str() {
        return word.to_owned();
    }
    if let Some(reason) = verdict["deny"]["reason-code"].as_str() {
        return format!("deny: {reason}");
    }
    if let Some(limit) = verdict["fault"]["limit"].as_str() {
        return format!("could not decide: {limit}");
    }
    let several = list(&verdict["edit"]).map(|step| &step["edit"]);
    let edits = several.chain(verdict["edit"].is_object().then_some(&verdict["edit"]));
    let fields = edits.filter_map(Value::as_object).flatten();
    let fields: Vec<_> = fields.map(|(name, to)| format!("{name} {}", word(to))).collect();
    format!("edit: {}", fields.join(", "))
}

fn keys(answer: &Value) -> String {
    let rows: Vec<_> =
        list(&answer["keys_most_denied"]).map(|key| vec![word(&key["denied"]), word(&key["key"])]).collect();
    if rows.is_empty() { String::new() } else { format!("\n{}", table(&["DENIED", "KEY"], &rows)) }
}

fn more(all: &Value, shown: &Value) -> String {
    let left_out = all.as_u64().unwrap_or_default().saturating_sub(list(shown).count() as u64);
    if left_out == 0 { String::new() } else { format!("and {left_out} more; --all shows them\n") }
}

fn moment(unix_ms: &Value) -> String {
    let at = unix_ms.as_i64().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    at.map_or_else(|| "-".to_owned(), |at| format!("{at:.3}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_page_says_first_what_is_missing_and_last_which_keys_suffer() {
        let page = page(&json!({
            "policy": "quota", "counters": "anew", "requests": 3, "first_unix_ms": 0, "last_unix_ms": 61_500,
            "unreadable": {"count": 12, "lines": [{"line": "a:2", "why": "no JSON"}]}, "missing": 4, "not_asked": 0,
            "allow": 1, "edit": 1, "abstain": 0, "deny": {"full": 1}, "fault": {}, "denied_by_another": 0,
            "newly": {"denied": 1, "admitted": 0, "edited": 1},
            "differences": [
                {"newly": "denied", "line": "a:3", "unix_ms": 61_500, "keys": ["k"], "app": "x", "uid": 7,
                 "then": "admit", "now": {"deny": {"reason-code": "full"}}},
                {"newly": "edited", "line": "a:1", "unix_ms": 0, "keys": ["a", "b"], "app": "", "uid": 7,
                 "then": {"edit": [{"policy": "quota", "edit": {"wait-ms": 5}}]}, "now": {"edit": {"priority": 2}}},
            ],
            "keys_most_denied": [{"key": "k", "denied": 1}],
        }));
        for line in [
            "3 requests, 1970-01-01T00:00:00.000Z to 1970-01-01T00:01:01.500Z",
            "    a:2: no JSON",
            "and 11 more; --all shows them",
            "4 more were asked, and are not on record: the disk was too slow, or failed",
            "       1  deny: full",
            "2 would have been different: 1 newly denied, 0 newly admitted, 1 edited otherwise",
            "denied  1970-01-01T00:01:01.500Z  k    x    7    admit            deny: full        a:3",
            "edited  1970-01-01T00:00:00.000Z  a b  -    7    edit: wait-ms 5  edit: priority 2  a:1",
            "1       k",
        ] {
            assert!(page.lines().any(|found| found == line), "{line}\nis missing in\n{page}");
        }
    }
}
