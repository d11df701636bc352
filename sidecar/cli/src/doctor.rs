//! `doctor`: is everything as locks need it?
//!
//! Owns what is asked of a running sidecar, and how findings are shown. What is right for a socket and for a Redis is
//! the daemon's knowledge. Must not change anything.

use crate::config::read;
use crate::door::ask;
use crate::failure::Failure;
use crate::output::Output;
use crate::paint::{Style, colours};
use crate::serve::ServeArgs;
use crate::socket::Socket;
use crate::table::shown;
use clap::Args;
use hyper::Method;
use serde_json::{Value, json};
use sidelock_client::Code;
use sidelock_daemon::config::{Config, StoreKind};
use sidelock_daemon::{Examination, Finding, Verdict, boottime, examine_socket, examine_store};
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::timeout;

/// A sidecar that takes longer to say who it is has a problem.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(2);
/// Client and sidecar whose clocks differ by more refuse each other.
const CLOCKS_APART_MAX: Duration = Duration::from_millis(100);

/// Arguments of `doctor`: those of `serve`, so that it can be asked before there is a sidecar.
#[derive(Args, Debug)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    sources: ServeArgs,
    #[command(flatten)]
    output: Output,
}

/// What the flags do not say.
pub(crate) const AFTER_HELP: &str = "\
With --redis only that Redis is examined: before a sidecar exists. Otherwise the sidecar at --socket (or at the usual
places), and the Redis that the settings name. It changes nothing. Exit code 0: fit, warnings included; 1: not fit.";

/// Examines, shows, and says by the exit code whether it is fit.
pub(crate) async fn doctor(args: &DoctorArgs) -> Result<(), Failure> {
    let Examination { findings, acl_rule } = examine(&args.sources).await;
    let failed = findings.iter().filter(|finding| finding.verdict == Verdict::Fail).count();
    args.output.write(&document(&findings, acl_rule.as_deref()), |_| {
        page(&findings, acl_rule.as_deref(), colours())
    })?;
    match failed {
        0 => Ok(()),
        1 => Err(Failure::broken("not fit: one check failed")),
        failed => Err(Failure::broken(format!("not fit: {failed} checks failed"))),
    }
}

async fn examine(sources: &ServeArgs) -> Examination {
    let config = match read(sources) {
        Ok(loaded) => loaded.config,
        Err(failure) => return alone(Finding::fail("settings", failure.to_string(), "correct it")),
    };
    if let Err(error) = sidelock_daemon::check(&config) {
        return alone(Finding::fail("settings", error.to_string(), "correct it"));
    }
    let (mut findings, told) = match sources.names_redis() {
        true => (Vec::new(), None),
        false => sidecar(&config).await,
    };
    let elsewhere =
        told.is_some_and(|store| store == StoreKind::Redis.name()) && config.store() == StoreKind::Memory;
    if elsewhere {
        findings.push(Finding::warn(
            "store",
            "the sidecar locks in a Redis that was not examined: it does not tell which",
            "give doctor the settings of that sidecar: --redis URL, or --config FILE",
        ));
        return Examination { findings, acl_rule: None };
    }
    let store = examine_store(&config).await;
    findings.extend(store.findings);
    Examination { findings, acl_rule: store.acl_rule }
}

fn alone(finding: Finding) -> Examination {
    Examination { findings: vec![finding], acl_rule: None }
}

/// The sidecar that these settings, or the usual places, lead to; and its store, if it answers.
async fn sidecar(config: &Config) -> (Vec<Finding>, Option<String>) {
    let path = match config.socket.clone().map_or_else(sidelock_client::socket_path, Ok) {
        Ok(path) => path,
        Err(error) => {
            let finding = Finding::fail("socket", error.to_string(), "start a sidecar, or name its socket");
            return (vec![finding], None);
        }
    };
    let mut findings = examine_socket(&path);
    if findings.iter().any(|finding| finding.check == "socket" && finding.verdict == Verdict::Fail) {
        return (findings, None);
    }
    let (said, store) = question(path).await;
    findings.extend(said);
    (findings, store)
}

/// Asks the sidecar who it is.
async fn question(path: PathBuf) -> (Vec<Finding>, Option<String>) {
    let socket = Socket::at(path);
    let before = boottime();
    let answer = timeout(ANSWER_TIME_MAX, ask(&socket, Method::GET, "/v1/info", None)).await;
    let took = boottime().since(before);
    let look = "look at the sidecar's process and its log";
    match answer {
        Ok(Ok(info)) => {
            let middle = before.0 + u64::try_from(took.as_nanos()).unwrap_or_default() / 2;
            let findings = vec![identity(&info, took), clocks(&info, middle, took / 2), its_store(&info)];
            (findings, info["store"].as_str().map(str::to_owned))
        }
        Ok(Err(failure)) if failure.code() == Some(Code::PeerRefused) => (
            vec![Finding::fail(
                "sidecar",
                failure.to_string(),
                "start it with that flag, or run this as another user",
            )],
            None,
        ),
        Ok(Err(failure)) => (vec![Finding::fail("sidecar", failure.to_string(), look)], None),
        Err(_) => (
            vec![Finding::fail("sidecar", format!("it does not answer within {ANSWER_TIME_MAX:?}"), look)],
            None,
        ),
    }
}

