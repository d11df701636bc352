//! What an error of Redis says about the calls it answers.
//!
//! Owns the list of refusals that come before anything runs. Must not know what is done about them.

use sidelock_engine::store::{Fault, Outcome};

/// Redis answers with these before it runs a script: nothing was applied (H4). An error in the middle of a script has
/// another code.
const REFUSALS: [&str; 16] = [
    "ASK",
    "BUSY",
    "CLUSTERDOWN",
    "CROSSSLOT",
    "LOADING",
    "MASTERDOWN",
    "MISCONF",
    "MOVED",
    "NOAUTH",
    "NOPERM",
    "NOREPLICAS",
    "NOSCRIPT",
    "NOTREADY",
    "OOM",
    "READONLY",
    "TRYAGAIN",
];

/// Whether `code` means that nothing ran.
fn is_refusal(code: &str) -> bool {
    REFUSALS.contains(&code)
}

/// For the calls of a script call that was answered with an error.
pub(super) fn of_script(code: &str, details: Option<&str>) -> Outcome {
    let text = match details {
        Some(details) => format!("{code} {details}"),
        None => code.to_string(),
    };
    if is_refusal(code) {
        Outcome::NotApplied(Fault::Unready(text))
    } else {
        // It broke off somewhere in the middle: the calls before that point ran.
        Outcome::Unknown(Fault::Unready(text))
    }
}

/// Why a server that answers a script call with this is not to be used as it is. One that waits for replicas comes back by
/// itself; our own script's refusal compares their number with what was set when we connected.
pub(super) fn unfit(code: &str, details: Option<&str>) -> Option<String> {
    match (code, details) {
        ("READONLY", _) => Some("Redis is a replica now, and takes no writes".into()),
        ("NOREPLICAS", Some(ours)) if ours.starts_with("min-replicas-to-write is") => Some(ours.into()),
        _ => None,
    }
}

/// For one call that the script found it could not do. It had written nothing.
pub(super) fn of_step(text: String) -> Outcome {
    let code = text.split(' ').next().unwrap_or_default();
    let fault = if is_refusal(code) { Fault::Unready(text) } else { Fault::Corrupt(text) };
    Outcome::NotApplied(fault)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_not_applied_and_anything_else_may_have_run() {
        let loading = of_script("LOADING", Some("Redis is loading the dataset in memory"));
        let text = "LOADING Redis is loading the dataset in memory".to_string();
        assert_eq!(loading, Outcome::NotApplied(Fault::Unready(text)));
        assert!(matches!(
            of_script("ERR", Some("Error running script")),
            Outcome::Unknown(Fault::Unready(_))
        ));
    }

    #[test]
    fn a_record_that_can_not_be_read_is_corrupt_unless_redis_itself_refused() {
        for text in ["corrupt: …", "record_too_new: …", "WRONGTYPE Operation against a key …"] {
            assert_eq!(of_step(text.into()), Outcome::NotApplied(Fault::Corrupt(text.into())));
        }
        assert!(matches!(of_step("READONLY You can't write".into()), Outcome::NotApplied(Fault::Unready(_))));
    }
}
