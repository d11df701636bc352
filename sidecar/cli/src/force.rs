//! `force-unlock`: take a key from whoever holds it.
//!
//! Owns what is said about it; what is taken, and who hears of it, is the sidecar's business.

use crate::door::{ORDER_TIME_MAX, ask, escaped, within};
use crate::drain::Admin;
use crate::failure::Failure;
use crate::output::Output;
use crate::table::shown;
use clap::Args;
use hyper::Method;
use serde_json::{Value, json};

/// What a reader of `--help` should know before.
pub(crate) const AFTER_HELP: &str = "The holders, at whatever sidecar, are told that their lease is lost (forced) and the next in the queue gets the key \
                                     at once. A holder that does not hear goes on until its deadline, which is printed: until then only the fence \
                                     keeps it from writing, so force a key only where writes are guarded by fences, or where the holder is known to be dead.";

/// Arguments of `force-unlock`.
#[derive(Args, Debug)]
pub(crate) struct ForceArgs {
    /// The key
    key: String,
    /// Why, in a sentence: it is written to the log of every sidecar concerned
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    admin: Admin,
}

/// Takes the key.
pub(crate) async fn force(args: ForceArgs) -> Result<(), Failure> {
    let path = format!("/v1/force-unlock/{}", escaped(&args.key));
    let (socket, body) = (args.admin.socket()?, json!({ "reason": args.reason }));
    let answer = within(ORDER_TIME_MAX, ask(&socket, Method::POST, &path, Some(&body))).await?;
    args.output.write(&answer, told)
}

fn told(answer: &Value) -> String {
    let key = shown(answer["key"].as_str().unwrap_or_default());
    let victims = answer["victims"].as_array().map_or(0, Vec::len);
    let Some(until) = answer["fenced_until"].as_str() else {
        return format!("{key} was free already; nothing was taken\n");
    };
    let whom = if victims == 1 { "1 sidecar".to_owned() } else { format!("{victims} sidecars") };
    let seconds = answer["fenced_for"].as_f64().unwrap_or_default();
    format!(
        "{key} was taken from {whom}\nuntil {until} (for {seconds:.1} s) only the fence protects it from a holder that has \
         not heard\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_until_when_only_the_fence_protects() {
        let answer = json!({"key": "k", "victims": [{}], "fenced_until": "2026-01-02T03:04:05.000Z", "fenced_for": 9.96});
        let text = told(&answer);
        assert!(
            text.contains("from 1 sidecar") && text.contains("2026-01-02T03:04:05.000Z (for 10.0 s)"),
            "{text}"
        );
        assert_eq!(told(&json!({"key": "k", "victims": []})), "k was free already; nothing was taken\n");
    }
}
