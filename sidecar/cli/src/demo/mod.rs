//! `demo`: twelve seconds that show what a lock sidecar does. No set-up, nothing left behind; a Redis is not needed, and if
//! one is installed, one of the demo's own shows two sidecars.
//!
//! Owns the beginning and the end: servers and processes of our own in a temporary folder, gone afterwards whatever
//! ends the demo. What is played is `story`, by whom `cast`, how it looks `stage`; a process of the cast runs `actor`, and `turns` judges what
//! they did together.

mod actor;
mod cast;
mod picture;
mod ring;
mod stage;
mod story;
mod turns;

use crate::failure::Failure;
use cast::Cast;
use clap::Args;
use stage::Stage;
use std::path::PathBuf;
use tokio::signal::unix::{SignalKind, signal};

/// Exit code of a shell for a command that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

/// Arguments of `demo`.
#[derive(Args, Debug)]
pub(crate) struct DemoArgs {
    /// Also write the run as a picture
    #[arg(long, value_name = "FILE", hide = true)]
    svg: Option<PathBuf>,
    /// How long there is to read, against the usual
    #[arg(long, value_name = "FACTOR", default_value = "1", hide = true)]
    pace: f64,
    /// Be this process of the demo
    #[arg(long, value_name = "NAME", hide = true, requires = "at")]
    play: Option<String>,
    /// The demo's sidecar
    #[arg(long, value_name = "SOCKET", hide = true)]
    at: Option<PathBuf>,
}

/// Plays the demo, or a part in it.
pub(crate) async fn demo(args: DemoArgs) -> Result<u8, Failure> {
    if let (Some(name), Some(socket)) = (&args.play, &args.at) {
        return actor::play(name, socket).await.map(|()| 0);
    }
    let pace = if args.pace.is_finite() { args.pace.clamp(0.0, 10.0) } else { 1.0 };
    let mut stage = Stage::new(pace);
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let mut cast = Cast::gather()?;
    let played = tokio::select! {
        played = story::play(&mut cast, &mut stage) => played.map(|()| 0),
        _ = interrupt.recv() => Ok(INTERRUPTED),
        _ = terminate.recv() => Ok(INTERRUPTED),
    };
    cast.leave().await;
    if stage.is_unread() {
        return Ok(0);
    }
    match (played?, args.svg) {
        (0, Some(path)) => write_picture(&stage, &path).map(|()| 0),
        (code, _) => Ok(code),
    }
}

fn listen(kind: SignalKind) -> Result<tokio::signal::unix::Signal, Failure> {
    signal(kind).map_err(|error| Failure::broken(format!("can not listen for signals: {error}")))
}

fn write_picture(stage: &Stage, path: &std::path::Path) -> Result<(), Failure> {
    std::fs::write(path, picture::of(stage.lines()))
        .map_err(|error| Failure::broken(format!("{}: {error}", path.display())))
}
