//! A forked child has no lease, can not speak for its parent, and does not keep its parent's session alive (H11).
#![allow(unsafe_code, reason = "to fork is what is tested")]

use super::peer::{PATIENCE, Place, welcome};
use crate::fork::{LetGoInChild, ProcessMark};
use crate::{Client, Lease, clock};
use sidelock_wire::{Scope, ToClient, Welcome};
use std::future::Future;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Runs `check` in a forked child, and says whether it returned true there.
fn in_child(check: impl FnOnce() -> bool) -> bool {
    // SAFETY: the child calls nothing that takes a lock which another thread of the test might have held at the fork,
    // except for the allocator, which glibc makes safe to use; and it leaves without running anything of its parent.
    unsafe {
        match libc::fork() {
            0 => {
                // One that hangs is ended, and has failed.
                libc::alarm(PATIENCE.as_secs() as libc::c_uint);
                let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(check));
                libc::_exit(if matches!(outcome, Ok(true)) { 0 } else { 1 })
            }
            child => {
                assert!(child > 0, "fork failed");
                let mut status = 0;
                assert_eq!(libc::waitpid(child, &mut status, 0), child);
                libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
            }
        }
    }
}

fn fails_at_once<T, E>(future: impl Future<Output = Result<T, E>>) -> bool {
    let polled = pin!(future).poll(&mut Context::from_waker(Waker::noop()));
    matches!(polled, Poll::Ready(Err(_)))
}

async fn hold(place: &Place) -> (Client, Lease, super::peer::Peer) {
    let (client, mut peer) = place.meet(Scope::Host).await;
    let asking = tokio::spawn(client.lock("k").acquire());
    let (request, _) = peer.acquire("k").await;
    peer.grant(request, 1).await;
    (client, asking.await.unwrap().unwrap(), peer)
}

#[tokio::test]
async fn a_child_has_no_lease_and_can_not_ask() {
    let place = Place::new();
    let (client, lease, mut peer) = hold(&place).await;
    assert!(in_child(|| !lease.is_valid()));
    assert!(in_child(|| fails_at_once(client.lock("k").acquire())));
    assert!(in_child(|| fails_at_once(lease.renew(std::time::Duration::from_secs(1)))));
    assert!(in_child(|| client.sidecar().is_none()));
    assert!(lease.is_valid(), "the parent's lease is untouched");
    peer.settled(&client).await;
}

#[tokio::test]
async fn a_child_that_drops_what_it_inherited_says_nothing() {
    let place = Place::new();
    let (client, lease, mut peer) = hold(&place).await;
    let mut inherited = Some((client, lease));
    assert!(in_child(|| {
        drop(inherited.take());
        true
    }));
    let (client, lease) = inherited.take().unwrap();
    peer.settled(&client).await;
    assert!(lease.is_valid());
}

#[cfg(feature = "embedded")]
#[tokio::test]
async fn nor_does_it_wait_for_the_sidecar_that_its_parent_embeds() {
    let client = Client::embedded().await.unwrap();
    let lease = client.lock("k").await.unwrap();
    let mut inherited = Some((client, lease));
    assert!(in_child(|| {
        drop(inherited.take());
        true
    }));
    let (client, lease) = inherited.take().unwrap();
    assert!(lease.is_valid());
    assert!(client.lock("k").try_acquire().await.unwrap().is_none());
}

#[tokio::test]
async fn a_child_does_not_keep_its_parents_session_alive() {
    let place = Place::new();
    let (client, lease, mut peer) = hold(&place).await;
    let _child = Sleeper::fork();
    drop((client, lease));
    peer.release().await;
    peer.hung_up().await;
}

#[tokio::test]
async fn nor_if_it_was_forked_while_the_connection_was_made() {
    let place = Place::new();
    let connecting = tokio::spawn(place.builder().connect());
    // Its hello is here; it waits for a welcome.
    let mut peer = place.accept().await;
    let _child = Sleeper::fork();
    let welcome = Welcome { boottime_ns: clock::boottime_ns(), ..welcome(Scope::Host) };
    peer.say(&ToClient::Welcome(welcome)).await;
    drop(connecting.await.unwrap().unwrap());
    peer.hung_up().await;
}

#[test]
fn nor_if_it_was_forked_in_the_middle_of_opening_one() {
    static ABOUT_TO_FORK: AtomicBool = AtomicBool::new(false);
    let (say_open, opened) = mpsc::channel();
    let opening = std::thread::spawn(move || {
        LetGoInChild::open(|| {
            let (ours, theirs) = UnixStream::pair()?;
            say_open.send(theirs).unwrap();
            // The fork comes here, and has to wait.
            while !ABOUT_TO_FORK.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
            std::thread::sleep(Duration::from_millis(50));
            Ok(ours)
        })
    });
    let mut theirs = opened.recv().unwrap();
    ABOUT_TO_FORK.store(true, Ordering::SeqCst);
    let _child = Sleeper::fork();
    drop(opening.join().unwrap().unwrap());
    theirs.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(theirs.read(&mut [0]).unwrap(), 0);
}

/// A forked child that does nothing, until this is dropped.
struct Sleeper(libc::pid_t);

impl Sleeper {
    fn fork() -> Sleeper {
        // SAFETY: the child only sleeps until it is killed.
        unsafe {
            match libc::fork() {
                0 => loop {
                    libc::pause();
                },
                child => Sleeper(child),
            }
        }
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        // SAFETY: it is our child, and not waited for yet.
        unsafe {
            libc::kill(self.0, libc::SIGKILL);
            libc::waitpid(self.0, std::ptr::null_mut(), 0);
        }
    }
}

#[test]
fn a_mark_is_of_one_process() {
    let mark = ProcessMark::here();
    assert!(mark.is_here());
    assert!(in_child(|| !mark.is_here()));
}
