//! What every store must do, as one list of cases, run on the memory store and on a real Redis; and the two compared on
//! random operations. The contract is `sidelock_engine::store`. What only an adapter can get wrong is in `redis/`.
#![allow(clippy::unwrap_used, reason = "a test that can not go on has failed")]
#![allow(clippy::print_stdout, reason = "the output of a failed test names the case")]

mod subject;
mod asks;
mod queue;
mod returns;
mod fences;
mod origins;
mod boards;
mod upgrades;
mod force;
mod registers;
mod once;
mod instants;
mod strict;
#[cfg(feature = "redis")]
mod redis;

use subject::{Case, MemorySubject, Subject};

/// All cases, by name.
fn cases() -> Vec<Case> {
    let plain = [asks::CASES, queue::CASES, returns::CASES, fences::CASES, origins::CASES];
    let special = [upgrades::CASES, force::CASES, registers::CASES, once::CASES];
    [&plain.concat()[..], boards::CASES, &special.concat()[..]].concat()
}

/// Runs every case on an empty store, and says which one failed.
fn run(store: &mut dyn Subject) {
    for (name, case) in cases() {
        println!("{name}");
        store.flush();
        case(store);
    }
}

#[test]
fn memory_store_conforms() {
    run(&mut MemorySubject::new(None));
}

#[test]
fn strict_memory_store_conforms() {
    strict::run(&mut MemorySubject::new(Some(strict::TERMS)));
}

#[cfg(feature = "redis")]
#[test]
fn strict_redis_store_conforms() {
    strict::run(&mut redis::strict::StrictRedis::start());
}

#[cfg(feature = "redis")]
#[test]
fn redis_store_conforms() {
    run(&mut redis::subject::RedisSubject::start());
}

#[cfg(feature = "redis")]
#[test]
fn a_redis_cluster_conforms() {
    run(&mut redis::subject::RedisSubject::start_cluster());
}