fn identity(info: &Value, took: Duration) -> Finding {
    let version = shown(info["version"].as_str().unwrap_or("unknown"));
    let ours = env!("CARGO_PKG_VERSION");
    let says = format!("version {version} answers this user in {took:.1?}");
    if info["draining"] == true {
        return Finding::warn(
            "sidecar",
            format!("{says}; it is draining and grants nothing more"),
            "wait for its successor",
        );
    }
    match version == ours {
        true => Finding::ok("sidecar", says),
        false => Finding::warn(
            "sidecar",
            format!("{says}; this command is version {ours}"),
            "use the same version of both",
        ),
    }
}

/// The difference of the two boottimes, which is nothing on one host; `middle` is ours, give or take `uncertainty`.
fn clocks(info: &Value, middle: u64, uncertainty: Duration) -> Finding {
    let theirs = info["boottime_ns"].as_u64().unwrap_or_default();
    let apart = Duration::from_nanos(theirs.abs_diff(middle));
    match apart > CLOCKS_APART_MAX + uncertainty {
        true => Finding::fail(
            "boottime",
            format!(
                "the sidecar's boottime is {apart:.1?} from this process's: clients are refused (clock_mismatch)"
            ),
            "both must run on one host and in one time namespace",
        ),
        false => Finding::ok(
            "boottime",
            format!("the sidecar's clock is this process's (± {:.1?})", apart.max(uncertainty)),
        ),
    }
}

fn its_store(info: &Value) -> Finding {
    let text = |name: &str| shown(info[name].as_str().unwrap_or("unknown"));
    let says = format!("{}, scope {}, guarantee {}", text("store"), text("scope"), text("guarantee"));
    match info["store_up"] == true {
        true => Finding::ok("its store", format!("reached: {says}")),
        false => Finding::fail(
            "its store",
            format!("not reached: {says}"),
            "the sidecar's log says why (store_down)",
        ),
    }
}

fn document(findings: &[Finding], acl_rule: Option<&str>) -> Value {
    let checks: Vec<Value> = findings.iter().map(check).collect();
    let fit = findings.iter().all(|finding| finding.verdict != Verdict::Fail);
    json!({ "fit": fit, "checks": checks, "acl_rule": acl_rule })
}

fn check(finding: &Finding) -> Value {
    let Finding { check, verdict, says, remedy } = finding;
    json!({ "check": check, "verdict": verdict.name(), "says": says, "remedy": remedy })
}

/// A line for each finding, and one below it for what to do.
fn page(findings: &[Finding], acl_rule: Option<&str>, colours: bool) -> String {
    let width = findings.iter().map(|finding| finding.check.len()).max().unwrap_or_default();
    let mut text = String::new();
    for Finding { check, verdict, says, remedy } in findings {
        let style = match verdict {
            Verdict::Ok => Style::Green,
            Verdict::Warn => Style::Yellow,
            Verdict::Fail => Style::Red,
        };
        let word = style.paint(&format!("{:<4}", verdict.name()), colours);
        text.push_str(&format!("{word}  {check:<width$}  {says}\n"));
        if let Some(remedy) = remedy {
            text.push_str(&format!("      {:<width$}  -> {remedy}\n", ""));
        }
    }
    if let Some(rule) = acl_rule {
        text.push_str(&format!("\nA user of Redis with just the rights that Sidelock needs:\n  {rule}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remedy_stands_below_what_it_remedies() {
        let findings = [Finding::ok("version", "7"), Finding::warn("x", "odd", "do this")];
        let text = page(&findings, Some("ACL SETUSER"), false);
        assert_eq!(
            text,
            "ok    version  7\nwarn  x        odd\n               -> do this\n\n\
             A user of Redis with just the rights that Sidelock needs:\n  ACL SETUSER\n"
        );
    }

    #[test]
    fn warnings_are_fit_and_failures_are_not() {
        let warned = [Finding::warn("x", "odd", "do this")];
        assert_eq!(document(&warned, None)["fit"], true);
        assert_eq!(document(&[Finding::fail("x", "no", "do this")], None)["fit"], false);
        assert_eq!(document(&warned, None)["checks"][0]["remedy"], "do this");
    }

    #[test]
    fn clocks_of_two_hosts_are_noticed() {
        let uncertainty = Duration::from_millis(1);
        let at = |ns: u64| clocks(&json!({ "boottime_ns": ns }), 1_000_000_000, uncertainty).verdict;
        assert_eq!(at(1_050_000_000), Verdict::Ok);
        assert_eq!(at(1_200_000_000), Verdict::Fail);
        assert_eq!(at(0), Verdict::Fail);
    }
}
