//! `sidelock run`: the command, its exit code, its signals, and the lease around it.

use crate::support::{Sidecar, finish, sidelock};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Stdio};

/// A command under the lock `k` that says its process id and then waits for a line, or the end, of its input.
struct Holder {
    run: Child,
    command: Pid,
}

impl Holder {
    fn start(sidecar: &Sidecar) -> Holder {
        Holder::prepared(sidecar, ":")
    }

    /// As [`Holder::start`], after this.
    fn prepared(sidecar: &Sidecar, setup: &str) -> Holder {
        let script = format!("{setup}; echo $$; read x");
        let mut command = sidecar.command(["run", "k", "--", "sh", "-c", &script]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut run = command.spawn().expect("it starts");
        let mut first = String::new();
        let mut out = BufReader::new(run.stdout.take().expect("stdout is piped"));
        out.read_line(&mut first).expect("it says its id");
        Holder { run, command: Pid::from_raw(first.trim().parse().expect("a process id")) }
    }

    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.run.id()).expect("process ids are small");
        kill(Pid::from_raw(id), signal).expect("it runs");
    }

    /// Lets the command end.
    fn go(mut self) {
        self.run.stdin.take().expect("stdin is piped").write_all(b"go\n").expect("it reads");
        assert_eq!(self.code(), Some(0));
    }

    fn code(mut self) -> Option<i32> {
        // Kept open while it waits: the end of its input would end it too.
        let _input = self.run.stdin.take();
        self.run.wait().expect("a child can be waited for").code()
    }
}

#[test]
fn the_commands_code_is_ours_and_it_knows_key_and_fence() {
    let sidecar = Sidecar::start();
    let said = sidecar
        .script("sidelock run k -- sh -c 'echo $SIDELOCK_KEY $SIDELOCK_FENCE; exit 7' || echo code $?");
    let words: Vec<_> = said.out.split_whitespace().collect();
    assert_eq!((words[0], words[2], words[3]), ("k", "code", "7"), "{said:?}");
    assert!(words[1].parse::<u64>().is_ok(), "{said:?}");
    assert_eq!(sidecar.say("run k -- /nonexistent/command").code, 127);
    assert_eq!(sidecar.say("run k -- /").code, 126);
}

/// What it tells the command must not be taken for settings by a `sidelock` inside it.
#[test]
fn a_command_may_run_sidelock_itself() {
    let sidecar = Sidecar::start();
    for keys in ["a", "a b"] {
        let said = sidecar.script(&format!("sidelock run {keys} -- sidelock config check"));
        assert_eq!(said.code, 0, "{keys}: {said:?}");
    }
}

#[test]
fn without_a_command_nothing_is_locked_and_nobody_leads() {
    let sidecar = Sidecar::start();
    for words in ["run k", "run --leader name"] {
        let said = sidecar.say(words);
        assert!(said.code == 2 && said.err.contains("needs `--` and then its command"), "{words}: {said:?}");
    }
}

/// As ssh asks for a passphrase: at the terminal, whatever its input is. `script` is one.
#[test]
fn a_command_with_another_input_has_the_terminal_when_it_wants_it() {
    let sidecar = Sidecar::start();
    let inside = r#"echo input | sidelock run k -- sh -c "read typed </dev/tty; read piped; echo got \$typed and \$piped""#;
    let said = sidecar
        .script(&format!("(sleep 0.3; echo word; sleep 5) | timeout 20 script -qec '{inside}' /dev/null"));
    assert!(said.out.contains("got word and input"), "{said:?}");
}

/// Whoever stops it means it, and not `run`: the lease is kept.
#[test]
fn a_command_with_another_input_that_is_stopped_stays_so() {
    let sidecar = Sidecar::start();
    let inside = r#"id=$(mktemp); echo | sidelock run k -- sh -c "echo \$\$ >$id; kill -STOP \$\$; echo went on" & until grep -q "^State:.T" "/proc/$(cat $id)/status"; do sleep 0.01; done 2>/dev/null; rm $id; sleep 1; sidelock lock k --wait 0"#;
    // It ends with the terminal.
    let said = sidecar.script(&format!("timeout 20 script -qec '{inside}' /dev/null || true"));
    assert!(said.out.contains("held") && !said.out.contains("went on"), "{said:?}");
}

