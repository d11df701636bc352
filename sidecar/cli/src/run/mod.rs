//! `sidelock run`: a command under a lock.
//!
//! Owns the order of things: first the lease, then the command; when the lease is lost, the command ends; when the
//! command ends, the lease is released. Must not know how either works.

mod held;
mod job;
pub(crate) mod once;

use crate::failure::Failure;
use crate::output::tell;
use crate::socket::Socket;
use crate::span::{Wait, span, wait};
use crate::wish::{self, ModeArgs};
use clap::{Args, ValueEnum};
pub(crate) use held::is_held_around;
use held::{Held, Told};
use job::{Job, exit_code, start_failure_code};
use nix::sys::signal::Signal;
use sidelock_client::{Client, Code, Error, LostReason, Request, RequestAll};
use std::ffi::OsString;
use std::future::pending;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;
use tokio::signal::unix::{self, SignalKind};
use tokio::time::{Instant, sleep_until, timeout};

/// How long the end of `run` waits for the sidecar's word that the key is free.
const RELEASE_TIME_MAX: Duration = Duration::from_secs(1);
/// Signals that we listen to: news of the command, and those that are meant for it and are passed on.
const LISTENED_TO: [Signal; 7] = [
    Signal::SIGCHLD,
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
];

/// Arguments of `run`.
#[derive(Args, Debug)]
pub(crate) struct RunArgs {
    /// The key, or several: all of them or none
    #[arg(required_unless_present = "leader", value_name = "KEY")]
    keys: Vec<String>,
    /// Run the command once this process leads NAME, instead of holding a key: its lock is `leader/NAME`
    #[arg(long, value_name = "NAME", conflicts_with_all = ["keys", "shared", "permits", "limit"])]
    leader: Option<String>,
    /// The command, after `--`
    #[arg(last = true, value_name = "CMD")]
    argv: Vec<OsString>,
    /// The command as one line for $SHELL, as flock has it
    #[arg(short = 'c', value_name = "LINE", conflicts_with = "argv")]
    command: Option<OsString>,
    /// How long to wait for the lock: 5s, 0 or forever; bare numbers are seconds
    #[arg(long, short = 'w', value_name = "SPAN", value_parser = wait, default_value = "forever")]
    wait: Wait,
    /// Do not wait: as --wait 0
    #[arg(short = 'n', conflicts_with = "wait")]
    no_wait: bool,
    #[command(flatten)]
    mode: ModeArgs,
    /// Exit code if somebody else has the lock, instead of 3 (held) and 124 (wait over)
    #[arg(short = 'E', value_name = "N")]
    conflict_code: Option<u8>,
    #[command(flatten)]
    care: Care,
    #[command(flatten)]
    socket: Socket,
}

/// When the lock is lost, and what becomes of the command then.
#[derive(Args, Debug)]
struct Care {
    /// Lose the lock so long after its grant, and with it the command
    #[arg(long, value_name = "SPAN", value_parser = span)]
    max_hold: Option<Duration>,
    /// What to do with the command when the lock is lost
    #[arg(long, value_enum, default_value = "term")]
    on_lost: OnLost,
    /// From SIGTERM to SIGKILL when the lock is lost
    #[arg(long, value_name = "SPAN", value_parser = span, default_value = "10s")]
    grace: Duration,
}

/// What becomes of the command when the lock is lost.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
enum OnLost {
    /// SIGTERM, and SIGKILL after the grace
    Term,
    /// SIGKILL at once
    Kill,
    /// Only a message
    Warn,
}

/// What the help says below the options.
pub(crate) const AFTER_HELP: &str = "\
The exit code is the command's, 128 and the number of the signal that ended it, or 6 if it was ended because the lock was
lost. Where it did not start: 3 somebody else has the lock (or too many wait, or all would wait for each other), 124 the wait is
over, 4 a policy denied it, 5 no sidecar, 6 the lock was lost before, 126 and 127 as a shell has them, 2 the command line is
wrong, 1 anything else.

The command finds SIDELOCK_KEY and SIDELOCK_FENCE in its environment; of several keys SIDELOCK_KEYS and SIDELOCK_FENCES, too,
a line for each.";

