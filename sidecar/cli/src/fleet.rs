//! `ls --fleet`: what all sidecars of a store hold and wait for.
//!
//! Owns how that is shown. Must not change anything.

use crate::door::{ask, in_time};
use crate::failure::Failure;
use crate::graph::short;
use crate::output::Output;
use crate::show::{list, word};
use crate::socket::Socket;
use crate::table::table;
use hyper::Method;
use serde_json::Value;

/// Lists the keys in use in the fleet.
pub(crate) async fn ls(path: &str, socket: &Socket, output: &Output) -> Result<(), Failure> {
    let answer = in_time(ask(socket, Method::GET, path, None)).await?;
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

/// A sidecar that has a key; of this one also whose clients do.
fn stand(me: &Value, holder: &Value, here: &Value) -> String {
    let mode = match holder["permits"].as_u64() {
        Some(permits) => format!("permits {permits}"),
        None => word(&holder["mode"]),
    };
    let at = short(&holder["sidecar"]);
    if &holder["sidecar"] != me {
        return format!("{mode} at {at}");
    }
    if holder["idle"] == true {
        return format!("at hand at {at} (here)");
    }
    let apps: Vec<_> = list(&here["holders"]).map(|holder| word(&holder["app"])).collect();
    format!("{mode} at {at} (here: {})", apps.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn of_other_sidecars_the_sidecar_is_named_and_of_this_one_its_clients() {
        let key = json!({"key": "k", "space": "lock", "limit": null, "waiting": 2,
            "holders": [{"sidecar": "aaaaaaaaaaaaaaaa", "mode": "shared"}, {"sidecar": "bbbbbbbbbbbbbbbb", "mode": "shared"}],
            "here": {"holders": [{"app": "billing"}]}});
        let shown = row(&json!("aaaaaaaaaaaaaaaa"), &key);
        let holders = "shared at aaaaaaaa (here: billing), shared at bbbbbbbb";
        assert_eq!(shown, ["k", "lock", "lock", "2", holders]);
    }

    #[test]
    fn a_listing_that_ended_early_says_why() {
        let text =
            |why: &str| shown(&json!({"keys": [], "truncated": true, "why_truncated": why, "limit": 7}));
        assert!(text("names").contains("only 7 names"), "{}", text("names"));
        assert!(text("keys").contains("more than 7"), "{}", text("keys"));
    }
}
