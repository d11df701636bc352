//! `policy ls`: what is in force in a running sidecar.
//!
//! Owns how that is shown. The only verb here that speaks to a sidecar. Must not change anything.

use crate::door::{ask, in_time};
use crate::failure::Failure;
use crate::output::Output;
use crate::show::{list, word};
use crate::socket::Socket;
use crate::table::{shown, table};
use clap::Args;
use hyper::Method;
use serde_json::Value;

/// Exit code when what the operator wants is not what is in force.
const TROUBLE: u8 = 1;
/// Digits of a SHA-256 by which people tell two files apart.
const DIGITS: usize = 12;

/// Arguments of `policy ls`.
#[derive(Args, Debug)]
pub(crate) struct LsArgs {
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    socket: Socket,
}

/// Lists them: 0, or 1 if the newest settings or files are not in force.
#[tokio::main(flavor = "current_thread")]
pub(crate) async fn ls(args: &LsArgs) -> Result<u8, Failure> {
    let answer = in_time(ask(&args.socket, Method::GET, "/v1/policies", None)).await?;
    args.output.write(&answer, page)?;
    Ok(if answer["trouble"].is_null() { 0 } else { TROUBLE })
}

fn page(answer: &Value) -> String {
    let mut text = String::new();
    if let Some(trouble) = answer["trouble"].as_str() {
        text += &format!("not in force: {}\nthese are, as before:\n\n", shown(trouble));
    }
    let rows: Vec<_> = list(&answer["policies"]).map(row).collect();
    text += &match (rows.is_empty(), &answer["built_in"]) {
        (true, Value::Bool(false)) => "policies: not built in at this sidecar\n".to_owned(),
        (true, _) => "no policies\n".to_owned(),
        (false, _) => table(&["POLICY", "SHA256", "MEMORY", "FRESH", "PREPARED", "STATE"], &rows),
    };
    text
}

fn row(policy: &Value) -> Vec<String> {
    let digest: String = word(&policy["sha256"]).chars().take(DIGITS).collect();
    let memory =
        policy["memory"].as_u64().map_or("-".to_owned(), |bytes| format!("{} KiB", bytes.div_ceil(1024)));
    let fresh = policy["fresh"].as_f64().map_or("-".to_owned(), |seconds| format!("{:.0} µs", seconds * 1e6));
    let state = if policy["rests"] == true { "left alone: it failed too often" } else { "in force" };
    vec![word(&policy["name"]), digest, memory, fresh, word(&policy["prepared"]), state.to_owned()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn trouble_comes_first_and_a_digest_is_short() {
        let policy = json!({"name": "quota", "sha256": "0123456789abcdef", "memory": 65_537, "fresh": 0.000_012_4,
            "prepared": 0, "rests": true});
        let text =
            page(&json!({"built_in": true, "policies": [policy], "trouble": "policy quota: it is no wasm"}));
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "not in force: policy quota: it is no wasm");
        assert!(lines[3].starts_with("POLICY") && !text.contains("abcdef"), "{text}");
        assert_eq!(
            lines[4],
            "quota   0123456789ab  65 KiB  12 µs  0         left alone: it failed too often"
        );
    }

    #[test]
    fn none_is_said_in_words() {
        assert_eq!(page(&json!({"built_in": true, "policies": []})), "no policies\n");
        assert!(page(&json!({"built_in": false, "policies": []})).contains("not built in"));
    }
}