/// Holds the key around the command; the exit code is the command's, or says why there was none.
pub(crate) async fn run(args: RunArgs) -> Result<u8, Failure> {
    args.check()?;
    let client = wish::connect(&args.socket, "sidelock run").await?;
    let keys = args.keys();
    let acquire = args.acquire(&client, &keys);
    let lease = match wish::patiently(&args.socket, &keys, acquire).await {
        Ok(lease) => lease,
        Err(error) => return args.not_acquired(error.into()),
    };
    // Before the command exists, so that no signal falls between the two.
    let mut signals = Signals::listen()?;
    let lost = async {
        match lease.lost().await {
            // Permits of a rate end by themselves, which is nothing to the command.
            LostReason::Expired if args.mode.is_rate() => pending().await,
            reason => reason,
        }
    };
    let told = lease.told();
    let ended = protect(&args.care, &args.command_line(), &told, lost, &mut signals).await?;
    // Without a connection there is nobody who could answer, and nothing to tell of it.
    let connected = client.sidecar().is_some();
    // Awaited, so that whoever runs next finds it free. A sidecar that does not answer frees it when we are gone.
    match timeout(RELEASE_TIME_MAX, lease.release()).await {
        Ok(Ok(())) => {}
        Ok(Err(Error::LeaseLost { reason, .. })) if ended.was_held => tell_late_loss(&told, reason),
        Ok(Err(Error::LeaseLost { .. })) => {}
        Ok(Err(Error::OutcomeUnknown { .. })) | Err(_) if !connected => {}
        Ok(Err(error)) => {
            tell(format_args!("the command is done, but the lock could not be released: {error}"))
        }
        Err(_) => tell("the command is done, but the sidecar does not confirm the release"),
    }
    Ok(ended.code)
}

/// How a command came to its end.
struct Ended {
    code: u8,
    /// It ran, and no loss was told meanwhile. Its release or finish may yet tell one.
    was_held: bool,
}

/// Runs the command to its end: signals go to it, and the loss of the lease is its end.
async fn protect(
    care: &Care,
    command: &[OsString],
    told: &Told,
    lost: impl Future<Output = LostReason>,
    signals: &mut Signals,
) -> Result<Ended, Failure> {
    let mut job = match Job::start(command, &told.environment) {
        Ok(job) => job,
        Err(error) => {
            let program = command.first().map(|program| program.to_string_lossy()).unwrap_or_default();
            tell(format_args!("can not run {program}: {error}"));
            return Ok(Ended { code: start_failure_code(&error), was_held: false });
        }
    };
    let mut loss = pin!(lost);
    let mut loss_came = false;
    let mut was_held = true;
    let mut ended_by_us = false;
    let mut kill_at: Option<Instant> = None;
    loop {
        tokio::select! {
            status = job.ended() => {
                let status = status.map_err(|error| Failure::broken(format!("can not wait for the command: {error}")))?;
                let code = if ended_by_us { Code::LeaseLost.exit_code() } else { exit_code(status) };
                return Ok(Ended { code, was_held });
            }
            signal = signals.next() => match signal {
                Signal::SIGCHLD => job.follow_stop(),
                signal => job.signal(signal),
            },
            reason = &mut loss, if !loss_came => {
                loss_came = true;
                // A command that has ended meanwhile, as after a long sleep of ours, is not ended by us.
                if !job.has_ended() {
                    was_held = false;
                    ended_by_us = care.on_lost != OnLost::Warn;
                    kill_at = care.end_command(&job, &told.name, reason);
                }
            }
            () = at(kill_at) => {
                kill_at = None;
                tell(format_args!("the command did not end within {:?}; killing it", care.grace));
                job.signal(Signal::SIGKILL);
            }
        }
    }
}

/// The command ended by itself, so its code counts; what it did last may have been done without the lock.
fn tell_late_loss(told: &Told, reason: LostReason) {
    let Told { name, .. } = told;
    tell(format_args!("the lock of {name} was lost ({}), perhaps before the command ended", in_full(reason)));
}

/// The reason, with what it means where the name does not say it.
fn in_full(reason: LostReason) -> String {
    let because = match reason {
        LostReason::Session => {
            ": this process was stopped or slept for too long, or its sidecar did not answer"
        }
        LostReason::Store => ": no confirmation of the store arrived in time",
        _ => "",
    };
    format!("{reason}{because}")
}

/// At that time, if there is one.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}

