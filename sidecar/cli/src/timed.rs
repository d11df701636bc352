//! `lock`, `renew`, `unlock`: timed leases, for shells. They outlive the process that took them.
//!
//! Owns what is printed of a lease. Must not keep one: whoever has its id has it.

use crate::door::{ORDER_TIME_MAX, ask, within};
use crate::failure::Failure;
use crate::output::{Output, say, try_say};
use crate::socket::Socket;
use crate::span::{Wait, span, wait, written};
use crate::wish::ModeArgs;
use clap::Args;
use hyper::Method;
use serde_json::{Value, json};
use sidelock_client::{Sidecar, TimedLease};
use sidelock_daemon::boottime;
use std::time::Duration;

/// Arguments of `lock`.
#[derive(Args, Debug)]
pub(crate) struct LockArgs {
    /// The key
    key: String,
    /// How long to wait for it: 5s, 0 or forever
    #[arg(long, value_name = "SPAN", value_parser = wait, default_value = "forever")]
    wait: Wait,
    /// How long the lease lives without a renewal
    #[arg(long, value_name = "SPAN", value_parser = span, default_value = "30s")]
    ttl: Duration,
    /// Lose the lease so long after its grant, whatever renews it
    #[arg(long, value_name = "SPAN", value_parser = span)]
    max_hold: Option<Duration>,
    #[command(flatten)]
    mode: ModeArgs,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    socket: Socket,
}

/// Arguments of `renew`.
#[derive(Args, Debug)]
pub(crate) struct RenewArgs {
    #[command(flatten)]
    lease: LeaseArg,
    /// How long it lives from now
    #[arg(long, value_name = "SPAN", value_parser = span, default_value = "30s")]
    ttl: Duration,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    socket: Socket,
}

/// Arguments of `unlock`.
#[derive(Args, Debug)]
pub(crate) struct UnlockArgs {
    #[command(flatten)]
    lease: LeaseArg,
    #[command(flatten)]
    socket: Socket,
}

/// Which lease.
#[derive(Args, Debug)]
struct LeaseArg {
    /// The lease, as `lock` printed it
    #[arg(env = "SIDELOCK_LEASE", hide_env_values = true)]
    lease: String,
}

impl LeaseArg {
    /// Its path. An id is plain hexadecimal; anything else must not become another path.
    fn path(&self) -> Result<String, Failure> {
        match self.lease.bytes().all(|byte| byte.is_ascii_alphanumeric()) && !self.lease.is_empty() {
            true => Ok(format!("/v1/leases/{}", self.lease)),
            false => {
                Err(Failure::usage("that is no lease; give what `sidelock lock` printed as SIDELOCK_LEASE"))
            }
        }
    }
}

/// Takes a timed lease and prints it so that a shell can evaluate it.
pub(crate) async fn lock(args: LockArgs) -> Result<(), Failure> {
    let client = crate::wish::connect(&args.socket, "sidelock lock").await?;
    let request = args.mode.request(&client, &args.key);
    let request = match args.wait {
        Wait::Forever => request.wait_forever(),
        Wait::For(span) => request.wait(span),
    };
    let request = args.max_hold.into_iter().fold(request, |request, span| request.max_hold(span));
    let acquire = request.acquire_timed(args.ttl);
    let lease = crate::wish::patiently(&args.socket, std::slice::from_ref(&args.key), acquire).await?;
    let answer = document(&client.sidecar().ok_or_else(gone)?, &lease, args.mode);
    let Err(error) = try_say(&args.output.text(&answer, evaluable)) else { return Ok(()) };
    // Nobody could give back what nobody knows of.
    client.release_timed(lease.id).await?;
    Err(Failure::broken(format!("can not write the lease, so it was given back: {error}")))
}

/// The lease as the HTTP door writes it, its id included: with the sidecar's life, so that a later one knows that the
/// lease is gone.
fn document(sidecar: &Sidecar, lease: &TimedLease, mode: ModeArgs) -> Value {
    let life = sidecar.incarnation >> 96;
    let left = lease.deadline.saturating_sub(Duration::from_nanos(boottime().0));
    json!({
        "lease": format!("{}{life:08x}", lease.id),
        "key": *lease.key,
        "mode": mode.name(),
        "fence": lease.fence,
        "expires_in": left.as_secs_f64(),
        "deadline_boottime_ns": u64::try_from(lease.deadline.as_nanos()).unwrap_or(u64::MAX),
        "scope": sidecar.scope.name(),
        "guarantee": sidecar.guarantee.name(),
    })
}

fn gone() -> Failure {
    Failure::broken(
        "the sidecar went away right after it granted the lease, which ends with its ttl at the latest; take another",
    )
}

/// Two lines for `eval "$(sidelock lock KEY)"`; exported, so that `sidelock unlock` finds the lease too.
fn evaluable(answer: &Value) -> String {
    let lease = answer["lease"].as_str().unwrap_or_default();
    format!(
        "SIDELOCK_LEASE={lease} SIDELOCK_FENCE={}\nexport SIDELOCK_LEASE SIDELOCK_FENCE\n",
        answer["fence"]
    )
}

/// Lets a lease live for so long from now.
pub(crate) async fn renew(args: RenewArgs) -> Result<(), Failure> {
    let (path, body) = (args.lease.path()?, json!({ "ttl": written(args.ttl) }));
    let asked = ask(&args.socket, Method::PUT, &path, Some(&body));
    let answer = within(ORDER_TIME_MAX, asked).await?;
    match args.output.is_json() {
        true => say(&format!("{answer:#}\n")),
        false => Ok(()),
    }
}

/// Gives a lease back.
pub(crate) async fn unlock(args: UnlockArgs) -> Result<(), Failure> {
    let path = args.lease.path()?;
    within(ORDER_TIME_MAX, ask(&args.socket, Method::DELETE, &path, None)).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_can_evaluate_a_lease() {
        let text = evaluable(&json!({"lease": "00ff", "fence": 17}));
        let script = format!("{text}sh -c 'echo $SIDELOCK_LEASE $SIDELOCK_FENCE'");
        let output = std::process::Command::new("sh").args(["-c", &script]).output().expect("sh exists");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "00ff 17\n");
    }

    #[test]
    fn a_lease_can_not_lead_to_another_path() {
        for text in ["", "../locks", "a b", "a?b", "a/b", "é"] {
            assert!(LeaseArg { lease: text.to_owned() }.path().is_err(), "{text}");
        }
        assert!(LeaseArg { lease: "00ff".to_owned() }.path().is_ok());
    }
}
