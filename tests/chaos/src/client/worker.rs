//! One task of a client: it wishes, waits as long as it likes, and takes what it gets.
//!
//! Owns asking, and what is written down of it. What becomes of a lease is `holding` and `timed`.

use crate::clock::Clock;
use crate::diary::Diary;
use crate::register::Desk;
use crate::wish::{self, Life, Wish};
use fastrand::Rng;
use sidelock_client::{Client, Code, Error, Request};
use sidelock_sim::checker::history::{Answer, At, Event, Refused, Req, Sent, Wait};
use std::cell::RefCell;
use std::future::{Future, pending};
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::sleep;

/// The longest pause between two wishes, in milliseconds.
const THINK_MAX_MS: u64 = 12;

/// A task.
pub(super) struct Worker {
    pub(super) client: Client,
    pub(super) diary: Rc<RefCell<Diary>>,
    pub(super) desk: Desk,
    pub(super) dice: Rng,
    pub(super) stop: watch::Receiver<bool>,
    /// All that it ever wishes for, if it is one thing.
    pub(super) only: Option<Wish>,
}

impl Worker {
    /// Until it is told to stop.
    pub(super) async fn work(mut self) {
        while !self.is_told_to_stop() {
            let wish = self.only.unwrap_or_else(|| Wish::draw(&mut self.dice));
            match wish.life {
                Life::Timed(ttl) => self.wish_timed(&wish, ttl).await,
                _ => self.wish(&wish).await,
            }
            sleep(Duration::from_millis(self.dice.u64(..THINK_MAX_MS))).await;
        }
    }

    async fn wish(&mut self, wish: &Wish) {
        let of = self.sent(Sent::Acquire(wish.asked()));
        let asking = self.request(wish).acquire();
        match self.patiently(wish, asking).await {
            Some(Ok(lease)) => {
                let of = self.readdressed(of, wish);
                self.hold(wish, of, lease).await;
            }
            Some(Err(error)) => self.refused(of, &error),
            None => self.unheard(of),
        }
    }

    async fn wish_timed(&mut self, wish: &Wish, ttl: Duration) {
        let of = self.sent(Sent::Acquire(wish.asked()));
        let request = self.request(wish);
        match self.patiently(wish, request.acquire_timed(ttl)).await {
            Some(Ok(lease)) => {
                let of = self.readdressed(of, wish);
                self.hold_timed(wish, of, &lease, ttl).await;
            }
            Some(Err(error)) => self.refused(of, &error),
            None => self.unheard(of),
        }
    }

    fn request(&self, wish: &Wish) -> Request {
        let key = wish::name(wish.key);
        let request = match wish::kind(wish.key) {
            wish::Kind::Semaphore(limit) => self.client.semaphore(key, limit).permits(wish.units),
            _ if wish.is_exclusive() => self.client.lock(key),
            _ => self.client.rwlock(key).read(),
        };
        let request = match wish.wait {
            Wait::Try => request.wait(Duration::ZERO),
            Wait::AtMost(wait) => request.wait(wait),
            Wait::Forever => request.wait_forever(),
        };
        match wish.life {
            Life::Ttl(ttl) => request.ttl(ttl),
            Life::MaxHold(max_hold) => request.max_hold(max_hold),
            Life::Session | Life::Timed(_) => request,
        }
    }

    /// Waits for the answer as long as the wish has patience. Without an answer the future is dropped: that leaves the queue.
    async fn patiently<T>(&mut self, wish: &Wish, asking: impl Future<Output = T>) -> Option<T> {
        let patience = async {
            match wish.patience {
                Some(span) => sleep(span).await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            answer = asking => Some(answer),
            () = patience => None,
            _ = self.stop.wait_for(|stop| *stop) => None,
        }
    }

    /// The life of the sidecar that this client talks to: its first 32 bits tell lives apart. `None`: it is away.
    pub(super) fn life(&self) -> Option<u32> {
        self.client.sidecar().map(|sidecar| life_of(sidecar.incarnation))
    }

    pub(super) fn is_told_to_stop(&self) -> bool {
        *self.stop.borrow()
    }

    pub(super) fn clock(&self) -> Clock {
        self.diary.borrow().clock()
    }

    pub(super) fn note(&self, at: At, event: Event) {
        self.diary.borrow_mut().note(at, event);
    }

    pub(super) fn sent(&self, what: Sent) -> Req {
        self.diary.borrow_mut().sent(self.life(), what)
    }

    pub(super) fn answered(&self, of: Req, answer: Answer) {
        self.diary.borrow_mut().answered(of, answer);
    }

    pub(super) fn refused(&self, of: Req, error: &Error) {
        let why = match (error, error.code()) {
            (Error::WaitTimeout(_), Some(Code::Held)) => Refused::Held,
            (Error::WaitTimeout(_), _) => Refused::WaitTimeout,
            (Error::LeaseLost { .. } | Error::NotHeld(_) | Error::NotFound(_), _) => Refused::NotYours,
            _ => Refused::Other,
        };
        self.answered(of, Answer::Refused(why));
    }

    /// Nobody listens for the answer any more. Whether it was yes the sidecar knows; to the history it is no lease.
    pub(super) fn unheard(&self, of: Req) {
        self.answered(of, Answer::Refused(Refused::Other));
    }

    /// The SDK asks again when the connection comes back, if need be of another life of the sidecar: then it is that
    /// life which granted, and the history says so.
    fn readdressed(&self, of: Req, wish: &Wish) -> Req {
        let life = self.life();
        if self.diary.borrow().is_of(of, life) {
            return of;
        }
        self.unheard(of);
        self.sent(Sent::Acquire(wish.asked()))
    }
}

/// What a history calls a sidecar's life before lives are numbered.
pub(crate) fn life_of(incarnation: u128) -> u32 {
    u32::try_from(incarnation >> 96).expect("32 bits are left")
}