#[test]
fn a_stopped_command_hears_signals() {
    let sidecar = Sidecar::start();
    let holder = Holder::start(&sidecar);
    kill(holder.command, Signal::SIGSTOP).expect("it runs");
    holder.signal(Signal::SIGTERM);
    assert_eq!(holder.code(), Some(128 + 15));
}

#[test]
fn flocks_spellings_do_what_flock_does() {
    let sidecar = Sidecar::start();
    let holder = Holder::start(&sidecar);
    assert_eq!(sidecar.say("run -n k -- true").code, 3);
    assert_eq!(sidecar.say("run -n -E 9 k -- true").code, 9);
    assert_eq!(sidecar.say("run -w 0.05 k -- true").code, 124);
    assert_eq!(sidecar.say("run --wait 50ms -E 9 k -- true").code, 9);
    assert_eq!(sidecar.say("run -s -n k -- true").code, 3, "a reader waits for a writer");
    drop(holder);
    assert_eq!(sidecar.script("sidelock run other -c 'exit 4' || echo code $?").out, "code 4\n");
    let both = sidecar.script("sidelock run -s r -- sidelock run -n -s r -- echo both");
    assert_eq!(both.out, "both\n", "{both:?}");
    let full = sidecar.script(
        "sidelock run --limit 2 --permits 2 p -- sidelock run -n --limit 2 p -- true || echo code $?",
    );
    assert_eq!(full.out, "code 3\n", "{full:?}");
}

#[test]
fn several_keys_are_held_together_and_only_as_locks() {
    let sidecar = Sidecar::start();
    let said = sidecar.script("sidelock run a b -- sidelock run -n b -- true || echo code $?");
    assert_eq!(said.out, "code 3\n", "{said:?}");
    let said = sidecar.say("run --limit 2 a b -- true");
    assert_eq!(said.code, 2);
    assert!(said.err.contains("several keys"), "{said:?}");
}

#[test]
fn a_forgotten_separator_is_answered_with_the_corrected_line() {
    for (words, line) in [
        ("run k true", "sidelock run [OPTIONS] k -- true"),
        ("run k echo a", "sidelock run [OPTIONS] k -- echo a"),
        ("run k", "sidelock run [OPTIONS] k -- CMD"),
    ] {
        let said = finish(sidelock(words.split(' ')));
        assert_eq!(said.code, 2, "{said:?}");
        assert!(said.err.contains(line), "{said:?}");
    }
}

#[test]
fn a_long_wait_is_told_and_a_short_one_is_not() {
    let sidecar = Sidecar::start();
    for words in ["run -w 30 k -- true", "lock --wait 30s k"] {
        let holder = Holder::start(&sidecar);
        let short = sidecar.say("run -w 0.05 k -- true");
        assert!(!short.err.contains("waiting for"), "{short:?}");
        let mut command = sidecar.command(words.split(' '));
        let mut long = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
        let mut told = BufReader::new(long.stderr.take().expect("stderr is piped"));
        let mut first = String::new();
        told.read_line(&mut first).expect("it waits for long enough to say so");
        assert!(first.starts_with("sidelock: waiting for \"k\" ("), "{words}: {first}");
        // Time for another one, if there is another one.
        assert_eq!(sidecar.say("run -w 0.3 k -- true").code, 124);
        holder.go();
        let mut rest = String::new();
        told.read_to_string(&mut rest).expect("text");
        let code = long.wait().expect("a child can be waited for").code();
        assert_eq!((code, rest.as_str()), (Some(0), ""), "{words}: it is told once");
    }
}

#[test]
fn who_waits_for_the_run_around_it_is_told_so() {
    let sidecar = Sidecar::start();
    let told = |outer: &str| {
        let said = sidecar.script(&format!(
            "log=$(mktemp) || exit
            sidelock run {outer} -- timeout 30 sh -c 'sidelock run k -- true 2>$0 & \
                until grep \"waiting.*)$\" $0; do sleep 0.01; done; kill $!' \"$log\"
            rm \"$log\""
        ));
        assert!(said.code == 0 && said.out.contains("waiting for \"k\" ("), "{outer}: {said:?}");
        said.out
    };
    let around = "that is the run around this one";
    for outer in ["k", "a k"] {
        assert!(told(outer).contains(around), "{outer}");
    }
    // Another's is nobody's that waits for it.
    let _holder = Holder::start(&sidecar);
    assert!(!told("other").contains(around));
}

