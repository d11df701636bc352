//! `leader`: who leads.
//!
//! Owns how that is shown. Who is elected, and how, is the business of `run --leader` and of the SDKs.

use crate::failure::Failure;
use crate::output::Output;
use crate::socket::Socket;
use crate::table::shown;
use crate::wish;
use clap::Args;
use serde_json::{Value, json};
use sidelock_client::Holder;

/// Exit code when nobody leads: not that of a store that can not tell.
const NOBODY: u8 = 3;

/// Arguments of `leader`.
#[derive(Args, Debug)]
pub(crate) struct LeaderArgs {
    /// What is led, as `run --leader NAME` has it
    name: String,
    /// Go on, and tell every change
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    socket: Socket,
}

/// Shows who leads: 0, or [`NOBODY`].
pub(crate) async fn leader(args: LeaderArgs) -> Result<u8, Failure> {
    let client = wish::connect(&args.socket, "sidelock leader").await?;
    let mut observer = client.leader(&args.name).observe();
    loop {
        let leader = observer.changed().await?;
        args.output.write(&document(&args.name, leader.as_ref()), sentence)?;
        if !args.watch {
            return Ok(if leader.is_some() { 0 } else { NOBODY });
        }
    }
}

fn document(name: &str, leader: Option<&Holder>) -> Value {
    let leader = leader.map(|leader| {
        json!({
            "app": leader.app, "uid": leader.uid, "owner": leader.owner, "known": leader.known,
            "sidecar": format!("{:032x}", leader.sidecar), "local": leader.local,
            "term": leader.fence, "for": leader.held_for.map(|span| span.as_secs_f64()),
        })
    });
    json!({ "name": name, "leader": leader })
}

fn sentence(answer: &Value) -> String {
    let (name, leader) = (shown(answer["name"].as_str().unwrap_or_default()), &answer["leader"]);
    let text = |field: &str| leader[field].as_str().filter(|text| !text.is_empty()).map(shown);
    let sidecar: String = text("sidecar").unwrap_or_default().chars().take(8).collect();
    let at = match leader["local"] == true {
        true => format!("this sidecar ({sidecar})"),
        false => format!("the sidecar {sidecar}"),
    };
    match (leader.is_null(), leader["known"] == true) {
        (true, _) => format!("nobody leads {name}\n"),
        (false, true) => {
            let app = text("app").unwrap_or_else(|| "a client".to_owned());
            format!("{app} leads {name}, term {}, at {at}\n", leader["term"])
        }
        (false, false) => {
            format!("a client of the sidecar {sidecar}, which does not say whom, leads {name}\n")
        }
    }
}
