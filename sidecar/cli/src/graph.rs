//! `graph`: who waits for whom, in the fleet.
//!
//! Owns how it is drawn: lines for people, DOT for Graphviz. Must not change anything.

use crate::door::{ask, escaped, in_time};
use crate::failure::Failure;
use crate::output::Output;
use crate::show::{list, seconds, word};
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
    args.output.write(&answer, |graph| if args.dot { dot(graph) } else { lines(graph) })
}

/// Where the graph around a key is.
pub(crate) fn path(key: Option<&str>) -> String {
    key.map_or_else(|| "/v1/graph".to_owned(), |key| format!("/v1/graph?key={}", escaped(key)))
}

fn lines(graph: &Value) -> String {
    let waits: Vec<_> = list(&graph["waits"]).map(wait).collect();
    let mut text = match waits.is_empty() {
        true => "no owner with a name waits\n".to_owned(),
        false => table(&["OWNER", "APP", "SIDECAR", "WAITS FOR", "MODE", "FOR", "HOLDS"], &waits),
    };
    let edges = list(&graph["edges"]).map(|edge| {
        let name =
            |end: &str| word(&graph["waits"][edge[end].as_u64().unwrap_or_default() as usize]["owner"]);
        let why = if edge["why"] == "held" { "held by" } else { "behind" };
        format!("{} waits for {}, {why} {}\n", name("from"), word(&edge["key"]), name("to"))
    });
    let edges: String = edges.collect();
    if !edges.is_empty() {
        text.push('\n');
        text.push_str(&edges);
    }
    text.push_str(&sidecars(graph));
    text
}

/// What a look around a key shows beside the sidecar's own stand: nothing if there is no other sidecar in it.
pub(crate) fn of_others(graph: &Value) -> String {
    let mut stands = list(&graph["keys"]).flat_map(|key| list(&key["holders"]).chain(list(&key["queue"])));
    match stands.any(|other| other["sidecar"] != graph["sidecar"]) {
        true => format!("\nin the fleet:\n{}", lines(graph)),
        false => String::new(),
    }
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
    format!("\n{}", table(&["KEY", "SIDECAR", "UNITS", "STAND", "ITS OWNERS"], &rows))
}

fn sidecar(key: &Value, sidecar: &Value, stand: String) -> Vec<String> {
    let units = if sidecar["units"].is_null() { "all".to_owned() } else { word(&sidecar["units"]) };
    let known = if sidecar["known"] == true { "shown" } else { "unknown" };
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
        let text = lines(&graph());
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
    fn graphviz_reads_names_with_quotes() {
        let text = dot(&graph());
        assert!(text.contains(r#"0 [label="a \"1\"\nbilling 00c0ffee"];"#), "{text}");
        assert!(text.contains("1 -> 0 [label=\"y\", style=dashed];"), "{text}");
    }
}
