//! The floor: one small message to another thread over a Unix socket, and one back. No lock behind a socket is faster.

use crate::measure::Latency;
use sidelock_e2e::folder;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

/// Bytes of a message: an acquire of a short key is about that long.
const MESSAGE_BYTES: usize = 32;

/// Round trips for `span`, with a pause before each, both ends on runtimes like the sidecar's and its client's.
pub(crate) async fn ping_pong(span: Duration, pause: Duration) -> io::Result<Latency> {
    let place = folder();
    let path = place.path().join("echo.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path)?;
    listener.set_nonblocking(true)?;
    let echo = std::thread::spawn(move || crate::runtime()?.block_on(echo(listener)));
    let mut stream = UnixStream::connect(&path).await?;
    let mut message = [7; MESSAGE_BYTES];
    let mut latency = Latency::default();
    let end = tokio::time::Instant::now() + span;
    while tokio::time::Instant::now() < end {
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        let start = std::time::Instant::now();
        stream.write_all(&message).await?;
        stream.read_exact(&mut message).await?;
        latency.add(start.elapsed());
    }
    drop(stream);
    echo.join().map_err(|_| io::Error::other("the echo panicked"))??;
    Ok(latency)
}

/// Sends back what comes, until the end.
async fn echo(listener: std::os::unix::net::UnixListener) -> io::Result<()> {
    let (mut stream, _) = UnixListener::from_std(listener)?.accept().await?;
    let mut bytes = [0; MESSAGE_BYTES];
    while stream.read_exact(&mut bytes).await.is_ok() {
        stream.write_all(&bytes).await?;
    }
    Ok(())
}
