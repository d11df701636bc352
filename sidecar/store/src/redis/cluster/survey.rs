//! A look at every node of a cluster.
//!
//! Owns who is looked at, and what each of them has to say of the whole. What is asked of a node is what is asked of a single
//! server: any of them may be a primary tomorrow, and rights and settings are each node's own.

use super::topology::{self, members};
use super::{Cluster, fitness};
use crate::finding::Finding;
use crate::redis::RedisConfig;
use crate::redis::connect::reason;
use crate::redis::fitness::Info;
use crate::redis::rights::Needs;
use crate::redis::survey::{Wanted, look_around, misconfigured, reachable, unreachable};
use redis::aio::MultiplexedConnection;
use redis::{RedisResult, cmd};

/// All that is found.
pub(in crate::redis) async fn look(config: &RedisConfig, wanted: Wanted, needs: &Needs) -> Vec<Finding> {
    let cluster = match Cluster::new(config) {
        Ok(cluster) => cluster,
        Err(error) => return vec![misconfigured(&error)],
    };
    let (line, seed) = match cluster.visit(config).await {
        Ok(visited) => visited,
        Err(why) => return vec![unreachable(&why)],
    };
    let mut findings = vec![reachable(seed.has_tls())];
    let mut commands = line.commands.clone();
    let said = topology::question(commands.clone()).await;
    let Some([primaries, replicas]) = said.ok().and_then(|said| members(seed, &said)) else {
        // It is in no cluster, or may not be asked: what it is like says which.
        findings.extend(look_around(&mut commands, config, wanted, needs).await);
        return findings;
    };
    findings.push(whole(&mut commands).await);
    let mut looks = Vec::new();
    for node in primaries.iter().chain(&replicas) {
        let found = match cluster.visit_node(node, config).await {
            Ok(mut line) => look_around(&mut line.commands, config, wanted, needs).await,
            Err(why) => vec![fitness::silent(&why)],
        };
        looks.push((node.to_string(), found));
    }
    findings.push(fitness::nodes(primaries.len(), replicas.len()));
    findings.extend(fitness::together(looks));
    findings
}

async fn whole(wire: &mut MultiplexedConnection) -> Finding {
    let said: RedisResult<String> = cmd("CLUSTER").arg("INFO").query_async(wire).await;
    match said {
        Ok(text) => fitness::slots(&Info::read(&text)),
        Err(error) => Finding::warn("cluster", reason(&error), "let this user run CLUSTER INFO"),
    }
}
