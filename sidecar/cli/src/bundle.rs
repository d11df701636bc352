//! `doctor --bundle`: all that helps somebody else to see what is wrong, in one document.
//!
//! Owns what is in it, and that no secret is: settings as `config print` shows them, without what policies were told; answers
//! of the sidecar that any client may read. Must not judge: `doctor` does.

use crate::door::{ANSWER_TIME_MAX, FLEET_TIME_MAX, ask, fetch, in_time, within};
use crate::failure::Failure;
use crate::output::say;
use crate::socket::Socket;
use hyper::Method;
use serde_json::{Map, Value, json};
use sidelock_daemon::config::Config;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Of the document's shape; who reads it with a program looks at this.
const FORMAT: u32 = 1;
/// Standard output, as a file's name: in a container whose file system is read-only there is no better place.
const STANDARD_OUTPUT: &str = "-";
/// What stands in a secret's place; addresses have the same (`config`).
const HIDDEN: &str = "***";
/// What only the policy that is told knows the meaning of: any of it may be secret.
const TOLD_TO_POLICIES: [&str; 2] = ["settings", "tables"];

/// Puts it together: settings as they were read, and the sidecar at this socket; or why not.
pub(crate) async fn collect(
    config: Result<&Config, &String>,
    socket: Result<Socket, &str>,
    report: Value,
) -> Value {
    let settings = match config.map(serde_json::to_value) {
        Ok(Ok(settings)) => without_secrets(settings),
        Ok(Err(error)) => unknown(error),
        Err(why) => unknown(why),
    };
    let sidecar = match socket {
        Ok(socket) => sidecar(&socket).await,
        Err(why) => unknown(why),
    };
    json!({
        "format": FORMAT,
        "version": env!("CARGO_PKG_VERSION"),
        "unix_time": SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
        "host": host(),
        "settings": settings,
        "report": report,
        "sidecar": sidecar,
    })
}

/// Writes it where it is to go. What is there already stays: a name that was mistyped costs nothing.
pub(crate) fn write(bundle: &Value, to: &Path) -> Result<(), Failure> {
    let text = format!("{bundle:#}\n");
    if is_standard_output(to) {
        return say(&text);
    }
    // Keys and owners' names are not everybody's business.
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to);
    file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(|error| {
        let shown = to.display();
        match error.kind() {
            io::ErrorKind::AlreadyExists => {
                Failure::usage(format!("{shown} is there already: name another file"))
            }
            _ => Failure::broken(format!("{shown} can not be written: {error}")),
        }
    })
}

/// Whether it goes where the report would go otherwise.
pub(crate) fn is_standard_output(to: &Path) -> bool {
    to.as_os_str() == STANDARD_OUTPUT
}

/// Settings, with a word in the place of what may be secret.
fn without_secrets(mut settings: Value) -> Value {
    for policy in settings.get_mut("policy").and_then(Value::as_array_mut).into_iter().flatten() {
        for told in TOLD_TO_POLICIES {
            if let Some(values) = policy.get_mut(told) {
                hide(values);
            }
        }
    }
    settings
}

/// Names stay, values go.
fn hide(value: &mut Value) {
    match value {
        Value::Object(fields) => fields.values_mut().for_each(hide),
        plain => *plain = HIDDEN.into(),
    }
}

/// What the sidecar says of itself and of what it does just now. What it does not answer is no less worth knowing.
async fn sidecar(socket: &Socket) -> Value {
    let page = |path: &'static str| async move {
        let span = if path.contains("fleet") { FLEET_TIME_MAX } else { ANSWER_TIME_MAX };
        within(span, ask(socket, Method::GET, path, None)).await.unwrap_or_else(unknown)
    };
    let (info, metrics, keys, fleet, graph) = tokio::join!(
        page("/v1/info"),
        metrics(socket),
        page("/v1/locks"),
        page("/v1/locks?fleet=1"),
        page("/v1/graph")
    );
    json!({ "info": info, "metrics": metrics, "keys": keys, "keys_of_the_fleet": fleet, "graph": graph })
}

/// Line by line, so that a person can read it.
async fn metrics(socket: &Socket) -> Value {
    match in_time(fetch(socket, Method::GET, "/metrics", None)).await {
        Ok((_, page)) => String::from_utf8_lossy(&page).lines().collect(),
        Err(failure) => unknown(failure),
    }
}

/// Where this runs, as far as it explains something.
fn host() -> Value {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    json!({
        "kernel": kernel.trim(),
        "architecture": std::env::consts::ARCH,
        "processors": std::thread::available_parallelism().map_or(0, usize::from),
        "kubernetes": std::env::var_os("KUBERNETES_SERVICE_HOST").is_some(),
    })
}

fn unknown(why: impl ToString) -> Value {
    Map::from_iter([("unknown".to_owned(), why.to_string().into())]).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_policies_are_told_is_named_and_not_shown() {
        let settings = json!({"namespace": "n", "policy": [
            {"path": "/a.wasm", "settings": {"token": "hunter2", "deep": {"list": ["hunter2"]}}, "tables": {"t": {"k": "hunter2"}}},
            {"path": "/b.wasm"},
        ]});
        let shown = without_secrets(settings);
        assert!(!shown.to_string().contains("hunter2"), "{shown}");
        assert_eq!(shown["policy"][0]["settings"], json!({"token": "***", "deep": {"list": "***"}}));
        assert_eq!(shown["policy"][0]["tables"]["t"]["k"], "***");
        assert_eq!((&shown["policy"][1]["path"], &shown["namespace"]), (&json!("/b.wasm"), &json!("n")));
        assert_eq!(without_secrets(json!({})), json!({}));
    }

    #[test]
    fn a_bundle_takes_nobodys_place_and_is_its_writers_alone() {
        use std::os::unix::fs::MetadataExt;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("bundle.json");
        write(&json!({"a": 1}), &file).unwrap();
        assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        let refused = write(&json!({"b": 2}), &file).unwrap_err();
        assert!(refused.to_string().contains("name another"), "{refused}");
        assert!(std::fs::read_to_string(&file).unwrap().contains("\"a\""));
        let nowhere = write(&json!({}), Path::new("/nowhere/bundle")).unwrap_err();
        assert!(nowhere.to_string().contains("can not be written"), "{nowhere}");
    }
}
