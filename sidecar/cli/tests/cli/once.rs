//! `sidelock once`: what its options say is so.

use crate::support::Sidecar;
use serde_json::Value;

#[test]
fn a_turn_that_was_lost_does_not_count_whatever_the_command_made_of_it() {
    let sidecar = Sidecar::start();
    // Ends well, but only after somebody else had the turn and gave it back, and the loss was told.
    let lost = "log=$(mktemp) || exit
        sidelock once k --per 1h --max-hold 100ms --on-lost warn -- \
            timeout 30 sh -c 'sidelock once k --per 1h -- false; until grep \"$0\" \"$1\"; do sleep 0.01; done' \
            'goes on without it' \"$log\" 2>\"$log\"
        echo code $?
        rm \"$log\"";
    let said = sidecar.script(lost);
    assert!(said.out.ends_with("code 0\n"), "the command's own: {said:?}");
    assert_eq!(sidecar.say("once k --per 1h -- echo ran").out, "ran\n");
    assert_eq!(sidecar.say("once k --per 1h -- echo again").out, "");
    assert_eq!(sidecar.say("once lost --per 1h --max-hold 100ms -- sleep 60").code, 6);
}

#[test]
fn who_does_not_want_to_wait_does_not() {
    let sidecar = Sidecar::start();
    for (wait, code) in [("0", "3"), ("50ms", "124")] {
        let within = format!("sidelock once k --per 1h --wait {wait} -- true || echo code $?; false");
        let said = sidecar.script(&format!(
            "sidelock once k --per 1h --max-hold 30s -- sh -c '{within}' || echo given back"
        ));
        assert_eq!(said.out, format!("code {code}\ngiven back\n"), "{said:?}");
    }
}

#[test]
fn a_window_of_a_day_ends_at_midnight_if_that_is_wanted() {
    let sidecar = Sidecar::start();
    let end = |key: &str| {
        let ask = format!(
            r#"curl -s --unix-socket "$SIDELOCK_SOCKET" http://sidelock/v1/once/{key} -d '{{"per":"1s"}}'"#
        );
        let answer: Value = serde_json::from_str(&sidecar.script(&ask).out).expect("JSON");
        answer["window_end"].as_u64().unwrap_or_else(|| panic!("it is done: {answer}"))
    };
    const DAY_MS: u64 = 86_400_000;
    assert_eq!(sidecar.say("once utc --per 24h --align utc -- true").code, 0);
    assert_eq!(end("utc") % DAY_MS, 0);
    assert_eq!(sidecar.say("once rolling --per 24h -- true").code, 0);
    assert_ne!(end("rolling") % DAY_MS, 0);
}
