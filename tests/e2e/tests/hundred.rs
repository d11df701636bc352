//! A hundred at once, through each door, over memory and at two sidecars on one Redis: a hundred runs under a lock, each
//! of which adds 2 to a file, make 200; and a hundred runs over two once keys within a window run their body twice.

use sidelock_client::Client;
use sidelock_e2e::process::Process;
use sidelock_e2e::redis::Redis;
use sidelock_e2e::sidecar::{Sidecar, command};
use sidelock_e2e::{PATIENCE, folder};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::thread;

const RUNS: usize = 100;
const KEY: &str = "sum";

/// Sidecars that lock against each other, taking turns among the runs.
struct Place {
    sidecars: Vec<Sidecar>,
    _redis: Option<Redis>,
}

impl Place {
    fn on_memory() -> Place {
        Place { sidecars: vec![Sidecar::on_memory()], _redis: None }
    }

    fn on_redis() -> Place {
        let redis = Redis::start();
        Place {
            sidecars: vec![Sidecar::connected_to(&redis), Sidecar::connected_to(&redis)],
            _redis: Some(redis),
        }
    }

    fn of(&self, run: usize) -> &Sidecar {
        &self.sidecars[run % self.sidecars.len()]
    }

    /// What is in the file after `runs`, which were given this place and the file.
    fn sum(&self, runs: impl FnOnce(&Place, &Path)) -> u32 {
        let folder = folder();
        let file = folder.path().join("sum");
        std::fs::write(&file, "0").expect("our folder");
        runs(self, &file);
        read(&file)
    }
}

fn read(file: &Path) -> u32 {
    std::fs::read_to_string(file).expect("our file").trim().parse().expect("a number")
}

/// Two who do this at a time lose one's addition.
fn add_two(file: &Path) {
    let before = read(file);
    thread::yield_now();
    std::fs::write(file, (before + 2).to_string()).expect("our file");
}

fn through_the_sdk(place: &Place, file: &Path) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("the system gives a runtime").block_on(async {
        let mut tasks = Vec::new();
        for run in 0..RUNS {
            let client = Client::connect(place.of(run).socket()).await.expect("it listens");
            let (request, file) = (client.lock(KEY).wait(PATIENCE), file.to_owned());
            tasks.push(tokio::spawn(async move {
                let body = async |_| {
                    let before = read(&file);
                    tokio::task::yield_now().await;
                    std::fs::write(&file, (before + 2).to_string()).expect("our file");
                };
                request.run(body).await
            }));
        }
        for task in tasks {
            task.await.expect("no task fails").expect("granted in turn");
        }
    });
}

fn through_http(place: &Place, file: &Path) {
    thread::scope(|scope| {
        for run in 0..RUNS {
            scope.spawn(move || {
                let lease = place.of(run).lock(KEY, r#"{"wait":"30s"}"#);
                add_two(file);
                place.of(run).unlock(&lease);
            });
        }
    });
}

fn through_the_command_line(place: &Place, file: &Path) {
    let script = r#"n=$(cat "$0"); echo $((n + 2)) > "$0""#;
    let mut runs: Vec<_> = (0..RUNS)
        .map(|run| {
            let mut command = command(["run", KEY, "--wait", "30s", "--", "sh", "-c", script]);
            command.arg(file).env("SIDELOCK_SOCKET", place.of(run).socket());
            Process::spawn(command)
        })
        .collect();
    for run in &mut runs {
        assert_eq!(run.code(), 0, "{}", run.output());
    }
}

/// The keys of a once, taking turns among the runs of each sidecar.
fn once_key(run: usize) -> String {
    format!("report/{}", run / 2 % 2)
}

/// What says that a body ran: a line in the file.
fn note(file: &Path) {
    let mut file = OpenOptions::new().append(true).open(file).expect("our file");
    file.write_all(b"ran\n").expect("our file");
}

/// How often a body ran in the runs, which were given this place and the file.
fn bodies_run(place: &Place, runs: impl FnOnce(&Place, &Path)) -> usize {
    let folder = folder();
    let file = folder.path().join("ran");
    std::fs::write(&file, "").expect("our folder");
    runs(place, &file);
    std::fs::read_to_string(&file).expect("our file").lines().count()
}

fn once_through_http(place: &Place, file: &Path) {
    thread::scope(|scope| {
        for run in 0..RUNS {
            scope.spawn(move || {
                let sidecar = place.of(run);
                let path = format!("/v1/once/{}", once_key(run));
                let answer = sidecar.request("POST", &path, r#"{"per":"1h","wait":"30s"}"#);
                assert_eq!(answer.status, 200, "{answer:?}");
                let entered = answer.json();
                if entered["won"] == true {
                    note(file);
                    let id = entered["lease"]["lease"].as_str().expect("a turn has an id");
                    let finished = sidecar.request("PUT", &format!("/v1/leases/{id}/result"), "done");
                    assert_eq!(finished.status, 200, "{finished:?}");
                } else {
                    assert_eq!(entered["result_base64"], "ZG9uZQ==", "{entered}");
                }
            });
        }
    });
}

fn once_through_the_command_line(place: &Place, file: &Path) {
    let mut runs: Vec<_> = (0..RUNS)
        .map(|run| {
            let key = once_key(run);
            let mut command = command(["once", &key, "--per", "1h", "--", "sh", "-c", r#"echo ran >> "$0""#]);
            command.arg(file).env("SIDELOCK_SOCKET", place.of(run).socket());
            Process::spawn(command)
        })
        .collect();
    for run in &mut runs {
        assert_eq!(run.code(), 0, "{}", run.output());
    }
}

#[test]
fn a_hundred_runs_through_the_sdk_add_up_on_memory() {
    assert_eq!(Place::on_memory().sum(through_the_sdk), 200);
}

#[test]
fn a_hundred_runs_through_the_sdk_add_up_on_redis() {
    assert_eq!(Place::on_redis().sum(through_the_sdk), 200);
}

#[test]
fn a_hundred_runs_through_http_add_up_on_memory() {
    assert_eq!(Place::on_memory().sum(through_http), 200);
}

#[test]
fn a_hundred_runs_through_http_add_up_on_redis() {
    assert_eq!(Place::on_redis().sum(through_http), 200);
}

#[test]
fn a_hundred_runs_through_the_command_line_add_up_on_memory() {
    assert_eq!(Place::on_memory().sum(through_the_command_line), 200);
}

#[test]
fn a_hundred_runs_through_the_command_line_add_up_on_redis() {
    assert_eq!(Place::on_redis().sum(through_the_command_line), 200);
}

#[test]
fn a_hundred_through_http_run_two_bodies_on_memory() {
    assert_eq!(bodies_run(&Place::on_memory(), once_through_http), 2);
}

#[test]
fn a_hundred_through_http_run_two_bodies_on_redis() {
    assert_eq!(bodies_run(&Place::on_redis(), once_through_http), 2);
}

#[test]
fn a_hundred_through_the_command_line_run_two_bodies_on_memory() {
    assert_eq!(bodies_run(&Place::on_memory(), once_through_the_command_line), 2);
}

#[test]
fn a_hundred_through_the_command_line_run_two_bodies_on_redis() {
    assert_eq!(bodies_run(&Place::on_redis(), once_through_the_command_line), 2);
}
