//! `ls` and `why`: who holds what, and why it is not free.
//!
//! Owns how keys are shown. Must not change anything.

use crate::door::{ask, escaped, in_time};
use crate::failure::Failure;
use crate::fleet;
use crate::graph::{self, short};
use crate::output::Output;
use crate::socket::Socket;
use crate::table::{shown, table};
use clap::Args;
use hyper::Method;
use serde_json::Value;

/// Arguments of `ls`.
#[derive(Args, Debug)]
pub(crate) struct LsArgs {
    /// Only keys that begin with this
    prefix: Option<String>,
    /// Of all sidecars on the same Redis, not only this one
    #[arg(long)]
    fleet: bool,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    socket: Socket,
}

/// Arguments of `why`.
#[derive(Args, Debug)]
pub(crate) struct WhyArgs {
    /// The key
    key: String,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    socket: Socket,
}

/// Lists the keys in use.
pub(crate) async fn ls(args: LsArgs) -> Result<(), Failure> {
    let path = format!("/v1/locks?prefix={}", escaped(args.prefix.as_deref().unwrap_or_default()));
    if args.fleet {
        return fleet::ls(&format!("{path}&fleet=1"), &args.socket, &args.output).await;
    }
    let answer = in_time(ask(&args.socket, Method::GET, &path, None)).await?;
    args.output.write(&answer, |answer| {
        let mut text = table(
            &["KEY", "SPACE", "LIMIT", "HOLDERS", "QUEUE", "WHY"],
            &list(&answer["keys"]).map(row).collect::<Vec<_>>(),
        );
        if answer["truncated"] == true {
            text.push_str("there are more; ask with a longer prefix\n");
        }
        text
    })
}

/// Shows one key, and what is done once under the same name.
pub(crate) async fn why(args: WhyArgs) -> Result<(), Failure> {
    let path = format!("/v1/locks/{}", escaped(&args.key));
    let mut answer = in_time(ask(&args.socket, Method::GET, &path, None)).await?;
    let mut once = in_time(ask(&args.socket, Method::GET, &format!("{path}?space=once"), None)).await?;
    let around = graph::path(Some(&args.key));
    if is_in_use(&once) {
        once["fleet"] =
            in_time(ask(&args.socket, Method::GET, &format!("{around}&space=once"), None)).await?;
    }
    answer["once"] = once;
    answer["fleet"] = in_time(ask(&args.socket, Method::GET, &around, None)).await?;
    args.output.write(&answer, |key| {
        let mut text = stand(key);
        // Nobody is to read an empty list as "free": somebody elsewhere may hold it.
        let nobody = list(&key["fleet"]["keys"]).chain(list(&key["holders"])).next().is_none();
        if nobody || key["store_away"] == true {
            text.push_str("this is what is known at this sidecar; other sidecars are not shown\n");
        }
        if is_in_use(&key["once"]) {
            text.push_str(&format!("\nonce {}", stand(&key["once"])));
        }
        text
    })
}

/// A key's holders and queue at all sidecars, and which sidecars these are.
fn stand(key: &Value) -> String {
    let elsewhere = |who: &Value| who["sidecar"] != key["sidecar"];
    let in_fleet = list(&key["holders"]).chain(list(&key["queue"])).any(elsewhere);
    let shown = |header: &[&str], row: fn(&Value) -> Vec<String>, all: &Value| {
        let rows: Vec<Vec<String>> = list(all)
            .map(|who| if in_fleet { [row(who), vec![short(&who["sidecar"])]].concat() } else { row(who) })
            .collect();
        let columns = [header, if in_fleet { &["SIDECAR"] } else { &[] }].concat();
        if rows.is_empty() { String::new() } else { format!("\n{}", table(&columns, &rows)) }
    };
    let mut text = format!("{}: {}\n", word(&key["key"]), word(&key["why"]));
    let holders = ["HOLDER", "UID", "OWNER", "MODE", "FENCE", "HELD", "EXPIRES"];
    text.push_str(&shown(&holders, holder, &key["holders"]));
    text.push_str(&shown(&["WAITER", "UID", "OWNER", "MODE", "PRIORITY", "WAITS"], waiter, &key["queue"]));
    let rulings: Vec<_> = list(&key["policies"]).map(ruling).collect();
    if !rulings.is_empty() {
        text.push('\n');
        text.push_str(&table(&["POLICY", "DID", "APP", "UID", "AGO", "REASON", "MESSAGE"], &rulings));
    }
    text.push_str(&graph::left_out(key, "besides"));
    text.push_str(&graph::of_others(&key["fleet"]));
    text
}

