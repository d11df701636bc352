//! The blocking flavour: the same answers, without a runtime in sight.

use super::peer::{Place, welcome};
use crate::blocking::Client;
use sidelock_wire::{Scope, ToClient};
use std::path::PathBuf;
use std::sync::mpsc;

/// A peer on a runtime of its own, which grants two requests and answers their releases.
fn serve(say_path: mpsc::Sender<PathBuf>) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let place = Place::new();
            say_path.send(place.path()).unwrap();
            let mut peer = place.accept_and_welcome(welcome(Scope::Host)).await;
            for fence in [1, 2] {
                let (acquire, _) = peer.acquire("k").await;
                peer.grant(acquire, fence).await;
                let (request, released) = peer.release().await;
                assert_eq!(released, acquire);
                peer.say(&ToClient::Released { request }).await;
            }
            peer.hung_up().await;
        });
    })
}

#[test]
fn acquire_and_release_from_plain_threads() {
    let (say_path, path) = mpsc::channel();
    let peer = serve(say_path);
    let path = path.recv().unwrap();
    let client = Client::connect_with(crate::Client::builder().app("test").socket(path)).unwrap();
    let lease = client.lock("k").acquire().unwrap();
    assert!(lease.is_valid());
    assert_eq!(lease.fence(), 1);
    lease.release().unwrap();
    let other_thread = std::thread::spawn({
        let client = client.clone();
        move || {
            let lease = client.lock("k").acquire().unwrap();
            assert_eq!(lease.fence(), 2);
            lease.release().unwrap();
        }
    });
    other_thread.join().unwrap();
    client.close();
    assert!(client.lock("k").acquire().is_err());
    peer.join().unwrap();
}