#[test]
fn signals_are_passed_on() {
    let sidecar = Sidecar::start();
    let holder = Holder::start(&sidecar);
    holder.signal(Signal::SIGTERM);
    assert_eq!(holder.code(), Some(128 + 15));
    let holder = Holder::prepared(&sidecar, "trap 'exit 5' USR1");
    holder.signal(Signal::SIGUSR1);
    assert_eq!(holder.code(), Some(5));
}

#[test]
fn the_end_of_the_command_is_the_end_of_the_lease() {
    let sidecar = Sidecar::start();
    let holder = Holder::start(&sidecar);
    assert_eq!(sidecar.say("run -n k -- true").code, 3);
    holder.go();
    assert_eq!(sidecar.say("run -n k -- true").code, 0);
}

#[test]
fn a_killed_run_takes_its_command_along_and_frees_the_key() {
    let sidecar = Sidecar::start();
    let holder = Holder::start(&sidecar);
    let command = holder.command;
    holder.signal(Signal::SIGKILL);
    assert_eq!(holder.code(), None, "killed");
    assert_eq!(sidecar.say("run -w 30 k -- true").code, 0, "the key is free");
    // The kernel kills it; somebody has yet to reap it, so its state tells.
    let state = || std::fs::read_to_string(format!("/proc/{command}/stat")).unwrap_or_default();
    while state().contains(") S ") || state().contains(") R ") {
        std::thread::yield_now();
    }
}

#[test]
fn a_lost_lease_ends_the_command_with_code_6() {
    let sidecar = Sidecar::start();
    let said = sidecar.say("run --max-hold 100ms k -- sleep 60");
    assert_eq!(said.code, 6, "{said:?}");
    assert!(said.err.contains("sidelock: the lock of k is lost (max_hold)"), "{said:?}");
    assert_eq!(sidecar.say("run --max-hold 100ms --on-lost kill k -- sleep 60").code, 6);
}

#[test]
fn a_command_that_does_not_listen_is_killed_after_the_grace() {
    let sidecar = Sidecar::start();
    // It loses the lease by its own order, given when it no longer listens.
    let deaf = "sidelock run --grace 100ms k -- sh -c \
        'trap \"\" TERM; sidelock force-unlock k --reason test >&2; while :; do sleep 0.05; done' || echo code $?";
    let said = sidecar.script(deaf);
    assert_eq!(said.out, "code 6\n", "{said:?}");
    assert!(said.err.contains("killing it"), "{said:?}");
}

#[test]
fn with_warn_the_command_goes_on_and_its_code_counts() {
    let sidecar = Sidecar::start();
    // Ends once the key was free for somebody else and `run` has said so.
    let script = "
        log=$(mktemp) || exit
        sidelock run --max-hold 100ms --on-lost warn k -- sidelock run k -- \
            timeout 30 sh -c 'until grep \"$0\" \"$1\"; do sleep 0.01; done; exit 3' 'goes on without it' \"$log\" 2>\"$log\" || echo code $?
        rm \"$log\"";
    let said = sidecar.script(script);
    assert!(said.out.ends_with("code 3\n"), "{said:?}");
    assert!(said.out.contains("the lock of k is lost (max_hold)"), "{said:?}");
}

/// Neither may hide the other: the command's code counts, and the loss is told.
#[test]
fn a_loss_that_is_seen_with_the_end_of_the_command_is_told() {
    let sidecar = Sidecar::start();
    // `run` sleeps from before the end of its lease until after the end of its command.
    let script = "sidelock run k -- \
        sh -c 'kill -STOP $PPID; sidelock force-unlock k --reason test >&2; sidelock run k -- true; \
        (until grep -q \"^State:.Z\" /proc/$$/status; do sleep 0.01; done; kill -CONT $PPID) & exit 3' || echo code $?";
    let said = sidecar.script(script);
    assert_eq!(said.out, "code 3\n", "{said:?}");
    assert!(said.err.contains("the lock of k was lost ("), "{said:?}");
}

#[test]
fn the_end_of_the_sidecar_is_the_end_of_the_lease() {
    let mut sidecar = Sidecar::start();
    let holder = Holder::start(&sidecar);
    sidecar.kill();
    assert_eq!(holder.code(), Some(6), "its memory is gone, and the lease with it");
}