/// What a policy did to a request.
fn ruling(ruling: &Value) -> Vec<String> {
    let by: Vec<String> = list(&ruling["policies"]).map(word).collect();
    let of = |field: &str| word(&ruling[field]);
    let ago = seconds(&ruling["ago"]);
    vec![by.join(", "), of("ruling"), of("app"), of("uid"), ago, of("reason_code"), of("message")]
}

/// Somebody holds it or waits for it, or a sidecar does.
fn is_in_use(key: &Value) -> bool {
    let known = list(&key["holders"])
        .chain(list(&key["queue"]))
        .chain(list(&key["kept_by"]))
        .chain(list(&key["policies"]));
    known.count() > 0 || !key["ask"].is_null()
}

fn row(key: &Value) -> Vec<String> {
    let limit = if key["limit"].is_null() { "lock".to_owned() } else { word(&key["limit"]) };
    let count = |shown: &str, besides: &str| {
        (list(&key[shown]).count() as u64 + key[besides].as_u64().unwrap_or_default()).to_string()
    };
    let (holders, queue) = (count("holders", "holders_left_out"), count("queue", "waiters_left_out"));
    vec![word(&key["key"]), word(&key["space"]), limit, holders, queue, word(&key["why"])]
}

fn holder(holder: &Value) -> Vec<String> {
    // A reservation has neither yet.
    let of_a_lease = |field: &str| if holder["reserved"] == true { &Value::Null } else { &holder[field] };
    let (fence, held, expires) =
        (word(of_a_lease("fence")), seconds(&holder["held_for"]), seconds(of_a_lease("expires_in")));
    vec![name(holder), word(&holder["uid"]), word(&holder["owner"]), mode(holder), fence, held, expires]
}

/// What a holder or waiter is called: a timed lease has no client, and a sidecar that does not answer names none.
pub(crate) fn name(who: &Value) -> String {
    match (who["ref"].as_str(), &who["known"]) {
        (_, Value::Bool(false)) => "unknown".to_owned(),
        (Some(reference), _) => format!("timed lease {reference}"),
        (None, _) => word(&who["app"]),
    }
}

fn waiter(waiter: &Value) -> Vec<String> {
    let (priority, waits) = (word(&waiter["priority"]), seconds(&waiter["waiting_for"]));
    vec![name(waiter), word(&waiter["uid"]), word(&waiter["owner"]), mode(waiter), priority, waits]
}

pub(crate) fn mode(who: &Value) -> String {
    if who["reserved"] == true {
        return "reserved for lock_all".to_owned();
    }
    if who["upgrades"] == true {
        return "upgrade".to_owned();
    }
    match who["permits"].as_u64() {
        Some(permits) => format!("permits {permits}"),
        None => word(&who["mode"]),
    }
}

pub(crate) fn list(values: &Value) -> impl Iterator<Item = &Value> {
    values.as_array().into_iter().flatten()
}

/// A value as a word of a table; what is missing is a dash.
pub(crate) fn word(value: &Value) -> String {
    match value {
        Value::String(text) if !text.is_empty() => shown(text),
        Value::Number(number) => number.to_string(),
        _ => "-".to_owned(),
    }
}

pub(crate) fn seconds(value: &Value) -> String {
    value.as_f64().map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.1}s"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_timed_lease_is_shown_by_its_reference() {
        let shown = holder(
            &json!({"ref": "00ab", "uid": 7, "mode": "permits", "permits": 2, "fence": 9, "held_for": 1.25}),
        );
        assert_eq!(shown, ["timed lease 00ab", "7", "-", "permits 2", "9", "1.2s", "-"]);
    }

    #[test]
    fn a_reservation_has_no_fence_and_no_deadline_yet() {
        let shown = holder(&json!({"app": "a", "uid": 7, "mode": "exclusive", "reserved": true, "fence": 0,
                                   "held_for": 1.0, "expires_in": 0.0}));
        assert_eq!(shown, ["a", "7", "-", "reserved for lock_all", "-", "1.0s", "-"]);
    }

    #[test]
    fn a_key_of_the_listing_counts_its_holders_and_its_queue() {
        let shown = row(
            &json!({"key": "a", "space": "once", "limit": null, "holders": [1], "queue": [1, 2], "why": "held"}),
        );
        assert_eq!(shown, ["a", "once", "lock", "1", "2", "held"]);
    }
}
