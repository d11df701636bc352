//! `doctor`: is everything as locks need it?
//!
//! Owns what is asked of a running sidecar, and how findings are shown. What is right for a socket and for a Redis is
//! the daemon's knowledge. Must not change anything.

use crate::bundle;
use crate::config::read;
use crate::door::{ask, in_time};
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
use sidelock_daemon::config::{Config, Guarantee, StoreKind};
use sidelock_daemon::{Examination, Finding, Verdict, boottime, examine_socket, examine_store};
use std::path::PathBuf;
use std::time::Duration;

/// Client and sidecar whose clocks differ by more refuse each other.
const CLOCKS_APART_MAX: Duration = Duration::from_millis(100);

/// Arguments of `doctor`: those of `serve`, so that it can be asked before there is a sidecar.
#[derive(Args, Debug)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    sources: ServeArgs,
    #[command(flatten)]
    output: Output,
    /// Write a document for somebody else to look into, without secrets; `-` is standard output
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
}

/// What the flags do not say.
pub(crate) const AFTER_HELP: &str = "\
With --redis, and without a sidecar at --socket, only that Redis is examined: before a sidecar exists. Otherwise the sidecar
at --socket (or at the usual places), and the Redis that the settings name; the two must agree. It changes nothing. Exit code 0: fit, warnings
included; 1: not fit.

--bundle writes all of that as JSON, with the settings in force, the sidecar's metrics, and the keys, owners and waits
that it knows of just now. No password is in it, nothing that policies were told, and no lease's secret. Names of keys are.";

/// Examines, shows, and says by the exit code whether it is fit.
pub(crate) async fn doctor(args: &DoctorArgs) -> Result<(), Failure> {
    let config = read(&args.sources).map(|loaded| loaded.config).map_err(|failure| failure.to_string());
    let Examination { findings, acl_rule } = match &config {
        Ok(config) => examine(&args.sources, config).await,
        Err(why) => alone(Finding::fail("settings", why, "correct it")),
    };
    let report = document(&findings, acl_rule.as_deref());
    let to = args.bundle.as_deref();
    if to.is_none_or(|to| !bundle::is_standard_output(to)) {
        args.output.write(&report, |_| page(&findings, acl_rule.as_deref(), colours()))?;
    }
    if let Some(to) = to {
        let socket = match &config {
            Err(_) => Err("not asked: the settings can not be read"),
            Ok(_) if is_before_a_sidecar(&args.sources) => {
                Err("not asked: the command line names a Redis, and only that was examined")
            }
            Ok(config) => Ok(socket_of(config)),
        };
        bundle::write(&bundle::collect(config.as_ref(), socket, report).await, to)?;
    }
    match findings.iter().filter(|finding| finding.verdict == Verdict::Fail).count() {
        0 => Ok(()),
        1 => Err(Failure::broken("not fit: one check failed")),
        failed => Err(Failure::broken(format!("not fit: {failed} checks failed"))),
    }
}

/// The sidecar unless the command line names a Redis, and the Redis that the settings name. What a sidecar would say to
/// these settings is not asked: they may be those of an app beside it.
async fn examine(sources: &ServeArgs, config: &Config) -> Examination {
    let (mut findings, info) = match is_before_a_sidecar(sources) {
        true => (Vec::new(), None),
        false => sidecar(config).await,
    };
    let used = info.as_ref().and_then(|info| info["store"].as_str());
    findings.extend(info.as_ref().and_then(|info| difference(config, info)));
    let known = match said(config) {
        Some(StoreKind::Redis) => true,
        Some(StoreKind::Memory) => used != Some(StoreKind::Redis.name()),
        None => used == Some(StoreKind::Memory.name()),
    };
    if !known {
        return Examination { findings, acl_rule: None };
    }
    let store = examine_store(config).await;
    findings.extend(store.findings);
    Examination { findings, acl_rule: store.acl_rule }
}

/// Whether the command line is about a Redis alone.
fn is_before_a_sidecar(sources: &ServeArgs) -> bool {
    sources.names_redis() && !sources.names_a_sidecar()
}

/// The socket that these settings, or the usual places, lead to.
fn socket_of(config: &Config) -> Socket {
    config.socket.clone().map_or_else(Socket::usual, Socket::at)
}

fn alone(finding: Finding) -> Examination {
    Examination { findings: vec![finding], acl_rule: None }
}

