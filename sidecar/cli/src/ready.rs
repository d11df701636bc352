//! `wait` and `healthcheck`: is the sidecar there?
//!
//! Owns how often it is asked. What it answers is its own probes' business.

use crate::door::{ANSWER_TIME_MAX, fetch, within};
use crate::failure::Failure;
use crate::socket::Socket;
use crate::span::{Wait, span, wait};
use clap::Args;
use hyper::{Method, StatusCode};
use sidelock_client::Code;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// Between two looks of `wait`. There is no event for a socket that does not exist yet.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Arguments of `wait`.
#[derive(Args, Debug)]
pub(crate) struct WaitArgs {
    /// Give up after so long: 30s, or forever
    #[arg(long, value_name = "SPAN", value_parser = wait, default_value = "forever")]
    timeout: Wait,
    /// Until its store answers, too
    #[arg(long)]
    store: bool,
    #[command(flatten)]
    socket: Socket,
}

/// Arguments of `healthcheck`.
#[derive(Args, Debug)]
pub(crate) struct HealthArgs {
    /// Unhealthy after so long without an answer
    #[arg(long, value_name = "SPAN", value_parser = span, default_value = "1s")]
    timeout: Duration,
    /// Only if its store answers, too
    #[arg(long)]
    store: bool,
    #[command(flatten)]
    socket: Socket,
}

/// Waits until the sidecar takes requests. One that refuses this user will not take any.
pub(crate) async fn until(args: WaitArgs) -> Result<(), Failure> {
    let give_up = match args.timeout {
        Wait::Forever => None,
        Wait::For(span) => Instant::now().checked_add(span),
    };
    loop {
        let left = give_up.map_or(ANSWER_TIME_MAX, |at| at.saturating_duration_since(Instant::now()));
        let looked = within(left.clamp(LOOK_EVERY, ANSWER_TIME_MAX), look(&args.socket, args.store)).await;
        let Err(failure) = looked else { return Ok(()) };
        let refused = failure.code() == Some(Code::PeerRefused);
        if refused || give_up.is_some_and(|at| Instant::now() >= at) {
            return Err(failure);
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Looks once.
pub(crate) async fn check(args: HealthArgs) -> Result<(), Failure> {
    let looked = timeout(args.timeout, look(&args.socket, args.store)).await;
    looked.unwrap_or_else(|_| {
        Err(Failure::broken(format!("no answer within {:?}; see the sidecar's log", args.timeout)))
    })
}

async fn look(socket: &Socket, store: bool) -> Result<(), Failure> {
    let path = if store { "/readyz/store" } else { "/readyz" };
    let (status, body) = fetch(socket, Method::GET, path, None).await?;
    if status == StatusCode::OK {
        return Ok(());
    }
    let problem = Failure::from_problem(status, &body);
    if problem.code().is_some() {
        return Err(problem);
    }
    // Probes answer in a word.
    let word = String::from_utf8_lossy(&body).trim().to_owned();
    let code = Code::from_name(&word).unwrap_or(Code::StoreUnavailable);
    Err(Failure::Refused { code, message: format!("the sidecar is not ready ({word}); {}", code.advice()) })
}
