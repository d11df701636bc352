//! `graph`: who waits for whom, in the fleet.
//!
//! Owns how it is drawn: lines for people, DOT for Graphviz. Must not change anything.

use crate::door::{ask, escaped, in_time};
use crate::failure::Failure;
use crate::output::Output;
use crate::show::{list, mode, name, seconds, word};
use crate::socket::Socket;
use crate::table::table;
use clap::Args;
use hyper::Method;
use serde_json::Value;
use std::fmt::Write;

/// Arguments of `graph`.
#[derive(Args, Debug)]
pub(crate) struct GraphArgs {
    /// Around this key; without, around whatever owners of this sidecar wait for
    key: Option<String>,
    /// As a graph for Graphviz: sidelock graph --dot | dot -Tsvg
    #[arg(long, conflicts_with = "output")]
    dot: bool,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    socket: Socket,
}

/// Shows who waits for whom.
pub(crate) async fn graph(args: GraphArgs) -> Result<(), Failure> {
    let answer = in_time(ask(&args.socket, Method::GET, &path(args.key.as_deref()), None)).await?;
    let key = args.key.as_deref();
    args.output.write(&answer, |graph| if args.dot { dot(graph) } else { lines(graph, key) })
}

/// Where the graph around a key is.
pub(crate) fn path(key: Option<&str>) -> String {
    key.map_or_else(|| "/v1/graph".to_owned(), |key| format!("/v1/graph?key={}", escaped(key)))
}

fn lines(graph: &Value, key: Option<&str>) -> String {
    let mut parts = around(graph);
    parts.extend(clients(graph));
    parts.retain(|part| !part.is_empty());
    if parts.is_empty() {
        parts.push(match key {
            None => "no owner with a name waits\n".to_owned(),
            Some(key) => {
                format!("no owner with a name waits around {key:?}; sidelock why tells who holds it\n")
            }
        });
    }
    if graph["store_away"] == true {
        parts.push("the store is away: other sidecars may be missing\n".to_owned());
    }
    parts.join("\n")
}

/// Owners that wait, for whom, and the sidecars that the store knows of.
fn around(graph: &Value) -> Vec<String> {
    let waits: Vec<_> = list(&graph["waits"]).map(wait).collect();
    let edges = list(&graph["edges"]).map(|edge| {
        let owner =
            |end: &str| word(&graph["waits"][edge[end].as_u64().unwrap_or_default() as usize]["owner"]);
        let why = if edge["why"] == "held" { "held by" } else { "behind" };
        format!("{} waits for {}, {why} {}\n", owner("from"), word(&edge["key"]), owner("to"))
    });
    let mut parts = Vec::new();
    if !waits.is_empty() {
        parts.push(table(&["OWNER", "APP", "SIDECAR", "WAITS FOR", "MODE", "FOR", "HOLDS"], &waits));
    }
    parts.extend([edges.collect(), sidecars(graph)]);
    parts
}

/// What a look around a key shows beside who holds it and who waits: nothing if there is no other sidecar in it.
pub(crate) fn of_others(graph: &Value) -> String {
    let mut stands = list(&graph["keys"]).flat_map(|key| list(&key["holders"]).chain(list(&key["queue"])));
    if !stands.any(|other| other["sidecar"] != graph["sidecar"]) {
        return String::new();
    }
    let parts: Vec<String> = around(graph).into_iter().filter(|part| !part.is_empty()).collect();
    format!("\nin the fleet:\n{}", parts.join("\n"))
}

/// The keys as the store knows them: which sidecars hold them, and which wait.
fn sidecars(graph: &Value) -> String {
    let mut rows = Vec::new();
    for key in list(&graph["keys"]) {
        for holder in list(&key["holders"]) {
            rows.push(sidecar(key, holder, format!("holds, {} left", seconds(&holder["expires_in"]))));
        }
        for (place, waiting) in list(&key["queue"]).enumerate() {
            let turn = if waiting["offered"] == true { ", its turn" } else { "" };
            rows.push(sidecar(key, waiting, format!("waits, place {}{turn}", place + 1)));
        }
    }
    if rows.is_empty() {
        return String::new();
    }
    table(&["KEY", "SIDECAR", "UNITS", "STAND", "ITS CLIENTS"], &rows)
}

