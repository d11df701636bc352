//! The demo's chapter on deadlocks: two processes, each at a sidecar of its own, want what the other has.
//!
//! Owns that chapter. Two sidecars need a Redis: one of the demo's own, where one is installed. Else both processes are at the
//! first sidecar, and the story says so.

use super::cast::{Cast, FIRST};
use super::stage::{NAMES, Part, Span, Stage, name, words};
use super::story::{ANA, BEN, span};
use crate::failure::Failure;
use crate::paint::Style;
use serde_json::Value;
use std::time::Duration;

/// What the two have, each its own at first.
const KEYS: [&str; 2] = ["orders/42", "stock/7"];

/// One of the two.
struct Player {
    /// Its column.
    lane: usize,
    /// Its process.
    actor: usize,
}

/// Each has a key and wants the other's; one is told, lets go, and the other has both. How long it took to be told.
pub(super) async fn deadlock(cast: &mut Cast, stage: &mut Stage) -> Result<Duration, Failure> {
    stage.pause(600).await;
    stage.chapter("5  Each wants what the other has")?;
    let players = enter(cast, stage).await?;
    for (player, key) in players.iter().zip(KEYS) {
        cast.actor(player.actor).order(&format!("want {key}")).await?;
        cast.actor(player.actor).event("wants").await?;
        cast.actor(player.actor).event("answered").await?;
        stage.part(player.lane, Part::Holds);
    }
    stage.happens(say_both(" holds ", KEYS))?;
    stage.pause(500).await;
    let mut closed = 0;
    for (player, key) in players.iter().zip(KEYS.into_iter().rev()) {
        cast.actor(player.actor).order(&format!("want {key}")).await?;
        closed = cast.actor(player.actor).event("wants").await?.at;
        stage.part(player.lane, Part::Waits);
    }
    stage.happens(say_both(" wants ", [KEYS[1], KEYS[0]]))?;
    let mut told = Vec::new();
    for player in &players {
        told.push(cast.actor(player.actor).event("answered").await?);
    }
    let Some(victim) = told.iter().position(|answer| answer.what["cycle"].is_array()) else {
        return Err(Failure::broken("a deadlock went away by itself; that is worth a report"));
    };
    let (refused, granted) = (&told[victim], &told[1 - victim]);
    if granted.what["fence"].is_null() {
        return Err(Failure::broken("a deadlock had two victims; that is worth a report"));
    }
    let after = Duration::from_nanos(refused.at.saturating_sub(closed));
    stage.happens(vec![(Style::Red, "deadlock".into()), words(format!(", found after {}:", span(after)))])?;
    for line in ring(&refused.what["cycle"]) {
        stage.show(line)?;
    }
    let (victim, other) = (players[victim].lane, players[1 - victim].lane);
    stage.part(victim, Part::Idle);
    stage.part(other, Part::Holds);
    stage.happens(vec![name(victim), words(" is told so and lets go: "), name(other), words(" has both")])?;
    Ok(after)
}

/// Both come, each to its sidecar.
async fn enter(cast: &mut Cast, stage: &mut Stage) -> Result<[Player; 2], Failure> {
    let redis = cast.start_redis().await;
    let sidecars = if redis.is_some() { ["one", "two"] } else { [FIRST; 2] };
    for sidecar in sidecars.into_iter().filter(|_| redis.is_some()) {
        cast.start_sidecar(sidecar, redis.as_deref()).await?;
    }
    let mut players = [ANA, BEN].map(|lane| Player { lane, actor: lane });
    for (player, sidecar) in players.iter_mut().zip(sidecars) {
        player.actor = cast.start_actor(NAMES[player.lane].0, sidecar).await?;
    }
    let homes = players.each_ref().map(|player| cast.actor(player.actor).sidecar().to_owned());
    let scene = match redis {
        Some(_) => vec![words("a Redis and two sidecars: ")],
        None => vec![words("no redis-server here for two sidecars, so both at one: ")],
    };
    let places = say_both(" at ", [&homes[0], &homes[1]]);
    stage.happens(scene.into_iter().chain(places).collect())?;
    stage.pause(500).await;
    Ok(players)
}

/// The same of both.
fn say_both(verb: &str, of: [&str; 2]) -> Vec<Span> {
    vec![name(ANA), words(format!("{verb}{}, ", of[0])), name(BEN), words(format!("{verb}{}", of[1]))]
}

/// The ring as the victim was told it: a line for each wait.
fn ring(cycle: &Value) -> Vec<Vec<Span>> {
    let edges = cycle.as_array().map_or(&[][..], Vec::as_slice);
    let owner = |edge: &Value| {
        let owner = edge["owner"].as_str().unwrap_or("somebody").to_owned();
        NAMES.iter().position(|(known, _)| *known == owner).map_or_else(|| words(owner), name)
    };
    let nexts = edges.iter().cycle().skip(1);
    let lines = edges.iter().zip(nexts).map(|(edge, next)| {
        let text = |field: &str| edge[field].as_str().unwrap_or("?");
        let waited = edge["waited"].as_f64().unwrap_or_default();
        let wait = format!(" at {} has waited {waited:.2} s for {}, held by ", text("sidecar"), text("key"));
        vec![words(" ".repeat(29)), owner(edge), words(wait), owner(next)]
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_ring_closes_and_is_a_line_for_each_wait() {
        let edge = |owner: &str, key: &str| json!({"owner": owner, "sidecar": "00c0ffee", "key": key, "waited": 0.4});
        let lines = ring(&json!([edge("ben", "orders/42"), edge("ana", "stock/7")]));
        let lines: Vec<String> =
            lines.iter().map(|spans| spans.iter().map(|(_, text)| text.as_str()).collect()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0].trim_start(), "ben at 00c0ffee has waited 0.40 s for orders/42, held by ana");
        assert!(lines[1].ends_with("for stock/7, held by ben"), "{lines:?}");
    }
}
