//! A hundred at once, through each door: a hundred runs under a lock, each of which adds 2 to a file, make 200. Over
//! memory, and half of them each at two sidecars on one Redis.

use sidelock_client::Client;
use sidelock_e2e::process::Process;
use sidelock_e2e::redis::Redis;
use sidelock_e2e::sidecar::{Sidecar, command};
use sidelock_e2e::{PATIENCE, folder};
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
