//! A child that is forked while other threads are in the middle of calls: what those threads held is held for ever in it.
#![allow(unsafe_code, reason = "to fork is what is tested")]

mod child;

use child::{in_child, lock};
use sidelock_ffi::{Client, Failure, Options};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// One thread drives, one rides: it waits for a lease that this one has.
#[test]
fn a_child_gets_on_whatever_its_parents_threads_are_at() {
    let client = Client::embedded(Options::default(), None);
    let held = lock(&client, 1).unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let spawn = |body: fn(&Client)| {
        let (client, done) = (client.clone(), done.clone());
        std::thread::spawn(move || {
            while !done.load(Ordering::Acquire) {
                body(&client);
            }
        })
    };
    let drives = spawn(|client| {
        client.holders_blocking("k".into(), 1).unwrap();
    });
    let rides = spawn(|client| {
        let refused = client.acquire_blocking(child::wish(Some(30)), 1);
        assert!(matches!(refused, Err(Failure::Busy { .. })), "{refused:?}");
    });
    for _ in 0..50 {
        assert!(in_child(|| lock(&client, 2).is_ok_and(|own| own.is_valid() && !held.is_valid())));
    }
    done.store(true, Ordering::Release);
    drives.join().unwrap();
    rides.join().unwrap();
    assert!(held.is_valid());
}
