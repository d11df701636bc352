//! The README's commands, as they stand: `cargo run --release --` becomes the binary under test, and the socket a
//! temporary one. Nothing else is changed.

use sidelock_e2e::folder;
use sidelock_e2e::process::{self, Process};
use sidelock_e2e::sidecar::binary;
use std::path::Path;
use std::process::Command;

/// The socket that the README names: the default of somebody who may write to `/run`.
const DEFAULT_SOCKET: &str = "/run/sidelock/sidelock.sock";
const CARGO_RUN: &str = "cargo run --release --";

/// The lines of all fenced blocks marked `sh`, in order.
fn commands() -> Vec<String> {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md");
    let text = std::fs::read_to_string(readme).expect("there is a README");
    let blocks = text
        .split("\n```")
        .skip(1)
        .step_by(2)
        .filter_map(|block| block.strip_prefix("sh\n").map(str::to_owned));
    blocks.flat_map(|block| block.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
}

/// The command in a shell, in the world of this test.
fn shell(line: &str, socket: &Path) -> Command {
    let binary = binary();
    let socket_text = socket.to_string_lossy();
    let mut command = Command::new("sh");
    let line = line.replace(CARGO_RUN, &binary.to_string_lossy()).replace(DEFAULT_SOCKET, &socket_text);
    // `exec`, so that stopping the shell stops the command.
    command.arg("-c").arg(format!("exec {line}")).env("SIDELOCK_SOCKET", socket);
    command
}

#[test]
fn the_first_screen_works_as_it_stands() {
    let place = folder();
    let socket = place.path().join("sidelock.sock");
    let commands = commands();
    assert_eq!(commands[0], format!("{CARGO_RUN} serve"), "the first command starts a sidecar");
    assert!(commands.len() >= 3, "{commands:?}");

    let serve = Process::spawn(shell(&commands[0], &socket));
    let warning = serve.line("that its locks reach this host only", |line| line.contains("this host"));
    let printed = serve.line("a line to paste", |line| line.trim_start().starts_with("curl "));
    assert_eq!(
        printed.trim(),
        commands[1].replace(DEFAULT_SOCKET, &socket.to_string_lossy()),
        "what `serve` prints is what the README shows"
    );

    let (code, lease) = process::run(shell(printed.trim(), &socket));
    assert_eq!(code, 0, "{lease}");
    assert!(lease.contains("\"fence\":") && lease.contains("\"lease\":\""), "{lease}; after {warning}");
    for line in &commands[2..] {
        let (code, output) = process::run(shell(line, &socket));
        assert_eq!(code, 0, "{line}: {output}");
    }
}
