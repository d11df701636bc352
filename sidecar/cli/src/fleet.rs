//! `ls --fleet`: what all sidecars of a store hold and wait for.
//!
//! Owns how that is shown. Must not change anything.

use crate::door::{FLEET_TIME_MAX, ask, within};
use crate::failure::Failure;
use crate::graph::short;
use crate::output::Output;
use crate::show::{list, mode, name, word};
use crate::socket::Socket;
use crate::table::table;
use hyper::Method;
use serde_json::Value;

/// Lists the keys in use in the fleet.
pub(crate) async fn ls(path: &str, socket: &Socket, output: &Output) -> Result<(), Failure> {
    let answer = within(FLEET_TIME_MAX, ask(socket, Method::GET, path, None)).await?;
    output.write(&answer, shown)
}

fn shown(answer: &Value) -> String {
    let rows: Vec<_> = list(&answer["keys"]).map(|key| row(&answer["sidecar"], key)).collect();
    let mut text = table(&["KEY", "SPACE", "LIMIT", "WAITING", "HOLDERS"], &rows);
    if answer["truncated"] == true {
        let limit = word(&answer["limit"]);
        text.push_str(&match answer["why_truncated"].as_str() {
            Some("names") => {
                format!("there may be more: only {limit} names of the store were looked through\n")
            }
            _ => format!("there are more than {limit}; ask with a longer prefix\n"),
        });
    }
    text
}

fn row(me: &Value, key: &Value) -> Vec<String> {
    let limit = if key["limit"].is_null() { "lock".to_owned() } else { word(&key["limit"]) };
    let holders: Vec<_> = list(&key["holders"]).map(|holder| stand(me, holder, &key["here"])).collect();
    let holders = if holders.is_empty() { "-".to_owned() } else { holders.join(", ") };
    vec![word(&key["key"]), word(&key["space"]), limit, word(&key["waiting"]), holders]
}

/// A sidecar that has a key, and whose clients do.
fn stand(me: &Value, holder: &Value, here: &Value) -> String {
    let at = short(&holder["sidecar"]);
    let is_here = &holder["sidecar"] == me;
    if holder["idle"] == true {
        return format!("at hand at {at}{}", if is_here { " (here)" } else { "" });
    }
    let clients = match is_here {
        true => format!("here: {}", names(&here["holders"])),
        false if holder["known"] == true => names(&holder["holders"]),
        false => "unknown".to_owned(),
    };
    let more = if is_here { here } else { holder }["holders_left_out"].as_u64().unwrap_or_default();
    match (clients.is_empty(), more) {
        // It may have passed the key on since the store was looked at.
        (true, 0) => format!("{} at {at}", mode(holder)),
        (true, more) => format!("{} at {at} ({more} not named)", mode(holder)),
        (false, 1..) => format!("{} at {at} ({clients} and {more} more)", mode(holder)),
        _ => format!("{} at {at} ({clients})", mode(holder)),
    }
}

fn names(holders: &Value) -> String {
    list(holders).map(name).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn of_each_sidecar_its_clients_are_named_and_of_a_silent_one_that_it_is_silent() {
        let holder = |sidecar: &str, more: Value| {
            let mut holder = json!({"sidecar": sidecar, "mode": "shared", "known": true, "holders": [], "holders_left_out": 0});
            holder.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            holder
        };
        let me = "aaaaaaaaaaaaaaaa";
        let there = "bbbbbbbbbbbbbbbb";
        let clients = json!([{"app": "billing", "known": true}, {"app": "", "ref": "00ab", "known": true}]);
        let here = json!({"holders": [{"app": "orders", "known": true}]});
        for (holder, shown) in [
            (holder(me, json!({})), "shared at aaaaaaaa (here: orders)"),
            (holder(me, json!({"idle": true})), "at hand at aaaaaaaa (here)"),
            (holder(there, json!({"idle": true})), "at hand at bbbbbbbb"),
            (holder(there, json!({"holders": clients})), "shared at bbbbbbbb (billing timed lease 00ab)"),
            (
                holder(there, json!({"holders": clients, "holders_left_out": 3})),
                "shared at bbbbbbbb (billing timed lease 00ab and 3 more)",
            ),
            (holder(there, json!({"holders_left_out": 3})), "shared at bbbbbbbb (3 not named)"),
            (holder(there, json!({"known": false})), "shared at bbbbbbbb (unknown)"),
            (holder(there, json!({})), "shared at bbbbbbbb"),
        ] {
            assert_eq!(stand(&json!(me), &holder, &here), shown);
        }
        let key = json!({"key": "k", "space": "lock", "limit": null, "waiting": 2,
            "holders": [holder(me, json!({})), holder(there, json!({"known": false}))], "here": here});
        let holders = "shared at aaaaaaaa (here: orders), shared at bbbbbbbb (unknown)";
        assert_eq!(row(&json!(me), &key), ["k", "lock", "lock", "2", holders]);
    }

    #[test]
    fn a_listing_that_ended_early_says_why() {
        let text =
            |why: &str| shown(&json!({"keys": [], "truncated": true, "why_truncated": why, "limit": 7}));
        assert!(text("names").contains("only 7 names"), "{}", text("names"));
        assert!(text("keys").contains("more than 7"), "{}", text("keys"));
    }
}
