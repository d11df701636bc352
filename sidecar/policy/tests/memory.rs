//! What calls leave behind, by what this process has: nothing else runs in it meanwhile, so this one test is a program of its own.

#![allow(clippy::unwrap_used, reason = "a test that can not go on has failed")]

#[path = "host/guest.rs"]
#[expect(dead_code, reason = "the other tests of the host need more of it")]
mod guest;
#[path = "host/support.rs"]
#[expect(dead_code, reason = "the other tests of the host need more of it")]
mod support;

use crate::guest::Guest;
use crate::support::{alone, decide, request};
use std::time::{Duration, Instant};

#[test]
fn memory_that_calls_have_used_is_given_back() {
    // Each call writes to every page of two megabytes: what is not given back is noticed soon.
    let touch = "(loop $again (i32.store (local.get $i) (i32.const 7))
        (local.set $i (i32.add (local.get $i) (i32.const 4096))) (br_if $again (i32.lt_u (local.get $i) (i32.const 2097152))))";
    // How long the kernel takes to find the pages is not the question.
    for prepared in [0, 4] {
        let chain = alone(
            &Guest::new().pages(40).admit(&format!("(local.set $i (i32.const 65536)) {touch}")),
            |settings| {
                (settings.deadline, settings.prepared) = (Some(Duration::from_secs(2)), Some(prepared));
            },
        );
        // More than half of what is prepared is ready, and nothing more is made.
        let settled = || chain.inspect()[0].prepared.1 as u32 * 2 > prepared || prepared == 0;
        let run = |n: u32| {
            (0..n).for_each(|_| assert_eq!(decide(&chain, request("k")).denied, None));
            let begun = Instant::now();
            while !settled() {
                assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", chain.inspect());
                std::thread::yield_now();
            }
        };
        run(50);
        let before = resident();
        run(500);
        let grown = resident().saturating_sub(before);
        // Those that are prepared, and as many that were used, keep what they wrote to.
        let kept = if prepared == 0 { 8 << 20 } else { 32 << 20 };
        assert!(grown < kept, "500 calls of 2 MiB each leave {grown} bytes behind, {prepared} prepared");
    }
}

/// Bytes of memory that this process has.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}
