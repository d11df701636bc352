//! Running a language's own tools.
//!
//! Owns what is shown of them: nothing if all goes well, everything if not, and what to install if they are not there.

use crate::failure::Failure;
use crate::output::tell;
use std::io::ErrorKind;
use std::process::{Command, Stdio};

/// Runs a tool; `missing` says how to get it.
pub(super) fn run(command: &mut Command, missing: &str) -> Result<(), Failure> {
    let output =
        command.stdin(Stdio::null()).output().map_err(|error| cannot_run(command, &error, missing))?;
    if output.status.success() {
        return Ok(());
    }
    for text in [&output.stdout, &output.stderr] {
        String::from_utf8_lossy(text).trim().lines().for_each(tell);
    }
    Err(failed(command, missing))
}

/// Runs a tool that says on standard error what it does, for the person who waits; gives what it writes on standard output.
pub(super) fn run_talkative(command: &mut Command, missing: &str) -> Result<Vec<u8>, Failure> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let output = command.spawn().and_then(std::process::Child::wait_with_output);
    match output {
        Ok(output) if output.status.success() => Ok(output.stdout),
        Ok(_) => Err(failed(command, missing)),
        Err(error) => Err(cannot_run(command, &error, missing)),
    }
}

/// Whether a program can be started by this name.
pub(super) fn is_there(program: &str) -> bool {
    let tried = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    tried.is_ok_and(|status| status.success())
}

fn failed(command: &Command, missing: &str) -> Failure {
    Failure::broken(format!("{} did not succeed; it needs: {missing}", name(command)))
}

fn cannot_run(command: &Command, error: &std::io::Error, missing: &str) -> Failure {
    match error.kind() {
        ErrorKind::NotFound => Failure::broken(format!("{} is not installed: {missing}", name(command))),
        _ => Failure::broken(format!("{} can not be started: {error}", name(command))),
    }
}

fn name(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_that_is_not_there_is_told_with_the_remedy() {
        let error =
            run(&mut Command::new("no-such-tool-at-all"), "apt-get install it").unwrap_err().to_string();
        assert_eq!(error, "no-such-tool-at-all is not installed: apt-get install it");
        assert!(
            !is_there("no-such-tool-at-all")
                && is_there("sh") == Command::new("sh").arg("--version").status().unwrap().success()
        );
    }

    #[test]
    fn a_tool_that_fails_is_told_as_such() {
        assert!(
            run(&mut Command::new("false"), "luck")
                .unwrap_err()
                .to_string()
                .contains("false did not succeed")
        );
        assert!(run(&mut Command::new("true"), "luck").is_ok());
        let said = run_talkative(Command::new("sh").args(["-c", "echo 7"]), "luck");
        assert_eq!(said.ok().as_deref(), Some(&b"7\n"[..]));
    }
}
