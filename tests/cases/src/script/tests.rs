use super::{Act, Case, Mistake, parse, read};
use std::path::Path;

fn cases() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bindings/cases");
    read(&folder).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"))
}

fn mistake(steps: &str) -> String {
    let text = format!("case c: shows something\n    a: acquire k -> lease x\n{steps}\n    a: release x\n");
    match parse("f.txt", &text) {
        Ok(_) => panic!("no mistake in {steps}"),
        Err(mistakes) => mistakes.iter().map(|Mistake(what)| format!("{what}\n")).collect(),
    }
}

#[test]
fn all_cases_are_written_rightly() {
    let cases = cases();
    assert!(cases.len() >= 40, "{}", cases.len());
    assert!(cases.iter().all(|case| !case.shows.is_empty()));
}

#[test]
fn whatever_is_not_understood_is_a_mistake() {
    for (steps, says) in [
        ("    b: acquires k -> lease y", "nobody can \"acquires\""),
        ("    b: acquire k", "say what comes of it"),
        ("    b: acquire -> lease y", "acquire wants: key"),
        ("    b: acquire k colour=red -> lease y", "no option \"colour=red\""),
        ("    b: acquire k wait=soon -> lease y", "soon is no wait"),
        ("    b: acquire k shared=maybe -> lease y", "maybe is no shared"),
        ("    b: acquire k wait -> lease y", "is no wait"),
        ("    b: acquire k -> none", "\"none\" can not come of it"),
        ("    b: acquire k -> lease", "lease says: as"),
        ("    b: try k -> error busy", "\"busy\" is no code"),
        ("    b: try k -> error held because=x", "an error has no \"because\""),
        ("    b: try k -> lease y", "names a lease \"y\" and does nothing with it"),
        ("    b: try k -> lease x", "there is a lease \"x\" already"),
        ("    b: release x", "the lease \"x\" is a's"),
        ("    a: release y", "there is no lease \"y\" yet"),
        ("    a: put r 1 if_match=e -> etag _", "there is no version \"e\" yet"),
        ("    fence x < y", "there is no lease \"y\" yet"),
        ("    b: acquire k &", "nothing comes of what b waits for"),
        ("    b: -> lease _", "b does not wait"),
        ("    b: cancel", "b does not wait"),
        ("    b: acquire k &\n    b: try k -> none\n", "b waits and can do nothing else"),
        ("    sidecar explode", "is no step"),
        ("    crowd k held=few waiting=0", "held=NUMBER"),
        ("    redis down", "only over redis"),
        ("    not in cobol: too old", "\"cobol\" is none of"),
        ("    not in rust", "give the reason"),
        ("b: try k -> none", "steps are indented"),
    ] {
        let said = mistake(steps);
        assert!(said.contains(says), "{steps}: {said}");
    }
}

#[test]
fn a_case_knows_what_it_needs() {
    let text = "case c: s\n    a: acquire k &\n    kill a\ncase d: s\n    sidecar kill\ncase e: s\n    a: try k -> lease _\n";
    let cases = parse("f.txt", text).expect("right");
    assert!(cases[0].killed().contains("a") && !cases[0].needs_own_sidecar());
    assert!(cases[1].needs_own_sidecar() && cases[1].killed().is_empty());
    assert!(!cases[2].needs_own_sidecar());
    assert_eq!((cases[1].place.as_str(), cases[1].steps[0].line), ("f.txt:4", 5));
}

#[test]
fn keys_of_several_end_where_options_begin() {
    let cases =
        parse("f.txt", "case c: s\n    a: lock_all k1 k2 wait=2s shared -> error held\n").expect("right");
    let Act::Do { values, .. } = &cases[0].steps[0].act else { panic!("an actor does something") };
    let words: Vec<_> = values.iter().map(|(name, words)| format!("{name}={}", words.join(","))).collect();
    assert_eq!(words, ["keys=k1,k2", "wait=2s", "shared="]);
}