/// Who holds the keys and who waits for them, as far as their sidecars said.
fn clients(graph: &Value) -> [String; 3] {
    let (mut holding, mut waiting, mut more) = (Vec::new(), Vec::new(), String::new());
    for key in list(&graph["keys"]) {
        let mut seen = Vec::new();
        for sidecar in list(&key["holders"]).chain(list(&key["queue"])) {
            // One that holds and waits for more says the same in both places.
            if seen.contains(&&sidecar["sidecar"]) {
                continue;
            }
            seen.push(&sidecar["sidecar"]);
            let at = |who: Vec<String>| [vec![word(&key["key"]), short(&sidecar["sidecar"])], who].concat();
            holding.extend(list(&sidecar["holders"]).map(|holder| at(party(holder, "held_for"))));
            waiting.extend(list(&sidecar["waiters"]).map(|waiter| at(party(waiter, "waiting_for"))));
            more.push_str(&left_out(sidecar, &format!("at {}", short(&sidecar["sidecar"]))));
        }
    }
    let shown = |header: &[&str], rows: &[Vec<String>]| match rows.is_empty() {
        true => String::new(),
        false => table(header, rows),
    };
    [
        shown(&["KEY", "SIDECAR", "HOLDER", "UID", "OWNER", "MODE", "HELD"], &holding),
        shown(&["KEY", "SIDECAR", "WAITER", "UID", "OWNER", "MODE", "WAITS"], &waiting),
        more,
    ]
}

/// How many hold and wait besides those that are named.
pub(crate) fn left_out(of: &Value, place: &str) -> String {
    let count = |field: &str| of[field].as_u64().filter(|count| *count > 0);
    let holders = count("holders_left_out").map(|count| format!("and {count} more hold it {place}\n"));
    let waiters = count("waiters_left_out").map(|count| format!("and {count} more wait {place}\n"));
    holders.into_iter().chain(waiters).collect()
}

fn party(who: &Value, span: &str) -> Vec<String> {
    vec![name(who), word(&who["uid"]), word(&who["owner"]), mode(who), seconds(&who[span])]
}

fn sidecar(key: &Value, sidecar: &Value, stand: String) -> Vec<String> {
    let units = if sidecar["units"].is_null() { "all".to_owned() } else { word(&sidecar["units"]) };
    let known = match (&sidecar["known"], &sidecar["idle"]) {
        (_, Value::Bool(true)) => "nobody, it is kept for the next",
        (Value::Bool(true), _) => "shown",
        _ => "unknown",
    };
    vec![word(&key["key"]), short(&sidecar["sidecar"]), units, stand, known.to_owned()]
}

fn wait(wait: &Value) -> Vec<String> {
    let holds: Vec<String> = list(&wait["holds"]).map(|held| word(&held["key"])).collect();
    vec![
        word(&wait["owner"]),
        word(&wait["app"]),
        short(&wait["sidecar"]),
        word(&wait["key"]),
        word(&wait["mode"]),
        seconds(&wait["waiting_for"]),
        holds.join(" "),
    ]
}

fn dot(graph: &Value) -> String {
    let mut text = "digraph waits {\n".to_owned();
    for (number, wait) in list(&graph["waits"]).enumerate() {
        let label = format!("{}\n{} {}", word(&wait["owner"]), word(&wait["app"]), short(&wait["sidecar"]));
        let _ = writeln!(text, "  {number} [label={}];", Value::from(label));
    }
    for edge in list(&graph["edges"]) {
        let style = if edge["why"] == "held" { "solid" } else { "dashed" };
        let (from, to, key) = (&edge["from"], &edge["to"], Value::from(word(&edge["key"])));
        let _ = writeln!(text, "  {from} -> {to} [label={key}, style={style}];");
    }
    text + "}\n"
}