impl RunArgs {
    /// What the command line's grammar can not say.
    fn check(&self) -> Result<(), Failure> {
        match self.keys.as_slice() {
            [key, command @ ..] if self.argv.is_empty() && self.command.is_none() => {
                let command = if command.is_empty() { "CMD".to_owned() } else { command.join(" ") };
                Err(Failure::usage(format!(
                    "run needs `--` and then its command: sidelock run [OPTIONS] {key} -- {command}"
                )))
            }
            [] if self.argv.is_empty() && self.command.is_none() => {
                Err(Failure::usage("run needs `--` and then its command: sidelock run --leader NAME -- CMD"))
            }
            [_, _, ..] if self.mode.is_permits() => Err(Failure::usage(
                "several keys are locked, alone or shared: leave out --permits and --limit",
            )),
            _ => Ok(()),
        }
    }

    /// What is locked: to lead is to hold the leader's key.
    fn keys(&self) -> Vec<String> {
        match &self.leader {
            Some(name) => vec![format!("leader/{name}")],
            None => self.keys.clone(),
        }
    }

    async fn acquire(&self, client: &Client, keys: &[String]) -> Result<Held, Error> {
        match keys {
            [key] => self.request(client, key).acquire().await.map(Held::One),
            keys => self.request_all(client, keys).acquire().await.map(Held::All),
        }
    }

    fn request(&self, client: &Client, key: &str) -> Request {
        let request = self.mode.request(client, key);
        let request = match self.patience() {
            Wait::Forever => request.wait_forever(),
            Wait::For(span) => request.wait(span),
        };
        self.care.max_hold.into_iter().fold(request, |request, span| request.max_hold(span))
    }

    fn request_all(&self, client: &Client, keys: &[String]) -> RequestAll {
        let request = client.lock_all(keys);
        let request = if self.mode.is_shared() { request.shared() } else { request };
        let request = match self.patience() {
            Wait::Forever => request.wait_forever(),
            Wait::For(span) => request.wait(span),
        };
        self.care.max_hold.into_iter().fold(request, |request, span| request.max_hold(span))
    }

    fn patience(&self) -> Wait {
        if self.no_wait { Wait::For(Duration::ZERO) } else { self.wait }
    }

    /// The command, with `-c` as flock runs it.
    fn command_line(&self) -> Vec<OsString> {
        match &self.command {
            Some(line) => {
                let shell = std::env::var_os("SHELL").unwrap_or_else(|| "/bin/sh".into());
                vec![shell, "-c".into(), line.clone()]
            }
            None => self.argv.clone(),
        }
    }

    fn not_acquired(&self, failure: Failure) -> Result<u8, Failure> {
        let held = matches!(failure.code(), Some(Code::Held | Code::WaitTimeout));
        match self.conflict_code.filter(|_| held) {
            Some(code) => Ok(code),
            None => Err(failure),
        }
    }
}

impl Care {
    /// The lock is lost: the first step against the command. When the second one is due.
    fn end_command(&self, job: &Job, key: &str, reason: LostReason) -> Option<Instant> {
        let reason = in_full(reason);
        match self.on_lost {
            OnLost::Warn => {
                tell(format_args!("the lock of {key} is lost ({reason}); the command goes on without it"))
            }
            OnLost::Kill => {
                tell(format_args!("the lock of {key} is lost ({reason}); killing the command"));
                job.signal(Signal::SIGKILL);
            }
            OnLost::Term => {
                tell(format_args!("the lock of {key} is lost ({reason}); ending the command"));
                job.signal(Signal::SIGTERM);
                return Instant::now().checked_add(self.grace);
            }
        }
        None
    }
}

/// Signals to us, as they come.
struct Signals(Vec<(Signal, unix::Signal)>);

impl Signals {
    fn listen() -> Result<Signals, Failure> {
        let listen = |signal: Signal| Ok((signal, unix::signal(SignalKind::from_raw(signal as i32))?));
        let signals: std::io::Result<Vec<_>> = LISTENED_TO.into_iter().map(listen).collect();
        signals.map(Signals).map_err(|error| Failure::broken(format!("can not listen for signals: {error}")))
    }

    async fn next(&mut self) -> Signal {
        std::future::poll_fn(|cx| {
            let mut streams = self.0.iter_mut();
            let ready =
                streams.find_map(|(signal, stream)| stream.poll_recv(cx).is_ready().then_some(*signal));
            ready.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}
