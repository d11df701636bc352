//! `demo`: its story is true, and nothing is left of it.

use crate::support::{finish, sidelock};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

/// The demo without time to read, its files in `folder`.
fn demo(folder: &Path) -> Command {
    let mut command = sidelock(["demo", "--pace", "0"]);
    command.env("TMPDIR", folder);
    command
}

fn entries(folder: &Path) -> usize {
    std::fs::read_dir(folder).expect("our folder").count()
}

/// These are said, in this order.
#[track_caller]
fn follows(said: &str, steps: &[&str]) {
    let mut rest = said;
    for step in steps {
        let at = rest.find(step).unwrap_or_else(|| panic!("{step:?} does not follow in {said}"));
        rest = &rest[at + step.len()..];
    }
}

/// The lines that name a deadlock.
fn ring(said: &str) -> impl Iterator<Item = &str> {
    said.lines().map(str::trim).filter(|line| line.contains("has waited"))
}

#[test]
fn the_whole_story_is_told_in_plain_lines() {
    let folder = tempfile::tempdir().expect("there is a folder for temporary files");
    let mut command = demo(folder.path());
    // A setting of the caller's is none of the demo's business.
    command.env("SIDELOCK_REDIS", "redis://nobody.invalid");
    let said = finish(command);
    assert_eq!(said.code, 0, "{said:?}");
    follows(
        &said.out,
        &[
            "ana holds it",
            "ben and cleo wait",
            "ana releases, ben holds it",
            "ben releases, cleo holds it",
            "kill -9 cleo: ana holds it",
            "ben writes with",
            ": taken",
            "SIGSTOP ben",
            "ana holds it",
            "ana writes with",
            "SIGCONT ben",
            "ben writes with",
            "refused",
            "ben learns that its lease was lost (expired)",
            "turns in 1 s, one at a time, every fence above the last",
            "a Redis and two sidecars: ana at ",
            "ana wants stock/7, ben wants orders/42",
            "deadlock, found after",
            "is told so and lets go",
            "sidelock serve",
        ],
    );
    let sidecars: Vec<&str> =
        ring(&said.out).map(|line| line.split(' ').nth(2).expect("its sidecar")).collect();
    assert!(sidecars.len() == 2 && sidecars[0] != sidecars[1], "at two sidecars: {}", said.out);
    assert!(!said.out.contains('\u{1b}'), "no colours without a terminal");
    assert!(said.out.lines().all(|line| line.chars().count() <= 100), "{}", said.out);
    assert_eq!(entries(folder.path()), 0, "its folder is gone");
}

#[test]
fn without_a_redis_the_deadlock_is_inside_one_sidecar_and_the_story_says_so() {
    let folder = tempfile::tempdir().expect("there is a folder for temporary files");
    let mut command = demo(folder.path());
    command.env("PATH", folder.path());
    let said = finish(command);
    assert_eq!(said.code, 0, "{said:?}");
    let steps = [
        "no redis-server here for two sidecars, so both at one: ana at ",
        "deadlock, found after",
        "has both",
    ];
    follows(&said.out, &steps);
    let sidecars: Vec<&str> =
        ring(&said.out).map(|line| line.split(' ').nth(2).expect("its sidecar")).collect();
    assert!(sidecars.len() == 2 && sidecars[0] == sidecars[1], "at one sidecar: {}", said.out);
    assert_eq!(entries(folder.path()), 0, "its folder is gone");
}

#[test]
fn an_interrupted_demo_leaves_nothing_behind() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let folder = tempfile::tempdir().expect("there is a folder for temporary files");
        let mut playing = demo(folder.path()).stdout(Stdio::piped()).spawn().expect("it starts");
        let mut lines =
            BufReader::new(playing.stdout.take().expect("stdout is piped")).lines().map_while(Result::ok);
        let first = lines.next().expect("it begins");
        let sidecar: u32 = first
            .split("pid ")
            .nth(1)
            .and_then(|rest| rest.split(',').next()?.parse().ok())
            .expect("it says its pid");
        assert!(Path::new(&format!("/proc/{sidecar}")).exists());
        assert!(
            lines.any(|line| line.contains("SIGSTOP")),
            "it goes on, also with a process that is stopped"
        );
        kill(Pid::from_raw(i32::try_from(playing.id()).expect("process ids are small")), signal)
            .expect("it runs");
        assert_eq!(playing.wait().expect("it ends").code(), Some(130));
        assert!(!Path::new(&format!("/proc/{sidecar}")).exists(), "its sidecar is gone");
        assert_eq!(entries(folder.path()), 0, "its folder is gone");
    }
}

#[test]
fn a_reader_that_goes_away_ends_it_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().expect("there is a folder for temporary files");
    let mut playing = demo(folder.path()).stdout(Stdio::piped()).spawn().expect("it starts");
    let mut lines =
        BufReader::new(playing.stdout.take().expect("stdout is piped")).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("wait in line")));
    drop(lines);
    assert_eq!(playing.wait().expect("it ends").code(), Some(0));
    assert_eq!(entries(folder.path()), 0, "its folder is gone");
}

#[test]
fn a_run_can_be_written_as_a_picture() {
    let folder = tempfile::tempdir().expect("there is a folder for temporary files");
    let pictures = tempfile::tempdir().expect("there is a folder for temporary files");
    let file = pictures.path().join("demo.svg");
    let mut command = demo(folder.path());
    command.arg("--svg").arg(&file);
    assert_eq!(finish(command).code, 0);
    let svg = std::fs::read_to_string(file).expect("it was written");
    assert!(svg.starts_with("<svg") && svg.contains("SIGSTOP") && svg.len() < 60_000, "{} bytes", svg.len());
}