/// The sidecar that these settings, or the usual places, lead to; and what it says of itself, if it answers.
async fn sidecar(config: &Config) -> (Vec<Finding>, Option<Value>) {
    let path = match socket_of(config).path() {
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
    let (said, info) = question(path).await;
    findings.extend(said);
    (findings, info)
}

/// Asks the sidecar who it is.
async fn question(path: PathBuf) -> (Vec<Finding>, Option<Value>) {
    let socket = Socket::at(path);
    let before = boottime();
    let answer = in_time(ask(&socket, Method::GET, "/v1/info", None)).await;
    let took = boottime().since(before);
    match answer {
        Ok(info) => {
            let middle = before.0 + u64::try_from(took.as_nanos()).unwrap_or_default() / 2;
            let findings = vec![identity(&info, took), clocks(&info, middle, took / 2), its_store(&info)];
            (findings, Some(info))
        }
        Err(failure) => {
            let remedy = match failure.code() {
                Some(Code::PeerRefused) => "start it with that flag, or run this as another user",
                _ => "look at the sidecar's process and its log",
            };
            (vec![Finding::fail("sidecar", failure.to_string(), remedy)], None)
        }
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

/// The store that the settings name, if they name one.
fn said(config: &Config) -> Option<StoreKind> {
    config.store.or((config.store() == StoreKind::Redis).then_some(StoreKind::Redis))
}

/// Where a sidecar that runs locks elsewhere than the settings say: whoever gave them believes something else.
fn difference(config: &Config, info: &Value) -> Option<Finding> {
    let its_settings = "give doctor the settings of that sidecar, beside its socket: --socket PATH --redis URL, or --config FILE";
    let (its_store, its_namespace) = (info["store"].as_str()?, info["namespace"].as_str()?);
    let in_redis = its_store == StoreKind::Redis.name();
    match said(config) {
        None if in_redis => Some(Finding::warn(
            "store",
            "the sidecar locks in a Redis that was not examined: it does not tell which",
            its_settings,
        )),
        Some(StoreKind::Memory) if in_redis => Some(Finding::fail(
            "store",
            "these settings say memory, but the sidecar that runs locks in a Redis, which was not examined",
            its_settings,
        )),
        Some(StoreKind::Redis) if !in_redis => Some(Finding::fail(
            "store",
            "these settings name a Redis, but the sidecar that runs locks in its own memory: its locks reach this host only",
            "start that sidecar with these settings; a sidecar keeps its store for life",
        )),
        Some(StoreKind::Redis) if config.namespace != its_namespace => Some(Finding::fail(
            "store",
            format!(
                "these settings say namespace {}, but the sidecar that runs works in {}: they share no locks",
                config.namespace,
                shown(its_namespace)
            ),
            "give both the same: --namespace NS",
        )),
        Some(StoreKind::Redis)
            if config.redis.guarantee == Guarantee::Strict
                && info["guarantee"] == "bounded"
                && info["store_up"] == true =>
        {
            Some(Finding::fail(
                "store",
                "these settings say guarantee strict, but the sidecar that runs grants bounded",
                "its log says why (guarantee); where these settings are newer than it, restart it",
            ))
        }
        _ => None,
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
    fn settings_and_sidecar_must_agree_on_the_store() {
        let unsaid = Config::default();
        let memory = Config { store: Some(StoreKind::Memory), ..Config::default() };
        let mut redis = Config::default();
        redis.redis.url = vec!["redis://h".into()];
        let verdict = |config: &Config, store: &str, namespace: &str| {
            let info = json!({"store": store, "namespace": namespace});
            difference(config, &info).map(|finding| finding.verdict)
        };
        for (config, store, namespace, expected) in [
            (&unsaid, "memory", "n", None),
            (&unsaid, "redis", "n", Some(Verdict::Warn)),
            (&memory, "memory", "n", None),
            (&memory, "redis", "default", Some(Verdict::Fail)),
            (&redis, "memory", "default", Some(Verdict::Fail)),
            (&redis, "redis", "default", None),
            (&redis, "redis", "n", Some(Verdict::Fail)),
        ] {
            assert_eq!(verdict(config, store, namespace), expected, "{:?} and {store}", said(config));
        }
    }

    #[test]
    fn settings_and_sidecar_must_agree_on_the_guarantee() {
        let mut config = Config::default();
        config.redis.url = vec!["redis://h".into()];
        let verdict = |config: &Config, guarantee: &str, store_up: bool| {
            let info = json!({"store": "redis", "namespace": "default", "guarantee": guarantee, "store_up": store_up});
            difference(config, &info).map(|finding| finding.verdict)
        };
        assert_eq!(verdict(&config, "bounded", true), None);
        config.redis.guarantee = Guarantee::Strict;
        assert_eq!(verdict(&config, "strict", true), None);
        assert_eq!(verdict(&config, "bounded", true), Some(Verdict::Fail));
        assert_eq!(verdict(&config, "bounded", false), None, "it has not found out yet");
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