/// The first digits of a sidecar's life tell it from others.
pub(crate) fn short(sidecar: &Value) -> String {
    word(sidecar).chars().take(8).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn graph() -> Value {
        let wait = |owner: &str, key: &str, holds: &str| {
            json!({"sidecar": "00c0ffee00", "owner": owner, "app": "billing", "uid": 1, "key": key, "mode": "exclusive",
                   "priority": 0, "waiting_for": 1.5, "holds": [{"key": holds, "held_for": 2.0}]})
        };
        json!({
            "sidecar": "00c0ffee00", "waits": [wait("a \"1\"", "x", "y"), wait("b", "y", "x")],
            "edges": [{"from": 0, "to": 1, "key": "x", "why": "held"}, {"from": 1, "to": 0, "key": "y", "why": "ahead"}],
            "keys": [{"key": "x", "limit": null, "holders": [{"sidecar": "00c0ffee00", "units": null, "expires_in": 9.0, "known": false}],
                      "queue": [{"sidecar": "beefbeef00", "units": 1, "offered": true, "known": true}]}],
        })
    }

    #[test]
    fn people_read_who_waits_for_whom_and_where() {
        let text = lines(&graph(), None);
        for part in [
            "a \"1\" waits for x, held by b",
            "b waits for y, behind a \"1\"",
            "00c0ffee",
            "unknown",
            "its turn",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn people_read_who_holds_and_who_waits_at_each_sidecar() {
        let who = |app: &str, owner: Option<&str>, span: &str| json!({"mode": "exclusive", "uid": 1000, "app": app, "owner": owner, (span): 12.34});
        let holds = json!({"sidecar": "00c0ffee00", "units": null, "expires_in": 9.0, "known": true, "holders_left_out": 2, "waiters_left_out": 3,
                           "holders": [who("billing", None, "held_for"), json!({"mode": "shared", "uid": 7, "app": "", "ref": "00ab", "held_for": 1.0})],
                           "waiters": [who("orders", Some("task 3"), "waiting_for")]});
        let kept = json!({"sidecar": "beefbeef00", "units": null, "expires_in": 9.0, "known": true, "idle": true,
                          "holders": [], "waiters": [], "holders_left_out": 0, "waiters_left_out": 0});
        let queued = json!({"sidecar": "00c0ffee00", "units": null, "offered": false, "known": true, "holders_left_out": 2, "waiters_left_out": 3,
                            "holders": [], "waiters": [who("orders", Some("task 3"), "waiting_for")]});
        let graph = json!({"sidecar": "feedfeed00", "waits": [], "edges": [],
                           "keys": [{"key": "x", "limit": null, "holders": [holds, kept], "queue": [queued]}]});
        let text = lines(&graph, Some("x"));
        for row in [
            ["x", "00c0ffee", "billing", "1000", "-", "exclusive", "12.3s"].as_slice(),
            &["x", "00c0ffee", "timed", "lease", "00ab", "7", "-", "shared", "1.0s"],
            &["x", "00c0ffee", "orders", "1000", "task", "3", "exclusive", "12.3s"],
            &[
                "x", "beefbeef", "all", "holds,", "9.0s", "left", "nobody,", "it", "is", "kept", "for",
                "the", "next",
            ],
            &["and", "2", "more", "hold", "it", "at", "00c0ffee"],
            &["and", "3", "more", "wait", "at", "00c0ffee"],
        ] {
            let rows = text.lines().filter(|line| line.split_whitespace().eq(row.iter().copied()));
            assert_eq!(rows.count(), 1, "{row:?} in\n{text}");
        }
        let beside = of_others(&graph);
        assert!(
            beside.starts_with("\nin the fleet:\n")
                && text.starts_with(beside.trim_start_matches("\nin the fleet:\n")),
            "{beside}"
        );
        assert!(!beside.contains("HOLDER") && beside.contains("nobody, it is kept"), "{beside}");
    }

    #[test]
    fn a_look_that_finds_nobody_says_what_it_looked_for_and_whether_it_saw_others() {
        let nobody =
            json!({"sidecar": "00c0ffee00", "waits": [], "edges": [], "keys": [], "store_away": false});
        assert_eq!(lines(&nobody, None), "no owner with a name waits\n");
        let away = json!({"sidecar": "00c0ffee00", "waits": [], "edges": [], "keys": [], "store_away": true});
        assert_eq!(
            lines(&away, Some("k")),
            "no owner with a name waits around \"k\"; sidelock why tells who holds it\n\n\
             the store is away: other sidecars may be missing\n"
        );
    }

    #[test]
    fn graphviz_reads_names_with_quotes() {
        let text = dot(&graph());
        assert!(text.contains(r#"0 [label="a \"1\"\nbilling 00c0ffee"];"#), "{text}");
        assert!(text.contains("1 -> 0 [label=\"y\", style=dashed];"), "{text}");
    }
}
